/**
 * The descriptors whose other end is the end of a container (docs/decisions/0059): the read end of a pipe, a connected socket, or
 * a pidfd, each named as a descriptor of a process.
 *
 * Guarantees: a descriptor is taken from exactly the process that was named, and recognised by its inode from then on. It is
 * held as long as somebody watches it. After the daemon was killed it is found again with whoever has it: the process that was
 * named, the keeper of an uplink, the forwarder, and for a pipe also any process at its other end. That nobody has it is what
 * means that the container has ended; a search that fails means nothing, and is an error.
 * Limits: a socket that nobody but the killed daemon had is not found, and counts as ended. Inode numbers of pipes and sockets
 * come back after 2^32 of them. Processes of this pid namespace alone are searched.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import {
  descriptorKind,
  hasHungUp,
  isKernelError,
  openProcess,
  processStartTime,
  takeDescriptor,
  watchHangUp,
} from '../../native/index.ts';
import type { ExitDescriptor, Tie } from '../../state/container.ts';
import { FaultError } from '../../state/faults.ts';
import { hasGone, isAlive, isGone } from './process.ts';

/** The number of processes that are searched per turn, which takes some milliseconds. */
const SLICE = 50;

interface Held {
  /** Null: nobody has it any more. */
  fd: number | null;
  users: number;
}

const held = new Map<string, Held>();

const keyOf = ({ kind, dev, ino, process }: ExitDescriptor): string =>
  [kind, dev, ino, process?.pid, process?.startTime].join(' ');

/** Returns what a descriptor of a process is. Throws if it cannot mean the end of anything, or if that end has come. */
export function identifyExit({ pid, fd: number }: { pid: number; fd: number }): ExitDescriptor {
  const name = `descriptor ${number} of process ${pid}`;
  const unusable = (why: string) => new FaultError('EXIT_FD_UNUSABLE', `${name} ${why}`, { object: String(pid) });
  const { fd, startTime } = taken(pid, number, unusable);
  try {
    const kind = descriptorKind(fd);
    if (kind === 'write end')
      throw unusable('is the write end of a pipe: name the read end; this one, held here, would keep the pipe open');
    if (kind === 'unconnected') throw unusable('is a socket that is connected to nobody');
    if (kind === 'other') throw unusable('is no pipe, socket or pidfd');
    const { dev, ino } = fstatSync(fd);
    const process = kind === 'process' ? processOf(fd) : null;
    if (hasHungUp(fd) || (kind === 'process' && process === null)) {
      throw unusable(kind === 'process' ? 'is of a process that has ended' : 'has no other end any more');
    }
    return { holder: { pid, startTime }, fd: number, kind, dev, ino, process };
  } finally {
    closeSync(fd);
  }
}

function taken(pid: number, number: number, unusable: (why: string) => FaultError): { fd: number; startTime: number } {
  try {
    return takeDescriptor(pid, number);
  } catch (error) {
    if (isGone(error)) throw new FaultError('NO_SUCH_PROCESS', `no process ${pid}`, { object: String(pid) });
    if (isKernelError(error) && error.code === 'EBADF') throw unusable('is not open');
    if (isKernelError(error) && ['EPERM', 'EACCES'].includes(error.code)) {
      throw new FaultError('NOT_ALLOWED', `the daemon may not take descriptors of process ${pid}: ${error.code}`);
    }
    throw error;
  }
}

