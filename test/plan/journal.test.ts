/**
 * The journal's pure parts: patches lead from any value to any other, moments are rebuilt from lines, and what is withheld is
 * nowhere.
 */
import { build } from 'esbuild';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { historyOf, isTruncated } from '../../plan/journal/history.ts';
import { differences, moments, objectsAfter } from '../../plan/journal/moments.ts';
import { difference, patched } from '../../plan/journal/patch.ts';
import { withheld } from '../../plan/journal/withheld.ts';
import type { JournalLine, KernelObject } from '../../state/answers/container/history.ts';

const journal = suite('journal, pure');

const frozen = <T>(value: T): T => {
  if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(frozen);
  return value;
};
const json = fc.jsonValue({ maxDepth: 4 });
const through = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

journal('a patch leads from any value to any other, over JSON, and changes neither', () => {
  fc.assert(
    fc.property(json, json, (a, b) => {
      const operations = difference(frozen(a), frozen(b));
      assert.equal(through(patched(a, through(operations) as typeof operations)), through(b));
    }),
    { numRuns: 2000 },
  );
});

journal('a patch of a value that has changed in one place says this place alone', () => {
  const before = { a: [{ b: 1, 'c/d': null }, 'x'], e: { f: [1, 2] }, gone: 1 };
  const now = { a: [{ b: 1, 'c/d': 'new' }, 'x'], e: before.e, more: undefined, added: {} };
  assert.equal(difference(before, now), [
    { op: 'remove', path: '/gone' },
    { op: 'replace', path: '/a/0/c~1d', value: 'new' },
    { op: 'add', path: '/added', value: {} },
  ]);
  assert.equal(difference(before, { ...before }), []);
  assert.equal(difference({ a: undefined }, {}), []);
  assert.equal(difference([1, 2], [1]), [{ op: 'replace', path: '', value: [1] }]);
});

journal('a patch tells members of an object from what every object has, and undefined from null', () => {
  assert.equal(difference(1, 1), []);
  assert.equal(difference({}, { toString: 1 }), [{ op: 'add', path: '/toString', value: 1 }]);
  assert.equal(difference({ toString: 1 }, {}), [{ op: 'remove', path: '/toString' }]);
  assert.equal(difference({ a: 1 }, { a: undefined }), [{ op: 'remove', path: '/a' }]);
  assert.equal(difference({ a: 1 }, { a: null }), [{ op: 'replace', path: '/a', value: null }]);
  assert.equal(difference({ length: 1, a: 1 }, { length: 2, a: 1 }), [{ op: 'replace', path: '/length', value: 2 }]);
  assert.is(patched({ a: 1 }, [{ op: 'remove', path: '' }]), undefined);
  const before = { a: { b: 1, c: 2 }, d: 3 };
  const without = patched(
    before,
    ['/a/b', '/d'].map((path) => ({ op: 'remove' as const, path })),
  );
  assert.equal(without, { a: { c: 2 } });
  const added = patched({}, [{ op: 'add', path: '/a', value: 1 }]) as object;
  const plain = { value: 1, enumerable: true, configurable: true, writable: true };
  assert.equal(Object.getOwnPropertyDescriptor(added, 'a'), plain, 'a member like any other');
});

journal('parts that are the same object are not looked into, and stay so', () => {
  const part = new Proxy(
    {},
    {
      ownKeys: () => {
        throw new Error('it is looked into');
      },
    },
  );
  const before = { part, n: 1 };
  const operations = difference(before, { part, n: 2 });
  assert.is((patched(before, operations) as { part: object }).part, part);
});

const noPlace = (path: string) => (error: Error) => error.message === `there is no ${path}`;

journal('a patch reaches nothing but own members', () => {
  for (const path of ['/__proto__/polluted', '/constructor/prototype/polluted', '/a/b', '/toString/x'])
    assert.throws(() => patched({ a: 1 }, [{ op: 'add', path, value: 1 }]), noPlace(path));
  assert.throws(() => patched({}, [{ op: 'remove', path: '/toString' }]), noPlace('/toString'));
  assert.throws(() => patched(1, [{ op: 'add', path: '/a', value: 1 }]), noPlace('/a'));
  const own = patched({}, [{ op: 'add', path: '/__proto__', value: { polluted: 1 } }]) as object;
  assert.is((own as { polluted?: number }).polluted, undefined);
  assert.is(Object.getPrototypeOf(own), Object.prototype);
  assert.is(({} as { polluted?: number }).polluted, undefined);
});

