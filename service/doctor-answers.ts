/**
 * Checks of `doctor`: whether clients elsewhere get answers from published ports, on each address of the host.
 *
 * The firewall leads a packet to the container before it is routed, and the route of the answer is chosen while it still
 * has the container's address. Where the host's routing goes by the source (`ip rule from ADDRESS lookup TABLE`, usual with a
 * second uplink; `ip rule from SUBNET` for containers that leave by a VPN), the answer leaves by another way than the
 * host's own from the address that was asked, and is lost; with a strict rp_filter the question is dropped already.
 * Guarantees: changes nothing and sends nothing; the kernel says itself which way each would leave by, with all its rules.
 * Limits: one address stands for everything that a next hop of the tables in question leads to, one for all the rest, and
 * one container for its network. Routes of IPv6 that have a source themselves (`from PREFIX`, in one table) are taken for
 * equal-cost ones. Ways that marks of others' firewall rules lead to are not known here. The daemon's own
 * outside.
 */
import type { Kernel } from '../effects/kernel.ts';
import { contains, familyOf, hostRange, parseSubnet, toText } from '../machines/plan/address.ts';
import { idOf } from '../machines/plan/ports.ts';
import type { Outside, Way } from '../native/index.ts';
import type { NetworkDefinition } from '../state/network.ts';
import type { Check } from './doctor.ts';
import { rulesOf } from './host-routes.ts';
import type { ContainerSnapshot } from './snapshot.ts';
import { rulesetOf } from './standing.ts';
import { ELSEWHERE } from './way-out-watch.ts';

type Port = ReturnType<typeof rulesetOf>['ports'][number];

/** linux/rtnetlink.h: addresses of this scope and narrower ones (host) have no clients elsewhere. */
const RT_SCOPE_LINK = 253;
/** Tables that are asked for every source: main and local. */
const OF_ALL = [254, 255];
/** Ports that are named before the rest is counted. */
const NAMED = 5;

export async function answerChecks(
  kernel: Kernel,
  networks: readonly NetworkDefinition[],
  containers: readonly ContainerSnapshot[],
): Promise<Check[]> {
  const { ports } = rulesetOf(containers, [], null);
  const found = ports.length === 0 ? [] : await unanswered(kernel, answeringOf(networks, ports));
  if (found.length > 0) return found;
  const text = 'answers from published ports leave by the way that the host itself answers by';
  return [{ name: 'answers', ok: true, severity: 'warning', text }];
}

/** For each address of the host and each network the first destination for which their ways differ. */
async function unanswered(kernel: Kernel, answering: readonly Answering[]): Promise<Check[]> {
  const { kernel: native } = kernel.outside(null);
  const [addresses, destinations] = await Promise.all([
    hostAddresses(native, `cleat:${kernel.instance.name}:`),
    destinationsOf(native),
  ]);
  const found = new Map<string, Check>();
  for (const destination of destinations) {
    const ways = await Promise.all(answering.map(({ source, bridge }) => wayFrom(native, destination, source, bridge)));
    for (const address of addresses) {
      const own = await wayFrom(native, destination, address);
      if (own === null) continue;
      for (const [i, { network, source, ports: all }] of answering.entries()) {
        const key = `${address} ${source}`;
        const way = ways[i] ?? null;
        if (familyOf(source) !== familyOf(address) || isSame(way, own) || found.has(key)) continue;
        const ports = all.filter(({ hostIp }) => ['', '0.0.0.0', '::', address].includes(hostIp));
        if (ports.length > 0) found.set(key, finding({ address, own, destination, network, way, ports }));
      }
    }
  }
  return [...found.values()];
}

interface Unanswered {
  address: string;
  own: Way;
  destination: Destination;
  network: string;
  way: Way | null;
  ports: readonly Port[];
}

function finding({ address, own, destination, network, way, ports }: Unanswered): Check {
  const named = ports
    .slice(0, NAMED)
    .map(({ hostPort, protocol, owner }) => `${hostPort}/${protocol} of ${idOf(owner)}`);
  const more = ports.length > NAMED ? ` and ${ports.length - NAMED} more` : '';
  return {
    name: 'answers',
    ok: false,
    severity: 'warning',
    text:
      `ports published on ${address} do not answer clients ${destination.clients}: from that address the host sends ` +
      `${textOf(own)}, and what containers of network ${network} answer leaves ${textOf(way)} (${named.join(', ')}${more})`,
    hint:
      "the host's routing goes by the source (ip rule): give those containers --port-handler forwarder, which answers " +
      'from a socket of the host, or lead the network out by the same way',
  };
}

/** Addresses that clients elsewhere may ask. Those of our bridges are no way in. */
async function hostAddresses(native: Outside, prefix: string): Promise<string[]> {
  const [links, addresses] = await Promise.all([native.links(), native.addresses()]);
  const ours = new Set(links.filter(({ alias }) => alias.startsWith(prefix)).map(({ index }) => index));
  const outer = addresses.filter(({ link, scope }) => scope < RT_SCOPE_LINK && !ours.has(link));
  return [...new Set(outer.map(({ address }) => address))];
}

interface Destination {
  address: string;
  /** Who is there: "elsewhere", or "in 10.0.0.0/8". */
  clients: string;
}

/** One address for each next hop of a table that is asked by the source, and one per family for everything else. */
async function destinationsOf(native: Outside): Promise<Destination[]> {
  const tables = (await rulesOf(native)).flatMap(({ action, sourcePrefix, table }) =>
    action === 'table' && sourcePrefix > 0 && !OF_ALL.includes(table) ? [table] : [],
  );
  const routes = tables.length === 0 ? [] : await native.routesOf(undefined, [...new Set(tables)]);
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

interface Answering {
  network: string;
  bridge: string;
  /** Of one of its containers. */
  source: string;
  ports: Port[];
}

/** The networks that have published ports, per family, with them. */
function answeringOf(networks: readonly NetworkDefinition[], ports: readonly Port[]): Answering[] {
  const subnets = networks.flatMap(({ name, network_interface: bridge, subnets: all }) =>
    all.map(({ subnet }) => ({ network: name, bridge, subnet: parseSubnet(subnet), ports: [] as Port[] })),
  );
  for (const port of ports) subnets.find(({ subnet }) => contains(subnet, port.address))?.ports.push(port);
  return subnets.flatMap(({ network, bridge, ports: mine }) => {
    const [first] = mine;
    return first === undefined ? [] : [{ network, bridge, source: first.address, ports: mine }];
  });
}

/** Of what the host sends itself, or forwards for this link. None where the families differ. */
async function wayFrom(native: Outside, to: Destination, source: string, cameBy?: string): Promise<Way | null> {
  if (familyOf(to.address) !== familyOf(source)) return null;
  return native.wayTo(to.address, cameBy === undefined ? { source } : { source, cameBy });
}

/** One table may lead there by several next hops (equal-cost routes): which of them a packet takes is chance. */
const isSame = (a: Way | null, b: Way): boolean =>
  a !== null && (a.table === b.table || (a.link === b.link && a.gateway === b.gateway));

const textOf = (way: Way | null): string =>
  way === null ? 'nowhere' : `by ${way.link}${way.gateway === null ? '' : ` (gateway ${way.gateway})`}`;
