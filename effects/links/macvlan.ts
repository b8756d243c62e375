/**
 * The driver macvlan: a link with a MAC of its own on the LAN of its parent.
 *
 * Guarantees: data alone; child-link.ts makes the link.
 * Limits: the host and its containers do not reach each other by the parent (macvlan_broadcast, macvlan_queue_xmit). A kernel
 * before Linux 6.4 ignores bclim.
 */
import type { ChildLink } from '../../state/container.ts';

type Macvlan = Extract<ChildLink, { kind: 'macvlan' }>;

export const macvlanRequest = ({ kind, mode, bclim }: Macvlan) => ({
  kind,
  mode,
  ...(bclim === null ? {} : { bclim }),
});

/** Says what an error of the kernel means for a link of this kind (macvlan_common_newlink, macvlan_open). */
export const MACVLAN_REFUSALS: Readonly<Record<string, string>> = {
  EBUSY: 'it is a port of a bridge or of a bond, it has ipvlan links, or another of its links has the MAC address',
  EADDRINUSE: 'another of its links has the MAC address',
  EINVAL: 'it is no Ethernet link, its MTU is smaller, or a link of mode passthru excludes all others',
};
