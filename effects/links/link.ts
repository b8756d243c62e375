/**
 * Makes and removes the veth pair of an attachment and its neighbour entries on the bridge.
 *
 * Guarantees: both ends are made in one message, the peer directly in the container (0.3 ms; moving it there later would cost
 * 20 ms of RCU). A link of ours is known by its group and its alias; the alias is empty if the kernel made the link and failed
 * to set it. A link of the same name outside our group is never taken over or removed (though it may get our alias, because one
 * batch makes and names a link). Concurrent removals share one RTM_DELLINK on a group: one RCU grace period, not one each.
 * After a link, the connections of its addresses are removed, so that the next owner of an address gets no packets of the last
 * one. A pair whose host end others renamed, or moved to another namespace, is found by its end in the container.
 * A link on a parent is made by child-link.ts, and found and removed through this file like a pair.
 * Limits: an existing link is kept if its peer is the planned one, else made anew. If a process keeps a namespace of ours alive
 * after the teardown, a host end that others renamed stays as long.
 */
import type { AttachmentInput } from '../../machines/container/attachment.ts';
import type { DrainInput } from '../../machines/container/container-inputs.ts';
import type { Link, Outside, RtnlRequest } from '../../native/index.ts';
import { ETHERNET_MTU } from '../../plan/networks/mtu.ts';
import type { Attachment } from '../../state/container.ts';
import { succeedRoutes } from './address.ts';
import { forgetAddresses, forgetAddressesBehind } from '../firewall/conntrack.ts';
import { FaultError } from '../../state/faults.ts';
import { type Kernel, type OutsideKernel, unlessGone } from '../kernel.ts';
import { forgetNeighbours, hostNeighbours } from './neighbour.ts';
import { NAMESPACE_SYSCTLS, refuseHostNamespace } from '../namespaces/netns.ts';
import { portTag, refuseTag } from './vlan.ts';
import { isChild, makeChild, removeChildren, removeLinksIn } from './child-link.ts';
import { refuse, stranger } from '../refusal.ts';
import { inTurn } from '../turns.ts';
import { removeSources } from './source-routes.ts';
import { hasIpv6, writeIfThere } from '../namespaces/switches.ts';

/** The time that we wait for the kernel to remove the links of a namespace that is gone, before we remove them ourselves. */
const REAP_MS = 300;

const SWITCHES_OF_ALL = Object.fromEntries(Object.entries(NAMESPACE_SYSCTLS).filter(([key]) => key.includes('/all/')));

export const ensureLink =
  (kernel: Kernel) =>
  async (input: AttachmentInput): Promise<void> => {
    const { netns, owned, outside, attachment } = input;
    if (owned) {
      await makeLink(kernel, input);
      return;
    }
    const { kernel: native } = kernel.outside(outside);
    refuseHostNamespace(kernel, outside, await native.netnsIdentify(netns), netns);
    const isNew = await makeLink(kernel, input);
    const { link } = attachment;
    if (isNew) await setSwitches(native, link, netns);
    // An earlier run may have been killed between the link and these switches. makeLink restores those of the link itself.
    else await writeIfThere(native, SWITCHES_OF_ALL, netns);
    const up = (name: string): RtnlRequest => ({ op: 'link.set', name, up: true });
    refuse(await native.rtnl([up('lo'), up(link)], netns), link);
  };

/** Returns true if it made the link. Otherwise it exists, and whatever others removed from it is restored. */
async function makeLink(kernel: Kernel, input: AttachmentInput): Promise<boolean> {
  const { attachment, netns, outside } = input;
  if (!isChild(attachment)) return makePair(kernel, input);
  const isNew = await makeChild(kernel, attachment, input);
  if (!isNew) await restoreLinkSwitches(kernel.outside(outside).kernel, attachment, netns);
  return isNew;
}

/**
 * Sets on our link, before it is up, the switches that a namespace of ours has as defaults. A joined namespace keeps its own
 * defaults.
 */
export async function setSwitches(native: Outside, link: string, netns: string): Promise<void> {
  const switches = Object.entries(NAMESPACE_SYSCTLS).map(([key, value]) => [key.replace('default', link), value]);
  await writeIfThere(native, Object.fromEntries(switches) as Record<string, string>, netns);
}

/** Returns the switches that a link inside a container must have, no matter who made its namespace. */
export function insideSwitches({ link, addresses }: Attachment): Record<string, string> {
  const v6 = addresses.some(({ address }) => address.includes(':'));
  const of6 = `net/ipv6/conf/${link}`;
  return {
    [`net/ipv4/conf/${link}/accept_redirects`]: '0',
    [`${of6}/accept_redirects`]: '0',
    [`${of6}/accept_ra`]: '0',
    [`${of6}/accept_dad`]: '0',
    [`${of6}/disable_ipv6`]: v6 ? '0' : '1',
    ...(v6 ? { [`${of6}/ndisc_notify`]: '1' } : {}),
  };
}

