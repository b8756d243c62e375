/**
 * All processes by their command lines: how a helper is found whose files are gone.
 *
 * Guarantees: each command line is read once, in slices, so that thousands of processes do not hold the event loop up. A
 * process that ends meanwhile is passed over; one that cannot be looked at for another reason is an error.
 * Limits: a command line is what its process says of itself. A zombie has none. Processes of this pid namespace alone.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { processStartTime, type Child } from '../native/index.ts';
import { hasGone } from './process.ts';

/** Processes looked at in one turn: 2 ms. */
const SLICE = 200;

/**
 * Lists the processes that `recognise` answers for, each with its answer. `recognise` is given the words of a command line, of
 * which the first is the program; a process for which it answers null is left out.
 */
export async function processesBy<T>(
  recognise: (words: readonly string[]) => T | null,
): Promise<{ what: T; process: Child }[]> {
  const found: { what: T; process: Child }[] = [];
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  for (const [n, pid] of pids.entries()) {
    if (n % SLICE === SLICE - 1) await new Promise(setImmediate);
    const one = processBy(Number(pid), recognise);
    if (one !== null) found.push(one);
  }
  return found;
}

/** The same of one process. */
export function processBy<T>(
  pid: number,
  recognise: (words: readonly string[]) => T | null,
): { what: T; process: Child } | null {
  try {
    const startTime = processStartTime(pid);
    const what = recognise(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1));
    return what === null || processStartTime(pid) !== startTime ? null : { what, process: { pid, startTime } };
  } catch (error) {
    if (hasGone(error)) return null;
    throw error;
  }
}
