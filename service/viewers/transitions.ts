/**
 * Listens to the machines of one container while somebody looks: the transitions that they take, and the effects that end.
 *
 * Guarantees: nothing is attached before `listen` and after the function that it returns has been called. A transition has the
 * id that the charts of the machines have it by (scripts/ makes them from the same machine objects).
 * Limits: an effect that had begun before anybody looked is not told of: nobody knows when it began.
 */
import type { AnyActorRef, AnyTransitionDefinition, InspectionEvent } from 'xstate';
import { toFault } from '../../effects/effect.ts';
import { stateName } from '../../plan/states.ts';
import type { EffectEnd, Passage } from '../../state/answers/inspector.ts';
import type { ContainerActor } from '../records/snapshot.ts';

/** Describes what a machine did since this was asked last. */
interface Taken {
  event: string;
  edges: string[];
}

export interface Listener {
  /** Returns the transitions that a machine has taken since this was asked last, by the session of its actor. */
  taken(session: string): Taken;
  end(): void;
}

interface Told {
  /** Is called when the snapshot of the container's own machine is another one. */
  changed(): void;
  /** Is called when an effect has ended. */
  ended(effect: EffectEnd): void;
  /** Is called when a machine has taken transitions and is in the state that it was in. */
  stayed(passage: Passage): void;
}

/** Describes the snapshot of a child that is no machine. */
interface Work {
  status: string;
  error?: unknown;
}

const ids = new WeakMap<AnyTransitionDefinition, string>();

/** Returns SOURCE|EVENT|INDEX: the path of the source, the event that it is listed for, and its position in that list. */
export function transitionId(transition: AnyTransitionDefinition): string {
  let id = ids.get(transition);
  if (id === undefined) {
    const { source, eventType } = transition;
    const list = eventType === '' ? (source.always ?? []) : (source.transitions.get(eventType) ?? []);
    id = `${source.path.join('.')}|${eventType}|${list.indexOf(transition)}`;
    ids.set(transition, id);
  }
  return id;
}

export function listen(id: string, root: ContainerActor, told: Told): Listener {
  const taken = new Map<string, Taken>();
  const begun = new Map<string, number>();
  const observer = root.system.inspect((inspection: InspectionEvent) => {
    const actor = inspection.actorRef as AnyActorRef;
    const { sessionId } = actor;
    switch (inspection.type) {
      case '@xstate.microstep': {
        const edges = inspection._transitions.map(transitionId);
        const known = taken.get(sessionId);
        if (known === undefined) taken.set(sessionId, { event: inspection.event.type, edges });
        else known.edges.push(...edges);
        return;
      }
      case '@xstate.event':
        if (inspection.event.type === 'xstate.init' && isWork(actor)) begun.set(sessionId, performance.now());
        return;
      case '@xstate.snapshot': {
        const machine = machineOf(actor, root);
        if ('value' in inspection.snapshot) {
          // Whoever tells of a change of state has asked for what was taken by now.
          const { edges = [] } = taken.get(sessionId) ?? {};
          taken.delete(sessionId);
          const state = stateName(inspection.snapshot);
          const { type: event } = inspection.event;
          if (edges.length > 0)
            told.stayed({ id, t: Date.now(), machine, event, from: state, to: state, ms: 0, edges });
          if (actor === root) told.changed();
          return;
        }
        const { status, error } = inspection.snapshot as Work;
        const since = begun.get(sessionId);
        if (since === undefined || status === 'active') return;
        begun.delete(sessionId);
        if (status === 'stopped') return; // its state was left before it ended
        const name = typeof actor.src === 'string' ? actor.src : actor.id;
        told.ended({
          id,
          t: Date.now(),
          machine: machineOf(actor._parent ?? root, root),
          name,
          ms: Math.round((performance.now() - since) * 1000) / 1000,
          ok: status === 'done',
          ...(status === 'done' ? {} : { fault: toFault(error, name) }),
        });
        return;
      }
      case '@xstate.actor':
      case '@xstate.action':
      case '@xstate.transition':
    }
  });
  return {
    taken: (session) => {
      const steps = taken.get(session);
      taken.delete(session);
      return steps ?? { event: '', edges: [] };
    },
    end: () => observer.unsubscribe(),
  };
}

const isWork = (actor: AnyActorRef): boolean => !('value' in (actor.getSnapshot() as object));

/** Returns the name that the journal has for a machine. */
const machineOf = (actor: AnyActorRef, root: AnyActorRef): string => (actor === root ? 'container' : actor.id);
