/**
 * The process of an uplink, known by its directory: starts or adopts it, and ends it with everything that belongs to it.
 *
 * Guarantees: ensure returns when the program reports that it is ready, and leaves nothing behind if it does not. A program
 * that runs with the very same arguments is adopted. A failure is known the moment the program ends (D8). remove returns when
 * keeper and program are gone, and the directory with them; only our own processes get signals. Neither needs the namespace.
 * Limits: one ensure or remove of a directory at a time. The keeper has a session of its own, and is in our cgroup until it
 *   has a scope (scopes.ts).
 */
import { mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, unlinkSync, watch as watchFiles } from 'node:fs';
import { join } from 'node:path';
import type { UplinkProcess } from '../../plan/uplinks/uplink.ts';
import { built, isKernelError, spawn, type Child } from '../../native/index.ts';
import type { ExitDescriptor } from '../../state/container.ts';
import type { UplinkProgram, UplinkStatus } from '../../state/uplink.ts';
import { FaultError, unwritable } from '../../state/faults.ts';
import { descriptorFor } from '../processes/exit-descriptor.ts';
import { ended, isAlive, isStopped, SIGKILL, signal, SIGTERM, watch } from '../processes/process.ts';
import { requireFor } from '../refusal.ts';
import { CLAIM, claimOf, commandOf, DOOMED, findUplink, PROGRAM, STATUS, statusOf } from './uplink-keeper.ts';
import { tunTrouble } from './tun.ts';
import { uplinkUsers } from './uplink-users.ts';

/** The number of the exit descriptor in the keeper. */
const BOUND_FD = 3;

const KEEPER = built('cleat-keeper');
/** slirp4netns takes 5 ms, pasta 30 ms. */
export const READY_MS = 5000;
/** A keeper ends its program within a second (kGraceMs in keeper.cc). */
const END_MS = 3000;
/** The number of attempts: files of an earlier daemon can spoil the first. */
const TURNS = 3;
/** The number of attempts to remove a directory in which new files appear meanwhile. */
const ROUNDS = 20;

/** Returns the keeper. */
export async function ensureUplink(input: UplinkProcess, readyMs = READY_MS): Promise<Child> {
  const { directory } = input;
  const command = [KEEPER, ...argumentsOf(input, readyMs)];
  const patience = readyMs + END_MS;
  const exit = input.exit === undefined ? [] : [await descriptorOf(input.exit)];
  let status: UplinkStatus | null = null;
  for (let turn = 0; turn < TURNS; turn++) {
    const before = claimOf(directory);
    if (isKeptAs(before, command)) {
      await settled(directory, patience, () => before);
      const found = findUplink(directory);
      const stopped = [before, found?.child ?? null].some((one) => one !== null && isStopped(one));
      if (found?.state === 'ready' && !stopped) return before;
    }
    await removeUplink(directory);
    attempt(() => mkdirSync(directory, { recursive: true, mode: 0o700 }), []);
    let own: Child | null = null;
    status = await settled(directory, patience, () => (own = begin(input, command, exit)));
    const claim = claimOf(directory);
    if (status?.state === 'ready' && isKeptAs(claim, command)) return claim;
    // Otherwise a late keeper of a daemon that died while starting it has claimed the new directory first.
    if (claim === null || JSON.stringify(claim) === JSON.stringify(own)) break;
  }
  await removeUplink(directory);
  throw failed(input, status, readyMs);
}

const isKeptAs = (keeper: Child | null, command: readonly string[]): keeper is Child =>
  keeper !== null && commandOf(keeper)?.join('\0') === command.join('\0');

