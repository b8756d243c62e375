/**
 * Network definitions on disk, one file each: <state-dir>/networks/<name>.json, as `podman network inspect` prints them. While
 * a network in use is being changed, <name>.previous beside it is the former definition. While the change is undone, because a
 * container could not follow, <name>.abandoned is the definition that the change would have made.
 *
 * Guarantees: written whole and fsynced (they are configuration: they outlive a boot); a file that cannot be read is set aside
 * as *.unreadable and stops nothing else. <name>.json is the wanted definition at any moment. A failed write is
 * STATE_UNWRITABLE.
 * Limits: read once at start; files changed by hand are seen by the next start.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { NetworkDefinition } from '../network.ts';
import { unwritable } from '../faults.ts';
import { isUnread, WholeFiles, type Failpoint } from './whole-file.ts';

export class DefinitionStore {
  readonly #files: WholeFiles;

  constructor(directory: string, failpoint: Failpoint) {
    this.#files = new WholeFiles(directory, 'networks', failpoint, { durable: true });
  }

  load(): { definitions: NetworkDefinition[]; previous: NetworkDefinition[]; unreadable: string[] } {
    this.#files.sweep();
    const definitions: NetworkDefinition[] = [];
    const previous: NetworkDefinition[] = [];
    const abandoned: NetworkDefinition[] = [];
    const unreadable: string[] = [];
    for (const file of readdirSync(this.#files.directory).sort()) {
      const ending = /\.(json|previous|abandoned)$/.exec(file)?.[0];
      if (ending === undefined) continue;
      try {
        const text = readFileSync(join(this.#files.directory, file), 'utf8');
        const definition = NetworkDefinition.parse(JSON.parse(text));
        if (`${definition.name}${ending}` !== file) throw new Error('the name inside is another');
        ({ '.json': definitions, '.previous': previous, '.abandoned': abandoned })[ending]?.push(definition);
      } catch (error) {
        if (isUnread(error)) throw error;
        unreadable.push(this.#files.setAside(file));
      }
    }
    return { definitions, previous: previous.map((before) => cameFrom(before, definitions, abandoned)), unreadable };
  }

  save(definition: NetworkDefinition): void {
    this.#write(definition, `${definition.name}.json`);
  }

  /** Makes `next` the wanted definition. The network can go back to `before` until settle(). */
  begin(before: NetworkDefinition, next: NetworkDefinition): void {
    this.#write(before, `${before.name}.previous`);
    this.save(next);
  }

  /** Makes the definition before the present update the wanted one again. The update would have made it `abandoned`. */
  goBack(before: NetworkDefinition, abandoned: NetworkDefinition): void {
    this.#write(abandoned, `${before.name}.abandoned`);
    this.save(before);
  }

  /** Records that the network has this definition everywhere (null: there is no network), and that no change is under way. */
  settle(name: string, definition: NetworkDefinition | null): void {
    if (definition === null) return this.remove(name);
    if (!this.#says(definition)) this.save(definition);
    this.#remove(`${name}.abandoned`);
    this.#remove(`${name}.previous`);
  }

  remove(name: string): void {
    this.#remove(`${name}.json`);
    this.#remove(`${name}.abandoned`);
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

/**
 * Returns the definition that the kernel may still hold: the abandoned one while the change is undone, else the previous one.
 */
function cameFrom(
  before: NetworkDefinition,
  definitions: readonly NetworkDefinition[],
  abandoned: readonly NetworkDefinition[],
): NetworkDefinition {
  const now = definitions.find(({ name }) => name === before.name);
  if (now === undefined || textOf(now) !== textOf(before)) return before;
  return abandoned.find(({ name }) => name === before.name) ?? before;
}

const textOf = (definition: NetworkDefinition): string => `${JSON.stringify(definition, null, 2)}\n`;
