/**
 * Addresses with a special meaning everywhere, which no container can have: after the IANA special-purpose address registries
 * (RFC 6890) and RFC 4291, 2.4.
 *
 * Guarantees: pure. A subnet that overlaps one of these ranges is refused, also if it contains the range (0.0.0.0/1, ::/0): its
 * bridge would divert the traffic of the range. docs/cli.md lists the same ranges (a test compares).
 * Limits: private (RFC 1918, RFC 4193), shared (RFC 6598), benchmarking and documentation ranges can be networks, because hosts
 * treat them like global addresses.
 */
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition, Route } from '../../state/network.ts';
import { contains, overlaps, parseSubnet, toNumber, type ParsedSubnet } from './address.ts';

type Kind = 'unspecified' | 'loopback' | 'link-local' | 'multicast' | 'reserved' | 'translated' | 'discarded';

/** The first matching range is the reported reason, so the narrow ones of ::/8 come before it. */
export const SPECIAL: readonly { range: string; kind: Kind; why: string }[] = [
  { range: '0.0.0.0/8', kind: 'unspecified', why: '"this host" (RFC 1122, 3.2.1.3): never a destination' },
  { range: '127.0.0.0/8', kind: 'loopback', why: "loopback (RFC 1122, 3.2.1.3): each host's own" },
  { range: '169.254.0.0/16', kind: 'link-local', why: 'link-local (RFC 3927): never forwarded; metadata of clouds' },
  { range: '224.0.0.0/4', kind: 'multicast', why: 'multicast (RFC 5771): groups, not hosts' },
  { range: '240.0.0.0/4', kind: 'reserved', why: 'reserved (RFC 1112, 4), with the broadcast address 255.255.255.255' },
  { range: '::/128', kind: 'unspecified', why: 'unspecified (RFC 4291, 2.5.2): the absence of an address' },
  { range: '::1/128', kind: 'loopback', why: "loopback (RFC 4291, 2.5.3): each host's own" },
  {
    range: '::ffff:0:0/96',
    kind: 'translated',
    why: 'IPv4-mapped (RFC 4291, 2.5.5.2): IPv4 to a program, never on the wire',
  },
  { range: '64:ff9b::/96', kind: 'translated', why: 'NAT64 (RFC 6052): IPv4 hosts behind a translator' },
  {
    range: '64:ff9b:1::/48',
    kind: 'translated',
    why: 'NAT64 for local use (RFC 8215): IPv4 hosts behind a translator',
  },
  { range: '::/8', kind: 'reserved', why: 'reserved (RFC 4291, 2.4), with IPv4-compatible addresses' },
  { range: '100::/64', kind: 'discarded', why: 'discard-only (RFC 6666): routers drop it on purpose' },
  { range: 'fe80::/10', kind: 'link-local', why: 'link-local (RFC 4291, 2.5.6): on every link, never forwarded' },
  { range: 'ff00::/8', kind: 'multicast', why: 'multicast (RFC 4291, 2.7): groups, not hosts' },
];

const RANGES = SPECIAL.map((row) => ({ ...row, subnet: parseSubnet(row.range) }));

export function reservedSubnet(cidr: string): Fault | null {
  const subnet = parseSubnet(cidr);
  const found = RANGES.find((row) => overlaps(row.subnet, subnet));
  if (found === undefined) return null;
  const message = `subnet ${cidr} can be no network: ${found.range} is ${found.why}`;
  return { code: 'SUBNET_RESERVED', message };
}

/**
 * Returns the reason why a definition cannot be raised; null if it can. A definition on disk may be older than this rule, or
 * written by hand.
 */
export function reservedNetwork({ name, subnets }: Pick<NetworkDefinition, 'name' | 'subnets'>): Fault | null {
  const fault = subnets.map(({ subnet }) => reservedSubnet(subnet)).find((one) => one !== null) ?? null;
  return fault === null ? null : { ...fault, message: `network ${name} is not raised: ${fault.message}` };
}

const kindOf = (address: string): Kind | null => RANGES.find((row) => contains(row.subnet, address))?.kind ?? null;

/** True for addresses that no host can have as its own. */
const isNoHost = (address: string): boolean =>
  ['unspecified', 'multicast', 'reserved', 'translated'].includes(kindOf(address) ?? '');

/** Returns the reason why nothing can be published on this address of the host; null if something can. */
export function notPublishable(address: string): Fault | null {
  const bad = (message: string): Fault => ({ code: 'BAD_REQUEST', message });
  if (toNumber(address) !== 0n && isNoHost(address)) return bad(`no host can have the address ${address}`);
  if (!address.includes(':') || kindOf(address) !== 'link-local') return null;
  return bad(
    `no port can be published on ${address}: a link-local address means nothing without its interface, ` +
      'and is never forwarded (RFC 4291, 2.5.6)',
  );
}

/**
 * Returns a fault for routes and servers that can lead nowhere, and for sources that no host could answer. A server on the
 * loopback is valid: it is the host's own, and the host queries it.
 */
export function uselessAddresses({
  routes = [],
  network_dns_servers: servers = [],
  options = {},
}: {
  routes?: readonly Route[] | undefined;
  network_dns_servers?: readonly string[] | undefined;
  options?: { outbound_addr4?: string | null | undefined; outbound_addr6?: string | null | undefined } | undefined;
}): { fault: Fault } | null {
  const refused = (message: string): { fault: Fault } => ({ fault: { code: 'BAD_REQUEST', message } });
  const { outbound_addr4: out4, outbound_addr6: out6 } = options;
  for (const address of [out4, out6]) {
    if (address && (isNoHost(address) || ['loopback', 'link-local'].includes(kindOf(address) ?? ''))) {
      return refused(`nothing can leave the host from the address ${address}`);
    }
  }
  const server = servers.find(isNoHost);
  if (server !== undefined) return refused(`no DNS server can have the address ${server}`);
  for (const { destination, gateway } of routes) {
    if (isNoHost(gateway) || kindOf(gateway) === 'loopback')
      return refused(`no gateway can have the address ${gateway}`);
    const inside = RANGES.find(({ kind, subnet }) => isOwn(kind) && within(parseSubnet(destination), subnet));
    if (inside !== undefined) {
      return refused(`nothing can be routed to ${destination}: ${inside.range} is ${inside.why}`);
    }
  }
  return null;
}

/** True for addresses that a host never sends to a router. */
const isOwn = (kind: Kind): boolean => kind === 'unspecified' || kind === 'loopback';

const within = (inner: ParsedSubnet, outer: ParsedSubnet): boolean =>
  inner.family === outer.family && inner.first >= outer.first && inner.last <= outer.last;
