/**
 * Watches forwarders: when the process that carries ports ends, notifies every container whose ports it carried, and tells of it.
 *
 * Guarantees: a container in `up` whose ports the forwarder carries is notified when the forwarder of its outside ends. When the
 * container comes to rest, and at the start, the watch asks the forwarder which ports it carries; if some are missing, or lead
 * elsewhere, it notifies the container too. It does not notify a container whose processes have ended: the forwarder released its ports then,
 * and rightly (docs/decisions/0046). The forwarder gets these processes again when a container joins the namespace or leaves it.
 * The watch removes the directory of a process that ended. At the start it sends the limits of this daemon to the processes of an
 * earlier one, and ends those that nothing can reach any more. A forwarder that hangs, or whose socket was removed, is ended when
 * two looks in a row find it so (helper-watch.ts looks).
 * Limits: if somebody takes a port from a forwarder that still runs, only `audit` notices; no process but the daemon can request
 * that.
 */
import { join } from 'node:path';
import { stateName } from '../../plan/states.ts';
import { bind, listForwards, type ForwarderPlaces, type Forwards } from '../../effects/forwarder/forwarder.ts';
import { hasEnded, isBoundTo } from '../../effects/forwarder/forwarder-binding.ts';
import { tellLimits } from '../../effects/forwarder/forwarder-limits.ts';
import { inTurn } from '../../effects/forwarder/forwarder-client.ts';
import { endUnreachable, forwardersIn, isReached } from '../../effects/forwarder/forwarder-process.ts';
import { namesIn } from '../../effects/shared-directory.ts';
import { removeRemains } from '../../effects/forwarder/forwarder-remains.ts';
import { outsideKey } from '../../effects/kernel.ts';
import { retryUntilDone } from '../../effects/retry.ts';
import { isGone } from '../../effects/processes/process.ts';
import { assertion } from '../../plan/containers/change.ts';
import { watchProcess, type Child } from '../../native/index.ts';
import type { ContainerContext, Drift } from '../../state/container.ts';
import type { DriftPolicies } from '../../state/drift.ts';
import type {
  DriftNotification,
  ForwarderNotification,
  Notification,
  RepairedNotification,
} from '../../state/answers/notification.ts';
import type { Containers } from '../containers/containers.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import { Strikes } from './strikes.ts';
import { containerIdOf } from '../../plan/owner.ts';
import { portKey } from '../../plan/ports/port-text.ts';

const DRIFT: Drift[] = [{ kind: 'port', object: 'forwarder', network: null }];

/** Events after which a container, or others with it, may be bound to other processes. */
const BINDS = new Set(['create', 'teardown']);

/** Remains of all containers that are torn down within this time are removed together. */
const TIDY_MS = 1000;

export interface ForwarderWatchParts {
  places: ForwarderPlaces;
  containers: Pick<Containers, 'all' | 'bus' | 'get' | 'neighbours'>;
  policies: DriftPolicies;
  announce: (notification: DriftNotification | ForwarderNotification | RepairedNotification) => void;
  failed: (what: string, error: unknown) => void;
}

export class ForwarderWatch {
  readonly #parts: ForwarderWatchParts;
  /** The watched process of each outside. */
  readonly #processes = new Map<string | null, { process: Child; unwatch: () => void }>();
  readonly #strikes = new Strikes();
  /** The pid of the process that carries all ports of a container, by container id. */
  readonly #carried = new Map<string, number>();
  /** The owner of the namespace that a container has joined, by container id. */
  readonly #guests = new Map<string, string>();
  #closed = false;
  #untidy = false;
  readonly #heard = (notification: Notification) => {
    if (notification.type === 'done' && notification.id !== null && BINDS.has(notification.event))
      this.#joined(notification.id);
    if (notification.type !== 'state') return;
    const { id, from, to } = notification;
    if (to === 'gone') {
      this.#carried.delete(id);
      this.#left(id);
      this.#tidySoon(); // its ports may have been the last ones of a process that was never watched
    }
    if (to !== 'up') return;
    // The machine is in the middle of a step; look after that step.
    const repaired = from.startsWith('repairing');
    setImmediate(() => this.#retryUntilDone(`ports of ${id}`, () => this.#arrived(id, repaired)));
  };

  /**
   * The container has been created, or created again, or only its guests keep it now: this changes the processes of its
   * namespace.
   */
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