const passage = (more: object): JournalLine => ({
  kind: 'passage',
  t: 1,
  machine: 'container',
  event: 'e',
  from: '',
  to: 'up',
  ms: 0,
  ...more,
});
const names = (objects: readonly KernelObject[]) => objects.map(({ kind, name }) => `${kind} ${name}`);
const link: KernelObject = { kind: 'link', name: 'veth0', detail: '' };

journal('moments: state, children, context and objects after each line', () => {
  const lines: JournalLine[] = [
    { kind: 'start', t: 1, how: 'created', machine: '4', input: { id: 'a' } },
    passage({ to: 'creating', patch: [{ op: 'add', path: '/fault', value: null }] }),
    { kind: 'event', t: 2, event: 'configure' },
    passage({ machine: 'attachment', to: 'linking' }),
    passage({ to: 'attaching', children: { attachment: 'linking' }, patch: [{ op: 'add', path: '/n', value: 1 }] }),
    { kind: 'effect', t: 3, machine: 'attachment', name: 'ensureLink', ms: 1, made: [link] },
    passage({ machine: 'attachment', to: 'addressing' }),
    {
      kind: 'effect',
      t: 4,
      machine: 'attachment',
      name: 'removeLink',
      ms: 1,
      fault: { code: 'KERNEL', message: '' },
      gone: [link],
    },
    passage({ machine: 'attachment', to: 'linking' }),
    {
      kind: 'change',
      t: 5,
      event: 'e',
      state: 'attaching',
      children: { attachment: 'linking' },
      patch: [{ op: 'replace', path: '/n', value: 2 }],
    },
    // The one that has ended comes after the next one of this name.
    passage({ machine: 'attachment', to: 'attached', ended: true }),
    passage({ kind: 'note', event: 'drift', from: 'attaching', to: 'attaching' }),
    passage({
      to: 'up',
      fault: { code: 'DEADLINE', message: 'late' },
      patch: [{ op: 'replace', path: '/fault', value: { code: 'DEADLINE', message: 'late' } }],
    }),
  ];
  const all = moments(lines);
  assert.is(all.length, lines.length);
  assert.equal(
    all.map(({ state }) => state),
    ['', 'creating', 'creating', 'creating', ...Array.from({ length: 8 }, () => 'attaching'), 'up'],
  );
  assert.equal(all[6]?.children, { attachment: 'addressing' });
  assert.equal(all[10]?.children, { attachment: 'linking' });
  assert.equal(all[12]?.children, {});
  assert.equal(all[4]?.context, { id: 'a', fault: null, n: 1 });
  assert.equal(all[9]?.context, { id: 'a', fault: null, n: 2 });
  assert.equal([all[4]?.objects.length, all[5]?.objects.length, all[7]?.objects.length], [0, 1, 1]);
  assert.is(all[12]?.fault?.code, 'DEADLINE');
  assert.equal(differences(all[4]!, all[12]!), {
    state: ['attaching', 'up'],
    children: [{ op: 'remove', path: '/attachment' }],
    context: [
      { op: 'replace', path: '/fault', value: { code: 'DEADLINE', message: 'late' } },
      { op: 'replace', path: '/n', value: 2 },
    ],
    objects: { made: [link], gone: [] },
  });
});

journal(
  'moments begin again with a snapshot; objects stay when the daemon was away, and come with a file that continues',
  () => {
    const snapshot = {
      status: 'active',
      value: { configuring: 'attaching' },
      context: { id: 'a', fault: null },
      children: {
        attachment: { snapshot: { status: 'active', value: 'linking' } },
        lease: { snapshot: { status: 'active' } },
        uplink: { snapshot: { status: 'done', value: 'ready' } },
      },
    };
    const effect: JournalLine = { kind: 'effect', t: 1, machine: 'container', name: 'x', ms: 1, made: [link] };
    const [, restored] = moments([effect, { kind: 'start', t: 2, how: 'restored', machine: '4', snapshot }]);
    assert.equal(restored, {
      t: 2,
      state: 'configuring.attaching',
      children: { attachment: 'linking' },
      context: snapshot.context,
      objects: [link],
      fault: null,
    });
    const objects: KernelObject[] = [{ kind: 'port', name: '80/tcp -> 10.0.0.2 8080', detail: '', range: 2 }];
    const [continued] = moments([{ kind: 'start', t: 2, how: 'continued', machine: '4', snapshot, objects }]);
    assert.equal(names(continued?.objects ?? []), ['port 80/tcp -> 10.0.0.2 8080', 'port 81/tcp -> 10.0.0.2 8081']);
  },
);

