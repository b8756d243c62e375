/**
 * Permanent neighbour entries: the container's on its bridge, the gateways' inside the container.
 *
 * Guarantees: the kernel counts permanent entries towards no limit (neigh_alloc in net/core/neighbour.c, since 5.0), so a
 * thousand active containers do not fill the one table of the machine (gc_thresh3). No other host on the network can take an
 * address over by answering for it. Removing an entry that is gone, or whose bridge is gone, is success.
 * Limits: entries inside are removed with their link, and when it goes down; the code that sets it up again makes them anew.
 */
import type { Outside, RtnlRequest } from '../../native/index.ts';
import type { Attachment } from '../../state/container.ts';
import { refuse } from '../refusal.ts';

/**
 * Returns the entries for a container on a bridge of ours. Returns none for a bridge of others, which learns addresses like any
 * host.
 */
export const hostNeighbours = ({
  bridge,
  addresses,
  mac,
  unmanaged = false,
}: Pick<Attachment, 'bridge' | 'addresses' | 'mac' | 'unmanaged'>) =>
  unmanaged
    ? []
    : addresses.map(({ address }): RtnlRequest => ({ op: 'neighbour.replace', link: bridge, address, mac }));

/** Returns the gateways that an attachment knows inside, each with its MAC. The planning code provides it. */
export type KnownInside = (attachment: Attachment) => { address: string; mac: string }[];

export const gatewayNeighbours = (attachment: Attachment, knownInside: KnownInside) =>
  knownInside(attachment).map((known): RtnlRequest => ({ op: 'neighbour.replace', link: attachment.link, ...known }));

/** Returns the requests that turn the entries inside for `from` into those for `to`. */
export function gatewayChanges(from: Attachment, to: Attachment, knownInside: KnownInside): RtnlRequest[] {
  const kept = new Set(knownInside(to).map(({ address }) => address));
  const gone = knownInside(from).filter(({ address }) => !kept.has(address));
  const removed = gone.map(({ address }): RtnlRequest => ({ op: 'neighbour.del', link: to.link, address }));
  return [...removed, ...gatewayNeighbours(to, knownInside)];
}

/**
 * Removes the entries of addresses that a container no longer has on this bridge. Ignores a bridge of others, whose entries are
 * not ours.
 */
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
