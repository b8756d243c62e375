/** A test that covers one function completely, and of the other one not where it ends: survey.test.ts shows that. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isSmall, sumBelow } from './example.ts';

const example = suite('example');

example('a sum', () => {
  assert.equal([0, 1, 4].map(sumBelow), [0, 0, 6]);
});

example('small, and not', () => {
  assert.equal([1, 100].map(isSmall), [true, false]);
});

example.run();
