/**
 * All containers: one actor system each, from the event that makes it to the state in which nothing is left.
 *
 * Guarantees: an event is judged by the machine's present state, then accepted or refused, never queued; what an answer
 * reports survives a crash: its intent is on disk, effects repeat, and the state at rest follows within milliseconds. A
 * container that is gone is forgotten, in memory and on disk. A defect in the machine of one container stops that machine,
 * not the daemon, and what is on disk of it stays as it was: the next event takes it up from there, as a start would.
 * Limits: the answers wait as long as the effects do; those have deadlines.
 */
import { isDeepStrictEqual } from 'node:util';
import { EventEmitter } from 'eventemitter3';
import { createActor, waitFor, type AnyActorRef } from 'xstate';
import { ROOT, succeed } from '../effects/effect.ts';
import type { Limits } from '../state/limits.ts';
import { retryUntilDone } from '../effects/retry.ts';
import type { containerMachine } from '../machines/container.ts';
import type { ContainerInput } from '../machines/container-inputs.ts';
import type { ContainerContext } from '../state/container.ts';
import type { CreateEvent, LifecycleEvent } from '../state/event.ts';
import { FaultError } from '../state/faults.ts';
import type { Journal } from '../state/journal.ts';
import type { SnapshotStore } from '../state/store.ts';
import { ContainerNames } from './container-names.ts';
import { Durable } from './durable.ts';
import { boundTo, planContainer, requested } from './creation.ts';
import type { Notification } from '../state/notification.ts';
import { endings } from './process-endings.ts';
import { passages } from './passages.ts';
import { callsOf, illegal, legalEvents, nameTaken, noSuchContainer, toMachineEvent, withIds } from './events.ts';
import { hasAllContainers, refuseTooManyContainers, refuseTooManyPorts } from './limits.ts';
import { Neighbours } from './neighbours.ts';
import { watchUntilItEnds } from './process-watch.ts';
import { restorable, type Restorable } from './recovery.ts';
import { isDeparting, isLeaving } from './desired-ruleset.ts';
import { refuseUncarried, type UplinkPrograms } from './uplink-request.ts';
import { atRest, departed, inState, passed } from './wait-for-state.ts';
import {
  defectOf,
  refuseOvertaken,
  refuseUnfinished,
  stateName,
  unstopped,
  type ContainerActor,
  type ContainerSnapshot,
} from './snapshot.ts';

export interface ContainersParts {
  machine: typeof containerMachine;
  store: SnapshotStore;
  journal: Journal;
  bootId: string;
  instance: string;
  netnsDir: string;
  /** A network's name from its name, id or the beginning of one id alone. Throws NO_SUCH_NETWORK. */
  networkName: (text: string) => string;
  /** The path by which the outside at this path is known, null for the daemon's own. */
  outsideName: (path: string) => string | null;
  /** Resolves when a container may be made in this outside. Throws NOT_A_NAMESPACE. */
  outsideReady: (path: string) => Promise<void>;
  /** Who publishes ports one machine further out, null for nobody. */
  publisher: string | null;
  uplinks: UplinkPrograms;
  limits: Limits;
  /** A container is again what this says: what else it was granted goes back. */
  reclaim: (context: ContainerContext) => void;
  failed: (what: string, error: unknown) => void;
}

/** How long a state at rest may wait for its write. */
const REST_WRITE_MS = 5;

interface Entry {
  actor: ContainerActor;
  unwatch: (() => void) | null;
}

export class Containers {
  readonly bus = new EventEmitter<{ notification: (notification: Notification) => void }>();
  readonly neighbours: Neighbours;
  readonly #parts: ContainersParts;
  readonly #entries = new Map<string, Entry>();
  readonly #names = new ContainerNames();
  readonly #durable = new Durable();
  #lastGeneration = 0;

  constructor(parts: ContainersParts) {
    this.#parts = parts;
    this.neighbours = new Neighbours(
      (id) => this.#entries.get(id)?.actor,
      () => this.all(),
    );
  }

  /** The id of the container that goes by this id, name or beginning of an id; the text itself when there is none. */
  idOf(text: string): string {
    return this.#names.idOf(text);
  }

