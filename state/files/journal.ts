/**
 * The history of each container: one append-only NDJSON file, a line per state change.
 *
 *   <run-dir>/journal/<id>.ndjson    {"t":1732153200123,"machine":"container","event":"configure","from":"created",
 *                                     "to":"configuring.leasing","ms":0.3,"fault":{...}}
 *   <run-dir>/journal/<id>.ndjson.1  the older part, once the file has grown past LIMIT
 *
 * Guarantees: bounded (at most two files of LIMIT bytes); lines are whole (a line cut short by a crash is skipped). It is
 * removed with its container: before the snapshot, or at the next start.
 * Limits: history for people and tools; recovery never reads it. Lost with the run directory.
 */
import { appendFileSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { JournalEntry } from '../answers/history.ts';
import type { Failpoint } from './whole-file.ts';

const LIMIT = 256 * 1024;

export class Journal {
  readonly #directory: string;
  readonly #waiting = new Map<string, JournalEntry[]>();
  /** The sizes of the files that were written since the start. */
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
      // After the replies of this turn, so that writing history delays nobody.
      setTimeout(() => this.flush(), 5);
    }
  }

  /** Writes all waiting entries. A failed write drops them: it must not stop a teardown. */
  flush(): void {
    this.#flushing = false;
    for (const [id, entries] of this.#waiting) {
      const path = this.#path(id);
      this.#failpoint('journal.append:before');
      try {
        // Begins with a newline, so that a line cut short by a crash cannot spoil it.
        const text = `\n${entries.map((entry) => JSON.stringify(entry)).join('\n')}\n`;
        appendFileSync(path, text, { mode: 0o600 });
        const size = (this.#sizes.get(id) ?? statSync(path).size - text.length) + text.length;
        this.#sizes.set(id, size);
        if (size > LIMIT) {
          renameSync(path, `${path}.1`);
          this.#sizes.delete(id);
        }
      } catch {
        // The disk is full: the snapshot store reports that.
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
          // a line cut short by a crash
        }
      }
    }
    return entries;
  }

  /** Removes a journal; a missing one is no error. Throws the errors of node:fs. */
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

  /** Removes the journals of unknown containers: a crash came between the first line and the snapshot. */
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
