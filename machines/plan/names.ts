/**
 * Who answers to which name: from a container to its entries in the resolver, and from all entries to zones.
 *
 * Guarantees: pure; every name is one that DNS can carry and is written as the resolver compares (lower case), each once.
 * All entries of a network agree on where it listens and whom it asks. What a container is called (id, name, pod) never
 * takes the place of a name of the world for its neighbours: with a dot in it, it is no name in DNS. Nobody answers to a
 * name that means the asker's own host.
 * Limits: aliases and a hostname that were asked for may have dots, as with Docker and Podman (docs/decisions/0019): the
 * resolver looks them up before it asks the world. A single label is never a public name (RFC 7085: no top-level domain has addresses).
 */
import type { Attachment, ContainerContext } from '../../state/container.ts';

/** One container on one network, as the resolver has to know it. */
export interface NameEntry {
  network: string;
  internal: boolean;
  /** Gateway addresses of the network: there its containers ask. */
  listen: readonly string[];
  /** Who is asked about the rest of the world; none: whom the host asks. */
  servers: readonly string[];
  addresses: readonly string[];
  names: readonly string[];
  /** Path of the container's namespace: from there it is tried out. */
  netns: string;
}

/** By owner. */
export type Names = Readonly<Record<string, readonly NameEntry[]>>;

export interface Zone {
  network: string;
  internal: boolean;
  listen: readonly string[];
  servers: readonly string[];
  entries: readonly { owner: string; addresses: readonly string[]; names: readonly string[] }[];
}

/** RFC 1035 lengths, with the underscore that names of containers have; no "-" in front. */
const NAME = /^(?=.{1,253}$)[a-z0-9_][a-z0-9_-]{0,62}(\.[a-z0-9_][a-z0-9_-]{0,62})*$/;

export function dnsNames(names: readonly string[]): string[] {
  return [...new Set(names.map((name) => name.toLowerCase()))].filter((name) => NAME.test(name) && !isReserved(name));
}

/** Names of the asker's own host, besides localhost: of hosts files (Debian, Red Hat, macOS), and those that engines write into them. */
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

/** RFC 6761, 6.3: localhost and all below it. Docker and Podman have the host's names below the other two. */
const RESERVED_DOMAINS = ['localhost', 'docker.internal', 'containers.internal'];

/** Whether a name means the asker's own host, so that no container can have it. */
export function isReserved(name: string): boolean {
  const lower = name.toLowerCase();
  return RESERVED.has(lower) || RESERVED_DOMAINS.some((domain) => lower === domain || lower.endsWith(`.${domain}`));
}

/** Keeps those of a container's own names that its neighbours may look up. */
export const ownNames = (names: readonly string[]): string[] => names.filter((name) => !name.includes('.'));

/** Entries of these attachments. None for a network without DNS, or for a container without a namespace of its own. */
export function nameEntries(
  context: Pick<ContainerContext, 'name' | 'pod' | 'netns'>,
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
        netns: netns.path,
      },
    ];
  });
}

/** With these entries of the owner; what they say of their networks holds for everybody there. */
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

/** Every entry of the network with these terms. */
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

/** What the network's entries agree on, null when it has none. */
export function termsOf(names: Names, network: string): Required<Terms> | null {
  for (const entries of Object.values(names)) {
    const entry = entries.find((each) => each.network === network);
    if (entry !== undefined) return { internal: entry.internal, listen: entry.listen, servers: entry.servers };
  }
  return null;
}

/** Sorted: the same names make the same files. */
export function zonesOf(names: Names): Zone[] {
  const zones = new Map<string, Zone & { entries: Zone['entries'][number][] }>();
  for (const owner of Object.keys(names).sort()) {
    for (const { network, internal, listen, servers, addresses, names: own } of names[owner] ?? []) {
      const zone = zones.get(network) ?? { network, internal, listen, servers, entries: [] };
      zone.entries.push({ owner, addresses, names: own });
      zones.set(network, zone);
    }
  }
  return [...zones.keys()].sort().flatMap((network) => zones.get(network) ?? []);
}
