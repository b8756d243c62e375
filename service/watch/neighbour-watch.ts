/**
 * Watches neighbours: no container fills the tables of the whole machine, so that other containers, and the host itself, find new
 * neighbours.
 *
 * Guarantees: once a second it asks how full the tables are (two netlink requests). Only when they hold more entries than one
 * share, not counting our permanent ones, it looks at the neighbours of each container and bridge of ours. One that has more than
 * a share loses the surplus, and finds no new neighbours for a minute (effects/links/neighbour-hold.ts); a notification says so. After
 * the start it releases links that an earlier daemon held; when the daemon stops, it releases all. A container or bridge that
 * cannot be looked at is reported once, and does not delay the looks at others.
 * Limits: the table can be filled within a second, once a minute. Entries learned from requests of others (which takes
 * CAP_NET_RAW inside) are deleted once a second, and not prevented. Without a daemon there is no bound. Namespaces that processes
 * make for themselves are not seen.
 */
import { type Kernel, unlessGone } from '../../effects/kernel.ts';
import { holdNeighbours, releaseNeighbours } from '../../effects/links/neighbour-hold.ts';
import { refuse } from '../../effects/refusal.ts';
import { aboveShare, mayBeAboveShare, permanentOnes } from '../../plan/kernel/neighbour-share.ts';
import { isOnParent } from '../../plan/networks/parent.ts';
import { shareLimit } from '../../plan/kernel/share.ts';
import type { Neighbour, Outside } from '../../native/index.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { LimitedNotification } from '../../state/answers/notification.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Containers } from '../containers/containers.ts';
import { LimitReports } from '../report/limit-reports.ts';
import type { Shared } from '../outsides/shared.ts';

const LOOK_MS = 1000;
const HOLD_MS = 60_000;

export interface NeighbourWatchParts {
  kernel: Kernel;
  containers: Pick<Containers, 'all'>;
  shared: Pick<Shared, 'outsides' | 'standingIn'>;
  /** The number of neighbours of each family that one container may have; null for the default share of the table. */
  limit: number | null;
  announce: (notification: LimitedNotification) => void;
  failed: (what: string, error: unknown) => void;
}

/** A place with neighbours: a container's inside, or a bridge. */
interface Place {
  outside: string | null;
  /** The path of the container's namespace, undefined on a bridge. */
  netns: string | undefined;
  id: string | null;
  network: string | null;
}

/** The neighbour table of one family. */
interface Table {
  family: 4 | 6;
  /** The maximum number of entries of one container or bridge. */
  limit: number;
  /** The number of entries ever allocated, at the last look. */
  allocated: number;
  /** The largest number of entries that any one container or bridge has. */
  most: number;
}

/** A link that finds no new neighbours until a given time. */
type Held = Pick<Place, 'outside' | 'netns'> & { link: string; until: number };

export class NeighbourWatch {
  readonly #parts: NeighbourWatchParts;
  readonly #reports: LimitReports;
  readonly #counted = new Map<4 | 6, Pick<Table, 'allocated' | 'most'>>();
  readonly #held = new Map<string, Held>();
  /** The work that has failed, and whose failure has been logged. */
  readonly #failing = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  /** The look under way. */
  #looking: Promise<void> = Promise.resolve();

  constructor(parts: NeighbourWatchParts) {
    this.#parts = parts;
    this.#reports = new LimitReports('neighbours', parts.announce);
  }

  start(): void {
    this.#run(() => this.#releaseAll());
  }

