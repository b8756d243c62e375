/**
 * The lines of a stream of events, and which container each speaks of: events of one container are done in order.
 *
 * Guarantees: a container that a line of the stream creates is known by its name from that line on, before it is there.
 * Limits: by the beginning of its id only once its create is answered.
 */

/** A line of a stream: what may be an event, or why it is none. */
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
  /** Of creates under way: id by name. */
  readonly #coming = new Map<unknown, unknown>();

  /** `idOf`: of the containers there are; the text itself when there is none of it. Throws when it may be several. */
  constructor(idOf: (text: string) => string) {
    this.#idOf = idOf;
  }

  /** The container of a line; nothing that could be one is undefined. */
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
