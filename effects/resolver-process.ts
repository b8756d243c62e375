/**
 * One aardvark-dns process, known by the directory it reads: found, started, told to read again, ended.
 *
 * Guarantees: only a process whose command line names the directory is ever signalled, by pid and start time. `start`
 * returns when it serves, and leaves nothing when it does not; `stop` returns when it is gone.
 * Limits: "serves" is what aardvark says of itself: it says so even if an address could not be listened on.
 */
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { processStartTime, spawn, type Child } from '../native/index.ts';
import { argumentsOf, ENVIRONMENT, PID_FILE, type Part } from './aardvark.ts';
import { EffectError } from './effect.ts';
import { ended, SIGHUP, SIGKILL, signal, SIGTERM } from './process.ts';

/** It takes 7 ms. */
const START_MS = 3000;
const STOP_MS = 2000;
/** Processes looked at in one turn: 2 ms. */
const SLICE = 200;

/** A server, and the directory that it reads. */
export interface Served {
  directory: string;
  server: Child;
}

/** The process that serves this directory, in this namespace if one is given. Null when there is none. */
export function find(directory: string, netns: { ino: number; dev: number } | null): Child | null {
  let pid: number;
  try {
    pid = Number(readFileSync(join(directory, PID_FILE), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const server = serverOf(pid, directory);
  return server !== null && (netns === null || livesIn(pid, netns)) ? server : null;
}

function serverOf(pid: number, directory: string): Child | null {
  if (!Number.isInteger(pid) || pid <= 1) return null;
  const found = servedBy(pid);
  return found?.directory === directory ? found.server : null;
}

/** By command line: `--config <directory>`. A zombie has none. */
function servedBy(pid: number): Served | null {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(1, -1);
    const directory = words[1] ?? '';
    if (words.join('\0') !== argumentsOf(directory).join('\0')) return null;
    return { directory, server: { pid, startTime: processStartTime(pid) } };
  } catch (error) {
    if (hasGone(error)) return null;
    throw error;
  }
}

/** ENOENT or ESRCH, as it goes before or after its file in /proc was opened (proc(5)). Anything else says nothing of it. */
const hasGone = (error: unknown): boolean => ['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');

function livesIn(pid: number, { ino, dev }: { ino: number; dev: number }): boolean {
  try {
    const found = statSync(`/proc/${pid}/ns/net`);
    return found.ino === ino && found.dev === dev;
  } catch (error) {
    if (hasGone(error)) return false;
    throw error;
  }
}

/** Starts it in the outside's namespace. There must be none for this directory. */
export async function start(file: string, directory: string, part: Part, netns: string | null): Promise<Child> {
  const starter = spawn({
    file,
    args: argumentsOf(directory),
    env: ENVIRONMENT[part],
    fds: [-1, -1, -1],
    ownSession: true,
    ...(netns === null ? {} : { netns }),
  });
  // It forks, and the parent ends when the child serves. When the child fails to, 1.4 waits for ever.
  if (!(await ended(starter, START_MS))) signal(starter, SIGKILL);
  else {
    const server = find(directory, null);
    if (server !== null) return server;
  }
  await stop(directory);
  throw new EffectError({ code: 'DNS_FAILED', message: `${file} did not start (the system's log may say why)` });
}

export function reload(server: Child | null): void {
  if (server !== null) signal(server, SIGHUP);
}

/** Ends every process that serves this directory, and removes its pid file. None is fine. */
export async function stop(directory: string): Promise<void> {
  for (const server of await all(directory)) {
    signal(server, SIGTERM);
    if (await ended(server, STOP_MS)) continue;
    signal(server, SIGKILL);
    if (await ended(server, STOP_MS)) continue;
    throw new EffectError({ code: 'DNS_FAILED', message: `aardvark-dns (pid ${server.pid}) does not end` });
  }
  rmSync(join(directory, PID_FILE), { force: true });
}

/** Not by the pid file alone: it may be lost, or name the second of two. */
const all = async (directory: string): Promise<Child[]> =>
  (await servers()).filter((found) => found.directory === directory).map(({ server }) => server);

/** Every one there is, whoever started it. In slices: there may be thousands of processes. */
export async function servers(): Promise<Served[]> {
  const found: Served[] = [];
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  for (const [n, pid] of pids.entries()) {
    if (n % SLICE === SLICE - 1) await new Promise(setImmediate);
    const served = servedBy(Number(pid));
    if (served !== null) found.push(served);
  }
  return found;
}
