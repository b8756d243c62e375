/**
 * The interfaces that are reported for a namespace that somebody else made, from what the kernel holds.
 *
 * Guarantees: pure. Sorted by name, with reachable interfaces first. Without loopback, and without interfaces that have no
 * address. Link-local and multicast addresses, at which no container can be reached, are left out; an interface that has only
 * such addresses is listed with its MAC, as in Podman. The gateway is that of a default route of the address's family and
 * interface, inside the address's subnet; of several, the one with the lowest metric.
 * Limits: for a route with several next hops the dump names no gateway.
 */
import ipaddr from 'ipaddr.js';
import { MAIN_TABLE, type Dump, type RouteSeen } from '../../plan/kernel/expected.ts';
import type { LeasedAddress } from '../../state/container.ts';

/** An interface and its addresses, whether it was planned or found. */
export interface Interface {
  name: string;
  mac: string;
  addresses: LeasedAddress[];
}

/** The index of every namespace's loopback (LOOPBACK_IFINDEX), whatever its name. */
export const LOOPBACK_INDEX = 1;

export function interfacesIn({ links, addresses, routes }: Omit<Dump, 'neighbours'>): Interface[] {
  const leadingOut = routes
    .filter(({ table, type, prefix }) => table === MAIN_TABLE && type === 'unicast' && prefix === 0)
    .sort((a, b) => a.metric - b.metric);
  return links
    .filter(({ index }) => index !== LOOPBACK_INDEX && addresses.some(({ link }) => link === index))
    .map(({ index, name, mac }) => ({
      name,
      mac,
      addresses: addresses
        .filter(({ link, address }) => link === index && reachable(address))
        .map(({ address, prefix }) => ({ address, prefix, gateway: gatewayOf(address, prefix, index, leadingOut) })),
    }))
    .sort((a, b) => Number(a.addresses.length === 0) - Number(b.addresses.length === 0) || (a.name < b.name ? -1 : 1));
}

function reachable(address: string): boolean {
  return !['linkLocal', 'multicast'].includes(ipaddr.parse(address).range());
}

function gatewayOf(address: string, prefix: number, index: number, routes: readonly RouteSeen[]): string | null {
  const route = routes.find(
    ({ link, gateway }) => link === index && gateway !== null && inSubnet(gateway, address, prefix),
  );
  return route?.gateway ?? null;
}

function inSubnet(candidate: string, address: string, prefix: number): boolean {
  const [one, other] = [ipaddr.parse(candidate), ipaddr.parse(address)];
  return one.kind() === other.kind() && one.match(other, prefix);
}
