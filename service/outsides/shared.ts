/**
 * The machines that containers share: for each outside namespace a firewall, one for firewalld, its ports, its resolver, and each
 * network in use there.
 *
 * Guarantees: one machine per object, started at its first use, or at recovery with the state that the snapshots give. Only what
 * the firewall found and what firewalld knows is on disk; leases, claims and names are read back from the containers. A machine
 * that a defect has stopped is started again the same way, and looks at its objects in the kernel; requests meanwhile are refused
 * (docs/decisions/0040).
 * Limits: machines of an outside live until it is released (outside-release.ts); idle ones own nothing in the kernel.
 * Over 400 lines because making, running, replacing and releasing these machines belong together, and so do the questions about
 * them, which are a line or two each.
 */
import { EventEmitter } from 'eventemitter3';
import { createActor, waitFor, type ActorRefFrom, type AnyActorRef } from 'xstate';
import type { Directory } from '../../effects/ask.ts';
import { ROOT, succeed } from '../../effects/effect.ts';
import { outsideKey } from '../../effects/kernel.ts';
import { atRest, until } from '../../effects/until.ts';
import { NO_REPLIES, type Replies } from '../../effects/ruleset/ruleset-replies.ts';
import type { BridgeLook } from '../../effects/links/unmanaged-bridge.ts';
import { filtersIn, type Switches } from '../../machines/firewall.ts';
import type { firewalldMachine } from '../../machines/firewalld.ts';
import type { preparedMachine } from '../../machines/prepared.ts';
import type { networkMachine, NetworkInput } from '../../machines/network.ts';
import type { Names, RemoteEntry, RemoteZones } from '../../plan/names/names.ts';
import { rests } from '../../plan/states.ts';
import { portsMachine } from '../../machines/ports.ts';
import type { RootlessInput } from '../../machines/rootless.ts';
import { isExternal } from '../../plan/networks/external.ts';
import { isUnmanaged, rememberedBridge, type BridgeSeen, type Seen } from '../../plan/networks/unmanaged.ts';
import { NO_WAY_OUT, remembered, type WayOut } from '../../plan/networks/way-out.ts';
import { NO_LEASES, type Leases } from '../../plan/networks/lease.ts';
import type { NetnsIdentity } from '../../native/index.ts';
import type { ContainerContext } from '../../state/container.ts';
import { NOBODY } from '../../effects/ask.ts';
import { FaultError, type Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Peer } from '../../state/overlay.ts';
import type { SnapshotStore } from '../../state/files/store.ts';
import {
  adopted,
  firewalldInput,
  firewallInput,
  isIdle,
  machinesOf,
  NOTHING,
  reclaim,
  resolverInput,
  type Adopted,
  type Outside,
  type OutsideWatcher,
  type SharedMachines,
} from './outside.ts';
import { OutsideRecords, type OutsideRecord } from './outside-record.ts';
import { OverlayPeers } from './peers.ts';
import { presentMachines, type PresentMachines } from './present.ts';
import { defectOf } from '../records/snapshot.ts';
import { replacedBy } from '../../plan/containers/change.ts';

/** One of the machines, in the outside that it is for. */
export type SharedMachine = { outside: string | null; name: string } & (
  | { kind: 'network'; actor: ActorRefFrom<typeof networkMachine> }
  | { kind: 'prepared'; actor: ActorRefFrom<typeof preparedMachine> }
  | { [Kind in Exclude<keyof Outside, 'networks'>]: { kind: Kind; actor: NonNullable<Outside[Kind]> } }[Exclude<
      keyof Outside,
      'networks'
    >]
);

/** The way out of a rootless daemon's own outside. */
export type RootlessWay = Pick<RootlessInput, 'settings' | 'netns' | 'directory'>;

/** The pause between a defect and the replacement of its machine: a machine that fails at once again must not fill the log. */
const AGAIN_MS = 1000;

const BOUND = "bridges in firewalld's zone";

const makePorts = ({ claims }: Adopted): Outside['ports'] =>
  createActor(portsMachine, { systemId: ROOT, input: { adopted: claims } });

