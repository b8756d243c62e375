/**
 * All containers. Each has an actor system of its own, from the event that makes it to the state in which nothing is left.
 *
 * Guarantees: the machine's present state decides whether an event is accepted or refused; events are never queued. An answer
 * survives a crash: its intent is on disk, effects repeat, and the state at rest follows within milliseconds. A container that is
 * gone is forgotten, in memory and on disk. A defect in the machine of one container stops that machine, not the daemon, and does
 * not change its snapshot on disk. The next event continues from that snapshot, as a start of the daemon would.
 * Limits: an answer waits as long as its effects take; those have deadlines.
 */
import { createActor, waitFor } from 'xstate';
import { isDeparting, rests, stateName } from '../../plan/states.ts';
import { ROOT, succeed } from '../../effects/effect.ts';
import { retryUntilDone } from '../../effects/retry.ts';
import type { containerMachine } from '../../machines/container/container.ts';
import type { ContainerInput } from '../../machines/container/container-inputs.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { CreateEvent, LifecycleEvent } from '../../state/event.ts';
import { FaultError } from '../../state/faults.ts';
import type { Journal } from '../../state/files/journal.ts';
import type { SnapshotStore } from '../../state/files/store.ts';
import {
  Admission,
  type AdmissionParts,
  type Admitted,
  type AppliedPlan,
  type CreationChoices,
  type LaterEvent,
} from './admission.ts';
import { ContainerNames } from './container-names.ts';
import type { Notification } from '../../state/answers/notification.ts';
import { endings } from './process-endings.ts';
import { passages } from '../records/passages.ts';
import { noSuchContainer, withIds } from '../events/events.ts';
import type { Entry, Roster } from './roster.ts';
import { watchUntilItCloses, watchUntilItEnds } from './process-watch.ts';
import { restorable, type Restorable } from '../records/recovery.ts';
import { atRest, inState } from './wait-for-state.ts';
import {
  defectOf,
  refuseOvertaken,
  refuseUnfinished,
  unstopped,
  type ContainerActor,
  type ContainerSnapshot,
} from '../records/snapshot.ts';
import { takenBy } from '../../plan/containers/change.ts';

export interface ContainersParts extends AdmissionParts {
  /** The list that containers are added to and removed from. */
  roster: Roster;
  machine: typeof containerMachine;
  store: SnapshotStore;
  journal: Journal;
  /** Resolves when a container may be made in this outside. Throws NOT_A_NAMESPACE. */
  outsideReady: (path: string) => Promise<void>;
  /** Called when a container has been reset to this context: releases what else it was granted. */
  reclaim: (context: ContainerContext) => void;
  failed: (what: string, error: unknown) => void;
}

/** Whoever asks for a teardown while one is under way asks for that one, and gets its answer. */
const isTearingDown = (snapshot: ContainerSnapshot): boolean =>
  snapshot.context.operation.type === 'teardown' && !rests(snapshot);

const asKept = ({ snapshot }: Restorable) => ({ snapshot: snapshot as never, input: undefined as never });

/** The delay after which a state at rest is written. */
const REST_WRITE_MS = 5;

export class Containers {
  readonly bus: Roster['bus'];
  readonly neighbours: Roster['neighbours'];
  readonly #parts: ContainersParts;
  readonly #roster: Roster;
  readonly #entries: Roster['entries'];
  readonly #names = new ContainerNames();
  readonly #durable: Roster['durable'];
  readonly #admission: Admission;
  #lastGeneration = 0;

  constructor(parts: ContainersParts) {
    this.#parts = parts;
    const { roster } = parts;
    this.#roster = roster;
    this.#entries = roster.entries;
    this.#durable = roster.durable;
    this.bus = roster.bus;
    this.neighbours = roster.neighbours;
    this.#admission = new Admission(parts, roster, this.#names);
  }

  /** Returns the id of the container with this id, name or beginning of an id; the text itself if there is none. */
  idOf(text: string): string {
    return this.#names.idOf(text);
  }

