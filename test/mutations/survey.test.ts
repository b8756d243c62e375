// slow: 40 s, each mutant is shown to one test after another until one notices it
// proving only: 10800
/**
 * Small changes of the program, tried one by one. The tests of pure planning notice each of them, except those for which
 * survivors.ts gives the reason why none can. And the survey itself: its result for an example is correct.
 *
 * Limits: without --prove, a few mutants are tried of planning and of the machines. score.test.ts tries the rest of the machines, the
 * effects and the service.
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
const planning = modulesIn('plan');
/** Mutants of the machines of attachments and uplinks that a walk notices. */
const WALKED = [
  "machines/container/attachment.ts attachmentMachine: `detaching: ({ context }) => context.verb === 'detach',` 'detach' -> ''",
  "machines/container/attachment.ts attachmentMachine: `{ guard: 'stands', target: 'stuck', actions: 'blame' },` guard: 'stands', -> ",
  "machines/uplink.ts uplinkMachine: `stopping: ({ context }) => context.verb === 'stop',` 'stop' -> ''",
  "machines/uplink.ts uplinkMachine: `onDone: { target: 'ready', actions: assign({ link: ({ event }) => event.output }) },` link: ({ event }) => event.output -> ",
];
const explained = survivors.flatMap(({ mutants }) => mutants);

mutation('in the example, a mutant that its test covers is noticed, another is not', async () => {
  const here = import.meta.dirname;
  const mutants = mutantsOf(join(here, 'example.js'));
  const judged = await survey(mutants, [join(here, 'example.test.js')], 6000);
  const [first, last] = ['`for (let n = 0; n < limit; n++)`', '`export const isSmall = (n) => n < 10;`'];
  assert.equal(unseen(judged).map(titleOf).sort(), [
    `test/mutations/example.ts isSmall: ${last} 10 -> 11`,
    `test/mutations/example.ts isSmall: ${last} < -> <=`,
    `test/mutations/example.ts sumBelow: ${first} 0 -> 1`, // which means the same
  ]);
  const how = new Map(judged.map((each) => [titleOf(each), `${each.seenBy}: ${each.why}`]));
  const of = (text: string): string => how.get(`test/mutations/example.ts ${text}`) ?? '';
  assert.match(of(`sumBelow: ${first} < -> <=`), /^example: a sum: .*deeply equal/);
  assert.match(of('sumBelow: `sum += n;` sum += n; -> ;'), /^example: a sum: /);
  assert.match(of(`sumBelow: ${first} < -> >=`), /^nobody: hangs/, 'a sum without an end');
});

mutation('in plan/, each mutant is noticed or explained', async () => {
  const all = planning.flatMap(mutantsOf);
  const judged = await survey(spread(all, effort('mutations', 12, all.length)), testsOf(planning));
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
  proved('mutants of plan', judged.length);
  proved('of them not noticed', unseen(judged).length);
});

mutation('the walks notice these mutants of the machines', async () => {
  const parts = modulesIn('machines').filter((module) => /\/(attachment|uplink)\.js$/.test(module));
  const mutants = parts.flatMap(mutantsOf).filter(({ title }) => WALKED.includes(title));
  assert.equal(new Set(mutants.map(titleOf)), new Set(WALKED));
  const walks = testsOf(parts).filter((test) => /(attachment|uplink)\.paths/.test(test));
  assert.equal(unseen(await survey(mutants, walks)).map(titleOf), []);
});

mutation('each explained mutant exists, and once', () => {
  const all = new Set(planning.flatMap(mutantsOf).map(titleOf));
  assert.equal(
    explained.filter((title) => !all.has(title)),
    [],
  );
  assert.is(new Set(explained).size, explained.length);
});

mutation.run();
