/**
 * Works on many items, a few at a time.
 *
 * Guarantees: items are begun in their order. After a failure no further item is begun, and the call rejects when all items
 * that were begun have ended, so that nothing goes on behind the caller's back.
 *
 * p-map rejects at the first failure while the others still run, and p-limit begins the waiting items all the same: they
 * would make again what the caller undoes after a failure.
 */
export async function inPool<T>(most: number, things: Iterable<T>, work: (thing: T) => Promise<void>): Promise<void> {
  const all = [...things];
  const queue = all.values();
  let failed = false;
  const worker = async () => {
    for (const thing of queue) {
      if (failed) return;
      try {
        await work(thing);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.min(most, all.length) }, worker));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}
