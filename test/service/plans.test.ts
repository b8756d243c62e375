// slow: 30 s, each event is planned, looked at from all sides and then done
/**
 * Plans on the real kernel: what a plan says is what the event then does, to make one changes nothing, and applied it gives
 * exactly what it has named, or is refused.
 */
import { createServer } from 'node:net';
import { once } from 'node:events';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Plan } from '../../state/answers/container/plan.ts';
import type { LifecycleEvent, CreateEvent } from '../../state/event.ts';
import { tryByChance } from '../harness/chance.ts';
import { on, port, TestDaemon } from '../harness/daemon.ts';
import { addNetns, removeNetns } from '../harness/inside.ts';
import { asUser, sayAs } from '../harness/peer.ts';
import { calm, inspect } from '../harness/picture.ts';
import { Planning } from '../harness/planned.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';
import { eventOf, group, type Shape } from '../harness/random-words.ts';
import { clear } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
daemon.limits = ['ports-per-container=1200'];
let planning: Planning;

const create = (id: string, more: Omit<CreateEvent, 'type' | 'id'> = {}): CreateEvent => ({
  type: 'create',
  id,
  ...more,
});
const configure = (id: string): LifecycleEvent => ({ type: 'configure', id });
const teardown = (id: string): LifecycleEvent => ({ type: 'teardown', id });
const connect = (id: string, network: string, options = {}): LifecycleEvent => ({
  type: 'connect',
  id,
  network,
  options,
});
const disconnect = (id: string, network: string): LifecycleEvent => ({ type: 'disconnect', id, network });
const publish = (id: string, ...ports: ReturnType<typeof port>[]): LifecycleEvent => ({
  type: 'publish',
  id,
  port_mappings: ports,
});
const unpublish = (id: string, ...ports: ReturnType<typeof port>[]): LifecycleEvent => ({
  type: 'unpublish',
  id,
  port_mappings: ports,
});
const reload = (id: string, full = false): LifecycleEvent => ({ type: 'reload', id, full });

const plans = suite('plans');

plans.before(async () => {
  await daemon.start();
  planning = await Planning.of(daemon);
  await daemon.network({ name: 'front', subnets: [{ subnet: '10.90.0.0/28' }] });
  await daemon.network({ name: 'dual', ipv6_enabled: true });
  await daemon.network({ name: 'inner', internal: true });
  await daemon.network({ name: 'named', subnets: [{ subnet: '10.91.0.0/24' }], dns_enabled: true });
});
plans.after.each(async () => {
  await clear(daemon);
  await daemon.clean();
});
plans.after(async () => {
  await daemon.stop();
  const { plans: compared, refusals } = planning.counts;
  proved('plans compared with what then happened on the real kernel', compared);
  proved('refusals that were foreseen', refusals);
});

