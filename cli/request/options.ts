/**
 * Parses the ports and networks of the command line into the API's shapes. The syntax is Docker's and Podman's.
 *
 *   ports     [HOSTIP:][HOSTPORT[-HOSTPORT]:]PORT[-PORT][/PROTO[,PROTO]]      127.0.0.1:8080:80  [::1]::53/tcp,udp  9000-9010
 *   networks  NAME[:ip=ADDR,ip6=ADDR,mac=MAC,interface_name=NAME,alias=NAME,gw-priority=N]
 *             or   none | host | container:ID | ns:PATH | slirp4netns[:KEY=VALUE,...] | pasta[:OPTION,...]
 *
 * Guarantees: pure. A word that is not understood is refused by name, never guessed.
 * Limits: form only. The daemon checks if an address is free or a network exists.
 */
import { isIP } from 'node:net';
import type { AttachmentOptions, CreateEvent, PortMapping } from '../../state/event.ts';
import type { PortHandler, UplinkProgram, UplinkRequest } from '../../state/uplink.ts';
import { usage, type Failure } from '../failure.ts';

/** The network of a container that names none. A copy, because the client imports only types from state/network.ts. */
export const DEFAULT_NETWORK = 'cleat';

const PROGRAMS: readonly UplinkProgram[] = ['slirp4netns', 'pasta'];
const PROTOCOLS = ['tcp', 'udp', 'sctp'] as const;
type Protocol = (typeof PROTOCOLS)[number];

const PORT_HINT =
  'A port is [HOSTIP:][HOSTPORT:]PORT[-PORT][/PROTO], such as 8080:80, 127.0.0.1::80 or [::1]:53:53/tcp,udp.';

/** Returns one mapping for each protocol. */
export function parsePort(text: string): PortMapping[] {
  const wrong = (why: string): Failure => usage(`invalid port "${text}": ${why}`, PORT_HINT);
  const [ports = '', protocols, ...more] = text.split('/');
  if (more.length > 0) throw wrong('more than one "/"');
  const { ip, rest } = splitHostIp(ports, wrong);
  const parts = rest.split(':');
  if (parts.length > 2) throw wrong('put an IPv6 address in brackets, and a port behind it');
  const container = parseRange(parts.at(-1) ?? '', wrong);
  const hostText = parts.length === 2 ? (parts[0] ?? '') : '';
  const host = hostText === '' ? null : parseRange(hostText, wrong);
  if (host !== null && host.count !== container.count) {
    throw wrong(`${host.count} on the host for ${container.count} in the container: the ranges must be of one length`);
  }
  const mapping = {
    ...(ip === '' ? {} : { host_ip: ip }),
    ...(host === null ? {} : { host_port: host.first }),
    container_port: container.first,
    ...(container.count === 1 ? {} : { range: container.count }),
  };
  if (protocols === undefined) return [mapping];
  const all = new Set(protocols.split(',').map((protocol) => parseProtocol(protocol, wrong)));
  return [...all].map((protocol) => ({ ...mapping, protocol }));
}

/** Splits off the leading address, if there is one: in brackets, or the first of three parts. */
function splitHostIp(ports: string, wrong: (why: string) => Failure): { ip: string; rest: string } {
  const bracketed = /^\[([^\]]*)\]:(.*)$/.exec(ports);
  if (bracketed !== null) {
    const [, ip = '', rest = ''] = bracketed;
    if (isIP(ip) !== 6) throw wrong(`"${ip}" is not an IPv6 address`);
    return { ip, rest };
  }
  if (ports.startsWith('[')) throw wrong('after the address in brackets comes ":" and a port');
  const parts = ports.split(':');
  if (parts.length !== 3) return { ip: '', rest: ports };
  const [ip = '', ...rest] = parts;
  if (isIP(ip) !== 4) throw wrong(ip === '' ? 'put an IPv6 address in brackets' : `"${ip}" is not an IP address`);
  return { ip, rest: rest.join(':') };
}

