/**
 * What a quick run says of its figures: which have moved, and whether budgets are met; and how a record is kept.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FIGURES, figure } from '../../bench/budgets.ts';
import { compare, comparisonRows, verdictOf } from '../../bench/record/compare.ts';
import { differences, readRecord, RECORD, writeRecord } from '../../bench/record/record.ts';

const BENCH = resolve(import.meta.dirname, '../../bench/main.js');
const STREAM = 'create, stream, to floor';
const BURST = '256 at once';
const MACHINE = { kernel: '6.1', cpus: 2, cpu: 'x', node: 'v20', load: '0.1 0.1 0.1', startProgram: '1 ms' };

const moved = (now: number[], then: number[], name: typeof STREAM | typeof BURST = STREAM) =>
  compare({ [name]: now }, { [name]: then })[0]?.moved;

const bench = suite('figures of the benchmark');

bench('a figure has moved when its turns are apart from the recorded ones, by more than a tenth', () => {
  assert.is(moved([2, 2.1, 2.2], [3, 3.1, 3.2]), 'better');
  assert.is(moved([3, 3.1, 3.2], [2, 2.1, 2.2]), 'worse');
});

bench('where more is better, more is not worse', () => {
  assert.is(moved([900, 950, 1000], [600, 650, 700], BURST), 'better');
  assert.is(moved([600, 650, 700], [900, 950, 1000], BURST), 'worse');
});

bench('what the turns differ by among themselves is noise, and so is less than a tenth', () => {
  assert.is(moved([2, 4, 6], [3, 3.1, 3.2]), null);
  assert.is(moved([3.2, 3.6, 3.7], [3, 3.1, 3.2]), null);
  assert.is(moved([3.2, 3.21, 3.22], [3, 3.01, 3.02]), null);
});

bench('none of nothing is no change, and one of nothing is', () => {
  const broken = 'links gone or made again after it';
  const now = (value: number) => compare({ [broken]: [value, value, value] }, { [broken]: [0, 0, 0] })[0];
  assert.equal([now(0)?.change, now(0)?.moved], [0, null]);
  assert.is(now(3)?.moved, 'worse');
});

bench('the comparison names what moved, by how much, and the verdict on its budget', () => {
  const found = compare({ [STREAM]: [2, 2, 2], [BURST]: [1000, 1000, 1000] }, { [STREAM]: [1, 1, 1] });
  assert.is(verdictOf(found), `moved more than noise: ${STREAM} (+100 %, worse)`);
  const rows = comparisonRows(found).rows.map(([name, now, , then, change, budget, met]) => [
    name,
    now,
    then,
    change,
    budget,
    met,
  ]);
  assert.equal(rows, [
    [STREAM, '2.00x', '1.00x', '+100 %, worse', '<= 1.30x', 'NOT met'],
    [BURST, '1000/s', '-', '-', '>= 1000/s', 'met'],
  ]);
  assert.is(verdictOf(compare({ [STREAM]: [1, 1, 1] }, { [STREAM]: [1, 1, 1] })), 'nothing moved more than noise');
  assert.is(verdictOf(compare({ [STREAM]: [1] }, {})), 'nothing is recorded to compare with');
});

bench('a budget is met at its limit, and never by what was not measured', () => {
  assert.is(figure(STREAM, 1.3).met, true);
  assert.is(figure(STREAM, 1.31).met, false);
  assert.is(figure(BURST, 1000).met, true);
  assert.is(figure(BURST, 999).met, false);
  assert.equal([figure(BURST, Number.NaN).met, figure(BURST, Number.NaN).measured], [null, 'not measured']);
  assert.is(figure('256 at once, to floor', 0.1).met, null);
});

bench('a record that was written is read, to four digits, and what differs between machines is named', () => {
  const file = join(mkdtempSync(join(tmpdir(), 'record-')), 'record.json');
  assert.is(readRecord(file), null);
  writeRecord(
    { recorded: '2026-01-02', machine: MACHINE, figures: { [STREAM]: [1.234567, 2, 3], [BURST]: [650] } },
    file,
  );
  const read = readRecord(file);
  assert.equal(read, {
    recorded: '2026-01-02',
    machine: MACHINE,
    figures: { [STREAM]: [1.235, 2, 3], [BURST]: [650] },
  });
  assert.equal(differences(MACHINE, MACHINE), []);
  assert.equal(differences({ ...MACHINE, kernel: '6.2', load: '9 9 9' }, MACHINE), ['kernel 6.1, now 6.2']);
});

bench('the record in the repository has known figures, with the same number of turns each', () => {
  const record = readRecord();
  assert.ok(record !== null, RECORD);
  assert.equal(
    Object.keys(record.figures).filter((name) => !(name in FIGURES)),
    [],
  );
  const turns = new Set(Object.values(record.figures).map(({ length }) => length));
  assert.is(turns.size, 1);
  assert.match(readFileSync(RECORD, 'utf8'), /"kernel": "\d/);
});

bench('a wish that makes no sense ends with 1 and says why, before anything runs', () => {
  const run = (...args: string[]) => spawnSync(process.execPath, [BENCH, ...args], { encoding: 'utf8' });
  const unknown = run('--only', 'nothing');
  assert.is(unknown.status, 1);
  assert.match(unknown.stderr, /^--only nothing: there is create, /);
  const partial = run('--quick', '--only', 'create', '--record');
  assert.is(partial.status, 1);
  assert.match(partial.stderr, /^--record goes with --quick alone/);
});

bench.run();
