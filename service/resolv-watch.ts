/**
 * Watches a file of the host that may be a link to a link, be replaced, or come and go: /etc/resolv.conf.
 *
 * Guarantees: every directory on the way from link to link is watched, or of one that is not there the nearest above it;
 * `changed` is called once things have been quiet for a moment, and only if the text is another one. What cannot be watched
 * or read (no watch or descriptor is left: inotify(7)) is told to `failed` once, and looked at every second until it can be.
 * Limits: a mount over the file is not noticed before the next change in its directory. At most 8 links.
 */
import { readFileSync, readlinkSync, watch, type FSWatcher } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isAbsent } from '../effects/etc.ts';

const QUIET_MS = 50;
const AGAIN_MS = 1000;
const LINKS = 8;

export class FileWatch {
  readonly #path: string;
  readonly #changed: () => void;
  readonly #failed: (error: unknown) => void;
  readonly #watchers = new Map<string, FSWatcher>();
  #text = '';
  /** Why something could not be watched or read at the last look. */
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
    const text = this.#read(); // after the watches: a change in between is heard of
    if (this.#trouble !== null) {
      if (before === null) this.#failed(this.#trouble);
      this.#lookIn(AGAIN_MS);
    }
    if (text === this.#text) return;
    this.#text = text;
    changed();
  }

  /** Of a file that is not there, nothing; of one that cannot be read, what was read last. */
  #read(): string {
    try {
      return readFileSync(this.#path, 'utf8');
    } catch (error) {
      if (isAbsent((error as NodeJS.ErrnoException).code ?? '')) return '';
      this.#trouble = error;
      return this.#text;
    }
  }

  /** Watches what is on the way now, and nothing else. */
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

  /** The directory, or the nearest above it that can be watched. */
  #add(directory: string): void {
    try {
      const watcher = watch(directory, { persistent: false }, (event) => {
        // `rename` is also what a directory says that is gone, and one of that name may come again.
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

  /** Watched anew by whoever hears of it next. */
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
