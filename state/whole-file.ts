/**
 * A directory of files that are replaced whole.
 *
 * Guarantees: a reader sees the old file or the new one, never half of one (a temporary name, then rename(2)). What a crash
 * left half-written is gone after sweep(). Each step that a crash could separate is a failpoint: `<name>.write:before`,
 * `<name>.write:written` (beside the old file, which still counts), `<name>.write:after`, `<name>.remove:before`,
 * `<name>.remove:after`.
 * With `durable`, what a call did outlives a power loss from when it returns: the file and the directory are fsynced.
 * Errors: as node:fs throws them; the old file is then still there, and the temporary one is not, if that can be. A
 * durable write that fails after its rename has happened all the same.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FaultError } from './faults.ts';

/** Called at each step that a crash could separate (crash tests kill there). */
export type Failpoint = (name: string) => void;

const ENDING = '.tmp';

/** Names of all that were made so far: crash tests look whether they were there. */
export const fileNames = new Set<string>();

export class WholeFiles {
  readonly directory: string;
  readonly #name: string;
  readonly #failpoint: Failpoint;
  readonly #durable: boolean;

  /** The directory is made if it is not there, for its owner alone. */
  constructor(directory: string, name: string, failpoint: Failpoint, { durable }: { durable: boolean }) {
    this.directory = directory;
    this.#name = name;
    this.#failpoint = failpoint;
    this.#durable = durable;
    fileNames.add(name);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  write(file: string, text: string): void {
    this.#failpoint(`${this.#name}.write:before`);
    const path = join(this.directory, file);
    try {
      const descriptor = openSync(`${path}${ENDING}`, 'w', 0o600);
      try {
        writeFileSync(descriptor, text); // all of it: one write(2) on a nearly full disk writes a part, and calls that success
        if (this.#durable) fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
      this.#failpoint(`${this.#name}.write:written`);
      renameSync(`${path}${ENDING}`, path);
    } catch (error) {
      removeQuietly(`${path}${ENDING}`); // it takes room, and nobody may ever write here again
      throw error;
    }
    if (this.#durable) this.#syncNames();
    this.#failpoint(`${this.#name}.write:after`);
  }

  /** Absent is fine. */
  remove(file: string): void {
    this.#failpoint(`${this.#name}.remove:before`);
    try {
      unlinkSync(join(this.directory, file));
      if (this.#durable) this.#syncNames();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    this.#failpoint(`${this.#name}.remove:after`);
  }

  /** Keep a file that cannot be used, under a name that is never read again; returns that path. */
  setAside(file: string): string {
    const path = join(this.directory, file);
    renameSync(path, `${path}.unreadable`);
    return `${path}.unreadable`;
  }

  /** Remove what writes that were cut short left behind: the files they were for are whole. Before the first write. */
  sweep(): void {
    for (const file of readdirSync(this.directory)) {
      if (file.endsWith(ENDING)) unlinkSync(join(this.directory, file));
    }
  }

  #syncNames(): void {
    const descriptor = openSync(this.directory, 'r');
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // never made; or swept by the next start
  }
}

/** What Node says of a file that cannot be written, as a fault. */
export function unwritable(error: unknown): FaultError {
  if (error instanceof FaultError) return error;
  const { message, code } = error as NodeJS.ErrnoException;
  return new FaultError(
    'STATE_UNWRITABLE',
    `cannot write state: ${message}`,
    code === undefined ? {} : { errno: code },
  );
}

/**
 * It could not be read, here and now: the file may be as good as ever (open(2), read(2)). A directory, or a link to nothing,
 * in its place is no file of ours.
 */
export function isUnread(error: unknown): boolean {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return syscall !== undefined && !['EISDIR', 'ENOENT', 'ELOOP'].includes(code ?? '');
}
