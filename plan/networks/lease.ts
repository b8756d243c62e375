/**
 * The allocator: chooses the addresses that a container gets on a network.
 *
 * Guarantees: pure; an address, IP or MAC, has one owner. A repeated request of an owner gets the same lease (after a crash it
 * does not conflict with itself). A static address is granted, or refused with the owner's name. Free addresses are taken in
 * turn after the last one given, not lowest first, so that an address rests as long as possible before it names another
 * container (stale ARP entries, clients that reconnect).
 * Limits: one address per subnet, unless static_ips requests more. Granted leases are never judged again: two with one MAC,
 * which older versions allowed, stay valid.
 */
import type { ChildLink, Lease, LeasedAddress } from '../../state/container.ts';
import type { AttachmentOptions } from '../../state/event.ts';
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { automaticMac, macHolders } from '../addresses/mac.ts';
import { containerIdOf } from '../owner.ts';
import { reservedNetwork } from '../addresses/special-addresses.ts';
import { childOf, childText, hasParentsMac, isOnlyOne } from './parent.ts';
import { isExternal, isUnknown } from './external.ts';
import { isUnmanaged, type Seen } from './unmanaged.ts';
import { contains, hostRange, parseSubnet, toNumber, toText } from '../addresses/address.ts';

/** By owner. A map, because it is copied with every change, which takes an object of 1,000 owners ten times as long. */
export type Leases = ReadonlyMap<string, Lease>;
export const NO_LEASES: Leases = new Map();
/** By subnet, the last address that was chosen by the allocator. */
export type Cursors = Readonly<Record<string, string>>;

export type Grant = { lease: Lease; cursors: Cursors } | { fault: Fault };

export function grantLease(
  definition: Seen,
  leases: Leases,
  cursors: Cursors,
  owner: string,
  options: AttachmentOptions,
): Grant {
  const held = leases.get(owner);
  if (held !== undefined) return { lease: held, cursors };
  // The plugins choose addresses and MAC, and say so when they have made the attachment.
  if (isUnknown(definition)) return { lease: { ...terms(definition), addresses: [], mac: '' }, cursors };

  const reserved = reservedNetwork(definition);
  if (reserved !== null) return { fault: reserved };
  const wanted = [...new Set(options.static_ips)];
  const refused = notToBeHad(definition, leases, wanted);
  if (refused !== null) return { fault: refused };
  const child = childOf(definition);
  const full = child === null ? null : noRoom(definition, child, leases);
  if (full !== null) return { fault: full };
  const holders = macHolders(definition, leases);
  const { static_mac: asked } = options;
  const holder = asked === undefined ? undefined : holders.get(asked);
  const own = child !== null && hasParentsMac(child);
  if (asked !== undefined && own) {
    const message = `network ${definition.name} is ${childText(child)}: its containers have the MAC address of its parent`;
    return { fault: { code: 'BAD_REQUEST', message } };
  }
  if (holder !== undefined) {
    const message = `MAC address ${asked} is in use by ${holder} on ${definition.name}`;
    return { fault: { code: 'MAC_TAKEN', message, owner: holder } };
  }
  // Before the parent is read, the lease has not been answered yet either (machines/network-setup.ts, see).
  const automatic = () => automaticMac(`${owner}/${definition.id}`, holders);
  const mac = own ? (definition.parentMac ?? automatic()) : (asked ?? automatic());

  const addresses: LeasedAddress[] = [];
  const next: Record<string, string> = { ...cursors };
  for (const subnet of definition.subnets) {
    const parsed = parseSubnet(subnet.subnet);
    const gateway = gatewayIn(definition, subnet);
    const mine = wanted.filter((address) => contains(parsed, address));
    addresses.push(...mine.map((address) => ({ address, prefix: parsed.prefix, gateway })));
    if (mine.length > 0) continue;
    const free = nextFree(subnet, leases, next[subnet.subnet], definition.own);
    if (free === null) return exhausted(subnet, definition.name);
    next[subnet.subnet] = free;
    addresses.push({ address: free, prefix: parsed.prefix, gateway });
  }
  return { lease: { ...terms(definition), addresses, mac }, cursors: next };
}

type Subnet = NetworkDefinition['subnets'][number];

/** Containers of an internal network have no gateway, and none is known of some parents' networks. */
const gatewayIn = ({ internal }: NetworkDefinition, { gateway }: Subnet): string | null =>
  internal ? null : (gateway ?? null);

/** Returns a fault if the kernel lets the parent have one such link only, and a container has it; null if not. */
function noRoom({ name, network_interface: parent }: Seen, child: ChildLink, leases: Leases): Fault | null {
  const [holder] = leases.keys();
  if (holder === undefined || !isOnlyOne(child)) return null;
  const owner = containerIdOf(holder);
  const message = `network ${name} has room for one container, ${owner}: ${parent} can have one link ${childText(child)}`;
  return { code: 'NETWORK_IN_USE', message, owner };
}

