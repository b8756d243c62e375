/**
 * Names in DNS: turns a container into its entries in the resolver, and all entries into zones.
 *
 * Guarantees: pure; every name is valid in DNS and in lower case, as the resolver compares it, each once. All entries of a
 * network agree on its listening addresses and servers. A container's id, name or pod never hides a public name from its
 * neighbours: if it contains a dot, it is not in DNS. No container gets a name that means the client's own host.
 * Limits: requested aliases and hostnames may have dots, as with Docker and Podman (docs/decisions/0019): the resolver looks
 * them up before it forwards a query. A single label is never a public name (RFC 7085: no top-level domain has addresses).
 */
import type { Attachment, ContainerContext } from '../../state/container.ts';

/** The entry of one container on one network in the resolver. */
export interface NameEntry {
  network: string;
  internal: boolean;
  /** Gateway addresses of the network, which its containers query. */
  listen: readonly string[];
  /** The servers that other queries are forwarded to; if empty, the host's. */
  servers: readonly string[];
  addresses: readonly string[];
  names: readonly string[];
  /** The servers that this container's other queries are forwarded to, instead of the network's. */
  own?: readonly string[];
  /** Path of the container's namespace; the names are verified from there. */
  netns: string;
}

/** Entries by owner. */
export type Names = Readonly<Record<string, readonly NameEntry[]>>;

export interface Zone {
  network: string;
  internal: boolean;
  listen: readonly string[];
  servers: readonly string[];
  entries: readonly ({ owner: string } & Pick<NameEntry, 'addresses' | 'names' | 'own'>)[];
}

/** RFC 1035 lengths, with the underscore that container names may have; no "-" at the start. */
const NAME = /^(?=.{1,253}$)[a-z0-9_][a-z0-9_-]{0,62}(\.[a-z0-9_][a-z0-9_-]{0,62})*$/;

export function dnsNames(names: readonly string[]): string[] {
  return [...new Set(names.map((name) => name.toLowerCase()))].filter((name) => NAME.test(name) && !isReserved(name));
}

/**
 * Names of the client's own host besides localhost: those in the hosts files of Debian, Red Hat and macOS, and those that
 * engines write there.
 */
const RESERVED = new Set([
  'localhost4',
  'localhost6',
  'localhost4.localdomain4',
  'localhost6.localdomain6',
  'localhost.localdomain',
  'localdomain',
  'broadcasthost',
  'ip6-localhost',
  'ip6-loopback',
  'ip6-localnet',
  'ip6-mcastprefix',
  'ip6-allnodes',
  'ip6-allrouters',
  'ip6-allhosts',
]);

/** RFC 6761, 6.3: localhost and all names below it. Docker and Podman have the host's names below the other two. */
const RESERVED_DOMAINS = ['localhost', 'docker.internal', 'containers.internal'];

/** Returns true if a name means the client's own host, so that no container can have it. */
export function isReserved(name: string): boolean {
  const lower = name.toLowerCase();
  return RESERVED.has(lower) || RESERVED_DOMAINS.some((domain) => lower === domain || lower.endsWith(`.${domain}`));
}

/** Returns those of a container's own names that its neighbours may look up. */
export const ownNames = (names: readonly string[]): string[] => names.filter((name) => !name.includes('.'));

/**
 * Returns the entries of these attachments; none for a network without DNS, or for a container without a namespace of its own.
 */
export function nameEntries(
  context: Pick<ContainerContext, 'name' | 'pod' | 'netns' | 'dnsServers'>,
  attachments: readonly Attachment[],
): NameEntry[] {
  const { netns } = context;
  if (netns === null) return [];
  return attachments.flatMap(({ network, internal, dns, addresses, aliases }) => {
    const names = dnsNames([...ownNames([context.pod ?? context.name]), ...aliases]);
    if (dns === null || names.length === 0) return [];
    return [
      {
        network,
        internal,
        listen: dns.listen,
        servers: dns.servers,
        addresses: addresses.map(({ address }) => address),
        names,
        ...(context.dnsServers === undefined ? {} : { own: context.dnsServers }),
        netns: netns.path,
      },
    ];
  });
}

/** Adds the owner's entries. Their terms apply to all entries of their networks. */
export function withEntries(names: Names, owner: string, entries: readonly NameEntry[]): Names {
  const networks = new Set(entries.map(({ network }) => network));
  const kept = (names[owner] ?? []).filter(({ network }) => !networks.has(network));
  const all = { ...names, [owner]: [...kept, ...entries] };
  return entries.reduce<Names>(
    (now, { network, internal, listen, servers }) => agreed(now, network, { internal, listen, servers }),
    all,
  );
}

export function withoutNetworks(names: Names, owner: string, networks: readonly string[]): Names {
  const { [owner]: held = [], ...others } = names;
  const kept = held.filter(({ network }) => !networks.includes(network));
  return kept.length > 0 ? { ...others, [owner]: kept } : others;
}

type Terms = Partial<Pick<NameEntry, 'internal' | 'listen' | 'servers'>>;

/** Returns the names with these terms in every entry of the network. */
export function agreed(names: Names, network: string, terms: Terms): Names {
  const differs = (entry: NameEntry) =>
    entry.network === network &&
    Object.entries(terms).some(([key, value]) => String(entry[key as keyof Terms]) !== String(value));
  if (!Object.values(names).some((entries) => entries.some(differs))) return names;
  return Object.fromEntries(
    Object.entries(names).map(([owner, entries]) => [
      owner,
      entries.map((entry) => (differs(entry) ? { ...entry, ...terms } : entry)),
    ]),
  );
}

/** Returns the terms that the network's entries agree on; null if it has none. */
export function termsOf(names: Names, network: string): Required<Terms> | null {
  for (const entries of Object.values(names)) {
    const entry = entries.find((each) => each.network === network);
    if (entry !== undefined) return { internal: entry.internal, listen: entry.listen, servers: entry.servers };
  }
  return null;
}

/** The names that other hosts answer for, by network. */
export type RemoteZones = Readonly<Record<string, readonly RemoteEntry[]>>;
export interface RemoteEntry {
  /** Names the container among those of all hosts. */
  owner: string;
  addresses: readonly string[];
  names: readonly string[];
}

/**
 * Returns the zones, sorted: the same names make the same files. Names of other hosts are in the zones that this one has: where
 * no container of ours is, nobody asks.
 */
export function zonesOf(names: Names, remote: RemoteZones = {}): Zone[] {
  const zones = new Map<string, Zone & { entries: Zone['entries'][number][] }>();
  for (const owner of Object.keys(names).sort()) {
    for (const { network, internal, listen, servers, addresses, names: called, own } of names[owner] ?? []) {
      const zone = zones.get(network) ?? { network, internal, listen, servers, entries: [] };
      zone.entries.push({ owner, addresses, names: called, ...(own === undefined ? {} : { own }) });
      zones.set(network, zone);
    }
  }
  for (const [network, zone] of zones) zone.entries.push(...(remote[network] ?? []));
  return [...zones.keys()].sort().flatMap((network) => zones.get(network) ?? []);
}
