/**
 * Retry until done: at once, then every second; the failure is reported once; nothing begins any more after giving up.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { retryUntilDone } from '../../effects/retry.ts';

const insisting = suite('insist');

/** Work that fails so many times, and a log of its outcome. */
function failing(times: number): { work: () => void; told: unknown[]; tries: number[] } {
  const told: unknown[] = [];
  const tries: number[] = [];
  const work = () => {
    tries.push(performance.now());
    if (tries.length <= times) throw new Error(`no. ${tries.length}`);
  };
  return { work, told, tries };
}

insisting('work that succeeds is done in this turn', () => {
  const { work, told, tries } = failing(0);
  retryUntilDone(work, (error) => told.push(error));
  assert.is(tries.length, 1);
  assert.equal(told, []);
});

insisting('failed work is tried again a second later, and only its first reason is reported', async () => {
  const { work, told, tries } = failing(2);
  retryUntilDone(work, (error) => told.push((error as Error).message));
  while (tries.length < 3) await sleep(50);
  await sleep(1100);
  assert.is(tries.length, 3);
  assert.equal(told, ['no. 1']);
  for (const n of [1, 2]) assert.ok(tries[n]! - tries[n - 1]! >= 990);
});

insisting('work that is given up is not tried again, whether it is waiting or under way', async () => {
  const { work, told, tries } = failing(9);
  const waiting = retryUntilDone(work, (error) => told.push(error));
  await sleep(10);
  waiting();
  const underWay = retryUntilDone(
    async () => {
      await sleep(50);
      work();
    },
    (error) => told.push(error),
  );
  underWay();
  await sleep(1200);
  assert.is(tries.length, 2);
  assert.is(told.length, 1);
});

insisting.run();
