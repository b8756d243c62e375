/**
 * The veth pair of an attachment with what its bridge knows of it, and how both go away.
 *
 * Guarantees: both ends are made in one message, the peer directly in the container (0.3 ms; moving it there later
 * would cost 20 ms of RCU). A link of ours is known by its group and its alias, or no alias where the kernel made it and
 * would not name it; one of the same name that is not in our group is never taken over nor removed (its alias may become
 * ours: making and naming are one batch). Removals asked for together are done by one RTM_DELLINK on a group: one RCU grace
 * period, not one each.
 * With a link go the connections of its addresses, after it: whoever has an address next gets none of what was before.
 * A pair whose host end others renamed, or moved to another namespace, is found by its end in the container.
 * Limits: a link that is there already is kept if its peer is the planned one, else made anew. Where a process keeps a
 * namespace of ours after the teardown, a host end that others renamed stays with it.
 */
import type { AttachmentInput } from '../machines/attachment.ts';
import type { DrainInput } from '../machines/container-inputs.ts';
import type { Link, Outside, RtnlRequest } from '../native/index.ts';
import type { Attachment } from '../state/container.ts';
import { succeedRoutes } from './address.ts';
import { forgetAddresses, forgetAddressesBehind } from './conntrack.ts';
import { EffectError } from './effect.ts';
import { type Kernel, type OutsideKernel, unlessGone } from './kernel.ts';
import { forgetNeighbours, hostNeighbours } from './neighbour.ts';
import { NAMESPACE_SYSCTLS, refuseHostNamespace } from './netns.ts';
import { refuse, stranger } from './refusal.ts';
import { removeSources } from './source-routes.ts';
import { hasIpv6, writeIfThere } from './switches.ts';

/** How long the kernel may take to reap the links of a namespace that is gone before we remove them ourselves. */
const REAP_MS = 300;

/** What the kernel gives a veth that nobody asks anything else of (ETH_DATA_LEN). */
export const VETH_MTU = 1500;

const SWITCHES_OF_ALL = Object.fromEntries(Object.entries(NAMESPACE_SYSCTLS).filter(([key]) => key.includes('/all/')));

export const ensureLink =
  (kernel: Kernel) =>
  async (input: AttachmentInput): Promise<void> => {
    const { netns, owned, outside, attachment } = input;
    if (owned) {
      await makePair(kernel, input);
      return;
    }
    const { kernel: native } = kernel.outside(outside);
    refuseHostNamespace(kernel, outside, await native.netnsIdentify(netns), netns);
    const isNew = await makePair(kernel, input);
    const { link } = attachment;
    if (isNew) await setSwitches(native, link, netns);
    // An earlier run may have been killed between the pair and these; those of the link are put back with it.
    else await writeIfThere(native, SWITCHES_OF_ALL, netns);
    const up = (name: string): RtnlRequest => ({ op: 'link.set', name, up: true });
    refuse(await native.rtnl([up('lo'), up(link)], netns), link);
  };

/** In a namespace of others its defaults are theirs: only our own link gets what one of ours has for all, before it is up. */
export async function setSwitches(native: Outside, link: string, netns: string): Promise<void> {
  const switches = Object.entries(NAMESPACE_SYSCTLS).map(([key, value]) => [key.replace('default', link), value]);
  await writeIfThere(native, Object.fromEntries(switches) as Record<string, string>, netns);
}

/** Returns the switches that a link inside a container has to have, whoever made its namespace. */
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

/** Only those that others have changed: turning IPv6 off takes the addresses along. */
async function restoreLinkSwitches(native: Outside, attachment: Attachment, netns: string): Promise<void> {
  const wanted = Object.entries(insideSwitches(attachment));
  const seen = await native.linkSwitches(
    wanted.map(([key]) => key),
    netns,
  );
  const changed = wanted.filter(([, value], i) => seen[i] !== null && seen[i] !== value);
  await writeIfThere(native, Object.fromEntries(changed), netns, true);
}

