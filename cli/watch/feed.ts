/**
 * Keeps a listener up to date about all containers, by the daemon's notifications.
 *
 * Guarantees: listens before it lists, so that no change is missed. Asks for the containers that have changed, and for nothing
 * while nothing changes; many changes at once are one request. When the daemon ends, or has dropped a reader that was too slow,
 * it connects again and lists everything.
 * Limits: if there is no daemon at the beginning, it fails like every other command.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CleatError } from '../../client/error.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Notification } from '../../state/answers/notification.ts';
import type { Client } from '../client.ts';

/** It asks for changes within this time together. */
const GATHER_MS = 100;
/** It waits this long before the next attempt to connect, or to ask. */
const RETRY_MS = 500;
/** If more containers than this have changed, it asks for all: the ids would not fit into a request. */
const MANY = 50;

export interface Listener {
  /** Is called with a container as it is now; with null if it is gone. */
  changed(id: string, container: ContainerView | null): void;
  /** Is called when all that has changed together was told. */
  told(): void;
  /** Is called once when the daemon does not answer, or refuses to, until it is found. It is tried again. */
  lost(): void;
  /** Is called when the daemon has answered again. What has changed meanwhile is told next. */
  found(): void;
}

export class Feed {
  readonly #client: Client;
  readonly #listener: Listener;
  readonly #known = new Set<string>();
  /** Has the containers that have changed since they were asked for; null if all are to be asked for. */
  #changed: Set<string> | null = new Set();
  #asking = false;
  #lost = false;

  constructor(client: Client, listener: Listener) {
    this.#client = client;
    this.#listener = listener;
  }

  /** Follows the daemon for ever. Rejects if it does not answer at first. */
  async follow(): Promise<never> {
    let reached = false;
    for (;;) {
      try {
        const notifications = await this.#client.lines('GET /v1/events');
        reached = true;
        this.#changed = null;
        void this.#ask();
        for await (const notification of notifications) this.#heard(notification);
      } catch (error) {
        if (!reached || !(error instanceof CleatError)) throw error;
      }
      this.#lose();
      await sleep(RETRY_MS);
    }
  }

  #lose(): void {
    if (!this.#lost) this.#listener.lost();
    this.#lost = true;
  }

  #heard({ id }: Notification): void {
    if (id === null) return;
    this.#changed?.add(id);
    void this.#ask();
  }

  async #ask(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    while (this.#changed === null || this.#changed.size > 0) {
      if (this.#changed !== null) await sleep(GATHER_MS);
      const changed: ReadonlySet<string> | null = this.#changed;
      this.#changed = new Set();
      try {
        await this.#tell(changed === null || changed.size > MANY ? null : changed);
      } catch (error) {
        if (!(error instanceof CleatError)) throw error;
        // The daemon has ended, or refuses for now.
        this.#lose();
        this.#changed = null;
        await sleep(RETRY_MS);
      }
    }
    this.#asking = false;
  }

  /** Asks for these containers, or for all if `ids` is null, and tells how they are. */
  async #tell(ids: ReadonlySet<string> | null): Promise<void> {
    const containers = await this.#client.call('GET /v1/containers', ids === null ? {} : { id: [...ids] });
    if (this.#lost) this.#listener.found();
    this.#lost = false;
    const there = new Set(containers.map(({ id }) => id));
    for (const id of ids ?? this.#known) {
      if (!there.has(id) && this.#known.delete(id)) this.#listener.changed(id, null);
    }
    for (const container of containers) {
      this.#known.add(container.id);
      this.#listener.changed(container.id, container);
    }
    this.#listener.told();
  }
}