/** Holds lives of containers: each event is planned, then done, and both are compared. */
const LIVES: Record<string, LifecycleEvent[]> = {
  'on networks, with ports, files and names': [
    create('a', {
      networks: { named: { static_ips: ['10.91.0.9'], static_mac: '02:00:00:00:00:09' }, dual: {} },
      port_mappings: [port(8080, 80), port(0, 53, { protocol: 'udp', range: 2 })],
      files: true,
    }),
    configure('a'),
    configure('a'),
    connect('a', 'front', { aliases: ['x'], gateway_priority: 1 }),
    connect('a', 'front', { aliases: ['x'], gateway_priority: 1 }),
    connect('a', 'front'),
    publish('a', port(0, 90)),
    publish('a', port(8080, 81)),
    reload('a'),
    reload('a', true),
    unpublish('a', port(8080, 80)),
    unpublish('a', port(8080, 80)),
    disconnect('a', 'front'),
    disconnect('a', 'front'),
    disconnect('a', 'named'),
    disconnect('a', 'dual'),
    publish('a', port(9000, 90)),
    teardown('a'),
    teardown('a'),
  ],
  'changed before it is configured': [
    create('b', { networks: {} }),
    connect('b', 'front'),
    connect('b', 'inner', { static_ips: ['10.99.0.1'] }),
    publish('b', port(8080, 80)),
    publish('b', port(8080, 81)),
    configure('b'),
    unpublish('b', port(8080, 81)),
    disconnect('b', 'inner'),
    configure('b'),
    unpublish('b', port(8080, 80)),
    teardown('b'),
  ],
  'behind slirp4netns, with the forwarder': [
    create('s', { uplink: { program: 'slirp4netns' }, port_mappings: [port(8080, 80)] }),
    configure('s'),
    publish('s', port(0, 81)),
    unpublish('s', port(8080, 80)),
    connect('s', 'front'),
    reload('s'),
    teardown('s'),
  ],
  'behind slirp4netns, which has the ports itself, and IPv6': [
    create('t', {
      uplink: { program: 'slirp4netns', options: ['port_handler=slirp4netns', 'enable_ipv6=true'] },
      port_mappings: [port(8080, 80)],
    }),
    configure('t'),
    publish('t', port(8081, 81)),
    teardown('t'),
  ],
  'in the namespace of the host, and with nothing': [
    create('h', { netns: { mode: 'host' } }),
    configure('h'),
    connect('h', 'front'),
    reload('h', true),
    teardown('h'),
    create('n', { networks: {}, port_mappings: [port(8080, 80)] }),
    configure('n'),
    connect('n', 'inner'),
    connect('n', 'front'),
    teardown('n'),
  ],
  'a pod, whose owner leaves first, and comes back': [
    create('o', { networks: on('front') }),
    configure('o'),
    create('m', { netns: { mode: 'container', id: 'o' } }),
    configure('m'),
    teardown('o'),
    reload('o', true),
    create('o', { networks: on('dual') }),
    create('o', { networks: on('front') }),
    teardown('o'),
    teardown('m'),
  ],
  'ports that go from one to another': [
    create('old', { networks: on('front'), port_mappings: [port(8080, 80)] }),
    configure('old'),
    create('new', { networks: on('front', 'dual') }),
    { ...publish('new', port(8080, 8000)), from: 'old' } as LifecycleEvent,
    configure('new'),
    { ...publish('new', port(8081, 8000)), from: 'old' } as LifecycleEvent,
    { ...publish('new', port(8080, 8000)), from: 'old' } as LifecycleEvent,
    teardown('old'),
    teardown('new'),
  ],
  'refused at once': [
    create('x', { networks: on('nowhere') }),
    create('x', { netns: { mode: 'container', id: 'nobody' } }),
    create('x', { port_mappings: [port(8080, 80), port(8080, 81)] }),
    create('x', { port_mappings: [port(9000, 90, { range: 1201 })] }),
    create('x', { netns: { mode: 'pid', pid: 4_000_000 } }),
    configure('nobody'),
    create('x', { networks: on('front') }),
    create('x', { networks: on('front') }),
    create('y', { name: 'x' }),
    reload('x'),
    publish('x', port(9000, 90, { range: 1201 })),
    connect('x', 'nowhere'),
    teardown('x'),
  ],
};

for (const [what, events] of Object.entries(LIVES)) {
  for (const how of ['event', 'apply'] as const) {
    plans(`a container ${what}: planned, then done (${how === 'apply' ? 'as the plan' : 'as the event'})`, async () => {
      for (const event of events) await planning.assertAsPlanned(event, how);
    });
  }
}

plans('a container in a namespace of others', async () => {
  const path = addNetns('theirs');
  for (const event of [
    create('p', { netns: { mode: 'path', path }, networks: on('front', 'dual'), port_mappings: [port(8080, 80)] }),
    configure('p'),
    disconnect('p', 'dual'),
    connect('p', 'dual', { interface_name: 'eth0' }),
    connect('p', 'dual', { interface_name: 'eth9' }),
    teardown('p'),
  ])
    await planning.assertAsPlanned(event);
  removeNetns('theirs');
});

plans('a container with an outside of its own, whose machines do not run yet', async () => {
  const outside = addNetns('outer');
  for (const event of [
    create('z', { outside, networks: on('front', 'named'), port_mappings: [port(8080, 80)] }),
    configure('z'),
    reload('z'),
    teardown('z'),
  ])
    await planning.assertAsPlanned(event, 'apply');
  removeNetns('outer');
});