function parseProtocol(text: string, wrong: (why: string) => Failure): Protocol {
  const protocol = PROTOCOLS.find((known) => known === text.toLowerCase());
  if (protocol === undefined) throw wrong(`the protocol "${text}" is none of ${PROTOCOLS.join(', ')}`);
  return protocol;
}

function parseRange(text: string, wrong: (why: string) => Failure): { first: number; count: number } {
  const [from = '', to = from, ...more] = text.split('-');
  if (more.length > 0) throw wrong(`"${text}" is not a port or a range of ports`);
  const [first, last] = [from, to].map((part) => {
    const port = /^\d{1,5}$/.test(part) ? Number(part) : 0;
    if (port < 1 || port > 65_535)
      throw wrong(part === '' ? 'a port is missing' : `"${part}" is not between 1 and 65535`);
    return port;
  }) as [number, number];
  if (last < first) throw wrong(`the range ${text} ends before it begins`);
  return { first, count: last - first + 1 };
}

const NETWORK_HINT =
  'A network is NAME[:ip=..,ip6=..,mac=..,interface_name=..,alias=..,gw-priority=..], or one of none, host, container:ID, ' +
  'ns:PATH, slirp4netns[:KEY=VALUE,..], pasta[:OPTION,..].';

/** The part of a create event that --network, -p, --pid and similar flags decide. */
export type Wiring = Pick<
  CreateEvent,
  'netns' | 'networks' | 'uplink' | 'port_mappings' | 'dns_servers' | 'extra_hosts'
>;

export interface WiringOptions {
  network?: string[];
  /** Docker's other word for network. */
  net?: string[];
  publish?: string[];
  expose?: string[];
  publishAll?: boolean;
  pid?: number;
  ip?: string[];
  ip6?: string[];
  macAddress?: string;
  networkAlias?: string[];
  dns?: string[];
  addHost?: string[];
  hostname?: string;
  pod?: string;
  outside?: string;
  portHandler?: PortHandler;
}

export function parseWiring(options: WiringOptions): Wiring {
  const { pid, dns = [], addHost = [] } = options;
  const network = [...(options.network ?? []), ...(options.net ?? [])];
  const publish = [...(options.publish ?? []), ...exposed(options)];
  for (const server of dns) if (isIP(server) === 0) throw usage(`invalid --dns "${server}": not an IP address`);
  const extra = addHost.map(parseHost);
  const networks = new Map<string, AttachmentOptions>();
  let netns: CreateEvent['netns'] = pid === undefined ? undefined : { mode: 'pid', pid };
  let said = pid === undefined ? '' : '--pid';
  let none = false;
  let uplink: UplinkRequest | undefined;
  for (const text of network) {
    const mode = parseMode(text);
    const program = parseUplink(text);
    if (program !== null) {
      if (uplink !== undefined) throw usage(`--network ${uplink.program} and --network ${text} exclude each other`);
      uplink = program;
    } else if (mode === 'none') {
      none = true;
    } else if (mode !== null) {
      if (netns !== undefined) throw usage(`${said} and --network ${text} exclude each other`, NETWORK_HINT);
      netns = mode;
      said = `--network ${text}`;
    } else {
      const [name, options] = parseNetwork(text);
      if (networks.has(name)) throw usage(`network ${name} is given twice`, 'Several addresses: NAME:ip=A,ip=B.');
      networks.set(name, options);
    }
  }
  const [first] = networks.keys();
  const own = ownOptions(options);
  if (own !== null) {
    const [flag, attachment] = own;
    const other = uplink?.program ?? (none ? 'none' : netns === undefined || netns.mode === 'pid' ? undefined : said);
    if (networks.size === 0 && other !== undefined) throw usage(`${flag} needs a network, and ${other} is none`);
    if (networks.size > 1) throw usage(`${flag} is for one network`, `Say for which: ${NETWORK_HINT}`);
    networks.set(first ?? DEFAULT_NETWORK, { ...networks.get(first ?? ''), ...attachment });
  }
  if (uplink !== undefined) {
    const other = first ?? (none ? 'none' : undefined);
    if (other !== undefined) throw usage(`--network ${uplink.program} and --network ${other} exclude each other`);
    if (netns?.mode === 'host' || netns?.mode === 'container')
      throw usage(`--network ${uplink.program} and ${said} exclude each other`);
  }
  if (none && first !== undefined) throw usage(`--network none and --network ${first} exclude each other`);
  if (none && netns !== undefined && netns.mode !== 'pid') throw usage(`--network none and ${said} exclude each other`);
  if (netns?.mode === 'host' || netns?.mode === 'container') {
    const { hostname, pod, outside, portHandler } = options;
    const what = Object.entries({
      network: first,
      port: publish[0],
      hostname,
      pod,
      outside,
      'port handler': portHandler,
    });
    const own = what.find(([, value]) => value !== undefined);
    const hint = 'Give that to the one whose namespace it is.';
    if (own !== undefined) throw usage(`${said} shares a namespace: it has no ${own.join(' ')} of its own`, hint);
  }
  return {
    ...(netns === undefined ? {} : { netns }),
    ...(none || networks.size > 0 ? { networks: Object.fromEntries(networks) } : {}),
    ...(uplink === undefined ? {} : { uplink }),
    ...(publish.length === 0 ? {} : { port_mappings: publish.flatMap(parsePort) }),
    ...(dns.length === 0 ? {} : { dns_servers: dns }),
    ...(extra.length === 0 ? {} : { extra_hosts: extra }),
  };
}

