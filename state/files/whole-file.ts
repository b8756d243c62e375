/**
 * A directory of files that are replaced as a whole.
 *
 * Guarantees: a reader sees the old file or the new one, never half of one (a temporary name, then rename(2)). sweep() removes
 * files that a crash left half-written. Each step that a crash could separate is a failpoint: `<name>.write:before`,
 * `<name>.write:written` (beside the old file, which still counts), `<name>.write:after`, `<name>.remove:before`,
 * `<name>.remove:after`. With `durable`, a change survives a power loss once its call has returned: the file and the directory
 * are fsynced.
 * write-file-atomic does the rename, but fsyncs the file alone: a rename whose directory is not fsynced can be lost. It has no steps
 * at which a test could kill the daemon, and its next version needs a later Node than ours.
 * Errors: those of node:fs. After an error the old file is still there, and the temporary one is removed if possible. A durable
 * write that fails after its rename has happened all the same.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Called at each step that a crash could separate (crash tests kill there). */
export type Failpoint = (name: string) => void;

const ENDING = '.tmp';

/** The names of all directories made so far; crash tests check that they were covered. */
export const fileNames = new Set<string>();

export class WholeFiles {
  readonly directory: string;
  readonly #name: string;
  readonly #failpoint: Failpoint;
  readonly #durable: boolean;

  /** Makes the directory if it is missing, for its owner alone. */
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
        writeFileSync(descriptor, text); // unlike write(2), which on a nearly full disk can write a part and succeed
        if (this.#durable) fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
      this.#failpoint(`${this.#name}.write:written`);
      renameSync(`${path}${ENDING}`, path);
    } catch (error) {
      removeQuietly(`${path}${ENDING}`); // it takes up space, and there may never be a write that replaces it
      throw error;
    }
    if (this.#durable) this.#syncNames();
    this.#failpoint(`${this.#name}.write:after`);
  }

  /** Removes a file; a missing one is no error. */
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

  /** Keeps an unusable file under a name that is never read again; returns that path. */
  setAside(file: string): string {
    const path = join(this.directory, file);
    renameSync(path, `${path}.unreadable`);
    return `${path}.unreadable`;
  }

  /** Removes the temporary files of interrupted writes, whose originals are whole. Call it before the first write. */
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
    // it does not exist, or the next start removes it
  }
}

/**
 * True if the file could not be read now, so that its content may be valid (open(2), read(2)). A directory, or a dangling link,
 * in its place is no file of ours.
 */
export function isUnread(error: unknown): boolean {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return syscall !== undefined && !['EISDIR', 'ENOENT', 'ELOOP'].includes(code ?? '');
}
