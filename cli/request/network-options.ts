/**
 * Turns the flags that make or change a network into the API's request. The flags are Podman's.
 *
 * Guarantees: pure. A gateway and a range go to the subnet that contains them, in whatever order they are given. A range
 * written as a CIDR leaves out the network and broadcast address of the subnet.
 * Limits: form only; the daemon checks overlaps and chooses free subnets.
 */
import { BlockList, isIP } from 'node:net';
import type { NetworkRequest, NetworkUpdate, Route, Subnet } from '../../state/network.ts';
import { usage } from '../failure.ts';

export interface NetworkFlags {
  ignore?: boolean;
  driver?: string;
  ipamDriver?: string;
  subnet?: string[];
  gateway?: string[];
  ipRange?: string[];
  ipv6?: boolean;
  hostPrefix?: string;
  hostPrefix6?: string;
  backend?: string;
  tunnelPort?: string;
  internal?: boolean;
  disableDns?: boolean;
  dns?: string[];
  interfaceName?: string;
  opt?: string[];
  route?: string[];
  label?: string[];
}

export interface NetworkUpdateFlags extends Pick<
  NetworkFlags,
  'subnet' | 'gateway' | 'ipRange' | 'ipv6' | 'opt' | 'route'
> {
  dns?: string[];
  dnsNone?: boolean;
  routeNone?: boolean;
  optDrop?: string[];
  subnetDrop?: string[];
  ipRangeDrop?: string[];
}

/** Returns a request that changes only the named fields: lists are replaced as a whole, subnets are added or changed. */
export function networkUpdate(flags: NetworkUpdateFlags): NetworkUpdate {
  const { dns = [], dnsNone = false, route = [], routeNone = false, opt = [], optDrop = [] } = flags;
  const { subnetDrop = [], ipRangeDrop = [] } = flags;
  if (dnsNone && dns.length > 0) throw usage('--dns-none means none: not together with --dns');
  if (routeNone && route.length > 0) throw usage('--route-none means none: not together with --route');
  const both = optDrop.find((key) => Object.hasOwn(pairs(opt, '--opt'), key));
  if (both !== undefined) throw usage(`--opt ${both} and --opt-drop ${both} exclude each other`);
  checkServers(dns);
  const subnets: NonNullable<NetworkUpdate['subnets']> = subnetsOf(flags);
  for (const text of ipRangeDrop) {
    const { text: subnet } = cidr(text, '--ip-range-drop');
    const named = subnets.find((other) => other.subnet === subnet);
    if (named?.lease_range !== undefined && named.lease_range !== null)
      throw usage(`--ip-range-drop ${subnet}: it is given a range as well`);
    if (named === undefined) subnets.push({ subnet, lease_range: null });
    else named.lease_range = null;
  }
  const options = { ...pairs(opt, '--opt'), ...Object.fromEntries(optDrop.map((key) => [key, null])) };
  const update: NetworkUpdate = {
    ...(opt.length + optDrop.length === 0 ? {} : { options }),
    ...(dnsNone || dns.length > 0 ? { network_dns_servers: dns } : {}),
    ...(routeNone || route.length > 0 ? { routes: route.map(parseRoute) } : {}),
    ...(subnets.length === 0 ? {} : { subnets }),
    ...(subnetDrop.length === 0 ? {} : { remove_subnets: subnetDrop.map((text) => cidr(text, '--subnet-drop').text) }),
    ...(flags.ipv6 === undefined ? {} : { ipv6_enabled: flags.ipv6 }),
  };
  if (Object.keys(update).length === 0) throw usage('nothing to change', 'See `cleat network update --help`.');
  return update;
}

function checkServers(dns: readonly string[]): void {
  for (const address of dns) if (isIP(address) === 0) throw usage(`invalid --dns "${address}": not an IP address`);
}

