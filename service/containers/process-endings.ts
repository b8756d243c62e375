/**
 * Notifies how the operations of a container end: done, failed, or overtaken by the next.
 *
 * Guarantees: every operation that began ends once, under the name that it was requested with, whether it leaves the container at
 * rest, gone, or stopped by a defect. An operation that a restart interrupted ends like any other; one that was already at rest
 * has ended before.
 */
import { rests } from '../../plan/states.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { Notification } from '../../state/answers/notification.ts';
import { defectOf, type ContainerSnapshot } from '../records/snapshot.ts';

type Operation = ContainerContext['operation'];

/**
 * Returns a function that must be called with every snapshot. `began`: true if the first snapshot is that of a new container.
 * `rests`: true if the operation has come to its end, and was not only overtaken.
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
      const message = `${wordOf(last)} of ${id} was overtaken by ${wordOf(operation)}`;
      tell(endOf(id, last, { code: 'SUPERSEDED', message }), false);
    }
    if (operation.n === ended || !rests(snapshot)) return;
    ended = operation.n;
    const { leftovers } = snapshot.context;
    const fault = defectOf(snapshot, `container ${id}`) ?? snapshot.context.fault;
    // The notification follows the inspection event that announces the state itself.
    queueMicrotask(() => tell(endOf(id, snapshot.context.operation, fault ?? leftovers[0]), true));
  };
}

function endOf(id: string, operation: Operation, fault: Fault | undefined): Notification {
  const what = { t: Date.now(), id, event: wordOf(operation), network: operation.network };
  return fault === undefined ? { type: 'done', ...what } : { type: 'failed', ...what, fault };
}

/** Returns the name of the request: `create` also resumes a container that others have kept. */
export const wordOf = ({ type }: Operation): string => (type === 'resume' ? 'create' : type);
