/**
 * The process of a directory's forwarder. It is found by its command line, even if its socket or directory is gone.
 *
 * Guarantees: only a process whose command line names the directory gets a signal, by pid and start time. When `endForwarders`
 * returns, the process is gone, and its ports with it.
 * Limits: a forwarder cannot listen again on a socket that was removed, so its connections end with it.
 */
import { basename, dirname } from 'node:path';
import type { Child } from '../../native/index.ts';
import { ask, failed, inTurn, SOCKET } from './forwarder-client.ts';
import { ended, SIGKILL, signal } from '../processes/process.ts';
import { processesBy } from '../processes/process-list.ts';

const PATIENCE_MS = 1000;
/**
 * Long, because the forwarder's connections end with it: a busy one (10,000 ports take it 200 ms) must not count as hanging.
 */
const REACH_MS = 5000;
const END_MS = 2000;
/** A forwarder without ports removes its socket before it ends. Being unreachable in between is no fault. */
const ENDING_MS = 100;

/** Returns every forwarder whose directory lies in `home`. */
export async function forwardersIn(home: string): Promise<{ directory: string; process: Child }[]> {
  const found = await processesBy(([file = '', option, socket = '']) => {
    const directory = dirname(socket);
    const ours = basename(file) === 'cleat-forwarder' && option === '--socket' && basename(socket) === SOCKET;
    return ours && dirname(directory) === home ? directory : null;
  });
  return found.map(({ what: directory, process }) => ({ directory, process }));
}

/**
 * Ends forwarders whose socket or directory is gone: nobody can reach them, and they would carry ports for ever. Returns false
 * if a forwarder answers. The caller holds its turn on the directory (inTurn).
 */
export async function endUnreachable(directory: string): Promise<boolean> {
  if ((await ask(directory, { op: 'who' }, PATIENCE_MS)) !== 'absent') return false;
  await endForwarders(directory);
  return true;
}

/**
 * True if nobody listens where the forwarder's socket should be, or another process answers there. A silent process is not
 * unreachable.
 */
export async function isUnreachable(directory: string, process: Child): Promise<boolean> {
  const answer = await inTurn(directory, () => ask(directory, { op: 'who' }, PATIENCE_MS)).catch(() => null);
  const another = answer !== null && typeof answer === 'object' && answer.ok && answer.pid !== process.pid;
  return (answer === 'absent' || another) && !(await ended(process, ENDING_MS));
}

/** Returns true if the socket in the directory leads to this process and it answers. */
export async function isReached(directory: string, { pid }: Child): Promise<boolean> {
  try {
    const answer = await inTurn(directory, () => ask(directory, { op: 'who' }, REACH_MS));
    return typeof answer === 'object' && answer.ok && answer.pid === pid;
  } catch {
    return false; // no answer in time, or not a forwarder's
  }
}

/** Ends each forwarder of the directory, if there is any. The caller holds its turn on the directory (inTurn). */
export async function endForwarders(directory: string): Promise<void> {
  for (const one of await forwardersIn(dirname(directory))) {
    if (one.directory === directory) await endForwarder(one.process);
  }
}

export async function endForwarder(process: Child): Promise<void> {
  signal(process, SIGKILL);
  if (!(await ended(process, END_MS))) throw failed(`the forwarder (pid ${process.pid}) does not end`);
}
