/**
 * `cleat export` and `cleat replay` as a user types them: where the file goes, what is refused, and how a replay ends.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ExportHeader } from '../../state/answers/container/history.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { Shell } from './shell.ts';

requirePrivateNamespace();

const shell = new Shell();
const file = `${shell.directory}/web.ndjson`;
const journal = suite('export and replay');

journal.before(async () => {
  await shell.api.start();
  await shell.api.done({ type: 'create', id: 'web', networks: {} });
  await shell.api.done({ type: 'configure', id: 'web' });
});
journal.after(async () => {
  await clear(shell.api);
  await shell.api.stop();
});

journal('an export goes to a file of its own, or to standard output; a replay takes either', async () => {
  assert.is(await shell.ok('export', 'web', '-o', file), '');
  assert.is(statSync(file).mode & 0o777, 0o600);
  const text = readFileSync(file, 'utf8');
  const [head = ''] = text.split('\n');
  const header = JSON.parse(head) as ExportHeader;
  assert.equal([header.journal, header.id, header.truncated], [1, 'web', false]);
  assert.match(text, /\{"kind":"end","lines":\d+\}\n$/);
  writeFileSync(file, 'old');
  await shell.ok('export', 'web', '--output', file);
  assert.is(readFileSync(file, 'utf8').split('\n').length, text.split('\n').length);
  assert.equal(
    readdirSync(shell.directory).filter((name) => name.startsWith('web.ndjson')),
    ['web.ndjson'],
  );
  const said = await shell.ok('export', 'web');
  assert.is(said.split('\n').length, text.trimEnd().split('\n').length);

  assert.match(await shell.ok('replay', file), /^MS[^]* up\n\nsame: \d+ transitions$/);
  const answer = await shell.json<{ header: ExportHeader; difference: null }>('replay', file);
  assert.equal([answer.header.id, answer.difference], ['web', null]);
});

journal('an export into a pipe, or through a link, leaves both what they are', async () => {
  const [pipe, link] = [`${shell.directory}/pipe`, `${shell.directory}/link`];
  execFileSync('mkfifo', [pipe]);
  const reader = spawn('cat', [pipe], { stdio: ['ignore', 'pipe', 'inherit'] });
  const read = text(reader.stdout);
  await shell.ok('export', 'web', '-o', pipe);
  assert.ok(statSync(pipe).isFIFO());
  assert.match(await read, /\{"kind":"end","lines":\d+\}\n$/);
  writeFileSync(file, 'old');
  symlinkSync(file, link);
  await shell.ok('export', 'web', '-o', link);
  assert.ok(lstatSync(link).isSymbolicLink());
  assert.match(readFileSync(file, 'utf8'), /^\{"journal":1,/);
});

journal('what cannot be exported is refused, and leaves no file', async () => {
  const absent = await shell.cleat('export', 'nope', '-o', `${file}.2`);
  assert.is(absent.code, 1);
  assert.match(absent.stderr, /nope/);
  assert.not(existsSync(`${file}.2`));
  const nowhere = await shell.cleat('export', 'web', '-o', '/no/such/file');
  assert.is(nowhere.code, 1);
  assert.match(nowhere.stderr, /cannot write \/no\/such\/file/);
  assert.match((await shell.cleat('export', 'web', '-o', shell.directory)).stderr, /cannot write .*EISDIR/);
  // script(1) gives it a terminal.
  const words = [
    process.execPath,
    ...process.execArgv,
    `${import.meta.dirname}/../../bundle/cleat.cjs`,
    'export',
    'web',
  ];
  const typed = execFileSync('script', ['-qec', `${words.join(' ')}; echo code $?`, '/dev/null'], {
    encoding: 'utf8',
    env: shell.environment,
  });
  assert.match(typed, /not for a terminal[^]*code 2/);
});

journal('a file that is cut off, or no journal, ends with 1 and says so', async () => {
  await shell.ok('export', 'web', '-o', file);
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.slice(0, -40));
  const cut = await shell.cleat('replay', file);
  assert.is(cut.code, 1);
  assert.match(cut.stdout, /same: \d+ transitions/);
  assert.match(cut.stderr, /is cut off/);
  assert.match((await shell.cleat('replay', file, '--format', 'json')).stderr, /^\{"error":\{"code":"JOURNAL_CUT_OFF"/);
  writeFileSync(file, 'nonsense\n');
  const none = await shell.cleat('replay', file, '--format=json');
  assert.is(none.code, 1);
  assert.is(none.stdout, '');
  assert.match(none.stderr, /^\{"error":\{"code":"NOT_A_JOURNAL".*"hint":/);
  const absent = await shell.cleat('replay', '/no/such/file');
  assert.is(absent.code, 1);
  assert.match(absent.stderr, /Error: cannot read \/no\/such\/file[^]*Hint:/);
});

journal('a replay says what it could not replay, and that the machine was restored', async () => {
  await shell.ok('export', 'web', '-o', file);
  const [header = '', ...rest] = readFileSync(file, 'utf8').trimEnd().split('\n');
  const lines = rest.slice(0, -1);
  const start = JSON.parse(lines[0] ?? '') as object;
  const { snapshot } = JSON.parse(
    readFileSync(`${shell.environment['CLEAT_RUN_DIR']}/containers/web.json`, 'utf8'),
  ) as {
    snapshot: unknown;
  };
  const passage = { kind: 'passage', t: 1, machine: 'container', event: 'xstate.init', from: '', to: 'up', ms: 0 };
  const kept = [
    ...lines.slice(1),
    ...[{ ...start, how: 'restored', snapshot }, passage].map((line) => JSON.stringify(line)),
  ];
  const end = JSON.stringify({ kind: 'end', lines: kept.length });
  writeFileSync(file, [header, ...kept, end, ''].join('\n'));
  const said = await shell.ok('replay', file);
  assert.match(said, `${lines.length - 1} lines could not be replayed: nothing whole came before, or another version.`);
  assert.match(said, 'The machine was restored from its snapshot 1 time.');
});

journal.run();
