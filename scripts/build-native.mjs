/**
 * Builds the targets of binding.gyp (the addon, the small executables) with the node-gyp that comes with npm.
 *
 * Guarantees: no network (headers of the running Node are passed along). Nothing runs if sources, binding.gyp, Node and outputs
 * are those of the last build, judged by content. After a change, only the changed sources are compiled. On failure the
 * compiler's output is printed and the exit code is not 0.
 * Limits: one build at a time per working copy; libraries and compiler are used as they are (scripts/setup.mjs), and their
 * upgrades are not noticed: `rm -r build` starts afresh.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { findNodeGyp } from './node-gyp.mjs';
import { findNodeDir } from './node-headers.mjs';

const root = join(import.meta.dirname, '..');
const build = join(root, 'build');
const stampPath = join(build, '.stamp');

const headers = findNodeDir();
if (headers.problem) fail(headers.problem);
const nodeGypProgram = findNodeGyp();
if (nodeGypProgram === undefined) fail('node-gyp is not where npm has it; run through npm: npm run build:native');

const now = fingerprint();
const last = readStamp();
const started = Date.now();
const different = last ? changed(last.sources, now.sources) : [];
if (last?.finished && last.configure === now.configure && different.length === 0 && last.outputs.every(isThere)) {
  process.exit(0);
}

if (last?.configure !== now.configure || !isThere('build/Makefile')) nodeGyp('configure');
// make compares times, so it would skip a file that changed but is not newer (an old version copied back).
if (different.some((path) => !isNewer(path, last.at))) nodeGyp('clean', 'configure');
// From here on, objects may be of these sources, finished or not.
writeStamp({ finished: false, outputs: [] });
nodeGyp('build');
writeStamp({ finished: true, outputs: outputs() });
console.log(`native: built in ${((Date.now() - started) / 1000).toFixed(1)} s`);

/** Returns hashes of the configuration's input, and of each source. */
function fingerprint() {
  const addonApi = JSON.parse(readFileSync(join(root, 'node_modules/node-addon-api/package.json'), 'utf8')).version;
  const sources = {};
  const entries = ['native', 'bench', 'test/native'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true }),
  );
  for (const entry of entries) {
    const path = relative(root, join(entry.parentPath, entry.name));
    if (entry.isFile() && /\.(cc|c|h)$/.test(entry.name)) sources[path] = hash(readFileSync(join(root, path)));
  }
  const gyp = readFileSync(join(root, 'binding.gyp'), 'utf8');
  // Includes the working copy's own path: the Makefile contains it, so a copied build directory is useless.
  return { configure: hash([gyp, process.version, headers.nodedir, addonApi, root].join('\n')), sources };
}

function hash(content) {
  return createHash('sha256').update(content).digest('hex');
}

function readStamp() {
  try {
    return JSON.parse(readFileSync(stampPath, 'utf8'));
  } catch {
    return undefined;
  }
}

function writeStamp(more) {
  mkdirSync(build, { recursive: true });
  writeFileSync(stampPath, JSON.stringify({ ...now, ...more, at: started }, undefined, 1));
}

function changed(before, after) {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((path) => before[path] !== after[path]);
}

function isNewer(path, time) {
  return !isThere(path) || statSync(join(root, path)).mtimeMs > time;
}

function isThere(path) {
  return existsSync(join(root, path));
}

function outputs() {
  const release = join(build, 'Release');
  return readdirSync(release, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(release, entry.name)));
}

function nodeGyp(...commands) {
  for (const command of commands) {
    const argv = [nodeGypProgram, command, `--nodedir=${headers.nodedir}`, '--jobs=max', '--loglevel=warn'];
    const result = spawnSync(process.execPath, argv, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 });
    const output = `${result.stdout}${result.stderr}`;
    if (result.status !== 0) fail(`node-gyp ${command} failed\n${output}`);
    // Compiler warnings concern the person who has just changed a source.
    if (output.includes('warning:')) console.error(output.trimEnd());
  }
}

function fail(text) {
  console.error(`native: ${text}`);
  process.exit(1);
}