const bridgeKey = (outside: string | null, network: string): string => `${network} ${outside ?? ''}`;

export class Shared implements Directory {
  /** Emits `machines` when a machine has been made, or is no more. */
  readonly bus = new EventEmitter<{ machines: () => void }>();
  readonly #machines: SharedMachines;
  readonly #definitions: ReadonlyMap<string, NetworkDefinition>;
  readonly #previous: ReadonlyMap<string, NetworkDefinition>;
  readonly #containers: () => readonly ContainerContext[];
  readonly #records: OutsideRecords;
  readonly #failed: (what: string, error: unknown) => void;
  readonly #watch: ((machine: AnyActorRef) => void) | undefined;
  readonly #rootless: RootlessWay | null;
  readonly #outsides = new Map<string | null, Outside>();
  readonly #peers: OverlayPeers;
  readonly #waysOut = new Map<string | null, WayOut>();
  readonly #replies = new Map<string | null, Replies>();
  /** The last seen state of foreign bridges, by outside and network. */
  readonly #bridges = new Map<string, { index: number; seen: BridgeSeen | null }>();
  #watcher: OutsideWatcher | null = null;
  #remote: RemoteZones = {};
  #refusal: (network: string) => Fault | null = () => null;

  constructor(parts: {
    /** Given what they ask, which is this, and must not ask it before it is made. */
    machines: (shared: Shared) => SharedMachines;
    definitions: ReadonlyMap<string, NetworkDefinition>;
    /** The definitions before an update that a crash interrupted. */
    previous?: ReadonlyMap<string, NetworkDefinition>;
    /** Returns the containers that exist at the time of the call. */
    containers: () => readonly ContainerContext[];
    store: SnapshotStore;
    /** Absent: nothing of overlays is known, or kept. */
    peers?: OverlayPeers;
    bootId: string;
    failed: (what: string, error: unknown) => void;
    /** Returns the identity of an outside's namespace; undefined if the outside is not open. */
    identityOf?: (outside: string) => NetnsIdentity | undefined;
    /** Called with each machine before it runs. */
    watch?: ((machine: AnyActorRef) => void) | undefined;
    /** Absent: the daemon has the rights of root over the host's network. */
    rootless?: RootlessWay | null;
  }) {
    this.#definitions = parts.definitions;
    this.#previous = parts.previous ?? new Map();
    this.#containers = parts.containers;
    this.#failed = parts.failed;
    this.#peers = parts.peers ?? new OverlayPeers(null);
    this.#watch = parts.watch;
    this.#rootless = parts.rootless ?? null;
    this.#records = new OutsideRecords(parts.store, parts.bootId, parts.failed, parts.identityOf);
    this.#machines = parts.machines(this);
  }

  /** To be told of what happens to outsides from now on. */
  watchedBy(watcher: OutsideWatcher): void {
    this.#watcher = watcher;
  }

  network(outside: string | null, name: string): AnyActorRef | null {
    const on = this.#outside(outside);
    return on.networks.get(name) ?? this.#startNetwork(on, outside, name, NO_LEASES, false);
  }

  /** Why nothing can be attached to a network now: an overlay whose share is not this host's. */
  refusal(name: string): Fault | null {
    return this.#refusal(name);
  }

  refusedBy(refusal: (network: string) => Fault | null): void {
    this.#refusal = refusal;
  }

  firewall(outside: string | null): AnyActorRef {
    return this.#outside(outside).firewall;
  }

  firewalld(outside: string | null): ActorRefFrom<typeof firewalldMachine> {
    return this.#outside(outside).firewalld;
  }

  ports(outside: string | null): AnyActorRef {
    return this.#outside(outside).ports;
  }

  rootless(outside: string | null): Outside['rootless'] {
    return this.#outside(outside).rootless;
  }

  /** Returns the network machines of one outside, by name. */
  networksIn(outside: string | null): ReadonlyMap<string, ActorRefFrom<typeof networkMachine>> {
    return this.#outsides.get(outside)?.networks ?? new Map();
  }

