/**
 * The files of the page, as the build has made them.
 *
 * Guarantees: read once; what is served later does not change under a page that is open. A page that was not built is a failure
 * that says so.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../failure.ts';
import { PAGE } from '../places.ts';
import { FILES } from './routes.ts';

export interface PageFile {
  type: string;
  content: Buffer;
  /** For If-None-Match. */
  tag: string;
}

/** Returns the files by path. */
export function loadPage(directory = PAGE): ReadonlyMap<string, PageFile> {
  return new Map(
    [...FILES].map(([path, { file, type }]) => {
      const content = read(join(directory, file));
      const tag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`;
      return [path, { type, content, tag }];
    }),
  );
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    throw new Failure({
      code: 'NOT_BUILT',
      message: `the page of the inspector cannot be read: ${path} (${code})`,
      hint: '`npm run build` makes it.',
    });
  }
}
