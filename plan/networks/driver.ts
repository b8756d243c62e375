/**
 * What the driver of a network says of its links.
 *
 * Guarantees: pure. The one place that knows which drivers put containers on a bridge of cleat's own.
 */
import type { NetworkDefinition } from '../../state/network.ts';

/** True if containers of this driver are on a bridge: one host's, or an overlay's, which is one bridge on each host. */
export const hasBridge = ({ driver }: { driver: NetworkDefinition['driver'] | undefined }): boolean =>
  driver === 'bridge' || driver === 'overlay';

/** Returns all addresses that a network has, on whatever host, in CIDR notation. */
export const spaceOf = ({ subnets, overlay }: Pick<NetworkDefinition, 'subnets' | 'overlay'>): string[] => [
  ...subnets.map(({ subnet }) => subnet),
  ...(overlay?.pools ?? []),
];
