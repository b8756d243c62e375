/**
 * The watch on one outside: receives the kernel's announcements, looks at the places they lead to, and notifies the machine that
 * owns the difference.
 *
 * Guarantees: the only thing it changes itself is a pin (drift-pin.ts). Announcements are gathered for a moment and looked at
 * together, one look after another. A look that fails is repeated, at everything. A busy container or network is not judged, but
 * looked at again when it has come to rest; one that is leaving is left alone. Bridges come first: the links on them are repaired
 * with them.
 * Limits: drift-clues.ts says what the kernel announces at all.
 * Over 400 lines because the clues, the looks and the waits of one outside share their state.
 */
import type { AnyActorRef } from 'xstate';
import { isLeaving, isSteady } from '../../plan/states.ts';
import type { RulesetFindings } from '../../machines/firewall.ts';
import { toFault } from '../../effects/effect.ts';
import { inPool } from '../../effects/pool.ts';
import { atRest, until } from '../../effects/until.ts';
import { isExternal } from '../../plan/networks/external.ts';
import { isUnmanaged } from '../../plan/networks/unmanaged.ts';
import { spaceOf } from '../../plan/networks/driver.ts';
import { foundIn } from '../../machines/network-inputs.ts';
import { leadsTo } from '../../plan/kernel/expected-overlay.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { isKernelError, type Outside, type RtnlNotification } from '../../native/index.ts';
import type { DriftPolicies } from '../../state/drift.ts';
import type { Fault } from '../../state/faults.ts';
import type { Containers } from '../containers/containers.ts';
import type { DriftNotification, RepairedNotification } from '../../state/answers/notification.ts';
import type { Shared } from '../outsides/shared.ts';
import { Clues, CLUES, Departures } from './drift-clues.ts';
import { isAboutPort, OutsideLook } from './drift-look.ts';
import { findOwners } from './drift-owners.ts';
import { pinBack } from './drift-pin.ts';
import { byPolicy, DriftRecord, type LeftDrift } from './drift-record.ts';
import { Sweep } from './drift-sweep.ts';
import type { ContainerActor } from '../records/snapshot.ts';
import { membersOf } from '../outsides/desired-ruleset.ts';

export interface WatchParts {
  kernel: Kernel;
  containers: Pick<Containers, 'all' | 'neighbours'>;
  shared: Pick<Shared, 'networksIn' | 'firewall' | 'outsides'>;
  policies: DriftPolicies;
  announce: (notification: DriftNotification | RepairedNotification) => void;
  failed: (what: string, error: unknown) => void;
}

/** Announcements within this time are looked at together: one `ip link del` causes five. */
const GATHER_MS = 10;
/** How long to wait after a look that failed: a missing resource may be available again. */
const BLIND_MS = 1000;
/** The number of containers that are looked into at the same time. */
const AT_ONCE = 4;
/** After a look that did not find the owner of a namespace, no owners are looked up for this long. */
const STRANGERS_MS = 1000;

/** The parts of one container to look at. */
interface Concern {
  host?: boolean;
  inside?: boolean;
  rules?: boolean;
}
const ALL_OF_IT: Concern = { host: true, inside: true };

