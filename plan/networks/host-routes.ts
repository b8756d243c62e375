/**
 * Finds the addresses that the host uses already: those that its routing policy leads to a specific place.
 *
 * Guarantees: pure. Every table that a policy rule looks up counts, whatever else the rule matches (fwmark, source, interface),
 * because a VPN keeps its routes in a table of its own (WireGuard, Tailscale: table 52). Routes as broad as a default route do
 * not count, even in pieces (0.0.0.0/1 and 128.0.0.0/1 of OpenVPN): a network beside them works.
 * Limits: tables of VRFs are not followed (`l3mdev` rules name none). A rule that another one always skips (`goto`) counts.
 */
import type { NetworkDefinition } from '../../state/network.ts';
import { isUnmanaged } from './unmanaged.ts';
import { familyOf, overlaps, parseSubnet, toText, type ParsedSubnet } from '../addresses/address.ts';

export interface HostRule {
  family: 4 | 6;
  action: string;
  table: number;
  destination: string;
  prefix: number;
  inverted: boolean;
  suppressPrefix: number | null;
}

export interface HostRoute {
  destination: string;
  prefix: number;
  /** Index of the outgoing link, 0 for none. */
  link: number;
  table: number;
  type: string;
}

/** Addresses in use, and their use: "route 10.0.0.0/8 by tun0 (table 52) of the host". */
export interface Obstacle {
  subnet: string;
  of: string;
  /** The link that leads to the addresses, if there is one. */
  by?: string;
}

/** linux/rtnetlink.h */
const MAIN_TABLE = 254;
const LOCAL_TABLE = 255;

/**
 * Shorter prefixes count as default routes: 10.0.0.0/8 is the largest block that networks are made in (RFC 1918), fc00::/7 is
 * all of the unique local addresses (RFC 4193).
 */
const SHORTEST = { 4: 8, 6: 7 };

/**
 * Types of routes that lead packets somewhere, or drop them. Excludes `throw`, which continues with the next rule, and the
 * routes that the kernel keeps beside each address (broadcast, anycast, multicast).
 */
const LEADING = new Set(['unicast', 'local', 'blackhole', 'unreachable', 'prohibit']);

/** `ours`: indices of links whose routes are our own networks'. */
export function obstaclesOf(
  rules: readonly HostRule[],
  routes: readonly HostRoute[],
  links: ReadonlyMap<number, string>,
  ours: ReadonlySet<number>,
): Obstacle[] {
  const found = new Map<string, Obstacle>();
  const add = (family: 4 | 6, prefix: number, subnet: string, what: string, by?: string) => {
    if (prefix < SHORTEST[family]) return;
    const of = `${what} of the host`;
    found.set(`${subnet} ${of}`, { subnet, of, ...(by === undefined ? {} : { by }) });
  };
  const asking = askedBy(rules);
  for (const { destination, prefix, link, table, type } of routes) {
    const family = familyOf(destination);
    if (!LEADING.has(type) || ours.has(link)) continue;
    for (const { to, suppressed } of asking.get(`${family} ${table}`) ?? []) {
      if (prefix <= suppressed) continue;
      const cidr = `${destination}/${prefix}`;
      const kind = type === 'unicast' ? '' : `${type} `;
      const name = links.get(link);
      const by = link === 0 ? '' : ` by ${name ?? `link ${link}`}`;
      const where = table === MAIN_TABLE ? '' : ` (table ${table === LOCAL_TABLE ? 'local' : table})`;
      const what = `the ${kind}route ${cidr}${by}${where}`;
      if (to === null) add(family, prefix, cidr, what, name);
      else if (overlaps(to, parseSubnet(cidr))) {
        // The rule limits the route to the addresses that both contain.
        const narrow = prefix >= to.prefix ? cidr : textOf(to);
        const all = narrow === cidr ? what : `${what}, for packets to ${narrow},`;
        add(family, Math.max(prefix, to.prefix), narrow, all, name);
      }
    }
  }
  for (const { family, action, destination, prefix, inverted } of rules) {
    if (inverted || !['blackhole', 'unreachable', 'prohibit'].includes(action)) continue;
    const cidr = `${destination}/${prefix}`;
    add(family, prefix, cidr, `the ${action} rule for ${cidr}`);
  }
  return [...found.values()];
}

interface Asked {
  /** Only packets to here use the table; null: to anywhere. */
  to: ParsedSubnet | null;
  /** Routes with a prefix no longer than this do not count. */
  suppressed: number;
}

/**
 * Returns, by family and table, the conditions of the rules that look it up. Without rules (a kernel without policy routing)
 * these are the two usual tables.
 */
function askedBy(rules: readonly HostRule[]): Map<string, Asked[]> {
  const asked = new Map<string, Asked[]>();
  for (const family of [4, 6] as const) {
    const mine = rules.filter((rule) => rule.family === family);
    const tables = [LOCAL_TABLE, MAIN_TABLE].map((table) => ({ table, to: null, suppressed: -1 }));
    const all = mine
      .filter(({ action }) => action === 'table')
      .map(({ table, destination, prefix, inverted, suppressPrefix }) => ({
        table,
        // A network's own route is in the main table too, and is more specific than the route that led there.
        to: prefix === 0 || inverted || table === MAIN_TABLE ? null : parseSubnet(`${destination}/${prefix}`),
        suppressed: suppressPrefix ?? -1,
      }));
    for (const { table, ...one } of mine.length === 0 ? tables : all) {
      const key = `${family} ${table}`;
      asked.set(key, [...(asked.get(key) ?? []), one]);
    }
  }
  return asked;
}

const textOf = ({ first, family, prefix }: ParsedSubnet): string => `${toText(first, family)}/${prefix}`;

/**
 * Returns the obstacles to a network. For a bridge of others, leaves out the addresses behind that bridge, which the network is
 * meant to reach.
 */
export const obstaclesTo = (network: NetworkDefinition, obstacles: readonly Obstacle[]): readonly Obstacle[] =>
  isUnmanaged(network) ? obstacles.filter(({ by }) => by !== network.network_interface) : obstacles;

/** Returns the obstacles that share an address with the subnet, most specific first. */
export function inTheWayOf(subnet: string, obstacles: readonly Obstacle[]): Obstacle[] {
  const wanted = parseSubnet(subnet);
  return obstacles
    .filter((other) => familyOf(other.subnet) === wanted.family && overlaps(parseSubnet(other.subnet), wanted))
    .sort((a, b) => parseSubnet(b.subnet).prefix - parseSubnet(a.subnet).prefix);
}

/** Returns the warning for a subnet that is made although something overlaps with it; null if nothing does. */
export function overlapWarning(subnet: string, obstacles: readonly Obstacle[]): string | null {
  const [first, ...more] = inTheWayOf(subnet, obstacles);
  if (first === undefined) return null;
  const others = more.length === 0 ? '' : ` and ${more.length} more`;
  return (
    `subnet ${subnet} overlaps with ${first.of}${others}: ` +
    `either the containers or what is behind that route may be out of reach`
  );
}