  get(id: string): ContainerSnapshot | undefined {
    return this.#entries.get(id)?.actor.getSnapshot();
  }

  all(): ContainerSnapshot[] {
    return [...this.#entries.values()].map(({ actor }) => actor.getSnapshot());
  }

  /**
   * Take an event: resolves with the container's state after it, or rejects with the fault. With `wait` false it
   * resolves as soon as the intent is on disk: what was accepted will be finished, whatever happens to the daemon. `uid`:
   * who asks, null for root and the daemon's own user, who may have as many containers as they like.
   */
  async dispatch(said: LifecycleEvent, wait: boolean, uid: number | null): Promise<ContainerSnapshot> {
    const event = withIds(said, (text) => this.idOf(text));
    const actor = event.type === 'create' ? await this.#create(event, uid) : await this.#send(event);
    const { n } = actor.getSnapshot().context.operation;
    if (!wait) {
      await this.#parts.store.commit(event.id);
      return unstopped(actor.getSnapshot());
    }
    const snapshot = unstopped(await atRest(actor, n));
    refuseOvertaken(snapshot, event.type, n);
    // Where no effect ran (a request changed, a namespace of others), nothing of this operation is on disk yet.
    if (snapshot.status === 'active' && !this.#durable.has(actor, n)) await this.#parts.store.commit(event.id);
    refuseUnfinished(snapshot, event.type);
    return snapshot;
  }

  /** Resolves when the container is in a state of this name (or gone), rejects when it will not be (wait-for-state.ts). */
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

  /** Start a container from its snapshot: what it was doing when the daemon ended, it does again. */
  restore(id: string, persisted: unknown): void {
    this.#start(id, { snapshot: persisted as never });
  }

  /**
   * All are restored. Whoever gives ports away may not have had the time to write it down before the daemon ended, while
   * the taker had: it is asked again. Owners that were left behind by their last user while nobody looked go now.
   */
  restored(): void {
    for (const { context } of this.all()) this.#tellNeighbours(context);
  }

  #tellNeighbours({ owner, change }: ContainerContext): void {
    const taking = change?.taking ?? null;
    if (taking !== null) this.neighbours.yields(taking.owner, owner, taking.ports);
    this.#desert(owner);
  }

  /** See durable.ts. */
  namesAreDurable(root: AnyActorRef): boolean {
    return this.#durable.hasNamesOf(root as ContainerActor);
  }

  /** Resolves when all are on disk as they are. Rejects with STATE_UNWRITABLE. */
  async written(): Promise<void> {
    await Promise.all([...this.#entries.keys()].map((id) => this.#parts.store.commit(id)));
  }

  /**
   * Let operations under way come to rest (or `ms` pass: they go on at the next start), make every state durable, and
   * stop without touching the kernel: a stop is not a teardown.
   */
  async close(ms: number): Promise<void> {
    const passing = new Set(['draining', 'releasing']);
    const still = (snapshot: ContainerSnapshot) => snapshot.hasTag('rest') && !passing.has(stateName(snapshot));
    await Promise.allSettled([...this.#entries.values()].map(({ actor }) => waitFor(actor, still, { timeout: ms })));
    for (const { unwatch } of this.#entries.values()) unwatch?.();
    await this.written();
    this.#parts.journal.flush();
  }

  async #create(event: CreateEvent, uid: number | null): Promise<ContainerActor> {
    refuseTooManyPorts(event, [], this.#parts.limits);
    await this.#departures(event, uid);
    if (event.outside !== undefined) await this.#parts.outsideReady(event.outside);
    const existing = this.#entries.get(event.id);
    if (existing !== undefined) return this.#resume(event, existing);
    const holder = this.#names.holderOf(event.id, ...callsOf(event));
    if (holder !== null) throw nameTaken(event, holder);
    if (uid !== null) refuseTooManyContainers(uid, this.all(), this.#parts.limits);
    this.#lastGeneration = Math.max(Date.now(), this.#lastGeneration + 1);
    const input = planContainer(event, {
      ...this.#parts,
      generation: this.#lastGeneration,
      uid,
      container: (id) => this.#lasting(id),
    });
    this.#announce({ type: 'requested', t: Date.now(), id: event.id, event: 'create', network: null });
    return this.#start(event.id, { input }).actor;
  }

  /** Whoever is on its way out with this id or name, or counts for this user, is gone when this resolves. */
  async #departures(event: CreateEvent, uid: number | null): Promise<void> {
    if (uid !== null && hasAllContainers(uid, this.all(), this.#parts.limits))
      await this.neighbours.departures((other) => other.uid === uid);
    const rivals = [event.id, this.#names.holderOf(event.id, ...callsOf(event)) ?? event.id];
    const actors = rivals.flatMap((id) => this.#entries.get(id)?.actor ?? []);
    await departed(actors.filter((actor) => isDeparting(actor.getSnapshot())));
  }

  /** One whose namespace can be shared: not one that is on its way in or out. */
  #lasting(id: string): ContainerContext | undefined {
    const snapshot = this.get(id);
    const lasts = snapshot?.status === 'active' && !isLeaving(snapshot) && stateName(snapshot) !== 'creating';
    return lasts ? snapshot.context : undefined;
  }

  /** A container whose namespace others have kept: created alike, it takes up where it was. */
  #resume(event: CreateEvent, entry: Entry): ContainerActor {
    const { actor } = entry;
    const snapshot = actor.getSnapshot();
    const { context } = snapshot;
    const exists = (why: string) =>
      new FaultError('CONTAINER_EXISTS', `container ${event.id} exists already (${why})`, { owner: event.id });
    if (!context.ownerGone || snapshot.status !== 'active' || !snapshot.hasTag('rest'))
      throw exists(stateName(snapshot));
    const netns = event.netns ?? { mode: 'new' };
    const wish = { netns, ...requested(event, netns, this.#parts) };
    const users = this.neighbours.usersOf(context.owner).join(', ');
    if (!isDeepStrictEqual(wish, context.request))
      throw exists(`its namespace is in use by ${users}, and was made otherwise`);
    this.#announce({ type: 'requested', t: Date.now(), id: event.id, event: 'create', network: null });
    actor.send({ type: 'resume', boundTo: boundTo(netns.mode === 'pid' ? netns.pid : event.bound_to) });
    entry.unwatch?.();
    this.#watch(entry);
    return actor;
  }

  /** Send an event to its container, if the machine takes it now. */
  async #send(event: Exclude<LifecycleEvent, { type: 'create' }>): Promise<ContainerActor> {
    const entry = this.#entries.get(event.id);
    if (entry === undefined) throw noSuchContainer(event.id);
    const { actor } = this.#running(entry);
    // An owner that leaves others behind comes to rest first, so that they keep something whole.
    const leavesUsers =
      event.type === 'teardown' && this.neighbours.usersOf(actor.getSnapshot().context.owner).length > 0;
    await passed(actor, leavesUsers);
    const before = actor.getSnapshot();
    // Not snapshot.can(): it takes the whole transition on trial, and our guards never leave an event unanswered.
    if (!legalEvents(before).includes(event.type)) throw illegal(before, event.type);
    if (event.type === 'publish') {
      const { request, portHandler = 'firewall' } = before.context;
      refuseTooManyPorts(event, request.ports, this.#parts.limits);
      refuseUncarried(event.id, portHandler, event.port_mappings, request.ports);
    }
    const machineEvent = toMachineEvent(event, {
      networkName: (text) => this.#networkName(before, event.type, text),
      users: () => this.neighbours.usersOf(before.context.owner),
      publisher: before.context.publisher,
      giver: event.type === 'publish' ? this.neighbours.giver(event, before.context) : null,
    });
    const network = 'network' in machineEvent ? machineEvent.network : null;
    this.#announce({ type: 'requested', t: Date.now(), id: event.id, event: event.type, network });
    actor.send(machineEvent);
    return actor;
  }

  /** A network that is gone can still be disconnected from, by the name that the container knows. */
  #networkName({ context }: ContainerSnapshot, type: string, text: string): string {
    if (type === 'disconnect' && Object.hasOwn(context.request.networks, text)) return text;
    return this.#parts.networkName(text);
  }

  /** One that a defect has stopped goes on from what is on disk, which is how its last operation began or ended. */
  #running(entry: Entry): Entry {
    const { context } = entry.actor.getSnapshot();
    const defect = defectOf(entry.actor.getSnapshot(), `container ${context.id}`);
    if (defect === null) return entry;
    const kept = this.#kept(context);
    if (kept === null) throw new FaultError(defect.code, `${defect.message}; it cannot go on from what is on disk`);
    entry.unwatch?.();
    this.#parts.reclaim(kept.context);
    const next = this.#start(context.id, { snapshot: kept.snapshot as never }, entry.actor);
    this.#tellNeighbours(kept.context);
    return next;
  }

  #kept({ id, owner }: ContainerContext): Restorable | null {
    const kept = restorable(this.#parts.machine, id, this.#parts.store.read(id));
    return kept?.context.owner === owner ? kept : null;
  }

  /** `stopped`: whose place it takes. */
  #start(
    id: string,
    how: { input: ContainerInput } | { snapshot: never },
    stopped: ContainerActor | null = null,
  ): Entry {
    const { machine, store, journal } = this.#parts;
    let over = false;
    const source = this.#durable.source(() => actor);
    const passage = passages(id, journal);
    const actor: ContainerActor = createActor(machine, {
      id,
      systemId: ROOT,
      ...(how as { input: ContainerInput }), // with a snapshot, XState's types ask for an input that it ignores
      inspect: (inspection) => {
        // At every inspection event, not only at snapshots: an effect begins, and asks for its commit, before the
        // snapshot that shows it is announced.
        if (over) return;
        store.touch(id, source);
        const passed = passage.of(inspection);
        if (passed?.own === true)
          this.#announce({ type: 'state', t: Date.now(), id, from: passed.from, to: passed.to });
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
        // Nothing was made before it was on disk: there is no such container.
        this.#parts.reclaim({ ...snapshot.context, attachments: [], ports: [], change: null, configured: false });
        gone();
      },
    });
    if (stopped !== null) succeed(actor, stopped);
    actor.start();
    if (this.#entries.get(id) === entry) this.#watch(entry);
    return entry;
  }

  /** Should the daemon end before all can be removed: the next start finds the snapshot, and nothing else left to do. */
  #forget(id: string): void {
    const forget = () => {
      if (this.#entries.has(id)) return; // it is the next one's by now
      this.#parts.journal.remove(id);
      this.#parts.store.remove(id);
    };
    retryUntilDone(forget, (error) => this.#parts.failed(`container ${id}`, error));
  }

  #settled(id: string, owner: string): void {
    this.#desert(owner);
    // The state at rest goes to disk after the answer, or with the next event's intent if that comes first. Until then the
    // intent is there, which leads to the same state. A crash must not find an operation that has ended long ago.
    const write = async () => {
      if (this.#entries.has(id)) await this.#parts.store.commit(id);
    };
    const failed = (error: unknown) => this.#parts.failed(`container ${id}`, error);
    setTimeout(() => retryUntilDone(write, failed), REST_WRITE_MS).unref();
  }

  /** An owner that left others behind goes when the last of them has gone. */
  #desert(owner: string): void {
    const actor = this.neighbours.container(owner);
    if (actor?.getSnapshot().context.ownerGone === true && this.neighbours.usersOf(owner).length === 0)
      actor.send({ type: 'lastUserGone' });
  }

  #watch(entry: Entry): void {
    const { boundTo, id } = entry.actor.getSnapshot().context;
    if (boundTo === null) return;
    const exited = () => {
      const { actor } = this.#running(entry);
      const users = this.neighbours.usersOf(actor.getSnapshot().context.owner);
      actor.send({ type: 'process.exited', users });
    };
    const failed = (error: unknown) => this.#parts.failed(`watch on the process of ${id}`, error);
    entry.unwatch = watchUntilItEnds(boundTo, exited, failed);
  }

  #announce(notification: Notification): void {
    this.bus.emit('notification', notification);
  }
}
