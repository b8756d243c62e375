/**
 * Translates what a client of Docker asks for into cleat's own requests: a network to be made, and a container's attachment.
 *
 * Guarantees: pure. What cleat cannot carry out is refused with the option that asks for it, never ignored; an option that asks for
 * what is so anyway is accepted. The names that Docker gives to its own networks are nobody's.
 * Limits: cleat's own schemas and plans check names, addresses and how options fit together.
 */
import { hostRange, parseSubnet, toText } from '../../../plan/addresses/address.ts';
import { AttachmentOptions } from '../../../state/event.ts';
import { FaultError } from '../../../state/faults.ts';
import type { DockerCreate, DockerEndpoint, DockerSubnet } from '../../../state/fronts/docker.ts';
import { Cidr } from '../../../state/names.ts';
import { DRIVERS, NetworkOptions, NetworkRequest } from '../../../state/network.ts';
import { parse } from '../../requests/parse.ts';

/** Docker has networks of these names from its start, and `default` stands for the first (docs/decisions/0066). */
const PREDEFINED = ['bridge', 'host', 'none', 'default'];

/** What an option of Docker's is here: another word for one of cleat's, or what cannot be otherwise. `of`: the drivers that have it. */
type Meaning =
  { is: keyof NetworkOptions | 'bridge' | 'parent'; of: readonly string[] } | { only: string; why: string };

const BRIDGE = ['bridge', 'netavark'];
const ON_PARENT = ['macvlan', 'ipvlan', 'vlan'];
const MASQUERADE = 'com.docker.network.bridge.enable_ip_masquerade';

export const DOCKER_OPTIONS: Readonly<Record<string, Meaning>> = {
  'com.docker.network.bridge.name': { is: 'bridge', of: BRIDGE },
  parent: { is: 'parent', of: [...ON_PARENT, 'netavark'] },
  'com.docker.network.driver.mtu': { is: 'mtu', of: [...BRIDGE, ...ON_PARENT] },
  [MASQUERADE]: { is: MASQUERADE, of: BRIDGE },
  'com.docker.network.host_ipv4': { is: 'outbound_addr4', of: BRIDGE },
  'com.docker.network.host_ipv6': { is: 'outbound_addr6', of: BRIDGE },
  macvlan_mode: { is: 'mode', of: ['macvlan'] },
  ipvlan_mode: { is: 'mode', of: ['ipvlan'] },
  'com.docker.network.bridge.enable_icc': { only: 'true', why: 'containers on one network reach each other' },
  'com.docker.network.bridge.inhibit_ipv4': { only: 'false', why: 'the bridge has the address of the gateway' },
  'com.docker.network.bridge.default_bridge': { only: 'false', why: 'the default network is made by cleat' },
  'com.docker.network.bridge.gateway_mode_ipv4': { only: 'nat', why: 'only published ports lead to a container' },
  'com.docker.network.bridge.gateway_mode_ipv6': { only: 'nat', why: 'only published ports lead to a container' },
  'com.docker.network.bridge.host_binding_ipv4': { only: '0.0.0.0', why: 'each port says where it is published' },
  'com.docker.network.container_iface_prefix': { only: 'eth', why: 'interfaces are called eth0, eth1, ...' },
  ipvlan_flag: { only: 'bridge', why: 'cleat has no other kind of ipvlan' },
};

/** Docker takes the words of Go's strconv.ParseBool. */
const TRUE = ['1', 't', 'T', 'TRUE', 'True', 'true'];
const FALSE = ['0', 'f', 'F', 'FALSE', 'False', 'false'];
const asWord = (text: string): string => (TRUE.includes(text) ? 'true' : FALSE.includes(text) ? 'false' : text);

const invalid = (message: string): FaultError => new FaultError('BAD_REQUEST', message);
const unsupported = (message: string): FaultError => new FaultError('UNSUPPORTED', message);

/** Returns the network that is asked for. Throws for what cleat has not. */
export function toNetworkRequest(create: DockerCreate): NetworkRequest {
  const { Name: name, Internal: internal, Labels: labels, IPAM: ipam } = create;
  if (PREDEFINED.includes(name)) {
    throw new FaultError('NOT_ALLOWED', `operation is not permitted on predefined ${name} network`);
  }
  refuseSwarm(create);
  const driver = driverOf(create.Driver);
  const subnets = (ipam?.Config ?? []).map(subnetOf);
  const ipamDriver = ipamOf(ipam?.Driver);
  if (Object.keys(ipam?.Options ?? {}).length > 0) throw unsupported('options of the IPAM driver are not supported');
  return parse(NetworkRequest, {
    name,
    driver,
    ...(subnets.length === 0 ? {} : { subnets }),
    ...familiesOf(create, subnets),
    ...(internal === true ? { internal } : {}),
    ...(labels === null || labels === undefined ? {} : { labels }),
    ...optionsOf(create.Options ?? {}, driver),
    ...(ipamDriver === null ? {} : { ipam_options: { driver: ipamDriver } }),
  });
}

function driverOf(text: string | null | undefined): string {
  if (text === null || text === undefined || text === '' || text === 'default') return 'bridge';
  if (DRIVERS.some((one) => one === text)) return text;
  throw unsupported(`could not find plugin ${text}: cleat has the drivers ${DRIVERS.join(', ')}`);
}

function refuseSwarm({ Scope, Attachable, Ingress, ConfigOnly, ConfigFrom }: DockerCreate): void {
  if (Scope === 'swarm' || Scope === 'global') throw unsupported(`scope ${Scope} is not supported: there is no swarm`);
  if (Scope && Scope !== 'local') throw invalid(`invalid scope ${Scope}`);
  if (Attachable === true) throw unsupported('attachable is not supported: it is for networks of a swarm');
  if (Ingress === true) throw unsupported('ingress is not supported: it is for networks of a swarm');
  if (ConfigOnly === true || ConfigFrom?.Network) throw unsupported('networks of configurations are not supported');
}

