/**
 * Watches the process whose end is the container's end.
 *
 * Guarantees: notifies once when the process ends, or if it has already ended. A process that cannot be watched (for lack of
 * descriptors, for example) is not taken for dead, but watched as soon as possible.
 * Limits: the end of a process that is not watched is noticed at the next attempt.
 */
import { retryUntilDone } from '../../effects/retry.ts';
import { watch } from '../../effects/processes/process.ts';
import type { Child } from '../../native/index.ts';

/** Returns a function that stops the watch. `failed` gets the first reason why the process cannot be watched. */
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
