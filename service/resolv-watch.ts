/**
 * Watches a file of the host that may be a link to a link, be replaced, or come and go: /etc/resolv.conf.
 *
 * Guarantees: every directory on the way from link to link is watched, or of one that is not there the nearest above it;
 * `changed` is called once things have been quiet for a moment, and only if the text is another one.
 * Limits: a mount over the file is not noticed before the next change in its directory. At most 8 links.
 */
import { readFileSync, readlinkSync, watch, type FSWatcher } from 'node:fs';
import { dirname, resolve } from 'node:path';

const QUIET_MS = 50;
const LINKS = 8;

export class FileWatch {
  readonly #path: string;
  readonly #changed: () => void;
  readonly #watchers = new Map<string, FSWatcher>();
  #text: string;
  #timer: NodeJS.Timeout | null = null;

  constructor(path: string, changed: () => void) {
    this.#path = path;
    this.#changed = changed;
    this.#watch();
    this.#text = this.#read(); // after the watches: a change in between is heard of
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #heard(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#watch();
      const text = this.#read();
      if (text === this.#text) return;
      this.#text = text;
      this.#changed();
    }, QUIET_MS);
  }

  #read(): string {
    try {
      return readFileSync(this.#path, 'utf8');
    } catch {
      return '';
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
        this.#heard();
      });
      watcher.on('error', () => this.#drop(directory, watcher));
      this.#watchers.set(directory, watcher);
    } catch {
      const above = dirname(directory);
      if (above !== directory && !this.#watchers.has(above)) this.#add(above);
    }
  }

  /** Watched anew by whoever hears of it next. */
  #drop(directory: string, watcher: FSWatcher): void {
    if (this.#watchers.get(directory) !== watcher) return;
    watcher.close();
    this.#watchers.delete(directory);
    this.#heard();
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
