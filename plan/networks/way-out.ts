/**
 * Chooses the MTU of a network that has none configured: that of the route by which its traffic leaves the host.
 *
 * Guarantees: pure. An MTU in the definition takes precedence; an internal network has no such route. The way out of an overlay is
 * the one to its other hosts, whose packets also hold the headers of the tunnel.
 * Limits: one MTU for a network: the smaller one of its families' routes.
 */
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { familyOf } from '../addresses/address.ts';
import type { Overlay, Peer } from '../../state/overlay.ts';
import { BRIDGE_MOST, ETHERNET_MTU, IPV4_LEAST, IPV6_LEAST } from './mtu.ts';
import { isUnmanaged, onBridge, type BridgeSeen, type Seen } from './unmanaged.ts';

/** By family, the MTU of the route that leads out of a host; null if there is none. */
export interface WayOut {
  4: number | null;
  6: number | null;
}

export const NO_WAY_OUT: WayOut = { 4: null, 6: null };

/** Keeps the earlier MTU if the host has lost its route: it will get another one (DHCP, a VPN that reconnects). */
export const remembered = (before: WayOut, now: WayOut): WayOut => ({ 4: now[4] ?? before[4], 6: now[6] ?? before[6] });

/** The headers around an Ethernet frame in VXLAN (RFC 7348, 5), and the frame's own: 14 + 8 + 8 + 20 bytes, or 40 for IPv6. */
const VXLAN_HEADERS = { 4: 50, 6: 70 };
/** A data packet of WireGuard has 16 bytes of its own, a tag of 16, 8 of UDP, and 20 of IPv4 or 40 of IPv6. */
const WIREGUARD_HEADERS = { 4: 60, 6: 80 };
const HEADERS = { vxlan: VXLAN_HEADERS, wireguard: WIREGUARD_HEADERS, 'host-gw': { 4: 0, 6: 0 } };

/** Returns the MTU that an overlay's packets have room for; a way to the other hosts that is unknown is taken for Ethernet. */
function inTunnel({ backend, address }: Overlay, wayOut: WayOut): number {
  const family = familyOf(address);
  return (wayOut[family] ?? ETHERNET_MTU) - HEADERS[backend][family];
}

/** Returns the reason why an overlay cannot have the MTU that it asks for; null if it can, or if the way is unknown. */
export function tooWide({ name, overlay, options: { mtu } }: NetworkDefinition, wayOut: WayOut): Fault | null {
  if (overlay === undefined || mtu === undefined || wayOut[familyOf(overlay.address)] === null) return null;
  const room = inTunnel(overlay, wayOut);
  if (Number(mtu) <= room) return null;
  const message = `network ${name}: an MTU of ${mtu} does not fit, packets to other hosts have room for ${room}`;
  return { code: 'BAD_REQUEST', message };
}

/** Returns the smallest MTU of the routes that this network's traffic leaves by; null if there is none. */
export function narrowest({ internal, subnets, overlay }: NetworkDefinition, wayOut: WayOut): number | null {
  if (overlay !== undefined) return inTunnel(overlay, wayOut);
  if (internal) return null;
  const families = [4, 6] as const;
  const ways = families.filter((family) => subnets.some(({ subnet }) => subnet.includes(':') === (family === 6)));
  const known = ways.flatMap((family) => wayOut[family] ?? []);
  return known.length === 0 ? null : Math.min(...known);
}

/** Returns the definition with the MTU of its route and its peers, or with the data of its bridge if others own that. */
export function asFound(
  definition: NetworkDefinition,
  wayOut: WayOut,
  bridge: BridgeSeen | null,
  peers: readonly Peer[] = [],
): Seen {
  if (isUnmanaged(definition)) return onBridge(definition, bridge);
  const found = withMtu(definition, wayOut);
  return definition.overlay === undefined ? found : { ...found, peers };
}

/**
 * Returns the definition with the MTU of its route; returns the same object if that is the default, or if the definition has an
 * MTU.
 */
export function withMtu(definition: NetworkDefinition, wayOut: WayOut): NetworkDefinition {
  const way = definition.options.mtu === undefined ? narrowest(definition, wayOut) : null;
  if (way === null) return definition;
  const least = definition.subnets.some(({ subnet }) => subnet.includes(':')) ? IPV6_LEAST : IPV4_LEAST;
  const mtu = Math.min(BRIDGE_MOST, Math.max(least, way));
  return mtu === ETHERNET_MTU ? definition : { ...definition, options: { ...definition.options, mtu: String(mtu) } };
}
