/**
 * The list of containers, and the bus of their notifications, for all parts of the daemon.
 *
 * Guarantees: a view of the containers' actors, with no state of its own that could disagree with them. It exists before any
 * machine, so that the machines and the watches can be built one after another.
 * Limits: `Containers` adds and removes entries (containers.ts).
 */
import { EventEmitter } from 'eventemitter3';
import type { AnyActorRef } from 'xstate';
import type { Notification } from '../../state/answers/notification.ts';
import { Durable } from '../records/durable.ts';
import type { Fault } from '../../state/faults.ts';
import type { Passage } from '../records/passages.ts';
import type { ContainerActor, ContainerSnapshot } from '../records/snapshot.ts';
import { Neighbours } from './neighbours.ts';

export interface Entry {
  actor: ContainerActor;
  /** Ends the watch on the container's process. */
  unwatch: (() => void) | null;
}

export class Roster {
  readonly bus = new EventEmitter<{
    notification: (notification: Notification) => void;
    /** A machine of a container, its own or one that it invokes, has changed its state. */
    passage: (id: string, passage: Passage) => void;
    /** An effect of a container's machines has ended: its name, how long it took in ms with its waits, and why it failed. */
    effect: (name: string, ms: number, fault: Fault | null) => void;
    /** The actor of a container is about to start. */
    starting: (id: string, actor: ContainerActor) => void;
  }>();
  readonly entries = new Map<string, Entry>();
  readonly durable = new Durable();
  /** When the body of each effect of containers began (performance.now()). */
  readonly bodies = new WeakMap<AnyActorRef, number>();
  readonly neighbours = new Neighbours(
    (id) => this.entries.get(id)?.actor,
    () => this.all(),
  );

  get(id: string): ContainerSnapshot | undefined {
    return this.entries.get(id)?.actor.getSnapshot();
  }

  all(): ContainerSnapshot[] {
    return Array.from(this.entries.values(), ({ actor }) => actor.getSnapshot());
  }

  /** Returns true if all names of this container's plan are on disk (durable.ts). */
  namesAreDurable(root: AnyActorRef): boolean {
    return this.durable.hasNamesOf(root as ContainerActor);
  }
}