export class OutsideWatch {
  readonly #parts: WatchParts;
  readonly #outside: string | null;
  /** The beginning of our aliases. */
  readonly #prefix: string;
  readonly #record: DriftRecord;
  #clues = new Clues();
  #timer: NodeJS.Timeout | null = null;
  readonly #sweep = new Sweep(() => {
    this.#clues.everything = true;
    this.#gather();
  });
  #looking: Promise<void> = Promise.resolve();
  #stops: (() => void)[] = [];
  #closed = false;
  #deaf: Fault | null = null;
  /** The owner of each namespace, by nsid. */
  readonly #owners = new Map<number, string>();
  /** Runs while no owners are looked up. */
  #strangersTimer: NodeJS.Timeout | null = null;
  /** Namespaces without a known owner in which something was removed while the timer ran. Their owners are looked up when it ends. */
  readonly #strangers = new Set<number>();
  readonly #waiting = new Map<string, Concern>();

  constructor(parts: WatchParts, outside: string | null) {
    this.#parts = parts;
    this.#outside = outside;
    this.#prefix = `cleat:${parts.kernel.instance.name}:`;
    this.#record = new DriftRecord(parts.announce);
  }

  /**
   * Starts to listen, and looks at everything: much may have changed before. If it rejects, the watch is closed and does not
   * listen.
   */
  async open(): Promise<void> {
    const { kernel } = this.#parts;
    const { kernel: native } = kernel.outside(this.#outside);
    const departures = new Departures(this.#prefix, (owner) => {
      const snapshot = this.#actorOf(owner)?.getSnapshot();
      return snapshot === undefined || isLeaving(snapshot);
    });
    const heard = (event: RtnlNotification) => {
      if (departures.cause(event)) return;
      if (this.#clues.take(event, this.#prefix)) this.#gather();
    };
    const opened = await Promise.allSettled([
      native.nftMonitor(kernel.instance.table, (event) => {
        if (event.type === 'changed') this.#record.changedBy(event.command, event.pid);
        this.#verify();
      }),
      this.#listen(native, heard),
    ]);
    this.#stops = opened.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const refused = opened.find((one) => one.status === 'rejected');
    if (refused !== undefined || this.#closed) this.close();
    if (refused !== undefined) throw refused.reason;
    if (this.#closed) return;
    this.#clues.everything = true;
    this.#gather();
  }

  /** Without CAP_NET_BROADCAST it listens to the outside alone, where all bridges, ports and rules are. */
  async #listen(native: Outside, heard: (event: RtnlNotification) => void): Promise<() => void> {
    try {
      return await native.monitor(heard, undefined, [...CLUES], true);
    } catch (error) {
      if (!isKernelError(error) || error.code !== 'EPERM') throw error;
      const stop = await native.monitor(heard, undefined, [...CLUES]);
      this.#deaf = toFault(error, 'watch');
      return stop;
    }
  }

  /** Returns why changes inside containers are not noticed, null if they are. */
  deaf(): Fault | null {
    return this.#deaf;
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#sweep.close();
    if (this.#strangersTimer !== null) clearTimeout(this.#strangersTimer);
    for (const stop of this.#stops.splice(0)) stop();
  }

  /** Resolves when the next look is complete. */
  async settled(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 2 * GATHER_MS));
    await this.#looking;
  }

  found({ repaired, left }: RulesetFindings): void {
    this.#record.found(repaired, left, (owner) => this.#actorOf(owner));
    if (repaired.length === 0) return;
    // Ports of busy containers were not put back with the others: those containers may have been about to remove them.
    for (const snapshot of this.#parts.containers.all()) {
      const { outside, owner, ports } = snapshot.context;
      if (outside !== this.#outside || ports.length === 0 || isSteady(snapshot)) continue;
      const actor = this.#actorOf(owner);
      if (actor !== null) this.#whenSteady(actor, owner, { rules: true });
    }
  }

  /** Called when a bridge of others exists again: repairs the containers that were cut off at once, before their next attempt. */
  returned(network: string): void {
    const actor = this.#parts.shared.networksIn(this.#outside).get(network);
    if (actor === undefined || !actor.getSnapshot().hasTag('standing')) return;
    actor.send({ type: 'drifted' });
    void atRest(actor).then(() => {
      if (this.#closed) return;
      for (const { value, context } of this.#parts.containers.all()) {
        const cutOff = value === 'degraded' && context.attachments.some((one) => one.network === network);
        if (!cutOff || context.outside !== this.#outside) continue;
        this.#actorOf(context.owner)?.send({ type: 'drifted', drift: [] });
      }
    });
  }

  left(): LeftDrift[] {
    return this.#record.left();
  }

  #verify(): void {
    this.#parts.shared.firewall(this.#outside).send({ type: 'verify' });
  }

  #actorOf(owner: string): ContainerActor | null {
    return this.#parts.containers.neighbours.container(owner);
  }

  #gather(ms = GATHER_MS): void {
    if (this.#timer !== null || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      const clues = this.#clues;
      this.#clues = new Clues();
      this.#looking = this.#looking
        .then(() => this.#look(clues))
        .catch((error: unknown) => {
          this.#parts.failed(`watch on ${this.#outside ?? 'the host'}`, error);
          // The clues of the failed look are lost, and no new ones would lead there.
          this.#clues.everything = true;
          this.#gather(BLIND_MS);
        });
    }, ms);
  }

  async #look(clues: Clues): Promise<void> {
    await this.#lookAt(clues);
    if (clues.everything) this.#sweep.rest(this.#parts.containers.all().length);
  }

  async #lookAt(clues: Clues): Promise<void> {
    if (this.#closed) return; // the outside has been released: a look would open it again
    const { kernel } = this.#parts;
    if (clues.everything || clues.switches) this.#verify();
    const networks = this.#networksOf(clues);
    const concerns = this.#concernsOf(clues, networks);
    const definitions = () =>
      [...this.#parts.shared.networksIn(this.#outside).values()].map((actor) => actor.getSnapshot().context.definition);
    const subnets = () => definitions().flatMap(spaceOf);
    const look = new OutsideLook(kernel, this.#outside, concerns.size, subnets);
    if (!clues.everything) await this.#resolve(clues, look, concerns, networks);
    const mended = await Promise.all([...networks].map((name) => this.#judgeNetwork(name, look)));
    if (this.#closed) return;
    const next = mended.includes(true) ? new OutsideLook(kernel, this.#outside, concerns.size, subnets) : look;
    await inPool(AT_ONCE, concerns, ([owner, concern]) => this.#judge(owner, concern, next));
  }

  #networksOf({ everything, switches, networks, gone }: Clues): Set<string> {
    const all = [...this.#parts.shared.networksIn(this.#outside)];
    if (everything || switches) return new Set(all.map(([name]) => name));
    const found = new Set(networks);
    if (gone.size === 0) return found;
    for (const [name, actor] of all) {
      const { definition, peers } = actor.getSnapshot().context;
      const { subnets } = definition;
      const v6 = subnets.some(({ subnet }) => subnet.includes(':'));
      const ours = subnets.some(
        ({ subnet, gateway }) => (gateway !== undefined && gone.has(gateway)) || gone.has(subnet),
      );
      if (ours || (v6 && gone.has('::1/128')) || leadsTo({ ...definition, peers }, gone)) found.add(name);
    }
    return found;
  }

  #concernsOf({ everything, hosts, insides }: Clues, networks: Set<string>): Map<string, Concern> {
    const concerns = new Map<string, Concern>();
    if (everything) {
      for (const { context } of this.#parts.containers.all()) {
        if (context.outside !== this.#outside || context.attachments.length === 0) continue;
        concerns.set(context.owner, ALL_OF_IT);
      }
      return concerns;
    }
    for (const [owner, of] of hosts) {
      const snapshot = this.#actorOf(owner)?.getSnapshot();
      // The container is being torn down. Nearly all announcements are about such containers.
      if (snapshot === undefined || isLeaving(snapshot)) continue;
      // When the host end goes, the other end goes with it. A link that is down, or has no bridge, is repaired with the bridge.
      concerns.set(owner, ALL_OF_IT);
      if (isSteady(snapshot)) for (const network of of) networks.add(network);
    }
    for (const owner of insides) concerns.set(owner, { ...concerns.get(owner), inside: true });
    return concerns;
  }

  /** Adds the owners of these namespaces and the networks of these links. */
  async #resolve(
    { nsids, ports }: Clues,
    look: OutsideLook,
    concerns: Map<string, Concern>,
    networks: Set<string>,
  ): Promise<void> {
    /** Returns the namespaces without a known owner. */
    const strangers = () => {
      const unknown: number[] = [];
      for (const nsid of nsids) {
        const owner = this.#owners.get(nsid);
        if (owner === undefined || this.#actorOf(owner) === null) unknown.push(nsid);
        else concerns.set(owner, { ...concerns.get(owner), inside: true });
      }
      return unknown;
    };
    const unknown = strangers();
    if (ports.size === 0) {
      if (unknown.length === 0) return;
      if (this.#strangersTimer !== null) {
        for (const nsid of unknown) this.#strangers.add(nsid);
        return;
      }
    }
    for (const { alias, netnsId, name } of await look.links()) {
      if (!alias.startsWith(this.#prefix)) continue;
      const [id = '', generation = '', network] = alias.slice(this.#prefix.length).split(':');
      if (network === undefined) continue;
      if (netnsId !== null) this.#owners.set(netnsId, `${id}:${generation}`);
      if (ports.has(name)) networks.add(network);
    }
    await findOwners(this.#parts, this.#outside, unknown, this.#owners);
    if (unknown.length > 0 && strangers().length === unknown.length) this.#restFromStrangers();
  }

  #restFromStrangers(): void {
    if (this.#strangersTimer !== null || this.#closed) return;
    this.#strangersTimer = setTimeout(() => {
      this.#strangersTimer = null;
      if (this.#strangers.size === 0) return;
      for (const nsid of this.#strangers) this.#clues.nsids.add(nsid);
      this.#strangers.clear();
      this.#gather();
    }, STRANGERS_MS);
  }

  /** Returns true if something was repaired: earlier dumps are outdated then. */
  async #judgeNetwork(name: string, look: OutsideLook): Promise<boolean> {
    const key = { network: name };
    const actor = this.#parts.shared.networksIn(this.#outside).get(name);
    const snapshot = actor?.getSnapshot();
    if (actor === undefined || snapshot === undefined || !snapshot.hasTag('standing')) {
      this.#record.forget(key);
      return false;
    }
    // What a program of others has made is known by its containers alone.
    if (isExternal(snapshot.context.definition)) return false;
    if (!snapshot.hasTag('rest')) return this.#again(actor, name);
    const { definition, wayOut, peers } = snapshot.context;
    const all = this.#parts.containers.all();
    const before = membersOf(all, this.#outside, name);
    const seen = await look.network(foundIn(snapshot.context), before);
    const now = actor.getSnapshot();
    const same = now.context.definition === definition && now.context.wayOut === wayOut && now.context.peers === peers;
    if (!now.hasTag('rest') || !same) return this.#again(actor, name);
    // Leaves out containers that have begun an operation since.
    const still = new Set(membersOf(this.#parts.containers.all(), this.#outside, name).map(({ hostLink }) => hostLink));
    const busy = before.filter(({ hostLink }) => !still.has(hostLink));
    const { repair, alert } = byPolicy(
      this.#parts.policies,
      seen.filter((difference) => !busy.some((member) => isAboutPort(difference, member))),
    );
    this.#record.leave(key, alert, null);
    if (!this.#record.mayRepair(key, repair)) return false;
    actor.send({ type: 'drifted' });
    await atRest(actor);
    this.#clues.networks.add(name);
    this.#gather();
    // A bridge of others is not put back. Its containers are notified, and repaired when it exists again (`returned`).
    if (isUnmanaged(definition) && actor.getSnapshot().context.fault !== null) {
      for (const { owner } of before) {
        const cutOff = this.#actorOf(owner);
        if (cutOff !== null) this.#whenSteady(cutOff, owner, { host: true });
      }
    }
    return true;
  }

  async #judge(owner: string, concern: Concern, look: OutsideLook): Promise<void> {
    const key = { owner };
    const actor = this.#actorOf(owner);
    const snapshot = actor?.getSnapshot();
    if (actor === null || snapshot === undefined || isLeaving(snapshot)) return this.#record.forget(key);
    if (!isSteady(snapshot)) return this.#whenSteady(actor, owner, concern);
    const { context } = snapshot;
    if (context.attachments.length === 0) return;
    const seen = [
      ...(concern.host === true ? await look.host(context) : []),
      ...(concern.inside === true ? await look.inside(context) : []),
    ];
    const now = actor.getSnapshot();
    if (!isSteady(now) || now.context.attachments !== context.attachments) {
      return this.#whenSteady(actor, owner, concern);
    }
    const isStill = () => isSteady(actor.getSnapshot());
    if (await pinBack(this.#parts, this.#record, context, seen, isStill)) {
      return this.#whenSteady(actor, owner, ALL_OF_IT);
    }
    const { repair, alert } = byPolicy(this.#parts.policies, seen);
    this.#record.leave(key, alert, actor);
    if (!this.#record.mayRepair(key, repair)) return;
    actor.send({ type: 'drifted', drift: repair });
    this.#whenSteady(actor, owner, ALL_OF_IT);
  }

  #again(actor: AnyActorRef, network: string): false {
    void atRest(actor).then(() => {
      this.#clues.networks.add(network);
      this.#gather();
    });
    return false;
  }

  #whenSteady(actor: ContainerActor, owner: string, concern: Concern): void {
    const waiting = this.#waiting.get(owner);
    this.#waiting.set(owner, { ...waiting, ...concern });
    if (waiting !== undefined) return;
    void until(actor, () => isSteady(actor.getSnapshot()) || isLeaving(actor.getSnapshot())).then(() => {
      const due = this.#waiting.get(owner) ?? {};
      this.#waiting.delete(owner);
      if (this.#closed || isLeaving(actor.getSnapshot())) return this.#record.forget({ owner });
      if (due.rules === true) this.#verify();
      if (due.host === true) this.#clues.hosts.set(owner, this.#clues.hosts.get(owner) ?? new Set());
      if (due.inside === true) this.#clues.insides.add(owner);
      if (due.host === true || due.inside === true) this.#gather();
    });
  }
}
