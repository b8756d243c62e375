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
  const isNew = (bundle: string) =>
    ['.tsbuildinfo', '../package-lock.json'].every((made) => writtenAt(join(DIST, made)) < writtenAt(bundle));
  if (isNew(BUNDLE)) return;
  // The daemon's own comes last: it tells that both are new.
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
  for (const { path, contents } of outputFiles) {
    const beside = `${path}.${process.pid}`;
    writeFileSync(beside, contents);
    renameSync(beside, path);
  }
}

/** Returns ms since the epoch; 0 for a missing file. */
const writtenAt = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

if (process.argv[1] === import.meta.filename) await bundleDaemon();
