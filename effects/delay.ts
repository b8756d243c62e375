/**
 * Work that comes a while after its occasion, so that several occasions make one piece of work of it.
 *
 * Guarantees: while somebody waits for what comes after such work, nothing is delayed.
 */
const delays = new Set<() => void>();
let waiting = 0;

/** Resolves after so many milliseconds, or as soon as somebody waits. */
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
