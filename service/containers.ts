/**
 * All containers: one actor system each, from the event that makes it to the state in which nothing is left.
 *
 * Guarantees: an event is judged by the machine's present state, then accepted or refused, never queued; what an answer
 * reports survives a crash: its intent is on disk, effects repeat, and the state at rest follows within milliseconds. A
 * container that is gone is forgotten, in memory and on disk. Every root has an error observer: a defect in one container
 * stops that container, not the daemon.
 * Limits: the answers wait as long as the effects do; those have deadlines.
 */
import { isDeepStrictEqual } from 'node:util';
import { EventEmitter } from 'eventemitter3';
import { createActor, waitFor, type AnyActorRef } from 'xstate';
import { ROOT } from '../effects/effect.ts';
import { insist } from '../effects/insist.ts';
import type { containerMachine } from '../machines/container.ts';
import type { ContainerInput } from '../machines/container-inputs.ts';
import type { ContainerContext } from '../state/container.ts';
import type { CreateEvent, LifecycleEvent } from '../state/event.ts';
import { FaultError } from '../state/faults.ts';
import type { Journal } from '../state/journal.ts';
import { CONTAINER_VERSION } from '../state/migrations.ts';
import type { SnapshotStore } from '../state/store.ts';
import { boundTo, planContainer, requested } from './creation.ts';
import type { Happening } from '../state/happening.ts';
import { endings } from './endings.ts';
import { illegal, legalEvents, noSuchContainer, toMachineEvent } from './events.ts';
import { Neighbours } from './neighbours.ts';
import { watchUntilItEnds } from './process-watch.ts';
import { isLeaving } from './standing.ts';
import { refuseSctp, type UplinkPrograms } from './uplink-request.ts';
import { atRest, inState } from './waiting.ts';
import { stateName, type ContainerActor, type ContainerSnapshot } from './snapshot.ts';

type Machine = typeof containerMachine;

interface Bus {
  happening: (happening: Happening) => void;
}

export interface ContainersParts {
  machine: Machine;
  store: SnapshotStore;
  journal: Journal;
  bootId: string;
  instance: string;
  netnsDir: string;
  /** A network's name from its name, id or the beginning of one id alone. Throws NO_SUCH_NETWORK. */
  networkName: (text: string) => string;
  /** The path by which the outside at this path is known, null for the daemon's own. */
  outsideName: (path: string) => string | null;
  /** Who publishes ports one machine further out, null for nobody. */
  publisher: string | null;
  uplinks: UplinkPrograms;
  failed: (what: string, error: unknown) => void;
}

/** How long an event waits for an operation that nobody asked for. */
const PASSING_MS = 10_000;

/** How long a state at rest may wait for its write. */
const REST_WRITE_MS = 5;

interface Entry {
  actor: ContainerActor;
  unwatch: (() => void) | null;
}

export class Containers {
  readonly bus = new EventEmitter<Bus>();
  readonly neighbours: Neighbours;
  readonly #parts: ContainersParts;
  readonly #entries = new Map<string, Entry>();
  /** The context of each container as it is on disk. */
  readonly #durable = new WeakMap<AnyActorRef, ContainerContext>();
  #lastGeneration = 0;

  constructor(parts: ContainersParts) {
    this.#parts = parts;
    this.neighbours = new Neighbours(
      (id) => this.#entries.get(id)?.actor,
      () => this.all(),
    );
  }

  get(id: string): ContainerSnapshot | undefined {
    return this.#entries.get(id)?.actor.getSnapshot();
  }

  all(): ContainerSnapshot[] {
    return [...this.#entries.values()].map(({ actor }) => actor.getSnapshot());
  }

  /**
   * Take an event: resolves with the container's state after it, or rejects with the fault. With `wait` false it
   * resolves as soon as the intent is on disk: what was accepted will be finished, whatever happens to the daemon.
   */
  async dispatch(event: LifecycleEvent, wait: boolean): Promise<ContainerSnapshot> {
    const actor = event.type === 'create' ? this.#create(event) : await this.#send(event);
    const { n } = actor.getSnapshot().context.operation;
    if (!wait) {
      await this.#parts.store.commit(event.id);
      return actor.getSnapshot();
    }
    const snapshot = await atRest(actor, n);
    if (snapshot.context.operation.n !== n) {
      throw new FaultError(
        'SUPERSEDED',
        `${event.type} of ${event.id} was overtaken by ${snapshot.context.operation.type}`,
      );
    }
    // Where no effect ran (a request changed, a namespace of others), nothing of this operation is on disk yet.
    if (snapshot.status === 'active' && this.#durable.get(actor)?.operation.n !== n) {
      await this.#parts.store.commit(event.id);
    }
    const { fault, leftovers } = snapshot.context;
    if (fault !== null) throw new FaultError(fault.code, fault.message, fault);
    if (leftovers.length > 0) {
      const what = leftovers.map(({ message }) => message).join('; ');
      throw new FaultError('UNFINISHED', `${event.type} of ${event.id} is not finished: ${what}`);
    }
    return snapshot;
  }

  /** Resolves when the container is in a state of this name (or gone), rejects with DEADLINE after `ms`. */
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
    for (const { context } of this.all()) {
      const taking = context.change?.taking ?? null;
      if (taking !== null) this.neighbours.yields(taking.owner, context.owner, taking.ports);
      this.#desert(context.owner);
    }
  }