  /** Returns the machines of one outside; null if it has none yet. */
  machinesIn(outside: string | null): Outside | null {
    return this.#outsides.get(outside) ?? null;
  }

  /** Returns the machines of an outside as they are now, or as they would begin. Starts none of them. */
  present(outside: string | null): PresentMachines {
    const networkInput = (name: string) => this.#networkInput(outside, name, NO_LEASES, false);
    const wayOut = this.#rootlessInput(outside, NOTHING);
    return presentMachines(this.#machines, outside, this.#outsides.get(outside) ?? null, wayOut, networkInput);
  }

  /** Returns the networks whose bridge and rules exist, or are about to, with the other hosts of overlays. */
  standingIn(outside: string | null): Seen[] {
    const all = [...this.networksIn(outside).values()].map((actor) => actor.getSnapshot());
    return all
      .filter((state) => state.hasTag('standing'))
      .map(({ context: { definition, peers } }) =>
        definition.overlay === undefined ? definition : { ...definition, peers },
      );
  }

  /** Returns the faults of machines that retry by themselves. */
  troubles(): { outside: string | null; what: string; fault: Fault }[] {
    return this.all().flatMap(({ kind, outside, name, actor }) => {
      const what = kind === 'firewalld' ? BOUND : kind === 'network' ? `network ${name}` : kind;
      const snapshot = actor.getSnapshot();
      const defect = defectOf(snapshot, what);
      if (defect !== null) return [{ outside, what, fault: defect }];
      const { fault = null, attempts = 0 } = snapshot.context as { fault?: Fault | null; attempts?: number };
      return fault === null || attempts === 0 ? [] : [{ outside, what, fault }];
    });
  }

  /** Returns every machine that runs, or is about to be replaced after a defect. */
  all(): SharedMachine[] {
    return [...this.#outsides].flatMap(([outside, { firewall, firewalld, ports, resolver, rootless, networks }]) => [
      { kind: 'firewall', outside, name: 'firewall', actor: firewall },
      { kind: 'firewalld', outside, name: 'firewalld', actor: firewalld },
      { kind: 'ports', outside, name: 'ports', actor: ports },
      { kind: 'resolver', outside, name: 'resolver', actor: resolver },
      ...(rootless === null ? [] : [{ kind: 'rootless' as const, outside, name: 'rootless', actor: rootless }]),
      ...[...networks].map(([name, actor]) => ({ kind: 'network' as const, outside, name, actor })),
    ]);
  }

  /** Returns how traffic leaves an outside, as far as it is known. */
  wayOut(outside: string | null): WayOut {
    return this.#waysOut.get(outside) ?? NO_WAY_OUT;
  }

  /** Sets how traffic leaves an outside from now on. Networks that have no MTU of their own follow. */
  setWayOut(outside: string | null, now: WayOut): void {
    const before = this.wayOut(outside);
    const wayOut = remembered(before, now);
    if (wayOut[4] === before[4] && wayOut[6] === before[6]) return;
    this.#waysOut.set(outside, wayOut);
    for (const actor of this.networksIn(outside).values()) {
      // The way out of an overlay is another one: setUnderlay.
      if (actor.getSnapshot().context.definition.overlay === undefined) actor.send({ type: 'wayOut', wayOut });
    }
  }

