/**
 * Translates netavark's protocol: what Podman asks for to attachments of cleat, and what they have become to its answer.
 *
 * Guarantees: pure. What netavark 1 leaves open means what it means there: networks reach each other unless `isolate` says
 * otherwise. A request in the form of netavark 2 (networks in a list) gets the defaults of netavark 2: strict isolation. Options
 * that netavark does not know are passed over as there; one that it knows and cleat cannot carry out is refused, never ignored.
 * Limits: a network without a gateway, which Podman makes of an internal one without DNS, gets its bridge on the last address
 * of the subnet: cleat's networks have one. That the engine has leased an address is taken from it: it is never chosen here.
 */
import { createHash } from 'node:crypto';
import { contains, hostRange, parseSubnet, toText } from '../../plan/addresses/address.ts';
import { SEARCH_DOMAIN } from '../../plan/containers/resolv-conf.ts';
import { dnsNames } from '../../plan/names/names.ts';
import type { NetavarkAnswer } from '../../state/answers/netavark.ts';
import type { ContainerContext } from '../../state/container.ts';
import { AttachmentOptions, PortMapping } from '../../state/event.ts';
import { FaultError } from '../../state/faults.ts';
import type { Mapping, NetavarkSetup, NetworkInfo, PerNetwork } from '../../state/fronts/netavark.ts';
import { Cidr, DnsName, NamespacePath } from '../../state/names.ts';
import { DRIVERS, NetworkRequest, type NetworkDefinition } from '../../state/network.ts';
import type { DescribedNetwork } from '../networks/described.ts';
import { parse } from '../requests/parse.ts';
import type { Attachment } from './attachments.ts';

const HEX_ID = /^[0-9a-f]{64}$/;
/** Stands in a definition that does not say when it was made. */
const UNKNOWN_TIME = '1970-01-01T00:00:00Z';

const refuse = (message: string): FaultError => new FaultError('BAD_REQUEST', message);

/** Runs the check of a part of the request; its message says which part it is. */
function within<T>(what: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof FaultError)) throw error;
    throw FaultError.of({ ...error.fault, message: `${what}: ${error.fault.message}` });
  }
}

/** Lists the networks of a request in the order in which they are attached: that of the list, or of the interfaces' names. */
function inOrder(networks: NetavarkSetup['networks']): [name: string, wish: PerNetwork][] {
  if (Array.isArray(networks)) return networks.map(({ name, ...wish }) => [name, wish]);
  const byInterface = new Intl.Collator('en', { numeric: true }).compare;
  return Object.entries(networks).sort(([, a], [, b]) => byInterface(a.interface_name, b.interface_name));
}

export const namesOf = (networks: readonly { name: string }[] | Readonly<Record<string, unknown>>): string[] =>
  Array.isArray(networks) ? networks.map(({ name }) => name) : Object.keys(networks);

/** Returns what Podman asks for. Throws BAD_REQUEST for what cannot be carried out. */
export function toAttachment(netns: string, setup: NetavarkSetup): Attachment {
  const { container_id: id, container_name: name, network_info: infos, port_mappings: mappings } = setup;
  const strict = Array.isArray(setup.networks);
  const wishes = inOrder(setup.networks).map(([network, wish]) => {
    const info = infos[network];
    if (info === undefined) throw refuse(`network info for network ${network} not found`);
    if (info.name !== network) throw refuse(`network info for network ${network} is that of ${info.name}`);
    return { network, wish, info };
  });
  return {
    id,
    ...(name === '' || name === id ? {} : { name }),
    netns: parse(NamespacePath, netns),
    networks: Object.fromEntries(
      wishes.map(({ network, wish, info }) => [
        network,
        within(`network ${network}`, () => optionsOf(wish, info, name)),
      ]),
    ),
    // netavark leads ports to networks that lead out alone; on others it passes them over.
    ports: wishes.some(({ info }) => leadsOut(info)) ? (mappings ?? []).flatMap(portsOf) : [],
    portsReserved: true,
    numberedHostLinks: true,
    described: wishes.map(({ network, info }) => within(`network ${network}`, () => describe(info, strict))),
  };
}

