// timeout: 240
// proving: 10800
/**
 * Small changes of the program, tried out one by one. The tests of pure planning notice each of them, but for those of which
 * survivors.ts says why none can. And the survey itself: what it says of an example is what is so.
 *
 * Limits: in npm test a few of them. Planning alone: what the machines and the effects do is judged by tests with a kernel.
 */
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { effort, proved, spread } from '../harness/proof.ts';
import { modulesIn, mutantsOf, survey, testsOf, type Described, type Judged } from './survey.ts';
import { survivors } from './survivors.ts';

const mutation = suite('mutants');

const titleOf = ({ title }: Described): string => title;
const unseen = (judged: readonly Judged[]) => judged.filter(({ seenBy }) => seenBy === null);
const planning = modulesIn('machines/plan');
const explained = survivors.flatMap(({ mutants }) => mutants);

mutation('of the example: what its test shows is noticed, what it leaves open is not', async () => {
  const here = import.meta.dirname;
  const mutants = mutantsOf(join(here, 'example.js'));
  const judged = await survey(mutants, [join(here, 'example.test.js')], 6000);
  const [first, last] = ['`for (let n = 0; n < limit; n++)`', '`export const isSmall = (n) => n < 10;`'];
  assert.equal(unseen(judged).map(titleOf).sort(), [
    `test/mutations/example.ts isSmall: ${last} 10 -> 11`,
    `test/mutations/example.ts isSmall: ${last} < -> <=`,
    `test/mutations/example.ts sumBelow: ${first} 0 -> 1`, // which says the same
  ]);
  const how = new Map(judged.map((each) => [titleOf(each), `${each.seenBy}: ${each.why}`]));
  const of = (text: string): string => how.get(`test/mutations/example.ts ${text}`) ?? '';
  assert.match(of(`sumBelow: ${first} < -> <=`), /^example: a sum: .*deeply equal/);
  assert.match(of('sumBelow: `sum += n;` sum += n; -> ;'), /^example: a sum: /);
  assert.match(of(`sumBelow: ${first} < -> >=`), /^nobody: hangs/, 'a sum without an end');
});

mutation('of machines/plan: each is noticed, or explained', async () => {
  const all = planning.flatMap(mutantsOf);
  const judged = await survey(spread(all, effort('mutations', 25, all.length)), testsOf(planning));
  const left = new Set(unseen(judged).map(titleOf));
  assert.equal(
    [...left].filter((title) => !explained.includes(title)),
    [],
    'not noticed: write a test that states the rule, or explain why none can (survivors.ts)',
  );
  if (judged.length < all.length) return;
  assert.equal(
    explained.filter((title) => !left.has(title)),
    [],
    'noticed by now: take them off the list',
  );
  proved('mutants of machines/plan', judged.length);
  proved('of them not noticed', unseen(judged).length);
});

mutation('each that is explained is there, and once', () => {
  const all = new Set(planning.flatMap(mutantsOf).map(titleOf));
  assert.equal(
    explained.filter((title) => !all.has(title)),
    [],
  );
  assert.is(new Set(explained).size, explained.length);
});

mutation.run();
