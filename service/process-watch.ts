/**
 * The watch on the process that a container ends with.
 *
 * Guarantees: told once when it ends, or has ended by now; that it cannot be watched, for want of a descriptor say, is no end:
 * it may well live, and is watched later.
 * Limits: one that ends while it is not watched is told AGAIN_MS later at the most.
 */
import { isGone } from '../effects/process.ts';
import { watchProcess, type Child } from '../native/index.ts';

const AGAIN_MS = 1000;

/** Returns what stops it. `failed` is told the first reason why it cannot be watched. */
export function watchUntilItEnds(process: Child, ended: () => void, failed: (error: unknown) => void): () => void {
  let stop = () => {};
  const begin = (first: boolean) => {
    try {
      stop = watchProcess(process.pid, process.startTime, ended);
    } catch (error) {
      if (isGone(error)) return ended();
      if (first) failed(error);
      const timer = setTimeout(() => begin(false), AGAIN_MS);
      stop = () => clearTimeout(timer);
    }
  };
  begin(true);
  return () => stop();
}
