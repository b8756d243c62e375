/**
 * The VXLAN link of an overlay: made or restored.
 *
 * Guarantees: running it twice gives the same result. A link with another network number, port or address, which cannot be changed,
 * is made anew; so is one that learns. A link of others is never touched.
 * Limits: other VXLAN links of this host may have the port, but not the same network number with it.
 */
import type { Instance } from '../kernel.ts';
import type { Link, Outside, RtnlRequest } from '../../native/index.ts';
import { isVxlanOf, tunnelAlias, type OverlaySeen } from '../../plan/kernel/expected-overlay.ts';
import { ETHERNET_MTU } from '../../plan/networks/mtu.ts';
import { FaultError } from '../../state/faults.ts';
import { refuse, stranger } from '../refusal.ts';

/** Makes or restores the link, down and without addresses. */
export async function makeVxlan(
  instance: Instance,
  native: Outside,
  definition: OverlaySeen,
  name: string,
): Promise<void> {
  const { overlay, options } = definition;
  const alias = tunnelAlias(instance.name, definition.name);
  const mtu = Number(options.mtu ?? ETHERNET_MTU);
  const found = await native.link(name);
  if (found !== null && !isOurs(instance, found, alias)) throw stranger(name, found.alias);
  if (found !== null && isVxlanOf(definition, found)) {
    const changes: RtnlRequest[] = [
      ...(found.mac === overlay.mac ? [] : [{ op: 'link.set', name, mac: overlay.mac } as const]),
      ...(found.mtu === mtu ? [] : [{ op: 'link.set', name, mtu } as const]),
    ];
    refuse(await native.rtnl([...changes, { op: 'link.set', name, alias }]), name);
    return;
  }
  const { vni, port, address, mac } = overlay;
  const made = await native.rtnl([
    ...(found === null ? [] : [{ op: 'link.del', name } as const]),
    {
      op: 'link.add',
      kind: 'vxlan',
      name,
      mac,
      mtu,
      group: instance.group,
      vxlan: { vni, local: address, port },
    },
  ]);
  if (made.at(-1)?.code === 'EEXIST') {
    const message = `another VXLAN link of this host has network number ${vni} and port ${port}`;
    throw new FaultError('NAME_TAKEN_IN_KERNEL', message, { object: name });
  }
  refuse(made, name);
  refuse(await native.rtnl([{ op: 'link.set', name, alias, noLinkLocal: true }]), name);
}

/** Recognises a link of ours by its alias, or by its group alone if a crash came between the two. */
export const isOurs = (instance: Instance, link: Link, alias: string): boolean =>
  link.alias === alias || (link.alias === '' && link.group === instance.group);
