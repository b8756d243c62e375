/**
 * Conflicts that only configure can find: addresses, MACs, ports, names and subnets that belong to another owner. The
 * container returns to created with nothing made, the error names the owner, and after its teardown no byte is left.
 */
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Fault, FaultCode } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { addressOf, type Body, type CreateOptions, on, port, TestDaemon } from '../harness/daemon.ts';
import { calm, assertComesBackTo, inspect, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();

/**
 * Creates the container, checks that its configure is refused and undone, tears it down, and checks that everything is
 * as before.
 */
async function undone(create: CreateOptions, status: number, code: FaultCode): Promise<Fault> {
  const before = inspect(daemon);
  await daemon.done({ type: 'create', id: 'x', ...create });
  const created = inspectKernel();
  const answer = await daemon.event({ type: 'configure', id: 'x' });
  const { error } = answer.body;
  assert.is(`${answer.status} ${error?.code}`, `${status} ${code}`, answer.text);
  assert.ok((error?.hint ?? '') !== '' && (error?.message ?? '') !== '', answer.text);
  await assertComesBackTo(created, () => inspectKernel());
  const { body } = await daemon.get('/v1/containers/x');
  assert.is(body.state, 'created');
  assert.equal([body.networks, body.ports, body.fault?.code], [{}, [], code]);
  await daemon.down('x');
  await assertComesBackTo(before, () => inspect(daemon));
  return error!;
}

const conflicts = suite('conflicts');
const STATIC = { static_ips: ['10.70.0.10', 'fd00:70::10'], static_mac: '02:00:00:00:00:10' };

conflicts.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }] });
  await daemon.network({ name: 'inner', subnets: [{ subnet: '10.71.0.0/24' }], internal: true });
  await daemon.network({ name: 'tiny', subnets: [{ subnet: '10.72.0.0/29' }] });
  await daemon.network({ name: 'named', subnets: [{ subnet: '10.73.0.0/24' }], network_interface: 'br73' });
  const port_mappings = [port(8080, 80), port(9000, 9000, { range: 10, protocol: 'udp' })];
  await daemon.up('holder', { networks: { web: STATIC }, port_mappings });
  await calm();
});
conflicts.after(async () => {
  await daemon.stop();
});

conflicts('an address that is taken is refused, and its owner named', async () => {
  for (const address of STATIC.static_ips) {
    const fault = await undone({ networks: { web: { static_ips: [address] } } }, 409, 'ADDRESS_TAKEN');
    assert.is(fault.owner, 'holder');
    assert.match(fault.message, new RegExp(`^address ${address} is in use by holder on web$`));
  }
});

conflicts('the addresses of gateway, network and broadcast are taken', async () => {
  for (const address of ['10.70.0.1', '10.70.0.0', '10.70.0.255', 'fd00:70::']) {
    const fault = await undone({ networks: { web: { static_ips: [address] } } }, 409, 'ADDRESS_TAKEN');
    assert.is(fault.owner, 'network web');
  }
});

conflicts('an address outside the subnet is refused, and the error names the subnets', async () => {
  const fault = await undone({ networks: { web: { static_ips: ['10.71.0.5'] } } }, 400, 'ADDRESS_OUTSIDE_SUBNET');
  assert.match(fault.message, /10\.70\.0\.0\/24, fd00:70::\/64/);
});

conflicts('a MAC address that is taken is refused, and its owner named', async () => {
  const fault = await undone({ networks: { web: { static_mac: STATIC.static_mac } } }, 409, 'MAC_TAKEN');
  assert.is(fault.owner, 'holder');
});

conflicts('a MAC address that a container got without request is refused too, after a restart too', async () => {
  const automatic = await daemon.up('other', { networks: on('web') });
  const mac = Object.values(automatic.networks.web?.interfaces ?? {})[0]?.mac_address ?? '';
  const bridge = (await daemon.get<NetworkDefinition>('/v1/networks/web')).body.network_interface;
  const macOfBridge = readFileSync(`/sys/class/net/${bridge}/address`, 'utf8').trim();
  // An uplink of the network: another port of the bridge.
  const uplink = '02:00:00:00:99:99';
  execFileSync('ip', [
    'link',
    'add',
    'up0',
    'address',
    uplink,
    'master',
    bridge,
    'type',
    'veth',
    'peer',
    'name',
    'up1',
  ]);
  const taken: [mac: string, owner: string][] = [
    [mac, 'other'],
    [mac.toUpperCase(), 'other'],
    [macOfBridge, 'network web'],
    [uplink, 'link up0'],
  ];
  await calm();
  const before = inspectKernel();
  for (const again of [false, true]) {
    if (again) {
      await daemon.kill();
      await daemon.start();
      // The network that "late" has left may have been going down when the daemon was killed.
      await assertComesBackTo(before, () => inspectKernel());
    }
    for (const [static_mac, owner] of again ? taken.slice(0, 1) : taken) {
      const fault = await undone({ networks: { web: { static_mac } } }, 409, 'MAC_TAKEN');
      assert.is(fault.owner, owner);
    }
    // The same by connect.
    await daemon.up('late', { networks: on('inner') });
    const answer = await daemon.event({ type: 'connect', id: 'late', network: 'web', options: { static_mac: mac } });
    assert.is(answer.body.error?.code, 'MAC_TAKEN', answer.text);
    await daemon.down('late');
  }
  execFileSync('ip', ['link', 'del', 'up0']);
  // On another network the same MAC is free.
  await daemon.up('elsewhere', { networks: { inner: { static_mac: mac } } });
  await daemon.down('elsewhere', 'other');
  await daemon.up('now', { networks: { web: { static_mac: mac } } });
  await daemon.down('now');
});

