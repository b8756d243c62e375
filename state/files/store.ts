/**
 * Snapshots on disk: one JSON file per machine that must survive, replaced as a whole.
 *
 *   <run-dir>/containers/<id>.json      {"machine":"container","version":"1","snapshot":{...}}
 *   <run-dir>/outsides/<key>.json       the state before cleat changed it, per outside namespace
 *   <run-dir>/containers/<file>.unreadable   set aside: could not be understood, never deleted
 *
 * Guarantees: a reader sees the old file or the new one, never half of one (whole-file.ts). commit() resolves when the file has
 * everything that the machine had decided at the time of the call. Commits of many machines share one turn of the event loop. A
 * machine that has not changed since its last write is not written again.
 * Limits: no fsync. After a power loss the kernel objects are gone too, and the boot id in the snapshot says so. The
 * writes are synchronous: on tmpfs, where run-dir belongs, one costs about 0.1 ms, as much as a hop to a thread and back.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { unwritable } from '../faults.ts';
import { isUnread, WholeFiles, type Failpoint } from './whole-file.ts';

/** A machine's record, read at the moment it is written. */
export interface Source {
  read: () => unknown;
  /** Called when the snapshot that was read is on disk. */
  written?: () => void;
}

export interface Loaded {
  id: string;
  record: unknown;
}

export class SnapshotStore {
  readonly #files: WholeFiles;
  readonly #dirty = new Map<string, Source>();
  #next: Promise<ReadonlyMap<string, unknown>> | null = null;

  /** The failpoints are named after the last part of the directory: `containers.write:before`, ... */
  constructor(directory: string, failpoint: Failpoint) {
    this.#files = new WholeFiles(directory, basename(directory), failpoint, { durable: false });
  }

  /** Marks the machine as changed, so that the next commit writes it. */
  touch(id: string, source: Source): void {
    this.#dirty.set(id, source);
  }

  /** Resolves when the present state of `id` is on disk. Rejects with STATE_UNWRITABLE, and tries again at the next commit. */
  commit(id: string): Promise<void> {
    if (!this.#dirty.has(id)) return Promise.resolve();
    return (this.#next ?? this.#schedule()).then((failures) => {
      const failure = failures.get(id);
      if (failure !== undefined) throw unwritable(failure);
    });
  }

  /** Removes the record. A missing one is no error. */
  remove(id: string): void {
    this.#dirty.delete(id);
    try {
      this.#files.remove(`${id}.json`);
    } catch (error) {
      throw unwritable(error);
    }
  }

  /** Leaves the record on disk as it is: later changes are not written any more. */
  leave(id: string): void {
    this.#dirty.delete(id);
  }

  /** Returns the record on disk; null if there is none. Throws if it cannot be read. */
  read(id: string): unknown {
    const path = join(this.#files.directory, `${id}.json`);
    return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : null;
  }

  /** Returns all records, and the names of the files that had to be set aside. */
  load(): { records: Loaded[]; unreadable: string[] } {
    const records: Loaded[] = [];
    const unreadable: string[] = [];
    this.#files.sweep();
    for (const file of readdirSync(this.#files.directory)) {
      if (!file.endsWith('.json')) continue;
      const id = file.slice(0, -5);
      try {
        records.push({ id, record: JSON.parse(readFileSync(join(this.#files.directory, file), 'utf8')) });
      } catch (error) {
        if (isUnread(error)) throw error;
        unreadable.push(this.setAside(id));
      }
    }
    return { records, unreadable };
  }

  /** Returns true if there is a record, or one that was set aside. */
  keeps(id: string): boolean {
    return ['', '.unreadable'].some((ending) => existsSync(join(this.#files.directory, `${id}.json${ending}`)));
  }

  /** Keeps an unusable record under a name that is never read again; returns that path. */
  setAside(id: string): string {
    return this.#files.setAside(`${id}.json`);
  }

  #schedule(): Promise<ReadonlyMap<string, unknown>> {
    const flush = async () => {
      // Waits a turn, after which every mailbox is drained. A snapshot taken while an event is on its way from child to parent
      // would restore to a machine that waits for ever.
      await new Promise(setImmediate);
      this.#next = null;
      return this.#flush();
    };
    this.#next = flush();
    return this.#next;
  }

  /** Returns the records that could not be written, with their errors. */
  #flush(): ReadonlyMap<string, unknown> {
    const failures = new Map<string, unknown>();
    for (const [id, { read, written }] of this.#dirty) {
      try {
        this.#files.write(`${id}.json`, JSON.stringify(read()));
        this.#dirty.delete(id);
        written?.();
      } catch (error) {
        failures.set(id, error);
      }
    }
    return failures;
  }
}
