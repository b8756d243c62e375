/**
 * The watch on the process that a container ends with.
 *
 * Guarantees: told once when it ends, or has ended by now; one that cannot be watched (no descriptor is left, say) is not
 * taken for dead, but watched as soon as it can be.
 * Limits: one that ends while it is not watched is told with the next attempt.
 */
import { retryUntilDone } from '../effects/retry.ts';
import { watch } from '../effects/process.ts';
import type { Child } from '../native/index.ts';

/** Returns what stops it. `failed` is told the first reason why it cannot be watched. */
export function watchUntilItEnds(process: Child, ended: () => void, failed: (error: unknown) => void): () => void {
  let stop = () => {};
  const giveUp = retryUntilDone(() => {
    stop = watch(process, ended);
  }, failed);
  return () => {
    giveUp();
    stop();
  };
}
