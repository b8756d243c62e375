/**
 * The driver vlan: a link that sends and gets what the LAN of its parent tags with one number (IEEE 802.1Q).
 *
 * Guarantees: data alone; child-link.ts makes the link.
 * Limits: a parent has one link of each tag, in whatever namespace. The link can be up only while its parent is.
 */
import type { ChildLink } from '../../state/container.ts';

type Vlan = Extract<ChildLink, { kind: 'vlan' }>;

export const vlanRequest = ({ kind, id }: Vlan) => ({ kind, vlan: id });

/** What an error of the kernel means for this kind of link (vlan_check_real_dev, vlan_dev_open). */
export const VLAN_REFUSALS: Readonly<Record<string, string>> = {
  EEXIST: 'it has a link with this tag already',
  ENETDOWN: 'it is down',
  EINVAL: 'its MTU is smaller',
};
