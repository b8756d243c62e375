/**
 * The overlay networks of this host: a machine for each, with its follower of the store, and what others ask about them.
 *
 * Guarantees: an overlay is agreed on, and a share of it is held, before there is a definition; when it cannot be, nothing has
 * changed. A definition on disk is what the host goes on from: the network works with the peers that were known last while the
 * store is away, and takes no new containers. A daemon without --etcd keeps its overlay networks in this way. Removing a network
 * gives its share back.
 * Limits: containers of outsides other than the daemon's own are on the bridge there, and do not reach other hosts.
 */
import { isDeepStrictEqual } from 'node:util';
import { createActor, waitFor, type ActorRefFrom } from 'xstate';
import type { EtcdPlaces } from '../../effects/etcd/gateway.ts';
import type { Store } from '../../effects/etcd/store.ts';
import { Claims } from '../../effects/overlay/claim.ts';
import { Keeper } from '../../effects/overlay/keep.ts';
import { ROOT } from '../../effects/effect.ts';
import { until } from '../../effects/until.ts';
import type { overlayMachine } from '../../machines/overlay.ts';
import { vtepMac } from '../../plan/addresses/mac.ts';
import { peersOf, type Seen } from '../../plan/overlay/peers.ts';
import type { Names, RemoteEntry } from '../../plan/names/names.ts';
import { rests } from '../../plan/states.ts';
import type { OverlayFact } from '../../plan/why/facts.ts';
import { FaultError, type Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Overlay, OverlayShared, Peer } from '../../state/overlay.ts';
import type { OverlayView } from '../../state/answers/overlay.ts';
import { read, readShared } from './entries.ts';
import { NamePublisher, remoteNames } from './names.ts';
import { Follower } from './follower.ts';
import { Outage, type Asking } from './outage.ts';
import { absent, closedFault, factOf, troubleOf, viewOf, type Running } from './running.ts';
import type { HostIdentity } from './host-identity.ts';
import { withEffects } from './effects.ts';
import type { HostKeys } from './host-keys.ts';

/** How long a caller waits for the first share of a new network. */
const FIRST_SHARE_MS = 15_000;

/** What a network gets from its overlay. */
export interface Joined {
  shares: readonly string[];
  overlay: Overlay;
}

export interface EtcdOptions extends EtcdPlaces {
  /** Seconds of the lease of a share. */
  ttl: number;
  /** The address at which other hosts reach this one. */
  advertise: string;
}

/** The definitions of networks (service/networks/definitions.ts). */
interface Definitions {
  byName: ReadonlyMap<string, NetworkDefinition>;
  bus: { on(event: 'changed', hear: () => void): unknown };
  record(definition: NetworkDefinition): void;
}

export interface OverlayParts {
  /** Null: the daemon has no etcd. */
  etcd: (EtcdOptions & { store: Store }) | null;
  identity: HostIdentity;
  keys: HostKeys;
  place: string;
  definitions: Definitions;
  /** Gives a network these shares in place of those that it has. */
  renumber: (network: string, shares: readonly string[], overlay: Overlay) => Promise<void>;
  /** Hands the other hosts on to what the kernel has of a network. */
  setPeers: (network: string, peers: readonly Peer[]) => Promise<void>;
  /** The names of the containers here. */
  names: () => Names;
  /** Hands the names of other hosts' containers on to who answers for them. */
  setNames: (network: string, entries: readonly RemoteEntry[]) => void;
  watch: (machine: ActorRefFrom<typeof overlayMachine>) => void;
  failed: (what: string, error: unknown) => void;
  /** Tells what is no failure. */
  told: (what: string, text: string) => void;
}

export class Overlays {
  readonly #parts: OverlayParts;
  readonly #claims: Claims | null;
  readonly #keeper: Keeper | null;
  readonly #names: NamePublisher | null;
  readonly #running = new Map<string, Running>();