  /**
   * Ends forwarders that are stopped, do not answer, or whose socket is gone. The watch on their processes notices the end at
   * once.
   */
  async look(): Promise<void> {
    const { directory: home } = this.#parts.places;
    const watched = [...this.#processes].map(([outside, { process }]) => ({
      directory: join(home, outsideKey(outside)),
      process,
    }));
    // These include forwarders of an earlier daemon, which have not reported themselves yet.
    const others = namesIn(home).filter((name) => !watched.some(({ directory }) => directory === join(home, name)));
    const all = others.length === 0 ? watched : await forwardersIn(home);
    for (const { directory, process } of all) {
      await this.#strikes.judge(process, () => isReached(directory, process));
    }
  }

  #all(): ContainerContext[] {
    return this.#parts.containers.all().flatMap((snapshot) => carriedContext(snapshot) ?? []);
  }

  /**
   * Asks the forwarder which ports it carries, and does not assume them: another process may have replaced it during an
   * operation.
   */
  async #arrived(id: string, repaired: boolean): Promise<void> {
    const before = carriedContext(this.#parts.containers.get(id));
    if (before === null) return this.#tidySoon();
    const { owner, outside } = before;
    const listed = await listForwards(this.#parts.places)(outside, owner);
    const context = carriedContext(this.#parts.containers.get(id));
    if (context?.ports !== before.ports) return; // it comes to rest once more
    const carried = new Set(
      listed?.rules.map((rule) => `${portKey(rule.protocol, rule.host_ip, rule.host_port)} ${rule.address}`),
    );
    // A program of an external network may have given it another address than the ports lead to.
    const all = assertion(context).targets.every(({ protocol, hostIp, hostPort, address }) =>
      carried.has(`${portKey(protocol, hostIp, hostPort)} ${address}`),
    );
    if (listed === null || !all || !this.#watch(outside, listed.process)) return this.#tell(owner);
    await this.#bind(outside, owner, listed);
    const { pid } = listed.process;
    if (repaired && this.#carried.get(id) !== pid)
      this.#parts.announce({ type: 'repaired', t: Date.now(), id, network: null, drift: DRIFT });
    this.#carried.set(id, pid);
  }

  /**
   * Sends the forwarder the present processes of the owner if it has others, from an earlier daemon or from before a change of
   * guests.
   */
  async #bind(outside: string | null, owner: string, { owners }: Forwards): Promise<void> {
    const boundTo = this.#parts.containers.neighbours.boundTo(owner);
    const known = owners.find((one) => one.owner === owner);
    if (known === undefined || isBoundTo(known.bound_to, boundTo) || hasEnded(boundTo)) return;
    await bind(this.#parts.places)(outside, owner, boundTo);
  }

  /** Watches the process of an outside from now on. Returns false if it has ended. */
  #watch(outside: string | null, process: Child): boolean {
    const { pid, startTime } = process;
    const known = this.#processes.get(outside);
    if (pid === known?.process.pid) return true;
    known?.unwatch();
    this.#processes.delete(outside);
    try {
      const unwatch = watchProcess(pid, startTime, () => this.#ended(outside, pid));
      this.#processes.set(outside, { process, unwatch });
      this.#parts.announce({ type: 'forwarder', t: Date.now(), id: null, outside, action: 'running', pid });
      return true;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  }

  #ended(outside: string | null, pid: number): void {
    this.#parts.announce({ type: 'forwarder', t: Date.now(), id: null, outside, action: 'ended', pid });
    this.#tidy();
    if (this.#processes.get(outside)?.process.pid === pid) this.#processes.delete(outside);
    for (const { id, owner, outside: its } of this.#all()) {
      if (its === outside && this.#carried.get(id) === pid)
        this.#retryUntilDone(`ports of ${id}`, () => this.#tell(owner));
    }
  }

  /** Removes remains soon, once for all containers that are torn down until then. */
  #tidySoon(): void {
    if (this.#untidy) return;
    this.#untidy = true;
    setTimeout(() => {
      this.#untidy = false;
      this.#tidy();
    }, TIDY_MS).unref();
  }

  /**
   * Removes the directories of ended processes. A process that has no ports left, and is not watched, is about to end: look
   * again.
   */
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
    // The container is on its way down, so the forwarder has released its ports rightly.
    if (hasEnded(this.#parts.containers.neighbours.boundTo(owner))) return;
    const id = containerIdOf(owner);
    this.#parts.announce({ type: 'drift', t: Date.now(), id, network: null, drift: DRIFT, action: policy, by: null });
    actor.send(policy === 'repair' ? { type: 'drifted', drift: DRIFT } : { type: 'noticed', drift: DRIFT });
  }
}

/** Returns the context of a container at rest in `up` whose ports a forwarder carries; null for any other. */
function carriedContext(snapshot: ContainerSnapshot | undefined): ContainerContext | null {
  if (snapshot === undefined || stateName(snapshot) !== 'up') return null;
  const { portHandler, ports } = snapshot.context;
  return portHandler === 'forwarder' && ports.length > 0 ? snapshot.context : null;
}
