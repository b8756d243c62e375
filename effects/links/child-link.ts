/**
 * Makes and removes the link of an attachment on a parent: a macvlan, an ipvlan or a vlan.
 *
 * Guarantees: one message makes the link in the container's namespace itself. In the outside there is never anything that a
 * crash could leave, and nothing about the parent is changed. The link is made under the name that only this attachment has,
 * because kernels before 6.15 refuse a name that exists in the outside; it gets its alias before its own name
 * (docs/decisions/0056). A link of ours is known by its kind, its group and its alias, which is empty if a crash came before it.
 * The namespace has a number in the outside from then on (netnsId), so that the watch on drift hears of it.
 * Limits: an existing link is kept if its parent and MAC are the planned ones, else made anew. Its mode is not compared, because
 * no dump shows it.
 */
import type { AttachmentInput } from '../../machines/container/attachment.ts';
import type { Link, Outside, RtnlRequest } from '../../native/index.ts';
import { ETHERNET_MTU } from '../../plan/networks/mtu.ts';
import { childText, hasParentsMac } from '../../plan/networks/parent.ts';
import type { Attachment, ChildLink } from '../../state/container.ts';
import { FaultError } from '../../state/faults.ts';
import type { Kernel } from '../kernel.ts';
import { refuse } from '../refusal.ts';
import { IPVLAN_REFUSALS, ipvlanRequest } from './ipvlan.ts';
import { MACVLAN_REFUSALS, macvlanRequest } from './macvlan.ts';
import { noParent } from './unmanaged-bridge.ts';
import { VLAN_REFUSALS, vlanRequest } from './vlan.ts';

/** An attachment on a parent. */
export type ChildAttachment = Attachment & { child: ChildLink };

export const isChild = (attachment: Attachment): attachment is ChildAttachment => attachment.child !== undefined;

const REFUSALS = { macvlan: MACVLAN_REFUSALS, ipvlan: IPVLAN_REFUSALS, vlan: VLAN_REFUSALS };

function requestOf(child: ChildLink) {
  switch (child.kind) {
    case 'macvlan':
      return macvlanRequest(child);
    case 'ipvlan':
      return ipvlanRequest(child);
    case 'vlan':
      return vlanRequest(child);
  }
}

/** Returns true if it made the link. It is up then if the namespace is ours. Otherwise it exists, and is as it should be. */
export async function makeChild(
  kernel: Kernel,
  attachment: ChildAttachment,
  { netns, owned, outside }: Pick<AttachmentInput, 'netns' | 'owned' | 'outside'>,
): Promise<boolean> {
  const { kernel: native } = kernel.outside(outside);
  const { network, child, hostLink, link, bridge: parent, mac, mtu, alias } = attachment;
  // The parent comes first: without it the kernel has removed the link, too.
  const below = await native.link(parent);
  if (below === null) throw noParent(network, parent);
  await native.netnsId(netns);
  const current = (await native.links(netns)).find(({ name }) => name === link);
  if (current !== undefined) {
    if (!isOurs(kernel, current, attachment)) {
      throw new FaultError('INTERFACE_TAKEN', `interface ${link} exists already in the namespace ${netns}`, {
        object: link,
      });
    }
    const sameMac = hasParentsMac(child) || current.mac === mac;
    if (current.link === below.index && sameMac) {
      const again: RtnlRequest[] = [
        { op: 'link.set', name: 'lo', up: true },
        { op: 'link.set', name: link, mtu: mtu ?? ETHERNET_MTU },
        { op: 'link.set', name: link, up: true },
      ];
      explain(await native.rtnl(again, netns), attachment);
      return false;
    }
  }
  // An earlier run may have been killed before it had renamed its link.
  await removeChildren(kernel, native, [attachment], netns);
  const make: RtnlRequest = {
    op: 'link.add',
    ...requestOf(child),
    name: hostLink,
    parent,
    netns,
    group: kernel.instance.group,
    ...(hasParentsMac(child) ? {} : { mac }),
    ...(mtu === null ? {} : { mtu }),
  };
  explain(await native.rtnl([make]), attachment);
  const rest: RtnlRequest[] = [
    { op: 'link.set', name: hostLink, alias },
    { op: 'link.set', name: hostLink, rename: link },
    ...(owned ? [{ op: 'link.set', name: link, up: true } as const] : []),
  ];
  explain(await native.rtnl(rest, netns), attachment);
  return true;
}

/** Removes the links of these attachments, whichever of their names they have. Returns false if there are none. */
export async function removeChildren(
  kernel: Kernel,
  native: Outside,
  attachments: readonly ChildAttachment[],
  netns: string,
): Promise<boolean> {
  const ours = (await native.links(netns)).filter((one) =>
    attachments.some(
      (attachment) => [attachment.link, attachment.hostLink].includes(one.name) && isOurs(kernel, one, attachment),
    ),
  );
  return removeLinksIn(native, ours, netns);
}

/** Removes these links in a namespace. Returns false if there are none. */
export async function removeLinksIn(native: Outside, links: readonly Link[], netns: string): Promise<boolean> {
  if (links.length === 0) return false;
  const names = links.map(({ name }) => name);
  const replies = await native.rtnl(
    names.map((name): RtnlRequest => ({ op: 'link.del', name })),
    netns,
  );
  // ENODEV: the other end or the parent has gone, and the link with it.
  refuse(
    replies.filter(({ code }) => code !== 'ENODEV'),
    `${names.join(' ')} in ${netns}`,
  );
  return true;
}

const isOurs = ({ instance }: Kernel, { kind, group, alias }: Link, wanted: ChildAttachment): boolean =>
  kind === wanted.child.kind && group === instance.group && (alias === wanted.alias || alias === '');

/** Throws for the first reply that is not success, and says what it means for a link of this kind. */
function explain(
  replies: readonly { errno: number; code: string }[],
  { child, network, link, bridge: parent }: ChildAttachment,
): void {
  const failed = replies.find(({ errno }) => errno !== 0);
  if (failed === undefined) return;
  const { code } = failed;
  const more = { errno: code, syscall: 'rtnetlink', object: `${link} on ${parent}` };
  if (code === 'EOPNOTSUPP') {
    const message = `network ${network}: this kernel has no links of kind ${child.kind} (EOPNOTSUPP), or the module ${MODULES[child.kind]} is not loaded`;
    throw new FaultError('DRIVER_UNSUPPORTED', message, more);
  }
  const why = REFUSALS[child.kind][code];
  const message = `rtnetlink ${childText(child)} ${link} on ${parent}: ${code}${why === undefined ? '' : ` (${why})`}`;
  throw new FaultError('KERNEL', message, more);
}

const MODULES = { macvlan: 'macvlan', ipvlan: 'ipvlan', vlan: '8021q' };
