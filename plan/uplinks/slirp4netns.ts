/**
 * slirp4netns: turns the reference's `key=value` options into complete settings, and settings into arguments.
 *
 * Guarantees: pure. The last of equal keys counts, and a container's options come after the engine's (B39). The messages are
 * the reference's (B40-B48, B66). A network without room for the guest, the gateway and the name server is refused here.
 * Limits: the caller's function decides if a name is an interface. An IPv4 address may only be written as four decimal numbers.
 */
import ipaddr from 'ipaddr.js';
import type { Fault } from '../../state/faults.ts';
import type { PortHandler, SlirpSettings, UplinkFeatures } from '../../state/uplink.ts';
import { contains, parseSubnet, toText } from '../addresses/address.ts';
import { IPV4_LEAST } from '../networks/mtu.ts';

/** Name of its link in the container's namespace. */
export const SLIRP_LINK = 'tap0';
/** The IPv6 network of slirp4netns, fixed in libslirp 4.7 (slirp4netns(1), --enable-ipv6): gateway ::2, names ::3. */
export const SLIRP_IPV6 = { guest: 'fd00::100', gateway: 'fd00::2', dns: 'fd00::3', prefix: 64 } as const;

const DEFAULT_CIDR = '10.0.2.0/24';
const DEFAULT_MTU = 65_520;
/** The minimum that IPv4 allows (RFC 791), and the maximum that slirp4netns takes (slirp4netns(1), --mtu). */
const MTU_MOST = 65_521;

export interface SlirpOptions {
  engine: readonly string[];
  container: readonly string[];
  /** Absolute path of the executable. */
  file: string;
  isInterface: (name: string) => boolean;
}

export type SlirpParsed =
  { settings: SlirpSettings; portHandler: Extract<PortHandler, 'forwarder' | 'slirp4netns'> } | { fault: Fault };

export function parseSlirp({ engine, container, file, isInterface }: SlirpOptions): SlirpParsed {
  const settings: SlirpSettings = {
    program: 'slirp4netns',
    file,
    cidr: DEFAULT_CIDR,
    mtu: DEFAULT_MTU,
    ipv6: false,
    hostLoopback: false,
    outboundAddr: null,
    outboundAddr6: null,
  };
  let portHandler: 'forwarder' | 'slirp4netns' = 'forwarder';
  for (const option of [...engine, ...container]) {
    const at = option.indexOf('=');
    if (at < 0) return bad(`unknown option for slirp4netns: ${quoted(option)}`);
    const value = option.slice(at + 1);
    switch (option.slice(0, at)) {
      case 'cidr': {
        const cidr = canonical(value);
        if (cidr === null) return bad(`invalid cidr ${quoted(value)}`);
        settings.cidr = cidr;
        break;
      }
      case 'port_handler':
        if (value === 'rootlesskit') portHandler = 'forwarder';
        else if (value === 'slirp4netns') portHandler = value;
        else return bad(`unknown port_handler for slirp4netns: ${quoted(value)}`);
        break;
      case 'allow_host_loopback':
        if (!isFlag(value)) return bad(`invalid value of allow_host_loopback for slirp4netns: ${quoted(value)}`);
        settings.hostLoopback = value === 'true';
        break;
      case 'enable_ipv6':
        if (!isFlag(value)) return bad(`invalid value of enable_ipv6 for slirp4netns: ${quoted(value)}`);
        settings.ipv6 = value === 'true';
        break;
      case 'outbound_addr':
        if (!isIpv4(value) && !isInterface(value)) return bad(`invalid outbound_addr ${quoted(value)}`);
        settings.outboundAddr = value;
        break;
      case 'outbound_addr6':
        if (!isIpv6(value) && !isInterface(value)) return bad(`invalid outbound_addr6: ${quoted(value)}`);
        settings.outboundAddr6 = value;
        break;
      case 'mtu':
        if (!/^\d{1,6}$/.test(value) || Number(value) < IPV4_LEAST || Number(value) > MTU_MOST) {
          return bad(`invalid mtu ${quoted(value)}`);
        }
        settings.mtu = Number(value);
        break;
      default:
        return bad(`unknown option for slirp4netns: ${quoted(option)}`);
    }
  }
  if (settings.outboundAddr6 !== null && !settings.ipv6) {
    return bad('enable_ipv6=true is required for outbound_addr6');
  }
  const addresses = uplinkAddresses(settings.cidr);
  return 'fault' in addresses ? addresses : { settings, portHandler };
}

export interface UplinkAddresses {
  guest: string;
  gateway: string;
  dns: string;
  prefix: number;
}

