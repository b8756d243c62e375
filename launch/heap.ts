/**
 * Gives memory back when the daemon rests.
 *
 * While containers are made, V8 collects its old generation as seldom as it likes: told to be small all the time (--optimize-for-size),
 * it marks the heap six times as often and forgets what it has learned of the code, and a burst takes 1.4 times the processor time.
 * So it is told so only when the daemon rests and the heap has grown. One collection then makes V8's own memory reducer go on, in small
 * steps, until little is left to give back.
 *
 * Guarantees: nothing is collected while the daemon works, nor at rest when the heap has not grown. The looks do not keep the process alive.
 * Limits: the collection stops the daemon for some 40 ms with a thousand containers. docs/decisions/0070.
 */
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Less processor time than this part of the time between two looks is rest: some twenty lives of containers take it in 2 s. */
const RESTING = { everyMs: 2000, share: 0.1 };
/** A burst takes a whole processor, and must not wait long until V8 works as it should. The memory reducer takes less. */
const REDUCING = { everyMs: 250, share: 0.5 };
/** The memory reducer waits 8 s before it begins (V8, src/heap/memory-reducer.h), and works for some more. */
const REDUCED_AFTER_MS = 16_000;
/** This much more memory than after the last collection is worth another one. */
const WORTH = 8 * 1024 * 1024;

export function compactAtRest(): void {
  let small = 0;
  let reducedAt: number | null = null;
  let before = process.cpuUsage();
  const look = (): void => {
    const { everyMs, share } = reducedAt === null ? RESTING : REDUCING;
    const { user, system } = process.cpuUsage(before);
    const works = (user + system) / 1000 > share * everyMs;
    const held = getHeapStatistics().total_physical_size;
    if (reducedAt !== null && (works || performance.now() > reducedAt)) {
      setFlagsFromString('--no-optimize-for-size');
      reducedAt = null;
      if (!works) small = held;
    } else if (reducedAt === null && !works && held > small + WORTH) {
      setFlagsFromString('--optimize-for-size');
      reducedAt = performance.now() + REDUCED_AFTER_MS;
      collect();
    }
    before = process.cpuUsage(); // what collecting took is no work
    setTimeout(look, (reducedAt === null ? RESTING : REDUCING).everyMs).unref();
  };
  setTimeout(look, RESTING.everyMs).unref();
}

/** V8 hands out its collector to contexts that are made while --expose-gc holds. */
function collect(): void {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  setFlagsFromString('--no-expose-gc');
  gc();
}
