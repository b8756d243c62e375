/**
 * Watches a file of the host that may be a link to a link, be replaced, or come and go: /etc/resolv.conf.
 *
 * Guarantees: watches every directory on the way from link to link; instead of a missing one, the nearest directory above it.
 * Calls `changed` once things have been quiet for a moment, and only if the text has changed. If something cannot be watched or
 * read (no watch or descriptor is left: inotify(7)), calls `failed` once, and looks every second until it can be.
 * Limits: a mount over the file is not noticed before the next change in its directory. Follows at most 8 links.
 */
import { readFileSync, readlinkSync, watch, type FSWatcher } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isAbsent } from '../../effects/names/etc.ts';

const QUIET_MS = 50;
const AGAIN_MS = 1000;
const LINKS = 8;

export class FileWatch {
  readonly #path: string;
  readonly #changed: () => void;
  readonly #failed: (error: unknown) => void;
  readonly #watchers = new Map<string, FSWatcher>();
  #text = '';
  /** The reason why something could not be watched or read at the last look. */
  #trouble: unknown = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(path: string, changed: () => void, failed: (error: unknown) => void) {
    this.#path = path;
    this.#changed = changed;
    this.#failed = failed;
    this.#look(() => {});
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #lookIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(this.#changed), ms);
  }

  #look(changed: () => void): void {
    const before = this.#trouble;
    this.#trouble = null;
    this.#watch();
    const text = this.#read(); // after the watches, so that a change in between is noticed
    if (this.#trouble !== null) {
      if (before === null) this.#failed(this.#trouble);
      this.#lookIn(AGAIN_MS);
    }
    if (text === this.#text) return;
    this.#text = text;
    changed();
  }

  /** Returns the text of the file: nothing if it does not exist, the text of the last read if it cannot be read. */
  #read(): string {
    try {
      return readFileSync(this.#path, 'utf8');
    } catch (error) {
      if (isAbsent((error as NodeJS.ErrnoException).code ?? '')) return '';
      this.#trouble = error;
      return this.#text;
    }
  }

  /** Watches the directories that are on the way now, and no others. */
  #watch(): void {
    const wanted = new Set(this.#directories());
    for (const [directory, watcher] of this.#watchers) {
      if (wanted.has(directory)) continue;
      watcher.close();
      this.#watchers.delete(directory);
    }
    for (const directory of wanted) {
      if (!this.#watchers.has(directory)) this.#add(directory);
    }
  }

  /** Watches the directory, or the nearest one above it that can be watched. */
  #add(directory: string): void {
    try {
      const watcher = watch(directory, { persistent: false }, (event) => {
        // A removed directory also announces `rename`, and a new one of that name may appear.
        if (event === 'rename') this.#drop(directory, watcher);
        this.#lookIn(QUIET_MS);
      });
      watcher.on('error', () => this.#drop(directory, watcher));
      this.#watchers.set(directory, watcher);
    } catch (error) {
      if (!isAbsent((error as NodeJS.ErrnoException).code ?? '')) this.#trouble = error;
      const above = dirname(directory);
      if (above !== directory && !this.#watchers.has(above)) this.#add(above);
    }
  }

  /** Ends a watch. The next look watches the directory again. */
  #drop(directory: string, watcher: FSWatcher): void {
    if (this.#watchers.get(directory) !== watcher) return;
    watcher.close();
    this.#watchers.delete(directory);
    this.#lookIn(QUIET_MS);
  }

  #directories(): string[] {
    const directories: string[] = [];
    let path = resolve(this.#path);
    for (let n = 0; n <= LINKS; n++) {
      directories.push(dirname(path));
      try {
        path = resolve(dirname(path), readlinkSync(path));
      } catch {
        return directories; // no link: the way ends here
      }
    }
    return directories;
  }
}
