/**
 * Runs work in turn: one queue for each key, an object or a text.
 *
 * Guarantees: the work of one key begins in the order of the calls, each when the one before has ended, however it ended. A
 * failure goes to its own caller alone. A key without work is forgotten.
 * Limits: no deadline: work that does not end blocks the work behind it. Work must not wait for a turn of its own key.
 *
 * p-queue and p-limit have one queue each and no keys. The map of queues, and forgetting the idle ones, would be as long as
 * this, and neither lets a key continue behind the work of another key (`succeed` in effect.ts).
 */

/** The end of the last work of each key: a Map, or a WeakMap if the keys are objects that come and go. */
export interface Turns<Key> {
  get(key: Key): Promise<unknown> | undefined;
  set(key: Key, last: Promise<unknown>): unknown;
  delete(key: Key): unknown;
}

/** Runs the work when all earlier work of the key has ended. */
export function inTurn<Key, T>(turns: Turns<Key>, key: Key, work: () => T | Promise<T>): Promise<T> {
  const mine = (turns.get(key) ?? Promise.resolve()).then(work);
  const end = () => {
    if (turns.get(key) === last) turns.delete(key);
  };
  const last: Promise<void> = mine.then(end, end);
  turns.set(key, last);
  return mine;
}
