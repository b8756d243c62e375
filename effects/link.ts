/**
 * The veth pair of an attachment with what its bridge knows of it, and how both go away.
 *
 * Guarantees: both ends are made in one message, the peer directly in the container (0.3 ms; moving it there later
 * would cost 20 ms of RCU). A link of ours is known by its group and its alias, or no alias where the kernel made it and
 * would not name it; one of the same name that is not in our group is never taken over nor removed (its alias may become
 * ours: making and naming are one batch). Removals asked for
 * together are done by one RTM_DELLINK on a group: one RCU grace period, not one each.
 * Limits: a link that is there already is kept if its peer is the planned one, else made anew.
 */
import type { AttachmentInput } from '../machines/attachment.ts';
import type { DrainInput } from '../machines/container-inputs.ts';
import type { Link, Outside, RtnlRequest } from '../native/index.ts';
import type { Attachment } from '../state/container.ts';
import { EffectError } from './effect.ts';
import type { Kernel, OutsideKernel } from './kernel.ts';
import { forgetNeighbours, hostNeighbours } from './neighbour.ts';
import { NAMESPACE_SYSCTLS } from './netns.ts';
import { refuse, stranger } from './refusal.ts';
import { hasIpv6, writeIfThere } from './switches.ts';

/** How long the kernel may take to reap the links of a namespace that is gone before we remove them ourselves. */
const REAP_MS = 300;

/** What the kernel gives a veth that nobody asks anything else of (ETH_DATA_LEN). */
export const VETH_MTU = 1500;

export const ensureLink =
  (kernel: Kernel) =>
  async (input: AttachmentInput): Promise<void> => {
    const { netns, owned, outside, attachment } = input;
    if (owned) return makePair(kernel, input);
    const { kernel: native } = kernel.outside(outside);
    const [ours, theirs] = [native.identity(), await native.netnsIdentify(netns)];
    if (ours.ino === theirs.ino && ours.dev === theirs.dev) {
      const message = 'this namespace is the one that holds the bridges: it cannot be a container on them';
      throw new EffectError({ code: 'NOT_A_NAMESPACE', message, object: netns });
    }
    await makePair(kernel, input);
    const { link } = attachment;
    await setSwitches(native, link, netns);
    const up = (name: string): RtnlRequest => ({ op: 'link.set', name, up: true });
    refuse(await native.rtnl([up('lo'), up(link)], netns), link);
  };

/** In a namespace of others its defaults are theirs: only our own link gets what one of ours has for all, before it is up. */
export async function setSwitches(native: Outside, link: string, netns: string): Promise<void> {
  const switches = Object.entries(NAMESPACE_SYSCTLS).map(([key, value]) => [key.replace('default', link), value]);
  await writeIfThere(native, Object.fromEntries(switches) as Record<string, string>, netns);
}

export async function makePair(kernel: Kernel, { attachment, netns, owned, outside }: AttachmentInput): Promise<void> {
  const { kernel: native } = kernel.outside(outside);
  const { hostLink, link, bridge, mac, mtu, alias } = attachment;
  const size = mtu === null ? {} : { mtu };
  const make: RtnlRequest[] = [
    {
      op: 'link.add',
      kind: 'veth',
      name: hostLink,
      master: bridge,
      group: kernel.instance.group,
      up: true,
      ...size,
      peer: { name: link, mac, up: owned, netns, ...size },
    },
    // No address of its own on a bridge port: nobody speaks to it, and making one costs time.
    // With br_netfilter, a container reaches its own published port only if its bridge port may answer itself.
    {
      op: 'link.set',
      name: hostLink,
      alias,
      hairpin: true,
      ...(mtu === null || hasIpv6(mtu) ? { noLinkLocal: true } : {}),
    },
  ];
  // First: its link is found for these and for the master alike, before names change.
  const known = hostNeighbours(attachment);
  const replies = await native.rtnl([...known, ...make]);
  refuse(replies.splice(0, known.length), `${hostLink} on ${bridge}`);
  const [made, ...tagged] = replies;
  if (made?.code !== 'EEXIST') return refuse([...(made === undefined ? [] : [made]), ...tagged], hostLink);

  const host = await native.link(hostLink);
  if (host === null) {
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
    const again: RtnlRequest = { op: 'link.set', name: hostLink, master: bridge, up: true, hairpin: true, ...size };
    refuse(await native.rtnl([again]), hostLink);
    refuse(await native.rtnl([{ op: 'link.set', name: link, up: true, ...size }], netns), link);
    return;
  }
  await removeLinks(kernel.outside(outside), kernel, [hostLink]);
  refuse(await native.rtnl(make), hostLink);
}

export const removeLink =
  (kernel: Kernel) =>
  async ({ attachment, predecessor, outside }: AttachmentInput): Promise<void> => {
    const on = kernel.outsideIfThere(outside);
    if (on === null) return;
    const known = [attachment, ...(predecessor === null ? [] : [predecessor])];
    await forgetNeighbours(
      on.kernel,
      known.flatMap(({ bridge, addresses }) => addresses.map(({ address }) => ({ bridge, address }))),
    );
    await removeIfOurs(kernel, on, attachment);
    // In the middle of a replacement either of them may be there, or both.
    if (predecessor !== null && predecessor.hostLink !== attachment.hostLink) {
      await removeIfOurs(kernel, on, predecessor);
    }
  };

export async function removeIfOurs(kernel: Kernel, on: OutsideKernel, { hostLink, alias }: Attachment): Promise<void> {
  const host = await on.kernel.link(hostLink);
  if (host !== null && isOurs(kernel, host, alias)) await removeLinks(on, kernel, [hostLink]);
}

/** Also one that was made and not named, or moved to the group of those that go, and is still there. */
function isOurs({ instance }: Kernel, { alias, group }: Link, wanted: string): boolean {
  return (alias === wanted || alias === '') && (group === instance.group || group === instance.doomedGroup);
}

/**
 * Wait until the kernel has reaped the links of a namespace that was unpinned. A process that still lives in it holds
 * it: then the links are removed, and the process is left without.
 */
export const awaitLinksGone =
  (kernel: Kernel) =>
  async ({ outside, links, neighbours, addresses }: DrainInput): Promise<void> => {
    const on = kernel.outsideIfThere(outside);
    if (on === null) return;
    // Asked together: the flushes share one walk of the table.
    await Promise.all([
      forgetNeighbours(on.kernel, neighbours),
      ...addresses.map((address) => on.kernel.conntrackFlush(address)),
    ]);
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
