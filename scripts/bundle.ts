/**
 * Bundles the daemon into one file, dist/daemon/main.js, from tsc's output for service/main.ts. Otherwise Node resolves, reads
 * and compiles 500 modules one by one, which takes three times as long as the rest of the daemon's start. What sends traces is
 * bundled into a second file, dist/daemon/otlp.js, which the daemon loads only if it is to trace (`#traces` in package.json).
 *
 *   node dist/scripts/bundle.js
 *
 * Guarantees: the bundle is made anew whenever tsc has written anything since, or a dependency has changed. It is replaced
 * whole, so a daemon that starts meanwhile reads the old one or the new one. Source maps lead to the TypeScript.
 * Limits: what both bundles contain exists twice. The addon and package.json are found beside them at run time, as from any
 * folder of dist/. The command line and the tests are not bundled. Conditional imports (XState's development build) are
 * resolved to the production builds.
 */
import { mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { build } from 'esbuild';

const DIST = resolve(import.meta.dirname, '..');
const BUNDLE = join(DIST, 'daemon/main.js');
const TRACES = join(DIST, 'daemon/otlp.js');

/** Some dependencies are CommonJS and call require, which an ES module does not have by itself. */
const BANNER = `import { createRequire as requireOf } from 'node:module';\nconst require = requireOf(import.meta.url);`;

export async function bundleDaemon(): Promise<void> {
  const parts = ['.tsbuildinfo', '../package-lock.json'].map((made) => join(DIST, made));
  if (!isStale(TRACES, parts) && !isStale(BUNDLE, parts)) return;
  await bundle('service/traces/otlp.js', TRACES, ['module', 'main']);
  await bundle('service/main.js', BUNDLE);
}

async function bundle(from: string, to: string, mainFields?: string[]): Promise<void> {
  const { outputFiles } = await build({
    entryPoints: [join(DIST, from)],
    outfile: to,
    ...(mainFields === undefined ? {} : { mainFields }),
    external: ['#traces'],
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    banner: { js: BANNER },
    sourcemap: 'linked',
    sourcesContent: false,
    write: false,
  });
  mkdirSync(dirname(to), { recursive: true });
  // The map comes first, so that the program never exists without its map.
  for (const { path, contents } of outputFiles) replace(path, contents);
}

/** Replaces a file as a whole. */
export function replace(path: string, contents: string | Uint8Array): void {
  const beside = `${path}.${process.pid}`;
  writeFileSync(beside, contents);
  renameSync(beside, path);
}

/** Returns true if a file is missing, or not newer than everything that it was made of. */
export function isStale(made: string, parts: readonly string[]): boolean {
  const age = writtenAt(made);
  return parts.some((part) => writtenAt(part) >= age);
}

/** Returns ms since the epoch; 0 for a missing file. */
const writtenAt = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

if (process.argv[1] === import.meta.filename) await bundleDaemon();