/**
 * Returns the reason why one of the requested addresses cannot be granted; null if all can. Defects of the request come before
 * conflicts with other owners, so that nobody searches for a container when no container could have the address.
 */
function notToBeHad(
  { name, subnets, own = [], network_interface: bridge }: Seen,
  leases: Leases,
  wanted: readonly string[],
): Fault | null {
  const of = (address: string) => subnets.find(({ subnet }) => contains(parseSubnet(subnet), address));
  const stray = wanted.find((address) => of(address) === undefined);
  if (stray !== undefined) {
    const all = subnets.map(({ subnet }) => subnet).join(', ');
    return {
      code: 'ADDRESS_OUTSIDE_SUBNET',
      message: `address ${stray} is not in a subnet of network ${name} (${all})`,
    };
  }
  for (const address of wanted) {
    const subnet = of(address);
    const use = subnet === undefined ? null : reservedAs(subnet, address);
    if (use !== null) {
      return {
        code: 'ADDRESS_TAKEN',
        message: `address ${address} is the ${use} address of ${subnet?.subnet}`,
        owner: `network ${name}`,
      };
    }
  }
  const theirs = wanted.find((address) => own.includes(address));
  if (theirs !== undefined) {
    const message = `address ${theirs} is in use by ${bridge} of the host`;
    return { code: 'ADDRESS_TAKEN', message, owner: `link ${bridge}` };
  }
  for (const address of wanted) {
    const holder = holderOf(leases, address);
    if (holder === undefined) continue;
    return {
      code: 'ADDRESS_TAKEN',
      message: `address ${address} is in use by ${containerIdOf(holder)} on ${name}`,
      owner: containerIdOf(holder),
    };
  }
  return null;
}

/** Returns the use of an address that no container of the subnet can have; null for any other address. */
function reservedAs({ subnet, gateway }: Subnet, address: string): 'gateway' | 'network' | 'broadcast' | null {
  const hosts = hostRange(parseSubnet(subnet));
  if (address === gateway) return 'gateway';
  if (toNumber(address) < hosts.first) return 'network';
  return toNumber(address) > hosts.last ? 'broadcast' : null;
}

/** Returns true if a container can have this address in this subnet. */
const fits = (subnet: Subnet, address: string): boolean =>
  contains(parseSubnet(subnet.subnet), address) && reservedAs(subnet, address) === null;

/** The number of containers that a fault names. */
const NAMED = 5;

/** Returns a fault that names containers whose addresses do not fit a definition; null if all keep theirs. */
export function displaced({ name, subnets }: NetworkDefinition, leases: Leases): Fault | null {
  const holders = [...leases].flatMap(([owner, { addresses }]) => {
    const lost = addresses.find(({ address }) => !subnets.some((subnet) => fits(subnet, address)));
    return lost === undefined ? [] : [{ id: containerIdOf(owner), address: lost.address }];
  });
  const [first] = holders;
  if (first === undefined) return null;
  const named = holders.slice(0, NAMED).map(({ id, address }) => `${id} (${address})`);
  const more = holders.length > NAMED ? ` and ${holders.length - NAMED} more` : '';
  return {
    code: 'NETWORK_UPDATE_FAILED',
    message: `network ${name} was not changed: it would take their addresses from ${named.join(', ')}${more}`,
    owner: first.id,
  };
}

/**
 * Returns an owner's lease after a change of the definition: its former addresses that still fit, and one address in each
 * subnet where it has none. MTU, routes, metric and DNS are those of the definition.
 */
export function reviseLease(definition: Seen, lease: Lease, leases: Leases, cursors: Cursors = {}): Grant {
  // A program of others has made the attachment as the definition was, and it stays so.
  if (isExternal(definition)) return { lease, cursors };
  const addresses: LeasedAddress[] = [];
  const next: Record<string, string> = { ...cursors };
  for (const subnet of definition.subnets) {
    const parsed = parseSubnet(subnet.subnet);
    const gateway = gatewayIn(definition, subnet);
    const mine = lease.addresses.filter(({ address }) => fits(subnet, address));
    addresses.push(...mine.map(({ address }) => ({ address, prefix: parsed.prefix, gateway })));
    if (mine.length > 0) continue;
    const free = nextFree(subnet, leases, next[subnet.subnet], definition.own);
    if (free === null) return exhausted(subnet, definition.name);
    next[subnet.subnet] = free;
    addresses.push({ address: free, prefix: parsed.prefix, gateway });
  }
  return { lease: { ...terms(definition), addresses, mac: lease.mac }, cursors: next };
}

