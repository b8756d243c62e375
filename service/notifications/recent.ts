/**
 * The latest notifications, each with a number, for a reader who asks for what has happened already (GET /v1/events).
 *
 * Guarantees: they are in the order in which they were sent, from the first one of this daemon on, and bounded. An id is RUN-N: it is
 * of this run of the daemon, and N grows by one. Nothing comes after an id of another run, or after one whose successor is not
 * kept, without being called missed (docs/decisions/0067).
 * Limits: at most LIMIT of them, of this run. The journal of a container goes back further.
 */
import type { Notification } from '../../state/answers/notification.ts';
import type { Roster } from '../containers/roster.ts';

const LIMIT = 4096;

export interface Numbered {
  n: number;
  notification: Notification;
}

interface Since {
  /** Says why notifications are missing; null if none is. */
  missed: 'restarted' | 'too old' | null;
  kept: Numbered[];
}

const ID = /^([0-9a-f]{16})-(\d{1,15})$/;

export class Recent {
  readonly #run: string;
  /** Holds notification n at n modulo LIMIT. */
  readonly #kept: Notification[] = [];
  /** Counts the notifications: the number of the last one. */
  #n = 0;
  readonly #followers = new Set<(one: Numbered) => void>();

  constructor(run: string, bus: Roster['bus']) {
    this.#run = run;
    bus.on('notification', (notification) => {
      const n = ++this.#n;
      this.#kept[n % LIMIT] = notification;
      for (const follower of this.#followers) follower({ n, notification });
    });
  }

  /** Calls the follower with each from now on. Returns what ends that. */
  follow(follower: (one: Numbered) => void): () => void {
    this.#followers.add(follower);
    return () => void this.#followers.delete(follower);
  }

  /** Returns the number of the last one. */
  get last(): number {
    return this.#n;
  }

  idOf(n: number): string {
    return `${this.#run}-${n}`;
  }

  /** Returns those after a number, as far as they are kept. */
  from(n: number): Numbered[] {
    const first = Math.max(n, this.#n - LIMIT) + 1;
    return Array.from({ length: this.#n - first + 1 }, (_, i) => ({
      n: first + i,
      notification: this.#kept[(first + i) % LIMIT] as Notification,
    }));
  }

  /** Returns those after an id; all that are kept if some are missing. Null: this is no id. */
  after(id: string): Since | null {
    const [, run, digits] = ID.exec(id) ?? [];
    if (run === undefined) return null;
    const n = Number(digits);
    if (run !== this.#run || n > this.#n) return { missed: 'restarted', kept: this.from(0) };
    return { missed: n < this.#n - LIMIT ? 'too old' : null, kept: this.from(n) };
  }
}
