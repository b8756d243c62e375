/**
 * Translates the binding of an owner's ports to the forwarder's protocol and back (native/forwarder/control/bond.h,
 * docs/decisions/0046 and 0059).
 *
 * Guarantees: pid and start time identify a process, its inode a descriptor. A forwarder that does not support bindings, or that
 * cannot see a process that we see, is distinguished from one that refuses what has ended.
 */
import { processStartTime } from '../../native/index.ts';
import type { Tie } from '../../state/container.ts';
import { FaultError } from '../../state/faults.ts';
import { containerIdOf } from '../../plan/owner.ts';
import { descriptorFor, tieHasEnded } from '../processes/exit-descriptor.ts';
import type { Answer } from './forwarder-client.ts';

/** What one container of an owner's namespace ends with, in the forwarder's list. */
export interface ListedTie {
  pid?: number;
  start_time?: number;
  exit?: { dev: number; ino: number };
}

/** Returns the request. The forwarder takes exit descriptors from us, who hold them. Throws if all of it has ended. */
export async function bindingOf(owner: string, boundTo: readonly Tie[]) {
  const to = (await Promise.all(boundTo.map(requestOf))).filter((tie) => tie !== null);
  if (boundTo.length === 0 || to.length > 0) return { owner, to };
  throw new FaultError('NO_SUCH_PROCESS', `what container ${containerIdOf(owner)} ends with has ended`);
}

async function requestOf(tie: Tie): Promise<object | null> {
  const listed = listedAs(tie);
  if (tie.exit === null) return listed;
  const fd = await descriptorFor(tie.exit);
  const holder = { pid: process.pid, start_time: processStartTime(process.pid) };
  return fd === null ? null : { ...listed, exit: { ...holder, fd, ...listed.exit } };
}

const listedAs = ({ process: its, exit }: Tie): ListedTie => ({
  ...(its === null ? {} : { pid: its.pid, start_time: its.startTime }),
  ...(exit === null ? {} : { exit: { dev: exit.dev, ino: exit.ino } }),
});

/**
 * Returns true if the forwarder lists these bindings. A forwarder of an earlier version lists none, and then the answer is true
 * as well.
 */
export const isBoundTo = (listed: readonly ListedTie[] | undefined, boundTo: readonly Tie[]): boolean =>
  listed === undefined || JSON.stringify(listed) === JSON.stringify(boundTo.map(listedAs));

/**
 * True if the forwarder has nothing left to serve: all containers of the binding have ended, even if their machines do not know
 * it yet.
 */
export const hasEnded = (boundTo: readonly Tie[]): boolean => boundTo.length > 0 && boundTo.every(tieHasEnded);

const UNSEEN = new Set(['ESRCH', 'EPERM', 'EACCES']);

/**
 * True if the forwarder cannot bind. An earlier version does not know the request; another forwarder may not see the process
 * (another pid or time namespace, hidepid of proc(5)). Such forwarders carry ports until they get a request to stop.
 */
export function cannotBind(answer: Answer, boundTo: readonly Tie[]): boolean {
  if (answer.ok) return false;
  const { message, errno = '', host_port: port } = answer.error;
  return message.startsWith('not a request') || (port === undefined && UNSEEN.has(errno) && !hasEnded(boundTo));
}

export const isBound = (listed: unknown): listed is ListedTie[] => Array.isArray(listed) && listed.every(isListed);

function isListed(one: unknown): boolean {
  const { pid, start_time: startTime, exit } = (one ?? {}) as Record<string, unknown>;
  const { dev, ino } = (exit ?? {}) as Record<string, unknown>;
  const process = [pid, startTime].every((number) => Number.isSafeInteger(number));
  const descriptor = [dev, ino].every((number) => Number.isSafeInteger(number));
  return pid === undefined ? descriptor : process && (exit === undefined || descriptor);
}
