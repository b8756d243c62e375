/**
 * Which addresses a container gets on a network: the allocator.
 *
 * Guarantees: pure; an address has one owner; asking again for the same owner gives the same lease (a repeated request
 * after a crash is not a conflict with itself); a static address is honoured or refused with the owner's name.
 * Free addresses are taken in turn after the last one given, not lowest first, so that an address rests as long as
 * possible before it names another container (stale ARP entries, clients that reconnect).
 * Limits: one address per subnet unless more are asked for by static_ips.
 */
import type { Lease, LeasedAddress } from '../../state/container.ts';
import type { AttachmentOptions } from '../../state/event.ts';
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { idOf } from './ports.ts';
import { contains, hostRange, parseSubnet, toNumber, toText } from './address.ts';

export type Leases = Readonly<Record<string, Lease>>;
/** Per subnet, the last address given out without being asked for. */
export type Cursors = Readonly<Record<string, string>>;

export type Grant = { lease: Lease; cursors: Cursors } | { fault: Fault };

export function grantLease(
  definition: NetworkDefinition,
  leases: Leases,
  cursors: Cursors,
  owner: string,
  options: AttachmentOptions,
): Grant {
  const held = leases[owner];
  if (held !== undefined) return { lease: held, cursors };

  if (options.static_mac !== undefined) {
    const holder = Object.keys(leases).find((other) => leases[other]?.mac === options.static_mac);
    if (holder !== undefined) {
      return taken(
        'MAC_TAKEN',
        `MAC address ${options.static_mac} is in use by ${idOf(holder)} on ${definition.name}`,
        idOf(holder),
      );
    }
  }

  const addresses: LeasedAddress[] = [];
  const next: Record<string, string> = { ...cursors };
  const wanted = [...new Set(options.static_ips)];
  for (const subnet of definition.subnets) {
    const parsed = parseSubnet(subnet.subnet);
    const gateway = definition.internal ? null : subnet.gateway;
    const mine = wanted.filter((address) => contains(parsed, address));
    for (const address of mine) {
      wanted.splice(wanted.indexOf(address), 1);
      const range = hostRange(parsed);
      const value = toNumber(address);
      if (value < range.first || value > range.last || address === subnet.gateway) {
        const message = `address ${address} is the network, broadcast or gateway address of ${subnet.subnet}`;
        return taken('ADDRESS_TAKEN', message, `network ${definition.name}`);
      }
      const holder = holderOf(leases, address);
      if (holder !== undefined) {
        return taken(
          'ADDRESS_TAKEN',
          `address ${address} is in use by ${idOf(holder)} on ${definition.name}`,
          idOf(holder),
        );
      }
      addresses.push({ address, prefix: parsed.prefix, gateway });
    }
    if (mine.length > 0) continue;
    const free = nextFree(subnet, leases, next[subnet.subnet]);
    if (free === null) return full(subnet.subnet, definition.name);
    next[subnet.subnet] = free;
    addresses.push({ address: free, prefix: parsed.prefix, gateway });
  }
  if (wanted.length > 0) {
    const subnets = definition.subnets.map((subnet) => subnet.subnet).join(', ');
    const message = `address ${wanted[0]} is not in a subnet of network ${definition.name} (${subnets})`;
    return { fault: { code: 'ADDRESS_OUTSIDE_SUBNET', message } };
  }
  return { lease: { ...terms(definition), addresses, mac: options.static_mac ?? null }, cursors: next };
}

/**
 * The lease that an owner has once the definition has changed: the addresses it had, without those whose subnet is gone,
 * and one of each subnet that it has none in; MTU, routes and DNS as the definition says now.
 */
