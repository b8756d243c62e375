/**
 * The container's machine with stand-ins for everything that acts: they do nothing, and end when and how they are told.
 *
 * Guarantees: the machines are those that the daemon runs, with those that they invoke. Nothing here reaches the system.
 * Limits: one replay has a machine of its own.
 */
import { createActor, type ActorLogic, type AnyActorRef, type InspectionEvent, type Snapshot } from 'xstate';
import { attachmentMachine } from '../../machines/container/attachment.ts';
import { containerMachine } from '../../machines/container/container.ts';
import { uplinkMachine } from '../../machines/uplink.ts';
import type { ContainerActor } from '../records/snapshot.ts';

type End = { type: 'stand-in.done'; output: unknown } | { type: 'stand-in.failed'; error: unknown };
type State = Snapshot<unknown> & { input: unknown };

const standIn: ActorLogic<State, End, unknown> = {
  transition: (state, event) => {
    if (state.status !== 'active') return state;
    if (event.type === 'stand-in.done') return { ...state, status: 'done', output: event.output, error: undefined };
    if (event.type === 'stand-in.failed') return { ...state, status: 'error', error: event.error, output: undefined };
    return (event as { type: string }).type === 'xstate.stop'
      ? { ...state, status: 'stopped', error: undefined, output: undefined }
      : state;
  },
  getInitialSnapshot: (_scope, input) => ({ status: 'active', output: undefined, error: undefined, input }),
  getPersistedSnapshot: (state) => state,
  restoreSnapshot: (state) => state as State,
};

interface Implemented {
  implementations: { actors: Record<string, unknown> };
  provide: (how: object) => unknown;
}

/** Returns the same machine, in which each actor that is no machine is a stand-in. */
function withStandIns<Machine>(machine: Machine, machines: Record<string, unknown> = {}): Machine {
  const implemented = machine as Implemented;
  const names = Object.keys(implemented.implementations.actors).filter((name) => machines[name] === undefined);
  const actors = { ...machines, ...Object.fromEntries(names.map((name) => [name, standIn])) };
  return implemented.provide({ actors }) as Machine;
}

export const replayed = withStandIns(containerMachine, {
  attachment: withStandIns(attachmentMachine),
  uplink: withStandIns(uplinkMachine),
});

export interface Stage {
  actor: ContainerActor;
  /** Ends the effect of this name that this machine waits for. Returns false if it waits for none. */
  end: (machine: string, name: string, how: { output: unknown } | { error: unknown }) => boolean;
}

/** Makes the actor; it is started by the caller. */
export function stage(
  how: { input: object } | { snapshot: unknown },
  inspect: (event: InspectionEvent) => void,
): Stage {
  const actor = createActor(replayed, { ...(how as { input: never }), id: 'container', inspect });
  const childOf = (of: AnyActorRef, id: string): AnyActorRef | undefined => {
    const { children = {} } = of.getSnapshot() as { children?: Record<string, AnyActorRef> };
    return Object.hasOwn(children, id) ? children[id] : undefined; // the id is a stranger's
  };
  return {
    actor,
    end: (machine, name, end) => {
      const of = machine === 'container' ? actor : childOf(actor, machine);
      const child = of === undefined ? undefined : childOf(of, name);
      const waits = child !== undefined && child.getSnapshot().status === 'active' && !isMachine(child);
      if (!waits) return false;
      child.send('error' in end ? { type: 'stand-in.failed', ...end } : { type: 'stand-in.done', ...end });
      return true;
    },
  };
}

const isMachine = (actor: AnyActorRef): boolean => 'value' in (actor.getSnapshot() as object);
