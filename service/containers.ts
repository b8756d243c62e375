/**
 * All containers: one actor system each, from the event that makes it to the state in which nothing is left.
 *
 * Guarantees: an event is judged by the machine's present state, then accepted or refused, never queued; what an answer
 * reports survives a crash: its intent is on disk, effects repeat, and the state at rest follows within milliseconds. A
 * container that is gone is forgotten, in memory and on disk. Every root has an error observer: a defect in one container
 * stops that container, not the daemon.
 * Limits: the answers wait as long as the effects do; those have deadlines.
 */
import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'eventemitter3';
import { createActor, waitFor, type AnyActorRef } from 'xstate';
import { ROOT } from '../effects/effect.ts';
import type { ContainerInput, containerMachine } from '../machines/container.ts';
import { netnsName } from '../machines/plan/attachment.ts';
import { processStartTime, watchProcess } from '../native/index.ts';
import type { ContainerContext } from '../state/container.ts';
import type { CreateEvent, LifecycleEvent, NetnsSource } from '../state/event.ts';
import { FaultError, type Fault } from '../state/faults.ts';
import type { Journal } from '../state/journal.ts';
import { DEFAULT_NETWORK } from '../state/network.ts';
import { CONTAINER_VERSION } from '../state/migrations.ts';
import type { SnapshotStore } from '../state/store.ts';
import { illegal, legalEvents, toMachineEvent } from './events.ts';
import { stateName, type ContainerActor, type ContainerSnapshot } from './snapshot.ts';

type Machine = typeof containerMachine;

/** What happens, as it happens: requested, then done or failed; and every state passed on the way. */
export type Happening =
  | { type: 'requested' | 'done'; t: number; id: string; event: string }
  | { type: 'failed'; t: number; id: string; event: string; fault: Fault }
  | { type: 'state'; t: number; id: string; from: string; to: string };

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
  failed: (what: string, error: unknown) => void;
}

/** How long a state at rest may wait for its write. */
const REST_WRITE_MS = 5;

interface Entry {
  actor: ContainerActor;
  unwatch: (() => void) | null;
}

export class Containers {
  readonly bus = new EventEmitter<Bus>();
  readonly #parts: ContainersParts;
  readonly #entries = new Map<string, Entry>();
  /** The context of each container as it is on disk. */
  readonly #durable = new WeakMap<AnyActorRef, ContainerContext>();
  #lastGeneration = 0;

