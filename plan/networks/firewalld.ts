/**
 * Finds the firewalld zone of each bridge, and plans the changes that put bridges of networks into the zone `trusted`.
 *
 * Guarantees: pure. A bridge that somebody else has put into a zone stays there: only a bridge without a zone is added. Only a
 * bridge that we have added is removed, unless it is in the permanent configuration by now.
 * Limits: an interface of firewalld may end in "+", which matches any end (firewalld.zone(5)).
 */
import ipaddr from 'ipaddr.js';
import { overlaps, parseSubnet, type ParsedSubnet } from '../addresses/address.ts';

/** The zone that accepts everything (firewalld.zones(5)). */
export const TRUSTED = 'trusted';

/** firewalld's report of its zones. */
export interface ZonesSeen {
  /** The zones that have interfaces or sources at present. */
  zones: Readonly<Record<string, { interfaces: readonly string[]; sources: readonly string[] }>>;
  /** The bridges among those to be removed that the permanent configuration has in a zone. */
  permanent: readonly string[];
}

/** The changes, and the bridges in the zone that are ours. */
export interface ZonePlan {
  add: readonly string[];
  remove: readonly string[];
  /** The bridges in the zone that we have added, after the change; includes those of `remove`. */
  bound: readonly string[];
}

/** Returns the zone of an interface. Null means none, so that the default zone applies. */
export function zoneOf({ zones }: Pick<ZonesSeen, 'zones'>, name: string): string | null {
  const has = (test: (entry: string) => boolean) =>
    Object.entries(zones).find(([, { interfaces }]) => interfaces.some(test))?.[0] ?? null;
  return has((entry) => entry === name) ?? has((entry) => entry.endsWith('+') && name.startsWith(entry.slice(0, -1)));
}

/** `seen` is null without firewalld, so without zones. `bound`: the bridges in the zone that we have added so far. */
export function planZones(wanted: readonly string[], bound: readonly string[], seen: ZonesSeen | null): ZonePlan {
  if (seen === null) return { add: [], remove: [], bound: [] };
  const add = wanted.filter((bridge) => zoneOf(seen, bridge) === null);
  // If a bridge is in another zone by now, somebody else has put it there.
  const ours = bound.filter((bridge) => zoneOf(seen, bridge) === TRUSTED);
  const kept = ours.filter((bridge) => wanted.includes(bridge));
  const remove = ours.filter((bridge) => !wanted.includes(bridge) && !seen.permanent.includes(bridge));
  return { add, remove, bound: [...kept, ...add, ...remove] };
}

/**
 * Returns the sources of zones (addresses, with or without a prefix) that cover addresses of these subnets, with their zones.
 */
export function sourcesOver({ zones }: Pick<ZonesSeen, 'zones'>, subnets: readonly string[]) {
  const wanted = subnets.map(parseSubnet);
  return Object.entries(zones).flatMap(([zone, { sources }]) =>
    sources.flatMap((source) => {
      const area = areaOf(source);
      return area !== null && wanted.some((subnet) => overlaps(subnet, area)) ? [{ zone, source }] : [];
    }),
  );
}

/** Returns null for a MAC address, a set, and an IPv4 address with a mask. */
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
