/**
 * Waits for a machine until a condition holds.
 *
 * Guarantees: resolves with the first state in which the condition holds, which may be the present one, or with the last
 * state of a machine that ends before (XState's waitFor rejects then). Resolves with null when neither comes within `ms`.
 */
import { waitFor, type AnyActorRef } from 'xstate';
import { rests } from '../plan/states.ts';

export async function until<Snapshot extends { status: string }>(
  actor: AnyActorRef,
  so: (snapshot: Snapshot) => boolean,
  ms = Infinity,
): Promise<Snapshot | null> {
  try {
    return (await waitFor(actor, (snapshot) => so(snapshot as Snapshot), { timeout: ms })) as Snapshot;
  } catch {
    const last = actor.getSnapshot() as Snapshot;
    return last.status === 'active' ? null : last;
  }
}

/** Resolves when the machine is at rest, without a time limit. The watch on drift uses it, and can wait. */
export const atRest = (actor: AnyActorRef): Promise<unknown> => until(actor, rests);
