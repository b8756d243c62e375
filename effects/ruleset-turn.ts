/**
 * The turn of whoever looks at the table of an outside and writes what follows from it.
 *
 * Guarantees: nobody else who asked for a turn writes in between: an element that was seen is there to be removed (nf_tables
 * answers ENOENT to one that is not, and refuses the whole transaction), and what was missing is not made by two.
 * Limits: transactions that follow from no look (published ports, the table as a whole) need no turn, and wait for none.
 */
import type { Outside } from '../native/index.ts';

const turns = new WeakMap<Outside, Promise<unknown>>();

/** Does the work when all those before have ended. It must not ask for a turn itself. */
export function byLook<T>(native: Outside, work: () => Promise<T>): Promise<T> {
  const mine = (turns.get(native) ?? Promise.resolve()).then(work);
  turns.set(
    native,
    mine.catch(() => {}),
  );
  return mine;
}
