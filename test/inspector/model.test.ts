/**
 * What the page makes of the daemon's messages: the model, the list that a person sees, what can be sent, and where links lead.
 */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EventParser, type ServerEvent } from '../../inspector/page/live/parse.ts';
import { clock, duration, portText } from '../../inspector/page/model/format.ts';
import { EMPTY, reduce, type Model } from '../../inspector/page/model/model.ts';
import { formOf, parsePorts, requestOf } from '../../inspector/page/model/requests.ts';
import { fragmentOf, parseRoute } from '../../inspector/page/model/routes.ts';
import { found } from '../../inspector/page/model/search.ts';
import { KINDS, countKinds, kindOf, kindOfShared, type Kind } from '../../inspector/page/model/standing.ts';
import { branchOf } from '../../inspector/page/model/tree.ts';
import { moved, scrollTo, windowOf } from '../../inspector/page/model/virtual-window.ts';
import { containerMachine } from '../../machines/container/container.ts';
import { LifecycleEvent } from '../../state/event.ts';
import type { InspectorMessage } from '../../state/answers/inspector.ts';
import type { Notification } from '../../state/answers/notification.ts';
import { statesOf } from '../harness/machines.ts';
import { configuration, container, fleet, sharedBy } from '../harness/page-fleet.ts';

const page = suite('what the page makes of messages');

const hello = (resumed: boolean): InspectorMessage => ({
  event: 'hello',
  data: { version: '1', instance: 'main', pid: 1, run: 'r', t: 0, resumed, may_send: true },
});
const list = fleet(3);
const begun = reduce(EMPTY, [
  hello(false),
  { event: 'containers', data: list },
  { event: 'shared', data: sharedBy(list) },
]);

page('what no message concerns stays the same object', () => {
  const after = reduce(begun, [{ event: 'container', data: container(1, { state: 'degraded' }) }]);
  assert.is(after.containers.get('c1')?.state, 'degraded');
  assert.is(after.containers.get('c0'), begun.containers.get('c0'));
  for (const part of ['shared', 'networks', 'trails', 'notifications', 'gone', 'hello'] as const)
    assert.is(after[part], begun[part]);
  assert.is(begun.containers.get('c1')?.state, 'up');
  assert.is(reduce(begun, []), begun);
});

page('a hello that does not resume forgets what there was, not what happened; one that does keeps all', () => {
  const drifted = reduce(begun, [
    { event: 'notification', data: { type: 'repaired', t: 1, id: 'c1', network: null, drift: [] } },
  ]);
  assert.is(reduce(drifted, [hello(false)]).containers.size, 0);
  assert.is(reduce(drifted, [hello(false)]).notifications, drifted.notifications);
  assert.is(reduce(begun, [hello(true)]).containers, begun.containers);
});

page('who is gone is gone until it comes back, and its trail stays', () => {
  const passed = reduce(begun, [...configuration('c1', 5), { event: 'gone', data: { id: 'c1' } }]);
  assert.not.ok(passed.containers.has('c1'));
  assert.ok(passed.gone.has('c1'));
  assert.ok((passed.trails.get('c1')?.length ?? 0) > 0);
  assert.not.ok(reduce(passed, [{ event: 'container', data: container(1) }]).gone.has('c1'));
});

page('a shared machine that is gone is not shown', () => {
  const [machine] = sharedBy(list);
  assert.ok(machine);
  assert.ok(begun.shared.has(machine.key));
  assert.not.ok(reduce(begun, [{ event: 'machine', data: { ...machine, state: 'gone' } }]).shared.has(machine.key));
});

page('nothing grows without bound', () => {
  let model: Model = begun;
  const drift: Notification = { type: 'drift', t: 1, id: 'c1', network: null, drift: [], action: 'repair', by: null };
  for (let n = 0; n < 1500; n++) {
    model = reduce(model, [
      ...configuration('c1', n),
      { event: 'notification', data: drift },
      { event: 'gone', data: { id: `g${n}` } },
    ]);
  }
  assert.ok((model.trails.get('c1')?.length ?? 0) <= 200);
  assert.ok(model.notifications.length <= 500);
  assert.ok(model.gone.size <= 1000);
  assert.ok(model.gone.has('g1499') && !model.gone.has('g0'));
});

