/**
 * The MTU of a network that was given none: that of the route by which its traffic leaves the host.
 *
 * Guarantees: pure. An MTU in the definition counts, whatever the way out is; an internal network has no way out.
 * Limits: one number for a network and all that it sends: of its families the way with the smaller one counts.
 */
import type { NetworkDefinition } from '../../state/network.ts';
import { BRIDGE_MOST, ETHERNET_MTU, IPV4_LEAST, IPV6_LEAST } from './mtu.ts';
import { isUnmanaged, onBridge, type BridgeSeen, type Seen } from './unmanaged.ts';

/** Per family, the MTU of the route that leads out of a host; null: none does. */
export interface WayOut {
  4: number | null;
  6: number | null;
}

export const NO_WAY_OUT: WayOut = { 4: null, 6: null };

/** Of a host that has lost its route, the earlier one counts: it is on its way to another (DHCP, a VPN that reconnects). */
export const remembered = (before: WayOut, now: WayOut): WayOut => ({ 4: now[4] ?? before[4], 6: now[6] ?? before[6] });

/** The smallest MTU of the ways that traffic of this network leaves by; null: there is none. */
export function narrowest({ internal, subnets }: NetworkDefinition, wayOut: WayOut): number | null {
  if (internal) return null;
  const families = [4, 6] as const;
  const ways = families.filter((family) => subnets.some(({ subnet }) => subnet.includes(':') === (family === 6)));
  const known = ways.flatMap((family) => wayOut[family] ?? []);
  return known.length === 0 ? null : Math.min(...known);
}

/** The definition with what it has by its way out, or on a bridge of others by that. */
export const asFound = (definition: NetworkDefinition, wayOut: WayOut, bridge: BridgeSeen | null): Seen =>
  isUnmanaged(definition) ? onBridge(definition, bridge) : withMtu(definition, wayOut);

/** The definition with the MTU that it has by its way out; the same object where that is the usual one, or its own. */
export function withMtu(definition: NetworkDefinition, wayOut: WayOut): NetworkDefinition {
  const way = definition.options.mtu === undefined ? narrowest(definition, wayOut) : null;
  if (way === null) return definition;
  const least = definition.subnets.some(({ subnet }) => subnet.includes(':')) ? IPV6_LEAST : IPV4_LEAST;
  const mtu = Math.min(BRIDGE_MOST, Math.max(least, way));
  return mtu === ETHERNET_MTU ? definition : { ...definition, options: { ...definition.options, mtu: String(mtu) } };
}
