/**
 * The daemon and the command as they are shipped: one file each, loaded with a code cache (launch/program.ts). Whatever is wrong with
 * the cache, they run without it, and the daemon says why.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { until } from '../harness/native.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const PROGRAM = 'dist/bundle/daemon.program.js';
const CACHE = 'dist/bundle/daemon.program.cache';
const LIMIT_MS = 20_000;

const cached = suite('code cache');
/** Why a cache is not used that is another program's, or another processor's. */
const OTHER = 'it is of another build, or of another processor';

/** A copy of the program whose files can be changed. */
function installed(): string {
  const copy = mkdtempSync('/run/installed-');
  for (const name of ['package.json', 'build']) symlinkSync(join(ROOT, name), join(copy, name));
  mkdirSync(join(copy, 'dist/bundle'), { recursive: true });
  const programs = ['command', 'daemon'].flatMap((name) =>
    ['js', 'js.map', 'cache'].map((kind) => `${name}.program.${kind}`),
  );
  for (const name of [...programs, 'cleat.cjs', 'daemon.cjs']) {
    copyFileSync(join(ROOT, 'dist/bundle', name), join(copy, 'dist/bundle', name));
  }
  return copy;
}

/** Starts and ends a daemon of this copy; returns why it has not used its code cache, null if it has. */
async function unfit(copy: string, flags: string[] = []): Promise<string | null> {
  const home = mkdtempSync('/run/home-');
  const places = ['--run-dir', `${home}/run`, '--state-dir', `${home}/state`, '--netns-dir', `${home}/netns`];
  const child = spawn(process.execPath, [...flags, join(copy, 'dist/bundle/cleat.cjs'), 'daemon', ...places]);
  let log = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (log += text));
  await until(`the daemon serves:\n${log}`, () => log.includes('"msg":"ready"') || child.exitCode !== null, LIMIT_MS);
  assert.is(child.exitCode, null, log);
  child.kill('SIGKILL');
  await once(child, 'close');
  const lines = log.split('\n').filter((line) => line.startsWith('{'));
  const said = lines.map((line) => JSON.parse(line) as { msg: string; why?: string });
  return said.find(({ msg }) => msg.startsWith('compiled anew'))?.why ?? null;
}

const version = (copy: string): string => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(copy, 'dist/bundle/cleat.cjs'), '--version'], {
    encoding: 'utf8',
  });
  assert.equal([status, stderr], [0, '']);
  return stdout.trim();
};

cached('what the build has made is used, from any directory, also with source maps', async () => {
  const copy = installed();
  assert.is(await unfit(copy), null);
  assert.is(await unfit(copy, ['--enable-source-maps']), null);
});

cached('without a cache, or with half of one, the daemon and the command run', async () => {
  const copy = installed();
  truncateSync(join(copy, CACHE), 5000);
  assert.match((await unfit(copy)) ?? '', /another version of Node, or of other flags/);
  truncateSync(join(copy, CACHE), 10);
  assert.is(await unfit(copy), OTHER);
  rmSync(join(copy, CACHE));
  assert.is(await unfit(copy), 'it cannot be read: ENOENT');
  const { version: real } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  for (const spoil of [() => {}, () => truncateSync(join(copy, 'dist/bundle/command.program.cache'), 100)]) {
    spoil();
    assert.is(version(copy), real);
  }
});

cached('a cache of a program that was other by a letter is not used', async () => {
  const copy = installed();
  const source = readFileSync(join(copy, PROGRAM), 'latin1');
  // As long as before, which is all that V8 compares. The build would give it another hash.
  const changed = source.replace(/[0-9a-f]/, (digit) => (digit === '0' ? '1' : '0')).replace('"ready"', '"READY"');
  assert.is(changed.length, source.length);
  writeFileSync(join(copy, PROGRAM), changed.replace('"READY"', '"ready"'));
  assert.is(await unfit(copy), OTHER);
});

cached('a cache that another kind of processor made is not used, though V8 would take it', async () => {
  const copy = installed();
  const made = readFileSync(join(copy, CACHE), 'latin1');
  const foreign = made.replace(process.arch.padEnd(16), 'mips'.padEnd(16));
  assert.is.not(foreign, made);
  writeFileSync(join(copy, CACHE), foreign, 'latin1');
  assert.is(await unfit(copy), OTHER);
});

cached('a cache that others can write to is not used', async () => {
  const copy = installed();
  chmodSync(join(copy, CACHE), 0o664);
  assert.is(await unfit(copy), 'others may write to it');
  chmodSync(join(copy, CACHE), 0o644);
  chownSync(join(copy, CACHE), 65_534, 65_534);
  assert.is(await unfit(copy), 'others may write to it');
  chownSync(join(copy, CACHE), 0, 0);
  assert.is(await unfit(copy), null);
  renameSync(join(copy, CACHE), join(copy, 'elsewhere'));
  symlinkSync(join(copy, 'elsewhere'), join(copy, CACHE));
  assert.is(await unfit(copy), 'it cannot be read: ELOOP');
});

cached('a Node with other flags compiles anew', async () => {
  const copy = installed();
  assert.match((await unfit(copy, ['--no-opt'])) ?? '', /other flags/);
});

cached('stacks show the TypeScript', () => {
  const hook = join(mkdtempSync('/run/hook-'), 'fail.cjs');
  writeFileSync(hook, `process.stdout.on = () => { throw new Error('planted'); };`);
  const argv = ['--enable-source-maps', '--require', hook, join(ROOT, 'dist/bundle/cleat.cjs'), 'ps'];
  const { stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' });
  assert.match(stderr, /\/cli\/main\.ts:\d+:\d+/);
  assert.match(stderr, /\/launch\/cleat\.ts:\d+:\d+/);
});

cached.run();
