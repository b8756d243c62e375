/**
 * A container's state as the service handles it, its name, and what is wrong with it.
 *
 * Guarantees: a name is the path of states joined by dots, "configuring.attaching.attachment"; it says all there is,
 * because no machine here has parallel states. "error": a defect of ours has stopped the machine, wherever it was.
 * Limits: how it is shown is view.ts.
 */
import type { ActorRefFrom, SnapshotFrom } from 'xstate';
import type { containerMachine } from '../machines/container.ts';
import { FaultError, type Fault } from '../state/faults.ts';

export type ContainerActor = ActorRefFrom<typeof containerMachine>;
export type ContainerSnapshot = SnapshotFrom<typeof containerMachine>;

export function stateName(snapshot: { status?: string; value: unknown }): string {
  if (snapshot.status === 'error') return 'error';
  const parts: string[] = [];
  let value = snapshot.value;
  while (typeof value === 'object' && value !== null) {
    const [key, inner] = Object.entries(value)[0] ?? ['', ''];
    parts.push(key);
    value = inner;
  }
  return [...parts, String(value)].join('.');
}

/** The defect that has stopped this machine; null when none has. `what`: whose machine it is. */
export function defectOf(snapshot: { status: string; error?: unknown }, what: string): Fault | null {
  const { status, error } = snapshot;
  if (status !== 'error') return null;
  const why = error instanceof Error ? error.message : String(error);
  return { code: 'INTERNAL', message: `a defect in cleat has stopped the machine of ${what}: ${why}` };
}

/** The snapshot itself, of a machine that runs or has ended. Throws the defect that has stopped it. */
export function unstopped(snapshot: ContainerSnapshot): ContainerSnapshot {
  const defect = defectOf(snapshot, `container ${snapshot.context.id}`);
  if (defect !== null) throw new FaultError(defect.code, defect.message);
  return snapshot;
}

/** Throws why an operation has not ended as it was asked for, or what of it is left to do. */
export function refuseUnfinished({ context: { id, fault, leftovers } }: ContainerSnapshot, operation: string): void {
  if (fault !== null) throw new FaultError(fault.code, fault.message, fault);
  if (leftovers.length === 0) return;
  const what = leftovers.map(({ message }) => message).join('; ');
  throw new FaultError('UNFINISHED', `${operation} of ${id} is not finished: ${what}`);
}

/** Throws when another operation than the n-th, of this type, is the last one. */
export function refuseOvertaken({ context: { id, operation } }: ContainerSnapshot, type: string, n: number): void {
  if (operation.n === n) return;
  throw new FaultError('SUPERSEDED', `${type} of ${id} was overtaken by ${operation.type}`);
}