/** Returns the ports that -P publishes. A process has no image that exposes ports: --expose does. */
function exposed({ expose = [], publishAll = false }: WiringOptions): string[] {
  for (const port of expose)
    if (port.includes(':')) throw usage(`invalid --expose "${port}": it is PORT[-PORT][/PROTO]`);
  if (!publishAll && expose.length > 0) throw usage('--expose names what -P publishes: give -P, too, or -p alone');
  if (publishAll && expose.length === 0)
    throw usage('-P publishes what --expose names', 'For example: --expose 80 -P; or -p 8080:80.');
  return expose;
}

/** Returns the options that Docker and Podman give the only network of a container, after the first of their flags. */
function ownOptions({ ip, ip6, macAddress, networkAlias }: WiringOptions): [string, AttachmentOptions] | null {
  const given = { '--ip': ip, '--ip6': ip6, '--mac-address': macAddress, '--network-alias': networkAlias };
  const [flag] = Object.entries(given).find(([, value]) => value !== undefined) ?? [];
  if (flag === undefined) return null;
  const flags = { ip, ip6, mac: macAddress, alias: networkAlias };
  return [
    flag,
    attachmentOptions(Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined))),
  ];
}

/** Parses NAME:ADDRESS; an IPv6 address may stand in brackets. */
function parseHost(text: string): { host: string; ip: string } {
  const [, host = '', bracketed, plain = ''] = /^([^:]+):(?:\[(.+)\]|(.+))$/.exec(text) ?? [];
  const ip = bracketed ?? plain;
  if (isIP(ip) !== 0) return { host, ip };
  const hint = 'The host itself is host.containers.internal already, without this flag.';
  throw usage(`invalid --add-host "${text}": it is NAME:ADDRESS`, ip === 'host-gateway' ? hint : undefined);
}

/** Parses the --network values that are not names of networks. */
function parseMode(text: string): 'none' | NonNullable<CreateEvent['netns']> | null {
  if (text === 'none') return 'none';
  if (text === 'host') return { mode: 'host' };
  const [, word, value = ''] = /^(container|ns):(.*)$/.exec(text) ?? [];
  if (word === undefined) return null;
  if (value === '') throw usage(`--network ${text} lacks ${word === 'ns' ? 'a path' : 'an id'}`, NETWORK_HINT);
  return word === 'ns' ? { mode: 'path', path: value } : { mode: 'container', id: value };
}

