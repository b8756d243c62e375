/** Work that runs a while after its occasion, and callers that do not want to wait for it. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { delay, undelayed } from '../../effects/delay.ts';

const LONG_MS = 3_600_000;
const delays = suite('delays');

delays('a wait ends the present delays, and no delay begins until the wait is over', async () => {
  let over = () => {};
  const before = delay(LONG_MS);
  const wait = undelayed(new Promise<string>((resolve) => (over = () => resolve('answer'))));
  await before;
  await delay(LONG_MS);
  over();
  assert.is(await wait, 'answer');
  let ended = false;
  const after = delay(LONG_MS).then(() => (ended = true));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.not(ended, 'nobody waits any more');
  await undelayed(Promise.resolve());
  await after;
});

delays('a wait that fails is over too, and its caller gets the failure', async () => {
  let failure: unknown;
  await undelayed(Promise.reject(new Error('no'))).catch((error: unknown) => (failure = error));
  assert.match(String(failure), 'no');
  let ended = false;
  const after = delay(LONG_MS).then(() => (ended = true));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.not(ended);
  await undelayed(Promise.resolve());
  await after;
});

delays('without a wait, a delay takes its full time', async () => {
  const began = performance.now();
  await delay(30);
  assert.ok(performance.now() - began >= 29);
});

delays.run();
