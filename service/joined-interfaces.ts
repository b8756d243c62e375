/**
 * What a namespace that somebody else made is said to have: its interfaces, out of what the kernel holds.
 *
 * Guarantees: pure; sorted by name, those that can be reached first. Without loopback, and without interfaces that have no address. Link-local and multicast
 * addresses, at which nobody could be reached, are left out; an interface that has no other is there with its MAC, as in
 * Podman. A gateway is a default route's, of the address's family and interface,
 * and inside its subnet; of several the one with the lowest metric.
 * Limits: of a route with several next hops the dump names none.
 */
import ipaddr from 'ipaddr.js';
import { MAIN_TABLE, type Dump, type RouteSeen } from '../machines/plan/expected.ts';
import type { LeasedAddress } from '../state/container.ts';

/** An interface and its addresses, whether it was planned or found. */
export interface Interface {
  name: string;
  mac: string;
  addresses: LeasedAddress[];
}

/** Of every namespace's loopback (LOOPBACK_IFINDEX), whatever its name. */
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
