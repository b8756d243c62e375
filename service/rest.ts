/**
 * Waiting for machines without a limit: until one has come to rest, or until something is so of it.
 *
 * Guarantees: resolves at the first state in which it is so, and when the machine has ended.
 * Limits: for the watch on drift, which has all the time there is; requests have deadlines (wait-for-state.ts).
 */
import { waitFor, type AnyActorRef } from 'xstate';

export const atRest = (actor: AnyActorRef): Promise<void> =>
  until(actor, () => {
    const state = actor.getSnapshot() as { status: string; hasTag(tag: string): boolean };
    return state.status !== 'active' || state.hasTag('rest');
  });

/** Resolves as soon as it is so, or when the actor has ended. */
export const until = (actor: AnyActorRef, so: () => boolean): Promise<void> =>
  waitFor(actor, so, { timeout: Infinity }).then(
    () => {},
    () => {},
  );
