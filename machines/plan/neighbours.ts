/**
 * Who on a network is known by which MAC without being asked: the container on its bridge, the gateways inside.
 *
 * Guarantees: pure; from what an attachment says already, so nothing more is stored for it.
 * On a bridge of others (unmanaged.ts) nobody is known: the gateway is somebody else, and the bridge not ours to teach.
 * Limits: containers of one network ask for each other (ARP, RFC 826; neighbour discovery, RFC 4861).
 */
import type { Attachment, Difference } from '../../state/container.ts';

/** Of native's Neighbour, what is compared. */
export interface NeighbourSeen {
  link: number;
  address: string;
  mac: string;
  state: number;
}

/** A MAC that stays: without one of its own a bridge takes the lowest of its ports'. */
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

/** On the bridge of an attachment. */
export const knownOutside = ({
  addresses,
  mac,
  unmanaged = false,
}: Pick<Attachment, 'addresses' | 'mac' | 'unmanaged'>): Known[] =>
  unmanaged ? [] : addresses.map(({ address }) => ({ address, mac }));

/** On the link inside. */
export function knownInside({
  addresses,
  networkId,
  unmanaged = false,
}: Pick<Attachment, 'addresses' | 'networkId' | 'unmanaged'>): Known[] {
  if (unmanaged) return [];
  const gateways = new Set(addresses.flatMap(({ gateway }) => gateway ?? []));
  return [...gateways].map((address) => ({ address, mac: bridgeMac(networkId) }));
}

/** Those of `known` that are not, or not so, on the link of this name. */
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
    // One that the kernel made by asking is as good as none.
    const problem = found?.state === PERMANENT ? 'changed' : 'missing';
    return [{ kind: 'neighbour', object: `${address} at ${mac} on ${name}`, network, problem }];
  });
}
