// proving only: 14400
/**
 * Measures how many defects in the machines, the effects and the service the tests would miss. It chooses `sampled=` mutants
 * of each folder by chance (`seed=`) and tries them. The scores are rows of the table of proofs; `--output` lists the
 * mutants that no test noticed.
 *
 * Limits: a sample. A mutant that survives may be equivalent to the program: nobody has looked. A score below LEAST is a
 * failure for the machines alone, whose tests have no kernel and no clock, and see the same every time.
 */
import { chmodSync, readFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { table } from '../../cli/table.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved, seed } from '../harness/proof.ts';
import type { Mutant } from './hooks.ts';
import { learn, surveyOnKernel } from './kernel-survey.ts';
import { modulesIn, mutantsOf, survey, testsOf, type Described, type Judged } from './survey.ts';

requirePrivateNamespace();

const TESTS = resolve(import.meta.dirname, '../../../test');
/** The folders of the tests that judge mutants of effects and service. */
const JUDGES = ['effects', 'service', 'state', 'cli'];
const SAMPLED = effort('sampled', 60, 60);
const SEED = seed();
/** The least score of the machines, in percent. It is far below the usual score, because each sample is another one. */
const LEAST = 50;
/** The limit for one mutant of the machines, whose walks take up to a minute. */
const HANGS_MS = 300_000;

const score = suite('score of mutants');

const chosenOf = (folder: string): (Mutant & Described)[] => {
  const all = modulesIn(folder).flatMap(mutantsOf);
  const some = fc.shuffledSubarray(all, { minLength: SAMPLED, maxLength: SAMPLED });
  return fc.sample(some, { seed: SEED, numRuns: 1 }).flat();
};

const noticed = (judged: readonly Judged[]) => judged.filter(({ seenBy }) => seenBy !== null).length;
const percent = (judged: readonly Judged[]): number => Math.round((100 * noticed(judged)) / judged.length);

/** A row of the table, and for whoever wants to act on it who is left. */
function tell(folder: string, judged: readonly Judged[]): { row: string[]; left: string[] } {
  const unseen = judged.filter(({ seenBy }) => seenBy === null);
  const survived = unseen.filter(({ files }) => files > 0).length;
  proved(`mutants of ${folder}, ${noticed(judged)} of them noticed: ${percent(judged)} %`, judged.length);
  const counts = [judged.length, noticed(judged), survived, unseen.length - survived];
  const left = unseen.map(
    ({ at, title, files }) => `${files > 0 ? 'survived' : 'not covered'}  ${at}  ${title.replace(/^\S+ /, '')}`,
  );
  return { row: [folder, ...counts.map(String), `${percent(judged)} %`], left: left.sort() };
}

// The runner's own for this file. Below it tests put programs that are run as other users.
score.before(() => {
  const { TMPDIR } = process.env;
  if (TMPDIR !== undefined) chmodSync(TMPDIR, 0o711);
});

score('of machines, effects and service', async () => {
  const machines = await survey(chosenOf('machines'), testsOf(modulesIn('machines'), { slow: true }), HANGS_MS);
  const told = [tell('machines', machines)];
  const everything = [...machines];
  const tests = judges();
  const known = await learn(tests, [...modulesIn('effects'), ...modulesIn('service')], (test, said) =>
    process.stdout.write(`\n${test} fails without a mutant, and judges none:\n${said}\n`),
  );
  assert.ok(known.length > tests.length / 2, `${known.length} of ${tests.length} tests pass without a mutant`);
  for (const folder of ['effects', 'service']) {
    const judged = await surveyOnKernel(chosenOf(folder), known);
    told.push(tell(folder, judged));
    everything.push(...judged);
  }
  const list = told.flatMap(({ left }) => left).join('\n');
  const rows = [...told, tell('all of them', everything)].map(({ row }) => row);
  const headings = ['FOLDER', 'MUTANTS', 'NOTICED', 'SURVIVED', 'NOT COVERED', 'SCORE'];
  process.stdout.write(`\n${list}\n\nseed=${SEED}\n${(await table(headings, rows)).join('\n')}\n`);
  assert.ok(percent(machines) >= LEAST, `machines: ${percent(machines)} % noticed, less than ${LEAST}`);
});

/** Tests that can judge: those that do not declare a minute or more, or a proof of hours. */
function judges(): string[] {
  return JUDGES.flatMap((folder) => readdirSync(join(TESTS, folder)).map((name) => `${folder}/${name}`))
    .filter((test) => test.endsWith('.test.ts'))
    .filter(
      (test) => !/^\/\/ (slow: (?:[6-9]\d|\d{3,}) s|timeout|proving)/m.test(readFileSync(join(TESTS, test), 'utf8')),
    );
}

score.run();
