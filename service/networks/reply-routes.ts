/**
 * Finds answers from published ports that would leave by another way than the host's own answers from the address that was asked.
 *
 * The firewall translates a packet to the container before routing, and the route of the answer is chosen while it still has the
 * container's address. Where the host's routing goes by the source (`ip rule from ADDRESS lookup TABLE`, usual with a second
 * uplink; `ip rule from SUBNET` for containers that leave by a VPN), the two ways differ.
 * Guarantees: changes nothing and sends nothing. The kernel itself reports the way that each packet would take, with all its
 * rules.
 * Limits: one address stands for everything that a next hop of the tables in question leads to, one for all the rest, and one
 * container for its network. IPv6 routes with a source of their own (`from PREFIX`, in one table) count as equal-cost routes.
 * Ways that depend on marks from foreign firewall rules are not known here.
 */
import type { Instance } from '../../effects/kernel.ts';
import { filterOf, filtersOf } from '../../effects/firewall/replies.ts';
import { NO_REPLIES, type Replies } from '../../effects/ruleset/ruleset-replies.ts';
import { subnetOf } from '../../effects/links/source-routes.ts';
import type { Switches } from '../../machines/firewall.ts';
import { familyOf, hostRange, parseSubnet, toNumber, toText } from '../../plan/addresses/address.ts';
import { withGateways } from '../../plan/networks/network.ts';
import type { Outside, Rule, Way } from '../../native/index.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { rulesOf } from './host-routes.ts';
import { ELSEWHERE } from './way-out-watch.ts';

/** linux/rtnetlink.h: addresses of this scope and narrower ones (host) have no clients elsewhere. */
const RT_SCOPE_LINK = 253;
/** The value of net.ipv4.conf.*.rp_filter that drops a packet unless the way back leads by the link that it came by. */
export const STRICT = 1;
/** Tables that apply to every source: main and local. */
const OF_ALL = [254, 255];

/** A network that answers: its bridge, and an address that one of its containers has or could have. */
export interface Answering {
  network: string;
  bridge: string;
  source: string;
}

export interface Astray<By extends Answering = Answering> {
  /** The host's address that clients ask. */
  address: string;
  /** The way by which the host itself would answer. */
  own: Way;
  destination: Destination;
  answering: By;
  /** The way by which an answer would leave; null if there is none. */
  way: Way | null;
}

export interface Destination {
  address: string;
  /** A description of the clients there: "elsewhere", or "in 10.0.0.0/8". */
  clients: string;
}

/**
 * Returns how the answers of these networks must be routed. Costs one request if no rule of the policy selects by the source.
 * `filters`: the original values of those that are loosened already.
 */
export async function repliesOf(
  native: Outside,
  instance: Instance,
  networks: readonly NetworkDefinition[],
  filters: Switches,
): Promise<Replies> {
  const rules = networks.length === 0 ? [] : await rulesOf(native);
  // A rule that leads a source to the main table counts too: other rules may lead everything else elsewhere.
  if (!rules.some(({ sourcePrefix }) => sourcePrefix > 0)) return NO_REPLIES;
  const there = new Set((await native.links()).map(({ name }) => name));
  const answering = networks
    .filter(({ network_interface: bridge }) => there.has(bridge))
    .flatMap((network) =>
      withGateways(network).map(({ subnet, gateway }) => ({
        network: network.name,
        bridge: network.network_interface,
        source: neighbourOf(gateway, subnet),
      })),
    );
  const found = await astray(native, instance, answering, rules);
  const routes = new Map(
    found.map(({ address, way }) => [`${address} ${way?.link}`, { address, link: way?.link ?? null }]),
  );
  const links = new Set([...routes.values()].flatMap(({ link }) => link ?? []));
  const uplinks = found.flatMap(({ address, own }) => (familyOf(address) === 4 ? own.link : []));
  return {
    routes: [...routes.values()],
    near: links.size === 0 ? [] : await subnetsOn(native, links),
    strict: await strictOf(native, [...new Set(uplinks)], filters),
  };
}

/** Returns the links that drop a packet if the way back leads by another link. `filters`: see repliesOf. */
async function strictOf(native: Outside, links: readonly string[], filters: Switches): Promise<string[]> {
  const values = await effectiveFilters(native, links, filters);
  return links.filter((link) => values.get(link) === STRICT);
}

