/**
 * Turns a request into a complete network definition: subnets, gateways, the bridge's name.
 *
 * Guarantees: pure; a chosen subnet overlaps neither a route of the host nor another network. A given one may overlap a route,
 * with a warning, because the caller chose it; it never overlaps another network. A bridge gets the lowest free name of the
 * instance's pattern. A network on a bridge of others (unmanaged.ts) or on a parent (parent.ts) has the subnet behind it, so
 * routes through that very link are no obstacle. One parent may have several networks.
 * Limits: without pools for IPv6, its subnets are ULA (RFC 4193) made from random bits that the caller passes.
 */
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition, NetworkRequest, Subnet, SubnetPool } from '../../state/network.ts';
import type { Overlay } from '../../state/overlay.ts';
import { contains, hostRange, overlaps, parseSubnet, toNumber, toText } from '../addresses/address.ts';
import { occupied, poolInTheWay } from '../overlay/pools.ts';
import { refuse } from '../refusal.ts';
import { obstaclesTo, overlapWarning, type Obstacle } from './host-routes.ts';
import { IPV6_LEAST } from './mtu.ts';
import { firstFree, poolsOf, ULA, uniqueLocals } from '../addresses/subnet-pools.ts';
import { reservedNetwork, reservedSubnet, uselessAddresses } from '../addresses/special-addresses.ts';
import { hasBridge } from './driver.ts';
import { isUnknown, notExternal } from './external.ts';
import { ipamOf, isOnParent, parentOf, parentWarnings, rivalsOf, strangeOption } from './parent.ts';
import { isUnmanaged, notUnmanaged, unmanagedWarnings, uselessOption } from './unmanaged.ts';

export interface Surroundings {
  /** Destinations of the host's routes. */
  routes: readonly Obstacle[];
  /** The pools for subnets that the caller did not choose; a family without pools uses the default ones. */
  pools: readonly SubnetPool[];
  /** Links that exist in the outside. */
  links: readonly string[];
  /** The link of the host's default route; null if there is none. */
  defaultLink: string | null;
  networks: readonly NetworkDefinition[];
  /** What the hosts of an overlay agree on, with this host's VTEP: `subnets` of the request are its shares. */
  overlay?: Overlay;
  /** Bridge names are prefix + n. */
  bridgePrefix: string;
  /** True if there is a resolver: networks then have DNS unless the request says otherwise. */
  resolver: boolean;
  /** 64 hex digits of randomness: the network's id. */
  id: string;
  /** RFC 3339. */
  now: string;
}

export interface Plan {
  definition: NetworkDefinition;
  /** Messages for the caller: the request is carried out, but may not be what was meant. */
  warnings: string[];
}

export function planNetwork(request: NetworkRequest, around: Surroundings): Plan | { fault: Fault } {
  if (around.networks.some(({ name }) => name === request.name)) {
    return refuse('NETWORK_EXISTS', `network name ${request.name} already used`);
  }
  if (request.dns_enabled === true && !around.resolver) {
    return refuse('DNS_UNAVAILABLE', `network ${request.name} is to have DNS, and aardvark-dns is not installed`);
  }
  const useless = uselessAddresses(request);
  if (useless !== null) return useless;
  const { name, driver = 'bridge', internal = false } = request;
  const { parent: _parent, ...options } = request.options ?? {};
  const onParent = isOnParent({ driver });
  const unmanaged = isUnmanaged({ driver, options });
  const notSo = driver === 'bridge' && unmanaged ? notUnmanaged(request) : notExternal(request);
  if (notSo !== null) return { fault: notSo };
  const ipam = ipamOf(request);
  if ('fault' in ipam) return ipam;
  const given = request.subnets ?? [];
  const wanted = withChosen(request, ipam.ipam, around);
  if ('fault' in wanted) return wanted;

  const link = isUnknown({ driver })
    ? { bridge: '' }
    : onParent
      ? parentOf({ ...request, driver }, around.defaultLink)
      : bridgeOf(request, driver === 'bridge' && unmanaged, around);
  if ('fault' in link) return link;
  const network_interface = 'parent' in link ? link.parent : link.bridge;
  const rivals = rivalsOf({ driver }, around.networks);
  // The gateway of an internal network on a parent would be an address that no container uses.
  const complete = completeSubnets(wanted.subnets, rivals, !(onParent && internal));
  if ('fault' in complete) return complete;
  const { subnets } = complete;
  const inTheWay = around.overlay === undefined ? null : poolInTheWay(around.overlay, around.networks);
  if (inTheWay !== null) return inTheWay;
  const ipv6_enabled = subnets.some(isV6) || (ipam.ipam === 'none' && request.ipv6_enabled === true);
  const impossible = impossibleOptions({ driver, ipv6_enabled, options });
  if (impossible !== null) return impossible;
  // The name server has the addresses of the gateways, or of a bridge of others.
  const answers = hasBridge({ driver }) && ipam.ipam !== 'none';
  const definition: NetworkDefinition = {
    name,
    id: around.id,
    driver,
    network_interface,
    created: around.now,
    subnets,
    routes: request.routes ?? [],
    network_dns_servers: request.network_dns_servers ?? [],
    ipv6_enabled,
    internal,
    dns_enabled: answers && (request.dns_enabled ?? around.resolver),
    labels: request.labels ?? {},
    options,
    ipam_options: { driver: ipam.ipam },
    ...(around.overlay === undefined ? {} : { overlay: around.overlay }),
  };
  const warnings = [
    ...warningsOf(given, obstaclesTo(definition, around.routes)),
    ...(onParent ? parentWarnings(definition, request, around) : unmanaged ? unmanagedWarnings(definition) : []),
  ];
  return { definition, warnings };
}

