/**
 * The contracts between machines and the service that runs them: actors by name, and the faults in error events.
 *
 * Guarantees: a machine file has no effect of its own. An actor without an implementation fails in the first test that
 * reaches it.
 */
import { fromPromise, type AnyActorRef } from 'xstate';
import type { Fault } from '../state/faults.ts';

/**
 * The contract of an effect, of a request to another machine, or of a wait: it takes an input and resolves with an output, or
 * rejects with an error that has a `fault`.
 */
export function effect<Output, Input>(name: string) {
  return fromPromise<Output, Input>(() => Promise.reject(new Error(`actor not provided: ${name}`)));
}

/** Returns the fault that an actor was rejected with. Any other error is a defect of cleat, and INTERNAL says so. */
export function faultOf(error: unknown): Fault {
  if (typeof error === 'object' && error !== null && 'fault' in error) return error.fault as Fault;
  return { code: 'INTERNAL', message: error instanceof Error ? error.message : String(error) };
}

/** The sender of a request to a shared machine: `from` gets the answer. */
export interface Requester {
  owner: string;
  from: AnyActorRef;
}
