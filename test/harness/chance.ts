/**
 * Properties that are tried with random values; a failure is reported so that it can be repeated.
 *
 * Guarantees: a failure names the seed, the path of the shrunk value and the value itself; the same `seed=` and `path=`
 * for the runner give that value again.
 * Limits: fast-check's own report shows neither what failed nor, in uvu, how the two sides differ.
 */
import fc from 'fast-check';
import { seed } from './proof.ts';

/** How long a failure is shrunk: it has to be reported before the file's time is over. */
const SHRINKING_MS = 30_000;

export async function tryByChance<T>(
  values: fc.Arbitrary<T>,
  rounds: number,
  attempt: (value: T) => Promise<void>,
  show: (value: T) => string,
): Promise<void> {
  const path = process.env['CLEAT_PROVE_path'];
  let failedAt = Infinity;
  const property = fc.asyncProperty(values, async (value) => {
    if (performance.now() > failedAt + SHRINKING_MS) return; // as small as possible in that time
    try {
      await attempt(value);
    } catch (error) {
      failedAt = Math.min(failedAt, performance.now());
      throw error;
    }
  });
  const outcome = await fc.check(property, {
    seed: seed(),
    numRuns: rounds,
    ...(path === undefined ? {} : { path }),
  });
  if (!outcome.failed) return;
  const [value] = outcome.counterexample ?? [];
  const { details = '' } = (outcome.errorInstance ?? {}) as { details?: string };
  const again = `seed=${outcome.seed} path=${outcome.counterexamplePath}`;
  throw new Error(
    [again, String(outcome.errorInstance), details, value === undefined ? '' : show(value)].join('\n').slice(0, 20_000),
  );
}