/** Returns the subnets of a request, with those that are chosen here because it names none of their family. */
function withChosen(
  { driver = 'bridge', subnets = [], ipv4_enabled: ipv4, ipv6_enabled: ipv6 = false }: NetworkRequest,
  ipam: 'host-local' | 'none',
  around: Surroundings,
): { subnets: Subnet[] } | { fault: Fault } {
  const wanted: Subnet[] = [...subnets];
  if (ipam === 'none') return { subnets: wanted };
  const [has4, has6] = [wanted.some((one) => !isV6(one)), wanted.some(isV6)];
  if (ipv4 === false && has4) return refuse('BAD_REQUEST', 'an IPv4 subnet is named, and ipv4_enabled is false');
  const families = [...((ipv4 ?? !has6) && !has4 ? [4 as const] : []), ...(ipv6 && !has6 ? [6 as const] : [])];
  if (wanted.length + families.length === 0) return refuse('BAD_REQUEST', 'a network has IPv4 or IPv6');
  for (const family of families) {
    if (isOnParent({ driver })) return refuse('BAD_REQUEST', `say which IPv${family} subnet is behind the parent`);
    const chosen = chooseSubnet(family, around, around.id);
    if ('fault' in chosen) return chosen;
    wanted.push(chosen);
  }
  return { subnets: wanted };
}

function bridgeOf(
  { network_interface: named }: NetworkRequest,
  unmanaged: boolean,
  around: Surroundings,
): { bridge: string } | { fault: Fault } {
  // A bridge of others may exist already, and may have other networks of this kind on it.
  const [links, rivals] = unmanaged
    ? [[], around.networks.filter((network) => !isUnmanaged(network))]
    : [around.links, around.networks];
  const taken = new Set([...links, ...rivals.map((network) => network.network_interface)]);
  const bridge = named ?? lowestFree(around.bridgePrefix, taken);
  if (!taken.has(bridge)) return { bridge };
  const owner = rivals.find((network) => network.network_interface === bridge)?.name;
  const whose = owner === undefined ? 'a link of the host' : `network ${owner}`;
  return refuse('INTERFACE_TAKEN', `interface name ${bridge} is used by ${whose}`, whose);
}

export const isV6 = ({ subnet }: Pick<Subnet, 'subnet'>): boolean => subnet.includes(':');

/** Warnings for subnets that the caller named; subnets that were chosen here overlap nothing. */
export const warningsOf = (given: readonly Subnet[], routes: readonly Obstacle[]): string[] =>
  given.flatMap(({ subnet }) => overlapWarning(subnet, routes) ?? []);

/** Returns a subnet that neither a route of the host nor a network uses. */
export function chooseSubnet(
  family: 4 | 6,
  { networks, routes, pools }: Pick<Surroundings, 'networks' | 'routes' | 'pools'>,
  id: string,
): Subnet | { fault: Fault } {
  const used = [...networks.flatMap(occupied), ...routes.map(({ subnet }) => subnet)].map(parseSubnet);
  const mine = poolsOf(family, pools);
  const free =
    mine.length > 0
      ? firstFree(mine, used)
      : uniqueLocals(id).find((subnet) => !used.some((other) => overlaps(other, parseSubnet(subnet))));
  if (free !== null && free !== undefined) return { subnet: free };
  const where = mine.length > 0 ? mine.map(({ base }) => base).join(', ') : ULA;
  return refuse(
    'NO_FREE_SUBNET',
    `no free IPv${family} subnet is left in ${where}: routes of the host and other networks have them all`,
  );
}

