/**
 * Names the TypeScript in stacks that name what was compiled of it.
 *
 * Guarantees: changes nothing but positions in files of dist/ that have a source map. Only what failed is translated: with
 * --enable-source-maps, each process of each test would read the maps of all that it loads, which takes a tenth of its processor time.
 */
import { existsSync, readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { dirname, resolve } from 'node:path';

type Origin = Partial<{ fileName: string; lineNumber: number; columnNumber: number }>;

/** Returns a text with the positions of sources in place of those in `dist`, which is an absolute path. */
export function withSources(text: string, dist: string): string {
  const maps = new Map<string, SourceMap | null>();
  const mapOf = (file: string): SourceMap | null => {
    const known = maps.get(file);
    if (known !== undefined) return known;
    const path = `${file}.map`;
    const found = existsSync(path)
      ? new SourceMap(JSON.parse(readFileSync(path, 'utf8')) as SourceMap['payload'])
      : null;
    maps.set(file, found);
    return found;
  };
  return text.replace(
    /(?:file:\/\/)?(\/[^\s():]+\.js):(\d+):(\d+)/g,
    (position, file: string, line: string, column: string) => {
      if (!file.startsWith(`${dist}/`)) return position;
      const { fileName, lineNumber, columnNumber }: Origin =
        mapOf(file)?.findOrigin(Number(line), Number(column)) ?? {};
      return fileName === undefined ? position : `${resolve(dirname(file), fileName)}:${lineNumber}:${columnNumber}`;
    },
  );
}
