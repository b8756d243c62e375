/**
 * The journal of each container: append-only NDJSON, a line for everything that comes to its machines from outside and for each
 * change that they make of it (state/answers/container/history.ts).
 *
 *   <run-dir>/journal/<id>.ndjson    {"kind":"passage","t":1732153200123,"machine":"container","event":"configure",
 *                                     "from":"created","to":"configuring.leasing","ms":0.3,"patch":[...]}
 *   <run-dir>/journal/<id>.ndjson.1  the older part, once the file has grown past LIMIT
 *   ....unreadable                   set aside: no journal, never deleted
 *
 * Guarantees: bounded (at most two files of LIMIT bytes, and what is written at once); lines are whole (a line cut short by a
 * crash is skipped). Each file but the first begins with everything that came before (`start`), so that losing the older part
 * loses no more than that; so does what follows lines that could not be written, which are reported, and a line of their own
 * (`gap`). It is removed with its container: before the snapshot, or at the next start. What is in the place of one and is none is
 * set aside and reported, and stops nothing.
 * Limits: history for people and tools; recovery never reads it. Lost with the run directory. A line is written 5 ms after it
 * was appended, so that a crash loses those.
 */
import {
  appendFileSync,
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import type { JournalEntry, JournalLine, JournalStart } from '../answers/container/history.ts';
import type { Failpoint } from './whole-file.ts';

const LIMIT = 256 * 1024;

/** Returns the line that a file begins with, which has everything of the lines before it; null if there is no machine. */
export type Whole = (before: () => JournalLine[]) => JournalStart | null;

export class Journal {
  readonly #directory: string;
  readonly #waiting = new Map<string, (JournalLine | (() => JournalLine))[]>();
  readonly #wholes = new Map<string, Whole>();
  /** The sizes of the files that were written since the start. */
  readonly #sizes = new Map<string, number>();
  /** The containers of which lines could not be written. */
  readonly #gaps = new Set<string>();
  /** The containers whose files were looked at. */
  readonly #known = new Set<string>();
  #flushing = false;
  readonly #failpoint: Failpoint;
  readonly #failed: (what: string, error: unknown) => void;

  /** `failed` is told why lines of a container are missing, once until lines of it are written again. */
  constructor(directory: string, failpoint: Failpoint, failed: (what: string, error: unknown) => void) {
    this.#directory = directory;
    this.#failpoint = failpoint;
    this.#failed = failed;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  /** Says where everything about a container is known. It is asked between two events, never while one is handled. */
  knows(id: string, whole: Whole): void {
    this.#wholes.set(id, whole);
  }

  /** Takes a line, or one that is made when it is written. */
  append(id: string, line: JournalLine | (() => JournalLine)): void {
    const lines = this.#waiting.get(id);
    if (lines === undefined) this.#waiting.set(id, [line]);
    else lines.push(line);
    if (!this.#flushing) {
      this.#flushing = true;
      // After the replies of this turn, so that writing history delays nobody.
      setTimeout(() => this.flush(), 5);
    }
  }

  /** Writes all waiting lines. A failed write drops and reports them: it must not stop a teardown. */
  flush(): void {
    this.#flushing = false;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const [id, lines] of waiting) {
      this.#failpoint('journal.append:before');
      try {
        this.#write(
          id,
          lines.map((line) => (typeof line === 'function' ? line() : line)),
        );
      } catch (error) {
        // The disk is full, or a line cannot be made, which is a defect.
        if (!this.#gaps.has(id)) this.#failed(`writing the journal of container ${id}`, error);
        this.#gaps.add(id);
      }
      this.#failpoint('journal.append:after');
    }
  }

  #write(id: string, lines: readonly JournalLine[]): void {
    const path = this.#path(id);
    this.#look(id);
    if (this.#gaps.has(id)) {
      const whole = this.#wholes.get(id)?.(() => [...this.#lines(id), ...lines]) ?? null;
      this.#append(id, [{ kind: 'gap', t: Date.now() }, ...lines, ...(whole === null ? [] : [whole])]);
      this.#gaps.delete(id);
    } else {
      this.#append(id, lines);
    }
    if ((this.#sizes.get(id) ?? 0) <= LIMIT) return;
    const whole = this.#wholes.get(id)?.(() => this.#lines(id)) ?? null;
    renameSync(path, `${path}.1`);
    this.#sizes.delete(id);
    if (whole !== null) this.#append(id, [whole]);
  }

  #append(id: string, lines: readonly JournalLine[]): void {
    const path = this.#path(id);
    // Begins with a newline, so that a line cut short by a crash cannot spoil it.
    const text = `\n${lines.map((line) => JSON.stringify(line)).join('\n')}\n`;
    appendFileSync(path, text, { mode: 0o600 });
    this.#sizes.set(id, (this.#sizes.get(id) ?? statSync(path).size - text.length) + text.length);
  }

  read(id: string): JournalLine[] {
    this.flush();
    return this.#lines(id);
  }

  #lines(id: string): JournalLine[] {
    const lines: JournalLine[] = [];
    this.#look(id);
    for (const path of this.#paths(id)) {
      for (const text of readLines(path)) {
        try {
          const line = JSON.parse(text) as JournalLine | JournalEntry;
          if (typeof line.t === 'number') lines.push(withKind(line));
        } catch {
          // a line cut short by a crash
        }
      }
    }
    return lines;
  }

  /** Removes a journal; a missing one is no error. Throws the errors of node:fs. */
  remove(id: string): void {
    this.#waiting.delete(id);
    this.#wholes.delete(id);
    this.#sizes.delete(id);
    this.#gaps.delete(id);
    this.#known.delete(id);
    this.#failpoint('journal.remove:before');
    for (const path of this.#paths(id)) {
      try {
        unlinkSync(path);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EISDIR') this.#setAside(id, path);
        else if (code !== 'ENOENT') throw error;
      }
    }
    this.#failpoint('journal.remove:after');
  }

  /** Removes the journals of unknown containers: a crash came between the first line and the snapshot. */
  sweep(isKnown: (id: string) => boolean): void {
    const ids = readdirSync(this.#directory).map((file) => file.replace(/\.ndjson(\.1)?$/, ''));
    for (const id of new Set(ids)) if (!isKnown(id)) this.remove(id);
  }

  /** Sets aside what is no journal, before the first line of this daemon is read or written there. */
  #look(id: string): void {
    if (this.#known.has(id)) return;
    this.#known.add(id);
    for (const path of this.#paths(id)) {
      if (mayBeJournal(path)) continue;
      this.#setAside(id, path);
      this.#gaps.add(id);
    }
  }

  #setAside(id: string, path: string): void {
    const aside = `${path}.unreadable`;
    renameSync(path, aside);
    this.#failed(`the journal of container ${id}`, new Error(`${path} was none, and is now ${aside}`));
  }

  #path(id: string): string {
    return join(this.#directory, `${id}.ndjson`);
  }

  /** The older part comes first. */
  #paths(id: string): string[] {
    return [`${this.#path(id)}.1`, this.#path(id)];
  }
}

/** Returns false for what is there and is no file of lines of JSON, by how it begins. */
function mayBeJournal(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
  try {
    if (!fstatSync(fd).isFile()) return false;
    const begin = Buffer.alloc(64);
    return /^\n*(\{"|\{?$)/.test(begin.toString('latin1', 0, readSync(fd, begin)));
  } finally {
    closeSync(fd);
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

/** Returns a line of an earlier daemon, which had changes of state and notes alone, as one of now. */
const withKind = (line: JournalLine | JournalEntry): JournalLine =>
  'kind' in line ? line : { kind: line.from === line.to ? 'note' : 'passage', ...line };
