/**
 * Makes the code caches of the programs in dist/bundle: what V8 has compiled of them when they have done what they mostly do. A start
 * then compiles none of it (launch/program.ts).
 *
 *   node dist/scripts/code-cache.js
 *
 * Guarantees: the programs run as they are shipped, and as the user who builds, in namespaces of their own: nothing of the machine is
 * touched, and all ends with this script. Each cache is replaced whole, and belongs to the bundle that it was made of.
 * Limits: where namespaces may not be made, a cache holds what loading a program compiles. V8 takes a cache from the same version
 * with the same flags only, so it is made where it is used. With another Node, or NODE_OPTIONS that V8 knows, programs are compiled.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import type * as CommandLine from '../cli/main.ts';
import type * as Daemon from '../service/main.ts';
import { cacheOf, headOf, load, type Program } from '../launch/program.ts';
import { BUNDLES, replace } from './bundle.ts';

const CLEAT = join(BUNDLES, 'cleat.cjs');
/** Below the /run of the namespaces. */
const HOME = '/run/cleat-code';
const PLACES = ['--run-dir', `${HOME}/run`, '--state-dir', `${HOME}/state`, '--netns-dir', `${HOME}/netns`];
const SOCKET = ['--socket', `${HOME}/run/cleat.sock`];
const START_LIMIT_MS = 60_000;

/** Done before the daemon is killed, whose successor then recovers. */
const BEFORE = ['network create code --subnet 10.90.0.0/24', 'create one --network code -p 8080:80', 'configure one'];
/** Done by one command line and its daemon, whose caches are made. */
const WARM = [
  'create two --network code -p 8081:80',
  'configure two',
  'ps',
  'inspect two',
  'teardown two',
  'teardown one',
];

const words = (command: string): string[] => [...command.split(' '), ...SOCKET];

/** Writes what V8 has compiled of a program by now. */
function write(name: string, { script, hash }: Program): void {
  setFlagsFromString('--flush-bytecode'); // V8 compares the flags, too
  replace(cacheOf(name), Buffer.concat([Buffer.from(headOf(hash)), script.createCachedData()]));
}

/** Loads a program that keeps what it compiles, however long ago it was used. */
function loadToKeep(name: string): Program {
  setFlagsFromString('--no-flush-bytecode');
  return load(name);
}

async function asCommandLine(): Promise<void> {
  const program = loadToKeep('command');
  for (const command of WARM) await (program.exports as typeof CommandLine).main(['node', 'cleat', ...words(command)]);
  write('command', program);
  process.exit();
}

/** Is the daemon, and writes its cache instead of ending in order. */
async function asDaemon(): Promise<void> {
  const program = loadToKeep('daemon');
  process.on('SIGUSR2', () => {
    write('daemon', program);
    process.exit(0);
  });
  const { main } = program.exports as typeof Daemon;
  const places = { runDir: `${HOME}/run`, stateDir: `${HOME}/state`, netnsDir: `${HOME}/netns` };
  await main({ ...places, logLevel: 'error' }, (lines) => console.error(lines.join('\n')));
}

const node = (...given: string[]): ChildProcess =>
  spawn(process.execPath, given, { stdio: ['ignore', 'ignore', 'inherit'] });

async function done(child: ChildProcess): Promise<void> {
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${child.spawnargs.join(' ')} ended with ${code}`);
}

async function serves(daemon: ChildProcess): Promise<void> {
  const limit = performance.now() + START_LIMIT_MS;
  while (spawnSync(process.execPath, [CLEAT, ...words('version')], { stdio: 'ignore' }).status !== 0) {
    if (daemon.exitCode !== null || performance.now() > limit) throw new Error('the daemon does not serve');
    await sleep(10);
  }
}

async function inNamespaces(): Promise<void> {
  if (spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', '/run']).status !== 0) throw new Error('no /run of its own');
  mkdirSync(HOME);
  const first = node(CLEAT, 'daemon', ...PLACES, '--log-level', 'error');
  await serves(first);
  for (const command of BEFORE) await done(node(CLEAT, ...words(command)));
  first.kill('SIGKILL');
  await once(first, 'exit');
  const daemon = node(import.meta.filename, 'daemon');
  await serves(daemon);
  await done(node(import.meta.filename, 'command'));
  daemon.kill('SIGUSR2');
  await done(daemon);
}

async function makeCaches(): Promise<void> {
  const own = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const user = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  const inside = [process.execPath, import.meta.filename, 'inside'];
  const { status } = spawnSync('unshare', [...user, ...own, ...inside], { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status === 0) return;
  console.error('cleat could not be run here, so its code caches have only what loading it compiles');
  for (const name of ['command', 'daemon'])
    spawnSync(process.execPath, [import.meta.filename, 'load', name], { stdio: 'inherit' });
}

const [, script, role, name = ''] = process.argv;
if (script === import.meta.filename) {
  if (role === 'inside') await inNamespaces();
  else if (role === 'daemon') await asDaemon();
  else if (role === 'command') await asCommandLine();
  else if (role === 'load') write(name, loadToKeep(name));
  else if (existsSync(CLEAT)) await makeCaches();
}