  /**
   * Whether everything that an operation under way may make has been named on disk since it began, and leads on from there:
   * the same plan, in the same operation, and nothing has failed since (what turns back undoes what the disk would go on
   * with). Contexts are immutable, so the same parts are the same objects.
   */
  namesAreDurable(root: AnyActorRef): boolean {
    const durable = this.#durable.get(root);
    const { context } = root.getSnapshot() as ContainerSnapshot;
    return (
      durable !== undefined &&
      durable.operation.n === context.operation.n &&
      durable.fault === context.fault &&
      durable.netns === context.netns &&
      durable.attachments === context.attachments &&
      durable.uplink === context.uplink &&
      durable.change?.ports === context.change?.ports
    );
  }

  /**
   * Let operations under way come to rest (or `ms` pass: they go on at the next start), make every state durable, and
   * stop without touching the kernel: a stop is not a teardown.
   */
  async close(ms: number): Promise<void> {
    const passing = new Set(['draining', 'releasing']);
    const still = (snapshot: ContainerSnapshot) => snapshot.hasTag('rest') && !passing.has(stateName(snapshot));
    await Promise.allSettled([...this.#entries.values()].map(({ actor }) => waitFor(actor, still, { timeout: ms })));
    for (const [id, { unwatch }] of this.#entries) {
      unwatch?.();
      await this.#parts.store.commit(id);
    }
    this.#parts.journal.flush();
  }

  #existing(id: string): Entry {
    const entry = this.#entries.get(id);
    if (entry === undefined) throw noSuchContainer(id);
    return entry;
  }

  #create(event: CreateEvent): ContainerActor {
    const existing = this.#entries.get(event.id);
    if (existing !== undefined) return this.#resume(event, existing);
    this.#lastGeneration = Math.max(Date.now(), this.#lastGeneration + 1);
    const input = planContainer(event, {
      ...this.#parts,
      generation: this.#lastGeneration,
      container: (id) => this.#lasting(id),
    });
    this.#announce({ type: 'requested', t: Date.now(), id: event.id, event: 'create', network: null });
    return this.#start(event.id, { input }).actor;
  }