function ipamOf(text: string | null | undefined): 'none' | null {
  if (!text || text === 'default') return null;
  if (text === 'null' || text === 'none') return 'none';
  throw unsupported(`IPAM driver ${text} is not supported: cleat has default and null`);
}

function subnetOf({ Subnet, IPRange, Gateway, AuxiliaryAddresses }: DockerSubnet): object {
  if (!Subnet) throw invalid('every ip-range or gateway must have a corresponding subnet');
  if (Object.keys(AuxiliaryAddresses ?? {}).length > 0) {
    throw unsupported('auxiliary addresses are not supported: keep them free with an ip-range');
  }
  return {
    subnet: Subnet,
    ...(Gateway ? { gateway: Gateway } : {}),
    ...(IPRange ? { lease_range: rangeOf(Subnet, IPRange) } : {}),
  };
}

/** Returns the addresses of a range that a host may have. */
function rangeOf(subnet: string, text: string): { start_ip: string; end_ip: string } {
  const whole = parseSubnet(cidr(subnet, 'subnet'));
  const range = parseSubnet(cidr(text, 'ip-range'));
  const hosts = hostRange(whole);
  if (range.family !== whole.family || range.first < whole.first || range.last > whole.last) {
    throw invalid(`invalid ip-range ${text}: it is not inside subnet ${subnet}`);
  }
  const start = range.first < hosts.first ? hosts.first : range.first;
  const end = range.last > hosts.last ? hosts.last : range.last;
  return { start_ip: toText(start, whole.family), end_ip: toText(end, whole.family) };
}

function cidr(text: string, what: string): string {
  const { data } = Cidr.safeParse(text);
  if (data === undefined) throw invalid(`invalid ${what} ${text}: invalid CIDR address`);
  return data;
}

function familiesOf({ EnableIPv4, EnableIPv6 }: DockerCreate, subnets: readonly object[]): object {
  const isV6 = (one: object) => 'subnet' in one && String(one.subnet).includes(':');
  const [v4, v6] = [EnableIPv4 ?? true, EnableIPv6 ?? false];
  if (!v4 && !v6) throw invalid('IPv4 or IPv6 must be enabled');
  const some6 = subnets.some(isV6);
  const some4 = subnets.some((one) => !isV6(one));
  if (some6 && !v6) throw invalid('an IPv6 subnet is given, and IPv6 is not enabled (--ipv6)');
  if (some4 && !v4) throw invalid('an IPv4 subnet is given, and IPv4 is not enabled');
  return {
    ...(v6 ? { ipv6_enabled: true } : {}),
    // cleat chooses an IPv4 subnet where none at all is given.
    ...(v4 === (some4 || !some6) ? {} : { ipv4_enabled: v4 }),
  };
}

/** Returns the options, and the name of the bridge or parent that is one of them in Docker. */
function optionsOf(given: Readonly<Record<string, string>>, driver: string): object {
  const options: Record<string, string> = {};
  let link = {};
  for (const [name, text] of Object.entries(given)) {
    const meaning = meaningOf(name);
    if (meaning === undefined) throw unsupported(`unknown option ${name}: docs/docker.md lists those that cleat has`);
    if ('only' in meaning) {
      if (text === meaning.only || asWord(text) === meaning.only) continue;
      throw unsupported(`the option ${name}=${text} is not supported: ${meaning.why}`);
    }
    if (!meaning.of.includes(driver)) throw unsupported(`the option ${name} is not supported by driver ${driver}`);
    if (meaning.is === 'bridge' || meaning.is === 'parent') link = { network_interface: text };
    else options[meaning.is] = meaning.is === MASQUERADE ? asWord(text) : text;
  }
  return { ...link, ...(Object.keys(options).length === 0 ? {} : { options }) };
}

/** Options that only cleat and Podman have keep their names; the plan of the network says which driver has them. */
function meaningOf(name: string): Meaning | undefined {
  if (Object.hasOwn(DOCKER_OPTIONS, name)) return DOCKER_OPTIONS[name];
  const { data: own } = NetworkOptions.keyof().safeParse(name);
  return own === undefined ? undefined : { is: own, of: DRIVERS };
}

/** The option of an endpoint that names the container's interface. */
const INTERFACE_NAME = 'com.docker.network.endpoint.ifname';

/** Returns how a container is to be attached. Throws for what cleat has not. */
export function toAttachmentOptions(endpoint: DockerEndpoint): AttachmentOptions {
  const { IPAMConfig: ipam, Links, Aliases, MacAddress, DriverOpts, GwPriority } = endpoint;
  if ((Links ?? []).length > 0) throw unsupported('links are not supported: containers on one network know names');
  if ((ipam?.LinkLocalIPs ?? []).length > 0) throw unsupported('link-local addresses are not supported');
  const { [INTERFACE_NAME]: link, ...others } = DriverOpts ?? {};
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw unsupported(`the endpoint option ${unknown} is not supported`);
  const addresses = [ipam?.IPv4Address, ipam?.IPv6Address].filter((one) => one);
  return parse(AttachmentOptions, {
    ...(addresses.length === 0 ? {} : { static_ips: addresses }),
    ...(MacAddress ? { static_mac: MacAddress.replaceAll('-', ':') } : {}),
    ...(link === undefined ? {} : { interface_name: link }),
    ...(Aliases && Aliases.length > 0 ? { aliases: Aliases } : {}),
    ...(GwPriority ? { gateway_priority: GwPriority } : {}),
  });
}