const leadsOut = ({ driver, internal, options }: NetworkInfo): boolean =>
  driver === 'bridge' && !internal && options?.mode !== 'unmanaged';

function optionsOf(wish: PerNetwork, info: NetworkInfo, name: string): AttachmentOptions {
  const { interface_name, static_ips: ips, static_mac: mac, aliases, options } = wish;
  const leases = (info.ipam_options?.driver ?? 'host-local') === 'host-local';
  if (leases && (ips === null || ips === undefined)) throw refuse('no static ips provided');
  const host = options?.host_interface_name ?? '';
  // Names that cannot be in DNS are passed over, and so are all on a network without.
  const names = info.dns_enabled ? dnsNames([name, ...(aliases ?? [])].filter((one) => !isDotted(one, name))) : [];
  return parse(AttachmentOptions, {
    interface_name,
    ...(host === '' ? {} : { host_interface_name: host }),
    ...(ips && ips.length > 0 ? { static_ips: ips } : {}),
    ...(mac === null || mac === undefined || mac === '' ? {} : { static_mac: mac.replaceAll('-', ':') }),
    ...(names.length === 0 ? {} : { aliases: names.filter((one) => DnsName.safeParse(one).success).slice(0, 64) }),
  });
}

/** A container's own name with a dot is no alias that somebody asked for, and may be that of a public server (names.ts). */
const isDotted = (text: string, name: string): boolean => text === name && name.includes('.');

function portsOf({ protocol, range, ...ports }: Mapping): PortMapping[] {
  const protocols = protocol === '' ? ['tcp'] : protocol.split(',');
  return protocols.map((one) =>
    within('port mapping', () =>
      parse(PortMapping, { ...ports, protocol: one.trim(), range: range === 0 ? 1 : range }),
    ),
  );
}

function describe(info: NetworkInfo, strict: boolean): DescribedNetwork {
  const { name, id, driver, network_interface: link, created, options, subnets } = info;
  if (!isDriver(driver)) throw refuse(`unknown network driver ${driver}`);
  if (driver === 'bridge' && !link) throw refuse('no bridge interface name given');
  const { driver: ipam } = info.ipam_options ?? {};
  const request = {
    name,
    driver,
    ...(link ? { network_interface: link } : {}),
    subnets: (subnets ?? []).map((subnet) => subnetOf(subnet, driver)),
    internal: info.internal,
    // Where aardvark-dns is not installed, there are no names, and the network is all right without.
    ...(info.dns_enabled ? {} : { dns_enabled: false }),
    labels: info.labels ?? {},
    options: driver === 'bridge' ? bridgeOptions(info, strict) : pick(options ?? {}, ['parent', ...OF_LINKS]),
    routes: (info.routes ?? []).map(routeOf),
    network_dns_servers: info.network_dns_servers ?? [],
    ...(ipam ? { ipam_options: { driver: ipam } } : {}),
  };
  return {
    engine: 'netavark',
    id: HEX_ID.test(id) ? id : createHash('sha256').update(id).digest('hex'),
    created: created ?? UNKNOWN_TIME,
    request: parse(NetworkRequest, request),
  };
}

/** Returns true for a driver whose networks an engine describes. An overlay is known to its hosts alone, which share it in a store. */
export const isDriver = (text: string): text is Exclude<NetworkDefinition['driver'], 'overlay'> =>
  text !== 'overlay' && DRIVERS.some((driver) => driver === text);

type Subnets = NonNullable<NetworkInfo['subnets']>;

