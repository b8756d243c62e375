/**
 * Watches what a container ends with: a process, or a descriptor whose other end somebody else holds.
 *
 * Guarantees: notifies once when the process ends or the other end is closed, or if that has already happened. What cannot be
 * watched (for lack of descriptors, for example) is not taken for ended, but watched as soon as possible.
 * Limits: the end of what is not watched is noticed at the next attempt.
 */
import { retryUntilDone } from '../../effects/retry.ts';
import { watch } from '../../effects/processes/process.ts';
import { watchExit } from '../../effects/processes/exit-descriptor.ts';
import type { Child } from '../../native/index.ts';
import type { ExitDescriptor } from '../../state/container.ts';

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

/** Does the same for a descriptor. */
export function watchUntilItCloses(
  exit: ExitDescriptor,
  ended: () => void,
  failed: (error: unknown) => void,
): () => void {
  let over = false;
  let stop = () => {};
  const giveUp = retryUntilDone(async () => {
    const unwatch = await watchExit(exit, ended);
    if (over) unwatch();
    else stop = unwatch;
  }, failed);
  return () => {
    over = true;
    giveUp();
    stop();
  };
}