plans('what others have is known: listeners of the host, addresses, MACs, ports', async () => {
  const listener = createServer().listen(8080, '0.0.0.0');
  await once(listener, 'listening');
  const options = { static_ips: ['10.90.0.5'], static_mac: '02:00:00:00:00:05' };
  for (const event of [
    create('a', { networks: { front: options }, port_mappings: [port(8081, 80)] }),
    configure('a'),
    publish('a', port(8080, 80)),
    create('b', { networks: { front: { static_ips: ['10.90.0.5'] } } }),
    configure('b'),
    create('c', { networks: { front: { static_mac: '02:00:00:00:00:05' } } }),
    configure('c'),
    create('d', { networks: on('front'), port_mappings: [port(8081, 80)] }),
    configure('d'),
  ])
    await planning.assertAsPlanned(event);
  listener.close();
});

plans('random commands, one after another', async () => {
  // A container's shape as the words need it: whether it is there, and whether it is configured.
  const shapeOf = async (id: string): Promise<Shape> => {
    const { status, body } = await daemon.get(`/v1/containers/${id}`);
    return status === 200 ? { state: body.state ?? '', held: false, networks: [], ports: [] } : null;
  };
  await tryByChance(
    fc.array(group, { minLength: 6, maxLength: 12, size: 'max' }),
    effort('planned-sequences', 3, 300),
    async (groups) => {
      for (const command of groups.flatMap(({ commands }) => commands)) {
        if (command.type === 'update') continue;
        await planning.assertAsPlanned(eventOf(command, await shapeOf(command.id)));
      }
      await clear(daemon);
    },
    (groups) => JSON.stringify(groups),
  );
});

plans('a plan changes nothing: no file, no rule, no link, no address, no notification', async () => {
  await daemon.up('a', { networks: on('front', 'named'), port_mappings: [port(8080, 80)], files: true });
  await daemon.done(create('fresh', { networks: on('dual', 'inner'), port_mappings: [port(0, 80)] }));
  await daemon.done(create('s', { uplink: { program: 'slirp4netns' }, port_mappings: [port(8082, 80)] }));
  await calm();
  await daemon.settled();
  const events: LifecycleEvent[] = [
    create('other', { networks: on('dual'), port_mappings: [port(0, 80)] }),
    configure('fresh'),
    configure('s'),
    connect('a', 'dual'),
    disconnect('a', 'front'),
    publish('a', port(0, 90)),
    { ...publish('fresh', port(8080, 90)), from: 'a' } as LifecycleEvent,
    unpublish('a', port(8080, 80)),
    reload('a'),
    reload('a', true),
    teardown('a'),
    publish('a', port(8080, 99)),
    connect('a', 'nowhere'),
  ];
  for (const event of events) await planning.plannedWithoutTrace(event);
  // What nobody holds is granted again.
  const twice = [await planning.planned(configure('fresh')), await planning.planned(configure('fresh'))];
  assert.equal(twice[0], twice[1]);
  // The span of whoever plans is no part of the plan: whoever applies it has another.
  const traced = await planning.planned({ ...configure('fresh'), traceparent: 'of the planner', tracestate: 'a=b' });
  assert.equal(traced, twice[0]);
});

plans('an applied plan gives the addresses, MACs and ports that it has named', async () => {
  await daemon.done(create('a', { networks: on('dual', 'front'), port_mappings: [port(0, 80), port(0, 81)] }));
  await daemon.done(create('b', { networks: on('dual', 'front'), port_mappings: [port(0, 80)] }));
  const plan = await planning.planned(configure('a'));
  assert.equal(Object.keys(plan.grants.networks).sort(), ['dual', 'front']);
  assert.is(plan.grants.ports.length, 2);
  const { status, body } = await planning.apply(plan.hash);
  assert.is(status, 200);
  assert.equal(body.networks, plan.grants.networks);
  assert.equal(body.ports, plan.grants.ports);
  const again = await planning.apply(plan.hash);
  assert.equal([again.status, again.body.error?.code], [404, 'NO_SUCH_PLAN'], again.text);
});

/** Plans an event; then something else happens, and to apply the plan changes nothing. */
async function assertOutdated(event: LifecycleEvent, meanwhile: () => Promise<unknown>, why: RegExp): Promise<void> {
  const { hash } = await planning.planned(event);
  await meanwhile();
  await calm();
  await daemon.settled();
  const before = inspect(daemon);
  const { status, body, text } = await planning.apply(hash);
  assert.equal([status, body.error?.code], [409, 'PLAN_OUTDATED'], text);
  assert.match(body.error?.message ?? '', why);
  assert.equal(inspect(daemon), before, 'a plan that was refused has changed something');
}

