/**
 * Waiting for a container: until the operation under way has come to rest, until it is in a state of a name, until it is
 * gone.
 *
 * Guarantees: what holds already is answered at once, and so is what will not come about by itself; nobody stays subscribed
 * once answered.
 * Limits: the states between two at rest (connecting, repairing, ...) may go by unseen.
 */
import { waitFor } from 'xstate';
import { undelayed } from '../effects/delay.ts';
import { FaultError, type Fault } from '../state/faults.ts';
import { defectOf, stateName, type ContainerActor, type ContainerSnapshot } from './snapshot.ts';
import { isDeparting, isLeaving } from './desired-ruleset.ts';

/** Resolves when all of them are at rest, or after `ms`. */
export const allAtRest = (actors: readonly ContainerActor[], ms: number): Promise<unknown> =>
  Promise.allSettled(
    actors.map((actor) => waitFor(actor, (now) => now.status !== 'active' || now.hasTag('rest'), { timeout: ms })),
  );

/** Resolves with the first state at rest after operation n began, or the one in which a defect has stopped it. */
export function atRest(actor: ContainerActor, n: number): Promise<ContainerSnapshot> {
  const rests = (snapshot: ContainerSnapshot) =>
    snapshot.status !== 'active' || snapshot.hasTag('rest') || snapshot.context.operation.n !== n;
  const now = actor.getSnapshot();
  if (rests(now)) return Promise.resolve(now);
  return new Promise((resolve) => {
    const subscription = actor.subscribe({
      next: (snapshot) => {
        if (!rests(snapshot)) return;
        subscription.unsubscribe();
        resolve(snapshot);
      },
      error: () => resolve(actor.getSnapshot()),
    });
  });
}

/** How long an event waits for an operation that nobody asked for. */
const PASSING_MS = 10_000;

/**
 * Operations of our own (a repair, a network's update) are nobody's reason to be refused: resolves when they are over, or,
 * with `everything`, any operation is. What is not over in time is judged as it is then.
 */
export async function passed(actor: ContainerActor, everything: boolean): Promise<void> {
  const waits = (snapshot: ContainerSnapshot) =>
    snapshot.status === 'active' && (snapshot.hasTag('passing') || (everything && !snapshot.hasTag('rest')));
  if (!waits(actor.getSnapshot())) return;
  await waitFor(actor, (snapshot) => !waits(snapshot), { timeout: PASSING_MS }).catch(() => {});
}

/** How long whoever wants what a container had waits until the kernel has let go of it. */
const DEPARTURE_MS = 10_000;

/** Resolves when these containers are gone, or their teardown has failed, or it takes too long. */
export async function departed(actors: readonly ContainerActor[]): Promise<void> {
  if (actors.length === 0) return;
  const over = (snapshot: ContainerSnapshot) => snapshot.status !== 'active' || !isDeparting(snapshot);
  await undelayed(Promise.allSettled(actors.map((actor) => waitFor(actor, over, { timeout: DEPARTURE_MS }))));
}

/** The states that every container passes, in order. */
const WAY_IN = ['creating', 'created', 'configuring', 'up'];
const WAY_OUT = ['tearingDown', 'draining', 'releasing', 'gone'];

/**
 * Resolves when it is in a state of this name or has passed it, with null when it is gone. Rejects when it will not come
 * there by itself: with the fault of what has failed, or STATE_UNREACHABLE; with WAIT_TIMEOUT after `ms`.
 */
export function inState(actor: ContainerActor, state: string, ms: number): Promise<ContainerSnapshot | null> {
  const reached = new Promise<ContainerSnapshot | null>((resolve, reject) => {
    const look = (snapshot: ContainerSnapshot) => {
      const outcome = judge(snapshot, state);
      if (outcome === 'not yet') return;
      clearTimeout(timer);
      subscription?.unsubscribe();
      if (outcome !== 'reached') return reject(outcome);
      // After the registry has forgotten a container that is gone.
      setImmediate(() => resolve(snapshot.status === 'active' ? snapshot : null));
    };
    let subscription: { unsubscribe(): void } | undefined;
    const timer = setTimeout(() => {
      subscription?.unsubscribe();
      const { context } = actor.getSnapshot();
      const now = stateName(actor.getSnapshot());
      reject(new FaultError('WAIT_TIMEOUT', `container ${context.id} is ${now}, not ${state}, after ${ms} ms`));
    }, ms);
    const now = actor.getSnapshot();
    if (judge(now, state) !== 'not yet') return look(now);
    const end = () => look(actor.getSnapshot());
    subscription = actor.subscribe({ next: look, complete: end, error: end });
  });
  return WAY_OUT.includes(state) ? undelayed(reached) : reached;
}

function judge(snapshot: ContainerSnapshot, state: string): 'reached' | 'not yet' | FaultError {
  const { id, configured, fault, leftovers } = snapshot.context;
  const defect = defectOf(snapshot, `container ${id}`);
  if (defect !== null) return new FaultError(defect.code, defect.message);
  const [now = ''] = stateName(snapshot).split('.');
  if (now === state) return 'reached';
  const what = fault ?? leftovers[0] ?? null;
  const failed = (why: Fault) =>
    new FaultError(why.code, `container ${id} is ${now}, not ${state}: ${why.message}`, without(why));
  if (WAY_OUT.includes(state)) {
    if (WAY_OUT.indexOf(now) > WAY_OUT.indexOf(state)) return 'reached';
    // It is tried again by itself, with growing pauses: how long that takes nobody knows.
    return now === 'teardownFailed' && what !== null ? failed({ ...what, code: 'UNFINISHED' }) : 'not yet';
  }
  if (isLeaving(snapshot)) {
    if (state === 'teardownFailed' && snapshot.status === 'active') return 'not yet';
    if (now === 'abandoning' && what !== null) return failed(what);
    return new FaultError('STATE_UNREACHABLE', `container ${id} is ${now}: it will not be ${state}`);
  }
  const at = WAY_IN.indexOf(state);
  if (at === -1) return 'not yet';
  if (state !== 'up' && (configured || WAY_IN.indexOf(now) > at)) return 'reached';
  // What is degraded is being mended.
  return snapshot.hasTag('rest') && what !== null && now !== 'degraded' ? failed(what) : 'not yet';
}

/** What a fault says besides its code and message. */
const without = ({ code: _code, message: _message, ...more }: Fault) => more;