/** Returns the process that a pidfd refers to (pidfd_open(2)); null if it has ended, or is not in our pid namespace. */
function processOf(fd: number): ExitDescriptor['process'] {
  const pid = Number(/^Pid:\s*(-?\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? 0);
  try {
    return pid > 0 ? { pid, startTime: processStartTime(pid) } : null;
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

/** Makes sure of our own descriptors for these, as far as anybody has them. */
export async function findExits(exits: readonly ExitDescriptor[]): Promise<void> {
  const missing = new Map(exits.filter((exit) => !held.has(keyOf(exit))).map((exit) => [nameOf(exit), exit]));
  for (const [name, exit] of missing) {
    const fd = fromHolder(exit);
    if (fd === null && exit.kind !== 'process') continue;
    keep(exit, fd);
    missing.delete(name);
  }
  if (missing.size === 0) return;
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid);
  for (const [n, pid] of pids.entries()) {
    if (n % SLICE === SLICE - 1) await new Promise(setImmediate);
    for (const [number, name] of descriptorsOf(pid)) {
      const exit = missing.get(name);
      const fd = exit === undefined ? null : fromAnybody(exit, Number(pid), number);
      if (exit === undefined || fd === null) continue;
      keep(exit, fd);
      missing.delete(name);
    }
  }
  for (const exit of missing.values()) keep(exit, null);
}

/** Others may have found it meanwhile. */
function keep(exit: ExitDescriptor, fd: number | null): void {
  const known = held.get(keyOf(exit));
  if (known !== undefined && fd !== null) closeSync(fd);
  if (known === undefined) held.set(keyOf(exit), { fd, users: 0 });
}

/** Its name in /proc/PID/fd. */
const nameOf = ({ kind, ino, process }: ExitDescriptor): string =>
  process === null ? `${kind}:[${ino}]` : `process ${process.pid} ${process.startTime}`;

function fromHolder({ holder, fd: number, process, ...exit }: ExitDescriptor): number | null {
  return unlessGone(() => {
    const { fd, startTime } = process === null ? takeDescriptor(holder.pid, number) : openProcess(process.pid);
    const same =
      process === null ? startTime === holder.startTime && leadsTo(fd, exit) : startTime === process.startTime;
    if (same) return fd;
    closeSync(fd);
    return null;
  });
}

function fromAnybody(exit: ExitDescriptor, pid: number, number: number): number | null {
  return unlessGone(() => {
    // Opening a pipe by either of its ends makes a read end (proc_pid_fd(5)); a socket cannot be opened, only taken.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK;
    const fd = exit.kind === 'pipe' ? openSync(`/proc/${pid}/fd/${number}`, flags) : takeDescriptor(pid, number).fd;
    if (leadsTo(fd, exit)) return fd;
    closeSync(fd);
    return null;
  });
}

function leadsTo(fd: number, { kind, dev, ino }: Pick<ExitDescriptor, 'kind' | 'dev' | 'ino'>): boolean {
  const found = fstatSync(fd);
  // A socket whose peer has closed is not connected any more.
  const its = kind === 'socket' ? ['socket', 'unconnected'] : [kind];
  return found.dev === dev && found.ino === ino && its.includes(descriptorKind(fd));
}

/** The codes of a process that is gone, that has closed the descriptor, or that we may not look into. */
const ABSENT = new Set(['ENOENT', 'ESRCH', 'EBADF', 'EACCES', 'EPERM', 'ENXIO']);

function unlessGone<T>(work: () => T): T | null {
  try {
    return work();
  } catch (error) {
    if (ABSENT.has((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
}

function descriptorsOf(pid: string): [number: number, name: string][] {
  const directory = `/proc/${pid}/fd`;
  const numbers = unlessGone(() => readdirSync(directory)) ?? [];
  return numbers.flatMap((number): [number, string][] => {
    try {
      return [[Number(number), readlinkSync(`${directory}/${number}`)]];
    } catch (error) {
      if (hasGone(error)) return [];
      throw error;
    }
  });
}

/** Returns our descriptor, null if the container has ended with it. */
export async function descriptorFor(exit: ExitDescriptor): Promise<number | null> {
  await findExits([exit]);
  const fd = held.get(keyOf(exit))?.fd ?? null;
  return fd === null || hasHungUp(fd) ? null : fd;
}

/** Calls `ended` once, when the other end is closed. Returns a function that ends the watch, and releases the descriptor. */
export async function watchExit(exit: ExitDescriptor, ended: () => void): Promise<() => void> {
  await findExits([exit]);
  const known = held.get(keyOf(exit)) ?? { fd: null, users: 0 };
  held.set(keyOf(exit), known);
  known.users += 1;
  const turn = known.fd === null ? setImmediate(ended) : undefined;
  const unwatch = known.fd === null ? () => clearImmediate(turn) : watchHangUp(known.fd, ended);
  return () => {
    unwatch();
    known.users -= 1;
    // Somebody who takes over the watch in this turn keeps it.
    setImmediate(() => release(keyOf(exit)));
  };
}

function release(key: string): void {
  const known = held.get(key);
  if (known === undefined || known.users > 0) return;
  held.delete(key);
  if (known.fd !== null) closeSync(known.fd);
}

/** Returns true if a container that is tied to this has ended, as far as is known without a search. */
export function tieHasEnded({ process, exit }: Tie): boolean {
  if (process !== null && !isAlive(process)) return true;
  const known = exit === null ? undefined : held.get(keyOf(exit));
  return known !== undefined && (known.fd === null || hasHungUp(known.fd));
}
