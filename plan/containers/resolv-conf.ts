/**
 * The resolv.conf of a container, from its networks and from the host's.
 *
 * Guarantees: pure. On a network with DNS only the gateways are servers, so no query for a container's name goes from the
 * container to the host's servers. A container with a network that is not internal uses only the gateways of such networks:
 * those of internal ones answer NXDOMAIN to every unknown name, which ends a search. Behind an uplink, the addresses that the
 * uplink forwards to the host's servers come first, then the host's servers that can be reached through it. No server is of a
 * family that the container does not have. Without a network with DNS, the servers that programs of external networks have
 * named come before the host's; servers that the container was created with stand in the place of both, and of the host's behind a
 * gateway (plan/names/names.ts).
 * Limits: three servers, because resolvers read no more (MAXNS in resolv.h). Without DNS networks there may be no server, if
 * the host uses only itself or only the other family: the file then names none.
 */
import type { Attachment, ContainerContext } from '../../state/container.ts';
import type { UplinkSettings } from '../../state/uplink.ts';
import { byPrecedence } from './attachment.ts';
import { serversOf as serversOfProgram } from '../external/external.ts';
import { uplinkServers } from '../uplinks/uplink-inside.ts';

/** The domain that aardvark-dns removes from a name before it looks it up. */
export const SEARCH_DOMAIN = 'dns.podman';

const SERVERS = 3;
const NO_TLD_QUERY = 'no-tld-query';
const STUB = '127.0.0.53';

export interface HostFiles {
  /** /etc/resolv.conf; empty if there is none. */
  resolvConf: string;
  /** /run/systemd/resolve/resolv.conf: the servers behind the stub on 127.0.0.53. Null if there is none. */
  behindStub: string | null;
}

interface Parsed {
  servers: string[];
  search: string[];
  options: string[];
}

interface Input extends Pick<ContainerContext, 'attachments' | 'uplink' | 'dnsServers'> {
  host: HostFiles;
  /** The program that leads out of a rootless daemon's outside, which its networks are behind. */
  wayOut?: UplinkSettings | null;
}

/**
 * Returns the servers that a DNS server in a rootless daemon's outside forwards to: the address that the program passes on to the
 * host's first server, then those of the host's servers that can be reached through it.
 */
export function serversBehind(wayOut: UplinkSettings, host: HostFiles): string[] {
  const mine = parse(host.resolvConf);
  const v6 = wayOut.program === 'pasta' || wayOut.ipv6;
  return usable(uplinkServers(wayOut, mine.servers), mine, host.behindStub, { addresses: [], v4: true, v6 });
}

/** Returns a resolv.conf with those servers, for programs that run in such an outside. */
export function resolvConfBehind(wayOut: UplinkSettings, host: HostFiles): string {
  const { search, options } = parse(host.resolvConf);
  return render({ servers: serversBehind(wayOut, host), search, options });
}

export function resolvConf({ attachments, uplink, host, wayOut = null, dnsServers }: Input): string {
  const mine = parse(host.resolvConf);
  const gateways = gatewaysOf(attachments);
  const named = gateways.length > 0;
  const made = uplink?.made ?? null;
  const addresses = [...attachments, ...(made === null ? [] : [made])].flatMap((one) =>
    one.addresses.map(({ address }) => address),
  );
  // A container without an address of ours may have others.
  const v4 = addresses.length === 0 || addresses.some((one) => !isV6(one));
  const inside = { addresses, v4, v6: addresses.some(isV6) };
  const behind = uplink?.settings ?? wayOut;
  const passed = behind === null ? [] : uplinkServers(behind, mine.servers);
  const external = attachments.map(serversOfProgram);
  const theirs = external.flatMap((one) => one.servers);
  const others = theirs.length > 0 ? theirs : usable(passed, mine, host.behindStub, inside);
  const servers = named ? gateways : (dnsServers ?? others);
  const asked = external.flatMap((one) => one.search);
  const search = [...new Set([...(named ? [SEARCH_DOMAIN] : []), ...asked, ...mine.search])];
  const options = named ? optionsBehind(mine.options) : mine.options;
  return render({ servers, search, options });
}

const render = ({ servers, search, options }: Parsed): string =>
  [
    ...(search.length > 0 ? [`search ${search.join(' ')}`] : []),
    ...servers.slice(0, SERVERS).map((server) => `nameserver ${server}`),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
    '',
  ].join('\n');

/**
 * Returns options for queries to gateways. They use UDP, because gateways answer no other protocol. A name without a dot is
 * looked up only in the search domains, which have the names of all containers: otherwise aardvark-dns 1.14 forwards it if it
 * does not know it.
 */
function optionsBehind(options: readonly string[]): string[] {
  const others = options.filter((option) => option !== 'use-vc' && option !== NO_TLD_QUERY);
  return [...others, NO_TLD_QUERY];
}

const isV6 = (address: string) => address.includes(':');

function gatewaysOf(attachments: readonly Attachment[]): string[] {
  const all = byPrecedence(attachments).filter(({ dns }) => dns !== null);
  const open = all.filter(({ internal }) => !internal);
  return (open.length > 0 ? open : all).flatMap(({ dns, addresses }) =>
    (dns?.listen ?? []).filter((server) => addresses.some(({ address }) => isV6(address) === isV6(server))),
  );
}

/** Who asks the servers: the families that it has, and those of its addresses that we know. */
interface Inside {
  addresses: readonly string[];
  v4: boolean;
  v6: boolean;
}

/** Addresses that mean the machine itself, or one of its links. */
const OF_THE_HOST = /^127\.|^0\.0\.0\.0$|^::1?$|^fe[89ab]|%/i;

/**
 * Returns an uplink's servers, then the host's servers that are the same server from inside. Leaves out the host's loopback,
 * addresses scoped to one of its links, addresses that the container has as well (pasta copies the host's), and families that
 * the container does not have.
 */
function usable(
  passed: readonly string[],
  { servers }: Parsed,
  behindStub: string | null,
  { addresses, v4, v6 }: Inside,
): string[] {
  const ofFamily = (server: string) => (isV6(server) ? v6 : v4);
  const reachable = (server: string) => ofFamily(server) && !OF_THE_HOST.test(server) && !addresses.includes(server);
  const first = passed.filter(ofFamily);
  const own = servers.filter(reachable);
  if (own.length > 0 || behindStub === null || !servers.includes(STUB)) return [...first, ...own];
  return [...first, ...parse(behindStub).servers.filter(reachable)];
}

/** Returns the name servers of this resolv.conf. */
export const serversOf = (text: string): string[] => parse(text).servers;

/** Parses resolv.conf(5): the last line of `search` and `domain` counts. */
function parse(text: string): Parsed {
  const parsed: Parsed = { servers: [], search: [], options: [] };
  for (const line of text.split('\n')) {
    const [word, ...rest] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/);
    if (word === 'nameserver') parsed.servers.push(...rest.slice(0, 1));
    if (word === 'search') parsed.search = rest;
    if (word === 'domain') parsed.search = rest.slice(0, 1);
    if (word === 'options') parsed.options.push(...rest);
  }
  return { ...parsed, search: parsed.search.filter((domain) => domain !== '.') };
}