  /** One whose namespace can be shared: not one that is on its way in or out. */
  #lasting(id: string): ContainerContext | undefined {
    const snapshot = this.get(id);
    const lasts = snapshot !== undefined && !isLeaving(snapshot) && stateName(snapshot) !== 'creating';
    return lasts ? snapshot.context : undefined;
  }

  /** A container whose namespace others have kept: created alike, it takes up where it was. */
  #resume(event: CreateEvent, entry: Entry): ContainerActor {
    const { actor } = entry;
    const snapshot = actor.getSnapshot();
    const { context } = snapshot;
    const exists = (why: string) => {
      const message = `container ${event.id} exists already (${why})`;
      return new FaultError('CONTAINER_EXISTS', message, { owner: event.id });
    };
    if (!context.held || !snapshot.hasTag('rest')) throw exists(stateName(snapshot));
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
    const { actor } = this.#existing(event.id);
    await this.#passed(actor, event.type);
    const before = actor.getSnapshot();
    // Not snapshot.can(): it takes the whole transition on trial, and our guards never leave an event unanswered.
    if (!legalEvents(before).includes(event.type)) throw illegal(before, event.type);
    if (event.type === 'publish') refuseSctp(event.id, before.context.portHandler ?? 'firewall', event.port_mappings);
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

  /**
   * Operations of our own (a repair, a network's update) are nobody's reason to be refused: wait until they are over. An
   * owner that leaves others behind comes to rest first, so that they keep something whole.
   */
  async #passed(actor: ContainerActor, type: string): Promise<void> {
    const waits = (snapshot: ContainerSnapshot) =>
      snapshot.hasTag('passing') ||
      (type === 'teardown' && !snapshot.hasTag('rest') && this.neighbours.usersOf(snapshot.context.owner).length > 0);
    if (!waits(actor.getSnapshot())) return;
    const over = (snapshot: ContainerSnapshot) => snapshot.status !== 'active' || !waits(snapshot);
    await waitFor(actor, over, { timeout: PASSING_MS }).catch(() => {}); // judged as it is then
  }

  /** A network that is gone can still be disconnected from, by the name that the container knows. */
  #networkName({ context }: ContainerSnapshot, type: string, text: string): string {
    if (type === 'disconnect' && Object.hasOwn(context.request.networks, text)) return text;
    return this.#parts.networkName(text);
  }

  #start(id: string, how: { input: ContainerInput } | { snapshot: never }): Entry {
    const { machine, store, journal } = this.#parts;
    let gone = false;
    let read: ContainerContext | null = null;
    const source = {
      read: () => {
        read = actor.getSnapshot().context;
        return { machine: 'container', version: CONTAINER_VERSION, snapshot: actor.getPersistedSnapshot() };
      },
      written: () => {
        if (read !== null) this.#durable.set(actor, read);
      },
    };
    const since = new Map<string, { state: string; t: number }>();
    const actor: ContainerActor = createActor(machine, {
      id,
      systemId: ROOT,
      ...(how as { input: ContainerInput }), // with a snapshot, XState's types ask for an input that it ignores
      inspect: (inspection) => {
        // At every inspection event, not only at snapshots: an effect begins, and asks for its commit, before the
        // snapshot that shows it is announced.
        if (gone) return;
        store.touch(id, source);
        if (inspection.type !== '@xstate.snapshot') return;
        const { actorRef, event } = inspection;
        if (!('value' in inspection.snapshot)) return;
        const snapshot = inspection.snapshot as ContainerSnapshot;
        const to = stateName(snapshot);
        const last = since.get(actorRef.sessionId);
        if (last?.state === to) return;
        const t = performance.now();
        if (snapshot.status === 'active') since.set(actorRef.sessionId, { state: to, t });
        else since.delete(actorRef.sessionId);
        const from = last?.state ?? '';
        const { fault } = snapshot.context;
        journal.append(id, {
          t: Date.now(),
          machine: actorRef === actor ? 'container' : (actorRef as AnyActorRef).id,
          event: event.type,
          from,
          to,
          ms: last === undefined ? 0 : Math.round((t - last.t) * 1000) / 1000,
          ...(fault === null ? {} : { fault }),
        });
        if (actorRef === actor) this.#announce({ type: 'state', t: Date.now(), id, from, to });
      },
    });
    const entry: Entry = { actor, unwatch: null };
    this.#entries.set(id, entry);
    actor.subscribe({
      next: endings(id, actor.getSnapshot(), 'input' in how, (ending, rests) => {
        this.#announce(ending);
        if (rests) this.#settled(id, actor.getSnapshot().context.owner);
      }),
      complete: () => {
        entry.unwatch?.();
        this.#entries.delete(id);
        gone = true;
        const { of } = actor.getSnapshot().context.netns ?? { of: null };
        if (of !== null) this.#desert(of);
        const from = since.get(actor.sessionId)?.state ?? '';
        this.#announce({ type: 'state', t: Date.now(), id, from, to: 'gone' });
        this.#forget(id);
      },
      error: (error) => this.#parts.failed(`container ${id}`, error),
    });
    actor.start();
    this.#watch(entry);
    return entry;
  }

  /** Should the daemon end before all can be removed: the next start finds the snapshot, and nothing else left to do. */
  #forget(id: string): void {
    const forget = () => {
      if (this.#entries.has(id)) return; // it is the next one's by now
      this.#parts.journal.remove(id);
      this.#parts.store.remove(id);
    };
    insist(forget, (error) => this.#parts.failed(`container ${id}`, error));
  }

  #settled(id: string, owner: string): void {
    this.#desert(owner);
    // The state at rest goes to disk after the answer, or with the next event's intent if that comes first. Until then the
    // intent is there, which leads to the same state. A crash must not find an operation that has ended long ago.
    const write = async () => {
      if (this.#entries.has(id)) await this.#parts.store.commit(id);
    };
    setTimeout(() => insist(write, (error) => this.#parts.failed(`container ${id}`, error)), REST_WRITE_MS).unref();
  }

  /** An owner that left others behind goes when the last of them has gone. */
  #desert(owner: string): void {
    const actor = this.neighbours.container(owner);
    if (actor?.getSnapshot().context.held === true && this.neighbours.usersOf(owner).length === 0)
      actor.send({ type: 'deserted' });
  }

  #watch(entry: Entry): void {
    const { boundTo, id } = entry.actor.getSnapshot().context;
    if (boundTo === null) return;
    const exited = () => {
      const users = this.neighbours.usersOf(entry.actor.getSnapshot().context.owner);
      entry.actor.send({ type: 'process.exited', users });
    };
    const failed = (error: unknown) => this.#parts.failed(`watch on the process of ${id}`, error);
    entry.unwatch = watchUntilItEnds(boundTo, exited, failed);
  }

  #announce(happening: Happening): void {
    this.bus.emit('happening', happening);
  }
}
