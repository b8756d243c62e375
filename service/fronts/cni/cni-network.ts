/**
 * Finds the network that a CNI configuration names or describes.
 *
 * Guarantees: pure. A configuration that describes its network always describes the same one: id and bridge are made of its
 * name. What cannot be done is refused, and not left out.
 * Limits: one range in each set of host-local's, because a container gets one address of each subnet here.
 */
import { createHash } from 'node:crypto';
import { hostRange, parseSubnet, toText } from '../../../plan/addresses/address.ts';
import type { CniConfiguration, CniIpam, CniRange } from '../../../state/fronts/cni.ts';
import { FaultError } from '../../../state/faults.ts';
import type { NetworkRequest } from '../../../state/network.ts';

type Subnets = NonNullable<NetworkRequest['subnets']>;
type Routes = NonNullable<NetworkRequest['routes']>;

export interface CniDescription {
  id: string;
  request: NetworkRequest;
}
/** Is the described network, or the name of one of cleat's own. */
export type CniNetwork = { own: string } | { described: CniDescription };

/** Names the fields that say what a described network is like. */
const DESCRIBING = [
  'bridge',
  'mtu',
  'internal',
  'isolate',
  'dnsEnabled',
  'ipMasq',
  'isGateway',
  'isDefaultGateway',
  'hairpinMode',
] as const satisfies (keyof CniConfiguration)[];

const refuse = (path: string, message: string): FaultError =>
  new FaultError('BAD_REQUEST', message, { issues: [{ path: `config.${path}`, message }] });
const unsupported = (message: string): FaultError => new FaultError('UNSUPPORTED', message);

export function networkOf(config: CniConfiguration): CniNetwork {
  const { name, network, subnets, ipam } = config;
  const ways = [network, subnets, ipam].filter((way) => way !== undefined);
  if (ways.length > 1) throw refuse('network', 'a configuration has one of network, subnets and ipam');
  if (subnets === undefined && ipam === undefined) {
    const useless = DESCRIBING.find((field) => config[field] !== undefined);
    if (useless === undefined) return { own: network ?? name };
    const why =
      'is for a network that the configuration describes with subnets or ipam; an own one is changed with `cleat`';
    throw refuse(useless, `${useless} ${why}`);
  }
  return { described: { id: sha256(`cni ${name}`), request: describe(config) } };
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

function describe(config: CniConfiguration): NetworkRequest {
  const { name, subnets, ipam, bridge, mtu = 0, isolate, internal = false, dnsEnabled = false, dns } = config;
  const all = (subnets ?? (ipam === undefined ? [] : subnetsOf(ipam))).map(withGateway);
  const routes = ipam === undefined ? [] : routesOf(ipam, all);
  const defaultRoute = config.isDefaultGateway === true || ipam?.routes === undefined || ipam.routes.some(isDefault);
  return {
    name,
    driver: 'bridge',
    network_interface: bridge ?? `cni-${sha256(name).slice(0, 8)}`,
    subnets: all,
    internal,
    dns_enabled: dnsEnabled,
    labels: {},
    options: {
      ...(mtu === 0 ? {} : { mtu: String(mtu) }),
      ...(isolate === undefined
        ? {}
        : { isolate: typeof isolate === 'boolean' ? (isolate ? 'true' : 'false') : isolate }),
      ...(defaultRoute ? {} : { no_default_route: 'true' as const }),
      ...(config.ipMasq === false ? { 'com.docker.network.bridge.enable_ip_masquerade': 'false' as const } : {}),
    },
    routes,
    network_dns_servers: dnsEnabled ? (dns?.nameservers ?? []) : [],
  };
}

function subnetsOf(ipam: CniIpam): Subnets {
  const { type, ranges, subnet, rangeStart, rangeEnd, gateway } = ipam;
  if (type !== 'host-local') {
    throw unsupported(`ipam.type ${JSON.stringify(type)}: cleat gives the addresses itself, in the form of host-local`);
  }
  if (ranges !== undefined && subnet !== undefined) throw refuse('ipam', 'ipam has subnet or ranges, not both');
  if (ranges === undefined && subnet === undefined) throw refuse('ipam', 'ipam has neither subnet nor ranges');
  const sets = ranges ?? (subnet === undefined ? [] : [[{ subnet, rangeStart, rangeEnd, gateway }]]);
  return sets.map((set) => {
    const [range, ...more] = set;
    if (range === undefined || more.length > 0) {
      throw unsupported(
        `ipam.ranges ${JSON.stringify(set)}: a set of several ranges; a container has one address of each subnet`,
      );
    }
    return subnetOf(range);
  });
}

/** Is a subnet that has its gateway. */
type Complete = Subnets[number] & { gateway: string };

function withGateway(subnet: Subnets[number]): Complete {
  const parsed = parseSubnet(subnet.subnet);
  return { ...subnet, gateway: subnet.gateway ?? toText(hostRange(parsed).first, parsed.family) };
}

function subnetOf({ subnet, rangeStart, rangeEnd, gateway }: CniRange): Subnets[number] {
  return {
    subnet,
    ...(gateway === undefined ? {} : { gateway }),
    ...(rangeStart === undefined && rangeEnd === undefined
      ? {}
      : {
          lease_range: {
            ...(rangeStart === undefined ? {} : { start_ip: rangeStart }),
            ...(rangeEnd === undefined ? {} : { end_ip: rangeEnd }),
          },
        }),
  };
}

const isDefault = ({ dst }: { dst: string }): boolean => dst.endsWith('/0');
const isV6 = (text: string): boolean => text.includes(':');

/** Returns the routes besides the default one, each with its gateway: the subnet's if none is named. */
function routesOf({ routes = [] }: CniIpam, subnets: readonly Complete[]): Routes {
  return routes.flatMap((route) => {
    const { dst, gw } = route;
    const own = subnets.find(({ subnet }) => isV6(subnet) === isV6(dst));
    if (isDefault(route)) {
      if (gw === undefined || subnets.some(({ gateway }) => gateway === gw)) return [];
      throw unsupported(`ipam.routes ${JSON.stringify(route)}: the default route leads to the gateway of the subnet`);
    }
    if (own === undefined)
      throw refuse('ipam.routes', `route ${dst} is of a family in which the network has no subnet`);
    return [{ destination: dst, gateway: gw ?? own.gateway }];
  });
}
