/**
 * Permanent neighbour entries: the container on its bridge, the gateways inside it.
 *
 * Guarantees: the kernel counts permanent entries towards no limit (neigh_alloc in net/core/neighbour.c, since 5.0), so
 * that a thousand containers that all speak do not fill the one table of the machine (gc_thresh3); nobody else on the
 * network can take an address over by answering for it. Taken away again: gone already is success, the bridge too.
 * Limits: those inside go with their link, and all of a link when it goes down; whoever sets it up again makes them anew.
 */
import type { Outside, RtnlRequest } from '../native/index.ts';
import type { Attachment } from '../state/container.ts';
import { refuse } from './refusal.ts';

export const hostNeighbours = ({ bridge, addresses, mac }: Pick<Attachment, 'bridge' | 'addresses' | 'mac'>) =>
  addresses.map(({ address }): RtnlRequest => ({ op: 'neighbour.replace', link: bridge, address, mac }));

/** Given by whoever plans: the MAC of a network's bridge, by its id. */
export type BridgeMac = (networkId: string) => string;

export function gatewayNeighbours({ link, networkId, addresses }: Attachment, macOf: BridgeMac): RtnlRequest[] {
  const mac = macOf(networkId);
  return gatewaysOf(addresses).map((address) => ({ op: 'neighbour.replace', link, address, mac }));
}

/** From what is known inside with one attachment to what is with another. */
export function gatewayChanges(from: Attachment, to: Attachment, macOf: BridgeMac): RtnlRequest[] {
  const kept = new Set(gatewaysOf(to.addresses));
  const gone = gatewaysOf(from.addresses).filter((address) => !kept.has(address));
  const removed = gone.map((address): RtnlRequest => ({ op: 'neighbour.del', link: to.link, address }));
  return [...removed, ...gatewayNeighbours(to, macOf)];
}

/** Addresses that were a container's on this bridge, and are no more. */
export async function forgetNeighbours(
  native: Outside,
  known: readonly { bridge: string; address: string }[],
): Promise<void> {
  if (known.length === 0) return;
  const requests = known.map(({ bridge, address }): RtnlRequest => ({ op: 'neighbour.del', link: bridge, address }));
  refuse(
    (await native.rtnl(requests)).filter(({ code }) => code !== 'ENOENT' && code !== 'ENODEV'),
    known.map(({ address }) => address).join(' '),
  );
}

const gatewaysOf = (addresses: Attachment['addresses']): string[] => [
  ...new Set(addresses.flatMap(({ gateway }) => gateway ?? [])),
];