/**
 * Returns each subnet with its gateway, or a fault if one is impossible or overlaps another one or one of these networks. A
 * network that is never raised (special-addresses.ts) is no obstacle. `fill`: a gateway that is not named is the first address.
 */
export function completeSubnets(
  wanted: readonly Subnet[],
  networks: readonly NetworkDefinition[],
  fill: boolean,
): { subnets: Subnet[] } | { fault: Fault } {
  const raised = networks.filter((network) => reservedNetwork(network) === null);
  const used = raised.flatMap((network) =>
    occupied(network).map((subnet) => ({ subnet: parseSubnet(subnet), of: `network ${network.name}` })),
  );
  const done: Subnet[] = [];
  for (const one of wanted) {
    const complete = completeSubnet(one, fill);
    if ('fault' in complete) return complete;
    done.push(complete.subnet);
    const parsed = parseSubnet(one.subnet);
    const clash = used.find((other) => overlaps(other.subnet, parsed));
    if (clash !== undefined) {
      return refuse('SUBNET_OVERLAPS', `subnet ${one.subnet} overlaps with ${clash.of}`, clash.of);
    }
    used.push({ subnet: parsed, of: 'this network' });
  }
  return { subnets: done };
}

function completeSubnet(wanted: Subnet, fill: boolean): { subnet: Subnet } | { fault: Fault } {
  const { subnet } = wanted;
  const reserved = reservedSubnet(subnet);
  if (reserved !== null) return { fault: reserved };
  const parsed = parseSubnet(subnet);
  if (parsed.prefix > (parsed.family === 4 ? 30 : 126)) {
    return refuse('BAD_REQUEST', `subnet ${subnet} has no room for a gateway and a container`);
  }
  const hosts = hostRange(parsed);
  const gateway = wanted.gateway ?? (fill ? toText(hosts.first, parsed.family) : undefined);
  const { start_ip: start, end_ip: end } = wanted.lease_range ?? {};
  for (const address of [gateway, start, end]) {
    if (address === undefined) continue;
    if (!contains(parsed, address)) {
      return refuse('ADDRESS_OUTSIDE_SUBNET', `address ${address} is not in subnet ${subnet}`);
    }
    if (toNumber(address) < hosts.first || toNumber(address) > hosts.last) {
      return refuse('BAD_REQUEST', `address ${address} is the network or broadcast address of ${subnet}`);
    }
  }
  if (start !== undefined && end !== undefined && toNumber(start) > toNumber(end)) {
    return refuse('BAD_REQUEST', `lease range ${start}-${end} of ${subnet} ends before it begins`);
  }
  if (gateway !== undefined && start === gateway && end === gateway) {
    return refuse('BAD_REQUEST', `lease range ${start}-${end} of ${subnet} has no address but the gateway's`);
  }
  return { subnet: gateway === undefined ? wanted : { ...wanted, gateway } };
}

/** Returns the subnets of a network with their gateways, which a bridge of ours has as its addresses. */
export const withGateways = ({ subnets }: Pick<NetworkDefinition, 'subnets'>): (Subnet & { gateway: string })[] =>
  subnets.flatMap(({ gateway, ...subnet }) => (gateway === undefined ? [] : [{ ...subnet, gateway }]));

/** Returns a fault for options that exclude each other, or another property of the network. */
export function impossibleOptions({
  driver,
  ipv6_enabled,
  options,
}: Pick<NetworkDefinition, 'driver' | 'ipv6_enabled' | 'options'>): { fault: Fault } | null {
  const useless = strangeOption({ driver, options }) ?? uselessOption({ driver, options });
  if (useless !== null) return { fault: useless };
  const { mtu, outbound_addr4: out4, outbound_addr6: out6 } = options;
  if (ipv6_enabled && mtu !== undefined && Number(mtu) < IPV6_LEAST) {
    return refuse('BAD_REQUEST', `an MTU of ${mtu} is too small for IPv6, which needs ${IPV6_LEAST}`);
  }
  const masquerade = options['com.docker.network.bridge.enable_ip_masquerade'] ?? 'true';
  if ((out4 ?? out6) === undefined || ['true', '1'].includes(masquerade)) return null;
  return refuse('BAD_REQUEST', `nothing leaves from ${out4 ?? out6} on a network that is not masqueraded`);
}

function lowestFree(prefix: string, taken: ReadonlySet<string>): string {
  for (let n = 0; ; n++) if (!taken.has(`${prefix}${n}`)) return `${prefix}${n}`;
}
