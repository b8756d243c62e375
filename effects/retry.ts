/**
 * Retries work that must succeed in the end, although it fails now: for example if no descriptor is left, or the disk is
 * full.
 *
 * Guarantees: the first attempt is made at once, in this turn, and then one every second, until one succeeds or the caller
 * gives up. The first failure is reported.
 * Limits: work that waits for its next attempt is lost if the daemon ends, and does not keep the process alive.
 */
const AGAIN_MS = 1000;

/** Returns a function that gives up: no attempt begins after it was called. */
export function retryUntilDone(work: () => void | Promise<void>, failed: (error: unknown) => void): () => void {
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