export function reviseLease(definition: NetworkDefinition, lease: Lease, leases: Leases, cursors: Cursors = {}): Grant {
  const addresses: LeasedAddress[] = [];
  const next: Record<string, string> = { ...cursors };
  for (const subnet of definition.subnets) {
    const parsed = parseSubnet(subnet.subnet);
    const gateway = definition.internal ? null : subnet.gateway;
    const mine = lease.addresses.filter(({ address }) => contains(parsed, address));
    addresses.push(...mine.map(({ address }) => ({ address, prefix: parsed.prefix, gateway })));
    if (mine.length > 0) continue;
    const free = nextFree(subnet, leases, next[subnet.subnet]);
    if (free === null) return full(subnet.subnet, definition.name);
    next[subnet.subnet] = free;
    addresses.push({ address: free, prefix: parsed.prefix, gateway });
  }
  // Not the network's alone: the metric of a container's second default route is its own.
  const { mac, defaultMetric } = lease;
  return { lease: { ...terms(definition), addresses, mac, defaultMetric }, cursors: next };
}

/** All of them, none with an address of another; or why one of them cannot be had. */
export function reviseLeases(
  definition: NetworkDefinition,
  leases: Leases,
  cursors: Cursors,
): { leases: Leases; cursors: Cursors } | { fault: Fault } {
  const revised: Record<string, Lease> = { ...leases };
  let next = cursors;
  for (const [owner, lease] of Object.entries(leases)) {
    const grant = reviseLease(definition, lease, revised, next);
    if ('fault' in grant) return grant;
    revised[owner] = grant.lease;
    next = grant.cursors;
  }
  return { leases: revised, cursors: next };
}

/** Whether what is held has all that a change of the definition can change. */
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

/** What every container on the network gets alike. */
function terms(definition: NetworkDefinition): Omit<Lease, 'addresses' | 'mac'> {
  const { options } = definition;
  const noDefault = definition.internal || options.no_default_route === 'true' || options.no_default_route === '1';
  return {
    network: definition.name,
    networkId: definition.id,
    bridge: definition.network_interface,
    mtu: options.mtu === undefined ? null : Number(options.mtu),
    routes: definition.routes.map((route) => {
      const [destination = '', prefix = ''] = route.destination.split('/');
      return { destination, prefix: Number(prefix), gateway: route.gateway, metric: route.metric ?? null };
    }),
    defaultMetric: noDefault ? null : Number(options.metric ?? 100),
    internal: definition.internal,
    dns: definition.dns_enabled
      ? { listen: definition.subnets.map(({ gateway }) => gateway), servers: definition.network_dns_servers }
      : null,
  };
}

function holderOf(leases: Leases, address: string): string | undefined {
  for (const owner in leases) {
    for (const held of leases[owner]?.addresses ?? []) if (held.address === address) return owner;
  }
  return undefined;
}

/** The first free address after the cursor, round the range once; null when all are taken. */
function nextFree(
  subnet: NetworkDefinition['subnets'][number],
  leases: Leases,
  cursor: string | undefined,
): string | null {
  const parsed = parseSubnet(subnet.subnet);
  const hosts = hostRange(parsed);
  const first = subnet.lease_range?.start_ip === undefined ? hosts.first : toNumber(subnet.lease_range.start_ip);
  const last = subnet.lease_range?.end_ip === undefined ? hosts.last : toNumber(subnet.lease_range.end_ip);
  const size = last - first + 1n;
  let value = cursor === undefined ? last : toNumber(cursor);
  // At most one try per address that can be taken (each lease of this subnet, the gateway, both ends), plus one.
  const holders = BigInt(Object.keys(leases).length * 17 + 4);
  const tries = size < holders ? size : holders;
  for (let i = 0n; i < tries; i++) {
    value = value >= last || value < first ? first : value + 1n;
    if (value < hosts.first || value > hosts.last) continue; // a lease range may be as wide as the subnet
    const address = toText(value, parsed.family);
    if (address !== subnet.gateway && holderOf(leases, address) === undefined) return address;
  }
  return null;
}

function full(subnet: string, network: string): { fault: Fault } {
  return { fault: { code: 'SUBNET_FULL', message: `no free address in ${subnet} of network ${network}` } };
}

function taken(code: 'ADDRESS_TAKEN' | 'MAC_TAKEN', message: string, owner: string): { fault: Fault } {
  return { fault: { code, message, owner } };
}
