/**
 * Counts the addresses that the subnets of a network have left for containers.
 *
 * Guarantees: pure. The gateway, if there is one, is no container's, and neither are the network and the broadcast address.
 * Limits: a number of addresses of IPv6 is rounded to what a double holds. Addresses that a container requests may lie outside of
 * the range in which addresses are chosen; they are not counted.
 */
import type { NetworkDefinition } from '../../state/network.ts';
import { hostRange, parseSubnet, toNumber } from '../addresses/address.ts';

/** Returns each subnet with its number of free addresses. `taken`: the addresses of containers on the network. */
export function freeAddresses(
  { subnets }: Pick<NetworkDefinition, 'subnets'>,
  taken: readonly string[],
): [string, number][] {
  return subnets.map(({ subnet, gateway, lease_range: range }) => {
    const parsed = parseSubnet(subnet);
    const hosts = hostRange(parsed);
    const first = range?.start_ip === undefined ? hosts.first : toNumber(range.start_ip);
    const last = range?.end_ip === undefined ? hosts.last : toNumber(range.end_ip);
    const isV6 = subnet.includes(':');
    const isIn = (address: string) =>
      address.includes(':') === isV6 && toNumber(address) >= first && toNumber(address) <= last;
    const used = new Set([...(gateway === undefined ? [] : [gateway]), ...taken].filter(isIn));
    return [subnet, Number(last - first + 1n) - used.size];
  });
}