export function networkRequest(name: string, flags: NetworkFlags): NetworkRequest {
  const { opt = [], route = [], label = [], dns = [] } = flags;
  checkServers(dns);
  const silent = flags.disableDns === true ? '--disable-dns' : '--internal';
  if (dns.length > 0 && (flags.disableDns === true || flags.internal === true))
    throw usage(`${silent} and --dns exclude each other: nobody is asked about other names there`);
  const subnets = subnetsOf(flags);
  return {
    name,
    // The daemon refuses a driver that it does not know with its own message.
    ...(flags.driver === undefined ? {} : { driver: flags.driver as 'bridge' }),
    ...(flags.ipamDriver === undefined ? {} : { ipam_options: { driver: flags.ipamDriver as 'none' } }),
    ...(subnets.length === 0 ? {} : { subnets }),
    ...(flags.ipv6 === true ? { ipv6_enabled: true } : {}),
    ...overlayOf(flags),
    ...(flags.internal === true ? { internal: true } : {}),
    ...(flags.disableDns === true ? { dns_enabled: false } : {}),
    ...(dns.length === 0 ? {} : { network_dns_servers: dns }),
    ...(flags.interfaceName === undefined ? {} : { network_interface: flags.interfaceName }),
    ...(opt.length === 0 ? {} : { options: pairs(opt, '--opt') }),
    ...(route.length === 0 ? {} : { routes: route.map(parseRoute) }),
    ...(label.length === 0 ? {} : { labels: pairs(label, '--label') }),
  };
}

/** Returns what only an overlay has. */
function overlayOf(flags: NetworkFlags): Pick<NetworkRequest, 'overlay'> {
  const { driver, hostPrefix, hostPrefix6, backend, tunnelPort } = flags;
  const length = (text: string, flag: string): number => {
    if (/^\d{1,3}$/.test(text) && Number(text) <= 128) return Number(text);
    throw usage(`invalid ${flag} "${text}": it is the length of a prefix, such as 24`);
  };
  if (tunnelPort !== undefined && !(/^[1-9]\d{0,4}$/.test(tunnelPort) && Number(tunnelPort) <= 65_535))
    throw usage(`invalid --tunnel-port "${tunnelPort}": it is a UDP port, such as 51820`);
  const overlay = {
    ...(hostPrefix === undefined ? {} : { host_prefix: length(hostPrefix, '--host-prefix') }),
    ...(hostPrefix6 === undefined ? {} : { host_prefix6: length(hostPrefix6, '--host-prefix6') }),
    // The daemon refuses a backend that it does not know with its own message.
    ...(backend === undefined ? {} : { backend: backend as 'vxlan' }),
    ...(tunnelPort === undefined ? {} : { port: Number(tunnelPort) }),
  };
  if (Object.keys(overlay).length === 0) return {};
  if (driver !== 'overlay')
    throw usage('--host-prefix, --host-prefix6, --backend and --tunnel-port are for --driver overlay');
  return { overlay };
}

/** Returns each subnet with its gateway and its range, if given. */
function subnetsOf({ subnet = [], gateway = [], ipRange = [] }: NetworkFlags): Subnet[] {
  const subnets: Subnet[] = subnet.map((text) => ({ subnet: cidr(text, '--subnet').text }));
  for (const address of gateway) {
    const target = holding(subnets, address, '--gateway');
    if (target.gateway !== undefined)
      throw usage(`subnet ${target.subnet} has two gateways: ${target.gateway} and ${address}`);
    target.gateway = address;
  }
  for (const text of ipRange) {
    const [start, end] = range(text);
    const target = holding(subnets, start, '--ip-range');
    if (holding(subnets, end, '--ip-range') !== target) throw usage(`--ip-range ${text} is not inside one subnet`);
    if (target.lease_range !== undefined) throw usage(`subnet ${target.subnet} has two ranges`);
    target.lease_range = text.includes('/') ? within(target.subnet, start, end) : { start_ip: start, end_ip: end };
  }
  return subnets;
}

/** Parses key=value words; the last value of a key wins. A label may have no value. */
export function pairs(words: string[], flag: string): Record<string, string> {
  const entries = words.map((word): [string, string] => {
    const equals = word.indexOf('=');
    if (equals === 0 || (equals === -1 && flag !== '--label'))
      throw usage(`invalid ${flag} "${word}": it is key=value`);
    return equals === -1 ? [word, ''] : [word.slice(0, equals), word.slice(equals + 1)];
  });
  return Object.fromEntries(entries);
}

