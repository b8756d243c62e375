/**
 * The watch on forwarders: when the process that carries ports ends, every container that it carried them for is told.
 *
 * Guarantees: a container in `up` whose ports are the forwarder's is told when the process of its outside ends. When it
 * comes to rest, and at the start, the process is asked what it carries for it: less than it should, and it is told too.
 * Not one whose processes have ended: the process let go of its ports then, and rightly (docs/decisions/0046). Which
 * processes those are, it is told again when somebody joins a container's namespace or leaves it.
 * The directory of a process that ended is removed. At the start, the processes of an earlier daemon are told the limits of
 * this one; those that nobody can reach any more are ended. One that hangs, or whose socket is taken away, is ended when it
 * was found so twice in a row (helper-watch.ts looks).
 * Limits: a port that somebody has taken from a forwarder that still runs is seen by `audit`; nobody but the daemon can
 * ask for that.
 */
import { join } from 'node:path';
import { bind, listForwards, type ForwarderPlaces, type Forwards } from '../effects/forwarder.ts';
import { hasEnded, isBoundTo } from '../effects/forwarder-binding.ts';
import { tellLimits } from '../effects/forwarder-limits.ts';
import { inTurn } from '../effects/forwarder-client.ts';
import { endUnreachable, forwardersIn, isReached } from '../effects/forwarder-process.ts';
import { namesIn } from '../effects/shared-directory.ts';
import { removeRemains } from '../effects/forwarder-remains.ts';
import { outsideKey } from '../effects/kernel.ts';
import { retryUntilDone } from '../effects/retry.ts';
import { isGone } from '../effects/process.ts';
import { assertion } from '../machines/plan/change.ts';
import { watchProcess, type Child } from '../native/index.ts';
import type { ContainerContext, Drift } from '../state/container.ts';
import type { DriftPolicies } from '../state/drift.ts';
import type { DriftNotification, Notification, RepairedNotification } from '../state/notification.ts';
import type { Containers } from './containers.ts';
import { stateName, type ContainerSnapshot } from './snapshot.ts';
import { Strikes } from './strikes.ts';

const keyOf = (protocol: string, hostIp: string, port: number): string => `${protocol} ${hostIp} ${port}`;

const DRIFT: Drift[] = [{ kind: 'port', object: 'forwarder', network: null }];

/** Events after which a container may be bound to other processes, or others with it. */
const BINDS = new Set(['create', 'teardown']);

/** What is torn down within this time is tidied up together. */
const TIDY_MS = 1000;

export interface ForwarderWatchParts {
  places: ForwarderPlaces;
  containers: Pick<Containers, 'all' | 'bus' | 'get' | 'neighbours'>;
  policies: DriftPolicies;
  announce: (notification: DriftNotification | RepairedNotification) => void;
  failed: (what: string, error: unknown) => void;
}

export class ForwarderWatch {
  readonly #parts: ForwarderWatchParts;
  /** Outside -> the process that is watched. */
  readonly #processes = new Map<string | null, { process: Child; unwatch: () => void }>();
  readonly #strikes = new Strikes();
  /** Container -> the process that was given all of its ports. */
  readonly #carried = new Map<string, number>();
  /** Container -> the owner whose namespace it is in. */
  readonly #guests = new Map<string, string>();
  #closed = false;
  #untidy = false;
  readonly #heard = (notification: Notification) => {
    if (notification.type === 'done' && BINDS.has(notification.event)) this.#joined(notification.id);
    if (notification.type !== 'state') return;
    const { id, from, to } = notification;
    if (to === 'gone') {
      this.#carried.delete(id);
      this.#left(id);
      this.#tidySoon(); // its ports may have been the last of a process that never was watched
    }
    if (to !== 'up') return;
    // The machine is in the middle of its step: it is looked at after it.
    const repaired = from.startsWith('repairing');
    setImmediate(() => this.#retryUntilDone(`ports of ${id}`, () => this.#arrived(id, repaired)));
  };

