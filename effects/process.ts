/**
 * A process that is known by pid and start time: looked for, watched, signalled, waited for.
 *
 * Guarantees: one that has the pid by chance is never taken for ours. None, or one that has ended, is one whose end is told
 * a turn later, and a signal to it is nothing. That a process cannot be looked for is an error (KernelError): whoever took it
 * for an end would leave the process running, or end what it uses.
 */
import { readFileSync } from 'node:fs';
import { isKernelError, processStartTime, signalProcess, watchProcess, type Child } from '../native/index.ts';

export const SIGHUP = 1;
export const SIGKILL = 9;
export const SIGTERM = 15;

/** ENOENT or ESRCH: a process goes before or after its file in /proc was opened (proc(5)). Any other error does not tell. */
export const hasGone = (error: unknown): boolean =>
  ['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Says whether a native call failed because there is no such process (any more). */
export const isGone = (error: unknown): boolean => isKernelError(error) && error.code === 'ESRCH';

export function isAlive(process: Child | null): boolean {
  try {
    return process !== null && processStartTime(process.pid) === process.startTime;
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

/** Stopped by a signal (state T of proc_pid_stat(5)): it is there, and does nothing. One that a debugger holds (t) is not. */
export function isStopped(process: Child): boolean {
  try {
    const stat = readFileSync(`/proc/${process.pid}/stat`, 'utf8');
    // The name before it may hold anything, parentheses too.
    return stat.charAt(stat.lastIndexOf(')') + 2) === 'T' && isAlive(process);
  } catch (error) {
    if (hasGone(error)) return false;
    throw error;
  }
}

/** Calls back once when it ends; returns what stops the watch. */
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

/** False when it has not ended within `ms`. */
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
