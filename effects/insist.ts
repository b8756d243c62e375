/**
 * What has to be done in the end, whatever stands in its way now: no descriptor is left, a disk does not take it.
 *
 * Guarantees: tried at once, in this turn, then every second until it has been done or given up; the first reason why it
 * could not be is told.
 * Limits: what is waiting for its next attempt is lost with the daemon, and keeps nobody alive.
 */
const AGAIN_MS = 1000;

/** Returns what gives up: nothing is begun any more. */
export function insist(work: () => void | Promise<void>, failed: (error: unknown) => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  let over = false;
  const attempt = async (first: boolean) => {
    try {
      await work();
    } catch (error) {
      if (over) return;
      if (first) failed(error);
      timer = setTimeout(() => void attempt(false), AGAIN_MS).unref();
    }
  };
  void attempt(true);
  return () => {
    over = true;
    clearTimeout(timer);
  };
}
