/**
 * The watch on neighbours: no container fills the tables of the whole machine, so that the others, and the host itself, find
 * new neighbours.
 *
 * Guarantees: once a second it is asked how full the tables are (two netlink questions). Only when there are more than one
 * share, our permanent ones not counted, are the neighbours of each container and bridge of ours looked at. Who has more
 * than a share loses what is above it, and finds no new ones for a minute (effects/neighbour-hold.ts). It is told when it
 * happens. What an earlier daemon held is let go after the start, and everything when this one stops. A container or
 * bridge that cannot be looked at is reported once, and keeps no other from being looked at.
 * Limits: within a second the table can be filled, once a minute. What is learned from questions of others (which takes
 * CAP_NET_RAW inside) is taken away once a second, and not held off. No daemon, no bound. Namespaces that processes make
 * for themselves are not seen.
 */
import { type Kernel, unlessGone } from '../effects/kernel.ts';
import { holdNeighbours, releaseNeighbours } from '../effects/neighbour-hold.ts';
import { refuse } from '../effects/refusal.ts';
import { aboveShare, mayBeAboveShare, permanentOnes } from '../machines/plan/neighbour-share.ts';
import { shareLimit } from '../machines/plan/share.ts';
import type { Neighbour, Outside } from '../native/index.ts';
import type { ContainerContext } from '../state/container.ts';
import type { LimitedNotification } from '../state/notification.ts';
import type { NetworkDefinition } from '../state/network.ts';
import type { Containers } from './containers.ts';
import { LimitReports } from './limit-reports.ts';
import type { Shared } from './shared.ts';

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

/** Where neighbours are: inside a container, or on a bridge. */
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
  /** How many one container or bridge may have. */
  limit: number;
  /** How many were ever made when it was looked at. */
  allocated: number;
  /** How many the one has who has most. */
  most: number;
}

/** A link that finds no new neighbours until then. */
type Held = Pick<Place, 'outside' | 'netns'> & { link: string; until: number };

export class NeighbourWatch {
  readonly #parts: NeighbourWatchParts;
  readonly #reports: LimitReports;
  readonly #counted = new Map<4 | 6, Pick<Table, 'allocated' | 'most'>>();
  readonly #held = new Map<string, Held>();
  /** What has failed, and of which that has been said. */
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

  /** Lets everybody go who is held, also those whom the look under way has found. */
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

  /** False when it failed. That is reported once, until it goes well again. */
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
      const permanent = contexts.reduce((sum, one) => sum + permanentOnes(one.attachments, family), 0);
      const last = this.#counted.get(family);
      isDue ||= mayBeAboveShare(entries - permanent, limit, last, allocated);
      tables.push({ family, limit, allocated, most: 0 });
    }
    if (!isDue) return;
    // Those that could not be looked at are looked at again in the next round.
    if (!(await this.#lookAtAll(contexts, tables))) return;
    for (const { family, allocated, most } of tables) this.#counted.set(family, { allocated, most });
  }

  /** False when some could not be looked at. */
  async #lookAtAll(contexts: readonly ContainerContext[], tables: Table[]): Promise<boolean> {
    const done: boolean[] = [];
    for (const outside of this.#parts.shared.outsides()) {
      const networks = this.#parts.shared.standingIn(outside);
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

  /** Takes what one has above its share, after its links have been kept from finding more. */
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
      // Gone by themselves, or with their link.
      refuse(
        replies.filter(({ code }) => code !== 'ENOENT' && code !== 'ENODEV'),
        'neighbours',
      );
      this.#reports.tell(place.outside, place, { entries, limit: table.limit, forgotten: surplus.length });
    }
  }

  /** Lets those go whose time is over; one that cannot be let go is tried again in the next round. */
  async #release(now: number): Promise<void> {
    for (const [key, { outside, netns, link, until }] of this.#held) {
      if (until > now) continue;
      await this.#attempt(`letting ${link} find neighbours again`, async () => {
        // An outside that was let go has no link of ours any more.
        const native = this.#parts.kernel.isOpen(outside) ? this.#parts.kernel.outside(outside).kernel : undefined;
        if (native !== undefined) await unlessGone(() => releaseNeighbours(native, [link], netns));
        this.#held.delete(key);
      });
    }
  }

  /** Lets those go that a daemon held which was killed. */
  async #releaseAll(): Promise<void> {
    const bridges = this.#parts.shared.outsides().map((outside) => ({
      outside,
      netns: undefined,
      links: this.#parts.shared.standingIn(outside).map((network) => network.network_interface),
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

  /** Several containers may share a namespace: this has the owner of each. */
  #contexts(): ContainerContext[] {
    const all = this.#parts.containers.all().map(({ context }) => context);
    return all.filter(({ identity, netns }) => identity !== null && netns !== null && netns.of === null);
  }
}
