/**
 * Time travel and the waterfall: what the page makes of a journal, whole or damaged, and of what it has seen since.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseExport } from '../../inspector/page/model/exported.ts';
import { reduce, EMPTY } from '../../inspector/page/model/model.ts';
import { differences, joined, pastOf, refound, rowsOf } from '../../inspector/page/model/past.ts';
import { operationsOf } from '../../inspector/page/model/waterfall.ts';
import type { JournalLine } from '../../state/answers/container/history.ts';
import { configuration, journal } from '../harness/page-fleet.ts';
import { exported } from '../harness/page-server.ts';

const T = 1_700_000_000_000;
const isRest = (state: string): boolean => ['created', 'up', 'degraded'].includes(state);
const past = suite('past');
const lines = journal('c1', T);

past('every moment has a state, and objects as soon as they are made', () => {
  const { moments } = pastOf(lines);
  assert.is(moments.length, lines.length);
  assert.is(moments.at(-1)?.state, 'up');
  const names = moments.map(({ objects }) => objects.length);
  assert.ok(names[0] === 0 && (names.at(-1) ?? 0) > names[0], String(names));
  const attaching = moments.findIndex(({ state }) => state === 'configuring.attaching');
  const last = moments.at(-1);
  assert.ok(moments[attaching] && last);
  const difference = differences(moments[attaching], last);
  assert.equal(difference.state, ['configuring.attaching', 'up']);
  assert.ok(difference.objects.made.length >= 3);
});

past('what is in the journal and was seen, too, is there once', () => {
  const { trails } = reduce(EMPTY, configuration('c1', T));
  const trail = trails.get('c1') ?? [];
  assert.equal(joined(lines, trail), lines);
  const before = lines.slice(0, 7);
  const both = joined(before, trail);
  assert.equal(
    rowsOf(both).map(({ title }) => title),
    rowsOf(lines).map(({ title }) => title),
  );
  assert.equal(joined([], trail), trail);
  assert.is(joined(lines, []), lines);
});

past('a moment stays the same when the journal is read again', () => {
  const seen = joined(lines.slice(0, 2), reduce(EMPTY, configuration('c1', T)).trails.get('c1') ?? []);
  const index = seen.findIndex((line) => line.kind === 'passage' && line.to === 'configuring.naming');
  const after = refound(index, seen, lines);
  assert.ok(after !== null && after !== index);
  assert.is((lines[after] as { to?: string }).to, 'configuring.naming');
  assert.is(refound(null, seen, lines), null);
});

past('the timeline says what led where, how long it took, and why it failed', () => {
  const failed: JournalLine = {
    kind: 'passage',
    t: T + 20,
    machine: 'container',
    event: 'xstate.error.actor.publish',
    from: 'configuring.publishing',
    to: 'rollingBack.restoring',
    ms: 3,
    fault: { code: 'PORT_TAKEN', message: 'taken' },
  };
  const note: JournalLine = { kind: 'note', t: T, machine: 'container', event: 'drift', from: 'up', to: 'up', ms: 0 };
  const rows = rowsOf([...lines, failed, note, { kind: 'gap', t: T }]);
  const last = rows.slice(-3);
  assert.equal(
    last.map(({ kind }) => kind),
    ['state', 'note', 'gap'],
  );
  assert.equal(
    [last[0]?.title, last[0]?.cause, last[0]?.ms, last[0]?.fault],
    ['rollingBack.restoring', 'failed(publish)', 3, 'PORT_TAKEN: taken'],
  );
  assert.is(rows[0]?.kind, 'start');
  assert.equal(
    rows.filter(({ kind }) => kind === 'child').map(({ machine }) => machine),
    ['attachment', 'attachment', 'attachment'],
  );
  for (const { index, t } of rows.slice(0, -3)) assert.is(lines[index]?.t, t);
});

past('an operation goes from rest to rest, and its bars say where the time went', () => {
  const [configure, create, ...others] = operationsOf(lines, isRest);
  assert.equal(others, []);
  assert.ok(configure && create);
  assert.equal([configure.event, configure.from, configure.to], ['configure', 'created', 'up']);
  assert.ok(Math.abs(configure.ms - (0.8 + 2.7 + 6.4 + 0.9)) < 1e-9);
  const own = configure.bars.filter(({ machine, kind }) => machine === 'container' && kind === 'state');
  assert.equal(
    own.map(({ name }) => name),
    ['configuring.leasing', 'configuring.attaching', 'configuring.naming', 'configuring.publishing'],
  );
  // One follows the other without a gap.
  for (const [i, bar] of own.slice(1).entries())
    assert.ok(Math.abs(bar.start - ((own[i]?.start ?? 0) + (own[i]?.ms ?? 0))) < 1e-9);
  const attaching = own[1];
  const child = configure.bars.filter(({ machine, kind }) => machine === 'attachment' && kind === 'state');
  assert.equal(
    child.map(({ name }) => name),
    ['linking', 'addressing'],
  );
  assert.is(child[0]?.start, attaching?.start);
  // An effect begins with the state that runs it.
  const effect = configure.bars.find(({ kind, name }) => kind === 'effect' && name === 'ensureAddresses');
  assert.is(effect?.start, child[1]?.start);
  assert.equal([create.event, create.to], ['start', 'created']);
});

past('an operation that goes on has no end, and one that changed nothing is none', () => {
  const [operation] = operationsOf(lines.slice(0, -2), isRest);
  assert.is(operation?.to, null);
  const still: JournalLine = {
    kind: 'passage',
    t: T,
    machine: 'container',
    event: 'connect',
    from: 'up',
    to: 'up',
    ms: 0,
  };
  assert.equal(operationsOf([still, still], isRest), []);
});

past('a fault belongs to the state that it ended, not to those that come after', () => {
  const fault = { code: 'KERNEL', message: 'no' } as const;
  const step = (event: string, from: string, to: string): JournalLine => ({
    kind: 'passage',
    t: T,
    machine: 'container',
    event,
    from,
    to,
    ms: 1,
    fault,
  });
  const [operation] = operationsOf(
    [
      step('configure', 'created', 'a'),
      step('xstate.error.actor.x', 'a', 'b'),
      step('xstate.done.actor.y', 'b', 'created'),
    ],
    isRest,
  );
  assert.equal(
    operation?.bars.map(({ name, fault }) => [name, fault?.code ?? null]),
    [
      ['a', 'KERNEL'],
      ['b', null],
    ],
  );
  assert.is(operation?.fault?.code, 'KERNEL');
});

past('an export is read whole; what is wrong with one is said', () => {
  const text = exported('c1', lines);
  assert.equal(parseExport(text), { id: 'c1', lines, problem: null });
  const cut = parseExport(text.slice(0, -20));
  assert.equal(cut.lines, lines);
  assert.match(cut.problem ?? '', /cut off/);
  const short = parseExport(text.split('\n').slice(0, 5).join('\n'));
  assert.is(short.lines.length, 4);
  assert.match(short.problem ?? '', /cut off/);
  assert.match(parseExport('').problem ?? '', /no exported journal/);
  assert.match(parseExport('{"a":1}\n').problem ?? '', /no exported journal/);
  assert.match(parseExport(text.replace('"journal":1', '"journal":7')).problem ?? '', /version 7/);
  // What cannot be read in the middle is no end.
  const middle = parseExport(text.split('\n').with(4, '{"kind":').join('\n'));
  assert.is(middle.lines.length, 3);
  assert.match(middle.problem ?? '', /^Line 5 cannot be read: the file is damaged/);
  // A patch that leads nowhere.
  const broken = lines.map((line) =>
    line.kind === 'passage' && line.patch !== undefined
      ? { ...line, patch: [{ op: 'replace' as const, path: '/no/such/thing', value: 1 }] }
      : line,
  );
  const damaged = parseExport(exported('c1', broken));
  assert.match(damaged.problem ?? '', /leads nowhere/);
  assert.ok(damaged.lines.length > 3 && damaged.lines.length < lines.length);
});

past.run();