/** Returns the rp_filter that the kernel applies to each link: the larger of its own and that of `all` (ip-sysctl.rst). */
export async function effectiveFilters(
  native: Outside,
  links: readonly string[],
  filters: Switches = {},
): Promise<Map<string, number>> {
  const now = { ...(await filtersOf(native, ['all', ...links])), ...filters };
  const valueOf = (link: string) => Number(now[filterOf(link)] ?? 0);
  return new Map(links.map((link) => [link, Math.max(valueOf(link), valueOf('all'))]));
}

/** Returns everything that would leave by another way, for each address of the host and each destination. */
export async function astray<By extends Answering>(
  native: Outside,
  instance: Instance,
  answering: readonly By[],
  rules?: readonly Rule[],
): Promise<Astray<By>[]> {
  const [addresses, destinations] = await Promise.all([
    hostAddresses(native, `cleat:${instance.name}:`),
    destinationsOf(native, tablesBySource(rules ?? (await rulesOf(native)))),
  ]);
  const found: Astray<By>[] = [];
  for (const destination of destinations) {
    const ways = await Promise.all(answering.map(({ source, bridge }) => wayFrom(native, destination, source, bridge)));
    for (const address of addresses) {
      const own = await wayFrom(native, destination, address);
      if (own === null) continue;
      for (const [i, one] of answering.entries()) {
        const way = ways[i] ?? null;
        if (familyOf(one.source) !== familyOf(address) || isSame(way, own)) continue;
        found.push({ address, own, destination, answering: one, way });
      }
    }
  }
  return found;
}

/** Returns the addresses that clients elsewhere may ask. Addresses of our bridges are not among them. */
async function hostAddresses(native: Outside, prefix: string): Promise<string[]> {
  const [links, addresses] = await Promise.all([native.links(), native.addresses()]);
  const ours = new Set(links.filter(({ alias }) => alias.startsWith(prefix)).map(({ index }) => index));
  const outer = addresses.filter(({ link, scope }) => scope < RT_SCOPE_LINK && !ours.has(link));
  return [...new Set(outer.map(({ address }) => address))];
}

/** Returns the subnets of the host's addresses on these links. */
async function subnetsOn(native: Outside, names: ReadonlySet<string>): Promise<string[]> {
  const [links, addresses] = await Promise.all([native.links(), native.addresses()]);
  const indexes = new Set(links.filter(({ name }) => names.has(name)).map(({ index }) => index));
  const near = addresses.filter(({ link, scope }) => scope < RT_SCOPE_LINK && indexes.has(link));
  return [...new Set(near.map(({ address, prefix }) => `${subnetOf(address, prefix)}/${prefix}`))];
}

/** Returns an address of the subnet that is not the gateway's, unless the subnet has no other. */
function neighbourOf(gateway: string, cidr: string): string {
  const subnet = parseSubnet(cidr);
  const { first, last } = hostRange(subnet);
  return toText(toNumber(gateway) === first ? (first === last ? first : first + 1n) : first, subnet.family);
}

/** Returns the tables that rules of the policy lead to for some sources alone. */
function tablesBySource(rules: readonly Rule[]): number[] {
  const tables = rules.flatMap(({ action, sourcePrefix, table }) =>
    action === 'table' && sourcePrefix > 0 && !OF_ALL.includes(table) ? [table] : [],
  );
  return [...new Set(tables)];
}

/** Returns one address for each next hop of these tables, and one per family for everything else. */
async function destinationsOf(native: Outside, tables: number[]): Promise<Destination[]> {
  const routes = tables.length === 0 ? [] : await native.routesOf(undefined, tables);
  const hops = new Map<string, Destination>();
  for (const { destination, prefix, gateway, link, table, type } of routes) {
    const family = familyOf(destination);
    const hop = `${table} ${family} ${link} ${gateway}`;
    if (type !== 'unicast' || prefix === 0 || hops.has(hop)) continue;
    const subnet = `${destination}/${prefix}`;
    hops.set(hop, { address: toText(hostRange(parseSubnet(subnet)).first, family), clients: `in ${subnet}` });
  }
  return [...Object.values(ELSEWHERE).map((address) => ({ address, clients: 'elsewhere' })), ...hops.values()];
}

/** Asks the kernel for the way of packets that the host sends itself, or forwards from this link. Null if the families differ. */
async function wayFrom(native: Outside, to: Destination, source: string, cameBy?: string): Promise<Way | null> {
  if (familyOf(to.address) !== familyOf(source)) return null;
  return native.wayTo(to.address, cameBy === undefined ? { source } : { source, cameBy });
}

/** Two ways of one table are the same: the table may have several next hops (equal-cost routes), and a packet takes any of them. */
const isSame = (a: Way | null, b: Way): boolean =>
  a !== null && (a.table === b.table || (a.link === b.link && a.gateway === b.gateway));
