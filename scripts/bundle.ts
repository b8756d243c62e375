/**
 * The daemon as one file, dist/daemon/main.js, made of what tsc has made of service/main.ts: Node resolves, reads and
 * compiles each of its 500 modules by itself, and that takes a daemon that starts three times as long as all the rest.
 *
 *   node dist/scripts/bundle.js
 *
 * Guarantees: made anew whenever tsc has written anything since, or a dependency is another; replaced whole, so that who
 * starts meanwhile reads the old one or the new one. Source maps lead to the TypeScript.
 * Limits: the addon and package.json are found beside it at run time, as from any folder of dist/. The command line and the
 * tests are not bundled. What imports by conditions (XState's development build) is as it ships.
 */
import { mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { build } from 'esbuild';

const DIST = resolve(import.meta.dirname, '..');
const BUNDLE = join(DIST, 'daemon/main.js');

/** Some dependencies are CommonJS and call require, which an ES module does not have by itself. */
const BANNER = `import { createRequire as requireOf } from 'node:module';\nconst require = requireOf(import.meta.url);`;

export async function bundleDaemon(): Promise<void> {
  if (['.tsbuildinfo', '../package-lock.json'].every((made) => writtenAt(join(DIST, made)) < writtenAt(BUNDLE))) return;
  const { outputFiles } = await build({
    entryPoints: [join(DIST, 'service/main.js')],
    outfile: BUNDLE,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    banner: { js: BANNER },
    sourcemap: 'linked',
    sourcesContent: false,
    write: false,
  });
  mkdirSync(dirname(BUNDLE), { recursive: true });
  // The map is the first of them: a program is never there without its own.
  for (const { path, contents } of outputFiles) {
    const beside = `${path}.${process.pid}`;
    writeFileSync(beside, contents);
    renameSync(beside, path);
  }
}

/** In ms since the epoch; 0 for what is not there. */
const writtenAt = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

if (process.argv[1] === import.meta.filename) await bundleDaemon();
