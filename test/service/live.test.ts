// as user: proving
/**
 * Changes of a running container's networks and ports: connect, disconnect, publish, unpublish, a port that moves. With
 * real traffic, and a comparison of the kernel before and after each test.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, loopbackClient, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { addNetns, removeNetns, withAgents } from '../harness/inside.ts';
import { calm, assertComesBackTo, inspectKernel, ipJson, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { rounds } from '../harness/rounds.ts';
import { Transfer } from '../harness/transfer.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const live = suite('live changes');
const twice = rounds(live, daemon);
let empty: Picture;

live.before(async () => {
  addNetns('first'); // ip-netns(8) makes its directory a mount
  removeNetns('first');
  empty = inspectKernel();
  await daemon.start();
  await daemon.network({ name: 'front', subnets: [{ subnet: '10.71.0.0/24' }], dns_enabled: false });
  await daemon.network({
    name: 'back',
    subnets: [{ subnet: '10.72.0.0/24' }, { subnet: 'fd00:72::/64' }],
    dns_enabled: false,
  });
  await daemon.network({ name: 'inner', subnets: [{ subnet: '10.73.0.0/24' }], internal: true, dns_enabled: false });
  await calm();
});

live.after(async () => {
  await daemon.stop();
  await assertComesBackTo(empty, () => inspectKernel());
});

const links = (view: Pick<ContainerView, 'netns'>): string[] =>
  ipJson<{ ifname: string }[]>(pathOf(view), 'link').map(({ ifname }) => ifname);
const defaults = (view: Pick<ContainerView, 'netns'>): string[] =>
  ipJson<{ dst: string; dev: string; metric: number }[]>(pathOf(view), 'route', 'show', 'default')
    .sort((a, b) => a.metric - b.metric)
    .map(({ dev }) => dev);

twice('connect takes the beginning of an id, and chooses the lowest name free in snapshot and kernel', async () => {
  const up = await daemon.up('web', { networks: on('front') });
  const { body: back } = await daemon.get<{ id: string }>('/v1/networks/back');
  execFileSync('nsenter', [`--net=${pathOf(up)}`, 'ip', 'link', 'add', 'eth1', 'type', 'ifb']);
  const now = await daemon.done({ type: 'connect', id: 'web', network: back.id.slice(0, 12) });
  assert.equal(Object.keys(now.networks), ['front', 'back']);
  assert.equal(Object.keys(now.networks.back!.interfaces), ['eth2']);
  const taken = await daemon.event({
    type: 'connect',
    id: 'web',
    network: 'inner',
    options: { interface_name: 'eth1' },
  });
  assert.is(taken.body.error?.code, 'INTERFACE_TAKEN');
  assert.equal(links(up), ['lo', 'eth0', 'eth1', 'eth2']);
  await daemon.clean();
  await daemon.down('web');
});

twice('connect again with the same options succeeds, and other options or unknown names are refused', async () => {
  await daemon.up('web', { networks: { front: { aliases: ['a', 'b'] } } });
  await daemon.done({ type: 'connect', id: 'web', network: 'front', options: { aliases: ['b', 'a'] } });
  const other = await daemon.event({ type: 'connect', id: 'web', network: 'front', options: { aliases: ['c'] } });
  assert.is(other.status, 409);
  assert.is(other.body.error?.message, 'container web is already connected to network front');
  const absent = await daemon.event({ type: 'connect', id: 'web', network: 'nowhere' });
  assert.is(absent.body.error?.message, 'unable to find network with name or ID nowhere: network not found');
  const not = await daemon.event({ type: 'disconnect', id: 'web', network: 'back' });
  assert.is(not.body.error?.message, 'container web is not connected to network back');
  // The error is the same where there is no network at all, or none any more.
  await daemon.done({ type: 'disconnect', id: 'web', network: 'front' });
  for (const network of ['front', 'back']) {
    const none = await daemon.event({ type: 'disconnect', id: 'web', network });
    assert.is(none.body.error?.message, `container web is not connected to network ${network}`);
  }
  await daemon.down('web');
});

twice('gateway priority: the highest has the default route and the ports, whenever it comes', async () => {
  const up = await daemon.up('web', { networks: on('front'), port_mappings: [port(8080, 80)] });
  await withAgents([pathOf(up), null], async (inside, host) => {
    await inside.serve('web', 'tcp', 80);
    const before = await host.dial('tcp', '127.0.0.1', 8080);
    assert.is(before, `web ${loopbackClient(up, 'front')}`);
    const both = await daemon.done({
      type: 'connect',
      id: 'web',
      network: 'back',
      options: { gateway_priority: 7 },
    });
    assert.equal(defaults(up), ['eth1', 'eth0']);
    assert.is(await host.dial('tcp', '127.0.0.1', 8080), `web ${loopbackClient(both, 'back')}`);
    await daemon.clean();
    await daemon.done({ type: 'disconnect', id: 'web', network: 'back' });
    assert.equal(defaults(up), ['eth0']);
    assert.is(await host.dial('tcp', '127.0.0.1', 8080), `web ${loopbackClient(up, 'front')}`);
  });
  await daemon.clean();
  await daemon.down('web');
});

twice('disconnect: ports lead to the next network, and a connection through the other is not cut', async () => {
  const up = await daemon.up('web', { networks: on('front', 'back'), port_mappings: [port(8080, 80)] });
  const transfer = await Transfer.start(pathOf(up), 9000, addressOf(up, 'back'), 9000);
  await daemon.done({ type: 'disconnect', id: 'web', network: 'front' });
  await transfer.stop();
  await withAgents([pathOf(up), null], async (inside, host) => {
    await inside.serve('web', 'tcp', 80);
    assert.is(await host.dial('tcp', '127.0.0.1', 8080), `web ${loopbackClient(up, 'back')}`);
  });
  const last = await daemon.done({ type: 'disconnect', id: 'web', network: 'back' });
  assert.equal(last.networks, {});
  assert.equal(links(up), ['lo']);
  await daemon.down('web');
});

twice('before configure, connect, disconnect and publish change what it will do', async () => {
  await daemon.done({ type: 'create', id: 'web', networks: on('front'), port_mappings: [port(8080, 80)] });
  await daemon.done({ type: 'connect', id: 'web', network: 'back' });
  await daemon.done({ type: 'disconnect', id: 'web', network: 'front' });
  await daemon.done({ type: 'publish', id: 'web', port_mappings: [port(8081, 81)] });
  await daemon.done({ type: 'unpublish', id: 'web', port_mappings: [port(8080, 80)] });
  const nothing = await daemon.event({ type: 'unpublish', id: 'web', port_mappings: [port(8080, 80)] });
  assert.is(nothing.body.error?.code, 'NOT_PUBLISHED');
  const up = await daemon.done({ type: 'configure', id: 'web' });
  assert.equal(Object.keys(up.networks), ['back']);
  assert.equal(
    up.ports.map(({ host_port: host }) => host),
    [8081],
  );
  await daemon.down('web');
});

twice('a connect that fails leaves kernel, leases and ports exactly as they were', async () => {
  const up = await daemon.up('web', { networks: on('front'), port_mappings: [port(8080, 80)] });
  await calm();
  await calm(pathOf(up));
  const before = {
    host: inspectKernel(),
    inside: inspectKernel(pathOf(up)),
    view: (await daemon.get('/v1/containers/web')).body,
  };
  const bad = await daemon.event({
    type: 'connect',
    id: 'web',
    network: 'back',
    options: { static_ips: ['10.72.0.1'], gateway_priority: 5 },
  });
  assert.is(bad.status, 409);
  await assertComesBackTo(before.host, () => inspectKernel());
  assert.equal(inspectKernel(pathOf(up)), before.inside);
  const { last_operation: _was, ...view } = before.view;
  const { last_operation: last, ...now } = (await daemon.get('/v1/containers/web')).body;
  assert.equal(now, view);
  assert.is(now.fault, null); // it is up
  assert.equal([last?.type, last?.network, last?.fault?.code], ['connect', 'back', 'ADDRESS_TAKEN']);
  await daemon.down('web');
});

twice('unpublish can remove a part of a range, and nothing else', async () => {
  const up = await daemon.up('web', { networks: on('front'), port_mappings: [port(8000, 80, { range: 5 })] });
  await daemon.done({ type: 'unpublish', id: 'web', port_mappings: [port(8002, 82)] });
  const { body } = await daemon.get('/v1/containers/web');
  assert.equal(
    body.ports?.map(({ host_port: host, range }) => [host, range]),
    [
      [8000, 2],
      [8003, 2],
    ],
  );
  await withAgents([pathOf(up), null], async (inside, host) => {
    for (let n = 80; n < 85; n++) await inside.serve(`p${n}`, 'tcp', n);
    const answers = await Promise.all([0, 1, 2, 3, 4].map((n) => host.dial('tcp', '127.0.0.1', 8000 + n)));
    const client = loopbackClient(up, 'front');
    assert.equal(answers, [`p80 ${client}`, `p81 ${client}`, 'ECONNREFUSED', `p83 ${client}`, `p84 ${client}`]);
  });
  // The ports are free for others at once.
  await daemon.up('other', { networks: on('front'), port_mappings: [port(8002, 80)] });
  await daemon.down('web', 'other');
});

twice('a port moves in one transaction, and no connection is ever refused', async () => {
  const blue = await daemon.up('blue', { networks: on('front'), port_mappings: [port(8080, 80, { range: 2 })] });
  const green = await daemon.up('green', { networks: on('back') });
  await withAgents([pathOf(blue), pathOf(green), null], async (one, two, host) => {
    await one.serve('blue', 'tcp', 80);
    await two.serve('green', 'tcp', 8000);
    const answers: string[] = [];
    let moving = true;
    const dialling = (async () => {
      while (moving) answers.push((await host.dial('tcp', '127.0.0.1', 8080)).split(' ')[0] ?? '');
    })();
    for (let round = 0; round < 10; round++) {
      await daemon.done({ type: 'publish', id: 'green', port_mappings: [port(8080, 8000)], from: 'blue' });
      assert.is(await host.dial('tcp', '127.0.0.1', 8080), `green ${loopbackClient(green, 'back')}`);
      await daemon.done({ type: 'publish', id: 'blue', port_mappings: [port(8080, 80)], from: 'green' });
      assert.is(await host.dial('tcp', '127.0.0.1', 8080), `blue ${loopbackClient(blue, 'front')}`);
    }
    moving = false;
    await dialling;
    assert.equal([...new Set(answers)].sort(), ['blue', 'green']);
  });
  const has = async (id: string) =>
    (await daemon.get(`/v1/containers/${id}`)).body.ports?.map(({ host_port: host, range }) => [host, range]);
  assert.equal(await has('blue'), [
    [8081, 1],
    [8080, 1],
  ]);
  assert.equal(await has('green'), []);
  await daemon.clean();
  await daemon.down('blue', 'green');
});

twice('a port that does not exist, or may not be given, is not taken', async () => {
  await daemon.up('blue', { networks: on('front'), port_mappings: [port(8080, 80)] });
  await daemon.up('green', { networks: on('inner') });
  await daemon.done({ type: 'create', id: 'raw', networks: on('front') });
  const take = (id: string, from: string, host: number) =>
    daemon.event({ type: 'publish', id, port_mappings: [port(host, 80)], from });
  assert.is((await take('green', 'blue', 9090)).body.error?.code, 'NOT_PUBLISHED');
  assert.is((await take('green', 'nobody', 8080)).body.error?.code, 'NO_SUCH_CONTAINER');
  assert.is((await take('blue', 'blue', 8080)).body.error?.code, 'BAD_REQUEST');
  assert.is((await take('raw', 'blue', 8080)).body.error?.code, 'BAD_REQUEST');
  assert.is((await take('green', 'blue', 0)).body.error?.code, 'BAD_REQUEST');
  // An internal network has no ports: nothing has moved.
  assert.is((await take('green', 'blue', 8080)).body.error?.code, 'PORTS_NEED_NETWORK');
  await daemon.done({ type: 'configure', id: 'raw' });
  assert.is((await daemon.event({ type: 'publish', id: 'raw', port_mappings: [port(8080, 80)] })).status, 409);
  assert.is((await daemon.get('/v1/containers/blue')).body.state, 'up');
  await daemon.clean();
  await daemon.down('blue', 'green', 'raw');
});

twice('in a namespace of others, connect and disconnect do not touch foreign objects', async () => {
  const path = addNetns('theirs');
  execFileSync('ip', ['-n', 'theirs', 'link', 'add', 'eth0', 'type', 'ifb']);
  const before = inspectKernel(path);
  const up = await daemon.up('guest', { netns: { mode: 'path', path } });
  await daemon.done({ type: 'connect', id: 'guest', network: 'front' });
  assert.equal(links(up), ['lo', 'eth0', 'eth1']);
  await daemon.done({ type: 'disconnect', id: 'guest', network: 'front' });
  assert.equal(links(up), ['lo', 'eth0']);
  const kernel = ({ mounts: _mounts, ...rest }: Picture): Picture => rest;
  await assertComesBackTo(kernel(before), () => kernel(inspectKernel(path)));
  await daemon.down('guest');
  removeNetns('theirs');
});

twice('a forced disconnect goes on where the link and the network are gone already', async () => {
  const made = await daemon.network({ name: 'brief', subnets: [{ subnet: '10.74.0.0/24' }], dns_enabled: false });
  const up = await daemon.up('web', { networks: on('front', 'brief') });
  execFileSync('nsenter', [`--net=${pathOf(up)}`, 'ip', 'link', 'del', 'eth1']);
  const now = await daemon.done({ type: 'disconnect', id: 'web', network: 'brief', force: true });
  assert.equal(Object.keys(now.networks), ['front']);
  await daemon.down('web');
  assert.is((await daemon.request('DELETE', `/v1/networks/${made.id}`)).status, 204);
});

live.run();
