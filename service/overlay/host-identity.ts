/**
 * The id of this host among those of its overlays: <state-dir>/host.json.
 *
 * Guarantees: random, and on disk (fsynced) before anybody else can see it. A file that cannot be parsed is set aside, and a new
 * id is made: the shares of the old one end with their leases.
 * Limits: a copied disk has a copied id. Whoever finds its own claim renewed by another host takes a new one (`renew`).
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { unwritable } from '../../state/faults.ts';
import { WholeFiles, type Failpoint } from '../../state/files/whole-file.ts';
import { HostId } from '../../state/overlay.ts';

const FILE = 'host.json';
const Record_ = z.strictObject({ version: z.literal(1), host: HostId });

export class HostIdentity {
  readonly #files: WholeFiles;
  #host: string | null = null;
  /** The file that was set aside. */
  readonly unreadable: string[] = [];

  constructor(directory: string, failpoint: Failpoint) {
    this.#files = new WholeFiles(directory, 'host', failpoint, { durable: true });
    let text: string;
    try {
      text = readFileSync(join(directory, FILE), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    try {
      this.#host = Record_.parse(JSON.parse(text)).host;
    } catch {
      this.unreadable.push(this.#files.setAside(FILE));
    }
  }

  /** Returns the id; makes it at the first use. */
  get(): string {
    return this.#host ?? this.#write();
  }

  /** Returns another id than this one, which somebody else has too. */
  renew(copied: string): string {
    return this.#host === copied ? this.#write() : this.get();
  }

  #write(): string {
    const host = randomBytes(16).toString('hex');
    try {
      this.#files.write(FILE, `${JSON.stringify({ version: 1, host })}\n`);
    } catch (error) {
      throw unwritable(error);
    }
    this.#host = host;
    return host;
  }
}
