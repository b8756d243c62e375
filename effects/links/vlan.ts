/**
 * Tags of VLANs (IEEE 802.1Q): the driver vlan, whose link sends and gets what the LAN of its parent tags with one number; and the
 * tag of a container's port of a bridge (the bridge's option `vlan`, as in netavark).
 *
 * Guarantees: a kernel that was built without tags for bridge ports is an error that says so. child-link.ts makes the link of the
 * driver.
 * Limits: a parent has one link of each tag, in whatever namespace, and that link can be up only while the parent is. Both are tested
 * up to the message and to the kernel's refusal, because the kernels of the tests have neither (docs/decisions/0056).
 */
import type { ChildLink } from '../../state/container.ts';
import { FaultError } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';

type Vlan = Extract<ChildLink, { kind: 'vlan' }>;

export const vlanRequest = ({ kind, id }: Vlan) => ({ kind, vlan: id });

/** Says what an error of the kernel means for a link of this kind (vlan_check_real_dev, vlan_dev_open). */
export const VLAN_REFUSALS: Readonly<Record<string, string>> = {
  EEXIST: 'it has a link with this tag already',
  ENETDOWN: 'it is down',
  EINVAL: 'its MTU is smaller',
};

/** Returns the tag that the ports of a network's bridge have. */
export const tagOf = ({ options: { vlan } }: Pick<NetworkDefinition, 'options'>): number | undefined =>
  vlan === undefined ? undefined : Number(vlan);

/** Returns the members of a `link.set` that give the tag to a port of a bridge. */
export const portTag = (vlan: number | undefined): { portVlan?: number } =>
  vlan === undefined ? {} : { portVlan: vlan };

/** Throws if the kernel refused a tag because it has none. The other refusals are left to the caller. */
export function refuseTag(replies: readonly { code: string }[], vlan: number | undefined, bridge: string): void {
  if (vlan === undefined || !replies.some(({ code }) => code === 'EOPNOTSUPP')) return;
  const what = 'this kernel has no VLAN filtering (EOPNOTSUPP, CONFIG_BRIDGE_VLAN_FILTERING)';
  const message = `bridge ${bridge} cannot have ports with tag ${vlan}: ${what}`;
  throw new FaultError('DRIVER_UNSUPPORTED', message, { errno: 'EOPNOTSUPP', syscall: 'rtnetlink', object: bridge });
}
