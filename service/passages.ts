/**
 * What the machines of one container pass through, for its journal.
 *
 * Guarantees: each change of state of the container's machine and of those that it invokes is one entry, with how long the
 * state before lasted and the fault that is known by then.
 * Limits: a machine's end is no change of state; whoever needs it asks for the last one.
 */
import type { AnyActorRef, InspectionEvent } from 'xstate';
import { ROOT } from '../effects/effect.ts';
import type { Fault } from '../state/faults.ts';
import type { Journal } from '../state/journal.ts';
import { stateName, type ContainerSnapshot } from './snapshot.ts';

export interface Passage {
  /** Of the container's own machine. */
  own: boolean;
  from: string;
  to: string;
}

export function passages(id: string, journal: Journal) {
  const since = new Map<string, { state: string; t: number }>();
  return {
    /** What an inspection event says was passed, written down; null when it says nothing of that. */
    of(inspection: InspectionEvent): Passage | null {
      if (inspection.type !== '@xstate.snapshot') return null;
      const { event } = inspection;
      const actor = inspection.actorRef as AnyActorRef;
      if (!('value' in inspection.snapshot)) return null;
      const snapshot = inspection.snapshot as ContainerSnapshot;
      const to = stateName(snapshot);
      const last = since.get(actor.sessionId);
      if (last?.state === to) return null;
      const t = performance.now();
      if (snapshot.status === 'active') since.set(actor.sessionId, { state: to, t });
      else since.delete(actor.sessionId);
      const from = last?.state ?? '';
      const own = actor.system.get(ROOT) === actor;
      const { fault } = snapshot.context;
      journal.append(id, {
        t: Date.now(),
        machine: own ? 'container' : actor.id,
        event: event.type,
        from,
        to,
        ms: last === undefined ? 0 : Math.round((t - last.t) * 1000) / 1000,
        ...(fault === null ? {} : { fault }),
      });
      return { own, from, to };
    },
    /** A defect has stopped the container's own machine. */
    stopped: (actor: AnyActorRef, fault: Fault | null): void => {
      const from = since.get(actor.sessionId)?.state ?? '';
      const why = fault === null ? {} : { fault };
      journal.append(id, { t: Date.now(), machine: 'container', event: 'error', from, to: 'error', ms: 0, ...why });
    },
    last: (actor: AnyActorRef): string => since.get(actor.sessionId)?.state ?? '',
  };
}
