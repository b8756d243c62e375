/**
 * Waits for a container: until the operation under way has come to rest, until it is in a named state, until it is gone.
 *
 * Guarantees: resolves at once if the condition already holds, and rejects at once if it will not come about by itself. No
 * subscription stays after that.
 * Limits: the states between two at rest (connecting, repairing, ...) may go unnoticed.
 */
import { isDeparting, isLeaving, rests, stateName, topState } from '../../plan/states.ts';
import { undelayed } from '../../effects/delay.ts';
import { until } from '../../effects/until.ts';
import { FaultError, type Fault } from '../../state/faults.ts';
import { defectOf, type ContainerActor, type ContainerSnapshot } from '../records/snapshot.ts';

/** Resolves when all of these containers are at rest, or after `ms`. */
export const allAtRest = (actors: readonly ContainerActor[], ms: number): Promise<unknown> =>
  Promise.allSettled(actors.map((actor) => until(actor, rests, ms)));

/** Resolves with the first state at rest after operation n began, or the one in which a defect has stopped it. */
export async function atRest(actor: ContainerActor, n: number): Promise<ContainerSnapshot> {
  const over = (snapshot: ContainerSnapshot) => rests(snapshot) || snapshot.context.operation.n !== n;
  return (await until(actor, over)) ?? actor.getSnapshot();
}

/** How long an event waits for an operation that no client requested. */
const PASSING_MS = 10_000;

/**
 * Waits for operations of our own (a repair, a network's update), which are no reason to refuse an event; if `everything` is
 * true, for any operation. An event whose wait times out is judged by the state at that time.
 */
export async function passed(actor: ContainerActor, everything: boolean): Promise<void> {
  const waits = (snapshot: ContainerSnapshot) =>
    snapshot.status === 'active' && (snapshot.hasTag('passing') || (everything && !snapshot.hasTag('rest')));
  if (!waits(actor.getSnapshot())) return;
  await until(actor, (snapshot: ContainerSnapshot) => !waits(snapshot), PASSING_MS);
}

/** How long a request for what a departing container had waits until the kernel has released it. */
const DEPARTURE_MS = 10_000;

/** Resolves when these containers are gone, or their teardown has failed, or it takes too long. */
export async function departed(actors: readonly ContainerActor[]): Promise<void> {
  if (actors.length === 0) return;
  const over = (snapshot: ContainerSnapshot) => snapshot.status !== 'active' || !isDeparting(snapshot);
  await undelayed(Promise.allSettled(actors.map((actor) => until(actor, over, DEPARTURE_MS))));
}

/** The states that every container passes, in order. */
const WAY_IN = ['creating', 'created', 'configuring', 'up'];
const WAY_OUT = ['tearingDown', 'draining', 'releasing', 'gone'];

/**
 * Resolves when the container is in a state of this name or has passed it, with null if it is gone. Rejects if it will not get
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
      // Resolves after the registry has forgotten a container that is gone.
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
  const now = topState(snapshot);
  if (now === state) return 'reached';
  const what = fault ?? leftovers[0] ?? null;
  const failed = (why: Fault) =>
    new FaultError(why.code, `container ${id} is ${now}, not ${state}: ${why.message}`, without(why));
  if (WAY_OUT.includes(state)) {
    if (WAY_OUT.indexOf(now) > WAY_OUT.indexOf(state)) return 'reached';
    // The teardown is retried by itself, with growing pauses, so the time it takes is unknown.
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
  // A degraded container is being repaired.
  return snapshot.hasTag('rest') && what !== null && now !== 'degraded' ? failed(what) : 'not yet';
}

/** Returns the fields of a fault besides its code and message. */
const without = ({ code: _code, message: _message, ...more }: Fault) => more;
