/**
 * The latest notifications, for a reader who asks for what has happened already (GET /v1/events?since=).
 *
 * Guarantees: they are in the order in which they were sent, and bounded.
 * Limits: they are those of this daemon since its start, at most LIMIT. The journal of a container goes back further.
 */
import type { Notification } from '../../state/answers/notification.ts';

const LIMIT = 4096;

export class Recent {
  #kept: Notification[] = [];

  add(notification: Notification): void {
    this.#kept.push(notification);
    // Now and then, because each time would move them all.
    if (this.#kept.length >= 2 * LIMIT) this.#kept = this.#kept.slice(-LIMIT);
  }

  since(t: number): Notification[] {
    return this.#kept.slice(-LIMIT).filter((notification) => notification.t >= t);
  }
}
