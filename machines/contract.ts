/**
 * What machines share with whoever runs them: effects as named contracts, and faults out of error events.
 *
 * Guarantees: a machine file has no effect of its own. An effect that nobody provided fails loudly, in the first test
 * that reaches it.
 */
import { fromCallback, fromPromise, type AnyActorRef, type EventObject } from 'xstate';
import type { Fault } from '../state/faults.ts';

/** The contract of an effect that answers once: input in, output out, a rejection carrying a fault. */
export function effect<Output, Input>(name: string) {
  return fromPromise<Output, Input>(() => Promise.reject(new Error(`effect not provided: ${name}`)));
}

/** The contract of a question to another machine, or of a wait: answers arrive as events. */
export function request<Input extends object>(name: string) {
  return fromCallback<EventObject, Input>(() => {
    throw new Error(`request not provided: ${name}`);
  });
}

/** The fault in what an effect was rejected with; anything else is a defect of ours and says so. */
export function faultOf(error: unknown): Fault {
  if (typeof error === 'object' && error !== null && 'fault' in error) return error.fault as Fault;
  return { code: 'INTERNAL', message: error instanceof Error ? error.message : String(error) };
}

/** Something that asked a shared machine and waits for its answer. */
export interface Asker {
  owner: string;
  from: AnyActorRef;
}