  /** Returns true if another container, one that is to stay, has this text as its id or name. */
  isTaken(id: string, text: string): boolean {
    const holder = this.get(this.#names.holderOf(id, text) ?? id);
    return holder !== undefined && holder.context.id !== id && !isDeparting(holder);
  }

  get(id: string): ContainerSnapshot | undefined {
    return this.#roster.get(id);
  }

  all(): ContainerSnapshot[] {
    return this.#roster.all();
  }

  /**
   * Takes an event. Resolves with the container's state after it, or rejects with the fault. If `wait` is false, it resolves as
   * soon as the intent is on disk: an accepted event will be finished, whatever happens to the daemon. `uid`: the caller; null
   * for root and the daemon's own user, who may have as many containers as they like. `applied`: the plan that it carries out.
   */
  async dispatch(
    said: LifecycleEvent,
    wait: boolean,
    uid: number | null,
    applied: AppliedPlan | null = null,
  ): Promise<ContainerSnapshot> {
    const event = withIds(said, (text) => this.idOf(text));
    const actor = event.type === 'create' ? await this.#create(event, uid, applied) : await this.#send(event, applied);
    const { n } = actor.getSnapshot().context.operation;
    if (!wait) {
      await this.#parts.store.commit(event.id);
      return unstopped(actor.getSnapshot());
    }
    const snapshot = unstopped(await atRest(actor, n));
    refuseOvertaken(snapshot, event.type, n);
    // If no effect ran (a request changed, a namespace of others), nothing of this operation is on disk yet.
    if (snapshot.status === 'active' && !this.#durable.has(actor, n)) await this.#parts.store.commit(event.id);
    refuseUnfinished(snapshot, event.type);
    return snapshot;
  }

  /**
   * Judges an event as `dispatch` does, and does nothing. Resolves with what the machine would get, or rejects with the fault.
   * `token`: that of an earlier plan of the same container.
   */
  async foresee(
    said: LifecycleEvent,
    uid: number | null,
    how: Omit<CreationChoices, 'generation'>,
  ): Promise<Admitted & { said: LifecycleEvent }> {
    const event = withIds(said, (text) => this.idOf(text));
    if (event.type === 'create') {
      await this.#admission.readyToCreate(event, uid);
      return { said: event, ...this.#admission.creation(event, uid, { ...how, generation: this.#nextGeneration() }) };
    }
    const entry = this.#entryOf(event.id);
    const kept = this.#stopped(entry);
    if (kept === null) await this.#admission.ready(event, entry.actor);
    // An actor that is never started: its state is the one that the container would go on from.
    const before = (kept === null ? entry.actor : createActor(this.#parts.machine, asKept(kept))).getSnapshot();
    return { said: event, before, event: this.#admission.translated(event, before) };
  }

  /** Resolves in a state of this name (or gone). Rejects when the container cannot get there (wait-for-state.ts). */
  async waitFor(id: string, state: string, ms: number): Promise<ContainerSnapshot | null> {
    if (!Object.hasOwn(this.#parts.machine.states, state))
      throw new FaultError('BAD_REQUEST', `there is no state ${state}`);
    const actor = this.#entries.get(id)?.actor;
    if (actor === undefined) {
      if (state === 'gone') return null;
      throw noSuchContainer(id);
    }
    return inState(actor, state, ms);
  }

  /** Starts a container from its snapshot. It repeats what it was doing when the daemon ended. */
  restore(id: string, persisted: unknown): void {
    this.#start(id, { snapshot: persisted as never });
  }

  /**
   * Called when all containers are restored. Repeats the request to containers that give ports away: the daemon may have ended
   * after the taker was on disk and before the giver was. Also removes owners whose last user left while no daemon ran.
   */
  restored(): void {
    for (const { context } of this.all()) this.#tellNeighbours(context);
  }

  #tellNeighbours({ owner, change }: ContainerContext): void {
    const taking = takenBy(change);
    if (taking !== null) this.neighbours.yields(taking.owner, owner, taking.ports);
    this.#desert(owner);
  }

  /** Returns true if all names of this container's plan are on disk (durable.ts). */
  async written(): Promise<void> {
    await Promise.all([...this.#entries.keys()].map((id) => this.#parts.store.commit(id)));
  }

  /**
   * Waits until operations under way are at rest (or `ms` have passed: the next start continues them), makes every state durable,
   * and stops without touching the kernel: a stop is not a teardown.
   */
  async close(ms: number): Promise<void> {
    const passing = new Set(['draining', 'releasing']);
    const still = (snapshot: ContainerSnapshot) => snapshot.hasTag('rest') && !passing.has(stateName(snapshot));
    await Promise.allSettled([...this.#entries.values()].map(({ actor }) => waitFor(actor, still, { timeout: ms })));
    for (const { unwatch } of this.#entries.values()) unwatch?.();
    await this.written();
    this.#parts.journal.flush();
  }

  async #create(event: CreateEvent, uid: number | null, applied: AppliedPlan | null): Promise<ContainerActor> {
    await this.#admission.readyToCreate(event, uid);
    if (event.outside !== undefined) await this.#parts.outsideReady(event.outside);
    applied?.verify(this.get(event.id) ?? null);
    const generation = this.#nextGeneration();
    const creation = this.#admission.creation(event, uid, { generation, token: applied?.token });
    this.#lastGeneration = generation;
    this.#announce({ type: 'requested', t: Date.now(), id: event.id, event: 'create', network: null });
    if (!('event' in creation)) return this.#start(event.id, { input: creation.input }).actor;
    const entry = this.#entryOf(event.id);
    entry.actor.send(creation.event);
    entry.unwatch?.();
    this.#watch(entry);
    return entry.actor;
  }

  /** Sends an event to its container, if the machine accepts it now. */
  async #send(event: LaterEvent, applied: AppliedPlan | null): Promise<ContainerActor> {
    const { actor } = this.#running(this.#entryOf(event.id));
    await this.#admission.ready(event, actor);
    const before = actor.getSnapshot();
    if (event.type === 'teardown' && applied === null && isTearingDown(before)) return actor;
    applied?.verify(before);
    const machineEvent = this.#admission.translated(event, before);
    const network = 'network' in machineEvent ? machineEvent.network : null;
    this.#announce({ type: 'requested', t: Date.now(), id: event.id, event: event.type, network });
    actor.send(applied === null ? machineEvent : applied.promise(machineEvent));
    return actor;
  }

  #nextGeneration(): number {
    return Math.max(Date.now(), this.#lastGeneration + 1);
  }

  #entryOf(id: string): Entry {
    const entry = this.#entries.get(id);
    if (entry === undefined) throw noSuchContainer(id);
    return entry;
  }

  /** Restarts a container that a defect has stopped, from disk: from the beginning or the end of its last operation. */
  #running(entry: Entry): Entry {
    const kept = this.#stopped(entry);
    if (kept === null) return entry;
    entry.unwatch?.();
    this.#parts.reclaim(kept.context);
    const next = this.#start(kept.id, asKept(kept), entry.actor);
    this.#tellNeighbours(kept.context);
    return next;
  }

  /** Returns what a container that a defect has stopped goes on from; null if none has stopped it. */
  #stopped({ actor }: Entry): Restorable | null {
    const { id, owner } = actor.getSnapshot().context;
    const defect = defectOf(actor.getSnapshot(), `container ${id}`);
    if (defect === null) return null;
    const kept = restorable(this.#parts.machine, id, this.#parts.store.read(id));
    if (kept?.context.owner === owner) return kept;
    throw new FaultError(defect.code, `${defect.message}; it cannot go on from what is on disk`);
  }

  /** Starts the actor of a container. `stopped`: the actor that it replaces. */
  #start(
    id: string,
    how: { input: ContainerInput } | { snapshot: never },
    stopped: ContainerActor | null = null,
  ): Entry {
    const { machine, store, journal } = this.#parts;
    let over = false;
    const source = this.#durable.source(() => actor);
    const passage = passages(
      (line) => journal.append(id, line),
      this.#roster.bodies,
      (name, ms, fault) => this.bus.emit('effect', name, ms, fault),
    );
    journal.knows(id, (before) =>
      actor.getSnapshot().status === 'active' ? passage.whole(actor.getPersistedSnapshot(), before) : null,
    );
    passage.starts(how);
    const actor: ContainerActor = createActor(machine, {
      id,
      systemId: ROOT,
      ...(how as { input: ContainerInput }), // with a snapshot, XState's types ask for an input that it ignores
      inspect: (inspection) => {
        // Touches at every inspection event, not only at snapshots: an effect begins, and requests its commit, before the
        // snapshot that shows it is announced.
        if (over) return;
        store.touch(id, source);
        const passed = passage.of(inspection);
        if (passed === null) return;
        this.bus.emit('passage', id, passed);
        const { from, to } = passed.entry;
        if (passed.own) this.#announce({ type: 'state', t: Date.now(), id, from, to });
      },
    });
    const entry: Entry = { actor, unwatch: null };
    this.#entries.set(id, entry);
    this.#names.add(id, actor.getSnapshot().context.name);
    const ended = endings(id, actor.getSnapshot(), 'input' in how, (ending, rests) => {
      this.#announce(ending);
      if (rests) this.#settled(id, actor.getSnapshot().context.owner);
    });
    const gone = () => {
      entry.unwatch?.();
      this.#entries.delete(id);
      this.#names.remove(id, actor.getSnapshot().context.name);
      over = true;
      const { of } = actor.getSnapshot().context.netns ?? { of: null };
      if (of !== null) this.#desert(of);
      this.#announce({ type: 'state', t: Date.now(), id, from: passage.last(actor), to: 'gone' });
      this.#forget(id);
    };
    actor.subscribe({
      next: ended,
      complete: gone,
      error: (error) => {
        over = true;
        store.leave(id);
        this.#parts.failed(`container ${id}`, error);
        const snapshot = actor.getSnapshot();
        ended(snapshot);
        passage.stopped(actor, defectOf(snapshot, `container ${id}`));
        this.#announce({ type: 'state', t: Date.now(), id, from: passage.last(actor), to: 'error' });
        if (store.keeps(id)) return;
        // Nothing is made before its snapshot is on disk, so there is no such container.
        this.#parts.reclaim({ ...snapshot.context, attachments: [], ports: [], change: null, configured: false });
        gone();
      },
    });
    if (stopped !== null) succeed(actor, stopped);
    this.bus.emit('starting', id, actor);
    actor.start();
    if (this.#entries.get(id) === entry) this.#watch(entry);
    return entry;
  }

  /** Removes the files of a container that is gone. If the daemon ends before, the next start removes them. */
  #forget(id: string): void {
    const forget = () => {
      if (this.#entries.has(id)) return; // a new container has the id by now
      this.#parts.journal.remove(id);
      this.#parts.store.remove(id);
    };
    retryUntilDone(forget, (error) => this.#parts.failed(`container ${id}`, error));
  }

  #settled(id: string, owner: string): void {
    this.#desert(owner);
    // The state at rest goes to disk after the answer, or with the next event's intent if that comes first. Until then the intent
    // on disk leads to the same state. It is written soon, so that a crash does not find an operation that ended long ago.
    const write = async () => {
      if (this.#entries.has(id)) await this.#parts.store.commit(id);
    };
    const failed = (error: unknown) => this.#parts.failed(`container ${id}`, error);
    setTimeout(() => retryUntilDone(write, failed), REST_WRITE_MS).unref();
  }

  /** Notifies an owner that has left users behind when the last user has gone: the owner goes then. */
  #desert(owner: string): void {
    const actor = this.neighbours.container(owner);
    if (actor?.getSnapshot().context.ownerGone === true && this.neighbours.usersOf(owner).length === 0)
      actor.send({ type: 'lastUserGone' });
  }

  #watch(entry: Entry): void {
    const { boundTo, exit, id } = entry.actor.getSnapshot().context;
    let over = false;
    const exited = () => {
      if (over) return; // the other one has ended before
      over = true;
      const { actor } = this.#running(entry);
      const users = this.neighbours.usersOf(actor.getSnapshot().context.owner);
      actor.send({ type: 'process.exited', users });
    };
    const failed = (error: unknown) => this.#parts.failed(`watch on what ${id} ends with`, error);
    const watches = [
      ...(boundTo === null ? [] : [watchUntilItEnds(boundTo, exited, failed)]),
      ...(exit === undefined ? [] : [watchUntilItCloses(exit, exited, failed)]),
    ];
    entry.unwatch = () => {
      for (const end of watches) end();
    };
  }

  #announce(notification: Notification): void {
    this.bus.emit('notification', notification);
  }
}