export function parseRoute(text: string): Route {
  const [destination = '', gateway = '', metric, ...more] = text.split(',');
  const wrong = (why: string) => usage(`invalid --route "${text}": ${why}`, 'A route is DESTINATION,GATEWAY[,METRIC].');
  if (more.length > 0 || gateway === '') throw wrong('it has a destination, a gateway and perhaps a metric');
  if (isIP(gateway) === 0) throw wrong(`"${gateway}" is not an IP address`);
  if (metric !== undefined && !/^\d{1,10}$/.test(metric)) throw wrong(`"${metric}" is not a metric`);
  const route: Route = { destination: cidr(destination, '--route').text, gateway };
  return metric === undefined ? route : { ...route, metric: Number(metric) };
}

interface Block {
  text: string;
  address: string;
  prefix: number;
  family: 'ipv4' | 'ipv6';
}

function cidr(text: string, flag: string): Block {
  const [, address = '', digits = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const version = isIP(address);
  const prefix = Number(digits);
  if (version === 0 || digits === '' || prefix > (version === 4 ? 32 : 128)) {
    throw usage(`invalid ${flag} "${text}": not a subnet like 10.90.0.0/24 or fd00:90::/64`);
  }
  return { text, address, prefix, family: version === 4 ? 'ipv4' : 'ipv6' };
}

function holding(subnets: Subnet[], address: string, flag: string): Subnet {
  const version = isIP(address);
  if (version === 0) throw usage(`invalid ${flag} "${address}": not an IP address`);
  const found = subnets.find(({ subnet }) => {
    const block = cidr(subnet, '--subnet');
    const list = new BlockList();
    list.addSubnet(block.address, block.prefix, block.family);
    return list.check(address, version === 4 ? 'ipv4' : 'ipv6');
  });
  if (found !== undefined) return found;
  const hint = 'Each gateway and each range belongs to one of the subnets: give that with --subnet.';
  throw usage(`${flag} ${address} is in none of the subnets given`, hint);
}

/** Returns the first and last address of "10.90.0.128/25" or "10.90.0.10-10.90.0.20". */
function range(text: string): [start: string, end: string] {
  if (text.includes('/')) {
    const block = cidr(text, '--ip-range');
    return bounds(block);
  }
  const [start = '', end = '', ...more] = text.split('-');
  if (more.length > 0 || isIP(start) === 0 || isIP(start) !== isIP(end)) {
    throw usage(`invalid --ip-range "${text}"`, 'A range is a CIDR such as 10.90.0.128/25, or FIRST-LAST.');
  }
  if (number(end) < number(start)) throw usage(`--ip-range ${text} ends before it begins`);
  return [start, end];
}

/** Returns a range inside a subnet, without the addresses that no container can have. */
function within(subnet: string, start: string, end: string): { start_ip: string; end_ip: string } {
  const block = cidr(subnet, '--subnet');
  const [first, last] = bounds(block).map(number) as [bigint, bigint];
  const from = number(start) === first ? first + 1n : number(start);
  const to = number(end) === last && block.family === 'ipv4' ? last - 1n : number(end);
  return { start_ip: address(from, block.family), end_ip: address(to, block.family) };
}

function bounds({ address: base, prefix, family }: Block): [first: string, last: string] {
  const size = 1n << BigInt((family === 'ipv4' ? 32 : 128) - prefix);
  const first = (number(base) / size) * size;
  return [address(first, family), address(first + size - 1n, family)];
}

function number(text: string): bigint {
  if (isIP(text) === 4) return text.split('.').reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  // The URL parser writes an IPv6 address in one form: hexadecimal groups, at most one "::".
  const [head = '', tail] = new URL(`http://[${text}]`).hostname.slice(1, -1).split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const [before, after] = [groups(head), groups(tail ?? '')];
  const zeros = Array<string>(8 - before.length - after.length).fill('0');
  return [...before, ...zeros, ...after].reduce((sum, group) => sum * 65_536n + BigInt(`0x${group}`), 0n);
}

function address(value: bigint, family: 'ipv4' | 'ipv6'): string {
  const [parts, bits, radix] = family === 'ipv4' ? [4, 8n, 10] : [8, 16n, 16];
  const words = Array.from({ length: parts }, (_, i) =>
    ((value >> (bits * BigInt(parts - 1 - i))) & ((1n << bits) - 1n)).toString(radix),
  );
  if (family === 'ipv4') return words.join('.');
  return new URL(`http://[${words.join(':')}]`).hostname.slice(1, -1);
}
