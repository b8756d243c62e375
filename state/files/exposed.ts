/**
 * The forwards that outer publishers were requested to make, on disk: <state-dir>/exposed.json. A publisher runs on another
 * machine, so it continues to listen when this daemon is killed and when this machine reboots.
 *
 * Guarantees: written whole and fsynced before an addition returns. An entry stays until its removal is reported, the file as
 * long as there is an entry. A file that cannot be parsed is set aside as *.unreadable, and a new one begins. Owed entries (to
 * be removed, and not yet known to be gone) are known until the daemon ends; after the next start they are the entries that no
 * container wants.
 * Limits: one file for all publishers, written again at each change: made for hundreds of ports, not for tens of thousands.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { unwritable } from '../faults.ts';
import { isUnread, WholeFiles, type Failpoint } from './whole-file.ts';

const Entry = z.strictObject({
  publisher: z.string(),
  protocol: z.enum(['tcp', 'udp']),
  local: z.string(),
  remote: z.string(),
});
type Entry = z.infer<typeof Entry>;
export type Exposed = Omit<Entry, 'publisher'>;

const Record_ = z.strictObject({ version: z.literal(1), exposed: z.array(Entry) });

const FILE = 'exposed.json';

const keyOf = (publisher: string, { protocol, local }: Exposed): string => `${publisher} ${protocol}/${local}`;

export class ExposedStore {
  readonly #files: WholeFiles;
  readonly #path: string;
  #entries = new Map<string, Entry>();
  readonly #owed = new Set<string>();

  constructor(directory: string, failpoint: Failpoint) {
    this.#files = new WholeFiles(directory, 'exposed', failpoint, { durable: true });
    this.#path = join(directory, FILE);
  }

  /** Reads the file. Call it once, before anything else. */
  load(): { unreadable: string[] } {
    this.#files.sweep();
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { unreadable: [] };
      if (isUnread(error)) throw error;
      return { unreadable: [this.#files.setAside(FILE)] };
    }
    try {
      for (const entry of Record_.parse(JSON.parse(text)).exposed) {
        this.#entries.set(keyOf(entry.publisher, entry), entry);
      }
      return { unreadable: [] };
    } catch {
      return { unreadable: [this.#files.setAside(FILE)] };
    }
  }

  publishers(): string[] {
    return [...new Set([...this.#entries.values()].map(({ publisher }) => publisher))];
  }

  of(publisher: string): Exposed[] {
    return [...this.#entries.values()].filter((entry) => entry.publisher === publisher);
  }

  owed(publisher: string): Exposed[] {
    return this.of(publisher).filter((entry) => this.#owed.has(keyOf(publisher, entry)));
  }

  /** Adds forwards that are wanted; they are no longer owed. */
  add(publisher: string, exposed: readonly Exposed[]): void {
    const entries = new Map(this.#entries);
    let changed = false;
    for (const { protocol, local, remote } of exposed) {
      const entry = { publisher, protocol, local, remote };
      const key = keyOf(publisher, entry);
      this.#owed.delete(key);
      changed ||= entries.get(key)?.remote !== remote;
      entries.set(key, entry);
    }
    if (changed) this.#write(entries);
  }

  /** Marks forwards as owed, so that they will be removed. */
  owe(publisher: string, exposed: readonly Exposed[]): void {
    for (const entry of exposed) {
      const key = keyOf(publisher, entry);
      if (this.#entries.has(key)) this.#owed.add(key);
    }
  }

  /** Removes entries whose forwards are gone. */
  remove(publisher: string, exposed: readonly Exposed[]): void {
    const entries = new Map(this.#entries);
    for (const entry of exposed) {
      const key = keyOf(publisher, entry);
      this.#owed.delete(key);
      entries.delete(key);
    }
    if (entries.size !== this.#entries.size) this.#write(entries);
  }

  #write(entries: Map<string, Entry>): void {
    try {
      if (entries.size === 0) this.#files.remove(FILE);
      else this.#files.write(FILE, `${JSON.stringify({ version: 1, exposed: [...entries.values()] })}\n`);
    } catch (error) {
      throw unwritable(error, this.#path);
    }
    this.#entries = entries;
  }
}