journal('a moment is complete, whatever the line: what a line does not say is as before', () => {
  const made = { kind: 'uplink', name: 'uplinks/d0', detail: 'pasta' } as const;
  const tap: KernelObject = { kind: 'link', name: 'tap0', detail: '', of: made.name };
  const fault = { code: 'KERNEL', message: 'no' } as const;
  const lines: JournalLine[] = [
    { kind: 'start', t: 1, how: 'created', machine: '4', input: { id: 'a' } },
    { kind: 'effect', t: 2, machine: 'container', name: 'x', ms: 1, made: [link, made, tap] },
    passage({ t: 3, machine: 'attachment', to: 'linking' }),
    passage({ t: 4, machine: 'uplink', to: 'starting' }),
    passage({ t: 5, machine: 'attachment', to: 'attached', ended: true }),
    passage({ t: 6, kind: 'note', event: 'lost' }),
    { kind: 'gap', t: 7 },
    { kind: 'event', t: 8, event: 'configure' },
    passage({ t: 9, to: '', fault }),
    { kind: 'change', t: 9.5, event: 'e', state: '' },
    { kind: 'event', t: 10, event: 'lost' },
    passage({ t: 11, to: 'up', patch: [{ op: 'add', path: '/fault', value: fault }] }),
    passage({ t: 12, event: 'lost', to: 'repairing', patch: [{ op: 'remove', path: '/fault' }] }),
  ];
  const begun = { t: 1, state: '', children: {}, context: { id: 'a' }, objects: [], fault: null };
  const objects = [link, made, tap];
  const children = { attachment: 'linking', uplink: 'starting' };
  assert.equal(moments(lines), [
    begun,
    { ...begun, t: 2, objects },
    { ...begun, t: 3, objects, children: { attachment: 'linking' } },
    { ...begun, t: 4, objects, children },
    { ...begun, t: 5, objects, children },
    { ...begun, t: 6, objects, children },
    { ...begun, t: 7, objects, children },
    { ...begun, t: 8, objects, children },
    { ...begun, t: 9, objects, fault },
    { ...begun, t: 9.5, objects },
    { ...begun, t: 10, objects: [link] },
    { ...begun, t: 11, objects: [link], state: 'up', context: { id: 'a', fault }, fault },
    { ...begun, t: 12, objects: [link], state: 'repairing' },
  ]);
  const [unknown] = moments([passage({ t: 3, patch: [{ op: 'replace', path: '/n', value: 1 }], fault })]);
  assert.equal(unknown, { ...begun, t: 3, state: 'up', context: null, fault }, 'nothing is known that could change');
  assert.equal(objectsAfter(objects, passage({ event: 'lost' })), objects, 'the event itself takes them along');
  const bare = { kind: 'start', t: 2, how: 'restored', machine: '4' } as const;
  const snapshot = { status: 'active', value: 'up' };
  assert.equal(moments([{ ...bare, snapshot }]), [{ ...begun, t: 2, state: 'up', context: null }]);
  assert.equal(moments([{ ...bare, snapshot: { ...snapshot, context: {} } }])[0]?.fault, null);
  assert.equal(moments([{ ...bare, snapshot: { ...snapshot, context: { fault } } }])[0]?.fault, fault);
});

journal('two moments are different in what one has and the other has not', () => {
  const [moment] = moments([{ kind: 'gap', t: 1 }]);
  const having = (...objects: KernelObject[]) => ({ ...moment!, objects });
  const others: KernelObject[] = [
    { ...link, kind: 'address' },
    { ...link, name: 'veth1' },
    { ...link, detail: 'on br1' },
  ];
  for (const other of others)
    assert.equal(differences(having(link, link), having(other)).objects, { made: [other], gone: [link, link] });
  assert.equal(differences(having(link), having(link)), {
    state: null,
    children: [],
    context: [],
    objects: { made: [], gone: [] },
  });
});

journal('lines of earlier daemons have a state, and nothing else is known', () => {
  const [first, last] = moments([passage({ to: 'created' }), passage({ to: 'up' })]);
  assert.equal([first?.state, last?.state, last?.context, last?.objects], ['created', 'up', null, []]);
});