/** Restores only switches that others have changed: turning IPv6 off also removes the addresses. */
async function restoreLinkSwitches(native: Outside, attachment: Attachment, netns: string): Promise<void> {
  const wanted = Object.entries(insideSwitches(attachment));
  const seen = await native.linkSwitches(
    wanted.map(([key]) => key),
    netns,
  );
  const changed = wanted.filter(([, value], i) => seen[i] !== null && seen[i] !== value);
  await writeIfThere(native, Object.fromEntries(changed), netns, true);
}

/** Returns true if it made the pair. Otherwise the pair exists, and whatever others removed from it is restored. */
export async function makePair(
  kernel: Kernel,
  { attachment, netns, owned, outside }: AttachmentInput,
): Promise<boolean> {
  const { kernel: native } = kernel.outside(outside);
  const { hostLink, link, bridge, mac, mtu, alias, vlan, unmanaged = false } = attachment;
  const size = mtu === null ? {} : { mtu };
  const tag = portTag(vlan);
  // Nothing is published on a bridge of others. With hairpin, such a port would only return the container's own broadcasts.
  const hairpin = !unmanaged;
  const make: RtnlRequest[] = [
    {
      op: 'link.add',
      kind: 'veth',
      name: hostLink,
      master: bridge,
      group: kernel.instance.group,
      up: true,
      ...size,
      ...(unmanaged ? { mac: highMac(mac) } : {}),
      peer: { name: link, mac, up: owned, netns, ...size },
    },
    // A bridge port needs no address of its own, and making one costs time. With br_netfilter, a container reaches its own
    // published port only if frames may leave by the bridge port that they came from.
    {
      op: 'link.set',
      name: hostLink,
      alias,
      hairpin,
      ...tag,
      ...(mtu === null || hasIpv6(mtu) ? { noLinkLocal: true } : {}),
    },
  ];
  // These requests come first: then one lookup of the bridge serves them and `master`, before names change.
  const known = hostNeighbours(attachment);
  const replies = await native.rtnl([...known, ...make]);
  refuse(replies.splice(0, known.length), `${hostLink} on ${bridge}`);
  const [made, ...tagged] = replies;
  if (made?.code !== 'EEXIST') {
    if (made?.errno === 0) refuseTag(tagged, vlan, bridge);
    refuse([...(made === undefined ? [] : [made]), ...tagged], hostLink);
    return true;
  }

  const host = await native.link(hostLink);
  if (host === null) {
    // Others have renamed or moved the host end. It is removed with the end inside, wherever it is.
    if (await removeInside(native, [link], mac, netns)) {
      refuse(await native.rtnl(make), hostLink);
      return true;
    }
    throw new FaultError('INTERFACE_TAKEN', `interface ${link} exists already in the namespace ${netns}`, {
      object: link,
    });
  }
  if (!isOurs(kernel, host, alias)) throw stranger(hostLink, host.alias);
  const finished = host.alias === alias && host.group === kernel.instance.group;
  const peer = await native.link(link, netns);
  if (finished && peer?.link === host.index && peer.mac === mac) {
    // An earlier run of this effect made the pair, or it has existed all the time: restores only what others may have changed.
    const whole = mtu ?? ETHERNET_MTU;
    const again: RtnlRequest = {
      op: 'link.set',
      name: hostLink,
      master: bridge,
      up: true,
      hairpin,
      mtu: whole,
      ...tag,
    };
    refuse(await native.rtnl([again]), hostLink);
    await restoreLinkSwitches(native, attachment, netns);
    const inside = [{ name: 'lo' }, { name: link, mtu: whole }];
    refuse(
      await native.rtnl(
        inside.map((one): RtnlRequest => ({ op: 'link.set', up: true, ...one })),
        netns,
      ),
      link,
    );
    return false;
  }
  await removeLinks(kernel.outside(outside), kernel, [hostLink]);
  refuse(await native.rtnl(make), hostLink);
  return true;
}

/**
 * Returns a high MAC for the host end. A bridge without a MAC of its own takes the lowest of its ports'
 * (br_stp_recalculate_bridge_id in the kernel), so a bridge of others keeps its MAC only if our port's is higher. libvirt does
 * the same. The result is never the MAC of the container itself.
 */
function highMac(mac: string): string {
  const end = mac.slice('02:00:'.length);
  return mac.startsWith('fe:ff:') ? `fe:fe:${end}` : `fe:ff:${end}`;
}

