/**
 * The permanent neighbour entries of a network: the container's on its bridge, the gateways' inside.
 *
 * Guarantees: pure; derived from the attachment, so nothing more is stored for them. A bridge of others (unmanaged.ts) has
 * none: the gateway is somebody else's, and the bridge is not ours to change.
 * Limits: containers of one network resolve each other (ARP, RFC 826; neighbour discovery, RFC 4861).
 */
import type { Attachment, Difference } from '../../state/container.ts';

/** The compared fields of native's Neighbour. */
export interface NeighbourSeen {
  link: number;
  address: string;
  mac: string;
  state: number;
}

/** Returns a fixed MAC: a bridge without one of its own takes the lowest of its ports'. */
export function bridgeMac(networkId: string): string {
  // 02: locally administered, unicast (IEEE 802); 40 bits of the id.
  return ['02', ...(networkId.slice(0, 10).match(/../g) ?? [])].join(':');
}

/** NUD_PERMANENT (linux/neighbour.h). */
export const PERMANENT = 0x80;

export interface Known {
  address: string;
  mac: string;
}

/** Returns the entries on the bridge of an attachment. */
export const knownOutside = ({
  addresses,
  mac,
  unmanaged = false,
}: Pick<Attachment, 'addresses' | 'mac' | 'unmanaged'>): Known[] =>
  unmanaged ? [] : addresses.map(({ address }) => ({ address, mac }));

/** Returns the entries on the link inside. */
export function knownInside({
  addresses,
  networkId,
  unmanaged = false,
}: Pick<Attachment, 'addresses' | 'networkId' | 'unmanaged'>): Known[] {
  if (unmanaged) return [];
  const gateways = new Set(addresses.flatMap(({ gateway }) => gateway ?? []));
  return [...gateways].map((address) => ({ address, mac: bridgeMac(networkId) }));
}

/** Returns the entries of `known` that are missing or changed on the link of this name. */
export function compareNeighbours(
  known: readonly Known[],
  { index, name }: { index: number; name: string },
  seen: readonly NeighbourSeen[],
  network: string,
): Difference[] {
  const there = new Map(seen.filter(({ link }) => link === index).map((one) => [one.address, one]));
  return known.flatMap(({ address, mac }) => {
    const found = there.get(address);
    if (found?.mac === mac && found.state === PERMANENT) return [];
    // An entry that the kernel made by resolution counts as missing.
    const problem = found?.state === PERMANENT ? 'changed' : 'missing';
    return [{ kind: 'neighbour', object: `${address} at ${mac} on ${name}`, network, problem }];
  });
}
