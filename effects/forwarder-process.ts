/**
 * The forwarder of a directory as a process: found by its command line, also when its socket or its directory is gone.
 *
 * Guarantees: only a process whose command line names the directory is signalled, by pid and start time. What has been ended
 * is gone when `endForwarders` returns, with every port that it carried.
 * Limits: a forwarder knows no way back to a socket that was taken from it: its connections end with it.
 */
import { basename, dirname } from 'node:path';
import type { Child } from '../native/index.ts';
import { ask, failed, inTurn, SOCKET } from './forwarder-client.ts';
import { ended, SIGKILL, signal } from './process.ts';
import { processesBy } from './process-list.ts';

const PATIENCE_MS = 1000;
/** Its connections end with it: one that is only busy (10,000 ports take it 200 ms) is not taken for one that hangs. */
const REACH_MS = 5000;
const END_MS = 2000;
/** A forwarder without ports removes its socket first and ends then: that it is unreachable in between is no fault. */
const ENDING_MS = 100;

/** Every one whose directory lies in `home`. */
export async function forwardersIn(home: string): Promise<{ directory: string; process: Child }[]> {
  const found = await processesBy(([file = '', option, socket = '']) => {
    const directory = dirname(socket);
    const ours = basename(file) === 'cleat-forwarder' && option === '--socket' && basename(socket) === SOCKET;
    return ours && dirname(directory) === home ? directory : null;
  });
  return found.map(({ what: directory, process }) => ({ directory, process }));
}

/**
 * Ends those that nobody can reach any more, because the socket or the directory is gone: they would carry ports for ever.
 * False when one answers. The caller holds its turn on the directory (inTurn).
 */
export async function endUnreachable(directory: string): Promise<boolean> {
  if ((await ask(directory, { op: 'who' }, PATIENCE_MS)) !== 'absent') return false;
  await endForwarders(directory);
  return true;
}

/** Nobody answers where its socket should be, or another one does. One that keeps silent is not unreachable. */
export async function isUnreachable(directory: string, process: Child): Promise<boolean> {
  const answer = await inTurn(directory, () => ask(directory, { op: 'who' }, PATIENCE_MS)).catch(() => null);
  const another = answer !== null && typeof answer === 'object' && answer.ok && answer.pid !== process.pid;
  return (answer === 'absent' || another) && !(await ended(process, ENDING_MS));
}

/** Whether the socket in the directory leads to this process, and it answers. */
export async function isReached(directory: string, { pid }: Child): Promise<boolean> {
  try {
    const answer = await inTurn(directory, () => ask(directory, { op: 'who' }, REACH_MS));
    return typeof answer === 'object' && answer.ok && answer.pid === pid;
  } catch {
    return false; // it has not answered in time, or not as a forwarder does
  }
}

/** Ends each forwarder of the directory; there may be none. The caller holds its turn on the directory (inTurn). */
export async function endForwarders(directory: string): Promise<void> {
  for (const one of await forwardersIn(dirname(directory))) {
    if (one.directory === directory) await endForwarder(one.process);
  }
}

export async function endForwarder(process: Child): Promise<void> {
  signal(process, SIGKILL);
  if (!(await ended(process, END_MS))) throw failed(`the forwarder (pid ${process.pid}) does not end`);
}
