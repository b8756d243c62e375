/**
 * Watches the routing policy of each outside, and has answers from published ports leave by the way of the address that was asked
 * where routing goes by the source (effects/replies.ts).
 *
 * Guarantees: once a second the rules of the routing policy are read. Only where one selects by the source are ways asked for,
 * and rules and switches kept as they follow from them. What cannot be asked changes nothing.
 * Limits: a change of the host's routing is followed within a second; the rules are not told of one that is made and undone
 * in between.
 */
import type { Kernel } from '../effects/kernel.ts';
import { acceptReplies, filterOf, filtersOf, leadReplies, loosenFilters } from '../effects/replies.ts';
import { writeIfThere } from '../effects/switches.ts';
import type { Switches } from '../machines/firewall.ts';
import { isUnmanaged } from '../machines/plan/unmanaged.ts';
import type { Outside } from '../native/index.ts';
import { repliesOf } from './reply-routes.ts';
import type { Shared } from './shared.ts';

const LOOK_MS = 1000;

export interface ReplyParts {
  kernel: Kernel;
  shared: Pick<Shared, 'tables' | 'standingIn' | 'setReplies' | 'filters' | 'rememberFilters' | 'isRaised'>;
  failed: (what: string, error: unknown) => void;
}

export class ReplyWatch {
  readonly #parts: ReplyParts;
  /** The rules that the table of each outside has by now, as text. */
  readonly #told = new Map<string | null, string>();
  /** Says of each outside that was looked at whether its bridges accept such answers. */
  readonly #accepting = new Map<string | null, boolean>();
  /** Outsides that could not be asked, and of which that has been said. */
  readonly #failing = new Set<string | null>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(parts: ReplyParts) {
    this.#parts = parts;
  }

  /** Resolves when every outside that has a table has been looked at. */
  async look(): Promise<void> {
    const tables = this.#parts.shared.tables();
    for (const outside of this.#told.keys()) {
      if (tables.has(outside)) continue;
      this.#told.delete(outside);
      this.#accepting.delete(outside);
    }
    await Promise.all([...tables].map((outside) => this.#follow(outside)));
  }

  start(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.look().then(() => this.start()), LOOK_MS).unref();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /**
   * Records the filters of these links as they were found, on disk, and puts back those of links that are strict no more. Returns
   * the links whose filter may be loosened.
   */
  async #remember(
    outside: string | null,
    native: Outside,
    strict: readonly string[],
    filters: Switches,
  ): Promise<string[]> {
    const { shared } = this.#parts;
    const now = await filtersOf(native, strict);
    const found = Object.fromEntries(Object.entries(now).map(([key, value]) => [key, filters[key] ?? value]));
    for (const [key, value] of Object.entries(filters)) {
      if (found[key] === undefined) await writeIfThere(native, { [key]: value });
    }
    const isNews = Object.keys({ ...found, ...filters }).some((key) => found[key] !== filters[key]);
    if (isNews) await shared.rememberFilters(outside, found);
    const remembered = shared.filters(outside);
    return strict.filter((link) => Object.hasOwn(remembered, filterOf(link)));
  }

  async #loosen(outside: string | null, native: Outside, links: readonly string[]): Promise<void> {
    const { shared } = this.#parts;
    const found = shared.filters(outside);
    if (!shared.isRaised(outside)) return;
    await loosenFilters(native, links);
    // The last network may have gone meanwhile, and what it put back has just been changed again.
    if (!shared.isRaised(outside)) for (const link of links) await writeIfThere(native, pick(found, filterOf(link)));
  }

  async #follow(outside: string | null): Promise<void> {
    const { kernel, shared, failed } = this.#parts;
    try {
      const native = kernel.outsideIfThere(outside)?.kernel;
      if (native === undefined) return;
      const networks = shared.standingIn(outside).filter((definition) => !isUnmanaged(definition));
      const filters = shared.filters(outside);
      const replies = await repliesOf(native, kernel.instance, networks, filters);
      const loosened = await this.#remember(outside, native, replies.strict, filters);
      shared.setReplies(outside, replies);
      const text = JSON.stringify(replies);
      if (this.#told.get(outside) !== text && (await leadReplies(native, kernel.instance.table, replies))) {
        this.#told.set(outside, text);
      }
      // The rules that take their place stand.
      if (this.#told.get(outside) === text && loosened.length > 0) await this.#loosen(outside, native, loosened);
      const wanted = replies.routes.some(({ address }) => !address.includes(':'));
      if (wanted || this.#accepting.get(outside) !== false) {
        const bridges = networks.map(({ network_interface: bridge }) => bridge);
        await acceptReplies(native, bridges, wanted);
        this.#accepting.set(outside, wanted);
      }
      this.#failing.delete(outside);
    } catch (error) {
      if (!this.#failing.has(outside)) failed(`answers that leave ${outside ?? 'the host'}`, error);
      this.#failing.add(outside);
    }
  }
}

const pick = (switches: Switches, key: string): Record<string, string> =>
  switches[key] === undefined ? {} : { [key]: switches[key] };
