/**
 * The memory and processor time of processes, as the kernel counts it.
 *
 * Guarantees: memory is the proportional set size: shared memory counts once among the processes that share it
 * (proc_pid_smaps(5)). Processor time includes that of children that have ended and were waited for (proc_pid_stat(5)).
 * Limits: processor time comes in steps of 10 ms (USER_HZ is 100 on every Linux Node runs on).
 */
import { readdirSync, readFileSync } from 'node:fs';

const TICK_MS = 10;
/** utime, stime, cutime, cstime: fields 14 to 17, counted from the one after the name in parentheses, which is the third. */
const [FIRST_TIME, LAST_TIME] = [11, 14];

/** Returns the proportional set size in KB. */
export function pssOf(pid: number): number {
  return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]);
}

/**
 * Returns the milliseconds of processor time so far; 0 for a process that has ended: the one that waited for it has its
 * time.
 */
export function cpuOf(pid: number): number {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return 0;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(FIRST_TIME, LAST_TIME + 1).reduce((sum, ticks) => sum + Number(ticks) * TICK_MS, 0);
}

/** Returns how often threads of a process have been woken up so far: each time, one had given up its processor (proc_pid_status(5)). */
export function wakeUpsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map((thread) => readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8'))
    .map((status) => Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]))
    .reduce((sum, switches) => sum + switches, 0);
}

/** Returns the children of a process (proc_tid_children(5)). */
export function childrenOf(pid: number): number[] {
  const own = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return own === '' ? [] : own.split(' ').map(Number);
}
