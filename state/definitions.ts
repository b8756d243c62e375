/**
 * Network definitions on disk, one file each: <state-dir>/networks/<name>.json, as `podman network inspect` prints them.
 * While a network in use is being changed, <name>.previous beside it is what it was.
 *
 * Guarantees: written whole and fsynced (they are configuration: they outlive a boot); a file that cannot be read is
 * set aside as *.unreadable and stops nothing else. <name>.json is what the network is to be, at any moment.
 * Limits: read once at start; files changed by hand are seen by the next start.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { NetworkDefinition } from './network.ts';

export class DefinitionStore {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  load(): { definitions: NetworkDefinition[]; previous: NetworkDefinition[]; unreadable: string[] } {
    const definitions: NetworkDefinition[] = [];
    const previous: NetworkDefinition[] = [];
    const unreadable: string[] = [];
    for (const file of readdirSync(this.#directory).sort()) {
      const ending = /\.(json|previous)$/.exec(file)?.[0];
      if (ending === undefined) continue;
      const path = join(this.#directory, file);
      try {
        const definition = NetworkDefinition.parse(JSON.parse(readFileSync(path, 'utf8')));
        if (`${definition.name}${ending}` !== file) throw new Error('the name inside is another');
        (ending === '.json' ? definitions : previous).push(definition);
      } catch {
        renameSync(path, `${path}.unreadable`);
        unreadable.push(`${path}.unreadable`);
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
    rmSync(join(this.#directory, `${name}.previous`), { force: true });
    this.#sync();
  }

  #write(definition: NetworkDefinition, name: string): void {
    const path = join(this.#directory, name);
    const file = openSync(`${path}.tmp`, 'w', 0o600);
    try {
      writeFileSync(file, `${JSON.stringify(definition, null, 2)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${path}.tmp`, path);
    this.#sync();
  }

  remove(name: string): void {
    rmSync(join(this.#directory, `${name}.json`), { force: true });
    rmSync(join(this.#directory, `${name}.previous`), { force: true });
    this.#sync();
  }

  /** The rename itself must be on disk too. */
  #sync(): void {
    const directory = openSync(this.#directory, 'r');
    try {
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
  }
}
