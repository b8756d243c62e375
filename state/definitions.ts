/**
 * Network definitions on disk, one file each: <state-dir>/networks/<name>.json, as `podman network inspect` prints them.
 * While a network in use is being changed, <name>.previous beside it is what it was.
 *
 * Guarantees: written whole and fsynced (they are configuration: they outlive a boot); a file that cannot be read is
 * set aside as *.unreadable and stops nothing else. <name>.json is what the network is to be, at any moment.
 * What cannot be written is STATE_UNWRITABLE.
 * Limits: read once at start; files changed by hand are seen by the next start.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { NetworkDefinition } from './network.ts';
import { isUnread, unwritable, WholeFiles, type Failpoint } from './whole-file.ts';

export class DefinitionStore {
  readonly #files: WholeFiles;

  constructor(directory: string, failpoint: Failpoint) {
    this.#files = new WholeFiles(directory, 'networks', failpoint, { durable: true });
  }

  load(): { definitions: NetworkDefinition[]; previous: NetworkDefinition[]; unreadable: string[] } {
    this.#files.sweep();
    const definitions: NetworkDefinition[] = [];
    const previous: NetworkDefinition[] = [];
    const unreadable: string[] = [];
    for (const file of readdirSync(this.#files.directory).sort()) {
      const ending = /\.(json|previous)$/.exec(file)?.[0];
      if (ending === undefined) continue;
      try {
        const text = readFileSync(join(this.#files.directory, file), 'utf8');
        const definition = NetworkDefinition.parse(JSON.parse(text));
        if (`${definition.name}${ending}` !== file) throw new Error('the name inside is another');
        (ending === '.json' ? definitions : previous).push(definition);
      } catch (error) {
        if (isUnread(error)) throw error;
        unreadable.push(this.#files.setAside(file));
      }
    }
    return { definitions, previous, unreadable };
  }

  save(definition: NetworkDefinition): void {
    this.#write(definition, `${definition.name}.json`);
  }

  /** From here on the network is to be `next`, and can go back to `before`, until settle(). */
  begin(before: NetworkDefinition, next: NetworkDefinition): void {
    this.#write(before, `${before.name}.previous`);
    this.save(next);
  }

  /** The network is this (null: there is none), everywhere: nothing is under way. */
  settle(name: string, definition: NetworkDefinition | null): void {
    if (definition === null) return this.remove(name);
    if (!this.#says(definition)) this.save(definition);
    this.#remove(`${name}.previous`);
  }

  remove(name: string): void {
    this.#remove(`${name}.json`);
    this.#remove(`${name}.previous`);
  }

  #says(definition: NetworkDefinition): boolean {
    try {
      const path = join(this.#files.directory, `${definition.name}.json`);
      return readFileSync(path, 'utf8') === textOf(definition);
    } catch {
      return false;
    }
  }

  #remove(file: string): void {
    try {
      this.#files.remove(file);
    } catch (error) {
      throw unwritable(error);
    }
  }

  #write(definition: NetworkDefinition, file: string): void {
    try {
      this.#files.write(file, textOf(definition));
    } catch (error) {
      throw unwritable(error);
    }
  }
}

const textOf = (definition: NetworkDefinition): string => `${JSON.stringify(definition, null, 2)}\n`;
