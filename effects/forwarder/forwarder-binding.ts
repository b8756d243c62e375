/**
 * Translates the binding of an owner's ports to processes to the forwarder's protocol and back (native/forwarder/control/bond.h,
 * docs/decisions/0046).
 *
 * Guarantees: pid and start time identify a process. A forwarder that does not support bindings, or that cannot see a process
 * that we see, is distinguished from one that refuses a process that has ended.
 */
import type { Child } from '../../native/index.ts';
import type { Answer } from './forwarder-client.ts';
import { isAlive } from '../processes/process.ts';

/** A process that an owner is bound to, in the forwarder's list. */
export interface BoundProcess {
  pid: number;
  start_time: number;
}

export const bindingOf = (owner: string, boundTo: readonly Child[]) => ({
  owner,
  to: boundTo.map(({ pid, startTime }): BoundProcess => ({ pid, start_time: startTime })),
});

/**
 * Returns true if the forwarder lists these bindings. A forwarder of an earlier version lists none, and then the answer is true
 * as well.
 */
export const isBoundTo = (listed: readonly BoundProcess[] | undefined, boundTo: readonly Child[]): boolean =>
  listed === undefined || JSON.stringify(listed) === JSON.stringify(bindingOf('', boundTo).to);

/**
 * True if the forwarder has nothing left to serve: all processes of the binding have ended, even if the container's machine
 * does not know it yet.
 */
export const hasEnded = (boundTo: readonly Child[]): boolean => boundTo.length > 0 && !boundTo.some(isAlive);

const UNSEEN = new Set(['ESRCH', 'EPERM', 'EACCES']);

/**
 * True if the forwarder cannot bind. An earlier version does not know the request; another forwarder may not see the process
 * (another pid or time namespace, hidepid of proc(5)). Such forwarders carry ports until they get a request to stop.
 */
export function cannotBind(answer: Answer, boundTo: readonly Child[]): boolean {
  if (answer.ok) return false;
  const { message, errno = '', host_port: port } = answer.error;
  return message.startsWith('not a request') || (port === undefined && UNSEEN.has(errno) && boundTo.some(isAlive));
}

export function isBound(listed: unknown): listed is BoundProcess[] {
  return (
    Array.isArray(listed) &&
    listed.every((one: unknown) => {
      const { pid, start_time: startTime } = (one ?? {}) as Record<string, unknown>;
      return Number.isSafeInteger(pid) && Number.isSafeInteger(startTime);
    })
  );
}
