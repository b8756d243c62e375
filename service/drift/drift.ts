/**
 * The watch on drift: notices what others remove when the kernel announces it, and repairs or reports it, as policy says.
 *
 * Guarantees: one watch per outside (drift-outside.ts). It begins when the daemon answers, with a look at everything: much may
 * have changed while there was none. Outsides are looked at one after another, a few containers at a time.
 * Limits: an outside whose namespace cannot be opened is tried again later. Until then nothing can be made there either.
 */
import { toFault } from '../../effects/effect.ts';
import { retryUntilDone } from '../../effects/retry.ts';
import type { RulesetFindings } from '../../machines/firewall.ts';
import type { Fault } from '../../state/faults.ts';
import { OutsideWatch, type WatchParts } from './drift-outside.ts';
import type { LeftDrift } from './drift-record.ts';
import type { OutsideWatcher } from '../outsides/outside.ts';

export class DriftWatch implements OutsideWatcher {
  readonly #parts: WatchParts;
  readonly #watches = new Map<string | null, OutsideWatch>();
  /** Outsides that cannot be watched now, with the reason. */
  readonly #blind = new Map<string | null, Fault>();
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
    let mine: OutsideWatch | undefined;
    const open = async () => {
      // The outside has been released since this was queued, and perhaps opened again.
      const isThere = this.#parts.shared.outsides().includes(outside);
      if (this.#closed || !isThere || this.#watches.get(outside) !== mine) return;
      const watch = (mine = new OutsideWatch(this.#parts, outside));
      this.#watches.set(outside, watch);
      try {
        await watch.open();
        this.#blind.delete(outside);
      } catch (error) {
        if (this.#watches.get(outside) !== watch) return;
        this.#blind.set(outside, toFault(error, 'watch'));
        throw error;
      }
    };
    retryUntilDone(open, (error) => this.#parts.failed(`watch on ${outside ?? 'the host'}`, error));
  }

  found(outside: string | null, findings: RulesetFindings): void {
    this.#watches.get(outside)?.found(findings);
  }

  returned(outside: string | null, network: string): void {
    this.#watches.get(outside)?.returned(network);
  }

  closed(outside: string | null): void {
    this.#watches.get(outside)?.close();
    this.#watches.delete(outside);
    this.#blind.delete(outside);
  }

  close(): void {
    this.#closed = true;
    for (const watch of this.#watches.values()) watch.close();
  }

  /** Returns the outsides where drift is not noticed, or only part of it. */
  troubles(): { outside: string | null; what: string; fault: Fault }[] {
    const blind = [...this.#blind].map(([outside, fault]) => ({ outside, what: 'drift is not noticed', fault }));
    const deaf = [...this.#watches].flatMap(([outside, watch]) => {
      const fault = watch.deaf();
      return fault === null ? [] : [{ outside, what: 'drift inside containers is not noticed', fault }];
    });
    return [...blind, ...deaf];
  }

  /** Returns the drift of shared objects of one outside that policy does not repair, and who did it. */
  leftIn(outside: string | null): LeftDrift[] {
    return this.#watches.get(outside)?.left() ?? [];
  }

  /** Returns the drift of shared objects that policy does not repair. */
  present(): LeftDrift[] {
    return [...this.#watches.values()].flatMap((watch) => watch.left());
  }
}
