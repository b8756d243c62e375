/**
 * Tells a network who has the addresses of a container's link now (gratuitous ARP, unsolicited neighbour advertisements).
 *
 * Neighbours that knew an earlier container by another MAC would send to that one for as long as they believe it, up to
 * 40 s. The kernel announces all addresses of a link that is given a MAC, also the one that it has, where the switches
 * arp_notify (here) and ndisc_notify (address.ts, allowFamilies) say so (inetdev_event, ndisc_netdev_event).
 * Guarantees: what is announced passes the bridge: its port is asked first whether it is ready.
 * Limits: the kernel forgets all neighbours of a link that is given a MAC, so a link on which nothing is new is left alone.
 * A port that is not ready within READY_MS is not waited for any longer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Outside, RtnlRequest } from '../native/index.ts';
import type { Attachment } from '../state/container.ts';
import { gatewayNeighbours, type KnownInside } from './neighbour.ts';
import { refuse } from './refusal.ts';

/** Between the moment both ends are up and the one in which the kernel has made that known to the bridge (linkwatch). */
const READY_MS = 500;
const LOOK_MS = 5;

/** Its addresses are there, and what it is to know of neighbours comes after it. */
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
    if ((await native.link(hostLink))?.operational !== false) break;
  }
  const requests = [...announcement(attachment), ...gatewayNeighbours(attachment, knownInside)];
  refuse(await native.rtnl(requests, netns), `${link} in ${netns}`);
}