journal('history is what it was: changes of state and notes, without what is for machines', () => {
  const old = { t: 1, machine: 'container', event: 'e', from: '', to: 'up', ms: 0 };
  const lines: JournalLine[] = [
    { kind: 'start', t: 1, how: 'created', machine: '4', input: {} },
    passage({ patch: [], children: {}, fault: { code: 'KERNEL', message: 'no' } }),
    { kind: 'change', t: 1, event: 'e', state: 'up' },
    passage({ machine: 'attachment', ended: true }),
    passage({ kind: 'note', from: 'up' }),
    { kind: 'gap', t: 1 },
  ];
  assert.equal(historyOf(lines), [
    { ...old, fault: { code: 'KERNEL', message: 'no' } },
    { ...old, machine: 'attachment' },
    { ...old, from: 'up' },
  ]);
  assert.equal([isTruncated(lines), isTruncated(lines.slice(1)), isTruncated([])], [false, true, true]);
  assert.ok(
    isTruncated([{ kind: 'start', t: 1, how: 'restored', machine: '4', snapshot: {} }]),
    'it was created before',
  );
});

journal('what is withheld is replaced everywhere, by the same words, and nothing else is', () => {
  const input = {
    bootId: 'b00t',
    outside: '/home/me/out',
    publisher: 'unix:///home/me/sock',
    netns: { from: '/home/me/out/in', path: '/run/netns/x' },
    request: { netns: { mode: 'path', path: '/home/me/out/in' } },
    note: '/home/me/out/er and /home/me/other',
  };
  const lines: JournalLine[] = [
    { kind: 'start', t: 1, how: 'created', machine: '4', input },
    passage({
      from: 'created',
      patch: [{ op: 'replace', path: '/outside', value: '/home/me/new' }],
      fault: { code: 'NOT_A_NAMESPACE', message: 'no /home/me/out/in: b00t', object: '/home/me/out/in' },
    }),
    { kind: 'event', t: 1, event: 'x', data: { outside: null, from: { owner: 'b:1' } } },
  ];
  const before = JSON.stringify(lines);
  const text = JSON.stringify(withheld(frozen(lines)));
  for (const secret of ['b00t', '/home/me/out"', '/in', 'sock', 'new']) assert.not(text.includes(secret), secret);
  assert.ok(text.includes('/left-out/1/er and /home/me/other'), text);
  const [start, moved] = withheld(lines) as unknown as [
    { input: typeof input },
    { from: string; fault: { object: string } },
  ];
  assert.is(start.input.netns.from, start.input.request.netns.path);
  assert.is(moved.fault.object, start.input.netns.from);
  assert.is(moved.from, 'created');
  assert.equal(
    [JSON.stringify(lines), JSON.stringify(withheld(lines.slice(2)))],
    [before, JSON.stringify(lines.slice(2))],
  );
});

journal('what is withheld: the words in place of each, and all that stays', () => {
  const NO_BOOT = '00000000-0000-0000-0000-000000000000';
  const lines = [
    {
      kind: 'event',
      data: {
        bootId: 'b00t',
        publisher: '/pub',
        outside: ['/out', ''],
        netns: { from: '/ns', path: '/run/netns/x' },
        shared: { publisher: '/out' },
        request: { mode: 'path', path: '/mine' },
        other: { mode: 'container', path: '/theirs' },
        data: { path: '/x/outside', value: 'kept' },
        numbers: [1, null, true],
      },
      from: '/kept',
      to: '/ns/b /nsx',
      patch: [
        { op: 'add', path: '/outside', value: '/patched' },
        { op: 'add', path: '/netns/from', value: '/deep' },
        { op: 'add', path: '/from/x', value: '/not' },
        { op: 'remove', path: '/outside' },
      ],
    },
  ] as unknown as JournalLine[];
  const kept = lines[0] as unknown as { data: object; patch: object[] };
  assert.equal(withheld(frozen(lines)), [
    {
      ...kept,
      data: {
        ...kept.data,
        bootId: NO_BOOT,
        publisher: 'publisher-1',
        outside: ['/left-out/2', ''],
        netns: { from: '/left-out/3', path: '/run/netns/x' },
        shared: { publisher: '/left-out/2' },
        request: { mode: 'path', path: '/left-out/4' },
      },
      to: '/left-out/3/b /nsx',
      patch: [
        { op: 'add', path: '/outside', value: '/left-out/5' },
        { op: 'add', path: '/netns/from', value: '/left-out/6' },
        ...kept.patch.slice(2),
      ],
    },
  ]);
  const one = [{ kind: 'event', t: 1, event: 'x', data: { bootId: 'b00t' } }] as JournalLine[];
  assert.equal(withheld(one), [{ ...one[0], data: { bootId: NO_BOOT } }]);
});

journal('moments are for browsers, too: nothing of Node, and small', async () => {
  const entry = new URL('../../plan/journal/moments.js', import.meta.url).pathname;
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    write: false,
  });
  assert.ok(
    outputFiles[0] !== undefined && outputFiles[0].contents.length < 8000,
    String(outputFiles[0]?.contents.length),
  );
});

journal.run();
