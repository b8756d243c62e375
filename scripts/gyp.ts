/**
 * Reads binding.gyp, for scripts and tests that compile the native code in other ways than the build.
 *
 * Limits: the file is in Python's notation, so python3 reads it. Commands in it (`<!(...)`) stay as they are written.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');

export interface GypTarget {
  target_name: string;
  dependencies?: string[];
  type?: string;
  sources: string[];
  defines: string[];
}

export interface Gyp {
  target_defaults: { cflags_cc: string[] };
  targets: GypTarget[];
}

/** Each target has the sources of the libraries that it depends on among its own; the libraries are left out. */
export function readGyp(): Gyp {
  const program = 'import ast, json, sys; print(json.dumps(ast.literal_eval(sys.stdin.read())))';
  const input = readFileSync(join(ROOT, 'binding.gyp'));
  const { stdout, stderr } = spawnSync('python3', ['-c', program], { input, encoding: 'utf8' });
  if (stdout === '') throw new Error(`binding.gyp: ${stderr}`);
  const gyp = JSON.parse(stdout) as Gyp;
  const sourcesOf = (name: string) => gyp.targets.find(({ target_name }) => target_name === name)?.sources ?? [];
  const targets = gyp.targets
    .filter(({ type }) => type !== 'static_library')
    .map((target) => ({
      ...target,
      sources: [...target.sources, ...(target.dependencies ?? []).flatMap(sourcesOf)],
    }));
  return { ...gyp, targets };
}

/** Folders of headers that are not ours: those of the running node, as the build finds them, and node-addon-api. */
export function includeFolders(): string[] {
  const program = "import { findNodeDir } from './scripts/node-headers.mjs'; console.log(findNodeDir().nodedir)";
  const argv = ['--input-type=module', '--eval', program];
  const node = spawnSync(process.execPath, argv, { cwd: ROOT, encoding: 'utf8' }).stdout.trim();
  return [`${node}/include/node`, join(ROOT, 'node_modules/node-addon-api')];
}