conflicts('two containers that have one MAC since an older version go on when the daemon starts', async () => {
  const [a, b] = [await daemon.up('a', { networks: on('web') }), await daemon.up('b', { networks: on('web') })];
  const macOf = (view: Body) => Object.values(view.networks?.web?.interfaces ?? {})[0]?.mac_address ?? '';
  await daemon.stop();
  const file = `${daemon.runDir}/containers/b.json`;
  writeFileSync(file, readFileSync(file, 'utf8').replaceAll(macOf(b), macOf(a)));
  await daemon.start();
  for (const id of ['a', 'b']) {
    // The second container first gets the same MAC, as drift.
    const { body } = await daemon.get(`/v1/containers/${id}?wait=up`);
    assert.equal([body.state, macOf(body)], ['up', macOf(a)]);
  }
  await daemon.down('a', 'b');
});

conflicts('a port of another container is refused, and its owner named', async () => {
  const taken = [
    port(8080, 8080),
    port(8080, 80, { host_ip: '127.0.0.1' }),
    port(8070, 8070, { range: 20 }),
    port(9009, 1, { protocol: 'udp' }),
  ];
  for (const mapping of taken) {
    const fault = await undone({ networks: on('web'), port_mappings: [port(7000, 7), mapping] }, 409, 'PORT_TAKEN');
    assert.is(fault.owner, 'holder');
  }
  await daemon.up('free', {
    networks: on('web'),
    port_mappings: [port(8080, 80, { protocol: 'udp' }), port(9000, 9000)],
  });
  await daemon.down('free');
});

conflicts('a port that the host listens on is refused, with pid and command', async () => {
  const server = createServer().listen(7070, '0.0.0.0');
  const socket = createSocket('udp6');
  await new Promise<void>((bound) => socket.bind(7071, '::', bound));
  const who = `pid ${process.pid} (node)`;
  try {
    const tcp = await undone({ networks: on('web'), port_mappings: [port(7070, 80)] }, 409, 'PORT_TAKEN');
    assert.is(tcp.owner, who);
    assert.match(tcp.message, /7070\/tcp is in use on the host by pid \d+ \(node\)/);
    const local = port(7070, 80, { host_ip: '127.0.0.1' });
    assert.is((await undone({ networks: on('web'), port_mappings: [local] }, 409, 'PORT_TAKEN')).owner, who);
    const range = port(7065, 80, { range: 10, protocol: 'udp' });
    assert.is((await undone({ networks: on('web'), port_mappings: [range] }, 409, 'PORT_TAKEN')).owner, who);
  } finally {
    server.close();
    socket.close();
  }
});

conflicts('the same port requested twice with different destinations is refused before anything is made', async () => {
  const port_mappings = [port(7000, 80), port(7000, 81)];
  for (const event of [
    { type: 'create', id: 'x', networks: on('web'), port_mappings },
    { type: 'publish', id: 'holder', port_mappings },
  ]) {
    const { status, body } = await daemon.event(event);
    assert.is(`${status} ${body.error?.code}`, '400 BAD_REQUEST');
    assert.match(body.error?.message ?? '', /^ports 7000:80\/tcp and 7000:81\/tcp overlap/);
  }
  // They collide one by one at configure.
  await daemon.done({ type: 'create', id: 'x', networks: on('web'), port_mappings: [port(7000, 80)] });
  await daemon.done({ type: 'publish', id: 'x', port_mappings: [port(7000, 81)] });
  const { status, body } = await daemon.event({ type: 'configure', id: 'x' });
  assert.is(`${status} ${body.error?.code}`, '409 PORT_TAKEN');
  await daemon.down('x');
});

