/**
 * Network definitions on disk, one file each: <state-dir>/networks/<name>.json, as `podman network inspect` prints them.
 * While a network in use is being changed, <name>.previous beside it is what it was.
 *
 * Guarantees: written whole and fsynced (they are configuration: they outlive a boot); a file that cannot be read is
 * set aside as *.unreadable and stops nothing else. <name>.json is what the network is to be, at any moment.
 * Limits: read once at start; files changed by hand are seen by the next start.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { NetworkDefinition } from './network.ts';
import { WholeFiles, type Failpoint } from './whole-file.ts';

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
      } catch {
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

  /** The network is what <name>.json says, everywhere. */
  settle(name: string): void {
    this.#files.remove(`${name}.previous`);
  }

  remove(name: string): void {
    this.#files.remove(`${name}.json`);
    this.#files.remove(`${name}.previous`);
  }

  #write(definition: NetworkDefinition, file: string): void {
    this.#files.write(file, `${JSON.stringify(definition, null, 2)}\n`);
  }
}
