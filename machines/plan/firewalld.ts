/**
 * Which bridges firewalld has in which zone, and what has to change so that those of networks are in its zone `trusted`.
 *
 * Guarantees: pure. A bridge that somebody else has put into a zone stays there: only what is in none is added, and only what
 * we have added is taken away, unless it has become part of the permanent configuration meanwhile.
 * Limits: an interface of firewalld may end in "+", which stands for any end (firewalld.zone(5)).
 */
import ipaddr from 'ipaddr.js';
import { overlaps, parseSubnet, type ParsedSubnet } from './address.ts';

/** The zone that accepts everything (firewalld.zones(5)). */
export const TRUSTED = 'trusted';

/** What firewalld says of its zones. */
export interface ZonesSeen {
  /** Those that have interfaces or sources at present. */
  zones: Readonly<Record<string, { interfaces: readonly string[]; sources: readonly string[] }>>;
  /** The bridges that may leave and that the permanent configuration has in a zone. */
  permanent: readonly string[];
}

/** What to do, and whose the bridges in the zone are. */
export interface ZonePlan {
  add: readonly string[];
  remove: readonly string[];
  /** In the zone by our doing once this is done, with what is removed. */
  bound: readonly string[];
}

/** The zone that an interface is in, null for none: it is in the default zone then. */
export function zoneOf({ zones }: Pick<ZonesSeen, 'zones'>, name: string): string | null {
  const has = (test: (entry: string) => boolean) =>
    Object.entries(zones).find(([, { interfaces }]) => interfaces.some(test))?.[0] ?? null;
  return has((entry) => entry === name) ?? has((entry) => entry.endsWith('+') && name.startsWith(entry.slice(0, -1)));
}

/** `seen`: null where there is no firewalld, and no zone that anything could be in. `bound`: in the zone by our doing so far. */
export function planZones(wanted: readonly string[], bound: readonly string[], seen: ZonesSeen | null): ZonePlan {
  if (seen === null) return { add: [], remove: [], bound: [] };
  const add = wanted.filter((bridge) => zoneOf(seen, bridge) === null);
  // What is in another zone by now was put there by somebody else.
  const ours = bound.filter((bridge) => zoneOf(seen, bridge) === TRUSTED);
  const kept = ours.filter((bridge) => wanted.includes(bridge));
  const remove = ours.filter((bridge) => !wanted.includes(bridge) && !seen.permanent.includes(bridge));
  return { add, remove, bound: [...kept, ...add, ...remove] };
}

/** Sources of zones (addresses, with or without a prefix) that take in addresses of these subnets, and their zones. */
export function sourcesOver({ zones }: Pick<ZonesSeen, 'zones'>, subnets: readonly string[]) {
  const wanted = subnets.map(parseSubnet);
  return Object.entries(zones).flatMap(([zone, { sources }]) =>
    sources.flatMap((source) => {
      const area = areaOf(source);
      return area !== null && wanted.some((subnet) => overlaps(subnet, area)) ? [{ zone, source }] : [];
    }),
  );
}

/** Null for a MAC address, a set, and an IPv4 address with a mask. */
function areaOf(source: string): ParsedSubnet | null {
  const v6 = source.includes(':');
  const cidr = source.includes('/') ? source : `${source}/${v6 ? 128 : 32}`;
  try {
    const network = (v6 ? ipaddr.IPv6 : ipaddr.IPv4).networkAddressFromCIDR(cidr);
    return parseSubnet(`${network.toString()}${cidr.slice(cidr.indexOf('/'))}`);
  } catch {
    return null;
  }
}
