/**
 * The source addresses that an attacker forges.
 *
 * Guarantees: none of them is the attacker's own address.
 */
import { HOST, NEIGHBOUR, SECOND, type Ground, type Network, type Origin } from './attack-ground.ts';
import type { Family } from './packets.ts';

/** The claimed sender, and its address. `network` is the victim's. */
export function attackSources(
  { networks, victims }: Ground,
  origin: Origin,
  network: Network | null,
  victim: string,
  family: Family,
): (readonly [string, string])[] {
  const places: (readonly [string, string])[] = [
    ['the host', HOST[family]],
    ['the LAN neighbour', NEIGHBOUR[family]],
    ['the second uplink', SECOND[family]],
    ...networks
      .filter((each) => each === network || each === origin.network)
      .map(({ name, gateway }) => [`the gateway of ${name}`, gateway[family]] as const),
    ...victims.map(({ name, address }) => [`container ${name}`, address[family]] as const),
    ['the victim', victim],
    ...(network === null ? [] : [[`a neighbour of the victim`, `${network.gateway[family]}77`] as const]),
  ];
  const special =
    family === 4
      ? ['127.0.0.1', '0.0.0.0', '255.255.255.255', '224.0.0.1', '169.254.1.1']
      : ['::1', '::ffff:127.0.0.1', '::', 'ff02::1', 'fe80::1234'];
  const all = [...places, ...special.map((address) => [address, address] as const)];
  const unique = new Map(all.toReversed().map(([who, address]) => [address, who]));
  unique.delete(origin.own[family]);
  return [...unique].map(([address, who]) => [who, address] as const);
}
