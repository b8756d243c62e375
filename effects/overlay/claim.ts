/**
 * Claims shares of an overlay in the store, and gives them back.
 *
 * Guarantees: a share has one claim, because a claim is written only where there is none (a transaction that compares), or where
 * the one there is ours, from a daemon that ran in this very place. Another life of this host, before a reboot or on another
 * machine, has to end first; if it renews its claim, this host is a copy. What all hosts agree on is compared in the same
 * transaction. A claim that was written although its answer was lost is recognised by its lease.
 * A claim costs as much however many hosts there are: first the shares that this host had are read, then those where its search begins,
 * and all that rest only when these are taken. What a transaction that came too late finds is its answer, so nothing is read again.
 * Limits: leases of claims that came to nothing end by themselves. Shares of an earlier overlay of this name that had another size, and
 * still rest, are seen only where all rests are read; a claim without a rest, which cleat does not write, is seen when it is in the way.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { ClaimInput, ClaimOutput, Held, ReleaseInput } from '../../machines/overlay.ts';
import { vtepMac } from '../../plan/addresses/mac.ts';
import { overlaps, parseSubnet } from '../../plan/addresses/address.ts';
import { givenBackTtl, restTtl, timesOf } from '../../plan/overlay/fence.ts';
import { claimKey, claimsOf, restKey, restsOf, sharedKey } from '../../plan/overlay/keys.ts';
import type { Claimed, Seen } from '../../plan/overlay/peers.ts';
import { areShares, chooseNearby, chooseShares, nearbyShares, shareCount } from '../../plan/overlay/shares.ts';
import { FaultError } from '../../state/faults.ts';
import type { Claim, OverlayShared } from '../../state/overlay.ts';
import { newLease, type Entry, type Store } from '../etcd/store.ts';
import { seconds } from './clock.ts';

/** How often a claim is tried that others were faster with. */
const ATTEMPTS = 16;
/** Keys of each kind that are read together; etcd takes 128 operations in a transaction. */
const MOST_READ = 60;
/** Between two looks at the lease of an earlier life. */
const LOOK_MS = 500;

export interface ClaimParts {
  store: Store;
  /** Reads entries of the store with the schemas of state/. */
  read: (network: string, entries: Iterable<Entry>) => Seen;
  /** Null: the text is nothing of the kind. */
  readShared: (text: string) => OverlayShared | null;
  /** Seconds of the lease of a claim. */
  ttl: number;
  /** Where this daemon runs: the boot of the machine, the namespace, and the instance. */
  place: string;
  /** The address at which other hosts reach this one. */
  address: string;
  /** Returns what else a claim says of this host: its public key, if the backend is WireGuard. */
  more?: (shared: OverlayShared, host: string) => Pick<Claim, 'public_key'>;
}

export class Claims {
  readonly #parts: ClaimParts;

  constructor(parts: ClaimParts) {
    this.#parts = parts;
  }

  async claim({ shared, host, subnets }: ClaimInput, signal: AbortSignal): Promise<ClaimOutput> {
    const { place, ttl } = this.#parts;
    let scope: Scope = subnets.length > 0 ? 'own' : 'nearby';
    let known = await this.#look(scope, shared, host, subnets);
    let leases: Leases | null = null;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      signal.throwIfAborted();
      const modified = await this.#agreed(shared, known.entries.get(sharedKey(shared.name)) ?? null);
      const seen = this.#parts.read(shared.name, known.entries.values());
      const mine = ours(seen, host, subnets, place);
      const strange = mine.filter(({ claim }) => claim?.place !== place);
      if (strange.length > 0) {
        if (!(await this.#ends(strange, signal))) return { copied: true };
        known = await this.#look(scope, shared, host, subnets);
        continue;
      }
      const wanted = wantedOf(shared, seen, { host, subnets, mine, scope });
      if (wanted === null) {
        if (scope === 'all' && known.isFresh) throw await this.#noneLeft(shared, seen);
        // It is not one of the attempts to look further.
        if (scope !== 'all') attempt--;
        scope = scope === 'own' ? 'nearby' : 'all';
        // A claim that has no rest is somebody's by hand: who has met it does not forget it.
        const met = [...known.entries.keys()].filter((key) => key.startsWith(claimsOf(shared.name)));
        known = await this.#look(scope, shared, host, subnets, met.slice(0, MOST_READ));
        continue;
      }
      if (leases === null || seconds() > timesOf({ ttl, provenAt: leases.provenAt }).renewAt)
        leases = await this.#lease();
      const result = await this.#write(shared, modified, { wanted, seen, mine, host, leases });
      if ('held' in result) return result;
      for (const key of result.keys) known.entries.delete(key);
      for (const entry of result.entries) known.entries.set(entry.key, entry);
      known.isFresh = false;
    }
    throw new FaultError(
      'STORE_UNREACHABLE',
      `other hosts were faster, ${ATTEMPTS} times, at claiming a share of ${shared.name}`,
    );
  }

  /** Ends the claim, and leaves the share at rest. Removes what was agreed on after the last host. */
  async release({ network, held }: ReleaseInput): Promise<void> {
    const { store, ttl } = this.#parts;
    if (held !== null) {
      const rest = newLease();
      await store.grant(rest, givenBackTtl(ttl));
      const keys = held.subnets.map((subnet) => restKey(network, subnet));
      const seen = await store.list(restsOf(network));
      const kept = seen.entries.filter(({ key, lease }) => keys.includes(key) && lease === held.restLease);
      await store.transaction(
        kept.map(({ key, modified }) => ({ key, modified })),
        kept.map(({ key, value }) => ({ put: key, value, lease: rest })),
      );
      await store.revoke(held.lease);
      await store.revoke(held.restLease);
    }
    await this.forgetUnused(network);
  }

  /** Removes what was agreed on about an overlay if no host has a share of it. */
  async forgetUnused(network: string): Promise<void> {
    await this.#parts.store.transaction(
      [{ key: claimsOf(network), modified: 0, prefix: true }],
      [{ delete: sharedKey(network) }],
    );
  }

