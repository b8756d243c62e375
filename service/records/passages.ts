/**
 * Writes what happens in a container's machines to its journal: what comes from outside (events, ends of effects), and what the
 * machines make of it (changes of state and of the context).
 *
 * Guarantees: each change of state of the container's machine, and of those that it invokes, is one line, with the duration of
 * the state before and the fault that is known by then. Everything from outside is a line too, before what it leads to, so that
 * the same machines can be led the same way again (service/replay, docs/decisions/0051). What a line costs beside that is paid
 * when it is written: contexts are immutable, so they are compared then.
 * Limits: the end of the container's machine is no change of state; a caller that needs it uses `last`. The inputs of effects are
 * not kept: the machine computes them from the context of that moment, and a replay computes them again.
 */
import type { AnyActorRef, InspectionEvent } from 'xstate';
import { faultOf } from '../../machines/contract.ts';
import { moments, objectsAfter } from '../../plan/journal/moments.ts';
import { outcomeOf } from '../../plan/journal/objects.ts';
import { difference } from '../../plan/journal/patch.ts';
import { stateName } from '../../plan/states.ts';
import type { JournalEntry, JournalLine, JournalStart, KernelObject } from '../../state/answers/container/history.ts';
import type { Fault } from '../../state/faults.ts';
import { CONTAINER_VERSION } from '../../state/versions/migrations.ts';
import type { ContainerSnapshot } from './snapshot.ts';

export interface Passage {
  /** It is true for the container's own machine. */
  own: boolean;
  /** It is the id of the machine's actor. */
  session: string;
  entry: JournalEntry;
}

/** Takes a line, or one that is made when it is written. */
export type Sink = (line: JournalLine | (() => JournalLine)) => void;

/** Says how a machine starts. */
type How = { input: object } | { snapshot: unknown };

/** Describes an effect or request that has begun. */
interface Begun {
  t: number;
  input: unknown;
}

const rounded = (ms: number): number => Math.round(ms * 1000) / 1000;

/** Is told of each effect that has ended: its name, how long it took in ms, and why it failed. */
type EffectEnded = (name: string, ms: number, fault: Fault | null) => void;

