/** The journal: entries are read back in order, it is bounded, and half a line costs no other. */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JournalLine, JournalStart } from '../../state/answers/container/history.ts';
import { Journal } from '../../state/files/journal.ts';

const scratch = () => mkdtempSync(join(tmpdir(), 'journal-'));
type Passage = Extract<JournalLine, { kind: 'passage' }>;
const entry = (t: number, more: Partial<Passage> = {}): Passage => ({
  kind: 'passage',
  t,
  machine: 'container',
  event: 'configure',
  from: 'created',
  to: 'configuring.leasing',
  ms: 0.5,
  ...more,
});

/** Opens the journals of a directory; what is reported is a defect unless the test says otherwise. */
const opened = (directory: string, failed: (what: string, error: unknown) => void = assert.unreachable): Journal =>
  new Journal(directory, () => {}, failed);

const journal = suite('journal');

journal('the journal returns what was appended, for each container its own', () => {
  const history = opened(scratch());
  history.append('a', entry(1));
  history.append('b', entry(2));
  history.append('a', entry(3, { fault: { code: 'KERNEL', message: 'no\nnewline' } }));
  assert.equal(history.read('a'), [entry(1), entry(3, { fault: { code: 'KERNEL', message: 'no\nnewline' } })]);
  assert.equal(history.read('b'), [entry(2)]);
  assert.equal(history.read('c'), []);
});

journal('the journal writes by itself, soon', async () => {
  const directory = scratch();
  opened(directory).append('a', entry(1));
  for (let i = 0; i < 200 && readdirSync(directory).length === 0; i++) await new Promise((next) => setTimeout(next, 5));
  assert.equal(JSON.parse(readFileSync(join(directory, 'a.ndjson'), 'utf8')), entry(1));
});

journal('what is no journal is set aside and reported, and the container goes on with one that has everything', () => {
  const directory = scratch();
  const whole: JournalStart = { kind: 'start', t: 0, how: 'continued', machine: '1' };
  for (const [id, spoil] of Object.entries({
    garbage: (path: string) => writeFileSync(path, Buffer.alloc(100, 0)),
    folder: (path: string) => mkdirSync(path),
    text: (path: string) => writeFileSync(path, 'hello\n'),
  })) {
    const path = join(directory, `${id}.ndjson`);
    spoil(path);
    const reported: string[] = [];
    const history = opened(directory, (what, error) => reported.push(`${what}: ${(error as Error).message}`));
    history.knows(id, () => whole);
    assert.equal(history.read(id), []);
    assert.equal(reported, [`the journal of container ${id}: ${path} was none, and is now ${path}.unreadable`]);
    history.append(id, entry(1));
    const [gap, ...lines] = history.read(id);
    assert.equal([gap?.kind, lines], ['gap', [entry(1), whole]]);
    assert.is(reported.length, 1);
    history.remove(id);
    assert.ok(existsSync(`${path}.unreadable`));
    // At a start, nobody has looked at it before it is removed.
    spoil(path);
    opened(directory, (what) => reported.push(what)).sweep(() => false);
    assert.not(existsSync(path));
  }
  assert.equal(readdirSync(directory).sort(), [
    'folder.ndjson.unreadable',
    'garbage.ndjson.unreadable',
    'text.ndjson.unreadable',
  ]);
});

journal('JSON that is no line is skipped', () => {
  const directory = scratch();
  writeFileSync(join(directory, 'a.ndjson'), `{"some":"thing"}\nnull\n5\n[]\n${JSON.stringify(entry(1))}\n`);
  assert.equal(opened(directory).read('a'), [entry(1)]);
});

journal('half a line, left by a crash, is skipped, and the lines around it are not', () => {
  const directory = scratch();
  const history = opened(directory);
  history.append('a', entry(1));
  history.flush();
  appendFileSync(join(directory, 'a.ndjson'), '{"t":2,"mach');
  const next = opened(directory);
  next.append('a', entry(3));
  assert.equal(next.read('a'), [entry(1), entry(3)]);
});

journal('the journal is bounded, and keeps the newest lines', () => {
  const directory = scratch();
  const history = opened(directory);
  const BATCH = 100;
  for (let t = 0; t < 10_000; t++) {
    history.append('a', entry(t));
    if (t % BATCH === 0) history.flush();
  }
  const entries = history.read('a');
  const size = readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  const line = JSON.stringify(entry(9999)).length + 1;
  assert.ok(size <= 2 * (256 * 1024 + BATCH * line), `${size} bytes`);
  assert.is(entries.at(-1)?.t, 9999);
  assert.ok(entries.length > 1000 && entries.every(({ t }, i) => i === 0 || t === entries[i - 1]!.t + 1));
});

