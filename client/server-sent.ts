/**
 * Reads text/event-stream as the daemon writes it.
 *
 * Limits: lines end with LF, and a message has one line of data. The daemon writes no others.
 */

export interface ServerSent {
  /** Null: the message leaves the last id as it is. */
  id: string | null;
  /** Null: a sign of life. */
  event: string | null;
  data: string | null;
}

/** Returns a function that takes the stream piece by piece and calls `message` with each message and sign of life. */
export function serverSentReader(message: (message: ServerSent) => void): (chunk: string) => void {
  let rest = '';
  return (chunk) => {
    const parts = `${rest}${chunk}`.split('\n\n');
    rest = parts.pop() ?? '';
    for (const part of parts) {
      // No regular expression: for that, U+2028 would end a line, and a name may have one.
      const lines = part.split('\n');
      const field = (name: string) =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? null;
      message({ id: field('id'), event: field('event'), data: field('data') });
    }
  };
}
