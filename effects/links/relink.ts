/**
 * Changes a link that carries traffic: replaces it by a new one, or changes it in place.
 *
 * Guarantees: make before break, so connections through the link survive. Running again after a crash gives the same result.
 * Swapping attachment and predecessor undoes the change.
 * Limits: packets may be lost while two links change places (0.9 ms); connections are not. A link on a parent is removed before
 * the new one is made, which takes an RCU grace period more.
 */
import type { AttachmentInput } from '../../machines/container/attachment.ts';
import type { Link, Outside } from '../../native/index.ts';
import { ETHERNET_MTU } from '../../plan/networks/mtu.ts';
import type { Attachment } from '../../state/container.ts';
import { announce, announcement } from './announce.ts';
import { addressChanges, addressRequests, allowFamilies, ensureAddresses, succeedRoutes } from './address.ts';
import { isChild, removeChildren, type ChildAttachment } from './child-link.ts';
import { forgetAddresses } from '../firewall/conntrack.ts';
import { FaultError } from '../../state/faults.ts';
import type { Kernel } from '../kernel.ts';
import { ensureLink, makePair, removeIfOurs, removeInside, removeLinks, setSwitches } from './link.ts';
import { forgetNeighbours, gatewayChanges, gatewayNeighbours, hostNeighbours, type KnownInside } from './neighbour.ts';
import { refuse } from '../refusal.ts';
import { ensureSources, reviseSources } from './source-routes.ts';

/**
 * Puts a new pair in the place of the predecessor's. It is prepared under another name. Then one batch takes the old end down
 * and renames it, and gives the new one its name, addresses and routes, so that connections do not notice. After a crash, the
 * kernel's links show which of the two is in place.
 */
export const replaceLink =
  (kernel: Kernel, knownInside: KnownInside) =>
  async (input: AttachmentInput): Promise<void> => {
    const { attachment, predecessor, siblings = [], netns, outside } = input;
    if (isChild(attachment)) return replaceChild(kernel, knownInside, input, attachment);
    const on = kernel.outside(outside);
    const native = on.kernel;
    const { hostLink, link } = attachment;
    const standby: Attachment = { ...attachment, link: hostLink };
    const peerOf = async (host: string) => {
      const [end, inside] = [await native.link(host), await native.links(netns)];
      const peer = inside.find((candidate) => candidate.link === end?.index && candidate.mac === attachment.mac);
      return { peer, current: inside.find(({ name }) => name === link) };
    };
    try {
      const before = await peerOf(hostLink);
      await refuseStranger(native, input, before.current);
      if (before.peer === undefined || before.peer.name !== link) {
        if (before.peer === undefined) await makePair(kernel, { ...input, attachment: standby, owned: false });
        const name = before.peer?.name ?? hostLink;
        if (!input.owned) await setSwitches(native, name, netns);
        await allowFamilies(native, attachment, name, netns);
        const added = addressRequests(attachment, siblings);
        const aside = predecessor?.hostLink ?? `${hostLink.slice(0, 14)}o`;
        refuse(
          await native.rtnl(
            [
              ...(before.current === undefined
                ? []
                : [
                    { op: 'link.set', name: link, up: false } as const,
                    { op: 'link.set', name: link, rename: aside } as const,
                  ]),
              { op: 'link.set', name, up: false },
              { op: 'link.set', name, rename: link },
              { op: 'link.set', name: link, up: true },
              ...added,
              ...gatewayNeighbours(attachment, knownInside),
            ],
            netns,
          ),
          `${link} in ${netns}`,
        );
      }
      // Not in the batch with the rest: the bridge forwards nothing before it has seen that both ends are up.
      await announce(native, attachment, knownInside, netns);
      await ensureSources(native, attachment, siblings, netns);
    } catch (error) {
      // The old link continues alone if it still stands. If not, the caller restores it.
      const after = await peerOf(hostLink).catch(() => null);
      if (after?.peer !== undefined && after.peer.name !== link) await removeLinks(on, kernel, [hostLink]);
      throw error;
    }
    if (predecessor === null || (await removeIfOurs(kernel, on, predecessor))) return;
    await removeInside(native, [predecessor.hostLink], predecessor.mac, netns);
  };

/** Removes the link first: two links with one MAC cannot be up on one parent, and some parents have one link only. */
async function replaceChild(
  kernel: Kernel,
  knownInside: KnownInside,
  input: AttachmentInput,
  attachment: ChildAttachment,
): Promise<void> {
  const { predecessor, netns, outside } = input;
  const going = [attachment, ...(predecessor === null ? [] : [predecessor])].filter(isChild);
  await removeChildren(kernel, kernel.outside(outside).kernel, going, netns);
  await ensureLink(kernel)(input);
  await ensureAddresses(kernel, knownInside)(input);
}

/** Throws if others have put a link there: the link that gives up its name must be the other end of ours, or nobody's. */
async function refuseStranger(
  native: Outside,
  { attachment, predecessor, netns }: AttachmentInput,
  current: Link | undefined,
): Promise<void> {
  if (current === undefined) return;
  for (const { hostLink } of predecessor === null ? [attachment] : [attachment, predecessor]) {
    if (current.link === (await native.link(hostLink))?.index) return;
  }
  const message = `interface ${attachment.link} in the namespace ${netns} is not the one of its container`;
  throw new FaultError('INTERFACE_TAKEN', message, { object: attachment.link });
}

/** Changes addresses, routes or MTU of a link in place. */
export const reviseLink =
  (kernel: Kernel, knownInside: KnownInside) =>
  async ({ attachment, predecessor, siblings = [], netns, outside }: AttachmentInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    const { hostLink, link } = attachment;
    const mtu = attachment.mtu ?? ETHERNET_MTU;
    if (mtu !== (predecessor?.mtu ?? ETHERNET_MTU)) {
      if (!isChild(attachment)) refuse(await native.rtnl([{ op: 'link.set', name: hostLink, mtu }]), hostLink);
      refuse(await native.rtnl([{ op: 'link.set', name: link, mtu }], netns), link);
    }
    refuse(await native.rtnl(hostNeighbours(attachment)), attachment.bridge);
    await allowFamilies(native, attachment, link, netns);
    const before = predecessor ?? attachment;
    const had = new Set(before.addresses.map(({ address }) => address));
    const fresh = attachment.addresses.some(({ address }) => !had.has(address));
    // Neighbours come last: a link forgets all neighbours of a family with its last address of that family
    // (fib_inetaddr_event).
    const replies = await native.rtnl(
      [
        ...addressChanges(before, attachment, siblings),
        ...(fresh ? announcement(attachment) : []),
        ...gatewayChanges(before, attachment, knownInside),
      ],
      netns,
    );
    // These codes mean that an earlier run has added or removed it already.
    refuse(
      replies.filter(({ code }) => !['EEXIST', 'ESRCH', 'EADDRNOTAVAIL', 'ENOENT'].includes(code)),
      `${link} in ${netns}`,
    );
    await succeedRoutes(native, [before], [attachment, ...siblings], netns);
    await reviseSources(native, before, attachment, siblings, netns);
    const kept = new Set(attachment.addresses.map(({ address }) => address));
    const gone = before.addresses.filter(({ address }) => !kept.has(address));
    await forgetNeighbours(
      native,
      gone.map(({ address }) => ({ bridge: before.bridge, address, unmanaged: before.unmanaged })),
    );
    await forgetAddresses(
      native,
      gone.map(({ address }) => address),
    );
  };
