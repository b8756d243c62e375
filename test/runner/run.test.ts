// slow: 25 s, each case starts the runner anew
/**
 * The runner's guarantee: what uvu wrongly calls green is red here. Each case writes test files into a folder of its
 * own and runs the compiled runner on it, as npm does.
 *
 * Limits: the folders are outside the repository, so the files name uvu by its full address.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const RUNNER = join(import.meta.dirname, '../run.js');
const HEAD = `import { suite, test } from ${JSON.stringify(import.meta.resolve('uvu'))};\n`;
const GREEN = `test('one', () => {});\ntest('two', () => {});\ntest.run();\n`;

interface Run {
  code: number | null;
  output: string;
  verdict: string;
}

function runOn(files: Record<string, string>, ...args: string[]): Run {
  const folder = mkdtempSync(join(tmpdir(), 'fixture-'));
  for (const [directory, mode] of [
    [tmpdir(), 0o711],
    [folder, 0o755],
  ] as const)
    chmodSync(directory, mode); // an ordinary user reads it
  for (const [name, body] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    const at = body.indexOf('\n\n') + 1;
    writeFileSync(path, body.slice(0, at) + HEAD + body.slice(at));
  }
  const result = spawnSync(process.execPath, [RUNNER, '--dir', folder, ...args], { encoding: 'utf8' });
  const lines = result.stdout.trimEnd().split('\n');
  return { code: result.status, output: result.stdout + result.stderr, verdict: lines.at(-1) ?? '' };
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

function assertRed(run: Run, verdict: string, reason: RegExp): void {
  assert.is(run.code, 1, run.output);
  assert.is(run.verdict, verdict, run.output);
  assert.match(run.output, reason);
}

const runner = suite('test runner');

runner('is green, and counts tests, when everything passed', () => {
  const run = runOn({ 'a.test.mjs': GREEN, 'deep/b.test.mjs': GREEN });
  assert.is(run.verdict, '4 passed, 0 failed', run.output);
  assert.is(run.code, 0);
  assert.match(run.output, /^ok +a\.test\.mjs +2 passed +[\d.]+ s$/m);
});

runner('runs only files that match', () => {
  const run = runOn(
    { 'a.test.mjs': GREEN, 'deep/b.test.mjs': `test('x', () => { throw new Error('not me'); });` },
    'a.t',
  );
  assert.is(run.verdict, '2 passed, 0 failed', run.output);
});

runner('is red for a failing test and shows its output', () => {
  const run = runOn({ 'a.test.mjs': `test('bad', () => { throw new Error('the reason'); });\n${GREEN}` });
  assertRed(run, '2 passed, 1 failed', /the reason/);
});

runner('shows with --output what passing files print', () => {
  const files = { 'a.test.mjs': `console.log('a word');\n${GREEN}` };
  assert.not.match(runOn(files).output, /a word/);
  const run = runOn(files, '--output');
  assert.is(run.verdict, '2 passed, 0 failed', run.output);
  assert.match(run.output, /^ {2}\| a word$/m);
});

runner('is red when a test throws something that is no Error', () => {
  const run = runOn({ 'a.test.mjs': `test('first', () => {});\ntest('bad', () => { throw 'text'; });\n${GREEN}` });
  assertRed(run, '1 passed, 3 failed', /what uvu swallows/);
});

runner('is red when a before hook throws', () => {
  const run = runOn({ 'a.test.mjs': `test.before(() => { throw new Error('no'); });\n${GREEN}` });
  assertRed(run, '0 passed, 2 failed', /what uvu swallows/);
});

runner('is red when run() is forgotten', () => {
  const forgotten = `const only = suite('x');\nonly('t', () => {});\n`;
  assertRed(runOn({ 'a.test.mjs': forgotten }), '0 passed, 1 failed', /never calls only\.run\(\)/);
  assertRed(runOn({ 'a.test.mjs': forgotten + GREEN }), '0 passed, 1 failed', /never calls only\.run\(\)/);
  assertRed(runOn({ 'a.test.mjs': `test('t', () => {});` }), '0 passed, 1 failed', /never calls test\.run\(\)/);
  assertRed(runOn({ 'a.test.mjs': `const none = suite('x');\nnone.run();\n` }), '0 passed, 1 failed', /ran no test/);
});

runner('is red when no file matches', () => {
  assertRed(runOn({ 'a.test.mjs': GREEN }, 'nothing-like-it'), '0 passed, 1 failed', /no test file/);
  assertRed(runOn({}), '0 passed, 1 failed', /no test file/);
});

runner('is red when a promise never settles', () => {
  const run = runOn({ 'a.test.mjs': `test('hangs', () => new Promise(() => {}));\n${GREEN}` });
  assertRed(run, '0 passed, 1 failed', /Exiting early/);
});

runner('is red for a rejection nobody handles, even a late one', () => {
  const late = `test('t', () => { setTimeout(() => Promise.reject(new Error('late')), 50); });\ntest.run();\n`;
  assertRed(runOn({ 'a.test.mjs': late }), '1 passed, 1 failed', /late/);
});

runner('is red for a skipped test and for only', () => {
  assertRed(runOn({ 'a.test.mjs': `test.skip('later', () => {});\n${GREEN}` }), '2 passed, 1 failed', /skips 1/);
  assertRed(runOn({ 'a.test.mjs': `test.only('me', () => {});\n${GREEN}` }), '1 passed, 2 failed', /skips 2/);
});

runner('is red for a file that does not end in time, and ends what it started', () => {
  const body = `// timeout: 1\n\nimport { spawn } from 'node:child_process';
test('slow', async () => { spawn('sleep', ['61.5'], { detached: true }); await new Promise((r) => setTimeout(r, 60_000)); });
test.run();\n`;
  const started = Date.now();
  assertRed(runOn({ 'a.test.mjs': body }), '0 passed, 1 failed', /not finished after 1 s/);
  assert.ok(Date.now() - started < 20_000);
  const alive = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && commandLine(pid).includes('61.5'));
  assert.equal(alive, []);
});

runner('is red for a file that goes on after its report, and does not wait for its timeout', () => {
  const body = `test('leaves something running', () => { setInterval(() => {}, 1000); });\ntest.run();\n`;
  assertRed(
    runOn({ 'a.test.mjs': body }, '--patience', '0.05'),
    '1 passed, 1 failed',
    /did not end within \d+ s after/,
  );
});

runner('runs what failed once more when asked, alone, and names it', () => {
  const failsFirst = `import { existsSync, writeFileSync } from 'node:fs';
const mark = new URL('./ran', import.meta.url);
test('needs a second run', () => { if (!existsSync(mark)) { writeFileSync(mark, ''); throw new Error('the first time'); } });
${GREEN}`;
  const red = runOn({ 'a.test.mjs': failsFirst });
  assertRed(red, '2 passed, 1 failed', /the first time/);
  assert.not.match(red.output, /run again alone/);
  const run = runOn({ 'a.test.mjs': failsFirst, 'b.test.mjs': GREEN }, '--retry', '1');
  assert.is(run.code, 0, run.output);
  assert.is(run.verdict, '5 passed, 0 failed', run.output);
  assert.match(run.output, /the first time/);
  assert.match(run.output, /^failed once, then passed alone: a\.test\.mjs$/m);
});

runner('is red for what fails twice, and runs nothing again when more failed than chance explains', () => {
  const bad = `test('bad', () => { throw new Error('the reason'); });\n${GREEN}`;
  assertRed(runOn({ 'a.test.mjs': bad }, '--retry', '1'), '2 passed, 1 failed', /run again alone/);
  const many = runOn({ 'a.test.mjs': bad, 'b.test.mjs': bad }, '--retry', '1');
  assertRed(many, '4 passed, 2 failed', /the reason/);
  assert.not.match(many.output, /run again alone/);
});

runner('begins with what says that it is slow, and is red for a long patience without a reason', () => {
  const waiting = `test('waits', () => new Promise((r) => setTimeout(r, 1500)));\ntest.run();\n`;
  const files = Object.fromEntries(
    Array.from({ length: 2 * availableParallelism() }, (_, i) => [`a${i}.test.mjs`, waiting]),
  );
  const run = runOn({ ...files, 'z.test.mjs': `// timeout: 1200\n// slow: 60 s, it says\n\n${GREEN}` });
  assert.is(run.code, 0, run.output);
  assert.match(run.output, /^ok +z\.test\.mjs/);
  for (const head of ['// timeout: 1200', '// slow: 60 s', '// slow: since it is']) {
    assertRed(runOn({ 'z.test.mjs': `${head}\n\n${GREEN}` }), '0 passed, 1 failed', /does not say why/);
  }
});

runner('is red for a file that dies, whatever it printed before', () => {
  const forged = `console.log('\\n  Total:     1\\n  Passed:    1\\n  Skipped:   0\\n  Duration:  1ms');`;
  assertRed(
    runOn({ 'a.test.mjs': `${forged}\nprocess.kill(process.pid, 'SIGKILL');` }),
    '1 passed, 1 failed',
    /ended with/,
  );
  assertRed(runOn({ 'a.test.mjs': `${forged}\n${GREEN}` }), '0 passed, 1 failed', /more than one/);
});

runner('with --prove runs the files that say so, and makes a table of what they tried', () => {
  const proof = JSON.stringify(new URL('../harness/proof.js', import.meta.url).href);
  const reports = (body: string) =>
    `// proving: 60\n\nimport { effort, proved } from ${proof};\ntest('t', () => { ${body} });\ntest.run();\n`;
  const files = {
    'a.test.mjs': reports(`proved('cycles', effort('cycles', 3, 40)); proved('faults', effort('faults', 5, 60));`),
    'b.test.mjs': GREEN,
  };
  const long = runOn({ ...files, 'c.test.mjs': `// proving only: 60\n\n${GREEN}` });
  assert.is(long.verdict, '3 passed, 0 failed', long.output);
  // What npm test leaves out can be run by its name all the same.
  const named = runOn({ ...files, 'c.test.mjs': `// proving only: 60\n\n${GREEN}` }, 'c.test');
  assert.is(named.verdict, '2 passed, 0 failed', named.output);
  const usual = runOn(files);
  assert.is(usual.verdict, '3 passed, 0 failed', usual.output);
  const all = runOn(files, '--prove', 'cycles=7');
  assert.is(all.verdict, '1 passed, 0 failed', all.output);
  assert.match(all.output, /^cycles +7 +0 +\d+ +a\.test\.mjs$/m);
  assert.match(all.output, /^faults +60 +0 +\d+ +a\.test\.mjs$/m);
  assertRed(runOn(files, '--prove', 'cycles=x'), '0 passed, 1 failed', /cycles=x is not a whole number/);
  const silent = runOn({ 'a.test.mjs': reports(`throw new Error('at once')`) }, '--prove');
  assertRed(silent, '0 passed, 1 failed', /^ended before it said +- +1 /m);
  assertRed(runOn({ 'a.test.mjs': reports(`proved('nothing', 0)`) }), '0 passed, 1 failed', /nothing was tried/);
});

runner('runs a file once more as an ordinary user, every day or with --prove', () => {
  const body = `
import { readFileSync } from 'node:fs';
const [, outside] = readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\\s+/);
test('who', () => console.log('root here is ' + outside + ' outside, ' + process.getuid() + ' inside'));
test.run();\n`;
  const files = { 'a.test.mjs': `// as user: every day\n${body}`, 'b.test.mjs': `// as user: proving\n${body}` };
  const everyDay = runOn(files, '--output');
  assert.is(everyDay.verdict, '3 passed, 0 failed', everyDay.output);
  assert.match(everyDay.output, /^ok +a\.test\.mjs, as a user +1 passed/m);
  assert.is([...everyDay.output.matchAll(/root here is 0 outside, 0 inside/g)].length, 2);
  assert.is([...everyDay.output.matchAll(/root here is 1801 outside, 0 inside/g)].length, 1);
  for (const head of ['as user: everyday', 'as user:', 'timeout: long', 'proving: 1 h'])
    assertRed(runOn({ 'a.test.mjs': `// ${head}\n\n${GREEN}` }), '0 passed, 1 failed', /means nothing/);
  const proofs = runOn(files, '--prove');
  assert.is(proofs.verdict, '2 passed, 0 failed', proofs.output);
  assert.match(proofs.output, /^tests as an ordinary user +1 +0 +\d+ +b\.test\.mjs, as a user$/m);
  const failing = runOn({
    'a.test.mjs': `// as user: every day\n\ntest('no', () => { throw new Error('no'); });\ntest.run();\n`,
  });
  assertRed(failing, '0 passed, 2 failed', /a\.test\.mjs, as a user ended with 1/);
});

runner('gives each file namespaces, /run, /sys and a TMPDIR of its own', () => {
  const body = `// alone\n
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
test('private', () => {
  const links = readdirSync('/sys/class/net');
  if (links.join() !== 'lo') throw new Error('links: ' + links);
  if (!/lo.*\\n?/.test(readFileSync('/proc/net/dev', 'utf8'))) throw new Error('no lo');
  if (readFileSync('/sys/class/net/lo/carrier', 'utf8').trim() !== '1') throw new Error('lo is down');
  if (readdirSync('/run').join() !== 'lock') throw new Error('run: ' + readdirSync('/run'));
  writeFileSync('/run/mark', '');
  if (readdirSync(process.env.TMPDIR).length > 0) throw new Error('TMPDIR is not empty');
  if (!existsSync('/proc/self')) throw new Error('no /proc');
});
test.run();\n`;
  const run = runOn({ 'a.test.mjs': body, 'b.test.mjs': body });
  assert.is(run.verdict, '2 passed, 0 failed', run.output);
});

runner.run();
