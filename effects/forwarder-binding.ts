/**
 * Translates the binding of an owner's ports to processes to the forwarder's protocol and back (native/forwarder/bond.h,
 * docs/decisions/0046).
 *
 * Guarantees: a process is named by pid and start time. That a forwarder knows nothing of bindings, or cannot see a process
 * that we see, is told apart from its refusal of one that has ended.
 */
import type { Child } from '../native/index.ts';
import type { Answer } from './forwarder-client.ts';
import { isAlive } from './process.ts';

/** A process that an owner is bound to, as a forwarder lists it. */
export interface BoundProcess {
  pid: number;
  start_time: number;
}

export const bindingOf = (owner: string, boundTo: readonly Child[]) => ({
  owner,
  to: boundTo.map(({ pid, startTime }): BoundProcess => ({ pid, start_time: startTime })),
});

/** Whether it is bound to these, as the forwarder says; one of an earlier version says nothing, and cannot be told. */
export const isBoundTo = (listed: readonly BoundProcess[] | undefined, boundTo: readonly Child[]): boolean =>
  listed === undefined || JSON.stringify(listed) === JSON.stringify(bindingOf('', boundTo).to);

/** It has nothing left to serve: what a container ends with has ended, whether its machine knows it by now or not. */
export const hasEnded = (boundTo: readonly Child[]): boolean => boundTo.length > 0 && !boundTo.some(isAlive);

const UNSEEN = new Set(['ESRCH', 'EPERM', 'EACCES']);

/**
 * A forwarder of an earlier version does not know the word, and one may be where it does not see the process (another pid
 * or time namespace, hidepid of proc(5)): these carry ports until they are told to stop.
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