plans('a plan is refused when what it rests on has moved, and nothing changes', async () => {
  await daemon.done(create('a', { networks: on('front'), port_mappings: [port(0, 80)] }));
  await assertOutdated(
    configure('a'),
    () => daemon.up('b', { networks: on('front') }),
    /what front grants: 10\.90\.0\.\d+, .* instead of/,
  );
  await assertOutdated(
    configure('a'),
    () => daemon.up('c', { networks: {}, port_mappings: [port(0, 80)] }),
    /the host ports: \*?.*instead of/,
  );
  await assertOutdated(
    configure('a'),
    () => daemon.request('PATCH', '/v1/networks/front', { options: { mtu: '1400' } }),
    /network front: defined as/,
  );
  await assertOutdated(
    configure('a'),
    () => daemon.done(publish('a', port(8081, 81))),
    /container a: created after publish/,
  );
  await daemon.done(configure('a'));
  await assertOutdated(connect('a', 'inner'), () => daemon.done(reload('a')), /container a: up after reload/);
  await assertOutdated(
    teardown('a'),
    () => daemon.up('m', { netns: { mode: 'container', id: 'a' } }),
    /the users of its namespace: m instead of nobody/,
  );
  await assertOutdated(
    { ...publish('b', port(8081, 8000)), from: 'a' } as LifecycleEvent,
    () => daemon.done(publish('a', port(8082, 82))),
    /container a: up after publish/,
  );
  await assertOutdated(create('new'), () => daemon.done(create('new')), /CONTAINER_EXISTS/);
  await assertOutdated(disconnect('b', 'front'), () => daemon.down('b'), /no container with name or ID/);
  await daemon.request('PATCH', '/v1/networks/front', { options: {} });
});

plans('a plan is refused when its container is left to its users, and when another would go with it', async () => {
  const pod = async () => {
    await daemon.up('o', { networks: on('front') });
    await daemon.up('m', { netns: { mode: 'container', id: 'o' } });
  };
  await pod();
  await assertOutdated(reload('o'), () => daemon.done(teardown('o')), /container o: up after .*, kept for its users/);
  await daemon.done(teardown('m'));
  await daemon.gone('o');
  await pod();
  await assertOutdated(
    teardown('m'),
    () => daemon.done(teardown('o')),
    /what goes with it: container o instead of nothing/,
  );
});

plans('of two plans that are applied at the same moment, one is refused', async () => {
  // To look whether so many ports are free takes a moment: both plans are compared before one of them is done.
  const slow = { networks: on('front'), port_mappings: [port(0, 1000, { range: 1000 })] };
  const atOnce = async (pair: readonly Plan[]) => {
    const answers = await Promise.all(pair.map(({ hash }) => planning.apply(hash)));
    const codes = answers.map(({ status, body }) => `${status} ${body.error?.code ?? ''}`).sort();
    assert.equal(codes, ['200 ', '409 PLAN_OUTDATED'], JSON.stringify(answers.map(({ text }) => text)));
    await clear(daemon);
    await daemon.clean();
  };
  for (let round = 0; round < 2; round++) {
    // Both rest on one container.
    await daemon.done(create('a', slow));
    await atOnce([await planning.planned(configure('a')), await planning.planned(publish('a', port(8080, 80)))]);
    await daemon.up('a', { networks: on('front') });
    const slowly = publish('a', port(0, 1000, { range: 1000 }));
    await atOnce([await planning.planned(connect('a', 'inner')), await planning.planned(slowly)]);
    // Both are promised one address.
    for (const id of ['a', 'b']) await daemon.done(create(id, slow));
    const both = [await planning.planned(configure('a')), await planning.planned(configure('b'))];
    assert.equal(addressesIn(both[0]), addressesIn(both[1]));
    await atOnce(both);
    // Both make one container.
    await atOnce([await planning.planned(create('a')), await planning.planned(create('a', { networks: {} }))]);
  }
});