  /** Returns what all hosts agree on, as it is in the store; null if there is no such overlay. */
  async shared(network: string): Promise<OverlayShared | null> {
    const entry = await this.#parts.store.get(sharedKey(network));
    return entry === null ? null : this.#readShared(network, entry);
  }

  #readShared(network: string, { key, value }: Entry): OverlayShared {
    const shared = this.#parts.readShared(value);
    if (shared?.name === network) return shared;
    throw new FaultError(
      'OVERLAY_DIFFERS',
      `${key} in etcd is damaged: remove it, and a host that knows the overlay writes it again`,
    );
  }

  /** Resolves with the revision at which all hosts agree with this one, and writes what they agree on if nobody has. */
  async #agreed(mine: OverlayShared, seen: Entry | null): Promise<number> {
    const { store } = this.#parts;
    const key = sharedKey(mine.name);
    let entry = seen;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (entry !== null) {
        const theirs = this.#readShared(mine.name, entry);
        if (theirs.id === mine.id) return entry.modified;
        const message = `etcd has another overlay ${mine.name} than this host: it was made anew (${theirs.id.slice(0, 12)})`;
        throw new FaultError('OVERLAY_DIFFERS', message);
      }
      const put = { put: key, value: JSON.stringify(mine) };
      const { revision, entries } = await store.attempt([{ key, modified: 0 }], [put], [key]);
      if (revision !== null) return revision;
      entry = entries[0] ?? null;
    }
    throw new FaultError('STORE_UNREACHABLE', `what is agreed on about ${mine.name} comes and goes in etcd`);
  }

  /** Reads what is agreed on, and the claims and rests of the shares in question. */
  async #look(
    scope: Scope,
    shared: OverlayShared,
    host: string,
    subnets: readonly string[],
    met: readonly string[] = [],
  ): Promise<Known> {
    const { store } = this.#parts;
    const { name } = shared;
    const entries =
      scope === 'all'
        ? await this.#all(name, host, met)
        : await store.read([sharedKey(name), ...keysOf(name, scope === 'own' ? subnets : nearbyShares(shared, host))]);
    return { entries: new Map(entries.map((entry) => [entry.key, entry])), isFresh: true };
  }

  /** A rest is written with each claim and outlives it, so that rests alone say which shares are not free. They are a third of the bytes. */
  async #all(name: string, host: string, met: readonly string[]): Promise<Entry[]> {
    const { store } = this.#parts;
    const rests = await store.list(restsOf(name));
    const mine = rests.entries.filter(({ value }) => value === host).slice(0, MOST_READ);
    const claims = mine.map(({ key }) => `${claimsOf(name)}${key.slice(restsOf(name).length)}`);
    const keys = new Set([sharedKey(name), ...claims, ...met]);
    return [...(await store.read([...keys])), ...rests.entries];
  }

  /** Makes the leases of a claim. */
  async #lease(): Promise<Leases> {
    const { store, ttl } = this.#parts;
    const leases = { lease: newLease(), restLease: newLease(), provenAt: seconds() };
    await Promise.all([store.grant(leases.lease, ttl), store.grant(leases.restLease, restTtl(ttl))]);
    return leases;
  }

  /** Resolves with true when the claims of an earlier life have ended, with false if somebody renews them. */
  async #ends(claims: readonly Claimed[], signal: AbortSignal): Promise<boolean> {
    for (const { lease } of claims) {
      let before: number | null = null;
      for (let renewals = 0; ;) {
        const now = await this.#parts.store.remaining(lease);
        if (now === null) break;
        // One may be a new leader of etcd, which begins all leases anew.
        if (before !== null && now.left > before && ++renewals > 1) return false;
        before = now.left;
        await delay(LOOK_MS, undefined, { signal });
      }
    }
    return true;
  }

  async #noneLeft(shared: OverlayShared, { rests }: Seen): Promise<FaultError> {
    const held = await this.#parts.store.count(claimsOf(shared.name));
    const message =
      `no share is left for this host in ${shared.pools.join(', ')}: of ${shareCount(shared)}, ` +
      `${held} are held, and ${Math.max(0, rests.length - held)} rest`;
    return new FaultError('NO_SHARE_LEFT', message);
  }

  /** Writes the claim. If something has changed since it was looked at, resolves with what is there. */
  async #write(
    shared: OverlayShared,
    modified: number,
    { wanted, seen, mine, host, leases }: Attempt,
  ): Promise<{ held: Held } | { keys: string[]; entries: Entry[] }> {
    const { store, place, address } = this.#parts;
    const { name, id } = shared;
    const more = this.#parts.more?.(shared, host) ?? {};
    const before = new Map(mine.map((one) => [one.subnet, one]));
    const generation = Math.max(0, ...mine.map(({ claim }) => claim?.generation ?? 0)) + 1;
    const claim: Claim = { host, address, mac: vtepMac(id, host), ...more, generation, place };
    const rests = new Map(seen.rests.map((rest) => [rest.subnet, rest.modified]));
    const { lease, restLease } = leases;
    const keys = [sharedKey(name), ...keysOf(name, wanted)];
    const { revision, entries } = await store.attempt(
      [
        { key: sharedKey(name), modified },
        ...wanted.flatMap((subnet) => [
          { key: claimKey(name, subnet), modified: before.get(subnet)?.modified ?? 0 },
          { key: restKey(name, subnet), modified: rests.get(subnet) ?? 0 },
        ]),
      ],
      wanted.flatMap((subnet) => [
        { put: claimKey(name, subnet), value: JSON.stringify(claim), lease },
        { put: restKey(name, subnet), value: host, lease: restLease },
      ]),
      keys,
    );
    if (revision !== null) return { held: { subnets: wanted, ...leases, revision } };
    // The first answer was lost, and the same transaction was sent again.
    const there = entries.find(({ key, lease: its }) => its === lease && key.startsWith(claimsOf(name)));
    if (there !== undefined) return { held: { subnets: wanted, ...leases, revision: there.modified } };
    return { keys, entries };
  }
}

