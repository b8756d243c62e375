/**
 * Waiting for a container: until the operation under way has come to rest, or until it is in a state of a name.
 *
 * Guarantees: what holds already is answered at once; nobody stays subscribed once answered.
 * Limits: the states that a container only passes may go by unseen.
 */
import { FaultError } from '../state/faults.ts';
import { stateName, type ContainerActor, type ContainerSnapshot } from './snapshot.ts';

/** Resolves with the first state at rest after operation n began. */
export function atRest(actor: ContainerActor, n: number): Promise<ContainerSnapshot> {
  const rests = (snapshot: ContainerSnapshot) =>
    snapshot.status !== 'active' || snapshot.hasTag('rest') || snapshot.context.operation.n !== n;
  const now = actor.getSnapshot();
  if (rests(now)) return Promise.resolve(now);
  return new Promise((resolve, reject) => {
    const subscription = actor.subscribe({
      next: (snapshot) => {
        if (!rests(snapshot)) return;
        subscription.unsubscribe();
        resolve(snapshot);
      },
      error: (error) => reject(new FaultError('INTERNAL', error instanceof Error ? error.message : String(error))),
    });
  });
}

/** Resolves when it is in a state of this name, with null when it is gone; rejects with DEADLINE after `ms`. */
export function inState(actor: ContainerActor, state: string, ms: number): Promise<ContainerSnapshot | null> {
  return new Promise((resolve, reject) => {
    const look = (snapshot: ContainerSnapshot) => {
      if (snapshot.status === 'active' && stateName(snapshot).split('.')[0] !== state) return;
      clearTimeout(timer);
      subscription.unsubscribe();
      // After the registry has forgotten a container that is gone.
      setImmediate(() => resolve(snapshot.status === 'active' ? snapshot : null));
    };
    const timer = setTimeout(() => {
      subscription.unsubscribe();
      const { context } = actor.getSnapshot();
      const now = stateName(actor.getSnapshot());
      reject(new FaultError('DEADLINE', `container ${context.id} is ${now}, not ${state}, after ${ms} ms`));
    }, ms);
    const subscription = actor.subscribe({ next: look, complete: () => look(actor.getSnapshot()) });
    look(actor.getSnapshot());
  });
}
