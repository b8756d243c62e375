/**
 * Announces the addresses of a container's link to its network (gratuitous ARP, unsolicited neighbour advertisements).
 *
 * Neighbours that have an earlier container's MAC in their caches would send to that MAC for up to 40 s. The kernel announces
 * all addresses of a link whose MAC is set, even to the same MAC, if the switches arp_notify (here) and ndisc_notify
 * (address.ts, allowFamilies) are on (inetdev_event, ndisc_netdev_event).
 * Guarantees: the announcement passes the bridge, because the state of the link's port is checked first.
 * Limits: setting a MAC makes the kernel forget all neighbours of the link, so a link without new addresses is left alone. The
 * wait for a port ends after READY_MS.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Outside, RtnlRequest } from '../../native/index.ts';
import type { Attachment } from '../../state/container.ts';
import { gatewayNeighbours, type KnownInside } from './neighbour.ts';
import { refuse } from '../refusal.ts';

/** Bounds the time from both ends being up until the kernel has reported that to the bridge (linkwatch). */
const READY_MS = 500;
const LOOK_MS = 5;

/** Returns the request that announces. It comes after the addresses, and before the neighbours that the link must know. */
export const announcement = ({ link, mac }: Attachment): RtnlRequest[] => [
  { op: 'link.set', name: link, mac, arpNotify: true },
];

export async function announce(
  native: Outside,
  attachment: Attachment,
  knownInside: KnownInside,
  netns: string,
): Promise<void> {
  const { hostLink, link } = attachment;
  for (const limit = performance.now() + READY_MS; performance.now() < limit; await sleep(LOOK_MS)) {
    if (attachment.child !== undefined || (await native.link(hostLink))?.operational !== false) break;
  }
  const requests = [...announcement(attachment), ...gatewayNeighbours(attachment, knownInside)];
  refuse(await native.rtnl(requests, netns), `${link} in ${netns}`);
}
