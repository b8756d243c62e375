/**
 * Network definitions on disk, one file each: <state-dir>/networks/<name>.json, as `podman network inspect` prints them.
 *
 * Guarantees: written whole and fsynced (they are configuration: they outlive a boot); a file that cannot be read is
 * set aside as *.unreadable and stops nothing else.
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

  load(): { definitions: NetworkDefinition[]; unreadable: string[] } {
    const definitions: NetworkDefinition[] = [];
    const unreadable: string[] = [];
    for (const file of readdirSync(this.#directory).sort()) {
      if (!file.endsWith('.json')) continue;
      const path = join(this.#directory, file);
      try {
        const definition = NetworkDefinition.parse(JSON.parse(readFileSync(path, 'utf8')));
        if (`${definition.name}.json` !== file) throw new Error('the name inside is another');
        definitions.push(definition);
      } catch {
        renameSync(path, `${path}.unreadable`);
        unreadable.push(`${path}.unreadable`);
      }
    }
    return { definitions, unreadable };
  }

  save(definition: NetworkDefinition): void {
    const path = join(this.#directory, `${definition.name}.json`);
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
