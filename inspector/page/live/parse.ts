/**
 * Reads a stream of server-sent events (text/event-stream, HTML Living Standard) piece by piece.
 *
 * Guarantees: pure but for what it keeps between pieces; a piece may end anywhere, also within a line.
 * Limits: `retry` is left to the caller's own pauses, and comments are dropped.
 */

export interface ServerEvent {
  event: string;
  data: string;
}

export class EventParser {
  /** Holds the id of the last event: a reader says it to go on from there. */
  last = '';
  /** Holds the beginning of a line that is not complete, in the pieces that it came in: a long one is put together once. */
  #rest: string[] = [];
  /** True if the last piece ended with CR: a LF that follows belongs to it. */
  #halfEnd = false;
  #event = '';
  #data: string[] = [];
  #id: string | null = null;

  /** Forgets what was incomplete: another stream begins. */
  begin(): void {
    this.#rest = [];
    this.#halfEnd = false;
    this.#event = '';
    this.#data = [];
    this.#id = null;
  }

  /** Returns the events that are complete with this piece. */
  read(piece: string): ServerEvent[] {
    const found: ServerEvent[] = [];
    if (piece === '') return found;
    const text = this.#halfEnd && piece.startsWith('\n') ? piece.slice(1) : piece;
    this.#halfEnd = piece.endsWith('\r');
    const lines = text.split(/\r\n|\n|\r/);
    if (lines.length === 1) {
      this.#rest.push(text);
      return found;
    }
    lines[0] = [...this.#rest, lines[0]].join('');
    this.#rest = [lines.pop() ?? ''];
    for (const line of lines) {
      if (line !== '') this.#field(line);
      else if (this.#data.length > 0 || this.#id !== null) found.push(...this.#complete());
    }
    return found;
  }

  #field(line: string): void {
    const [, name = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
    if (name === 'event') this.#event = value;
    else if (name === 'data') this.#data.push(value);
    else if (name === 'id') this.#id = value;
  }

  #complete(): ServerEvent[] {
    if (this.#id !== null) this.last = this.#id;
    const data = this.#data.join('\n');
    const complete = this.#data.length > 0 ? [{ event: this.#event || 'message', data }] : [];
    this.#event = '';
    this.#data = [];
    this.#id = null;
    return complete;
  }
}
