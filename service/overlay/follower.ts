/**
 * Follows what the hosts of one overlay write into the store.
 *
 * Guarantees: everything is listed at one revision, and watched from the next one on. The list is made again when the watch ends
 * for whatever reason (compaction, a member without a leader, a closed connection), when another member of etcd has begun to
 * answer, and once a minute: events only shorten the time. What was known last stays while the store is away; whoever follows is told
 * of each list and watch that fails, and when they do not any more.
 * Limits: the shares are listed each minute; names of containers only when the watch has ended, or when their number is another one
 * than is known, since there may be a hundred times as many.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Change, Entry, Listing, Store } from '../../effects/etcd/store.ts';
import { claimsOf, namesOf, restsOf, rootOf } from '../../plan/overlay/keys.ts';

/** Changes within this time are told together. */
const TOGETHER_MS = 10;
const AGAIN_MS = 60_000;
/** The pause after a list that failed: twice as long each time, up to the last. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;
const LOOK_MS = 1000;

/** A part of a time, by chance, so that a thousand hosts do not list at the same moment. */
const about = (ms: number): number => ms * (0.75 + Math.random() / 2);

export class Follower {
  readonly #store: Store;
  readonly #name: string;
  readonly #changed: (entries: ReadonlyMap<string, Entry>, revision: number) => void;
  readonly #heard: (error: unknown) => void;
  readonly #entries = new Map<string, Entry>();
  /** Keys that the watch has seen deleted since the last list, with the revision: a list may be older than the watch. */
  readonly #deleted = new Map<string, number>();
  readonly #over = new AbortController();
  #telling: NodeJS.Timeout | null = null;
  /** The shares are known as they were at this revision, or later. */
  #revision = 0;
  /** The time, on performance.now(), at which store and host were last known to agree; null before the first list. */
  agreedAt: number | null = null;

  constructor(parts: {
    store: Store;
    name: string;
    changed: (entries: ReadonlyMap<string, Entry>, revision: number) => void;
    /** Takes what has failed; null when all has been listed and is watched. */
    heard: (error: unknown) => void;
  }) {
    this.#store = parts.store;
    this.#name = parts.name;
    this.#changed = parts.changed;
    this.#heard = parts.heard;
    void this.#run();
  }

  close(): void {
    this.#over.abort();
    if (this.#telling !== null) clearTimeout(this.#telling);
  }

  async #run(): Promise<void> {
    const { signal } = this.#over;
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      try {
        const { entries, revision } = await this.#store.list(rootOf(this.#name));
        // The whole list, as if nothing were known: a store that was restored from a backup counts from an earlier revision.
        this.#entries.clear();
        this.#deleted.clear();
        this.#revision = 0;
        this.#replace(rootOf(this.#name), { entries, revision });
        this.#tell();
        const began = performance.now();
        await this.#watch(revision + 1);
        // A watch that ends at once must not become a loop of lists.
        pause = performance.now() - began > LONGEST_PAUSE_MS ? FIRST_PAUSE_MS : Math.min(pause * 2, LONGEST_PAUSE_MS);
      } catch (error) {
        if (!signal.aborted) this.#heard(error);
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
      }
      await delay(about(pause), undefined, { signal }).catch(() => {});
    }
  }

  /** Resolves when the watch has ended, or is not to be trusted any more. */
  async #watch(from: number): Promise<void> {
    const over = new AbortController();
    const end = () => over.abort();
    let began = false;
    let why = '';
    const close = this.#store.watch(rootOf(this.#name), from, {
      began: () => {
        began = true;
        if (!this.#over.signal.aborted) this.#heard(null);
      },
      changed: (changes, revision) => this.#take(changes, revision),
      ended: (reason) => {
        why = reason;
        end();
      },
    });
    const { endpoint } = this.#store;
    this.#over.signal.addEventListener('abort', end, { once: true });
    try {
      let next = performance.now() + about(AGAIN_MS);
      while (!over.signal.aborted && this.#store.endpoint === endpoint) {
        await delay(LOOK_MS, undefined, { signal: over.signal }).catch(() => {});
        if (over.signal.aborted || performance.now() < next) continue;
        next = performance.now() + about(AGAIN_MS);
        // The watch has missed something: it is not worth its connection.
        if (await this.#reconcile()) return;
      }
      if (!began && why !== '') throw new Error(`a watch of what other hosts write has not begun: ${why}`);
    } finally {
      this.#over.signal.removeEventListener('abort', end);
      close();
    }
  }

  /** Lists the shares again. Resolves with true if something had been missed. */
  async #reconcile(): Promise<boolean> {
    this.#deleted.clear();
    const isMissing = [];
    for (const prefix of [claimsOf(this.#name), restsOf(this.#name)]) {
      isMissing.push(this.#replace(prefix, await this.#store.list(prefix)));
    }
    const known = [...this.#entries.keys()].filter((key) => key.startsWith(namesOf(this.#name))).length;
    return isMissing.some(Boolean) || (await this.#store.count(namesOf(this.#name))) !== known;
  }

  /** Makes the entries below a prefix those of a list, unless the watch knows later ones. Returns true if that changed something. */
  #replace(prefix: string, { entries, revision }: Listing): boolean {
    let changed = false;
    const listed = new Set<string>();
    for (const entry of entries) {
      listed.add(entry.key);
      const later = this.#deleted.get(entry.key) ?? this.#entries.get(entry.key)?.modified ?? 0;
      if (later >= entry.modified) continue;
      this.#entries.set(entry.key, entry);
      changed = true;
    }
    for (const [key, { modified }] of this.#entries) {
      if (!key.startsWith(prefix) || listed.has(key) || modified > revision) continue;
      this.#entries.delete(key);
      changed = true;
    }
    this.#revision = Math.max(this.#revision, revision);
    if (changed) this.#tell();
    this.agreedAt = performance.now();
    return changed;
  }

  #take(changes: readonly Change[], revision: number): void {
    this.#revision = Math.max(this.#revision, revision);
    for (const change of changes) {
      if (change.type === 'put') {
        this.#deleted.delete(change.entry.key);
        this.#entries.set(change.entry.key, change.entry);
      } else {
        this.#deleted.set(change.key, revision);
        this.#entries.delete(change.key);
      }
    }
    this.#tell();
  }

  #tell(): void {
    this.#telling ??= setTimeout(() => {
      this.#telling = null;
      this.#changed(this.#entries, this.#revision);
    }, TOGETHER_MS);
  }
}