function argumentsOf(input: UplinkProcess, readyMs: number) {
  const { directory, netnsFd, hostLoopback, boundTo, exit, exitFd, readyFd, file, args } = input;
  const { plain, loopback } = uplinkUsers();
  const { uid, gid } = hostLoopback ? loopback : plain;
  return [
    '--directory',
    directory,
    '--user',
    `${uid}:${gid}`,
    ...(netnsFd === null ? [] : ['--netns-fd', `${netnsFd}`]),
    ...(boundTo === null ? [] : ['--bound-pid', `${boundTo.pid}`, '--bound-start', `${boundTo.startTime}`]),
    ...(exit === undefined ? [] : ['--bound-fd', `${BOUND_FD}`]),
    ...(exitFd === null ? [] : ['--exit-fd', `${exitFd}`]),
    ...(readyFd === null ? [] : ['--ready-fd', `${readyFd}`, '--ready-ms', `${readyMs}`]),
    '--',
    file,
    ...args,
  ];
}

/** Returns the descriptor that the program ends with. */
async function descriptorOf(exit: ExitDescriptor): Promise<number> {
  const fd = await descriptorFor(exit);
  if (fd !== null) return fd;
  throw hungUp(exit);
}

const hungUp = ({ holder, fd }: ExitDescriptor) =>
  new FaultError('NO_SUCH_PROCESS', `the other end of descriptor ${fd} of process ${holder.pid} is closed`);

function begin({ program, outside }: UplinkProcess, [file = '', ...args]: string[], exit: number[]): Child {
  requireFor(program);
  const trouble = tunTrouble();
  if (trouble !== null) {
    const message = `failed to start ${program} process: ${trouble.message} (${trouble.hint})`;
    throw new FaultError('UPLINK_FAILED', message, { object: '/dev/net/tun' });
  }
  try {
    return spawn({
      file,
      args,
      env: {},
      fds: [-1, -1, -1, ...exit],
      ownSession: true,
      ...(outside === null ? {} : { netns: outside }),
    });
  } catch (error) {
    if (!isKernelError(error)) throw error;
    const { code: errno, syscall, object } = error;
    const message = `failed to start ${program} process: ${error.message}`;
    throw new FaultError('UPLINK_FAILED', message, { errno, syscall, object });
  }
}

/**
 * Resolves with the status when the uplink is ready or has ended, or after `ms`. Watches the directory (inotify(7)) and the
 * keeper's end.
 */
async function settled(directory: string, ms: number, start: () => Child): Promise<UplinkStatus | null> {
  return new Promise((resolve, reject) => {
    const ends: (() => void)[] = [];
    const fail = (error: unknown) => {
      for (const end of ends.splice(0)) end();
      reject(error instanceof Error ? error : new Error(String(error)));
    };
    const unlessFailed = (work: () => void) => () => {
      try {
        work();
      } catch (error) {
        fail(error);
      }
    };
    const settle = unlessFailed(() => {
      for (const end of ends.splice(0)) end();
      resolve(statusOf(directory));
    });
    try {
      // Watches before the start, so that it misses nothing.
      const look = unlessFailed(() => {
        if (['ready', 'ended'].includes(statusOf(directory)?.state ?? '')) settle();
      });
      // If the watch of the files fails, the keeper's end and the timer still settle it.
      const files = watchFiles(directory, look).on('error', () => {});
      ends.push(() => files.close());
      const unwatch = watch(start(), settle);
      const timer = setTimeout(settle, ms);
      ends.push(unwatch, () => clearTimeout(timer));
      look();
    } catch (error) {
      fail(error);
    }
  });
}

/** Returns the fault of a start that failed (B53, B55-B57). */
function failed(
  { program, boundTo, exit, file }: UplinkProcess,
  status: UplinkStatus | null,
  readyMs: number,
): FaultError {
  const fault = (message: string) => new FaultError('UPLINK_FAILED', message, { object: file });
  if (status === null) return fault(`failed to start ${program} process: its keeper ended without a word`);
  const said = quoted(status.output);
  const bound = status.cause === 'bound';
  if (exit !== undefined && (bound ? boundTo === null || isAlive(boundTo) : status.error.startsWith('descriptor '))) {
    return hungUp(exit);
  }
  if (bound || (boundTo !== null && status.error.startsWith('process '))) {
    return new FaultError('NO_SUCH_PROCESS', `process ${boundTo?.pid} has ended`);
  }
  if (status.error !== '') return fault(`failed to start ${program} process: ${status.error}`);
  if (status.cause === 'deadline' || status.state !== 'ended') {
    const message = `${program} was not ready after ${readyMs} ms, and was ended${said === '""' ? '' : `: ${said}`}`;
    return new FaultError('DEADLINE', message, { object: file });
  }
  return fault(howEnded(program, status));
}

