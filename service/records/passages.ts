/**
 * Writes the state changes of a container's machines to its journal.
 *
 * Guarantees: each change of state of the container's machine, and of those that it invokes, is one entry, with the duration of
 * the state before and the fault that is known by then.
 * Limits: the end of a machine is no change of state; a caller that needs it uses `last`.
 */
import type { AnyActorRef, InspectionEvent } from 'xstate';
import { stateName } from '../../plan/states.ts';
import { ROOT } from '../../effects/effect.ts';
import type { Fault } from '../../state/faults.ts';
import type { Journal } from '../../state/files/journal.ts';
import type { ContainerSnapshot } from './snapshot.ts';

export interface Passage {
  /** True for the container's own machine. */
  own: boolean;
  from: string;
  to: string;
}

export function passages(id: string, journal: Journal) {
  const since = new Map<string, { state: string; t: number }>();
  return {
    /** Writes the passage that an inspection event shows and returns it; returns null if the event shows none. */
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
    /** Writes that a defect has stopped the container's own machine. */
    stopped: (actor: AnyActorRef, fault: Fault | null): void => {
      const from = since.get(actor.sessionId)?.state ?? '';
      const why = fault === null ? {} : { fault };
      journal.append(id, { t: Date.now(), machine: 'container', event: 'error', from, to: 'error', ms: 0, ...why });
    },
    last: (actor: AnyActorRef): string => since.get(actor.sessionId)?.state ?? '',
  };
}
