/**
 * How the operations of a container end, for whoever is told: done, failed, or overtaken by the next.
 *
 * Guarantees: every operation that began ends once, under the word that it was requested with, whether it leaves the
 * container at rest, gone, or stopped by a defect. What a restart interrupted comes to its end like any other; what was
 * at rest has had its end.
 */
import type { ContainerContext } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import type { Notification } from '../state/notification.ts';
import { defectOf, type ContainerSnapshot } from './snapshot.ts';

type Operation = ContainerContext['operation'];

/**
 * To be told of every snapshot. `began`: the first one is of a container that is new. `rests`: the operation has come to
 * its end, not only been overtaken.
 */
export function endings(
  id: string,
  first: ContainerSnapshot,
  began: boolean,
  tell: (ending: Notification, rests: boolean) => void,
): (snapshot: ContainerSnapshot) => void {
  let { operation } = first.context;
  let ended = began || !first.hasTag('rest') ? 0 : operation.n;
  return (snapshot) => {
    const last = operation;
    ({ operation } = snapshot.context);
    if (operation.n !== last.n && last.n > ended) {
      const message = `${wordOf(last)} of ${id} was overtaken by ${operation.type}`;
      tell(endOf(id, last, { code: 'SUPERSEDED', message }), false);
    }
    if (operation.n === ended || (snapshot.status === 'active' && !snapshot.hasTag('rest'))) return;
    ended = operation.n;
    const { leftovers } = snapshot.context;
    const fault = defectOf(snapshot, `container ${id}`) ?? snapshot.context.fault;
    // After the inspection event that announces the state itself.
    queueMicrotask(() => tell(endOf(id, snapshot.context.operation, fault ?? leftovers[0]), true));
  };
}

function endOf(id: string, operation: Operation, fault: Fault | undefined): Notification {
  const what = { t: Date.now(), id, event: wordOf(operation), network: operation.network };
  return fault === undefined ? { type: 'done', ...what } : { type: 'failed', ...what, fault };
}

/** A container that others have kept is created again. */
const wordOf = ({ type }: Operation): string => (type === 'resume' ? 'create' : type);
