/**
 * Helpers of tests that inspect processes, files and the kernel's answers: directories of their own, failures as
 * values, waiting, the built executables.
 *
 * Limits: nothing here knows a container.
 */
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { KernelError, RtnlReply } from '../../native/index.ts';
import { isKernelError } from '../../native/index.ts';

/** The path of an executable of ours. */
export const built = (name: string): string => resolve(import.meta.dirname, '../../../build/Release', name);

export function scratch(): string {
  return mkdtempSync(join(tmpdir(), 'cleat-native-'));
}

/** The KernelError a promise (or a function) fails with; anything else is a failed test. */
export async function kernelFailure(work: Promise<unknown> | (() => unknown)): Promise<KernelError> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    if (isKernelError(error)) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

/** "ok" or the errno name, per request. */
export function codes(replies: RtnlReply[]): string[] {
  return replies.map(({ errno, code }) => (errno === 0 ? 'ok' : code));
}

const SHORTEST_PAUSE_MS = 2;
const LONGEST_PAUSE_MS = 500;

/**
 * Waits before something is looked at again that was first looked at when `began` was: four times as long as the look took. Who waits
 * takes a fifth of a processor at most, whatever a look costs.
 */
export function pauseAfter(began: number): Promise<void> {
  const pause = Math.max(SHORTEST_PAUSE_MS, 4 * (performance.now() - began));
  return new Promise((resolve) => setTimeout(resolve, Math.min(LONGEST_PAUSE_MS, pause)));
}

/** The time that a machine with other work may take; a wait in vain fails later. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, patience = 15_000): Promise<void> {
  const deadline = performance.now() + patience;
  for (let began = performance.now(); !(await holds()); began = performance.now()) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${patience} ms`);
    await pauseAfter(began);
  }
}

/**
 * For a file with a watch on links, which would keep its process alive: it ends once uvu has reported and set the exit
 * code.
 */
export function endWithReport(): void {
  setInterval(() => {
    if (process.exitCode !== undefined) process.exit();
  }, 50);
}

export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** The state letter of a process, null when there is none (not even a zombie). */
export function processState(pid: number): string | null {
  try {
    return /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1] ?? null;
  } catch {
    return null;
  }
}

/** Every present process: its pid, and the words of its command line. */
export function commandLines(): Map<number, string[]> {
  const found = new Map<number, string[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const line = readFileSync(`/proc/${name}/cmdline`, 'utf8');
      if (line !== '') found.set(Number(name), line.replace(/\0$/, '').split('\0'));
    } catch {
      // it has just ended
    }
  }
  return found;
}

/** How mounts and unmounts at this mount reach a process and leave it (proc_pid_mountinfo(5)): "shared:1", "master:1", or nothing. */
export function propagationOf(pid: number, path: string): string {
  const lines = readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split('\n');
  const [, fields] =
    lines
      .map((line) => line.split(' '))
      .map((words) => [words[4], words.slice(6, words.indexOf('-')).join(' ')])
      .find(([at]) => at === path) ?? [];
  if (fields === undefined) throw new Error(`nothing is mounted at ${path}`);
  return fields;
}

/** Lines of a mount table that mention a path. */
export function mountsAt(path: string): number {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(` ${path} `)).length;
}
