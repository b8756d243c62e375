/**
 * What is found of an uplink: its keeper (native/keeper/keeper.cc), its program, what both say, by the directory alone.
 *
 * Guarantees: a process is known by pid and start time, so that one that has the pid by chance is never taken for ours.
 * Reading changes nothing; a file that is missing or of no use counts as not there. That one cannot be read, or a process
 * not be looked for, is an error: whoever took it for an end would leave the program running.
 * Limits: what the files say is what the keeper wrote: the directory has to be the daemon's alone.
 */
import { closeSync, constants, existsSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Child } from '../native/index.ts';
import type { UplinkStatus } from '../state/uplink.ts';
import { EffectError } from './effect.ts';
import { namesIn } from './shared-directory.ts';
import { isAlive, watch } from './process.ts';
import { processesBy } from './process-list.ts';

/** Files in an uplink's directory. */
export const CLAIM = 'keeper';
export const STATUS = 'status';
/** A directory: the program's own, with its API socket. */
export const PROGRAM = 'program';
/** What its name ends with while it is being removed. */
export const DOOMED = '.doomed';

/** Of what a program said: as much as the keeper itself keeps of it in its status. */
const TAIL_BYTES = 4096;

/** The keeper that has the directory, alive or not; null when there never was one. */
export function claimOf(directory: string): Child | null {
  const [, pid, startTime] = /^(\d+) (\d+)\n$/.exec(textOf(`${directory}/${CLAIM}`) ?? '') ?? [];
  return pid === undefined || startTime === undefined ? null : { pid: Number(pid), startTime: Number(startTime) };
}

/** The last that the keeper told. */
export function statusOf(directory: string): UplinkStatus | null {
  const text = textOf(`${directory}/${STATUS}`) ?? 'null';
  try {
    return JSON.parse(text) as UplinkStatus | null;
  } catch {
    return null;
  }
}

/** For whoever wants to know how it is, and what the program said last: null when nothing was started. */
export function findUplink(directory: string): UplinkStatus | null {
  const status = statusOf(directory);
  if (status === null || status.state === 'ended') return status;
  const output = logOf(status) ?? status.output;
  return isAlive(status.keeper) && isAlive(status.child) ? { ...status, output } : { ...status, state: 'ended' };
}

/** Names of all that were started in `parent` and not wholly removed, each once. */
export function listUplinks(parent: string): string[] {
  return [...new Set(namesIn(parent).map((name) => name.replace(/\.doomed$/, '')))].sort();
}

/** Keepers whose directory lies in `parent`, by their command lines: also one whose directory is gone. */
export async function keepersIn(parent: string): Promise<{ name: string; keeper: Child }[]> {
  const found = await processesBy(([file = '', option, directory = '']) =>
    basename(file) === 'cleat-keeper' && option === '--directory' && dirname(directory) === parent
      ? basename(directory)
      : null,
  );
  return found.map(({ what: name, process: keeper }) => ({ name, keeper }));
}

/** No directory leads to this keeper any more: it is gone, or another's. One that has not put its claim in yet is no orphan. */
export function isOrphan(parent: string, { name, keeper }: { name: string; keeper: Child }): boolean {
  const directories = [join(parent, name), join(parent, `${name}${DOOMED}`)].filter((one) => existsSync(one));
  const claims = directories.map(claimOf);
  return claims.every((claim) => claim !== null && (claim.pid !== keeper.pid || claim.startTime !== keeper.startTime));
}

/** The uid of a process, null when it is gone. */
export function userOf({ pid, startTime }: Child): number | null {
  const [, uid] = /^Uid:\s+(\d+)/m.exec(textOf(`/proc/${pid}/status`) ?? '') ?? [];
  return uid === undefined || !isAlive({ pid, startTime }) ? null : Number(uid);
}

/** The words of a process's command line, null when it is gone. */
export function commandOf(process: Child): string[] | null {
  const words = textOf(`/proc/${process.pid}/cmdline`)?.split('\0').slice(0, -1) ?? null;
  return isAlive(process) ? words : null;
}

/** Calls back once, as soon as the keeper of the directory has ended, or a turn later when it has by now. */
export function watchUplink(directory: string, ended: () => void): () => void {
  return watch(claimOf(directory), ended);
}

/** What the program has said up to now: the keeper's own descriptor of a file without a name. */
function logOf({ keeper, log }: UplinkStatus & { log?: number | null }): string | null {
  if (typeof log !== 'number') return null;
  let fd: number;
  try {
    fd = openSync(`/proc/${keeper.pid}/fd/${log}`, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return null;
  }
  try {
    if (!isAlive(keeper)) return null; // it may have been another's
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
    throw new EffectError({
      code: 'UPLINK_FAILED',
      message: `cannot read ${path}: ${code}`,
      errno: code,
      object: path,
    });
  }
}
