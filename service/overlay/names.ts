/**
 * Names over hosts: writes those of the containers here into the store, and makes of those that are there what the resolver takes.
 *
 * Guarantees: a key per container, with the lease of this host's share, so that they go with the host. Changes within a moment are
 * one write; what cannot be written now is written later, as it is then. Of a name that another host has written, only addresses of
 * that host's share count. No host has more than MOST containers on a network, as no bridge has more ports.
 * Limits: names of containers in the daemon's own outside. A name here is answered when its event is; elsewhere a moment later.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Operation, Store } from '../../effects/etcd/store.ts';
import { contains, parseSubnet } from '../../plan/addresses/address.ts';
import type { Names, RemoteEntry } from '../../plan/names/names.ts';
import { namesKey } from '../../plan/overlay/keys.ts';
import type { Seen } from '../../plan/overlay/peers.ts';
import { containerIdOf } from '../../plan/owner.ts';

const TOGETHER_MS = 10;
const AGAIN_MS = 1000;
/** Operations of one transaction; etcd takes 128. */
const BATCH = 100;
const MOST = 1024;
/** Names of one container. */
const MOST_NAMES = 64;

interface Published {
  /** What was written ends with this lease. */
  lease: string;
  /** Values by key. */
  entries: Map<string, string>;
}

export interface NameParts {
  store: Store;
  /** The networks, with the id of this host and its lease; null while it holds no share of one. */
  networks: () => Map<string, { host: string; lease: string } | null>;
  /** The names of the containers here. */
  names: () => Names;
  failed: (what: string, error: unknown) => void;
}

export class NamePublisher {
  readonly #parts: NameParts;
  readonly #published = new Map<string, Published>();
  #over = false;
  #wanted = false;
  #runs = false;

  constructor(parts: NameParts) {
    this.#parts = parts;
  }

  /** Names, or the lease of a share, may have changed. */
  changed(): void {
    this.#wanted = true;
    if (!this.#runs) void this.#run();
  }

  close(): void {
    this.#over = true;
  }

  async #run(): Promise<void> {
    this.#runs = true;
    let told = false;
    while (this.#wanted && !this.#over) {
      await delay(TOGETHER_MS);
      this.#wanted = false;
      try {
        for (const [network, holding] of this.#parts.networks()) await this.#publish(network, holding);
        told = false;
      } catch (error) {
        if (!told) this.#parts.failed('names for other hosts', error);
        told = true;
        this.#wanted = true;
        await delay(AGAIN_MS, undefined, { ref: false });
      }
    }
    this.#runs = false;
  }

  async #publish(network: string, holding: { host: string; lease: string } | null): Promise<void> {
    if (holding === null) return void this.#published.delete(network);
    const { host, lease } = holding;
    const before = this.#published.get(network);
    const known: Published = before?.lease === lease ? before : { lease, entries: new Map() };
    this.#published.set(network, known);
    const wanted = wantedKeys(this.#parts.names(), network, host);
    const operations: Operation[] = [
      ...[...wanted].flatMap(([put, value]) => (known.entries.get(put) === value ? [] : [{ put, value, lease }])),
      ...[...known.entries.keys()].flatMap((key) => (wanted.has(key) ? [] : [{ delete: key }])),
    ];
    for (let at = 0; at < operations.length; at += BATCH) {
      const batch = operations.slice(at, at + BATCH);
      await this.#parts.store.transaction([], batch);
      for (const one of batch) {
        if ('put' in one) known.entries.set(one.put, one.value);
        else known.entries.delete(one.delete);
      }
    }
  }
}

function wantedKeys(names: Names, network: string, host: string): Map<string, string> {
  const wanted = new Map<string, string>();
  for (const [owner, entries] of Object.entries(names)) {
    const entry = entries.find((one) => one.network === network);
    if (entry === undefined || entry.addresses.length === 0 || wanted.size >= MOST) continue;
    const id = containerIdOf(owner);
    const value = { id, addresses: entry.addresses, names: entry.names.slice(0, MOST_NAMES) };
    wanted.set(namesKey(network, host, id), JSON.stringify(value));
  }
  return wanted;
}

/** Returns the names of other hosts' containers, as the resolver takes them. */
export function remoteNames({ names, claims }: Seen, own: string): RemoteEntry[] {
  const shares = new Map<string, ReturnType<typeof parseSubnet>[]>();
  for (const { subnet, claim } of claims) {
    if (claim === null) continue;
    shares.set(claim.host, [...(shares.get(claim.host) ?? []), parseSubnet(subnet)]);
  }
  const counts = new Map<string, number>();
  return [...names.values()]
    .toSorted((a, b) => (`${a.host} ${a.names.id}` < `${b.host} ${b.names.id}` ? -1 : 1))
    .flatMap(({ host, names: { id, addresses, names: called } }) => {
      const mine = shares.get(host) ?? [];
      const count = (counts.get(host) ?? 0) + 1;
      counts.set(host, count);
      const its = addresses.filter((address) => mine.some((share) => contains(share, address)));
      if (host === own || its.length === 0 || count > MOST) return [];
      return [{ owner: `${id}@${host.slice(0, 12)}`, addresses: its, names: called }];
    });
}
