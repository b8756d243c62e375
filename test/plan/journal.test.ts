/**
 * The journal's pure parts: patches lead from any value to any other, moments are rebuilt from lines, objects come and go with
 * effects, and what is withheld is nowhere.
 */
import { build } from 'esbuild';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { historyOf, isTruncated } from '../../plan/journal/history.ts';
import { differences, moments } from '../../plan/journal/moments.ts';
import { after, outcomeOf } from '../../plan/journal/objects.ts';
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

journal('a patch reaches nothing but own members', () => {
  for (const path of ['/__proto__/polluted', '/constructor/prototype/polluted', '/a/b', '/toString/x'])
    assert.throws(() => patched({ a: 1 }, [{ op: 'add', path, value: 1 }]), `there is no ${path}`);
  assert.throws(() => patched({}, [{ op: 'remove', path: '/toString' }]), 'there is no /toString');
  const own = patched({}, [{ op: 'add', path: '/__proto__', value: { polluted: 1 } }]) as object;
  assert.is((own as { polluted?: number }).polluted, undefined);
  assert.is(Object.getPrototypeOf(own), Object.prototype);
  assert.is(({} as { polluted?: number }).polluted, undefined);
});

const NETNS = '/run/netns/n';
const attachment = (more: object = {}) => ({
  hostLink: 'veth0',
  link: 'eth0',
  bridge: 'br0',
  mac: '02:00:00:00:00:01',
  addresses: [{ address: '10.0.0.2', prefix: 24, gateway: null }],
  ...more,
});
const target = (hostPort: number, containerPort: number, address = '10.0.0.2') => ({
  owner: 'a:1',
  protocol: 'tcp',
  hostIp: '',
  hostPort,
  address,
  containerPort,
});
const names = (objects: readonly KernelObject[]) => objects.map(({ kind, name }) => `${kind} ${name}`);
const play = (steps: [string, object, object?][], from: readonly KernelObject[] = []) =>
  names(steps.reduce((now, [name, input, output]) => after(now, outcomeOf(name, input, output)), from)).sort();

journal('objects come and go with the effects that make and remove them', () => {
  const on = { attachment: attachment(), predecessor: null, netns: NETNS };
  const made: [string, object, object?][] = [
    ['ensureNamespace', { path: NETNS }, { dev: 4, ino: 5 }],
    ['ensureLink', on],
    ['ensureAddresses', on],
    ['publish', { targets: [8000, 8001, 8002].map((port) => target(port, port - 8000 + 80)), replacing: [] }],
  ];
  const all = [
    'address 10.0.0.2/24',
    'link eth0',
    'link veth0',
    `namespace ${NETNS}`,
    'port 8000/tcp -> 10.0.0.2 80',
    'port 8001/tcp -> 10.0.0.2 81',
    'port 8002/tcp -> 10.0.0.2 82',
  ];
  assert.equal(play(made), all);
  assert.equal(play([...made, ...made]), all, 'effects repeat');
  const without = (...gone: string[]) => all.filter((name) => !gone.includes(name));
  assert.equal(play([...made, ['removeLink', on]]), without('link eth0', 'link veth0', 'address 10.0.0.2/24'));
  assert.equal(
    play([...made, ['unpublish', { targets: [], replacing: [target(8001, 81)] }]]),
    without('port 8001/tcp -> 10.0.0.2 81'),
  );
  // The kernel still reaps the other end of a link in a namespace that ends.
  const ended = play([...made, ['removeNamespace', { path: NETNS }]]);
  assert.equal(ended, without(`namespace ${NETNS}`, 'link eth0', 'address 10.0.0.2/24'));
  const replaced = { ...on, attachment: attachment({ hostLink: 'veth1' }), predecessor: attachment() };
  assert.equal(
    play([...made, ['replaceLink', replaced]]),
    all.map((name) => name.replace('veth0', 'veth1')),
  );
  const revised = { ...on, attachment: attachment({ addresses: [] }), predecessor: attachment() };
  assert.equal(play([...made, ['reviseLink', revised]]), without('address 10.0.0.2/24'));
  assert.equal(play([...made, ['awaitLinksGone', { links: ['veth0'] }]]), without('link veth0'));
  assert.equal(play([...made, ['verifyFirewall', { outside: null }]]), all);
});

journal('what an uplink has made ends with its program', () => {
  const directory = 'd0';
  const link = { name: 'tap0', mac: '', addresses: [{ address: '10.0.2.100', prefix: 24, gateway: null }] };
  const through_ = { handler: 'slirp4netns', directory };
  const made: [string, object, object?][] = [
    ['startUplink', { directory, program: 'slirp4netns' }],
    ['verifyUplink', { directory, program: 'slirp4netns', ports: [] }, link],
    ['publish', { targets: [target(80, 80, '10.0.2.100')], replacing: [], through: through_ }],
  ];
  assert.equal(play(made), ['address 10.0.2.100/24', 'link tap0', 'port 80/tcp -> 10.0.2.100 80', 'uplink uplinks/d0']);
  assert.equal(play([...made, ['stopUplink', { directory }]]), []);
  const own = [{ protocol: 'udp', hostIp: '', hostPort: 53, containerPort: 54, range: 2, outerIp: null }];
  const pasta = { directory, program: 'pasta', ports: own };
  assert.equal(play([['verifyUplink', pasta, { ...link, addresses: [] }]]), [
    'link tap0',
    'port 53/udp -> tap0 54',
    'port 54/udp -> tap0 55',
  ]);
});

journal('a range on disk is as long as the ports that continue each other, on both sides', () => {
  const targets = [target(1, 11), target(2, 12), target(3, 99), target(4, 100, 'fd00::1'), target(5, 101, 'fd00::1')];
  const { made = [] } = outcomeOf('publish', { targets, replacing: [] }, undefined);
  const found = made.map(({ name, range = 1 }) => `${name} x${range}`);
  assert.equal(found, ['1/tcp -> 10.0.0.2 11 x2', '3/tcp -> 10.0.0.2 99 x1', '4/tcp -> fd00::1 100 x2']);
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
