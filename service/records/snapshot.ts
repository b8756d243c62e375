/**
 * A container's snapshot as the service uses it: the name of its state, and its faults.
 *
 * Guarantees: the name of a state is the path of states joined by dots, "configuring.attaching.attachment". It is complete,
 * because no machine here has parallel states. "error": a defect of ours has stopped the machine, in whatever state it was.
 * Limits: view.ts decides how a container is shown.
 */
import type { ActorRefFrom, SnapshotFrom } from 'xstate';
import type { containerMachine } from '../../machines/container/container.ts';
import { FaultError, type Fault } from '../../state/faults.ts';

export type ContainerActor = ActorRefFrom<typeof containerMachine>;
export type ContainerSnapshot = SnapshotFrom<typeof containerMachine>;

/** The defect that has stopped this machine; null when none has. `what`: whose machine it is. */
export function defectOf(snapshot: { status: string; error?: unknown }, what: string): Fault | null {
  const { status, error } = snapshot;
  if (status !== 'error') return null;
  const why = error instanceof Error ? error.message : String(error);
  return { code: 'INTERNAL', message: `a defect in cleat has stopped the machine of ${what}: ${why}` };
}

/** Returns the snapshot of a machine that runs or has ended. Throws the defect that has stopped the machine. */
export function unstopped(snapshot: ContainerSnapshot): ContainerSnapshot {
  const defect = defectOf(snapshot, `container ${snapshot.context.id}`);
  if (defect !== null) throw new FaultError(defect.code, defect.message);
  return snapshot;
}

/** Throws the reason if an operation has not ended as requested, or lists its leftovers. */
export function refuseUnfinished({ context: { id, fault, leftovers } }: ContainerSnapshot, operation: string): void {
  if (fault !== null) throw FaultError.of(fault);
  if (leftovers.length === 0) return;
  const what = leftovers.map(({ message }) => message).join('; ');
  throw new FaultError('UNFINISHED', `${operation} of ${id} is not finished: ${what}`);
}

/** Throws if another operation than the n-th, of this type, is the last one. */
export function refuseOvertaken({ context: { id, operation } }: ContainerSnapshot, type: string, n: number): void {
  if (operation.n === n) return;
  throw new FaultError('SUPERSEDED', `${type} of ${id} was overtaken by ${operation.type}`);
}
