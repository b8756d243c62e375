/**
 * Delays work, so that several occasions share one piece of work.
 *
 * Guarantees: nothing is delayed while a caller waits for what follows such work.
 */
const delays = new Set<() => void>();
let waiting = 0;

/** Resolves after this many milliseconds, or as soon as a caller waits. */
export function delay(ms: number): Promise<void> {
  if (waiting > 0) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      delays.delete(end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    delays.add(end);
  });
}

/** Ends all delays, and lets none begin until `wait` is settled. */
export async function undelayed<Result>(wait: Promise<Result>): Promise<Result> {
  waiting++;
  for (const end of delays) end();
  try {
    return await wait;
  } finally {
    waiting--;
  }
}
