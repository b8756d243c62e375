/**
 * The driver ipvlan: a link on the LAN of its parent, whose MAC it shares.
 *
 * Guarantees: data alone; child-link.ts makes the link.
 * Limits: all ipvlan links of a parent have the mode of the last one that was made (ipvlan_set_port_mode).
 */
import type { ChildLink } from '../../state/container.ts';

type Ipvlan = Extract<ChildLink, { kind: 'ipvlan' }>;

export const ipvlanRequest = ({ kind, mode }: Ipvlan) => ({ kind, mode });

/** Says what an error of the kernel means for a link of this kind (ipvlan_link_new, ipvlan_port_create). */
export const IPVLAN_REFUSALS: Readonly<Record<string, string>> = {
  EBUSY: 'it is a port of a bridge or of a bond, or it has macvlan links',
  EINVAL: 'it is no Ethernet link',
};
