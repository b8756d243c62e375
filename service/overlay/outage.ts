/**
 * Since when the store does not answer, for one overlay, and why.
 *
 * Guarantees: what fails is told once in the log when it begins and once when it is over, however often it is tried; the last reason is
 * kept. It is over when everything that has failed has been answered.
 * Limits: in memory. A new daemon finds out anew.
 */
import { spanText } from '../../plan/why/words.ts';

/** A request asks the store for the share of this host, or for what the other hosts have written. */
export type Asking = 'share' | 'hosts';

export interface OutageParts {
  network: string;
  failed: (what: string, error: unknown) => void;
  told: (what: string, text: string) => void;
}

export class Outage {
  readonly #parts: OutageParts;
  readonly #failing = new Set<Asking>();
  #now: { since: number; why: string } | null = null;

  constructor(parts: OutageParts) {
    this.#parts = parts;
  }

  /** The store has not answered, or not as it should. */
  failed(asking: Asking, error: unknown): void {
    this.#failing.add(asking);
    const why = error instanceof Error ? error.message : String(error);
    if (this.#now === null) this.#parts.failed(`etcd, for network ${this.#parts.network}`, error);
    this.#now = { since: this.#now?.since ?? Date.now(), why };
  }

  answered(asking: Asking): void {
    this.#failing.delete(asking);
    if (this.#now === null || this.#failing.size > 0) return;
    const ms = Date.now() - this.#now.since;
    this.#now = null;
    this.#parts.told(`etcd, for network ${this.#parts.network}`, `answers again, after ${spanText(ms)}`);
  }

  /** Is null while the store answers. `since`: milliseconds since the epoch. */
  get now(): { since: number; why: string } | null {
    return this.#now;
  }

  /** Returns since when etcd does not answer, and why; nothing while it does. */
  get text(): string {
    if (this.#now === null) return '';
    return `etcd does not answer as it should since ${new Date(this.#now.since).toISOString()}: ${this.#now.why}`;
  }
}
