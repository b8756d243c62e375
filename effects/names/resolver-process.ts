/**
 * One aardvark-dns process, known by the directory that it reads: finds, starts, reloads and ends it.
 *
 * Guarantees: only a process whose command line names the directory is ever signalled, by pid and start time. `start` returns
 * when the process serves. If it does not, `start` leaves nothing behind, and the fault has the program's output. `stop`
 * returns when the process is gone. It runs as a user of its own that can do nothing but listen on port 53 (resolver-files.ts
 * has the permissions of its files). An address that cannot be listened on does not stop the names of other networks, in any
 * version.
 * Limits: aardvark reports itself that it serves, even if it could not listen on an address.
 */
import { closeSync, openSync, readFileSync, readSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { spawn, type Child } from '../../native/index.ts';
import { argumentsOf, ENVIRONMENT, PID_FILE, standIn, type Part } from './aardvark.ts';
import { FaultError } from '../../state/faults.ts';
import { ended, hasGone, isStopped, SIGHUP, SIGKILL, signal, SIGTERM } from '../processes/process.ts';
import { processBy, processesBy } from '../processes/process-list.ts';
import { requireFor } from '../refusal.ts';
import { closedOnTheWay, handOver, readPart, writePart } from './resolver-files.ts';
import type { User } from '../processes/users.ts';

/** A start takes 7 ms. */
const START_MS = 3000;
const STOP_MS = 2000;
/** aardvark-dns needs one for each address that it listens on, and one for at most 5 s for each query that it forwards. */
const DESCRIPTORS = 16_384;
/** The part of the program's output that a fault quotes. */
const MOST_BYTES = 2000;

/** A server, and the directory that it reads. */
export interface Served {
  directory: string;
  server: Child;
}

/** Returns the process that serves this directory, in this namespace if one is given; null if there is none. */
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
  const found = processBy(pid, servedIn);
  return found?.what === directory ? found.process : null;
}

/** Returns the directory of a server, from the `--config <directory>` of its command line. */
function servedIn(words: readonly string[]): string | null {
  const directory = words[2] ?? '';
  return words.slice(1).join('\0') === argumentsOf(directory).join('\0') ? directory : null;
}

/** Returns true if the server runs as this user. An earlier version of cleat started it as root. */
export function runsAs({ pid }: Child, { uid }: User): boolean {
  try {
    return statSync(`/proc/${pid}`).uid === uid;
  } catch (error) {
    if (hasGone(error)) return false;
    throw error;
  }
}

function livesIn(pid: number, { ino, dev }: { ino: number; dev: number }): boolean {
  try {
    const found = statSync(`/proc/${pid}/ns/net`);
    return found.ino === ino && found.dev === dev;
  } catch (error) {
    if (hasGone(error)) return false;
    throw error;
  }
}

/** The parameters of a start. No server may run for this directory. */
interface Plan {
  file: string;
  directory: string;
  part: Part;
  netns: string | null;
  user: User;
}

/**
 * Starts the server in the outside's namespace. 1.14 does not start if one of its addresses is taken or missing, but serves the
 * others if it reads them with a reload, as 1.4 does from the start.
 */
export async function start(plan: Plan): Promise<Child> {
  const { file, directory, user } = plan;
  requireFor('aardvark-dns');
  const first = await launch(plan);
  if (first.server !== null) return first.server;
  const second = first.timedOut ? first : await launchWithout(plan);
  if (second.server === null) {
    const said = first.said === '' ? "the system's log may say why" : first.said;
    const message = `${file} did not start as uid ${user.uid} in ${directory} (${said})`;
    throw new FaultError('DNS_FAILED', message, { object: file });
  }
  reload(second.server);
  return second.server;
}

interface Launched {
  /** Null if it does not serve. */
  server: Child | null;
  said: string;
  timedOut: boolean;
}

/** Starts it with a free address instead of its own ones. Those are back in its files before it reloads. */
async function launchWithout(plan: Plan): Promise<Launched> {
  const zones = readPart(plan.directory);
  try {
    writePart(plan.directory, standIn(plan.directory), plan.user);
    return await launch(plan);
  } finally {
    writePart(plan.directory, zones, plan.user);
  }
}

async function launch({ file, directory, part, netns, user }: Plan): Promise<Launched> {
  handOver(directory, user);
  // A user's own directory, below which a rootless daemon is: the server gets its part of it, and sees no other.
  const closed = closedOnTheWay(directory, user);
  const way = closed === null ? {} : { ownMounts: true, cover: closed, show: directory };
  const output = openUnlinked(`${directory}.output`);
  try {
    const starter = spawn({
      file,
      args: argumentsOf(directory),
      env: ENVIRONMENT[part],
      fds: [-1, output, output],
      ownSession: true,
      ...way,
      ...(netns === null ? {} : { netns }),
      confinement: { ...user, capabilities: ['NET_BIND_SERVICE'], descriptors: DESCRIPTORS },
    });
    // aardvark forks, and the parent ends when the child serves. If the child fails to, the parent of 1.4 waits for ever.
    const timedOut = !(await ended(starter, START_MS));
    const server = timedOut ? null : find(directory, null);
    if (server === null) {
      signal(starter, SIGKILL);
      await stop(directory);
    }
    return { server, said: saidIn(output), timedOut };
  } finally {
    closeSync(output);
  }
}

/** Makes a file without a name. It is not a pipe, because 1.4 keeps the descriptor as long as it lives. */
function openUnlinked(path: string): number {
  rmSync(path, { force: true });
  const fd = openSync(path, 'wx+', 0o600);
  rmSync(path);
  return fd;
}

/** Returns the output in one line, without the message that there is no system log, which is not the reason. */
function saidIn(fd: number): string {
  const bytes = Buffer.alloc(MOST_BYTES);
  const text = bytes.toString('utf8', 0, readSync(fd, bytes, 0, MOST_BYTES, 0));
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '' && !line.startsWith('failed to connect to syslog')).join('; ');
}

export function reload(server: Child | null): void {
  if (server !== null) signal(server, SIGHUP);
}

/** Ends every process that serves this directory, and removes its pid file. No process is no error. */
export async function stop(directory: string): Promise<void> {
  for (const server of await all(directory)) {
    // A stopped process takes no other signal (signal(7)).
    signal(server, isStopped(server) ? SIGKILL : SIGTERM);
    if (await ended(server, STOP_MS)) continue;
    signal(server, SIGKILL);
    if (await ended(server, STOP_MS)) continue;
    throw new FaultError('DNS_FAILED', `aardvark-dns (pid ${server.pid}) does not end`);
  }
  rmSync(join(directory, PID_FILE), { force: true });
}

/** Does not rely on the pid file, which may be lost or name only one of two servers. */
const all = async (directory: string): Promise<Child[]> =>
  (await servers()).filter((found) => found.directory === directory).map(({ server }) => server);

/** Returns every server, no matter which process started it. */
export async function servers(): Promise<Served[]> {
  const found = await processesBy(servedIn);
  return found.map(({ what: directory, process: server }) => ({ directory, server }));
}
