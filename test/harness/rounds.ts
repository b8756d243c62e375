/**
 * Tests that run twice with the same ids, because the second round notices what the first leaves behind.
 *
 * Guarantees: after each round the kernel and the files of the daemon are byte for byte what they were before the
 * first; a test that fails removes its containers, so that the next one starts clean.
 */
import type { Test } from 'uvu';
import type { TestDaemon } from './daemon.ts';
import { assertComesBackTo, inspect } from './picture.ts';

export function rounds(tests: Test, daemon: TestDaemon) {
  return function twice(name: string, body: () => Promise<void>): void {
    tests(name, async () => {
      const before = inspect(daemon);
      try {
        for (let round = 1; round <= 2; round++) {
          await body();
          await assertComesBackTo(before, () => inspect(daemon));
        }
      } catch (error) {
        await clear(daemon);
        await assertComesBackTo(before, () => inspect(daemon)).catch(() => {});
        throw error;
      }
    });
  };
}

/** Tears down whatever exists, and waits until nothing is left. */
export async function clear(daemon: TestDaemon): Promise<void> {
  const { body } = await daemon.get<{ id: string }[]>('/v1/containers');
  for (const { id } of body) await daemon.event({ type: 'teardown', id });
  await Promise.all(body.map(({ id }) => daemon.gone(id)));
  await daemon.settled();
}