/** Answers whether it was made; else it stood, and has what others took of it. */
export async function makePair(
  kernel: Kernel,
  { attachment, netns, owned, outside }: AttachmentInput,
): Promise<boolean> {
  const { kernel: native } = kernel.outside(outside);
  const { hostLink, link, bridge, mac, mtu, alias, unmanaged = false } = attachment;
  const size = mtu === null ? {} : { mtu };
  // On a bridge of others nothing is published, and what a port sends back to a container is only its own broadcasts.
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
    // No address of its own on a bridge port: nobody speaks to it, and making one costs time.
    // With br_netfilter, a container reaches its own published port only if its bridge port may answer itself.
    {
      op: 'link.set',
      name: hostLink,
      alias,
      hairpin,
      ...(mtu === null || hasIpv6(mtu) ? { noLinkLocal: true } : {}),
    },
  ];
  // First: its link is found for these and for the master alike, before names change.
  const known = hostNeighbours(attachment);
  const replies = await native.rtnl([...known, ...make]);
  refuse(replies.splice(0, known.length), `${hostLink} on ${bridge}`);
  const [made, ...tagged] = replies;
  if (made?.code !== 'EEXIST') {
    refuse([...(made === undefined ? [] : [made]), ...tagged], hostLink);
    return true;
  }

  const host = await native.link(hostLink);
  if (host === null) {
    // The host end was renamed or moved away, by others: it goes with the end inside, wherever it is.
    if (await removeInside(native, [link], mac, netns)) {
      refuse(await native.rtnl(make), hostLink);
      return true;
    }
    throw new EffectError({
      code: 'INTERFACE_TAKEN',
      message: `interface ${link} exists already in the namespace ${netns}`,
      object: link,
    });
  }
  if (!isOurs(kernel, host, alias)) throw stranger(hostLink, host.alias);
  const finished = host.alias === alias && host.group === kernel.instance.group;
  const peer = await native.link(link, netns);
  if (finished && peer?.link === host.index && peer.mac === mac) {
    // Made by an earlier run of this effect, or standing all the time: only what others may have changed about it.
    const whole = mtu ?? VETH_MTU;
    const again: RtnlRequest = { op: 'link.set', name: hostLink, master: bridge, up: true, hairpin, mtu: whole };
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
 * A bridge that nobody gave a MAC has the lowest of its ports (br_stp_recalculate_bridge_id in the kernel): one of others
 * keeps its own only under a port that is higher. As libvirt does it; and never the MAC of the container itself.
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
    let found = await removeIfOurs(kernel, on, attachment);
    // In the middle of a replacement either of them may be there, or both.
    if (predecessor !== null && predecessor.hostLink !== attachment.hostLink) {
      found = (await removeIfOurs(kernel, on, predecessor)) && found;
    }
    if (!found) {
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
 * Remove pairs by their ends in the container: whoever renamed or moved the host end has left these. Known by the MAC that
 * we gave. False when there is none.
 */
export async function removeInside(native: Outside, names: readonly string[], mac: string, netns: string) {
  const ends = (await native.links(netns)).filter((end) => names.includes(end.name) && end.mac === mac);
  const ours = ends.filter(({ kind }) => kind === 'veth');
  if (ours.length === 0) return false;
  const replies = await native.rtnl(
    ours.map(({ name }): RtnlRequest => ({ op: 'link.del', name })),
    netns,
  );
  refuse(
    replies.filter(({ code }) => code !== 'ENODEV'),
    `${names.join(' ')} in ${netns}`,
  );
  return true;
}

/** False when there is no link of its name. */
export async function removeIfOurs(
  kernel: Kernel,
  on: OutsideKernel,
  { hostLink, alias }: Attachment,
): Promise<boolean> {
  const host = await on.kernel.link(hostLink);
  if (host !== null && isOurs(kernel, host, alias)) await removeLinks(on, kernel, [hostLink]);
  return host !== null;
}

/** Also one that was made and not named, or moved to the group of those that go, and is still there. */
function isOurs({ instance }: Kernel, { alias, group }: Link, wanted: string): boolean {
  return (alias === wanted || alias === '') && (group === instance.group || group === instance.doomedGroup);
}

/**
 * Wait until the kernel has reaped the links of a namespace that was unpinned, and forget the connections of their
 * addresses. A process that still lives in it holds it: then the links are removed, and the process is left without.
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
      // Those that went before we listened.
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
const running = new WeakMap<Outside, Promise<void>>();

/** Remove links, together with everything else that is asked for until the removal under way has ended. */
export function removeLinks(on: OutsideKernel, kernel: Kernel, names: readonly string[]): Promise<void> {
  const native = on.kernel;
  let next = waiting.get(native);
  if (next === undefined) {
    const mine = new Set<string>();
    const previous = running.get(native) ?? Promise.resolve();
    const done = previous
      .catch(() => {}) // whoever asked for it knows
      .then(async () => {
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
    running.set(native, done);
  }
  for (const name of names) next.names.add(name);
  return next.done;
}
