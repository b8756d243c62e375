/**
 * Reports about owners that exceeded their share: a notification when it begins, and every ten seconds while it goes on, with the
 * number of deleted entries.
 *
 * Guarantees: the first time is announced at once; no deleted entry goes uncounted.
 */
import type { LimitedNotification } from '../../state/answers/notification.ts';

const TELL_MS = 10_000;

/** The last report about an owner that exceeded its share. */
interface Told {
  t: number;
  /** The number of entries deleted since then. */
  forgotten: number;
  notification: LimitedNotification;
}

export class LimitReports {
  readonly #what: LimitedNotification['what'];
  readonly #announce: (notification: LimitedNotification) => void;
  readonly #told = new Map<string, Told>();

  constructor(what: LimitedNotification['what'], announce: (notification: LimitedNotification) => void) {
    this.#what = what;
    this.#announce = announce;
  }

  tell(
    outside: string | null,
    { id, network }: Pick<LimitedNotification, 'id' | 'network'>,
    counts: Pick<LimitedNotification, 'entries' | 'limit' | 'forgotten'>,
  ): void {
    const key = JSON.stringify([outside, id, network]);
    const t = Date.now();
    const notification: LimitedNotification = { type: 'limited', t, id, network, what: this.#what, ...counts };
    const known = this.#told.get(key);
    if (known === undefined) this.#announce(notification);
    const forgotten = known === undefined ? 0 : known.forgotten + counts.forgotten;
    this.#told.set(key, { t: known?.t ?? t, forgotten, notification });
  }

  /** Announces the entries that were counted but not announced yet. The watch calls this at every look. */
  tellTheRest(): void {
    const now = Date.now();
    for (const [key, { t, forgotten, notification }] of this.#told) {
      if (now - t < TELL_MS) continue;
      if (forgotten === 0) {
        this.#told.delete(key);
        continue;
      }
      this.#announce({ ...notification, t: now, forgotten });
      this.#told.set(key, { t: now, forgotten: 0, notification });
    }
  }
}
