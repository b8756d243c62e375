/**
 * Operations on a process known by pid and start time: look up, watch, signal, wait.
 *
 * Guarantees: another process that has the pid by chance is never taken for ours. A missing process is reported as ended on the
 * next tick; signalling it is a no-op. A failed lookup is an error (KernelError), never an end: a caller that took it for an
 * end would leave the process running, or remove what it uses.
 */
import { readFileSync } from 'node:fs';
import { isKernelError, processStartTime, signalProcess, watchProcess, type Child } from '../../native/index.ts';

export const SIGHUP = 1;
export const SIGKILL = 9;
export const SIGTERM = 15;

/**
 * True for ENOENT and ESRCH: the process ended before or after its file in /proc was opened (proc(5)). Any other error says
 * nothing about its end.
 */
export const hasGone = (error: unknown): boolean =>
  ['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');

/** True if a native call failed because there is no such process (any more). */
export const isGone = (error: unknown): boolean => isKernelError(error) && error.code === 'ESRCH';

export function isAlive(process: Child | null): boolean {
  try {
    return process !== null && processStartTime(process.pid) === process.startTime;
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

/**
 * Returns true if a signal has stopped the process (state T of proc_pid_stat(5)): it exists and does nothing. State t, of a
 * process under a debugger, does not count.
 */
export function isStopped(process: Child): boolean {
  try {
    const stat = readFileSync(`/proc/${process.pid}/stat`, 'utf8');
    // The process name before it may contain anything, parentheses too.
    return stat.charAt(stat.lastIndexOf(')') + 2) === 'T' && isAlive(process);
  } catch (error) {
    if (hasGone(error)) return false;
    throw error;
  }
}

/** Calls `ended` once, when the process ends. Returns a function that ends the watch. */
export function watch(process: Child | null, ended: () => void): () => void {
  try {
    if (process !== null) return watchProcess(process.pid, process.startTime, ended);
  } catch (error) {
    if (!isGone(error)) throw error;
  }
  const turn = setImmediate(ended);
  return () => clearImmediate(turn);
}

export function signal({ pid, startTime }: Child, number: number): void {
  try {
    signalProcess(pid, startTime, number);
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

/** Returns false if the process has not ended within `ms`. */
export function ended(process: Child, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const unwatch = watch(process, () => {
      clearTimeout(timer);
      resolve(true);
    });
    const timer = setTimeout(() => {
      unwatch();
      resolve(false);
    }, ms);
  });
}
