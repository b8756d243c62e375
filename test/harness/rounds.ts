/**
 * Tests that run twice with the same ids, because what the first round leaves behind is what the second stumbles over.
 *
 * Guarantees: after each round the kernel and the files of the daemon are byte for byte what they were before the
 * first; a test that fails takes its containers with it, so that the next one tells its own story.
 */
import type { Test } from 'uvu';
import type { TestDaemon } from './daemon.ts';
import { comesBackTo, inspect } from './picture.ts';

export function rounds(tests: Test, daemon: TestDaemon) {
  return function twice(name: string, body: () => Promise<void>): void {
    tests(name, async () => {
      const before = inspect(daemon);
      try {
        for (let round = 1; round <= 2; round++) {
          await body();
          await comesBackTo(before, () => inspect(daemon));
        }
      } catch (error) {
        await clear(daemon);
        await comesBackTo(before, () => inspect(daemon)).catch(() => {});
        throw error;
      }
    });
  };
}

/** Tear down whatever there is, and wait until nothing is left. */
export async function clear(daemon: TestDaemon): Promise<void> {
  const { body } = await daemon.get<{ id: string }[]>('/v1/containers');
  for (const { id } of body) await daemon.event({ type: 'teardown', id });
  await Promise.all(body.map(({ id }) => daemon.gone(id)));
  await daemon.settled();
}