page('a stream may be cut anywhere', () => {
  const events: ServerEvent[] = [
    { event: 'hello', data: '{"a":1}' },
    { event: 'message', data: 'two\nlines' },
    { event: 'x', data: '' },
  ];
  const text =
    ': comment\nretry: 1000\nid: r-1\nevent: hello\ndata: {"a":1}\n\ndata: two\ndata:lines\n\nid: r-3\nevent: x\ndata:\n\nevent: cut off\n';
  for (const end of ['\n', '\r\n', '\r']) {
    const whole = text.replaceAll('\n', end);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: whole.length })), (cuts) => {
        const parser = new EventParser();
        const points = [0, ...cuts.sort((a, b) => a - b), whole.length];
        const read = points.slice(1).flatMap((to, i) => parser.read(whole.slice(points[i], to)));
        assert.equal(read, events);
        assert.is(parser.last, 'r-3');
      }),
    );
  }
  const parser = new EventParser();
  parser.read('id: r-1\ndata: a\n\nid: r-2\ndata: hal');
  parser.begin();
  assert.equal(parser.read('data: b\n\n'), [{ event: 'message', data: 'b' }]);
  assert.is(parser.last, 'r-1');
});

page('a search finds ids, names, states, networks, addresses and ports, all words of it', () => {
  const views = new Map(fleet(30).map((view) => [view.id, view]));
  views.set('c5', container(5, { name: 'Database', state: 'degraded' }));
  const ids = (search: string, kind: Parameters<typeof found>[2] = null): string[] =>
    found(views, search, kind).map(({ id }) => id);
  assert.equal(ids('database'), ['c5']);
  assert.equal(ids('degr'), ['c5']);
  assert.equal(ids('10.90.2.30'), ['c28']);
  assert.equal(ids('8003:80'), ['c3']);
  assert.equal(ids('lan c2').slice(0, 2), ['c2', 'c20']);
  assert.equal(ids('', 'degraded'), ['c5']);
  assert.equal(ids('nothing of the kind'), []);
  // Numbers sort as numbers, and a state moves nobody.
  assert.equal(
    ids('').slice(0, 12),
    Array.from({ length: 12 }, (_, n) => `c${n}`),
  );
});

page('every state of the machine has a kind, and failures are not taken for work', () => {
  for (const node of statesOf(containerMachine.root)) assert.ok(KINDS.includes(kindOf(node.path.join('.'))));
  // Who adds a state says here what it is to people.
  const at = (kind: Kind): string[] =>
    Object.keys(containerMachine.root.states).filter((state) => kindOf(state) === kind);
  assert.equal(Object.fromEntries(KINDS.map((kind) => [kind, at(kind).sort()])), {
    up: ['up'],
    working: [
      'adjusting',
      'configuring',
      'connecting',
      'creating',
      'disconnecting',
      'publishing',
      'rebuilding',
      'reloading',
      'repairing',
      'rollingBack',
      'settling',
      'unpublishing',
      'yielding',
    ],
    degraded: ['degraded'],
    failed: ['failed', 'teardownFailed'],
    created: ['created'],
    leaving: ['abandoning', 'draining', 'gone', 'releasing', 'tearingDown'],
  });
  assert.equal(
    ['up', 'configuring.leasing', 'degraded', 'teardownFailed', 'error', 'created', 'draining'].map(kindOf),
    ['up', 'working', 'degraded', 'failed', 'failed', 'created', 'leaving'],
  );
  assert.is(countKinds(fleet(4)).up, 4);
  assert.equal(
    ['up', 'lowerFailed', 'idle', 'raising', 'full'].map((state) => kindOfShared({ state, fault: null })),
    ['up', 'failed', 'created', 'working', 'up'],
  );
  assert.is(kindOfShared({ state: 'up', fault: { code: 'KERNEL', message: '' } }), 'degraded');
});

page('a window shows what is in sight, and the rest has its height', () => {
  fc.assert(
    fc.property(fc.nat(3000), fc.nat(200_000), fc.integer({ min: 1, max: 2000 }), (count, scrolled, height) => {
      const { first, end, before, after } = windowOf(count, 50, { scrolled, height });
      assert.ok(first >= 0 && end <= count && first <= end);
      assert.is(before + (end - first) * 50 + after, count * 50);
      assert.ok(end - first <= Math.ceil(height / 50) + 13);
      // Every row that is in sight is there.
      const last = Math.min(count, Math.ceil((scrolled + height) / 50));
      if (scrolled < count * 50 - height) assert.ok(first <= Math.floor(scrolled / 50) && end >= last);
    }),
  );
  assert.is(scrollTo(0, 50, { scrolled: 500, height: 100 }), 0);
  assert.is(scrollTo(20, 50, { scrolled: 500, height: 100 }), 950);
  assert.is(scrollTo(10, 50, { scrolled: 500, height: 100 }), 500);
});