/**
 * Returns the addresses in the network of slirp4netns (B66), or a fault for a network without room for them. The network in
 * settings always has room.
 */
export function uplinkAddresses(cidr: string): UplinkAddresses | { fault: Fault } {
  const subnet = parseSubnet(cidr);
  const found: string[] = [];
  for (const offset of [100n, 2n, 3n]) {
    const value = subnet.first + offset;
    if (value >= 1n << 32n) {
      const network = toText(subnet.first, 4);
      return bad(`integer overflow while calculating ip address offset, ${network} + ${offset}`);
    }
    const address = toText(value, 4);
    if (!contains(subnet, address)) return bad(`calculated ip address ${address} is not within given subnet ${cidr}`);
    found.push(address);
  }
  const [guest = '', gateway = '', dns = ''] = found;
  return { guest, gateway, dns, prefix: subnet.prefix };
}

/**
 * Descriptors in the program: its end of the pipe that requests its end, the one that it writes to when it is ready (B50), and
 * the namespace that it makes its link in.
 */
export const [SLIRP_EXIT_FD, SLIRP_READY_FD, SLIRP_NETNS_FD] = [3, 4, 5];

export type SlirpArguments =
  | {
      args: string[];
      /** Hardening options, and the MTU, that this executable does not support; the reference drops them silently (B48). */
      missing: string[];
    }
  | { fault: Fault };

/** `apiSocket`: the path of the API socket, relative to the program's working directory; null for none. */
export function slirpArguments(
  settings: SlirpSettings,
  { flags }: UplinkFeatures,
  target: { netns: string } | { pid: number },
  apiSocket: string | null,
): SlirpArguments {
  const { cidr, mtu, ipv6, hostLoopback, outboundAddr, outboundAddr6 } = settings;
  const can = (flag: string): boolean => flags.includes(flag);
  const wished = [
    ...(hostLoopback ? [] : [['--disable-host-loopback']]),
    ['--mtu', String(mtu)],
    ['--enable-sandbox'],
    ['--enable-seccomp'],
  ];
  const args = wished.filter(([flag = '']) => can(flag)).flat();
  const missing = wished.map(([flag = '']) => flag).filter((flag) => !can(flag));
  if (cidr !== DEFAULT_CIDR) {
    if (!can('--cidr')) return bad('cidr not supported');
    args.push(`--cidr=${cidr}`);
  }
  if (ipv6) {
    if (!can('--enable-ipv6')) return bad('enable_ipv6 not supported');
    args.push('--enable-ipv6');
  }
  if (outboundAddr !== null) {
    if (!can('--outbound-addr')) return bad('outbound_addr not supported');
    args.push(`--outbound-addr=${outboundAddr}`);
  }
  if (outboundAddr6 !== null) {
    if (!can('--outbound-addr6')) return bad('outbound_addr6 not supported');
    args.push(`--outbound-addr6=${outboundAddr6}`);
  }
  if (apiSocket !== null) {
    if (!can('--api-socket')) return bad('port_handler=slirp4netns not supported');
    args.push('--api-socket', apiSocket);
  }
  args.push('-c', '-e', String(SLIRP_EXIT_FD), '-r', String(SLIRP_READY_FD));
  if ('pid' in target) args.push(String(target.pid));
  else if (can('--netns-type')) args.push('--netns-type=path', target.netns);
  else return bad('--netns-type not supported');
  args.push(SLIRP_LINK);
  return { args, missing };
}

const bad = (message: string): { fault: Fault } => ({ fault: { code: 'BAD_REQUEST', message } });

/** Quotes printable text as Go's %q does. */
const quoted = (text: string): string => JSON.stringify(text);

const isFlag = (value: string): boolean => value === 'true' || value === 'false';
const isIpv4 = (text: string): boolean => ipaddr.IPv4.isValidFourPartDecimal(text);
const isIpv6 = (text: string): boolean =>
  ipaddr.IPv6.isValid(text) && !text.includes('%') && !ipaddr.IPv6.parse(text).isIPv4MappedAddress();

/** Returns the canonical form of a network, or of an address in it; null if the text is neither. slirp4netns takes no /0. */
function canonical(text: string): string | null {
  const [, address = '', prefix = ''] = /^([\d.]+)\/([1-9]|[12]\d|3[0-2])$/.exec(text) ?? [];
  return isIpv4(address) ? `${ipaddr.IPv4.networkAddressFromCIDR(`${address}/${prefix}`).toString()}/${prefix}` : null;
}
