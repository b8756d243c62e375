/**
 * Networks on a link that others make and manage: a bridge (the option mode=unmanaged, as in netavark), or a parent
 * (parent.ts). Their properties, and the options that they cannot have on a bridge.
 *
 * Guarantees: pure. Such a network has the MTU of the link, unless its option says otherwise for the children of a parent, and
 * name servers on those addresses of the bridge that are in its subnets; no container gets one of these addresses.
 * Limits: data about the link is as old as the last read. Other hosts behind the link are unknown, so the subnet's range must
 * not contain their addresses.
 */
import type { Lease } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition, NetworkRequest } from '../../state/network.ts';
import type { Peer } from '../../state/overlay.ts';
import { contains, parseSubnet } from '../addresses/address.ts';
import { hasBridge } from './driver.ts';
import { ETHERNET_MTU } from './mtu.ts';
import { hasParentsMac } from './parent.ts';

/** The result of reading such a bridge, or a parent. */
export interface BridgeSeen {
  mtu: number;
  /** All of its addresses, without link-local ones. */
  addresses: readonly string[];
  /** Of a parent: the children of some drivers have it too. */
  mac?: string;
}

/** A definition with the data of its bridge. */
export type Seen = NetworkDefinition & {
  /** Addresses in the network's subnets that the bridge of others has. Absent if the bridge is ours: it has the gateways. */
  own?: readonly string[];
  /** The MAC of the parent. */
  parentMac?: string;
  /** The other hosts of an overlay. */
  peers?: readonly Peer[];
};

/** True if the link that the network is on belongs to others: a bridge, a parent, or whatever a program of others makes. */
export const isUnmanaged = ({ driver, options }: Pick<NetworkDefinition, 'driver' | 'options'>): boolean =>
  !hasBridge({ driver }) || options.mode === 'unmanaged';

/** `bridge` is null before the first read, when nothing is known. */
export function onBridge(definition: NetworkDefinition, bridge: BridgeSeen | null): Seen {
  const parsed = definition.subnets.map(({ subnet }) => parseSubnet(subnet));
  const own = (bridge?.addresses ?? []).filter((address) => parsed.some((subnet) => contains(subnet, address)));
  const { mtu: given, ...options } = definition.options;
  // A port with another MTU would change the MTU of the bridge. A child may have a smaller one than its parent.
  const mtu = Number((definition.driver === 'bridge' ? undefined : given) ?? bridge?.mtu ?? ETHERNET_MTU);
  return {
    ...definition,
    options: mtu === ETHERNET_MTU ? options : { ...options, mtu: String(mtu) },
    own,
    ...(bridge?.mac === undefined ? {} : { parentMac: bridge.mac }),
  };
}

/** Returns what an earlier daemon had read when it granted these leases; null if there are none. */
export function rememberedBridge(leases: ReadonlyMap<string, Lease>): BridgeSeen | null {
  const [first] = leases.values();
  if (first === undefined) return null;
  const { mtu, dns, child, mac } = first;
  const parentMac = child !== undefined && hasParentsMac(child) ? { mac } : {};
  return { mtu: mtu ?? ETHERNET_MTU, addresses: dns?.listen ?? [], ...parentMac };
}

/** Options that need rules or settings of the bridge, and those that choose the source address of outgoing traffic. */
const OURS_ALONE = [
  'mtu',
  'isolate',
  'outbound_addr4',
  'outbound_addr6',
  'com.docker.network.bridge.enable_ip_masquerade',
] as const;

/** No subnet can be chosen, because the network behind the bridge is unknown. */
export const subnetUnknown = (name: string, which: 'subnet' | 'IPv6 subnet'): Fault => ({
  code: 'BAD_REQUEST',
  message: `network ${name} is unmanaged: say which ${which} is behind its bridge`,
});

/** Returns the reason why this cannot be a network on a bridge of others; null if it can. */
export function notUnmanaged({
  name,
  network_interface: bridge,
  subnets = [],
  internal = false,
  ipv4_enabled: ipv4 = false,
  ipv6_enabled: ipv6 = false,
  ipam_options: { driver: ipam } = {},
}: NetworkRequest): Fault | null {
  const bad = (message: string): Fault => ({ code: 'BAD_REQUEST', message });
  if (bridge === undefined) return bad(`network ${name} is unmanaged: say the name of the bridge that it is on`);
  const has4 = subnets.some(({ subnet }) => !subnet.includes(':'));
  if (ipam !== 'none' && (subnets.length === 0 || (ipv4 && !has4))) return subnetUnknown(name, 'subnet');
  if (ipv6 && ipam !== 'none' && !subnets.some(({ subnet }) => subnet.includes(':')))
    return subnetUnknown(name, 'IPv6 subnet');
  if (internal) return bad(`network ${name} is unmanaged: there are no rules on ${bridge} that would keep it internal`);
  return null;
}

/** Returns a fault for the first option that has no meaning on a bridge of others; null if there is none. */
export function uselessOption({ driver, options }: Pick<NetworkDefinition, 'driver' | 'options'>): Fault | null {
  if (driver !== 'bridge' || !isUnmanaged({ driver, options })) return null;
  const option = OURS_ALONE.find((one) => options[one] !== undefined);
  if (option === undefined) return null;
  const message = `${option} means nothing with mode=unmanaged: rules and settings of that bridge are not ours`;
  return { code: 'BAD_REQUEST', message };
}

/** Returns warnings for the user who makes such a network. */
export const unmanagedWarnings = ({ dns_enabled: dns, network_interface: bridge }: NetworkDefinition): string[] =>
  dns
    ? [
        `whoever reaches the addresses of ${bridge} can ask the name server of this network: --disable-dns leaves it out`,
      ]
    : [];
