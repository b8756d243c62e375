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

const LOOK_MS = 2000;
/** Less processor time than this between two looks is rest: some twenty lives of containers take it. */
const REST_US = 200_000;
/** This much more memory than after the last collection is worth another one. */
const WORTH = 8 * 1024 * 1024;
/** The memory reducer waits 8 s before it begins (V8, src/heap/memory-reducer.h), and works for some more. */
const REDUCED_AFTER_LOOKS = 8;

export function compactAtRest(): void {
  let small = 0;
  let reducing = 0;
  let before = process.cpuUsage();
  const look = (): void => {
    const { user, system } = process.cpuUsage(before);
    before = process.cpuUsage();
    const works = user + system > REST_US;
    const held = getHeapStatistics().total_physical_size;
    if (reducing > 0) {
      reducing = works ? 0 : reducing - 1;
      if (reducing > 0) return;
      setFlagsFromString('--no-optimize-for-size');
      if (!works) small = held;
    } else if (!works && held > small + WORTH) {
      reducing = REDUCED_AFTER_LOOKS;
      setFlagsFromString('--optimize-for-size');
      collect();
      before = process.cpuUsage(); // what collecting took is no work
    }
  };
  setInterval(look, LOOK_MS).unref();
}

/** V8 hands out its collector to contexts that are made while --expose-gc holds. */
function collect(): void {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  setFlagsFromString('--no-expose-gc');
  gc();
}
