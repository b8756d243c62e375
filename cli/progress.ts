/**
 * A line on stderr while something takes long, for a person who watches.
 *
 * Guarantees: it writes nothing unless stderr is a terminal, nor before half a second has passed. It removes the line when the
 * work is done. A text that changes, such as a count, is written anew every half second.
 */
import { note } from './terminal.ts';

const PATIENCE_MS = 500;

export async function withProgress<T>(text: string | (() => string), work: Promise<T>): Promise<T> {
  if (!process.stderr.isTTY) return work;
  let wipe = () => {};
  const timer = setInterval(() => {
    wipe();
    wipe = note(`${typeof text === 'string' ? text : text()} ...`);
    if (typeof text === 'string') clearInterval(timer);
  }, PATIENCE_MS);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    wipe();
  }
}

/** Counts what is done of several, and says it in a line: "tearing down 12 of 256". One is called by its name. */
export function counting(what: string, names: readonly string[]): { text: () => string; one: () => void } {
  let done = 0;
  const [only] = names;
  return {
    text: () => (names.length === 1 ? `${what} ${only}` : `${what} ${done} of ${names.length}`),
    one: () => void done++,
  };
}
