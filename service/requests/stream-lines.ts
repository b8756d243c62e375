/**
 * Finds the container that each line of a stream of events is about: events of one container run in order.
 *
 * Guarantees: a container that a line of the stream creates is known by its name from that line on, before it exists.
 * Limits: it is known by the beginning of its id only after its create is answered.
 */

/** A line of a stream: a value that may be an event, or the error of a line that is none. */
export type Line = { id?: unknown; type?: unknown; name?: unknown } | null | Error;

export function parseLine(text: string): Line {
  try {
    return JSON.parse(text) as Line;
  } catch (error) {
    return error as SyntaxError;
  }
}

export class Calls {
  readonly #idOf: (text: string) => string;
  /** The creates under way: ids by name. */
  readonly #coming = new Map<unknown, unknown>();

  /** `idOf` returns the id of an existing container; the text itself if there is none. Throws if it may be several. */
  constructor(idOf: (text: string) => string) {
    this.#idOf = idOf;
  }

  /** Returns the container of a line; undefined if it cannot name one. */
  idIn(line: Line): unknown {
    if (line instanceof Error || line === null) return undefined;
    const { id, type, name } = line;
    if (type === 'create') {
      if (name !== undefined) this.#coming.set(name, id);
      return id;
    }
    if (this.#coming.has(id)) return this.#coming.get(id);
    try {
      return typeof id === 'string' ? this.#idOf(id) : id;
    } catch {
      return id; // refused when its turn comes
    }
  }

  answered(line: Line): void {
    if (line instanceof Error || line === null || line.type !== 'create') return;
    if (this.#coming.get(line.name) === line.id) this.#coming.delete(line.name);
  }
}