/** Revises all leases, so that no address has two owners; returns the fault of the first that fails. */
export function reviseLeases(
  definition: Seen,
  leases: Leases,
  cursors: Cursors,
): { leases: Leases; cursors: Cursors } | { fault: Fault } {
  const revised = new Map(leases);
  let next = cursors;
  for (const [owner, lease] of leases) {
    const grant = reviseLease(definition, lease, revised, next);
    if ('fault' in grant) return grant;
    revised.set(owner, grant.lease);
    next = grant.cursors;
  }
  return { leases: revised, cursors: next };
}

/**
 * Returns true if `held` has everything that a change of the definition can change, except the metric: that of a container's
 * second default route is its own (attachment.ts, hasLease).
 */
export function follows(held: Lease, wanted: Lease): boolean {
  const changeable = ({ addresses, mtu, routes, dns }: Lease) =>
    JSON.stringify([
      addresses.map(({ address, prefix, gateway }) => [address, prefix, gateway]),
      mtu,
      routes.map(({ destination, prefix, gateway, metric }) => [destination, prefix, gateway, metric]),
      dns === null ? null : [dns.listen, dns.servers],
    ]);
  return changeable(held) === changeable(wanted);
}

/** Returns the metric of the default route of a container with only this network; null if it gets no default route. */
export function defaultMetricOf({ internal, options }: NetworkDefinition): number | null {
  if (internal || options.no_default_route === 'true' || options.no_default_route === '1') return null;
  return Number(options.metric ?? 100);
}

/** Returns the terms that are equal for every container on the network. */
function terms(definition: Seen): Omit<Lease, 'addresses' | 'mac'> {
  const { options, own } = definition;
  const listen = own ?? definition.subnets.flatMap(({ gateway }) => gateway ?? []);
  const child = childOf(definition);
  return {
    network: definition.name,
    networkId: definition.id,
    bridge: definition.network_interface,
    mtu: options.mtu === undefined ? null : Number(options.mtu),
    routes: definition.routes.map((route) => {
      const [destination = '', prefix = ''] = route.destination.split('/');
      return { destination, prefix: Number(prefix), gateway: route.gateway, metric: route.metric ?? null };
    }),
    defaultMetric: defaultMetricOf(definition),
    internal: definition.internal,
    ...(isUnmanaged(definition) ? { unmanaged: true } : {}),
    ...(child === null ? {} : { child }),
    ...(child === null && options.vlan !== undefined ? { vlan: Number(options.vlan) } : {}),
    dns:
      // Podman's definitions on a parent say that they have DNS, which netavark leaves out as well.
      definition.dns_enabled && child === null && listen.length > 0
        ? { listen: [...listen], servers: definition.network_dns_servers }
        : null,
  };
}

function holderOf(leases: Leases, address: string): string | undefined {
  for (const [owner, { addresses }] of leases) {
    for (const held of addresses) if (held.address === address) return owner;
  }
  return undefined;
}

/**
 * Returns the first free address after the cursor, in one round through the range; null if all are taken. `own`: the host's
 * addresses on the bridge.
 */
function nextFree(
  subnet: Subnet,
  leases: Leases,
  cursor: string | undefined,
  own: readonly string[] = [],
): string | null {
  const parsed = parseSubnet(subnet.subnet);
  const hosts = hostRange(parsed);
  const first = subnet.lease_range?.start_ip === undefined ? hosts.first : toNumber(subnet.lease_range.start_ip);
  const last = subnet.lease_range?.end_ip === undefined ? hosts.last : toNumber(subnet.lease_range.end_ip);
  const size = last - first + 1n;
  let value = cursor === undefined ? last : toNumber(cursor);
  // At most one try per address that can be taken (each lease of this subnet, the gateway, both ends), plus one.
  const holders = BigInt(leases.size * 17 + 4 + own.length);
  const tries = size < holders ? size : holders;
  for (let i = 0n; i < tries; i++) {
    value = value >= last || value < first ? first : value + 1n;
    if (value < hosts.first || value > hosts.last) continue; // a lease range may be as wide as the subnet
    const address = toText(value, parsed.family);
    if (address === subnet.gateway || own.includes(address)) continue;
    if (holderOf(leases, address) === undefined) return address;
  }
  return null;
}

function exhausted({ subnet, lease_range: range }: Subnet, network: string): { fault: Fault } {
  const within = range === undefined ? '' : `the range ${range.start_ip ?? ''}-${range.end_ip ?? ''} of `;
  return { fault: { code: 'SUBNET_FULL', message: `no free address in ${within}${subnet} of network ${network}` } };
}
