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

/** The host knows the addresses of a container on a bridge of ours. On a bridge of others it learns them like any host. */
export const hostNeighbours = ({
  bridge,
  addresses,
  mac,
  unmanaged = false,
}: Pick<Attachment, 'bridge' | 'addresses' | 'mac' | 'unmanaged'>) =>
  unmanaged
    ? []
    : addresses.map(({ address }): RtnlRequest => ({ op: 'neighbour.replace', link: bridge, address, mac }));

/** Given by whoever plans: the gateways that an attachment knows inside, each with its MAC. */
export type KnownInside = (attachment: Attachment) => { address: string; mac: string }[];

export const gatewayNeighbours = (attachment: Attachment, knownInside: KnownInside) =>
  knownInside(attachment).map((known): RtnlRequest => ({ op: 'neighbour.replace', link: attachment.link, ...known }));

/** From what is known inside with one attachment to what is with another. */
export function gatewayChanges(from: Attachment, to: Attachment, knownInside: KnownInside): RtnlRequest[] {
  const kept = new Set(knownInside(to).map(({ address }) => address));
  const gone = knownInside(from).filter(({ address }) => !kept.has(address));
  const removed = gone.map(({ address }): RtnlRequest => ({ op: 'neighbour.del', link: to.link, address }));
  return [...removed, ...gatewayNeighbours(to, knownInside)];
}

/** Addresses that were a container's on this bridge, and are no more. What a bridge of others knows is not ours to take. */
export async function forgetNeighbours(
  native: Outside,
  was: readonly { bridge: string; address: string; unmanaged?: boolean | undefined }[],
): Promise<void> {
  const known = was.filter(({ unmanaged = false }) => !unmanaged);
  if (known.length === 0) return;
  const requests = known.map(({ bridge, address }): RtnlRequest => ({ op: 'neighbour.del', link: bridge, address }));
  refuse(
    (await native.rtnl(requests)).filter(({ code }) => code !== 'ENOENT' && code !== 'ENODEV'),
    known.map(({ address }) => address).join(' '),
  );
}