/** The shares that are looked at: those that this host had, those where its search begins, or all. */
type Scope = 'own' | 'nearby' | 'all';

/** Holds what is known of the store. `isFresh`: all was read at one moment, and no attempt has failed since. */
interface Known {
  entries: Map<string, Entry>;
  isFresh: boolean;
}

type Leases = Pick<Held, 'lease' | 'restLease' | 'provenAt'>;

interface Attempt {
  wanted: readonly string[];
  seen: Seen;
  mine: readonly Claimed[];
  host: string;
  leases: Leases;
}

const keysOf = (name: string, subnets: readonly string[]): string[] =>
  subnets.flatMap((subnet) => [claimKey(name, subnet), restKey(name, subnet)]);

/** The claims of this host to the shares that it has; without any, those that a daemon here has left before it had recorded them. */
function ours({ claims }: Seen, host: string, subnets: readonly string[], place: string): Claimed[] {
  const all = claims.filter(({ claim }) => claim?.host === host);
  return subnets.length > 0
    ? all.filter(({ subnet }) => subnets.includes(subnet))
    : all.filter(({ claim }) => claim?.place === place);
}

/** Returns the shares to claim; null if none of those that were looked at is free. */
function wantedOf(
  shared: OverlayShared,
  { claims, rests }: Seen,
  { host, subnets, mine, scope }: { host: string; subnets: readonly string[]; mine: readonly Claimed[]; scope: Scope },
): readonly string[] | null {
  const others = [
    ...claims.filter((one) => !mine.includes(one)).map(({ subnet }) => subnet),
    ...rests.filter((rest) => rest.host !== host).map(({ subnet }) => subnet),
  ];
  const taken = others.map(parseSubnet);
  const own = subnets.length > 0 ? subnets : mine.map(({ subnet }) => subnet);
  const isFree = own.every((subnet) => !taken.some((other) => overlaps(other, parseSubnet(subnet))));
  const isLookedAt = subnets.length === 0 || scope !== 'nearby';
  if (isLookedAt && isFree && areShares(shared, own)) return own;
  if (scope === 'own') return null;
  // A share of ours that rests, of another network's life, is left alone: it may still be on other hosts.
  const used = [...others, ...rests.map(({ subnet }) => subnet)];
  return scope === 'nearby' ? chooseNearby(shared, used, host) : chooseShares(shared, used, host, Math.random());
}
