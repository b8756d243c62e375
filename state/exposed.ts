/**
 * What outer publishers were asked to listen for, on disk: <state-dir>/exposed.json. A publisher lives on another machine,
 * so it goes on listening when this daemon is killed and when this machine is started anew.
 *
 * Guarantees: written whole and fsynced before an addition returns; an entry stays until its removal is reported, the file as long as there is an entry. A file
 * that cannot be understood is set aside as *.unreadable, and begins anew. What is owed (to be taken away, and not yet
 * known to be gone) is known until the daemon ends; at the next start it is what no container wants.
 * Limits: one file for all publishers, written again at each change: made for hundreds of ports, not for all of them.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { FaultError } from './faults.ts';
import { WholeFiles, type Failpoint } from './whole-file.ts';

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

  /** Once, before anything else. */
  load(): { unreadable: string[] } {
    this.#files.sweep();
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { unreadable: [] };
      throw error;
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

  /** They are wanted, whatever was owed before. */
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

  /** They are to be taken away. */
  owe(publisher: string, exposed: readonly Exposed[]): void {
    for (const entry of exposed) {
      const key = keyOf(publisher, entry);
      if (this.#entries.has(key)) this.#owed.add(key);
    }
  }

  /** They are gone. */
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
      const why = error instanceof Error ? error.message : String(error);
      throw new FaultError('STATE_UNWRITABLE', `${this.#path} cannot be written: ${why}`, { object: this.#path });
    }
    this.#entries = entries;
  }
}
