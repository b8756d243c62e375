/**
 * Reads the state of an uplink from its directory: its keeper (native/keeper/keeper.cc), its program, and the output of both.
 *
 * Guarantees: a process is known by pid and start time, so another process that has the pid by chance is never taken for ours.
 * Reading changes nothing; a file that is missing or invalid counts as missing. A file or process that cannot be read is an
 * error: a caller that took it for an end would leave the program running.
 * Limits: the files contain what the keeper wrote, so the directory must be the daemon's alone.
 */
import { closeSync, constants, existsSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Child } from '../../native/index.ts';
import type { UplinkStatus } from '../../state/uplink.ts';
import { FaultError } from '../../state/faults.ts';
import { namesIn } from '../shared-directory.ts';
import { isAlive, watch } from '../processes/process.ts';
import { processesBy } from '../processes/process-list.ts';

/** The directory, in the run directory, of what leads out of a rootless daemon's own outside. */
export const wayOutHome = (runDir: string): string => join(runDir, 'rootless');

/** Files in an uplink's directory. */
export const CLAIM = 'keeper';
export const STATUS = 'status';
/** A directory: the program's own, with its API socket. */
export const PROGRAM = 'program';
/** The suffix of a directory's name while it is being removed. */
export const DOOMED = '.doomed';

/** The part of a program's output that is returned: as much as the keeper itself keeps in its status. */
const TAIL_BYTES = 4096;

/** Returns the keeper that has the directory, alive or not; null if there never was one. */
export function claimOf(directory: string): Child | null {
  const [, pid, startTime] = /^(\d+) (\d+)\n$/.exec(textOf(`${directory}/${CLAIM}`) ?? '') ?? [];
  return pid === undefined || startTime === undefined ? null : { pid: Number(pid), startTime: Number(startTime) };
}

/** Returns the status that the keeper wrote last. */
export function statusOf(directory: string): UplinkStatus | null {
  const text = textOf(`${directory}/${STATUS}`) ?? 'null';
  try {
    return JSON.parse(text) as UplinkStatus | null;
  } catch {
    return null;
  }
}

/** Returns the present status with the program's latest output; null if nothing was started. */
export function findUplink(directory: string): UplinkStatus | null {
  const status = statusOf(directory);
  if (status === null || status.state === 'ended') return status;
  const output = logOf(status) ?? status.output;
  return isAlive(status.keeper) && isAlive(status.child) ? { ...status, output } : { ...status, state: 'ended' };
}

/** Returns the names of all uplinks that were started in `parent` and not completely removed, each once. */
export function listUplinks(parent: string): string[] {
  return [...new Set(namesIn(parent).map((name) => name.replace(/\.doomed$/, '')))].sort();
}

/**
 * Returns the keepers whose directory lies in `parent`, by their command lines, so that a missing directory does not matter.
 */
export async function keepersIn(parent: string): Promise<{ name: string; keeper: Child }[]> {
  const found = await processesBy(([file = '', option, directory = '']) =>
    basename(file) === 'cleat-keeper' && option === '--directory' && dirname(directory) === parent
      ? basename(directory)
      : null,
  );
  return found.map(({ what: name, process: keeper }) => ({ name, keeper }));
}

/**
 * True if no directory leads to this keeper any more: it is gone, or another keeper's. A keeper that has not written its claim
 * yet is no orphan.
 */
export function isOrphan(parent: string, { name, keeper }: { name: string; keeper: Child }): boolean {
  const directories = [join(parent, name), join(parent, `${name}${DOOMED}`)].filter((one) => existsSync(one));
  const claims = directories.map(claimOf);
  return claims.every((claim) => claim !== null && (claim.pid !== keeper.pid || claim.startTime !== keeper.startTime));
}

/** Returns the uid of a process; null if it is gone. */
export function userOf({ pid, startTime }: Child): number | null {
  const [, uid] = /^Uid:\s+(\d+)/m.exec(textOf(`/proc/${pid}/status`) ?? '') ?? [];
  return uid === undefined || !isAlive({ pid, startTime }) ? null : Number(uid);
}

/** Returns the words of a process's command line; null if it is gone. */
export function commandOf(process: Child): string[] | null {
  const words = textOf(`/proc/${process.pid}/cmdline`)?.split('\0').slice(0, -1) ?? null;
  return isAlive(process) ? words : null;
}

/** Calls `ended` once, as soon as the keeper of the directory has ended; on the next tick if it has ended already. */
export function watchUplink(directory: string, ended: () => void): () => void {
  return watch(claimOf(directory), ended);
}

/** Returns the program's output so far. It is in a file without a name, reached through the keeper's own descriptor. */
function logOf({ keeper, log }: UplinkStatus & { log?: number | null }): string | null {
  if (typeof log !== 'number') return null;
  let fd: number;
  try {
    fd = openSync(`/proc/${keeper.pid}/fd/${log}`, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return null;
  }
  try {
    if (!isAlive(keeper)) return null; // the descriptor may have been another process's
    const bytes = Buffer.alloc(TAIL_BYTES);
    const { size } = fstatSync(fd);
    const got = readSync(fd, bytes, 0, TAIL_BYTES, Math.max(0, size - TAIL_BYTES));
    return bytes.toString('latin1', 0, got).replace(/[^\n\t -~]/g, '?');
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}

function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (['ENOENT', 'ENOTDIR', 'ESRCH'].includes(code)) return null;
    throw new FaultError('UPLINK_FAILED', `cannot read ${path}: ${code}`, { errno: code, object: path });
  }
}
