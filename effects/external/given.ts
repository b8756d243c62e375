/**
 * Keeps what the programs of an attachment were given while nobody has their answer: the result of those before them in the chain.
 *
 *   <directory>/<container>-<link>.json
 *
 * Guarantees: it is on disk before the program runs that gets it. A plugin that finds what it has made by the addresses in the result,
 * as `firewall` does, then removes it although its ADD was never answered: it has failed, or the daemon was killed.
 * Limits: what is lost or damaged is as if nothing had been given.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isRecord, type Json } from '../../plan/external/conversation.ts';
import { unwritable } from '../../state/faults.ts';
import { removeIfEmpty } from '../shared-directory.ts';

export class Given {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  keep(name: string, result: Json): void {
    const path = this.#path(name);
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      writeFileSync(`${path}.new`, JSON.stringify(result), { mode: 0o600 });
      renameSync(`${path}.new`, path);
    } catch (error) {
      throw unwritable(error);
    }
  }

  of(name: string): Json | null {
    try {
      const found: unknown = JSON.parse(readFileSync(this.#path(name), 'utf8'));
      return isRecord(found) ? found : null;
    } catch {
      return null;
    }
  }

  forget(name: string): void {
    for (const path of [this.#path(name), `${this.#path(name)}.new`]) rmSync(path, { force: true });
    removeIfEmpty(this.#directory);
  }

  #path(name: string): string {
    return join(this.#directory, `${name}.json`);
  }
}
