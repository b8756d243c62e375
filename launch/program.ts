/**
 * Loads a program that the build has put into one file (scripts/bundle.ts), with what V8 made of it in an earlier run: its code
 * cache (scripts/code-cache.ts).
 *
 *   dist/bundle/NAME.program.js      a function expression; it begins with the hash of the rest
 *   dist/bundle/NAME.program.cache   the same hash, the processor, then V8's data
 *
 * Guarantees: a cache is used only for the program that it was made of, on the kind of processor that made it (V8 of amd64 takes that of arm64
 * and fails later), only if V8 takes it as its own (same version, same flags),
 * and only if nobody but the owner of the program can have written it. Otherwise the program is compiled, which takes longer and
 * changes nothing; `unfit` says why. With --enable-source-maps, stacks show the TypeScript.
 * Limits: V8 does not verify the data itself. Who can write to dist/ can change the program as well. docs/decisions/0064.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { createRequire, Module } from 'node:module';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Script } from 'node:vm';

interface Place {
  filename: string;
  dirname: string;
  url: string;
}
/** Is what a program is compiled to. It fills the module, and finds by `here` what is beside it. */
type Body = (require: NodeJS.Require, module: { exports: unknown }, here: Place) => void;

export interface Program {
  exports: unknown;
  script: Script;
  /** Names the source that was loaded, whatever is in its file since. */
  hash: string;
  /** Says why there is no code cache for it; null if there is. */
  unfit: string | null;
}

const BUNDLES = join(import.meta.dirname, '../bundle');
/** Where the hash begins, and how long it is: a SHA-256 in hexadecimal. */
const BEFORE = '/* '.length;
const HASH = 64;
const OTHERS_MAY_WRITE = 0o022;

/** Node remembers a source map for as long as the module that it belongs to. */
const mapped: Module[] = [];

/** Begins the cache of a program. Its length is a multiple of 8, because V8 copies data that is not aligned. */
export const headOf = (hash: string): string => `${hash}${process.arch.padEnd(16)}`;

export const cacheOf = (name: string): string => join(BUNDLES, `${name}.program.cache`);

export function load(name: string): Program {
  const filename = join(BUNDLES, `${name}.program.js`);
  // It is ASCII, and text that is read as such takes half the memory.
  const source = readFileSync(filename, 'latin1');
  const hash = source.slice(BEFORE, BEFORE + HASH);
  const found = readCache(cacheOf(name), hash, filename);
  const script = new Script(source, typeof found === 'string' ? { filename } : { filename, cachedData: found });
  const rejected = script.cachedDataRejected === true ? 'it is of another version of Node, or of other flags' : null;
  if (process.execArgv.includes('--enable-source-maps')) showSources(filename);
  const module: { exports: unknown } = { exports: {} };
  const here = { filename, dirname: BUNDLES, url: pathToFileURL(filename).href };
  (script.runInThisContext() as Body)(createRequire(filename), module, here);
  return { exports: module.exports, script, hash, unfit: typeof found === 'string' ? found : rejected };
}

/** Returns V8's data for the program of this hash, or why there is none. */
function readCache(file: string, hash: string, program: string): Buffer | string {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    return `it cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`;
  }
  try {
    const { mode, uid } = fstatSync(fd);
    if ((mode & OTHERS_MAY_WRITE) !== 0 || uid !== statSync(program).uid) return 'others may write to it';
    const data = readFileSync(fd);
    const head = headOf(hash);
    const fits = data.toString('latin1', 0, head.length) === head;
    return fits ? data.subarray(head.length) : 'it is of another build, or of another processor';
  } finally {
    closeSync(fd);
  }
}

/**
 * Makes Node know the source map of a file that it did not compile itself, by a module of the same name that is empty but for the
 * line that names the map.
 */
function showSources(filename: string): void {
  const module = new Module(filename) as Module & { _compile(source: string, filename: string): void };
  module._compile(`//# sourceMappingURL=${basename(filename)}.map`, filename);
  mapped.push(module);
}
