/**
 * From a request to a complete network definition: subnets, gateways, the bridge's name.
 *
 * Guarantees: pure; a chosen subnet overlaps neither a route of the host nor another network; a given one is refused
 * if it does. Bridge names are the lowest free one of the instance's pattern.
 * Limits: pools are those of Podman (containers.conf default_subnet_pools) for IPv4; IPv6 subnets are ULA (RFC 4193)
 * made from random bits that the caller brings.
 */
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition, NetworkRequest, Subnet } from '../../state/network.ts';
import { contains, hostRange, overlaps, parseSubnet, toNumber, toText, type ParsedSubnet } from './address.ts';

/** 10.89.0.0/16, 10.90.0.0/15, 10.92.0.0/14, 10.96.0.0/11, 10.128.0.0/9: all /24 from 10.89.0.0 to 10.255.255.0. */
const POOL = { first: parseSubnet('10.89.0.0/24').first, last: parseSubnet('10.255.255.0/24').first, step: 256n };

export interface Surroundings {
  /** Destinations the host has routes to, as CIDR. */
  routes: readonly string[];
  /** Links that exist in the outside. */
  links: readonly string[];
  networks: readonly NetworkDefinition[];
  /** Bridge names are prefix + n. */
  bridgePrefix: string;
  /** There is a resolver: networks answer names unless asked not to. */
  resolver: boolean;
  /** 64 hex digits of randomness: the network's id. */
  id: string;
  /** RFC 3339. */
  now: string;
}

export function planNetwork(
  request: NetworkRequest,
  around: Surroundings,
): { definition: NetworkDefinition } | { fault: Fault } {
  if (around.networks.some(({ name }) => name === request.name)) {
    return refuse('NETWORK_EXISTS', `network name ${request.name} already used`);
  }
  if (request.dns_enabled === true && !around.resolver) {
    return refuse('DNS_UNAVAILABLE', `network ${request.name} is to have DNS, and aardvark-dns is not installed`);
  }
  const used = takenSubnets(around);

  const wanted: Subnet[] = [...(request.subnets ?? [])];
  const internal = request.internal ?? false;
  if (!wanted.some(({ subnet }) => !subnet.includes(':')) && !wanted.some(({ subnet }) => subnet.includes(':'))) {
    const free = freeSubnet(used.map(({ subnet }) => subnet));
    if (free === null) return refuse('NO_FREE_SUBNET', 'no free subnet left in the pools');
    wanted.push({ subnet: free });
  }
  if (request.ipv6_enabled === true && !wanted.some(({ subnet }) => subnet.includes(':'))) {
    wanted.push({ subnet: uniqueLocal(around.id) });
  }

  const subnets: CompleteSubnet[] = [];
  for (const subnet of wanted) {
    const complete = completeSubnet(subnet, used, subnets);
    if ('fault' in complete) return complete;
    subnets.push(complete.subnet);
  }

  const taken = new Set([...around.links, ...around.networks.map((network) => network.network_interface)]);
  const bridge = request.network_interface ?? lowestFree(around.bridgePrefix, taken);
  if (taken.has(bridge)) {
    const owner = around.networks.find((network) => network.network_interface === bridge)?.name;
    const whose = owner === undefined ? 'a link of the host' : `network ${owner}`;
    return refuse('INTERFACE_TAKEN', `interface name ${bridge} is used by ${whose}`, whose);
  }
  const ipv6_enabled = subnets.some(({ subnet }) => subnet.includes(':'));
  const small = tooSmall({ ipv6_enabled, options: request.options ?? {} });
  if (small !== null) return small;
  return {
    definition: {
      name: request.name,
      id: around.id,
      driver: 'bridge',
      network_interface: bridge,
      created: around.now,
      subnets,
      routes: request.routes ?? [],
      network_dns_servers: request.network_dns_servers ?? [],
      ipv6_enabled,
      internal,
      dns_enabled: request.dns_enabled ?? around.resolver,
      labels: request.labels ?? {},
      options: request.options ?? {},
      ipam_options: { driver: 'host-local' },
    },
  };
}

function freeSubnet(used: readonly ParsedSubnet[]): string | null {
  for (let first = POOL.first; first <= POOL.last; first += POOL.step) {
    const candidate: ParsedSubnet = { family: 4, prefix: 24, first, last: first + 255n };
    if (!used.some((other) => overlaps(other, candidate))) return `${toText(first, 4)}/24`;
  }
  return null;
}

/** A subnet with its gateway. */
export type CompleteSubnet = NetworkDefinition['subnets'][number];

interface TakenSubnet {
  subnet: ParsedSubnet;
  of: string;
}

/** What other networks and the host have already; its default route is no obstacle. */
export function takenSubnets({ networks, routes }: Pick<Surroundings, 'networks' | 'routes'>): TakenSubnet[] {
  const ours = networks.flatMap(({ name, subnets }) =>
    subnets.map(({ subnet }) => ({ subnet: parseSubnet(subnet), of: `network ${name}` })),
  );
  const hosts = routes.map((route) => ({ subnet: parseSubnet(route), of: 'a route of the host' }));
  return [...ours, ...hosts].filter(({ subnet }) => subnet.prefix > 0);
}

/** The subnet with its gateway chosen, unless something about it is not possible. `beside`: others of the network. */
export function completeSubnet(
  wanted: Subnet,
  used: readonly TakenSubnet[],
  beside: readonly CompleteSubnet[],
): { subnet: CompleteSubnet } | { fault: Fault } {
  const { subnet } = wanted;
  const parsed = parseSubnet(subnet);
  const clash = [...used, ...beside.map((other) => ({ subnet: parseSubnet(other.subnet), of: 'this network' }))].find(
    (other) => overlaps(other.subnet, parsed),
  );
  if (clash !== undefined) return refuse('SUBNET_OVERLAPS', `subnet ${subnet} overlaps with ${clash.of}`, clash.of);
  if (parsed.prefix > (parsed.family === 4 ? 30 : 126)) {
    return refuse('BAD_REQUEST', `subnet ${subnet} has no room for a gateway and a container`);
  }
  const hosts = hostRange(parsed);
  const gateway = wanted.gateway ?? toText(hosts.first, parsed.family);
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
  return { subnet: { ...wanted, gateway } };
}

/** An interface with a smaller MTU has no IPv6 (RFC 8200, 5; addrconf_notify in the kernel). */
const IPV6_MIN_MTU = 1280;

export function tooSmall({
  ipv6_enabled,
  options: { mtu },
}: Pick<NetworkDefinition, 'ipv6_enabled' | 'options'>): { fault: Fault } | null {
  if (!ipv6_enabled || mtu === undefined || Number(mtu) >= IPV6_MIN_MTU) return null;
  return refuse('BAD_REQUEST', `an MTU of ${mtu} is too small for IPv6, which needs ${IPV6_MIN_MTU}`);
}

/** fd + 40 random bits + subnet 0 (RFC 4193, 3.1). */
export function uniqueLocal(id: string): string {
  const first = BigInt(`0xfd${id.slice(0, 10)}`) << 80n;
  return `${toText(first, 6)}/64`;
}

function lowestFree(prefix: string, taken: ReadonlySet<string>): string {
  for (let n = 0; ; n++) if (!taken.has(`${prefix}${n}`)) return `${prefix}${n}`;
}

export function refuse(code: Fault['code'], message: string, owner?: string): { fault: Fault } {
  return { fault: { code, message, ...(owner === undefined ? {} : { owner }) } };
}
