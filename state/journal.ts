/**
 * What happened to each container: one append-only NDJSON file, a line per state change.
 *
 *   <run-dir>/journal/<id>.ndjson    {"t":1732153200123,"machine":"container","event":"configure","from":"created",
 *                                     "to":"configuring.leasing","ms":0.3,"fault":{...}}
 *   <run-dir>/journal/<id>.ndjson.1  the older part, once the file has grown past LIMIT
 *
 * Guarantees: bounded (at most two files of LIMIT bytes); lines are whole (a line cut short by a crash is skipped). It goes
 * with its container: before the snapshot does, or at the next start.
 * Limits: history for people and tools; recovery never reads it. Lost with the run directory.
 */
import { appendFileSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Fault } from './faults.ts';
import type { Failpoint } from './whole-file.ts';

const LIMIT = 256 * 1024;

export interface JournalEntry {
  /** Milliseconds since the epoch. */
  t: number;
  /** "container", or the child that moved: "attachment". */
  machine: string;
  event: string;
  from: string;
  to: string;
  /** How long the state `from` lasted. */
  ms: number;
  fault?: Fault;
}

export class Journal {
  readonly #directory: string;
  readonly #waiting = new Map<string, JournalEntry[]>();
  /** Of the files written to since the start. */
  readonly #sizes = new Map<string, number>();
  #flushing = false;
  readonly #failpoint: Failpoint;

  constructor(directory: string, failpoint: Failpoint) {
    this.#directory = directory;
    this.#failpoint = failpoint;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  append(id: string, entry: JournalEntry): void {
    const entries = this.#waiting.get(id);
    if (entries === undefined) this.#waiting.set(id, [entry]);
    else entries.push(entry);
    if (!this.#flushing) {
      this.#flushing = true;
      // After the replies of this turn: history must not delay anyone.
      setTimeout(() => this.flush(), 5);
    }
  }

  /** Write what is waiting. A journal that cannot be written is dropped: it must not stop a teardown. */
  flush(): void {
    this.#flushing = false;
    for (const [id, entries] of this.#waiting) {
      const path = this.#path(id);
      this.#failpoint('journal.append:before');
      try {
        // A line of its own, also after one that a crash cut short.
        const text = `\n${entries.map((entry) => JSON.stringify(entry)).join('\n')}\n`;
        appendFileSync(path, text, { mode: 0o600 });
        const size = (this.#sizes.get(id) ?? statSync(path).size - text.length) + text.length;
        this.#sizes.set(id, size);
        if (size > LIMIT) {
          renameSync(path, `${path}.1`);
          this.#sizes.delete(id);
        }
      } catch {
        // Full disk: the snapshot store reports that where it matters.
      }
      this.#failpoint('journal.append:after');
    }
    this.#waiting.clear();
  }

  read(id: string): JournalEntry[] {
    this.flush();
    const entries: JournalEntry[] = [];
    for (const path of [`${this.#path(id)}.1`, this.#path(id)]) {
      for (const line of readLines(path)) {
        try {
          entries.push(JSON.parse(line) as JournalEntry);
        } catch {
          // cut short by a crash
        }
      }
    }
    return entries;
  }

  /** Absent is fine. Throws what node:fs does. */
  remove(id: string): void {
    this.#waiting.delete(id);
    this.#sizes.delete(id);
    this.#failpoint('journal.remove:before');
    for (const path of [this.#path(id), `${this.#path(id)}.1`]) {
      try {
        unlinkSync(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
    this.#failpoint('journal.remove:after');
  }

  /** Removes those of containers that nothing else is known of: a crash came between the first line and the snapshot. */
  sweep(isKnown: (id: string) => boolean): void {
    const ids = readdirSync(this.#directory).map((file) => file.replace(/\.ndjson(\.1)?$/, ''));
    for (const id of new Set(ids)) if (!isKnown(id)) this.remove(id);
  }

  #path(id: string): string {
    return join(this.#directory, `${id}.ndjson`);
  }
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '');
  } catch {
    return [];
  }
}
