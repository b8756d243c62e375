/**
 * A line on stderr while something takes long, for a person who watches.
 *
 * Guarantees: it writes nothing unless stderr is a terminal, nor before half a second has passed. It removes the line when the
 * work is done.
 */
import { note } from './terminal.ts';

const PATIENCE_MS = 500;

export async function withProgress<T>(text: string, work: Promise<T>): Promise<T> {
  if (!process.stderr.isTTY) return work;
  let wipe = () => {};
  const timer = setTimeout(() => (wipe = note(`${text} ...`)), PATIENCE_MS);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
    wipe();
  }
}