page('keys move in a list and stay in it', () => {
  assert.equal(
    (['ArrowDown', 'ArrowUp', 'PageDown', 'Home', 'End', 'x'] as const).map((key) => moved(key, 4, 9)),
    [5, 3, 8, 0, 8, null],
  );
  assert.is(moved('ArrowDown', -1, 9), 0);
  assert.is(moved('ArrowDown', 8, 9), 8);
});

page('what the page sends is what the daemon takes', () => {
  const view = container(3, {
    ports: ['127.0.0.1', '10.0.0.1'].map((host_ip) => ({
      host_ip,
      host_port: 8003,
      container_port: 80,
      protocol: 'tcp',
      range: 1,
    })),
  });
  const values = {
    network: 'back',
    ports: '8080:80/tcp, [::1]:53:53/udp 9000',
    port: '10.0.0.1:8003->80/tcp',
    full: true,
  };
  for (const type of ['configure', 'connect', 'disconnect', 'reload', 'publish', 'unpublish', 'teardown']) {
    const request = requestOf(type, view, values);
    assert.ok('event' in request, `${type}: ${JSON.stringify(request)}`);
    const parsed = LifecycleEvent.safeParse(request.event);
    assert.ok(parsed.success, `${type}: ${JSON.stringify(parsed.error?.issues)}`);
  }
  // The same port on two addresses is two mappings.
  assert.equal(requestOf('unpublish', view, values), {
    event: { type: 'unpublish', id: 'c3', port_mappings: [view.ports[1]] },
  });
  for (const type of ['connect', 'disconnect', 'publish', 'unpublish'])
    assert.ok('lacks' in requestOf(type, view, {}), type);
  assert.equal(parsePorts('127.0.0.1:8080:80'), [{ host_ip: '127.0.0.1', host_port: 8080, container_port: 80 }]);
  assert.equal(parsePorts('80'), [{ container_port: 80 }]);
  assert.is(parsePorts('80 x'), null);
  assert.is(parsePorts(' '), null);
  assert.is(formOf('teardown', view, []).final, true);
  // One is asked for networks that the container does not have.
  assert.equal(formOf('connect', view, ['web', 'back']).fields[0]?.choices, ['back']);
});

page('a link leads back to where it was made', () => {
  for (const id of ['web', 'a/b', 'ü %', '#?']) {
    const route = { place: 'containers', id } as const;
    assert.equal(parseRoute(fragmentOf(route)), route);
  }
  const shared = { place: 'shared', key: 'network web in /run/netns/x' } as const;
  assert.equal(parseRoute(fragmentOf(shared)), shared);
  assert.equal(parseRoute('#/map'), { place: 'map' });
  for (const nonsense of ['', '#', '#/x/y', '#/containers/%']) assert.is(parseRoute(nonsense).place, 'containers');
});

page('durations, times and ports are short', () => {
  assert.equal([0, 0.42, 1.234, 12.34, 123.4, 1234, 61_000, 7_200_000, 259_200_000].map(duration), [
    '0 ms',
    '0.42 ms',
    '1.2 ms',
    '12.3 ms',
    '123 ms',
    '1.2 s',
    '1 min',
    '2 h',
    '3 d',
  ]);
  assert.match(clock(Date.UTC(2026, 1, 3, 4, 5, 6, 7)), /^\d\d:\d\d:06\.007$/);
  const port = { host_ip: '', host_port: 8080, container_port: 80, protocol: 'tcp', range: 1 } as const;
  assert.is(portText(port), '*:8080->80/tcp');
  assert.is(portText({ ...port, host_ip: '::1', range: 3 }), '[::1]:8080-8082->80-82/tcp');
});

page('every value of a JSON is in its tree', () => {
  const leaves = (branch: ReturnType<typeof branchOf>): number =>
    branch.inside.length === 0 ? 1 : branch.inside.reduce((sum, one) => sum + leaves(one), 0);
  const tree = branchOf('', { a: [1, { b: null }], c: 'x', d: {}, e: [], f: true });
  assert.is(leaves(tree), 6);
  assert.equal(
    tree.inside.map(({ kind }) => kind),
    ['list', 'string', 'object', 'list', 'boolean'],
  );
});

page.run();
