/**
 * Claims shares of an overlay in the store, and gives them back.
 *
 * Guarantees: a share has one claim, because a claim is written only where there is none (a transaction that compares), or where
 * the one there is ours, from a daemon that ran in this very place. Another life of this host, before a reboot or on another
 * machine, has to end first; if it renews its claim, this host is a copy. What all hosts agree on is compared in the same
 * transaction. A claim that was written although its answer was lost is recognised by its lease.
 * Limits: leases of claims that came to nothing end by themselves.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { ClaimInput, ClaimOutput, ReleaseInput } from '../../machines/overlay.ts';
import { vtepMac } from '../../plan/addresses/mac.ts';
import { overlaps, parseSubnet } from '../../plan/addresses/address.ts';
import { givenBackTtl, restTtl } from '../../plan/overlay/fence.ts';
import { claimKey, claimsOf, restKey, restsOf, sharedKey } from '../../plan/overlay/keys.ts';
import type { Claimed, Seen } from '../../plan/overlay/peers.ts';
import { areShares, chooseShares, shareCount } from '../../plan/overlay/shares.ts';
import { FaultError } from '../../state/faults.ts';
import type { Claim, OverlayShared } from '../../state/overlay.ts';
import { newLease, type Entry, type Store } from '../etcd/store.ts';
import { seconds } from './clock.ts';

/** How often a claim is tried that others were faster with. */
const ATTEMPTS = 16;
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
  /** What else a claim says of this host, by the backend. */
  more?: (shared: OverlayShared, host: string) => Pick<Claim, 'public_key'>;
}

export class Claims {
  readonly #parts: ClaimParts;

  constructor(parts: ClaimParts) {
    this.#parts = parts;
  }

  async claim({ shared, host, subnets }: ClaimInput, signal: AbortSignal): Promise<ClaimOutput> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      signal.throwIfAborted();
      const modified = await this.#agreed(shared);
      const seen = await this.#look(shared.name);
      const mine = ours(seen, host, subnets, this.#parts.place);
      const strange = mine.filter(({ claim }) => claim?.place !== this.#parts.place);
      if (strange.length > 0) {
        if (!(await this.#ends(strange, signal))) return { copied: true };
        continue;
      }
      const wanted = wantedOf(shared, seen, host, subnets, mine);
      const held = await this.#write(shared, modified, wanted, seen, mine, host);
      if (held !== null) return { held };
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
    return (await this.#shared(network))?.shared ?? null;
  }

  async #shared(network: string): Promise<{ shared: OverlayShared; modified: number } | null> {
    const key = sharedKey(network);
    const entry = await this.#parts.store.get(key);
    if (entry === null) return null;
    const shared = this.#parts.readShared(entry.value);
    if (shared?.name !== network)
      throw new FaultError(
        'OVERLAY_DIFFERS',
        `${key} in etcd is damaged: remove it, and a host that knows the overlay writes it again`,
      );
    return { shared, modified: entry.modified };
  }

  /** Resolves with the revision at which all hosts agree with this one, and writes what they agree on if nobody has. */
  async #agreed(mine: OverlayShared): Promise<number> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const theirs = await this.#shared(mine.name);
      if (theirs !== null) {
        if (theirs.shared.id === mine.id) return theirs.modified;
        const message = `etcd has another overlay ${mine.name} than this host: it was made anew (${theirs.shared.id.slice(0, 12)})`;
        throw new FaultError('OVERLAY_DIFFERS', message);
      }
      const key = sharedKey(mine.name);
      await this.#parts.store.transaction([{ key, modified: 0 }], [{ put: key, value: JSON.stringify(mine) }]);
    }
    throw new FaultError('STORE_UNREACHABLE', `what is agreed on about ${mine.name} comes and goes in etcd`);
  }

  async #look(name: string): Promise<Seen> {
    const { store, read } = this.#parts;
    const [claims, rests] = await Promise.all([store.list(claimsOf(name)), store.list(restsOf(name))]);
    return read(name, [...claims.entries, ...rests.entries]);
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

  /** Writes the claim. Resolves with null if something has changed since it was looked at. */
  async #write(
    shared: OverlayShared,
    modified: number,
    wanted: readonly string[],
    seen: Seen,
    mine: readonly Claimed[],
    host: string,
  ) {
    const { store, ttl, place, address } = this.#parts;
    const { name, id } = shared;
    const more = this.#parts.more?.(shared, host) ?? {};
    const [lease, restLease] = [newLease(), newLease()];
    const provenAt = seconds();
    await Promise.all([store.grant(lease, ttl), store.grant(restLease, restTtl(ttl))]);
    const before = new Map(mine.map((one) => [one.subnet, one]));
    const generation = Math.max(0, ...mine.map(({ claim }) => claim?.generation ?? 0)) + 1;
    const claim: Claim = { host, address, mac: vtepMac(id, host), ...more, generation, place };
    const rests = new Map(seen.rests.map((rest) => [rest.subnet, rest.modified]));
    const written = await store.transaction(
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
    );
    const held = { subnets: wanted, lease, restLease, provenAt };
    if (written !== null) return { ...held, revision: written };
    const [first = ''] = wanted;
    const there = await store.get(claimKey(name, first));
    // The first answer was lost, and the same transaction was sent again.
    if (there?.lease === lease) return { ...held, revision: there.modified };
    await Promise.allSettled([store.revoke(lease), store.revoke(restLease)]);
    return null;
  }
}

/** The claims of this host to the shares that it has; without any, those that a daemon here has left before it had recorded them. */
function ours({ claims }: Seen, host: string, subnets: readonly string[], place: string): Claimed[] {
  const all = claims.filter(({ claim }) => claim?.host === host);
  return subnets.length > 0
    ? all.filter(({ subnet }) => subnets.includes(subnet))
    : all.filter(({ claim }) => claim?.place === place);
}

function wantedOf(
  shared: OverlayShared,
  { claims, rests }: Seen,
  host: string,
  subnets: readonly string[],
  mine: readonly Claimed[],
): readonly string[] {
  const others = [
    ...claims.filter((one) => !mine.includes(one)).map(({ subnet }) => subnet),
    ...rests.filter((rest) => rest.host !== host).map(({ subnet }) => subnet),
  ];
  const own = subnets.length > 0 ? subnets : mine.map(({ subnet }) => subnet);
  const taken = others.map(parseSubnet);
  const isFree = own.every((subnet) => !taken.some((other) => overlaps(other, parseSubnet(subnet))));
  if (isFree && areShares(shared, own)) return own;
  // A share of ours that rests, of another network's life, is left alone: it may still be on other hosts.
  const chosen = chooseShares(shared, [...others, ...rests.map(({ subnet }) => subnet)], host);
  if (chosen !== null) return chosen;
  const resting = rests.filter((rest) => !claims.some(({ subnet }) => subnet === rest.subnet)).length;
  const message =
    `no share is left for this host in ${shared.pools.join(', ')}: of ${shareCount(shared)}, ` +
    `${claims.length} are held, and ${resting} rest`;
  throw new FaultError('NO_SHARE_LEFT', message);
}