  /** Returns the overlays, each with its other hosts. */
  overlays(): { network: NetworkDefinition; peers: readonly Peer[] }[] {
    const all = [...this.#definitions.values()].filter(({ overlay }) => overlay !== undefined);
    return all.map((network) => ({ network, peers: this.#peers.of(network.name) }));
  }

  /** Returns how packets leave the daemon's own outside for the other hosts of an overlay: before it stands, as all packets do. */
  underlay({ name }: NetworkDefinition): WayOut {
    return remembered(this.wayOut(null), this.#peers.way(null, name));
  }

  /** Sets how packets leave an outside for the other hosts of an overlay. */
  setUnderlay(outside: string | null, network: string, now: WayOut): void {
    const wayOut = this.#peers.measured(outside, network, now);
    if (wayOut !== null) this.networksIn(outside).get(network)?.send({ type: 'wayOut', wayOut });
  }

  /** Returns the other hosts of an overlay as they were last told. */
  peersOf(network: string): readonly Peer[] {
    return this.#peers.of(network);
  }

  /**
   * Sets the other hosts of an overlay, which are on disk at once. Resolves when the kernel of each outside where the network stands has
   * them; rejects if one could not be given them, which is tried again.
   */
  async setPeers(network: string, peers: readonly Peer[]): Promise<void> {
    this.#peers.set(network, peers);
    for (const actor of this.machinesOf(network)) {
      actor.send({ type: 'peers', peers });
      await atRest(actor);
      const { fault } = actor.getSnapshot().context;
      if (fault !== null) throw FaultError.of(fault);
    }
  }

  /** Returns the names of containers in an outside. */
  names(outside: string | null): Names {
    return this.#outsides.get(outside)?.resolver.getSnapshot().context.names ?? {};
  }

  /** Sets the names that other hosts of an overlay answer for. */
  setRemoteNames(network: string, entries: readonly RemoteEntry[]): void {
    if (JSON.stringify(this.#remote[network] ?? []) === JSON.stringify(entries)) return;
    this.#remote = { ...this.#remote, [network]: entries };
    this.#outsides.get(null)?.resolver.send({ type: 'remote', network, entries });
  }

  /** Returns how answers from published ports leave an outside. */
  replies(outside: string | null): Replies {
    return this.#replies.get(outside) ?? NO_REPLIES;
  }

  setReplies(outside: string | null, now: Replies): void {
    this.#replies.set(outside, now);
  }

  /** Returns the original values of the rp_filter switches that are loosened in an outside. */
  filters(outside: string | null): Switches {
    return filtersIn(this.#outsides.get(outside)?.firewall.getSnapshot().context.found ?? null);
  }

  /** Returns true if the table of an outside stands, and is not about to go. */
  isRaised(outside: string | null): boolean {
    const state = this.#outsides.get(outside)?.firewall.getSnapshot();
    return state !== undefined && ['up', 'verifying', 'verifyFailed'].some((name) => state.value === name);
  }

  /**
   * Replaces the remembered filters; resolves when they are on disk. Has no effect if no network stands: then none may be
   * loosened.
   */
  async rememberFilters(outside: string | null, filters: Switches): Promise<void> {
    this.#outsides.get(outside)?.firewall.send({ type: 'remember', filters });
    await this.#records.commit(outside);
  }

  /** True if containers of an outside are on a network that a program of others makes. */
  usesExternal(outside: string | null): boolean {
    return [...this.networksIn(outside).values()].some((actor) => {
      const { context } = actor.getSnapshot();
      return isExternal(context.definition) && context.leases.size > 0;
    });
  }

  /** Returns the networks on links of others. What programs of others make is not looked at. */
  unmanaged(): NetworkDefinition[] {
    return [...this.#definitions.values()].filter((one) => isUnmanaged(one) && !isExternal(one));
  }

  /**
   * Sets the present state of an unmanaged network's bridge; the network follows it. Null if it does not exist, which changes
   * nothing.
   */
  setBridge(outside: string | null, name: string, now: BridgeLook | null): void {
    const key = bridgeKey(outside, name);
    const before = this.#bridges.get(key);
    // After a missing bridge, any bridge counts as another one.
    if (now === null) return void this.#bridges.set(key, { index: 0, seen: before?.seen ?? null });
    const { index, ...seen } = now;
    this.#bridges.set(key, { index, seen });
    const actor = this.networksIn(outside).get(name);
    if (actor === undefined) return;
    if (JSON.stringify(before?.seen) !== JSON.stringify(seen)) actor.send({ type: 'bridge', bridge: seen });
    if (before !== undefined && before.index !== index) this.#watcher?.returned(outside, name);
  }

  /** Returns the outsides whose table stands, or is about to. */
  tables(): Set<string | null> {
    return new Set(
      [...this.#outsides].flatMap(([outside, { firewall }]) =>
        firewall.getSnapshot().matches('down') ? [] : [outside],
      ),
    );
  }

  outsides(): (string | null)[] {
    return [...this.#outsides.keys()];
  }

  /** Returns the machines of a network, one per outside in which it was ever used. */
  machinesOf(name: string): ActorRefFrom<typeof networkMachine>[] {
    return [...this.#outsides.values()].flatMap((on) => on.networks.get(name) ?? []);
  }

  resolver(outside: string | null): AnyActorRef {
    return this.#outside(outside).resolver;
  }

  /** Notifies the resolver of an outside that its server has ended by itself. */
  resolverExited(outside: string | null): void {
    this.#outsides.get(outside)?.resolver.send({ type: 'resolver.exited' });
  }

  /** Returns the names that the server of an outside should answer; null if there is none, or it is just being changed. */
  resolving(outside: string | null): Names | null {
    const state = this.#outsides.get(outside)?.resolver.getSnapshot();
    const serves = state !== undefined && (state.matches('serving') || state.matches('steadying'));
    return serves ? state.context.names : null;
  }

  /** Makes the resolver of an outside check its files and its process. */
  refreshResolver(outside: string | null): void {
    this.#outsides.get(outside)?.resolver.send({ type: 'refresh' });
  }

  /** Makes every server read the host's resolv.conf again, which has changed. */
  refreshResolvers(): void {
    for (const { resolver } of this.#outsides.values()) resolver.send({ type: 'refresh' });
  }

  /** Makes every firewall check its table, against rules that may have changed. */
  verifyFirewalls(): void {
    for (const { firewall } of this.#outsides.values()) firewall.send({ type: 'verify' });
  }

  /** Returns the owners that hold a lease of this network, in any outside. */
  usersOf(name: string): string[] {
    return [...this.#outsides.values()].flatMap((on) => {
      const leases = on.networks.get(name)?.getSnapshot().context.leases;
      return [...(leases?.keys() ?? [])];
    });
  }

  /**
   * Resolves with true once no kernel holds anything of the network: its definition may be removed. Resolves with false if it is
   * stuck.
   */
  async whenDown(name: string): Promise<boolean> {
    for (const on of this.#outsides.values()) {
      const actor = on.networks.get(name);
      if (actor === undefined) continue;
      const idle = await waitFor(actor, (state) => state.hasTag('rest') && !state.matches('up'), { timeout: 10_000 });
      if (!idle.matches('down')) return false;
    }
    return true;
  }

  /** Resolves when nothing is being raised or lowered, or after `ms`. The next start handles what is left then. */
  async settled(ms: number): Promise<void> {
    const settle = (actors: AnyActorRef[]) => Promise.all(actors.map((actor) => until(actor, rests, ms)));
    const outsides = [...this.#outsides.values()];
    await settle(outsides.flatMap((on) => [...on.networks.values(), on.resolver]));
    // A firewall is lowered after its last network.
    await settle(outsides.flatMap((on) => [on.firewall, ...(on.rootless === null ? [] : [on.rootless])]));
  }

  /**
   * Releases what the firewall holds for networks that have neither a definition nor a container any more: their machine, which
   * would do it, is gone. With the last of them the table of the outside goes.
   */
  releaseForgotten(containers: readonly ContainerContext[]): void {
    for (const [outside, { firewall, networks }] of this.#outsides) {
      const mine = containers.filter((one) => one.outside === outside);
      const named = new Set(
        mine.flatMap(({ attachments, change }) =>
          [...attachments, ...replacedBy(change)].map(({ network }) => network),
        ),
      );
      for (const owner of firewall.getSnapshot().context.holders) {
        if (networks.has(owner) || this.#definitions.has(owner) || named.has(owner)) continue;
        firewall.send({ type: 'release', owner, from: NOBODY });
      }
    }
  }

  /** Stops the machines of a network whose definition is gone. */
  forget(name: string): void {
    for (const [outside, on] of this.#outsides) {
      this.#bridges.delete(bridgeKey(outside, name));
      on.networks.get(name)?.stop();
      on.networks.delete(name);
    }
    this.#peers.forget(name);
    this.bus.emit('machines');
  }

  /**
   * Starts everything that the snapshots of containers and the records of outsides name. Must be called once, before the
   * containers start. Returns the files that had to be set aside.
   */
  recover(containers: readonly ContainerContext[]): string[] {
    const { found, unreadable } = this.#records.load();
    const outsides = new Set([null, ...found.keys(), ...containers.map(({ outside }) => outside)]);
    for (const outside of outsides) {
      const record = found.get(outside);
      const all = adopted(this.#definitions, outside, containers, {
        found: record?.found ?? null,
        bound: record?.bound ?? [],
        recorded: record !== undefined,
      });
      const on = this.#start(outside, all);
      for (const name of this.#definitions.keys())
        this.#startNetwork(on, outside, name, all.leases.get(name) ?? NO_LEASES, true);
    }
    return unreadable;
  }

  /** Returns the records of outsides, from this boot. */
  records(): readonly OutsideRecord[] {
    return [...this.#records.load().found.values()];
  }

  /** Stops the machines of an outside without containers. Returns false, and changes nothing, while they own something. */
  release(outside: string): boolean {
    const on = this.#outsides.get(outside);
    if (on === undefined) return true;
    if (!isIdle(on)) return false;
    this.#records.release(outside, () => machinesOf(on).forEach((actor) => actor.stop()));
    for (const name of on.networks.keys()) this.#bridges.delete(bridgeKey(outside, name));
    this.#waysOut.delete(outside);
    this.#replies.delete(outside);
    this.#outsides.delete(outside);
    this.#watcher?.closed(outside);
    this.bus.emit('machines');
    return true;
  }

  /** Resets a container to this earlier context: releases what it was granted since. */
  reclaim(container: ContainerContext): void {
    const on = this.#outsides.get(container.outside);
    if (on !== undefined) reclaim(on, container);
  }

  #outside(outside: string | null): Outside {
    return this.#outsides.get(outside) ?? this.#start(outside, NOTHING);
  }

  #start(outside: string | null, adopted: Adopted): Outside {
    const on: Outside = {
      firewall: this.#makeFirewall(outside, adopted),
      firewalld: this.#makeFirewalld(outside, adopted),
      ports: makePorts(adopted),
      resolver: this.#makeResolver(outside, adopted),
      rootless: this.#makeRootless(outside, adopted),
      networks: new Map(),
    };
    this.#outsides.set(outside, on);
    this.#watcher?.opened(outside);
    const verify = (actor: AnyActorRef) => actor.send({ type: 'verify' });
    const refresh = (actor: AnyActorRef) => actor.send({ type: 'refresh' });
    this.#keep(on, outside, 'firewall', (now) => this.#makeFirewall(outside, now), verify);
    this.#keep(on, outside, 'firewalld', (now) => this.#makeFirewalld(outside, now), verify);
    this.#keep(on, outside, 'ports', makePorts, () => {});
    this.#keep(on, outside, 'resolver', (now) => this.#makeResolver(outside, now), refresh);
    if (on.rootless !== null)
      this.#keep(
        on,
        outside,
        'rootless',
        (now) => this.#makeRootless(outside, now),
        () => {},
      );
    return on;
  }

  /** Returns the state of an outside according to the containers now, and to the memory of its machines. */
  #now(outside: string | null, on: Outside): Adopted {
    return adopted(this.#definitions, outside, this.#containers(), {
      found: on.firewall.getSnapshot().context.found,
      bound: on.firewalld.getSnapshot().context.bound,
      recorded: true,
    });
  }

  /** Runs a machine of an outside. If a defect stops it, makes another one, which looks at what exists. */
  #keep<Name extends Exclude<keyof Outside, 'networks'>>(
    on: Outside,
    outside: string | null,
    name: Name,
    make: (now: Adopted) => Outside[Name],
    look: (actor: Outside[Name]) => void,
  ): void {
    const actor = on[name];
    if (actor === null) return;
    this.#run(actor, `${name} of ${outside ?? 'the host'}`, (stopped) => {
      const next = make(this.#now(outside, on));
      on[name] = next;
      if (next === null) return;
      succeed(next, stopped);
      this.#keep(on, outside, name, make, look);
      look(next);
    });
  }

  #makeFirewall(outside: string | null, adopted: Adopted): Outside['firewall'] {
    const firewall = createActor(this.#machines.firewall, {
      id: outsideKey(outside),
      systemId: ROOT,
      input: firewallInput(outside, adopted),
      inspect: this.#records.follow(outside, () => this.#outsides.get(outside)).firewall,
    });
    firewall.on('found', (findings) => this.#watcher?.found(outside, findings));
    return firewall;
  }

  #makeFirewalld(outside: string | null, adopted: Adopted): Outside['firewalld'] {
    const firewalld = createActor(this.#machines.firewalld, {
      id: outsideKey(outside),
      systemId: ROOT,
      input: firewalldInput(outside, adopted),
      inspect: this.#records.follow(outside, () => this.#outsides.get(outside)).firewalld,
    });
    firewalld.on('failing', ({ fault: { code, message, ...more } }) =>
      this.#failed(BOUND, new FaultError(code, message, more)),
    );
    return firewalld;
  }

  #makeResolver(outside: string | null, adopted: Adopted): Outside['resolver'] {
    return createActor(this.#machines.resolver, {
      id: 'resolver',
      systemId: ROOT,
      input: resolverInput(outside, adopted, outside === null ? this.#remote : {}),
    });
  }

  #makeRootless(outside: string | null, adopted: Adopted): Outside['rootless'] {
    const input = this.#rootlessInput(outside, adopted);
    return input === null ? null : createActor(this.#machines.rootless, { id: 'rootless', systemId: ROOT, input });
  }

  #rootlessInput(outside: string | null, { attachments }: Adopted): RootlessInput | null {
    return outside === null && this.#rootless !== null ? { ...this.#rootless, adopted: attachments } : null;
  }

  /** Starts the machine of a network. `stopped`: the machine that it replaces. */
  #startNetwork(
    on: Outside,
    outside: string | null,
    name: string,
    adopted: Leases,
    recovering: boolean,
    stopped: AnyActorRef | null = null,
  ) {
    const input = this.#networkInput(outside, name, adopted, recovering);
    if (input === null) return null;
    const previous = recovering && stopped === null ? (this.#previous.get(name) ?? null) : null;
    const actor = createActor(this.#machines.network, { id: name, systemId: ROOT, input: { ...input, previous } });
    if (stopped !== null) succeed(actor, stopped);
    on.networks.set(name, actor);
    this.#run(actor, `network ${name}`, (stopped) => {
      if (on.networks.get(name) !== actor) return; // it has been removed
      const leases = this.#now(outside, on).leases.get(name) ?? NO_LEASES;
      this.#startNetwork(on, outside, name, leases, true, stopped)?.send({ type: 'drifted' });
    });
    return actor;
  }

  #networkInput(outside: string | null, name: string, adopted: Leases, recovering: boolean): NetworkInput | null {
    const definition = this.#definitions.get(name);
    if (definition === undefined) return null;
    const seen = () => this.#bridges.get(bridgeKey(outside, name))?.seen ?? rememberedBridge(adopted);
    const bridge = isUnmanaged(definition) ? seen() : null;
    const wayOut = definition.overlay === undefined ? this.wayOut(outside) : this.#peers.way(outside, name);
    const peers = this.#peers.of(name);
    return { definition, previous: null, outside, wayOut, bridge, peers, adopted, recovering };
  }

  /** Runs a machine. `again` replaces it, some time after a defect has stopped it. */
  #run(actor: AnyActorRef, what: string, again: (stopped: AnyActorRef) => void): void {
    const error = (defect: unknown) => {
      this.#failed(what, defect);
      setTimeout(() => again(actor), AGAIN_MS).unref();
    };
    actor.subscribe({ error });
    this.#watch?.(actor);
    actor.start();
    this.bus.emit('machines');
  }
}
