/**
 * The watch on drift: what others take away is noticed when the kernel announces it, and put back or shown, as policy says.
 *
 * Guarantees: one watch per outside (drift-outside.ts), begun when the daemon answers, with a look at everything: much may
 * have happened while there was none. The outsides are looked at one after another, a few containers at a time.
 * Limits: an outside whose namespace cannot be opened is tried again later; until then nothing can be made there either.
 */
import { insist } from '../effects/insist.ts';
import type { RulesetFindings } from '../machines/firewall.ts';
import type { Drift } from '../state/container.ts';
import { OutsideWatch, type WatchParts } from './drift-outside.ts';
import type { OutsideWatcher } from './shared.ts';

export class DriftWatch implements OutsideWatcher {
  readonly #parts: WatchParts;
  readonly #watches = new Map<string | null, OutsideWatch>();
  #started = false;
  #closed = false;

  constructor(parts: WatchParts) {
    this.#parts = parts;
  }

  async start(): Promise<void> {
    this.#started = true;
    for (const outside of this.#parts.shared.outsides()) {
      this.opened(outside);
      await this.#watches.get(outside)?.settled();
    }
  }

  opened(outside: string | null): void {
    if (!this.#started || this.#closed || this.#watches.has(outside)) return;
    const open = async () => {
      if (this.#closed) return;
      const watch = new OutsideWatch(this.#parts, outside);
      this.#watches.set(outside, watch);
      await watch.open();
    };
    insist(open, (error) => this.#parts.failed(`watch on ${outside ?? 'the host'}`, error));
  }

  found(outside: string | null, findings: RulesetFindings): void {
    this.#watches.get(outside)?.found(findings);
  }

  close(): void {
    this.#closed = true;
    for (const watch of this.#watches.values()) watch.close();
  }

  /** Drift of what containers share that policy leaves as it is. */
  present(): Drift[] {
    return [...this.#watches.values()].flatMap((watch) => watch.present());
  }
}
