/**
 * The last messages of the inspector's stream, so that a viewer that lost its connection goes on where it was.
 *
 * Guarantees: a message has an id, RUN-N, and N grows by one. `since` returns every message after an id, or null: then messages
 * are missing (too old, another run of the daemon, or a time when nobody looked).
 * Limits: at most LIMIT characters are kept.
 */
import { messageText } from '../requests/server-sent.ts';

/** Has room for ten seconds with 50 changes each. */
const LIMIT = 1 << 20;

export class Ring {
  readonly run: string;
  readonly #limit: number;
  #kept: string[] = [];
  #size = 0;
  /** Counts the messages: the number of the last one. */
  #n = 0;

  constructor(run: string, limit = LIMIT) {
    this.run = run;
    this.#limit = limit;
  }

  /** Returns the id of the last message. */
  get last(): string {
    return `${this.run}-${this.#n}`;
  }

  /** Keeps a message; returns it as text of the stream. */
  add(event: string, json: string): string {
    this.#n++;
    const text = messageText(event, json, this.last);
    this.#kept.push(text);
    this.#size += text.length;
    let old = 0;
    while (this.#size > this.#limit) this.#size -= this.#kept[old++]?.length ?? 0;
    if (old > 0) this.#kept.splice(0, old);
    return text;
  }

  /** Returns the messages after this one; null if some of them are missing. */
  since(id: string): string[] | null {
    const [, run, digits] = /^([0-9a-f]+)-(\d{1,15})$/.exec(id) ?? [];
    if (run !== this.run) return null;
    const missed = this.#n - Number(digits);
    return missed < 0 || missed > this.#kept.length ? null : this.#kept.slice(this.#kept.length - missed);
  }

  /** Forgets all messages; nobody can go on from any of them. */
  forget(): void {
    this.#n++;
    this.#kept = [];
    this.#size = 0;
  }
}
