/**
 * Networks on a bridge that others have made and look after (the option mode=unmanaged, as netavark has it): what follows
 * from that, and what cannot be asked of them.
 *
 * Guarantees: pure. Such a network has the MTU of the bridge, and name servers on those addresses of the bridge that are in
 * its subnets; no container gets one of these addresses.
 * Limits: what is known of the bridge is as old as the last look at it. Other hosts behind the bridge are not known: the
 * range of the subnet has to keep off their addresses.
 */
import type { Lease } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition, NetworkRequest } from '../../state/network.ts';
import { contains, parseSubnet } from './address.ts';
import { ETHERNET_MTU } from './mtu.ts';

/** What a look at such a bridge has found. */
export interface BridgeSeen {
  mtu: number;
  /** All that it has, without those that mean something on their link alone. */
  addresses: readonly string[];
}

/** A definition with what was seen of the bridge that it is on. */
export type Seen = NetworkDefinition & {
  /** Addresses in its subnets that the bridge of others has. Absent where the bridge is ours: it has the gateways. */
  own?: readonly string[];
};

export const isUnmanaged = ({ options }: Pick<NetworkDefinition, 'options'>): boolean => options.mode === 'unmanaged';

/** Null: nobody has looked yet, so that nothing is known. */
export function onBridge(definition: NetworkDefinition, bridge: BridgeSeen | null): Seen {
  const parsed = definition.subnets.map(({ subnet }) => parseSubnet(subnet));
  const own = (bridge?.addresses ?? []).filter((address) => parsed.some((subnet) => contains(subnet, address)));
  const mtu = bridge?.mtu ?? ETHERNET_MTU;
  const { mtu: _given, ...options } = definition.options;
  return { ...definition, options: mtu === ETHERNET_MTU ? options : { ...options, mtu: String(mtu) }, own };
}

/** What an earlier daemon had seen when it granted these leases; null when there are none. */
export function rememberedBridge(leases: Readonly<Record<string, Lease>>): BridgeSeen | null {
  const [first] = Object.values(leases);
  return first === undefined ? null : { mtu: first.mtu ?? ETHERNET_MTU, addresses: first.dns?.listen ?? [] };
}

/** Options that are made of rules, or are settings of a bridge, and the one that says where what leaves comes from. */
const OURS_ALONE = [
  'mtu',
  'isolate',
  'outbound_addr4',
  'outbound_addr6',
  'com.docker.network.bridge.enable_ip_masquerade',
] as const;

/** None is chosen: what is behind the bridge is not known here. */
export const subnetUnknown = (name: string, which: 'subnet' | 'IPv6 subnet'): Fault => ({
  code: 'BAD_REQUEST',
  message: `network ${name} is unmanaged: say which ${which} is behind its bridge`,
});

/** Why this cannot be a network on a bridge of others, null when it can. */
export function notUnmanaged({
  name,
  network_interface: bridge,
  subnets = [],
  internal = false,
  ipv6_enabled: ipv6 = false,
}: NetworkRequest): Fault | null {
  const bad = (message: string): Fault => ({ code: 'BAD_REQUEST', message });
  if (bridge === undefined) return bad(`network ${name} is unmanaged: say the name of the bridge that it is on`);
  if (subnets.length === 0) return subnetUnknown(name, 'subnet');
  if (ipv6 && !subnets.some(({ subnet }) => subnet.includes(':'))) return subnetUnknown(name, 'IPv6 subnet');
  if (internal) return bad(`network ${name} is unmanaged: there are no rules on ${bridge} that would keep it internal`);
  return null;
}

/** The first option that means nothing on a bridge of others, as a reason to refuse it; null when there is none. */
export function uselessOption({ options }: Pick<NetworkDefinition, 'options'>): Fault | null {
  if (!isUnmanaged({ options })) return null;
  const option = OURS_ALONE.find((one) => options[one] !== undefined);
  if (option === undefined) return null;
  const message = `${option} means nothing with mode=unmanaged: rules and settings of that bridge are not ours`;
  return { code: 'BAD_REQUEST', message };
}

/** What whoever makes such a network may not have thought of. */
export const unmanagedWarnings = ({ dns_enabled: dns, network_interface: bridge }: NetworkDefinition): string[] =>
  dns
    ? [
        `whoever reaches the addresses of ${bridge} can ask the name server of this network: --disable-dns leaves it out`,
      ]
    : [];
