/**
 * The resolv.conf of a container, from its networks and from the host's.
 *
 * Guarantees: pure. On a network with DNS the gateways are asked, and nobody else: a name of a container never goes to
 * the host's servers from in here. A container that has a network with a way out asks the gateways of such networks
 * alone: those of internal ones say NXDOMAIN to everything they do not know, which ends a search.
 * Behind an uplink its own server comes first, then those of the host that can be reached through it.
 * Limits: three servers, which is as many as resolvers read (MAXNS in resolv.h). Without DNS networks, and when the host
 * asks only itself, there may be no server left: the file then names none.
 */
import type { Attachment, ContainerContext } from '../../state/container.ts';
import { byPrecedence } from './attachment.ts';
import { uplinkServers } from './uplink-inside.ts';

/** What aardvark-dns takes off a name before it looks it up. */
export const SEARCH_DOMAIN = 'dns.podman';

const SERVERS = 3;
const STUB = '127.0.0.53';

export interface HostFiles {
  /** /etc/resolv.conf; empty when there is none. */
  resolvConf: string;
  /** /run/systemd/resolve/resolv.conf: the servers behind the stub on 127.0.0.53. Null when there is none. */
  behindStub: string | null;
}

interface Parsed {
  servers: string[];
  search: string[];
  options: string[];
}

interface Input extends Pick<ContainerContext, 'attachments' | 'uplink'> {
  host: HostFiles;
}

export function resolvConf({ attachments, uplink, host }: Input): string {
  const mine = parse(host.resolvConf);
  const gateways = gatewaysOf(attachments);
  const named = gateways.length > 0;
  const made = uplink?.made ?? null;
  const addresses = [...attachments, ...(made === null ? [] : [made])].flatMap((one) => one.addresses);
  const v6 = addresses.some(({ address }) => isV6(address));
  const ownServers = uplink === undefined ? [] : uplinkServers(uplink.settings);
  const servers = named ? gateways : [...ownServers, ...usable(mine, host.behindStub, v6)];
  const search = [...new Set(named ? [SEARCH_DOMAIN, ...mine.search] : mine.search)];
  // aardvark-dns 1.4 has no TCP.
  const options = named ? mine.options.filter((option) => option !== 'use-vc') : mine.options;
  return [
    ...(search.length > 0 ? [`search ${search.join(' ')}`] : []),
    ...servers.slice(0, SERVERS).map((server) => `nameserver ${server}`),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
    '',
  ].join('\n');
}

const isV6 = (address: string) => address.includes(':');

function gatewaysOf(attachments: readonly Attachment[]): string[] {
  const all = byPrecedence(attachments).filter(({ dns }) => dns !== null);
  const open = all.filter(({ internal }) => !internal);
  return (open.length > 0 ? open : all).flatMap(({ dns, addresses }) =>
    (dns?.listen ?? []).filter((server) => addresses.some(({ address }) => isV6(address) === isV6(server))),
  );
}

/** Those of the host that mean the same from in here: not its loopback, not what is scoped to one of its links. */
function usable({ servers }: Parsed, behindStub: string | null, v6: boolean): string[] {
  const reachable = (server: string) =>
    !/^127\.|^::1$|^fe[89ab]/i.test(server) && !server.includes('%') && (v6 || !isV6(server));
  const own = servers.filter(reachable);
  if (own.length > 0 || behindStub === null || !servers.includes(STUB)) return own;
  return parse(behindStub).servers.filter(reachable);
}

/** resolv.conf(5): of `search` and `domain` the last line counts. */
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
