/**
 * Lists all processes by their command lines, to find a helper whose files are gone, or by the environments that they were
 * started with.
 *
 * Guarantees: each is looked at once, in slices, so that thousands of processes do not block the event loop. A process that ends
 * meanwhile is skipped, and so is one whose environment this daemon may not read; any other failure to read a process is an error.
 * Limits: a process can change its own command line. A zombie has none. Only processes of this pid namespace are listed.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { processStartTime, type Child } from '../../native/index.ts';
import { hasGone } from './process.ts';

/** The number of processes per turn, which takes 2 ms. */
const SLICE = 200;

/** Names the file in /proc that has the words of a process. */
type Words = 'cmdline' | 'environ';

/**
 * Returns the processes that `recognise` accepts, each with its result. `recognise` gets the words of a command line, the
 * program first, or the variables of an environment; null leaves the process out.
 */
export async function processesBy<T>(
  recognise: (words: readonly string[]) => T | null,
  file: Words = 'cmdline',
): Promise<{ what: T; process: Child }[]> {
  const found: { what: T; process: Child }[] = [];
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  for (const [n, pid] of pids.entries()) {
    if (n % SLICE === SLICE - 1) await new Promise(setImmediate);
    const one = processBy(Number(pid), recognise, file);
    if (one !== null) found.push(one);
  }
  return found;
}

/** Does the same for one process. */
export function processBy<T>(
  pid: number,
  recognise: (words: readonly string[]) => T | null,
  file: Words = 'cmdline',
): { what: T; process: Child } | null {
  try {
    // Most processes are none of these, and a start looks through all of them.
    if (recognise(wordsOf(pid, file)) === null) return null;
    const startTime = processStartTime(pid);
    const what = recognise(wordsOf(pid, file));
    return what === null || processStartTime(pid) !== startTime ? null : { what, process: { pid, startTime } };
  } catch (error) {
    if (hasGone(error)) return null;
    if (file === 'environ' && (error as NodeJS.ErrnoException).code === 'EACCES') return null;
    throw error;
  }
}

const wordsOf = (pid: number, file: Words): string[] =>
  readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0').slice(0, -1);