const addressesIn = (plan: Plan | undefined) =>
  Object.values(plan?.grants.networks ?? {}).flatMap(({ interfaces }) =>
    Object.values(interfaces).flatMap(({ subnets }) => subnets.map(({ ipnet }) => ipnet)),
  );

const SOCKET_GROUP = 0;

plans('a plan belongs to the user who made it', async () => {
  await daemon.done(create('a', { networks: on('front') }));
  const { hash } = await planning.planned(configure('a'));
  assert.is(sayAs(daemon, asUser(1000, SOCKET_GROUP), {}, `/v1/plans/${hash}/apply`), '404 NO_SUCH_PLAN');
  const forRoot = create('o', { outside: '/proc/1/ns/net' });
  assert.is(sayAs(daemon, asUser(1000, SOCKET_GROUP), forRoot, '/v1/events?dry_run=true'), '403 NOT_ALLOWED');
  assert.is((await planning.apply(hash)).status, 200);
});

plans(
  'a daemon that is killed keeps the promise of a plan, or undoes its event; it forgets the other plans',
  async () => {
    // The next addresses and ports are not those that a daemon begins with.
    await daemon.up('before', { networks: on('front', 'dual'), port_mappings: [port(0, 80)] });
    await daemon.down('before');
    await daemon.done(create('a', { networks: on('front', 'dual'), port_mappings: [port(0, 80)] }));
    const plan = await planning.planned(configure('a'));
    const other = await planning.planned(teardown('a'));
    assert.is((await planning.apply(plan.hash, { prefer: 'respond-async' })).status, 202);
    await daemon.kill();
    await daemon.start();
    planning = await Planning.of(daemon, planning);
    const { status, body } = await daemon.get('/v1/containers/a?wait=up');
    if (status === 200) assert.equal([body.networks, body.ports], [plan.grants.networks, plan.grants.ports]);
    else assert.is(body.error?.code, 'PLAN_OUTDATED');
    assert.is((await planning.apply(other.hash)).body.error?.code, 'NO_SUCH_PLAN');
  },
);

plans('what else happens, and what may not be meant, is noted', async () => {
  const notes = async (event: LifecycleEvent) => (await planning.planned(event)).notes;
  assert.equal(await notes(create('a', { networks: {}, port_mappings: [port(8080, 80)] })), [
    'container a is on no network: its published ports lead nowhere until it is connected to one',
  ]);
  await daemon.up('o', { networks: on('front') });
  await daemon.up('m', { netns: { mode: 'container', id: 'o' } });
  assert.equal(await notes(teardown('m')), []);
  await daemon.done(teardown('o'));
  assert.equal(await notes(teardown('m')), ['container o, which it leaves alone, goes as well']);
});

plans('many events: each is planned as if it were the only one', async () => {
  await daemon.up('a', { networks: on('front') });
  await daemon.up('b', { networks: on('front') });
  // A create that cannot be keeps nothing after it from being planned.
  const events = [create('a'), teardown('a'), teardown('b'), teardown('nobody')];
  const { text } = await daemon.request(
    'POST',
    '/v1/events?dry_run=true',
    events.map((event) => `${JSON.stringify(event)}\n`).join(''),
    { 'content-type': 'application/x-ndjson' },
  );
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { line: number; status: number; body: Plan })
    .sort((a, b) => a.line - b.line);
  assert.equal(
    lines.map(({ status }) => status),
    [409, 200, 200, 404],
  );
  const [, a, b] = lines.map(({ body }) => body.hash);
  for (const hash of [a, b]) assert.is((await planning.apply(hash ?? '')).status, 200);
  await Promise.all(['a', 'b'].map((id) => daemon.gone(id)));
});

plans('a parameter that nobody knows is refused, and so is another value', async () => {
  for (const query of ['dry-run=true', 'dryRun=true', 'dry_run=yes', 'dry_run=true&dry_run=true', 'dry_run']) {
    const { status, body } = await daemon.request('POST', `/v1/events?${query}`, create('a'));
    assert.equal([status, body.error?.code], [400, 'BAD_REQUEST'], query);
  }
  assert.is((await daemon.get('/v1/containers/a')).status, 404);
  assert.is((await daemon.get(`/v1/plans/${'0'.repeat(64)}`)).body.error?.code, 'NO_SUCH_PLAN');
});

plans.run();