/** Returns the message for an uplink's end, with the reference's wording (B57). */
export function howEnded(program: UplinkProgram, { signal, code, output }: UplinkStatus): string {
  const said = quoted(output);
  // Neither a signal nor a code: its keeper was killed, and the program with it.
  if (signal === null && code === null) return `${program} ended with its keeper`;
  if (signal !== null) return `${program} killed by signal ${signal}${said === '""' ? '' : `: ${said}`}`;
  return `${program} failed: ${said} (exit status ${code})`;
}

/**
 * Quotes the output as Go's %q. Leaves out the program's usage, and the lines that pasta writes for each message if there is no
 * syslog.
 */
const quoted = (output: string): string =>
  JSON.stringify(
    output
      .replace(/^Failed to send \d+ bytes to syslog\n/gm, '')
      .replace(/^Usage: [^]*/m, '')
      .trim(),
  );

/** Ends keeper and program of this directory, and removes it. A missing directory is no error. */
export async function removeUplink(directory: string): Promise<void> {
  // Renames the directory first: a late keeper then finds nothing, and one that is in it already is found below.
  const doomed = `${directory}${DOOMED}`;
  await clear(doomed); // of a remove that was interrupted
  attempt(() => renameSync(directory, doomed), ['ENOENT']);
  await clear(doomed);
}

async function clear(directory: string): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    const keeper = claimOf(directory);
    if (keeper !== null) await end(keeper);
    // If the keeper was killed after its program had changed its credentials, the program may still run.
    const child = statusOf(directory)?.child ?? null;
    if (child !== null) await end(child, SIGKILL);
    const files = filesIn(directory);
    if (files === null) return;
    // The claim appeared after claimOf above: end its keeper first.
    if (keeper === null && files.includes(CLAIM) && claimOf(directory) !== null) continue;
    // The claim comes last: if this is interrupted, the next run finds the status with it.
    const inOrder = [...files.filter((file) => ![CLAIM, STATUS, PROGRAM].includes(file)), STATUS, CLAIM];
    // The program may have made anything in its own directory. Links in there are not followed.
    attempt(() => rmSync(join(directory, PROGRAM), { recursive: true, force: true }), []);
    for (const file of inOrder) attempt(() => unlinkSync(join(directory, file)), ['ENOENT']);
    if (attempt(() => rmdirSync(directory), ['ENOENT', 'ENOTEMPTY'])) return;
  }
  throw new FaultError('UPLINK_FAILED', `${directory} cannot be removed`, { object: directory });
}

function filesIn(directory: string): string[] | null {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw unwritable(error);
  }
}

/** Returns false if the work fails with one of these codes, except for ENOENT, which counts as done. */
function attempt(work: () => void, codes: readonly string[]): boolean {
  try {
    work();
    return true;
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (!codes.includes(code)) throw unwritable(error);
    return code === 'ENOENT';
  }
}

/** Returns when the process is gone. */
async function end(process: Child, first = SIGTERM): Promise<void> {
  // A stopped process takes no other signal (signal(7)).
  for (const number of first === SIGKILL || isStopped(process) ? [SIGKILL] : [first, SIGKILL]) {
    if (!isAlive(process)) return;
    signal(process, number);
    if (await ended(process, END_MS)) return;
  }
  throw new FaultError('UPLINK_FAILED', `process ${process.pid} of an uplink does not end`);
}
