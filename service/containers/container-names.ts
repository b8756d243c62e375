/**
 * The ways to refer to a container: its id, its name, or the beginning of an engine's id.
 *
 * Guarantees: a text that is an id or a name means that container and no other. Ids and names are unique together, so that no
 * container receives what was sent to another. Finding by id or name costs the same however many containers there are.
 * Limits: a beginning counts only for ids as engines make them (64 hex digits), from four digits on. Other ids are chosen like
 * names: "web" must not mean "web-2" once "web" is gone.
 */
import { FaultError } from '../../state/faults.ts';

const ENGINE_ID = /^[0-9a-f]{64}$/;
const BEGINNING = /^[0-9a-f]{4,63}$/;

export class ContainerNames {
  /** The ids that have each name. There is one, except for containers of older versions. */
  readonly #named = new Map<string, Set<string>>();
  readonly #ids = new Set<string>();

  add(id: string, name: string): void {
    this.#ids.add(id);
    this.#named.set(name, (this.#named.get(name) ?? new Set()).add(id));
  }

  remove(id: string, name: string): void {
    this.#ids.delete(id);
    this.#named.get(name)?.delete(id);
    if (this.#named.get(name)?.size === 0) this.#named.delete(name);
  }

  /** Returns the id of the container that is meant; the text itself if there is none. Throws if it may be several. */
  idOf(text: string): string {
    if (this.#ids.has(text)) return text;
    const [id = text, ...more] = this.#named.get(text) ?? this.#beginningWith(text);
    if (more.length === 0) return id;
    throw new FaultError('NO_SUCH_CONTAINER', `more than one result for container name or ID ${JSON.stringify(text)}`);
  }

  /** Returns another container that has one of these texts as its id or name. */
  holderOf(id: string, ...texts: string[]): string | null {
    const holders = texts.flatMap((text) => [...(this.#ids.has(text) ? [text] : []), ...(this.#named.get(text) ?? [])]);
    return holders.find((holder) => holder !== id) ?? null;
  }

  #beginningWith(text: string): string[] {
    return BEGINNING.test(text) ? [...this.#ids].filter((id) => ENGINE_ID.test(id) && id.startsWith(text)) : [];
  }
}
