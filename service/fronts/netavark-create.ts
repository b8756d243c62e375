/**
 * Completes and checks the definition of a network as `netavark create` does: Podman keeps it, so nothing is made or remembered.
 *
 * Guarantees: pure. What is chosen, a bridge and subnets, is none of those that Podman says are in use. What cleat could not
 * carry out is refused now, not when the first container comes.
 * Limits: the kernel is not asked: Podman has looked at the host's links and routes.
 */
import { chooseSubnet, planNetwork, type Surroundings } from '../../plan/networks/network.ts';
import { overlaps, parseSubnet } from '../../plan/addresses/address.ts';
import type { NetavarkNetwork } from '../../state/answers/netavark.ts';
import { FaultError } from '../../state/faults.ts';
import type { NetavarkCreate } from '../../state/fronts/netavark.ts';
import { Cidr } from '../../state/names.ts';
import { NetworkRequest, subnetPools } from '../../state/network.ts';
import { parse } from '../requests/parse.ts';
import { isDriver, routeOf } from './netavark.ts';

const refuse = (message: string): FaultError => new FaultError('BAD_REQUEST', message);

/** `around`: the time, and the link of the host's default route. */
export function createNetwork(
  { network, used, options }: NetavarkCreate,
  around: Pick<Surroundings, 'now' | 'defaultLink'>,
): NetavarkNetwork {
  const { name, driver, network_dns_servers: servers } = network;
  const [names, interfaces] = [used.names ?? {}, used.interfaces ?? []];
  if (Object.hasOwn(names, name)) throw refuse(`network already exists ${name}`);
  if (!isDriver(driver)) throw refuse(`unknown network driver ${driver}`);
  const dns = (network.dns_enabled ?? false) && driver === 'bridge' && network.ipam_options?.driver !== 'none';
  if (servers && servers.length > 0 && !dns) {
    throw refuse('cannot set NetworkDNSServers if DNS is not enabled for the network');
  }
  const prefix = options.default_interface_name ?? 'podman';
  const obstacles = options.check_used_subnets
    ? (used.subnets ?? []).map((text) => ({ subnet: parse(Cidr, text), of: 'the host or another network' }))
    : [];
  const surroundings: Surroundings = {
    ...around,
    resolver: true, // Podman knows whether there is one
    routes: obstacles,
    pools: subnetPools((options.subnet_pools ?? []).map(({ base, size }) => `${base},${size}`)),
    // Podman's first bridge but that of its default network is podman1.
    links: [...interfaces, ...Object.keys(names), `${prefix}0`],
    networks: [],
    bridgePrefix: prefix,
    id: network.id,
  };
  const request = withIpv4(requestOf(network, dns), network.ipv6_enabled ?? false, surroundings);
  for (const { subnet } of request.subnets ?? []) {
    const taken = obstacles.some((one) => overlaps(parseSubnet(one.subnet), parseSubnet(subnet)));
    if (taken) throw refuse(`subnet ${subnet} is already used on the host or by another config`);
  }
  const plan = planNetwork(request, surroundings);
  if ('fault' in plan) throw FaultError.of(plan.fault);
  const { engine: _engine, network_dns_servers, ...definition } = plan.definition;
  const leadsNowhere = definition.internal && !definition.dns_enabled;
  const subnets = definition.subnets.map((subnet) => {
    const { gateway: _chosen, ...rest } = subnet;
    const named = network.subnets?.some((one) => one.gateway === subnet.gateway) ?? false;
    return leadsNowhere && !named ? rest : subnet;
  });
  return { ...definition, subnets, ...(network_dns_servers.length > 0 ? { network_dns_servers } : {}) };
}

/** Returns what is asked for in cleat's words: the same, without what is null. */
function requestOf(network: NetavarkCreate['network'], dns_enabled: boolean): NetworkRequest {
  const { id: _id, created: _created, ipv6_enabled: _ipv6, routes, ...wish } = network;
  const asked = { ...wish, dns_enabled, routes: (routes ?? []).map(routeOf) };
  const noNull = JSON.stringify(asked, (_key, value: unknown) => value ?? undefined);
  return parse(NetworkRequest, JSON.parse(noNull));
}

/** Returns the request with both families where IPv6 is asked for: a network of Podman's has IPv4 too. */
function withIpv4(request: NetworkRequest, ipv6: boolean, around: Surroundings): NetworkRequest {
  const { driver = 'bridge', subnets = [], ipam_options: { driver: ipam } = {} } = request;
  if (!ipv6 || driver !== 'bridge' || ipam === 'none') return request;
  const has4 = subnets.length === 0 || subnets.some(({ subnet }) => !subnet.includes(':'));
  if (has4) return { ...request, ipv6_enabled: true };
  const chosen = chooseSubnet(4, around, around.id);
  if ('fault' in chosen) throw FaultError.of(chosen.fault);
  return { ...request, subnets: [...subnets, chosen], ipv6_enabled: true };
}
