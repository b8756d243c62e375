/**
 * Watches the routing policy of each outside. Where routing goes by the source, makes answers from published ports leave by the
 * way of the address that was asked (effects/firewall/replies.ts).
 *
 * Guarantees: reads the rules of the routing policy once a second. Only if one selects by the source does it ask for ways, and
 * keep rules and switches accordingly. A failed request changes nothing.
 * Limits: follows a change of the host's routing within a second. A change that is made and undone in between is not noticed.
 */
import type { Kernel } from '../../effects/kernel.ts';
import { acceptReplies, filterOf, filtersOf, leadReplies, loosenFilters } from '../../effects/firewall/replies.ts';
import { writeIfThere } from '../../effects/namespaces/switches.ts';
import type { Switches } from '../../machines/firewall.ts';
import { isUnmanaged } from '../../plan/networks/unmanaged.ts';
import type { Outside } from '../../native/index.ts';
import { repliesOf } from '../networks/reply-routes.ts';
import type { Shared } from '../outsides/shared.ts';

const LOOK_MS = 1000;

export interface ReplyParts {
  kernel: Kernel;
  shared: Pick<Shared, 'tables' | 'standingIn' | 'replies' | 'setReplies' | 'filters' | 'rememberFilters' | 'isRaised'>;
  failed: (what: string, error: unknown) => void;
}

export class ReplyWatch {
  readonly #parts: ReplyParts;
  /** The rules that the table of each outside has by now, as text; null if that is not known. */
  readonly #told = new Map<string | null, string | null>();
  /** True for each outside whose bridges accept such answers, false for others that were looked at. */
  readonly #accepting = new Map<string | null, boolean>();
  /** Outsides whose look failed, and whose failure has been logged. */
  readonly #failing = new Set<string | null>();
  #started = false;
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
    this.#started = true;
    this.#timer = setTimeout(() => void this.look().then(() => this.start()), LOOK_MS).unref();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /**
   * Records on disk the original filters of these links, and restores those of links that are no longer strict. Returns the links
   * whose filter may be loosened.
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

  /** A table that appears while the daemon runs was raised with the rules that `shared` had. One from before has any. */
  #raisedWith(outside: string | null): string | null {
    return this.#started && !this.#told.has(outside) ? JSON.stringify(this.#parts.shared.replies(outside)) : null;
  }

  async #loosen(outside: string | null, native: Outside, links: readonly string[]): Promise<void> {
    const { shared } = this.#parts;
    const found = shared.filters(outside);
    if (!shared.isRaised(outside)) return;
    await loosenFilters(native, links);
    // The last network may have gone meanwhile. Then the filters it restored have just been changed again.
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
      const text = JSON.stringify(replies);
      const before = this.#told.get(outside) ?? this.#raisedWith(outside);
      const expect = () => shared.setReplies(outside, replies);
      if (before === text) expect();
      else this.#told.set(outside, null); // if the request fails, the rules are not known
      const stands = before === text || (await leadReplies(native, kernel.instance.table, replies, expect));
      if (stands) this.#told.set(outside, text);
      // Loosens only after the rules that replace the filters stand.
      if (stands && loosened.length > 0) await this.#loosen(outside, native, loosened);
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