  /** Releases all held links, including those that the look under way has found. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#looking;
    await this.#release(Infinity);
  }

  #run(work: () => Promise<void>): void {
    this.#looking = this.#attempt('neighbours', work).then(() => {
      if (this.#closed) return;
      this.#timer = setTimeout(() => this.#run(() => this.#round()), LOOK_MS).unref();
    });
  }

  /** Returns false if the work failed. Logs the failure once, until the work succeeds again. */
  async #attempt(what: string, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      this.#failing.delete(what);
      return true;
    } catch (error) {
      if (!this.#failing.has(what)) this.#parts.failed(what, error);
      this.#failing.add(what);
      return false;
    }
  }

  async #round(): Promise<void> {
    await this.#release(Date.now());
    this.#reports.tellTheRest();
    const contexts = this.#contexts();
    const tables: Table[] = [];
    let isDue = false;
    for (const { family, entries, maximum, allocated } of await this.#parts.kernel
      .outside(null)
      .kernel.neighbourUse()) {
      const limit = shareLimit(this.#parts.limit, maximum);
      const last = this.#counted.get(family);
      // The permanent ones of a thousand containers take 4 ms to count: only if they may decide.
      if (!isDue && mayBeAboveShare(entries, limit, last, allocated)) {
        const permanent = contexts.reduce((sum, one) => sum + permanentOnes(one.attachments, family), 0);
        isDue = mayBeAboveShare(entries - permanent, limit, last, allocated);
      }
      tables.push({ family, limit, allocated, most: 0 });
    }
    if (!isDue) return;
    // If some could not be looked at, the next round looks again.
    if (!(await this.#lookAtAll(contexts, tables))) return;
    for (const { family, allocated, most } of tables) this.#counted.set(family, { allocated, most });
  }

  /** Returns false if some could not be looked at. */
  async #lookAtAll(contexts: readonly ContainerContext[], tables: Table[]): Promise<boolean> {
    const done: boolean[] = [];
    for (const outside of this.#parts.shared.outsides()) {
      const networks = this.#bridgedIn(outside);
      if (networks.length === 0) continue;
      const look = () => this.#lookAtBridges(outside, networks, tables);
      done.push(await this.#attempt(`neighbours on the bridges of ${outside ?? 'the host'}`, look));
    }
    for (const { id, outside, netns } of contexts) {
      if (netns === null) continue;
      const place = { outside, netns: netns.path, id, network: null };
      const look = async () => {
        const native = this.#parts.kernel.outsideIfThere(outside)?.kernel;
        if (native === undefined) return;
        await unlessGone(async () => this.#judge(native, place, await native.neighbours(netns.path), tables));
      };
      done.push(await this.#attempt(`neighbours of container ${id}`, look));
    }
    return done.every(Boolean);
  }

  async #lookAtBridges(outside: string | null, networks: readonly NetworkDefinition[], tables: Table[]): Promise<void> {
    const native = this.#parts.kernel.outsideIfThere(outside)?.kernel;
    if (native === undefined) return;
    const [links, neighbours] = [await native.links(), await native.neighbours()];
    for (const { name: network, network_interface: bridge } of networks) {
      const index = links.find(({ name }) => name === bridge)?.index;
      const place = { outside, netns: undefined, id: null, network };
      const own = neighbours.filter(({ link }) => link === index);
      await this.#judge(native, place, own, tables);
    }
  }

  /** Deletes the entries above the share, after keeping the links from finding new ones. */
  async #judge(native: Outside, place: Place, neighbours: readonly Neighbour[], tables: Table[]): Promise<void> {
    for (const table of tables) {
      const { entries, surplus } = aboveShare(neighbours, table.family, table.limit);
      table.most = Math.max(table.most, entries - surplus.length);
      if (surplus.length === 0) continue;
      const links = new Map((await native.links(place.netns)).map(({ index, name }) => [index, name]));
      const doomed = surplus.flatMap(({ link, address }) => {
        const name = links.get(link);
        return name === undefined ? [] : [{ op: 'neighbour.del' as const, link: name, address }];
      });
      const flooded = [...new Set(doomed.map(({ link }) => link))];
      const until = Date.now() + HOLD_MS;
      for (const link of flooded) {
        this.#held.set(JSON.stringify([place.outside, place.netns, link]), { ...place, link, until });
      }
      await holdNeighbours(native, flooded, place.netns);
      const replies = await native.rtnl(doomed, place.netns);
      // These entries have expired, or are gone with their link.
      refuse(
        replies.filter(({ code }) => code !== 'ENOENT' && code !== 'ENODEV'),
        'neighbours',
      );
      this.#reports.tell(place.outside, place, { entries, limit: table.limit, forgotten: surplus.length });
    }
  }

  /** Releases the links whose time is over. The next round repeats a release that failed. */
  async #release(now: number): Promise<void> {
    for (const [key, { outside, netns, link, until }] of this.#held) {
      if (until > now) continue;
      await this.#attempt(`letting ${link} find neighbours again`, async () => {
        // A released outside has no link of ours any more.
        const native = this.#parts.kernel.isOpen(outside) ? this.#parts.kernel.outside(outside).kernel : undefined;
        if (native !== undefined) await unlessGone(() => releaseNeighbours(native, [link], netns));
        this.#held.delete(key);
      });
    }
  }

  /** Releases the links that a killed daemon still held. */
  async #releaseAll(): Promise<void> {
    const bridges = this.#parts.shared.outsides().map((outside) => ({
      outside,
      netns: undefined,
      links: this.#bridgedIn(outside).map((network) => network.network_interface),
    }));
    const containers = this.#contexts().map(({ outside, netns, attachments, uplink }) => ({
      outside,
      netns: netns?.path,
      links: [...attachments.map(({ link }) => link), uplink?.made?.name ?? []].flat(),
    }));
    for (const { outside, netns, links } of [...bridges, ...containers]) {
      if (this.#closed || links.length === 0) continue;
      await this.#attempt(`letting ${links.join(', ')} find neighbours again`, async () => {
        const native = this.#parts.kernel.outsideIfThere(outside)?.kernel;
        if (native !== undefined) await unlessGone(() => releaseNeighbours(native, links, netns));
      });
    }
  }

  /** Leaves out networks on a parent, whose neighbours are the host's own. */
  #bridgedIn(outside: string | null): NetworkDefinition[] {
    return this.#parts.shared.standingIn(outside).filter((network) => !isOnParent(network));
  }

  /** Returns one context per namespace, that of the owner: several containers may share a namespace. */
  #contexts(): ContainerContext[] {
    const all = this.#parts.containers.all().map(({ context }) => context);
    return all.filter(({ identity, netns }) => identity !== null && netns !== null && netns.of === null);
  }
}