/** Returns a recorder of one container's machines. `bodies` has the time at which the body of an effect began, by its actor. */
export function passages(
  sink: Sink,
  bodies: Pick<WeakMap<AnyActorRef, number>, 'get'> = new WeakMap(),
  effectEnded: EffectEnded = () => {},
) {
  const since = new WeakMap<AnyActorRef, { state: string; t: number }>();
  const begun = new WeakMap<AnyActorRef, Begun>();
  let context: unknown = {};
  /** Has what exists after the last line that was made; it is null if only the lines of an earlier daemon say it. */
  let objects: readonly KernelObject[] | null = null;

  const noted = (line: JournalLine): JournalLine => {
    if (objects !== null) objects = objectsAfter(objects, line);
    return line;
  };

  function told(actor: AnyActorRef, source: AnyActorRef | undefined, event: { type: string }, isRoot: boolean): void {
    if (isMachine(actor)) {
      const effect = source === undefined ? undefined : begun.get(source);
      if (source !== undefined && effect !== undefined) ended(actor, source, effect, event, isRoot);
      else if (source === undefined && isRoot && event.type !== INIT) sent(event);
    } else if (event.type === INIT) {
      const { input } = actor.getSnapshot() as { input?: unknown };
      begun.set(actor, { t: performance.now(), input });
    }
  }

  function sent({ type: event, ...data }: { type: string }): void {
    const line = { kind: 'event', t: Date.now(), event, ...(Object.keys(data).length > 0 ? { data } : {}) } as const;
    sink(() => noted(line));
  }

  function ended(
    machine: AnyActorRef,
    actor: AnyActorRef,
    effect: Begun,
    event: { type: string; output?: unknown; error?: unknown },
    isRoot: boolean,
  ): void {
    const t = Date.now();
    const name = actor.id;
    const body = bodies.get(actor);
    const ms = rounded(performance.now() - effect.t);
    const { output, error } = event;
    const fault = event.type.startsWith('xstate.error.') ? faultOf(error) : null;
    effectEnded(name, ms, fault);
    sink(() =>
      noted({
        kind: 'effect',
        t,
        machine: isRoot ? 'container' : machine.id,
        name,
        ms,
        ...(body === undefined ? {} : { waited: rounded(body - effect.t) }),
        ...(fault !== null ? { fault } : output === undefined ? {} : { output }),
        ...(fault !== null ? {} : outcomeOf(name, effect.input, output)),
      }),
    );
  }

  /** Returns a function that makes the members of a line about the container's own machine. */
  function changeIn(snapshot: ContainerSnapshot) {
    const before = context;
    const now = snapshot.context;
    context = now;
    const children = childrenOf(snapshot);
    return () => {
      const patch = difference(before, now);
      return { ...(patch.length > 0 ? { patch } : {}), ...(children === null ? {} : { children }) };
    };
  }

  function moved(actor: AnyActorRef, snapshot: ContainerSnapshot, event: string, own: boolean): Passage | null {
    const to = stateName(snapshot);
    const last = since.get(actor);
    const t = Date.now();
    if (last?.state === to) {
      if (!own || snapshot.context === context) return null;
      const more = changeIn(snapshot);
      sink(() => ({ kind: 'change', t, event, state: to, ...more() }));
      return null;
    }
    const at = performance.now();
    const active = snapshot.status === 'active';
    if (active) since.set(actor, { state: to, t: at });
    else since.delete(actor);
    const from = last?.state ?? '';
    const ms = last === undefined ? 0 : rounded(at - last.t);
    const { fault } = snapshot.context;
    const more = own ? changeIn(snapshot) : () => (active ? {} : { ended: true as const });
    const machine = own ? 'container' : actor.id;
    const entry: JournalEntry = { t, machine, event, from, to, ms, ...(fault === null ? {} : { fault }) };
    sink(() => ({ kind: 'passage', ...entry, ...more() }));
    return { own, session: actor.sessionId, entry };
  }

  return {
    /** Writes how the container's machine starts. */
    starts: (how: How): void => {
      const line = { kind: 'start', t: Date.now(), machine: CONTAINER_VERSION } as const;
      if ('input' in how) {
        context = how.input;
        objects = [];
        sink({ ...line, how: 'created', input: how.input });
      } else {
        context = (how.snapshot as { context: unknown }).context;
        sink({ ...line, how: 'restored', snapshot: how.snapshot });
      }
    },
    /** Writes what an inspection event shows, and returns the passage if it is one. */
    of(inspection: InspectionEvent): Passage | null {
      const actor = inspection.actorRef as AnyActorRef;
      const isRoot = actor.sessionId === inspection.rootId;
      if (inspection.type === '@xstate.event') {
        told(actor, inspection.sourceRef as AnyActorRef | undefined, inspection.event, isRoot);
      } else if (inspection.type === '@xstate.snapshot' && 'value' in inspection.snapshot) {
        return moved(actor, inspection.snapshot as ContainerSnapshot, inspection.event.type, isRoot);
      }
      return null;
    },
    /** Writes that a defect has stopped the container's own machine. */
    stopped: (actor: AnyActorRef, fault: Fault | null): void => {
      const from = since.get(actor)?.state ?? '';
      const why = fault === null ? {} : { fault };
      sink({ kind: 'passage', t: Date.now(), machine: 'container', event: 'error', from, to: 'error', ms: 0, ...why });
    },
    /** Returns the line that has everything of the lines before it. `before` reads these, if need be. */
    whole: (snapshot: unknown, before: () => readonly JournalLine[]): JournalStart => {
      objects ??= moments(before()).at(-1)?.objects ?? [];
      const line = { kind: 'start', t: Date.now(), how: 'continued', machine: CONTAINER_VERSION } as const;
      return { ...line, snapshot, objects: [...objects] };
    },
    last: (actor: AnyActorRef): string => since.get(actor)?.state ?? '',
  };
}

const INIT = 'xstate.init';

const isMachine = (actor: AnyActorRef): boolean => 'value' in (actor.getSnapshot() as object);

/** Returns the states of the machines that this one has invoked; null if it has invoked none. */
function childrenOf(snapshot: ContainerSnapshot): Record<string, string> | null {
  let found: Record<string, string> | null = null;
  const children = snapshot.children as Record<string, AnyActorRef | undefined>;
  for (const id in children) {
    const now = children[id]?.getSnapshot() as { status: string; value?: unknown } | undefined;
    if (now === undefined || now.status !== 'active' || !('value' in now)) continue;
    found ??= {};
    found[id] = stateName(now as ContainerSnapshot);
  }
  return found;
}
