/**
 * Puts each program of cleat into one file of dist/bundle, from tsc's output: the command line and the daemon, as functions that
 * launch/program.ts loads with their code caches, and what is loaded seldom (`#traces`, `#replay` in package.json), as CommonJS modules.
 * Otherwise Node resolves, reads and compiles 500 modules one by one, which takes three times as long as the rest of a start.
 *
 *   node dist/scripts/bundle.js
 *
 * Guarantees: the bundles are made anew whenever tsc has written anything since, or a dependency has changed. Each is replaced
 * whole, so a program that starts meanwhile is the old one or the new one; a code cache of the old one is then not used. Source
 * maps lead to the TypeScript. Functions and classes keep their names.
 * Limits: what several bundles contain exists several times. The addon and package.json are found beside them at run time, as
 * from any folder of dist/. Conditional imports (XState's development build) are resolved to the production builds.
 */
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { build, type BuildOptions, type Plugin } from 'esbuild';

const DIST = resolve(import.meta.dirname, '..');
export const BUNDLES = join(DIST, 'bundle');

/** What takes Node milliseconds to load, and is needed by few commands, or by parts of Fastify that are not used. */
const SELDOM = ['node:child_process', 'node:crypto', 'node:http', 'node:net', 'node:os', 'node:timers/promises'];
const NEVER = ['node:https', 'node:tls', 'node:http2', 'node:dgram'];

/** `here` is an argument of the function that a program is (launch/program.ts). */
const HERE = {
  'import.meta.url': 'here.url',
  'import.meta.filename': 'here.filename',
  'import.meta.dirname': 'here.dirname',
};
const NO_HASH = '0'.repeat(64);
const AS_FUNCTION: BuildOptions = {
  define: HERE,
  banner: { js: `/* ${NO_HASH} */ (function (require, module, here) {` },
  footer: { js: '})' },
};
/** What dependencies bring along and the daemon never asks for: a fifth of its source, which V8 would keep in memory. */
const UNUSED = [
  /^@fastify\/(ajv-compiler|fast-json-stringify-compiler)$/, // no route has a schema of Fastify's (service/http/api.ts)
  /^light-my-request$/, // requests without a socket, for tests
  /^\.\.\/locales\/index\.js$/, // zod's messages in other languages
];

const PROGRAMS: Record<string, BuildOptions> = {
  command: { entryPoints: [join(DIST, 'cli/main.js')], plugins: [atFirstUse(SELDOM)] },
  daemon: { entryPoints: [join(DIST, 'service/main.js')], plugins: [without(UNUSED), atFirstUse(NEVER)] },
};
const MODULES: Record<string, BuildOptions> = {
  traces: { entryPoints: [join(DIST, 'service/traces/otlp.js')], mainFields: ['module', 'main'] },
  replay: { entryPoints: [join(DIST, 'service/replay/main.js')] },
  daemon: { entryPoints: [join(DIST, 'launch/daemon.js')] },
  cleat: { entryPoints: [join(DIST, 'launch/cleat.js')], banner: { js: '#!/usr/bin/env node' } },
};

export async function bundlePrograms(): Promise<void> {
  const parts = ['.tsbuildinfo', '../package-lock.json'].map((made) => join(DIST, made));
  const programs = Object.entries(PROGRAMS).map(
    ([name, options]) => [join(BUNDLES, `${name}.program.js`), options] as const,
  );
  const modules = Object.entries(MODULES).map(([name, options]) => [join(BUNDLES, `${name}.cjs`), options] as const);
  if (![...programs, ...modules].some(([file]) => isStale(file, parts))) return;
  mkdirSync(BUNDLES, { recursive: true });
  for (const [file, options] of programs) await bundle(file, { ...options, ...AS_FUNCTION }, hashed);
  const define = { 'import.meta.dirname': '__dirname' };
  for (const [file, options] of modules) await bundle(file, { ...options, define }, (source) => source);
  chmodSync(join(BUNDLES, 'cleat.cjs'), 0o755);
}

async function bundle(outfile: string, options: BuildOptions, finished: (source: string) => string): Promise<void> {
  const { outputFiles } = await build({
    ...options,
    outfile,
    external: ['#*'],
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    // V8 keeps the source in memory: without spaces it is a third smaller.
    minifySyntax: true,
    minifyWhitespace: true,
    supported: { 'dynamic-import': false },
    sourcemap: 'linked',
    sourcesContent: false,
    write: false,
  });
  // The map comes first, so that the program never exists without its map.
  for (const { path, text } of outputFiles) replace(path, path.endsWith('.map') ? text : finished(text));
}

/** Puts the hash of a program into its beginning, by which its code cache knows it. The map counts lines and columns: both stay. */
function hashed(source: string): string {
  return source.replace(NO_HASH, createHash('sha256').update(source).digest('hex'));
}

/** Makes imports of these builtin modules load them when something of them is used for the first time. */
function atFirstUse(modules: readonly string[]): Plugin {
  const namespace = 'at-first-use';
  const namesOf = (path: string): string[] => Object.keys(createRequire(import.meta.url)(path) as object);
  return {
    name: namespace,
    setup(made) {
      made.onResolve({ filter: /^node:/ }, ({ path, namespace: from }) =>
        from !== namespace && modules.includes(path) ? { path, namespace } : undefined,
      );
      made.onLoad({ filter: /^/, namespace }, ({ path }) => {
        const getters = namesOf(path).map((name) => `get ${name}() { return require('${path}').${name}; }`);
        return { contents: `module.exports = { ${getters.join(', ')} };` };
      });
    },
  };
}

/** Puts an empty module in the place of each import that matches. */
function without(imports: readonly RegExp[]): Plugin {
  const namespace = 'unused';
  return {
    name: namespace,
    setup(made) {
      for (const filter of imports) made.onResolve({ filter }, ({ path }) => ({ path, namespace }));
      made.onLoad({ filter: /^/, namespace }, () => ({ contents: 'module.exports = {};' }));
    },
  };
}

/** Replaces a file as a whole. Only its owner may write to it, whatever the umask is. */
export function replace(path: string, contents: string | Uint8Array): void {
  const beside = `${path}.${process.pid}`;
  writeFileSync(beside, contents, { mode: 0o644 });
  renameSync(beside, path);
}

/** Returns true if a file is missing, or not newer than everything that it was made of. */
export function isStale(made: string, parts: readonly string[]): boolean {
  const age = writtenAt(made);
  return parts.some((part) => writtenAt(part) >= age);
}

/** Returns ms since the epoch; 0 for a missing file. */
const writtenAt = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

if (process.argv[1] === import.meta.filename) await bundlePrograms();
