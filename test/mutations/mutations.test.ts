// slow: 30 s, a defect is planted in a copy of the compiled code, and its test is run
// proving only: 5400
/**
 * The tests find what they are there to find: each planted defect (mutants.ts) makes the tests that are named with it
 * fail, and for the right reason.
 *
 * Guarantees: each mutant is built from a copy of the sources of its own; a line that is not there exactly once is an
 * error. A native mutant is built again.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { effort, proved } from '../harness/proof.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { mutantsOfOneOperation } from './mutants-of-one-operation.ts';
import { mutantsOfPlans } from './mutants-of-plans.ts';
import { FOLDERS, ROOT } from '../harness/references.ts';
import { mutants as mutantsOfLives, type Mutant } from './mutants.ts';

requirePrivateNamespace();

const FILES = ['package.json', 'tsconfig.json', 'binding.gyp'];

const planted = suite('planted defects');
const mutants = [...mutantsOfLives, ...mutantsOfOneOperation, ...mutantsOfPlans];
let seen = 0;
const chosen = mutants.slice(0, effort('mutants', 1, mutants.length));

planted('each defect can be planted in the source as it is', () => {
  for (const { file, find } of mutants) occursOnce(file, find, readFileSync(join(ROOT, file), 'utf8'));
});

for (const mutant of chosen) {
  planted(`${mutant.name}: ${mutant.test} sees it`, async () => {
    const output = await run(mutant);
    assert.match(output, /^FAIL /m, `not seen:\n${output}`);
    assert.match(output, mutant.seen, `seen, but not for this reason:\n${output.slice(0, 3000)}`);
    seen++;
  });
}

planted.after(() => {
  if (seen > 0) proved('planted defects that are seen', seen); // otherwise the failure would not be reported
});

planted.run();

function occursOnce(file: string, find: string, source: string): void {
  if (source.split(find).length !== 2) throw new Error(`${file} has not exactly one: ${find}`);
}

/** The output of the tests, to the end or until the failure is in it. */
async function run({ file, find, replace, test, seen: reason }: Mutant): Promise<string> {
  const copy = mkdtempSync(join(tmpdir(), 'mutant-'));
  const native = file.startsWith('native/') && /\.(cc|h)$/.test(file);
  try {
    const copied = [...FOLDERS, ...FILES, ...(native ? ['build'] : [])];
    // The times too, so that what is built already is not built again.
    for (const name of copied)
      cpSync(join(ROOT, name), join(copy, name), { recursive: true, preserveTimestamps: true });
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
    if (!native) symlinkSync(join(ROOT, 'build'), join(copy, 'build'));
    const source = readFileSync(join(copy, file), 'utf8');
    occursOnce(file, find, source);
    writeFileSync(
      join(copy, file),
      source.replace(find, () => replace),
    );
    if (native) execFileSync(process.execPath, ['scripts/build-native.mjs'], { cwd: copy, stdio: 'ignore' });
    // The types may reject the planted defect; only the program counts.
    spawnSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', '.'], { cwd: copy });
    const runner = [join(copy, 'dist/test/run.js'), '--patience', '5', test, 'kills=60'];
    const child = spawn(process.execPath, runner, { cwd: copy, stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (more: string) => {
      output += more;
      if (/^FAIL /m.test(output) && reason.test(output)) child.kill();
    });
    await once(child, 'close');
    return output;
  } finally {
    rmSync(copy, { recursive: true });
  }
}