conflicts('ports that continue each other are one range, in whatever order they came', async () => {
  const port_mappings = [port(7002, 82), port(7000, 80), port(7001, 81), port(7000, 80)];
  const { ports } = await daemon.up('x', { networks: on('web'), port_mappings });
  assert.equal(ports, [{ host_ip: '', host_port: 7000, container_port: 80, protocol: 'tcp', range: 3 }]);
  // Publishing a part of it again adds nothing.
  assert.equal((await daemon.done({ type: 'publish', id: 'x', port_mappings: [port(7001, 81)] })).ports, ports);
  await daemon.down('x');
});

conflicts('a full subnet is refused', async () => {
  const before = inspect(daemon);
  const ids = [1, 2, 3, 4, 5].map((n) => `tiny${n}`);
  for (const id of ids) await daemon.up(id, { networks: on('tiny') });
  await calm();
  const fault = await undone({ networks: on('web', 'tiny') }, 409, 'SUBNET_FULL');
  assert.match(fault.message, /10\.72\.0\.0\/29/);
  await daemon.down(...ids);
  const again = await daemon.up('again', { networks: on('tiny') });
  assert.match(addressOf(again, 'tiny'), /^10\.72\.0\.[2-6]$/);
  await daemon.down('again');
  await assertComesBackTo(before, () => inspect(daemon));
});

conflicts('an interface name that is used twice, or exists already, is refused', async () => {
  const twice = { web: { interface_name: 'lan' }, tiny: { interface_name: 'lan' } };
  await undone({ networks: twice }, 409, 'INTERFACE_TAKEN');
  const loopback = await undone({ networks: { web: { interface_name: 'lo' } } }, 409, 'INTERFACE_TAKEN');
  assert.is(loopback.object, 'lo');
  assert.match(loopback.message, /^interface lo exists already/);
});

conflicts('ports that cannot lead to the networks of the container are refused', async () => {
  await undone({ networks: on('inner'), port_mappings: [port(7000, 80)] }, 400, 'PORTS_NEED_NETWORK');
});

conflicts('a network that does not exist is refused at create', async () => {
  const { status, body } = await daemon.event({ type: 'create', id: 'x', networks: on('web', 'nope') });
  assert.is(`${status} ${body.error?.code}`, '404 NO_SUCH_NETWORK');
  assert.is((await daemon.get('/v1/containers/x')).status, 404);
});

conflicts('a network that is gone when it is needed is refused, and the others are released', async () => {
  const before = inspect(daemon);
  await daemon.network({ name: 'brief', subnets: [{ subnet: '10.79.0.0/24' }], dns_enabled: false });
  await daemon.done({ type: 'create', id: 'x', networks: on('web', 'brief') });
  assert.is((await daemon.request('DELETE', '/v1/networks/brief')).status, 204);
  const { status, body } = await daemon.event({ type: 'configure', id: 'x' });
  assert.is(`${status} ${body.error?.code}`, '404 NO_SUCH_NETWORK');
  await daemon.down('x');
  await assertComesBackTo(before, () => inspect(daemon));
});

conflicts('a bridge name that a host link has is refused, and the link is unchanged', async () => {
  execFileSync('ip', ['link', 'add', 'br73', 'type', 'bridge']);
  const fault = await undone({ networks: on('named') }, 409, 'NAME_TAKEN_IN_KERNEL');
  assert.is(fault.owner, 'something else');
  assert.is(fault.object, 'br73');
  execFileSync('ip', ['link', 'del', 'br73']);
  const before = inspect(daemon);
  await daemon.up('x', { networks: on('named') });
  await daemon.down('x');
  await assertComesBackTo(before, () => inspect(daemon));
});

conflicts('a change that is refused leaves a container that is up as it was', async () => {
  const before = inspectKernel();
  const legal = (await daemon.get('/v1/containers/holder')).body;
  const changes: [object, FaultCode][] = [
    [{ type: 'connect', network: 'web' }, 'ALREADY_CONNECTED'],
    [{ type: 'connect', network: 'nope' }, 'NO_SUCH_NETWORK'],
    [{ type: 'connect', network: 'tiny', options: { interface_name: 'eth0' } }, 'INTERFACE_TAKEN'],
    [{ type: 'disconnect', network: 'tiny' }, 'NOT_CONNECTED'],
    [{ type: 'publish', port_mappings: [port(8080, 81)] }, 'PORT_TAKEN'],
    [{ type: 'unpublish', port_mappings: [port(7000, 80)] }, 'NOT_PUBLISHED'],
  ];
  for (const [change, code] of changes) {
    const { body, text } = await daemon.event({ id: 'holder', ...change });
    assert.is(body.error?.code, code, text);
    assert.ok(body.error?.hint);
  }
  await assertComesBackTo(before, () => inspectKernel());
  const after = (await daemon.get('/v1/containers/holder')).body;
  assert.equal([after.state, after.networks, after.ports], ['up', legal.networks, legal.ports]);
});

conflicts.run();
