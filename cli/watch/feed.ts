/**
 * All containers as they are, kept up to date by the daemon's notifications.
 *
 * Guarantees: listens before it lists, so that no change is missed. Asks for the containers that have changed, and for nothing
 * while nothing changes; many changes at once are one request. When the daemon ends, or has dropped a reader that was too slow,
 * it connects again and lists everything.
 * Limits: if there is no daemon at the beginning, it fails like every other command.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Notification } from '../../state/answers/notification.ts';
import type { Client } from '../client.ts';
import { Failure } from '../failure.ts';

/** Changes within this time are asked for together. */
const GATHER_MS = 100;
/** The pause before the next attempt to connect. */
const RETRY_MS = 500;
/** More changed containers than this are asked for by a list of all: the ids would not fit into a request. */
const MANY = 50;

export interface Listener {
  /** The container is as shown here; null: it is gone. */
  changed(id: string, container: ContainerView | null): void;
  /** All that has changed together was told. */
  told(): void;
  /** The daemon does not answer, or refuses to; it is tried again. Told once, until it is found. */
  lost(): void;
  /** The daemon has answered again; what has changed meanwhile is told next. */
  found(): void;
}

export class Feed {
  readonly #client: Client;
  readonly #listener: Listener;
  readonly #known = new Set<string>();
  /** The containers that have changed since they were asked for; null: all have to be. */
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
    const opened = () => {
      reached = true;
      this.#changed = null;
      void this.#ask();
    };
    for (;;) {
      try {
        await this.#client.follow('/v1/events', (line) => this.#heard(JSON.parse(line) as Notification), opened);
      } catch (error) {
        if (!reached || !(error instanceof Failure)) throw error;
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
        if (!(error instanceof Failure)) throw error;
        // The daemon has ended, or refuses for now.
        this.#lose();
        this.#changed = null;
        await sleep(RETRY_MS);
      }
    }
    this.#asking = false;
  }

  /** Asks for these containers, and tells how they are; null: for all. */
  async #tell(ids: ReadonlySet<string> | null): Promise<void> {
    const query = ids === null ? '' : `?${[...ids].map((id) => `id=${encodeURIComponent(id)}`).join('&')}`;
    const containers = await this.#client.get<ContainerView[]>(`/v1/containers${query}`);
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