/** Parses slirp4netns or pasta. Their options pass unchanged; the daemon checks them. */
function parseUplink(text: string): UplinkRequest | null {
  const colon = text.indexOf(':');
  const program = PROGRAMS.find((known) => known === (colon === -1 ? text : text.slice(0, colon)));
  if (program === undefined) return null;
  const options =
    colon === -1
      ? []
      : text
          .slice(colon + 1)
          .split(',')
          .filter((option) => option !== '');
  return options.length === 0 ? { program } : { program, options };
}

/** Parses NAME[:key=value,...]. Addresses contain colons too, so only the first colon separates. */
export function parseNetwork(text: string): [name: string, options: AttachmentOptions] {
  const colon = text.indexOf(':');
  const name = colon === -1 ? text : text.slice(0, colon);
  if (name === '') throw usage(`--network ${text} has no name`, NETWORK_HINT);
  const given: AttachmentFlags = {};
  const words = colon === -1 ? [] : text.slice(colon + 1).split(',');
  for (const word of words.filter((part) => part !== '')) {
    const equals = word.indexOf('=');
    const [key, value] = equals === -1 ? [word, ''] : [word.slice(0, equals), word.slice(equals + 1)];
    const field = FIELDS.get(key);
    if (field === undefined) throw usage(`unknown bridge network option: ${key}`, NETWORK_HINT);
    if (field === 'mac' || field === 'interfaceName' || field === 'gwPriority') {
      if (given[field] !== undefined) throw usage(`network option ${key} is given twice in "${text}"`);
      given[field] = value;
    } else {
      given[field] = [...(given[field] ?? []), value];
    }
  }
  return [name, attachmentOptions(given)];
}

const FIELDS = new Map<string, keyof AttachmentFlags>([
  ['ip', 'ip'],
  ['ip6', 'ip6'],
  ['mac', 'mac'],
  ['mac_address', 'mac'],
  ['interface_name', 'interfaceName'],
  ['alias', 'alias'],
  ['gw-priority', 'gwPriority'],
]);

/** The same options as flags of `cleat connect`. */
export interface AttachmentFlags {
  ip?: string[];
  ip6?: string[];
  mac?: string;
  interfaceName?: string;
  alias?: string[];
  gwPriority?: string;
}

export function attachmentOptions({
  ip = [],
  ip6 = [],
  mac,
  interfaceName,
  alias = [],
  gwPriority,
}: AttachmentFlags): AttachmentOptions {
  // As in podman, which has the same messages, `ip` takes either family; `ip6` takes IPv6 only.
  for (const address of ip) if (isIP(address) === 0) throw usage(`invalid ip address "${address}"`);
  for (const address of ip6)
    if (isIP(address) !== 6) throw usage(`invalid ip address "${address}": not an IPv6 address`);
  if (mac === '') throw usage('mac cannot be empty');
  if (interfaceName === '') throw usage('interface_name cannot be empty');
  if (alias.includes('')) throw usage('alias cannot be empty');
  if (gwPriority !== undefined && !/^-?\d{1,7}$/.test(gwPriority)) {
    throw usage(`invalid gw-priority "${gwPriority}": not a number`);
  }
  const addresses = [...ip, ...ip6];
  return {
    ...(addresses.length === 0 ? {} : { static_ips: addresses }),
    ...(mac === undefined ? {} : { static_mac: mac }),
    ...(interfaceName === undefined ? {} : { interface_name: interfaceName }),
    ...(alias.length === 0 ? {} : { aliases: alias }),
    ...(gwPriority === undefined ? {} : { gateway_priority: Number(gwPriority) }),
  };
}