  constructor(parts: OverlayParts) {
    this.#parts = parts;
    const { etcd, place } = parts;
    this.#claims =
      etcd === null
        ? null
        : new Claims({
            store: etcd.store,
            read,
            readShared,
            ttl: etcd.ttl,
            place,
            address: etcd.advertise,
            more: (shared, host) => this.#publicKey(shared, host),
          });
    this.#keeper =
      etcd === null ? null : new Keeper(etcd.store, etcd.ttl, (name, error) => this.#hear(name, 'share', error));
    const networks = () => new Map([...this.#running.keys()].map((name) => [name, this.#holding(name)]));
    const { names, failed } = parts;
    this.#names = etcd === null ? null : new NamePublisher({ store: etcd.store, networks, names, failed });
    parts.definitions.bus.on('changed', () => this.#tellRecorded());
  }

  /** Gives the definitions the VTEP that this host has now: it may have another address, or another id. Before anything starts. */
  readdress(): void {
    if (this.#parts.etcd === null) return;
    for (const definition of this.#parts.definitions.byName.values()) {
      const { overlay } = definition;
      const vtep = overlay === undefined ? undefined : this.vtep(sharedOf(overlay));
      if (overlay === undefined || vtep === undefined) continue;
      if (isDeepStrictEqual(vtep, overlay)) continue;
      this.#parts.definitions.record({ ...definition, overlay: vtep });
    }
  }

  /** Begins with the overlays that have a definition. */
  start(): void {
    for (const { name, overlay, subnets } of this.#parts.definitions.byName.values()) {
      if (overlay === undefined || this.#claims === null || this.#running.has(name)) continue;
      this.#run(
        sharedOf(overlay),
        subnets.map(({ subnet }) => subnet),
      );
    }
  }

  /** The VTEP of this host, as its definitions have it. Makes the key that it may need. */
  vtep(shared: OverlayShared): Overlay {
    return { ...this.draft(shared), ...this.#publicKey(shared, this.#parts.identity.get()) };
  }

  /** The same for a network that there may never be: without a key. */
  draft(shared: OverlayShared): Overlay {
    const { etcd, identity } = this.#parts;
    return { ...shared, mac: vtepMac(shared.id, identity.get()), address: (etcd ?? noStore()).advertise };
  }

  #publicKey({ id, backend }: OverlayShared, host: string): Pick<Overlay, 'public_key'> {
    return backend === 'wireguard' ? { public_key: this.#parts.keys.publicKey(id, host) } : {};
  }

  /** What the other overlays of this host were agreed to be. */
  others(name: string): OverlayShared[] {
    const all = [...this.#parts.definitions.byName.values()];
    return all.flatMap(({ overlay }) => (overlay === undefined || overlay.name === name ? [] : overlay));
  }

  /** Returns what all hosts agree on about a network; null if there is no such overlay yet. */
  agreed(name: string): Promise<OverlayShared | null> {
    return (this.#claims ?? noStore()).shared(name);
  }

  /** Claims the first share of a network that is about to be made. Rejects, and leaves nothing, if that takes too long. */
  async join(shared: OverlayShared): Promise<Joined> {
    if (this.#claims === null) noStore();
    const { actor } = this.#run(shared, []);
    try {
      const state = await until<ReturnType<typeof actor.getSnapshot>>(
        actor,
        // etcd has answered a moment ago, and may be busy with many hosts: the machine asks again.
        (snapshot) =>
          snapshot.hasTag('open') ||
          (snapshot.matches('unclaimed') && snapshot.context.fault?.code !== 'STORE_UNREACHABLE'),
        FIRST_SHARE_MS,
      );
      const held = state?.context.held ?? null;
      if (held !== null) return { shares: held.subnets, overlay: this.vtep(shared) };
      throw FaultError.of(
        actor.getSnapshot().context.fault ?? {
          code: 'STORE_UNREACHABLE',
          message: `etcd has granted no share within ${FIRST_SHARE_MS} ms`,
        },
      );
    } catch (error) {
      await this.leave(shared.name);
      throw error;
    }
  }

  /** Gives the share of a network back, and forgets it. What the store does not take ends with its lease. */
  async leave(name: string): Promise<void> {
    const running = this.#running.get(name);
    if (running === undefined) return;
    this.#running.delete(name);
    running.follower.close();
    this.#keeper?.forget(name);
    running.actor.send({ type: 'release' });
    await waitFor(running.actor, (snapshot) => snapshot.matches('released')).catch(() => {});
    const { fault, shared } = running.actor.getSnapshot().context;
    if (fault !== null) this.#parts.failed(`share of network ${name}`, FaultError.of(fault));
    running.actor.stop();
    try {
      this.#parts.keys.forget(shared.id);
    } catch (error) {
      this.#parts.failed(`key of network ${name}`, error);
    }
  }

  /** Returns the reason why no container may be attached to a network now; null if one may, or it is no overlay. */
  refusal(name: string): Fault | null {
    if (this.#parts.definitions.byName.get(name)?.overlay === undefined) return null;
    const running = this.#running.get(name);
    if (running === undefined || this.#keeper === null)
      return { code: 'NO_STORE', message: `network ${name} is an overlay, and the daemon was started without --etcd` };
    const state = running.actor.getSnapshot();
    if (state.hasTag('open') && this.#keeper.trusts(name)) return null;
    return closedFault(name, running);
  }

  /** Returns how this host takes part in an overlay; null if it does not. */
  view(name: string): OverlayView | null {
    const running = this.#running.get(name);
    return running === undefined ? null : viewOf(running, this.#keeper?.left(name) ?? null);
  }

  /** Returns what `why` has to know about those of the networks that are overlays. */
  facts(networks: readonly string[]): OverlayFact[] {
    return networks.flatMap((network) => {
      const running = this.#running.get(network);
      if (running !== undefined) return [factOf(network, running, this.#keeper?.left(network) ?? null)];
      const fault = this.refusal(network);
      return fault === null ? [] : [absent(network, fault)];
    });
  }

  /** The names of containers here may have changed. */
  renamed(): void {
    this.#names?.changed();
  }

  /** The id of this host, and the lease that its names end with, while it holds a share of a network. */
  #holding(name: string): { host: string; lease: string } | null {
    const { host, held } = this.#running.get(name)?.actor.getSnapshot().context ?? {};
    return host === undefined || held === null || held === undefined ? null : { host, lease: held.lease };
  }

  /** Returns the faults of overlays that are not as they should be. */
  troubles(): { outside: null; what: string; fault: Fault }[] {
    const without =
      this.#claims !== null
        ? []
        : [...this.#parts.definitions.byName.keys()].filter((name) => this.refusal(name) !== null);
    return [
      ...without.flatMap((name) => ({ name, fault: this.refusal(name) })),
      ...[...this.#running].map(([name, running]) => ({ name, fault: troubleOf(name, running) })),
    ].flatMap(({ name, fault }) => (fault === null ? [] : [{ outside: null, what: `overlay ${name}`, fault }]));
  }

  /** Stops without a word to the store: the share stays ours for the next daemon, as long as its lease lasts. */
  async close(ms: number): Promise<void> {
    this.#names?.close();
    await Promise.all([...this.#running.values()].map(({ actor }) => until(actor, rests, ms)));
    for (const { actor, follower } of this.#running.values()) {
      follower.close();
      actor.stop();
    }
    this.#running.clear();
  }

  #run(shared: OverlayShared, subnets: readonly string[]): Running {
    const { etcd, identity, watch, failed, told } = this.#parts;
    const { name } = shared;
    const actor = createActor(this.#machine(name), {
      systemId: ROOT,
      input: { shared, host: identity.get(), subnets },
    });
    const follower = new Follower({
      store: (etcd ?? noStore()).store,
      name,
      changed: (entries, revision) => this.#see(name, read(name, entries.values()), revision),
      heard: (error) => this.#hear(name, 'hosts', error),
    });
    const running: Running = {
      actor,
      follower,
      seen: null,
      refused: new Map(),
      peers: [],
      settled: subnets,
      outage: new Outage({ network: name, failed, told }),
      closedAt: Date.now(),
      renumbered: null,
    };
    this.#running.set(name, running);
    watch(actor);
    let before = actor.getSnapshot().context;
    actor.subscribe({
      next: (state) => {
        const { context } = state;
        const { peers, held, subnets: recorded } = before;
        before = context;
        const { settled } = running;
        if (state.matches({ holding: 'leased' })) running.settled = context.subnets;
        running.closedAt = state.hasTag('open') ? null : (running.closedAt ?? Date.now());
        if (context.subnets !== recorded && recorded.length > 0 && context.subnets.join() !== recorded.join())
          running.renumbered = { at: Date.now(), from: recorded, to: context.subnets };
        // Before there is a definition there is nothing that has peers.
        if (context.subnets.length > 0 && (context.peers !== peers || recorded.length === 0))
          this.#meet(name, context.peers);
        if (context.held?.lease !== held?.lease) this.#names?.changed();
        // What is ours is no peer's.
        const isOther = context.held !== held || context.subnets !== recorded || running.settled !== settled;
        if (isOther && running.seen !== null) this.#compare(name, running.seen);
      },
      error: (error) => failed(`overlay ${name}`, error),
    });
    actor.start();
    return running;
  }

  #machine(name: string) {
    const { identity, renumber, failed } = this.#parts;
    return withEffects({
      claims: this.#claims ?? noStore(),
      keeper: this.#keeper ?? noStore(),
      identity,
      renumber: (network, subnets) => {
        const overlay = this.#parts.definitions.byName.get(network)?.overlay;
        return overlay === undefined ? Promise.resolve() : renumber(network, subnets, this.vtep(sharedOf(overlay)));
      },
      heard: (error) => this.#hear(name, 'share', error),
      failed,
    });
  }

  /** Takes how a request to the store has ended; null: it was answered. */
  #hear(name: string, asking: Asking, error: unknown): void {
    const outage = this.#running.get(name)?.outage;
    if (error === null) outage?.answered(asking);
    else outage?.failed(asking, error);
  }

  /** Takes what the store has had at a revision. */
  #see(name: string, seen: Seen, revision: number): void {
    const running = this.#running.get(name);
    if (running === undefined) return;
    const isFirst = running.seen === null;
    running.seen = seen;
    const { held } = running.actor.getSnapshot().context;
    const own = seen.claims.filter(({ subnet, lease }) => held?.subnets.includes(subnet) && lease === held.lease);
    if (held !== null && revision >= held.revision && own.length < held.subnets.length)
      running.actor.send({ type: 'dispossessed' });
    this.#compare(name, seen, isFirst);
    this.#parts.setNames(name, remoteNames(seen, running.actor.getSnapshot().context.host));
  }

  /** Gives the machine the peers, if they are others than it knows. After a start those in the kernel are of an earlier daemon. */
  #compare(name: string, seen: Seen, always = false): void {
    const running = this.#running.get(name);
    if (running === undefined) return;
    const { shared, held, host, subnets, peers: known } = running.actor.getSnapshot().context;
    const mine = [...new Set([...subnets, ...(held?.subnets ?? []), ...running.settled])];
    const { pools, backend } = shared;
    const { peers, refused } = peersOf(seen, { pools, mine, host, keyed: backend === 'wireguard' });
    this.#tellRefused(running, new Map([...seen.refused, ...refused]));
    if (always || JSON.stringify(peers) !== JSON.stringify(known)) running.actor.send({ type: 'peers', peers });
  }

  #meet(name: string, peers: readonly Peer[]): void {
    const running = this.#running.get(name);
    if (running !== undefined) running.peers = peers;
    if (!this.#parts.definitions.byName.has(name)) return; // it is being removed: a list would stay on disk
    this.#parts.setPeers(name, peers).catch((error: unknown) => this.#parts.failed(`peers of network ${name}`, error));
  }

  /** Says once of each key that it is refused. */
  #tellRefused(running: Running, refused: Map<string, string>): void {
    for (const [key, why] of refused) {
      if (running.refused.get(key) === why) continue;
      this.#parts.failed('etcd', new FaultError('UNREADABLE_STATE', `${key} in etcd is left out: ${why}`));
    }
    running.refused = refused;
  }

  #tellRecorded(): void {
    for (const [name, { actor }] of this.#running) {
      const subnets = this.#parts.definitions.byName.get(name)?.subnets.map(({ subnet }) => subnet);
      if (subnets === undefined || subnets.join() === actor.getSnapshot().context.subnets.join()) continue;
      actor.send({ type: 'recorded', subnets });
    }
  }
}

/** What all hosts agree on, of the overlay in a definition. */
export function sharedOf({ mac: _mac, address: _address, public_key: _key, ...shared }: Overlay): OverlayShared {
  return shared;
}

function noStore(): never {
  throw new FaultError('NO_STORE', 'overlay networks need etcd, and the daemon was started without --etcd');
}
