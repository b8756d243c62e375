/**
 * The pools of overlays among the networks of one host.
 *
 * Guarantees: pure. A pool is in the way of other networks as a whole: its other shares are on other hosts.
 */
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { OverlayShared } from '../../state/overlay.ts';
import { overlaps, parseSubnet } from '../addresses/address.ts';
import { refuse } from '../refusal.ts';

type Occupied = Pick<NetworkDefinition, 'subnets' | 'overlay'>;

/** The subnets that a network leaves to no other one: of an overlay all shares of all hosts. */
export const occupied = ({ subnets, overlay }: Occupied): string[] => [
  ...subnets.map(({ subnet }) => subnet),
  ...(overlay?.pools ?? []),
];

/** Returns a fault if a pool overlaps what another network of this host has; null otherwise. */
export function poolInTheWay(
  { name, pools }: Pick<OverlayShared, 'name' | 'pools'>,
  networks: readonly NetworkDefinition[],
): { fault: Fault } | null {
  for (const other of networks.filter((one) => one.name !== name)) {
    for (const pool of pools) {
      const clash = occupied(other).find((subnet) => overlaps(parseSubnet(subnet), parseSubnet(pool)));
      if (clash === undefined) continue;
      const owner = `network ${other.name}`;
      return refuse('SUBNET_OVERLAPS', `pool ${pool} overlaps with ${clash} of ${owner}`, owner);
    }
  }
  return null;
}