export const removeLink =
  (kernel: Kernel) =>
  async ({ attachment, predecessor, siblings = [], netns, outside }: AttachmentInput): Promise<void> => {
    const on = kernel.outsideIfThere(outside);
    if (on === null) return;
    const leaving = [attachment, ...(predecessor === null ? [] : [predecessor])];
    const known = leaving.flatMap(({ bridge, addresses, unmanaged }) =>
      addresses.map(({ address }) => ({ bridge, address, unmanaged })),
    );
    await removeSources(on.kernel, leaving, siblings, netns);
    await forgetNeighbours(on.kernel, known);
    let found = isChild(attachment);
    if (!found) found = await removeIfOurs(kernel, on, attachment);
    // During a replacement either of the two links may exist, or both.
    if (predecessor !== null && predecessor.hostLink !== attachment.hostLink && !isChild(predecessor)) {
      found = (await removeIfOurs(kernel, on, predecessor)) && found;
    }
    if (isChild(attachment)) {
      await unlessGone(() => removeChildren(kernel, on.kernel, leaving.filter(isChild), netns));
    } else if (!found) {
      const inside = [attachment.link, ...leaving.map(({ hostLink }) => hostLink)];
      await unlessGone(() => removeInside(on.kernel, inside, attachment.mac, netns));
    }
    await unlessGone(() => succeedRoutes(on.kernel, leaving, siblings, netns));
    await forgetAddresses(
      on.kernel,
      known.map(({ address }) => address),
    );
  };

/**
 * Removes pairs by their ends in the container, which remain there if others renamed or moved the host ends. The MAC that we
 * set identifies them. Returns false if there are none.
 */
export async function removeInside(native: Outside, names: readonly string[], mac: string, netns: string) {
  const ends = (await native.links(netns)).filter((end) => names.includes(end.name) && end.mac === mac);
  return removeLinksIn(
    native,
    ends.filter(({ kind }) => kind === 'veth'),
    netns,
  );
}

/** Returns false if no link has the name. */
export async function removeIfOurs(
  kernel: Kernel,
  on: OutsideKernel,
  { hostLink, alias }: Attachment,
): Promise<boolean> {
  const host = await on.kernel.link(hostLink);
  if (host !== null && isOurs(kernel, host, alias)) await removeLinks(on, kernel, [hostLink]);
  return host !== null;
}

/** Includes a link that was made but not named, and one that was moved to the group for removal but still exists. */
function isOurs({ instance }: Kernel, { alias, group }: Link, wanted: string): boolean {
  return (alias === wanted || alias === '') && (group === instance.group || group === instance.doomedGroup);
}

/**
 * Waits until the kernel has removed the links of a namespace that was unpinned, then deletes the connections of their
 * addresses. If a living process holds the namespace, the links are removed here and the process loses its network.
 */
export const awaitLinksGone =
  (kernel: Kernel) =>
  async ({ outside, links, neighbours }: DrainInput): Promise<void> => {
    const on = kernel.outsideIfThere(outside);
    if (on === null) return;
    await forgetNeighbours(on.kernel, neighbours);
    const left = new Set(links);
    const reaped = new Promise<void>((resolve) => {
      const check = () => {
        if (left.size > 0) return;
        on.links.off('gone', gone);
        clearTimeout(timer);
        resolve();
      };
      const gone = (name: string) => {
        if (left.delete(name)) check();
      };
      const timer = setTimeout(() => {
        on.links.off('gone', gone);
        resolve();
      }, REAP_MS);
      on.links.on('gone', gone);
      // Links that were removed before we listened.
      void Promise.all(
        links.map(async (name) => {
          if ((await on.kernel.link(name)) === null) gone(name);
        }),
      ).catch(() => {}); // the timer decides
    });
    await reaped;
    if (left.size > 0) await removeLinks(on, kernel, [...left]);
    await forgetAddressesBehind(
      on.kernel,
      neighbours.map(({ address }) => address),
    );
  };

interface Removal {
  names: Set<string>;
  done: Promise<void>;
}

const waiting = new WeakMap<Outside, Removal>();
const turns = new WeakMap<Outside, Promise<unknown>>();

/** Removes links, together with all removals that are requested until the present one has ended. */
export function removeLinks(on: OutsideKernel, kernel: Kernel, names: readonly string[]): Promise<void> {
  const native = on.kernel;
  let next = waiting.get(native);
  if (next === undefined) {
    const mine = new Set<string>();
    const done = inTurn(turns, native, async () => {
      waiting.delete(native);
      const group = kernel.instance.doomedGroup;
      const replies = await native.rtnl([
        ...[...mine].map((name): RtnlRequest => ({ op: 'link.set', name, group })),
        { op: 'link.delGroup', group },
      ]);
      // ENODEV: gone already; for the group: none of them was left.
      refuse(
        replies.filter(({ code }) => code !== 'ENODEV'),
        [...mine].join(' '),
      );
    });
    next = { names: mine, done };
    waiting.set(native, next);
  }
  for (const name of names) next.names.add(name);
  return next.done;
}