  /** Created, or again, or only held by its guests: with that the processes of its namespace have changed. */
  #joined(id: string): void {
    const { owner, netns } = this.#parts.containers.get(id)?.context ?? { owner: null, netns: null };
    if (typeof netns?.of === 'string') this.#guests.set(id, netns.of);
    if (owner !== null) this.#boundAnew(netns?.of ?? owner);
  }

  #left(id: string): void {
    const host = this.#guests.get(id);
    this.#guests.delete(id);
    if (host !== undefined) this.#boundAnew(host);
  }

  #boundAnew(owner: string): void {
    const snapshot = this.#parts.containers.neighbours.container(owner)?.getSnapshot();
    const id = carriedContext(snapshot)?.id;
    if (id !== undefined) this.#retryUntilDone(`ports of ${id}`, () => this.#arrived(id, false));
  }

  constructor(parts: ForwarderWatchParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#parts.containers.bus.on('notification', this.#heard);
    this.#tidy();
    this.#retryUntilDone('forwarders without a socket', async () => {
      for (const { directory } of await forwardersIn(this.#parts.places.directory))
        await inTurn(directory, () => endUnreachable(directory));
    });
    this.#retryUntilDone('limits of a forwarder', async () => {
      for (const refusal of await tellLimits(this.#parts.places)) this.#parts.failed('limits of a forwarder', refusal);
    });
    for (const { context } of this.#parts.containers.all()) {
      if (typeof context.netns?.of === 'string') this.#guests.set(context.id, context.netns.of);
    }
    for (const { id } of this.#all()) this.#retryUntilDone(`ports of ${id}`, () => this.#arrived(id, false));
  }

  #retryUntilDone(what: string, work: () => void | Promise<void>): void {
    const unlessClosed = async () => {
      if (!this.#closed) await work();
    };
    retryUntilDone(unlessClosed, (error) => this.#parts.failed(what, error));
  }

  close(): void {
    this.#parts.containers.bus.off('notification', this.#heard);
    this.#closed = true;
    for (const { unwatch } of this.#processes.values()) unwatch();
  }

  /** Ends those that are stopped, do not answer, or whose socket is gone: that they have ended is missed at once. */
  async look(): Promise<void> {
    const { directory: home } = this.#parts.places;
    const watched = [...this.#processes].map(([outside, { process }]) => ({
      directory: join(home, outsideKey(outside)),
      process,
    }));
    // Forwarders of an earlier daemon are among them, and have not said yet who they are.
    const others = namesIn(home).filter((name) => !watched.some(({ directory }) => directory === join(home, name)));
    const all = others.length === 0 ? watched : await forwardersIn(home);
    for (const { directory, process } of all) {
      await this.#strikes.judge(process, () => isReached(directory, process));
    }
  }

  #all(): ContainerContext[] {
    return this.#parts.containers.all().flatMap((snapshot) => carriedContext(snapshot) ?? []);
  }

  /** Not supposed: another process may have taken the place of the one that was told, in the middle of an operation. */
  async #arrived(id: string, repaired: boolean): Promise<void> {
    const before = carriedContext(this.#parts.containers.get(id));
    if (before === null) return this.#tidySoon();
    const { owner, outside } = before;
    const listed = await listForwards(this.#parts.places)(outside, owner);
    const context = carriedContext(this.#parts.containers.get(id));
    if (context?.ports !== before.ports) return; // it comes to rest once more
    const carried = new Set(listed?.rules.map((rule) => keyOf(rule.protocol, rule.host_ip, rule.host_port)));
    const all = assertion(context).targets.every(({ protocol, hostIp, hostPort }) =>
      carried.has(keyOf(protocol, hostIp, hostPort)),
    );
    if (listed === null || !all || !this.#watch(outside, listed.process)) return this.#tell(owner);
    await this.#bind(outside, owner, listed);
    const { pid } = listed.process;
    if (repaired && this.#carried.get(id) !== pid)
      this.#parts.announce({ type: 'repaired', t: Date.now(), id, network: null, drift: DRIFT });
    this.#carried.set(id, pid);
  }

  /** Told before, by an earlier daemon or while others were in the namespace, it is told again what is so now. */
  async #bind(outside: string | null, owner: string, { owners }: Forwards): Promise<void> {
    const boundTo = this.#parts.containers.neighbours.boundTo(owner);
    const known = owners.find((one) => one.owner === owner);
    if (known === undefined || isBoundTo(known.bound_to, boundTo) || hasEnded(boundTo)) return;
    await bind(this.#parts.places)(outside, owner, boundTo);
  }

  /** The process of an outside is watched from now on; false when it has ended. */
  #watch(outside: string | null, process: Child): boolean {
    const { pid, startTime } = process;
    const known = this.#processes.get(outside);
    if (pid === known?.process.pid) return true;
    known?.unwatch();
    this.#processes.delete(outside);
    try {
      const unwatch = watchProcess(pid, startTime, () => this.#ended(outside, pid));
      this.#processes.set(outside, { process, unwatch });
      return true;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  }

  #ended(outside: string | null, pid: number): void {
    this.#tidy();
    if (this.#processes.get(outside)?.process.pid === pid) this.#processes.delete(outside);
    for (const { id, owner, outside: its } of this.#all()) {
      if (its === outside && this.#carried.get(id) === pid)
        this.#retryUntilDone(`ports of ${id}`, () => this.#tell(owner));
    }
  }

  /** Once for all that is torn down meanwhile. */
  #tidySoon(): void {
    if (this.#untidy) return;
    this.#untidy = true;
    setTimeout(() => {
      this.#untidy = false;
      this.#tidy();
    }, TIDY_MS).unref();
  }

  /** One that has nothing to do any more, and is not watched, is about to end. */
  #tidy(): void {
    this.#retryUntilDone('remains of a forwarder', async () => {
      const running = await removeRemains(this.#parts.places);
      const watched = new Set([...this.#processes.keys()].map(outsideKey));
      if (running.some((name) => !watched.has(name))) this.#tidySoon();
    });
  }

  #tell(owner: string): void {
    const actor = this.#parts.containers.neighbours.container(owner);
    const policy = this.#parts.policies.port;
    if (actor === null || policy === 'ignore') return;
    // It is on its way down, and its ports were not taken from it.
    if (hasEnded(this.#parts.containers.neighbours.boundTo(owner))) return;
    const id = owner.slice(0, owner.lastIndexOf(':'));
    this.#parts.announce({ type: 'drift', t: Date.now(), id, network: null, drift: DRIFT, action: policy, by: null });
    actor.send(policy === 'repair' ? { type: 'drifted', drift: DRIFT } : { type: 'noticed', drift: DRIFT });
  }
}

/** Of one at rest in `up`, with ports that a forwarder carries; null of any other. */
function carriedContext(snapshot: ContainerSnapshot | undefined): ContainerContext | null {
  if (snapshot === undefined || stateName(snapshot) !== 'up') return null;
  const { portHandler, ports } = snapshot.context;
  return portHandler === 'forwarder' && ports.length > 0 ? snapshot.context : null;
}
