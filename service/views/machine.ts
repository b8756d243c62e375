/**
 * A container's machine as XState persists it, for people who look into it.
 *
 * Guarantees: what a restart of the daemon would go on from, if it were written now.
 * Limits: must not be asked for while the machine is in the middle of a transition: a child may have ended that its parent does
 * not know of yet.
 */
import { stateName } from '../../plan/states.ts';
import type { MachineSnapshot } from '../../state/answers/inspector.ts';
import { legalEvents } from '../events/events.ts';
import type { ContainerActor } from '../records/snapshot.ts';

export function machineSnapshot(actor: ContainerActor): MachineSnapshot {
  const snapshot = actor.getSnapshot();
  const { value, context, children } = actor.getPersistedSnapshot() as unknown as MachineSnapshot;
  return { id: context.id, value, state: stateName(snapshot), context, children, legal: legalEvents(snapshot) };
}