function subnetOf(
  { subnet, gateway, lease_range: range }: Subnets[number],
  driver: NetworkDefinition['driver'],
): object {
  const { start_ip: start, end_ip: end } = range ?? {};
  const leased = { ...(start ? { start_ip: start } : {}), ...(end ? { end_ip: end } : {}) };
  const router = gateway || (driver === 'bridge' ? lastOf(subnet) : undefined);
  return {
    subnet,
    ...(router === undefined ? {} : { gateway: router }),
    ...(Object.keys(leased).length === 0 ? {} : { lease_range: leased }),
  };
}

/** Returns the last address of a subnet that a host can have; undefined if it is no subnet, which the schema says. */
function lastOf(subnet: string): string | undefined {
  const { success, data } = Cidr.safeParse(subnet);
  if (!success) return undefined;
  const parsed = parseSubnet(data);
  return toText(hostRange(parsed).last, parsed.family);
}

type Routes = NonNullable<NetworkInfo['routes']>;

/** Returns a route as cleat has it. */
export function routeOf({ destination, gateway, metric, route_type: type }: Routes[number]): object {
  if (type && type !== 'unicast') throw refuse(`route ${destination}: the type ${type} is not supported`);
  return { destination, gateway, ...(metric === null || metric === undefined ? {} : { metric }) };
}

/** Options of netavark that cleat's networks on a parent have too; each driver knows which of them are its own. */
const OF_LINKS = ['mode', 'mtu', 'metric', 'no_default_route', 'bclim', 'vlan'] as const;
const OF_BRIDGES = ['mode', 'mtu', 'metric', 'no_default_route', 'vlan', 'outbound_addr4', 'outbound_addr6'] as const;

/** Returns those options that are set. An empty mode, and an MTU of 0, stand for the default. */
const pick = (options: Record<string, string>, names: readonly string[]): Record<string, string> =>
  Object.fromEntries(
    names.flatMap((name) => {
      const value = options[name];
      return value === undefined || value === '' || (name === 'mtu' && value === '0') ? [] : [[name, value]];
    }),
  );

/** Returns the options of a bridge as cleat has them. */
function bridgeOptions({ subnets, options }: NetworkInfo, strict: boolean): object {
  const { vrf, mode, isolate = strict ? 'strict' : 'false' } = options ?? {};
  if (vrf !== undefined) throw refuse(`the option vrf (${vrf}) is not supported`);
  const leadsNowhere = (subnets ?? []).every(({ gateway }) => !gateway);
  return {
    ...pick(options ?? {}, OF_BRIDGES),
    // No rule of cleat's stands between a bridge of others and the world.
    ...(mode === 'unmanaged' ? {} : { isolate: isolate === '' ? 'false' : isolate }),
    ...(leadsNowhere ? { no_default_route: 'true' } : {}),
  };
}

/** Returns what Podman gets to know of the networks that it asked for. */
export function toAnswer(setup: NetavarkSetup, { attachments }: Pick<ContainerContext, 'attachments'>): NetavarkAnswer {
  const blocks = inOrder(setup.networks).flatMap(([network]) => {
    const attachment = attachments.find((one) => one.network === network);
    if (attachment === undefined) return [];
    const { link, mac, addresses, dns } = attachment;
    const own = setup.network_info[network]?.subnets ?? [];
    const subnets = addresses.map(({ address, prefix }) => ({
      gateway: own.find(({ subnet }) => contains(parseSubnet(Cidr.parse(subnet)), address))?.gateway ?? null,
      ipnet: `${address}/${prefix}`,
    }));
    const block = {
      dns_search_domains: dns === null ? [] : [SEARCH_DOMAIN],
      dns_server_ips: dns === null ? (setup.dns_servers ?? []) : dns.listen,
      interfaces: { [link]: { mac_address: mac, subnets } },
    };
    return [[network, block] as const];
  });
  return Object.fromEntries(blocks);
}

/** Returns true if Podman's network of this name is the one that cleat knows. */
export const isNetavarks = ({ engine }: NetworkDefinition): boolean => engine === 'netavark';