journal('the journal is bounded however often the daemon starts: older lines count', () => {
  const directory = scratch();
  const size = () => readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  const BATCH = 300;
  const line = JSON.stringify(entry(9999)).length + 1;
  for (let t = 0; t < 12_000;) {
    const history = opened(directory);
    for (const end = t + BATCH; t < end; t++) history.append('a', entry(t));
    history.flush();
    assert.ok(size() <= 2 * (256 * 1024 + BATCH * line), `${size()} bytes after ${t} lines`);
  }
  assert.ok(existsSync(join(directory, 'a.ndjson.1')), 'all of it is in one file');
});

journal('a container that is gone leaves no journal', () => {
  const directory = scratch();
  const history = opened(directory);
  for (let t = 0; t < 4000; t++) history.append('a', entry(t));
  history.flush();
  history.append('a', entry(1));
  history.remove('a');
  history.flush();
  assert.equal(readdirSync(directory), []);
});

journal('the journal of an unknown container is swept', () => {
  const directory = scratch();
  const history = opened(directory);
  for (const id of ['a', 'b.c', 'd']) history.append(id, entry(1));
  history.flush();
  writeFileSync(join(directory, 'a.ndjson.1'), '');
  history.sweep((id) => id === 'd');
  assert.equal(readdirSync(directory), ['d.ndjson']);
});

const whole = (before: () => JournalLine[]): JournalStart => ({
  kind: 'start',
  t: before().at(-1)?.t ?? -1,
  how: 'continued',
  machine: '4',
  snapshot: {},
});

journal('a full file is followed by one that begins with everything that came before', () => {
  const directory = scratch();
  const history = opened(directory);
  history.knows('a', whole);
  for (let t = 0; t < 10_000; t++) {
    history.append('a', entry(t));
    if (t % 100 === 0) history.flush();
  }
  const lines = history.read('a');
  const starts = lines.flatMap((line, i) => (line.kind === 'start' ? [i] : []));
  assert.ok(starts.length >= 2 && starts[0] === 0, String(starts));
  for (const i of starts.slice(1))
    assert.equal(
      lines[i],
      whole(() => lines.slice(0, i)),
    );
  // A start has the time of the line before it; the others follow each other.
  const times = lines.filter(({ kind }) => kind !== 'start').map(({ t }) => t);
  assert.equal(
    times,
    times.map((_t, i) => times[0]! + i),
  );
  assert.is(times[0], lines[0]!.t + 1);
});

journal('lines that could not be written are a gap, and everything that came before follows', () => {
  const directory = scratch();
  const reported: string[] = [];
  const history = opened(directory, (what, error) => reported.push(`${what}: ${(error as Error).message}`));
  history.knows('a', whole);
  history.append('a', entry(1));
  history.flush();
  rmSync(join(directory, 'a.ndjson'));
  mkdirSync(join(directory, 'a.ndjson'));
  history.append('a', entry(2));
  history.flush();
  assert.match(reported[0] ?? '', /^writing the journal of container a: EISDIR/);
  history.append('a', entry(2));
  history.flush();
  assert.is(reported.length, 1, 'the same trouble is reported once');
  rmdirSync(join(directory, 'a.ndjson'));
  history.append('a', () => entry(3));
  history.append('a', entry(4));
  const [gap, ...after] = history.read('a');
  assert.is(gap?.kind, 'gap');
  assert.equal(after, [entry(3), entry(4), whole(() => [entry(4)])]);
  history.append('a', entry(5));
  assert.equal(history.read('a').at(-1), entry(5));
});

journal('a line that cannot be made is a gap, too, and reported', () => {
  const reported: unknown[] = [];
  const history = opened(scratch(), (_what, error) => reported.push(error));
  history.knows('a', whole);
  const defect = new Error('a defect');
  history.append('a', () => {
    throw defect;
  });
  history.flush();
  assert.equal(reported, [defect]);
  history.append('a', entry(2));
  assert.equal(
    history.read('a').map(({ kind }) => kind),
    ['gap', 'passage', 'start'],
  );
});

journal('lines of an earlier daemon are read as what they were: changes of state and notes', () => {
  const directory = scratch();
  const { kind: _kind, ...old } = entry(1);
  const lines = [old, { ...old, event: 'drift', from: 'up', to: 'up' }];
  writeFileSync(join(directory, 'a.ndjson'), `\n${lines.map((line) => JSON.stringify(line)).join('\n')}\n`);
  assert.equal(
    opened(directory)
      .read('a')
      .map((line) => line.kind),
    ['passage', 'note'],
  );
});

journal('a journal that cannot be written blocks nobody', () => {
  const directory = scratch();
  const reported: string[] = [];
  const history = opened(directory, (what) => reported.push(what));
  history.append('no/such/folder', entry(1));
  history.append('a', entry(2));
  history.flush();
  assert.equal(history.read('a'), [entry(2)]);
  assert.equal(reported, ['writing the journal of container no/such/folder']);
});

journal.run();