  constructor(parts: ContainersParts) {
    this.#parts = parts;
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
    const entry = event.type === 'create' ? this.#create(event) : this.#existing(event.id);
    const { actor } = entry;
    if (event.type !== 'create') {
      const machineEvent = toMachineEvent(event);
      const before = actor.getSnapshot();
      // Not snapshot.can(): it takes the whole transition on trial, and our guards never leave an event unanswered.
      if (!legalEvents(before).includes(event.type)) throw illegal(before, event.type);
      this.#announce({ type: 'requested', t: Date.now(), id: event.id, event: event.type });
      actor.send(machineEvent);
    }
    const { n } = actor.getSnapshot().context.operation;
    if (!wait) {
      await this.#parts.store.commit(event.id);
      return actor.getSnapshot();
    }
    const snapshot = await this.#rest(actor, n);
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
    if (!(state in this.#parts.machine.states)) throw new FaultError('BAD_REQUEST', `there is no state ${state}`);
    const actor = this.#entries.get(id)?.actor;
    if (actor === undefined) {
      if (state === 'gone') return null;
      throw noSuchContainer(id);
    }
    const reached = (snapshot: ContainerSnapshot) =>
      snapshot.status !== 'active' || stateName(snapshot).split('.')[0] === state;
    return new Promise((resolve, reject) => {
      const done = (snapshot: ContainerSnapshot) => {
        if (!reached(snapshot)) return;
        clearTimeout(timer);
        subscription.unsubscribe();
        // After the registry has forgotten a container that is gone.
        setImmediate(() => resolve(snapshot.status === 'active' ? snapshot : null));
      };
      const timer = setTimeout(() => {
        subscription.unsubscribe();
        const now = stateName(actor.getSnapshot());
        reject(new FaultError('DEADLINE', `container ${id} is ${now}, not ${state}, after ${ms} ms`));
      }, ms);
      const subscription = actor.subscribe({ next: done, complete: () => done(actor.getSnapshot()) });
      done(actor.getSnapshot());
    });
  }

  /** Start a container from its snapshot: what it was doing when the daemon ended, it does again. */
  restore(id: string, persisted: unknown): void {
    this.#start(id, { snapshot: persisted as never });
  }

  /**
   * Whether everything that an operation under way may make has been named on disk since it began: the same plan, in
   * the same operation. Contexts are immutable, so the same parts are the same objects.
   */
  namesAreDurable(root: AnyActorRef): boolean {
    const durable = this.#durable.get(root);
    const { context } = root.getSnapshot() as ContainerSnapshot;
    return (
      durable !== undefined &&
      durable.operation.n === context.operation.n &&
      durable.netns === context.netns &&
      durable.attachments === context.attachments &&
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

  #create(event: CreateEvent): Entry {
    const existing = this.#entries.get(event.id);
    if (existing !== undefined) {
      throw new FaultError(
        'CONTAINER_EXISTS',
        `container ${event.id} exists already (${stateName(existing.actor.getSnapshot())})`,
        {
          owner: event.id,
        },
      );
    }
    const input = this.#plan(event);
    this.#announce({ type: 'requested', t: Date.now(), id: event.id, event: 'create' });
    return this.#start(event.id, { input });
  }

  /** Everything about a new container that is chosen or observed once, so that the machine has nothing to look up. */
  #plan(event: CreateEvent): ContainerInput {
    const { id } = event;
    const netns: NetnsSource = event.netns ?? { mode: 'new' };
    const networks = event.networks ?? (netns.mode === 'new' || netns.mode === 'pid' ? { [DEFAULT_NETWORK]: {} } : {});
    const ports = event.port_mappings ?? [];
    const joins = Object.keys(networks).length > 0;
    if ((netns.mode === 'host' || netns.mode === 'container') && (joins || ports.length > 0)) {
      const message = `container ${id} uses the namespace of ${netns.mode === 'host' ? 'the host' : netns.id}: it has no networks or ports of its own`;
      throw new FaultError('BAD_REQUEST', message);
    }
    if (netns.mode === 'pid' && event.bound_to !== undefined && event.bound_to !== netns.pid) {
      throw new FaultError(
        'BAD_REQUEST',
        `container ${id} has the namespace of ${netns.pid}: it is bound to that process`,
      );
    }
    const pid = netns.mode === 'pid' ? netns.pid : event.bound_to;
    this.#lastGeneration = Math.max(Date.now(), this.#lastGeneration + 1);
    const token = randomBytes(16).toString('hex');
    const from =
      netns.mode === 'path' ? netns.path : netns.mode === 'container' ? this.#namespaceOf(netns.id, id) : null;
    return {
      id,
      name: event.name ?? id,
      generation: this.#lastGeneration,
      owner: `${id}:${this.#lastGeneration}`,
      token,
      bootId: this.#parts.bootId,
      createdAt: Date.now(),
      instance: this.#parts.instance,
      outside: event.outside ?? null,
      netns:
        netns.mode === 'host'
          ? null
          : { path: `${this.#parts.netnsDir}/${netnsName(token)}`, owned: netns.mode === 'new', from },
      boundTo: pid === undefined ? null : { pid, startTime: startTimeOf(pid) },
      request: { netns, networks, ports },
    };
  }

  /** The namespace that container `id` shares: of its owner, through as many sharers as there are. */
  #namespaceOf(target: string, id: string): string | null {
    if (target === id) throw new FaultError('BAD_REQUEST', `container ${id} cannot join its own namespace`);
    const context = this.#existing(target).actor.getSnapshot().context;
    if (context.netns === null) {
      throw new FaultError('BAD_REQUEST', `container ${target} is in the host's namespace: use netns host`);
    }
    return context.netns.path;
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
    let settled = 'input' in how ? 0 : actor.getSnapshot().context.operation.n;
    actor.subscribe({
      next: (snapshot) => {
        const { operation } = snapshot.context;
        if (operation.n === settled || !snapshot.hasTag('rest')) return;
        settled = operation.n;
        // After the inspection event that announces the state itself.
        queueMicrotask(() => this.#settled(id, snapshot));
      },
      complete: () => {
        entry.unwatch?.();
        this.#entries.delete(id);
        gone = true;
        const from = since.get(actor.sessionId)?.state ?? '';
        this.#announce({ type: 'state', t: Date.now(), id, from, to: 'gone' });
        journal.remove(id);
        try {
          store.remove(id);
        } catch (error) {
          this.#parts.failed(`container ${id}`, error); // the next start finds it, and finds nothing left to do
        }
      },
      error: (error) => this.#parts.failed(`container ${id}`, error),
    });
    actor.start();
    this.#watch(entry);
    return entry;
  }

  #settled(id: string, { context }: ContainerSnapshot): void {
    const fault = context.fault ?? context.leftovers[0];
    const event = context.operation.type;
    const t = Date.now();
    this.#announce(fault === undefined ? { type: 'done', t, id, event } : { type: 'failed', t, id, event, fault });
    // The state at rest goes to disk after the answer, or with the next event's intent if that comes first. Until then the
    // intent is there, which leads to the same state.
    setTimeout(() => {
      if (!this.#entries.has(id)) return;
      this.#parts.store.commit(id).catch((error: unknown) => this.#parts.failed(`container ${id}`, error));
    }, REST_WRITE_MS).unref();
  }

  #watch(entry: Entry): void {
    const { boundTo } = entry.actor.getSnapshot().context;
    if (boundTo === null) return;
    const exited = () => entry.actor.send({ type: 'process.exited' });
    try {
      entry.unwatch = watchProcess(boundTo.pid, boundTo.startTime, exited);
    } catch {
      exited(); // it ended before we could look
    }
  }

  /** Resolves with the first state at rest after operation n began. */
  #rest(actor: ContainerActor, n: number): Promise<ContainerSnapshot> {
    const atRest = (snapshot: ContainerSnapshot) =>
      snapshot.status !== 'active' || snapshot.hasTag('rest') || snapshot.context.operation.n !== n;
    const now = actor.getSnapshot();
    if (atRest(now)) return Promise.resolve(now);
    return new Promise((resolve, reject) => {
      const subscription = actor.subscribe({
        next: (snapshot) => {
          if (!atRest(snapshot)) return;
          subscription.unsubscribe();
          resolve(snapshot);
        },
        error: (error) => reject(new FaultError('INTERNAL', error instanceof Error ? error.message : String(error))),
      });
    });
  }

  #announce(happening: Happening): void {
    this.bus.emit('happening', happening);
  }
}

export function noSuchContainer(id: string): FaultError {
  return new FaultError('NO_SUCH_CONTAINER', `no container with name or ID "${id}" found: no such container`);
}

function startTimeOf(pid: number): number {
  try {
    return processStartTime(pid);
  } catch {
    throw new FaultError('NO_SUCH_PROCESS', `no process ${pid}`, { object: String(pid) });
  }
}
