// slow: 20 s, dozens of attachments come and go, and the kernel removes links at its own pace
/**
 * Cleat as a CNI plugin, as a runtime runs it: the executable, a real daemon, real namespaces.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { CniResult } from '../../state/answers/cni.ts';
import { CniResult as ResultSchema } from '../../state/answers/cni.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Why } from '../../state/answers/container/why.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { CniRuntime, type Place } from '../harness/cni.ts';
import { on, port, TestDaemon } from '../harness/daemon.ts';
import { addNetns, removeNetns, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { assertComesBackTo, inspect, ipJson, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const runtime = new CniRuntime(daemon.socket);
const cni = suite('cni');

const VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];
const web = { cniVersion: '1.0.0', name: 'podnet', type: 'cleat', network: 'web' };
const described = {
  cniVersion: '1.1.0',
  name: 'own',
  type: 'cleat',
  ipam: {
    type: 'host-local',
    ranges: [
      [{ subnet: '10.71.0.0/24', rangeStart: '10.71.0.50', gateway: '10.71.0.9' }],
      [{ subnet: 'fd00:71::/64' }],
    ],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '192.0.2.0/24' }, { dst: '198.51.100.0/24', gw: '10.71.0.77' }],
  },
};

cni.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }] });
  await daemon.network({ name: 'db', subnets: [{ subnet: '10.72.0.0/24' }] });
  removeNetns((addNetns('first'), 'first')); // the first one mounts the directory
  before = inspect(daemon);
});
cni.after(async () => {
  await assertComesBackTo(before, () => inspect(daemon));
  await daemon.clean();
  await daemon.stop();
});

let netns = '';
let before: Picture;
cni.before.each(() => {
  netns = addNetns('c1');
});
cni.after.each(async () => {
  const { body } = await daemon.get<ContainerView[]>('/v1/containers');
  await daemon.down(...body.map(({ id }) => id));
  removeNetns('c1');
});

const place = (more: Partial<Place> = {}): Place => ({ id: 'c1', netns, ...more });
const view = async (id = 'c1') => (await daemon.get<ContainerView>(`/v1/containers/${id}`)).body;
const statusOf = async (id = 'c1') => (await daemon.get(`/v1/containers/${id}`)).status;
const addressesIn = (link: string): string[] =>
  ipJson<{ addr_info: { local: string; scope: string }[] }[]>(netns, 'address', 'show', 'dev', link).flatMap(
    ({ addr_info }) => addr_info.filter(({ scope }) => scope === 'global').map(({ local }) => local),
  );

/** The result with what differs from run to run replaced by words. */
function golden(result: CniResult): unknown {
  const text = JSON.stringify(result)
    .replaceAll(/"(cleat|cni-)[0-9a-f-]+"/g, '"BRIDGE"')
    .replaceAll(/"ve[0-9a-f]{9}"/g, '"VETH"')
    .replaceAll(/"mac":"([0-9a-f]{2}:){5}[0-9a-f]{2}"/g, '"mac":"MAC"');
  return JSON.parse(text);
}

cni('each version gets the result in its own form', async () => {
  for (const cniVersion of VERSIONS) {
    const config = { ...web, cniVersion, runtimeConfig: { ips: ['10.70.0.7/24', 'fd00:70::7'] } };
    const result = await runtime.added(place(), config);
    assert.equal(Object.keys(result), Object.keys(ResultSchema.shape), 'the order of the specification');
    ResultSchema.parse(result);
    const old = ['0.3.0', '0.3.1', '0.4.0'].includes(cniVersion);
    const mtu = cniVersion === '1.1.0' ? { mtu: 1500 } : {};
    assert.equal(golden(result), {
      cniVersion,
      interfaces: [
        { name: 'BRIDGE', mac: 'MAC', ...mtu },
        { name: 'VETH', mac: 'MAC', ...mtu },
        { name: 'eth0', mac: 'MAC', ...mtu, sandbox: '/run/netns/c1' },
      ],
      ips: [
        { ...(old ? { version: '4' } : {}), address: '10.70.0.7/24', interface: 2, gateway: '10.70.0.1' },
        { ...(old ? { version: '6' } : {}), address: 'fd00:70::7/64', interface: 2, gateway: 'fd00:70::1' },
      ],
      routes: [
        { dst: '0.0.0.0/0', gw: '10.70.0.1' },
        { dst: '::/0', gw: 'fd00:70::1' },
      ],
      dns: {},
    });
    await runtime.done('DEL', place(), { ...config, prevResult: result });
    assert.is(await statusOf(), 404);
  }
});

cni('what the result says is so in the kernel', async () => {
  const result = await runtime.added(place({ ifname: 'net5' }), web);
  const [bridge, host, inside] = result.interfaces;
  const links = ipJson<{ ifname: string; address: string; master?: string }[]>(undefined, 'link', 'show');
  const find = (name = '') => links.find(({ ifname }) => ifname === name);
  assert.is(find(bridge?.name)?.address, bridge?.mac);
  assert.is(find(host?.name)?.address, host?.mac);
  assert.is(find(host?.name)?.master, bridge?.name);
  const [link] = ipJson<{ address: string }[]>(netns, 'link', 'show', 'net5');
  assert.is(link?.address, inside?.mac);
  assert.equal(new Set(addressesIn('net5')), new Set(result.ips.map(({ address }) => address.split('/')[0])));
});

cni('a configuration describes its network, which is known while a container is on it', async () => {
  const result = await runtime.added(place(), described);
  assert.equal(
    result.ips.map(({ address, gateway }) => [address, gateway]),
    [
      ['10.71.0.50/24', '10.71.0.9'],
      ['fd00:71::2/64', 'fd00:71::1'],
    ],
  );
  assert.equal(result.routes.slice(2), [
    { dst: '192.0.2.0/24', gw: '10.71.0.9' },
    { dst: '198.51.100.0/24', gw: '10.71.0.77' },
  ]);
  const { body: network } = await daemon.get<NetworkDefinition>('/v1/networks/own');
  assert.is(network.engine, 'cni');
  const second = addNetns('c2');
  const other = await runtime.added({ id: 'c2', netns: second }, described);
  assert.is(other.ips[0]?.address, '10.71.0.51/24');
  assert.equal((await daemon.get<NetworkDefinition>('/v1/networks/own')).body, network, 'it is the same one');
  // Another definition is refused while containers are on it.
  const wider = { ...described, ipam: { ...described.ipam, ranges: [[{ subnet: '10.71.0.0/16' }]] } };
  const error = await runtime.refused('ADD', { id: 'c3', netns: second }, wider);
  assert.is(error.code, 7);
  assert.match(error.msg, /network own is being used by c1, c2 \(NETWORK_IN_USE\)/);
  await runtime.done('DEL', place(), described);
  await runtime.done('DEL', { id: 'c2', netns: second }, described);
  await until('the network is forgotten', async () => (await daemon.get('/v1/networks/own')).status === 404);
  assert.is((await runtime.added(place(), wider)).ips[0]?.address, '10.71.0.2/16');
  removeNetns('c2');
});

cni('without a network in it, a configuration is for the network of its name', async () => {
  const result = await runtime.added(place(), { cniVersion: '1.0.0', name: 'db', type: 'cleat' });
  assert.match(result.ips[0]?.address ?? '', /^10\.72\.0\./);
  const error = await runtime.refused('ADD', place({ id: 'c2' }), { cniVersion: '1.0.0', name: 'none', type: 'cleat' });
  assert.is(error.code, 7);
  assert.match(error.msg, /none: network not found/);
});

cni('capabilities and CNI_ARGS: ports, addresses, MAC, aliases, DNS, the pod', async () => {
  const config = {
    ...web,
    capabilities: { portMappings: true, ips: true, mac: true, aliases: true, dns: true },
    runtimeConfig: {
      portMappings: [
        { hostPort: 8080, containerPort: 80, protocol: 'TCP' },
        { hostPort: 53, containerPort: 53, protocol: 'udp', hostIP: '127.0.0.1' },
      ],
      ips: ['10.70.0.44/24'],
      mac: '02:00:00:00:00:44',
      aliases: { podnet: ['db'] },
      dns: { servers: ['192.0.2.53'], searches: ['example.org'], options: ['ndots:5'] },
    },
  };
  const args = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0;K8S_POD_UID=x;SOMETHING=else';
  const result = await runtime.added(place({ args }), config);
  assert.is(result.ips[0]?.address, '10.70.0.44/24');
  assert.is(result.interfaces[2]?.mac, '02:00:00:00:00:44');
  assert.equal(result.dns, { nameservers: ['192.0.2.53'], search: ['example.org'], options: ['ndots:5'] });
  const { name, hostname, ports, requested_networks } = await view();
  assert.equal([name, hostname], ['cart-0.shop', 'cart-0']);
  assert.equal(requested_networks.web?.aliases, ['db']);
  assert.equal(
    ports.map(({ host_ip, host_port, container_port, protocol }) => [host_ip, host_port, container_port, protocol]),
    [
      ['', 8080, 80, 'tcp'],
      ['127.0.0.1', 53, 53, 'udp'],
    ],
  );
  await withAgents([netns, null], async (inside, host) => {
    await inside.serve('c1', 'tcp', 80);
    assert.match(await host.dial('tcp', '127.0.0.1', 8080), /^c1 /);
  });
  // The pod starts again before its former life has ended: the name is taken, which is no reason to fail.
  const second = addNetns('c2');
  await runtime.added({ id: 'c2', netns: second, args }, web);
  assert.equal([(await view('c2')).name, (await view('c2')).hostname], ['c2', 'cart-0']);
  await runtime.done('DEL', { id: 'c2', netns: second }, web);
  removeNetns('c2');
  await runtime.done('DEL', place(), config);

  const plain = await runtime.added(place({ args: 'IP=10.70.0.45;MAC=02:00:00:00:00:45' }), web);
  assert.equal([plain.ips[0]?.address, plain.interfaces[2]?.mac], ['10.70.0.45/24', '02:00:00:00:00:45']);
  await runtime.done('DEL', place(), web);
  const labelled = { ...web, args: { cni: { ips: ['10.70.0.46'], labels: [] }, others: 1 } };
  assert.is((await runtime.added(place(), labelled)).ips[0]?.address, '10.70.0.46/24');
});

cni('a pod may be called as the ids of other containers begin', async () => {
  const others = ['0', '1'].map((digit) => 'cafe'.padEnd(64, digit));
  for (const id of others) await daemon.done({ type: 'create', id });
  await runtime.added(place({ args: 'K8S_POD_NAME=cafe' }), web);
  assert.is((await view()).name, 'cafe');
  await runtime.done('DEL', place(), web);
});

cni('with names, the result leads to the name server of the network', async () => {
  const named = {
    ...described,
    name: 'named',
    dnsEnabled: true,
    dns: { nameservers: ['192.0.2.53'], domain: 'example.org' },
  };
  const result = await runtime.added(place(), named);
  assert.equal(result.dns, { nameservers: ['10.71.0.9', 'fd00:71::1'], domain: 'example.org', search: ['dns.podman'] });
  const { body: network } = await daemon.get<NetworkDefinition>('/v1/networks/named');
  assert.equal(network.network_dns_servers, ['192.0.2.53']);
  await runtime.done('DEL', place(), named);
  const plain = { ...named, dnsEnabled: false, name: 'plain' };
  assert.equal((await runtime.added(place(), plain)).dns, { nameservers: ['192.0.2.53'], domain: 'example.org' });
});

cni('one machine: a CNI attachment and one over the socket are the same container', async () => {
  await runtime.added(place(), web);
  assert.is((await view()).state, 'up');
  assert.is((await daemon.get<Why>('/v1/containers/c1/why')).status, 200);
  await daemon.done({ type: 'publish', id: 'c1', port_mappings: [port(9000, 90)] });
  await daemon.done({ type: 'connect', id: 'c1', network: 'db' });
  // The runtime takes away what it has added, and nothing else.
  await runtime.done('DEL', place(), web);
  const left = await view();
  assert.equal(Object.keys(left.networks), ['db']);
  assert.equal(
    left.ports.map(({ host_port }) => host_port),
    [9000],
  );

  // And the other way round: a container of the socket gets a network by CNI, and keeps the rest.
  const made = await daemon.up('s1', { networks: on('db'), netns: { mode: 'new' } });
  const path = made.netns.path ?? '';
  await runtime.added({ id: 's1', netns: path, ifname: 'eth7' }, web);
  assert.equal(Object.keys((await view('s1')).networks), ['db', 'web']);
  await runtime.done('DEL', { id: 's1', netns: path, ifname: 'eth7' }, web);
  assert.equal(Object.keys((await view('s1')).networks), ['db']);
  // Another namespace under its id is another container, which must not take its place.
  const error = await runtime.refused('ADD', { id: 's1', netns }, web);
  assert.is(error.code, 100);
  assert.match(error.msg, /CONTAINER_EXISTS/);
  assert.is((await view('s1')).state, 'up');
});

cni('interfaces of one container come and go one by one, each with its ports', async () => {
  const ports = (hostPort: number) => ({
    runtimeConfig: {
      portMappings: [
        { hostPort, containerPort: 80 },
        { hostPort: 8000, containerPort: 80 },
      ],
    },
  });
  const first = { ...web, ...ports(8001) };
  const second = { cniVersion: '1.0.0', name: 'second', type: 'cleat', network: 'db', ...ports(8002) };
  await runtime.added(place(), first);
  const result = await runtime.added(place({ ifname: 'eth1' }), second);
  assert.is(result.interfaces[2]?.name, 'eth1');
  const open = async () => (await view()).ports.map(({ host_port }) => host_port).sort((a, b) => a - b);
  assert.equal(await open(), [8000, 8001, 8002]);

  const twice = await runtime.refused('ADD', place(), first);
  assert.is(twice.code, 100);
  assert.match(twice.msg, /interface eth0 exists already in container c1/);
  const again = await runtime.refused('ADD', place({ ifname: 'eth2' }), first);
  assert.match(again.msg, /on network web already, as eth0/);

  // Neither an interface of another configuration nor one that was never added is taken away.
  await runtime.done('DEL', place({ ifname: 'eth1' }), first);
  await runtime.done('DEL', place(), second);
  await runtime.done('DEL', place({ ifname: 'eth9' }), first);
  assert.equal(Object.keys((await view()).networks), ['web', 'db']);

  await runtime.done('DEL', place(), first);
  assert.equal(Object.keys((await view()).networks), ['db']);
  assert.equal(await open(), [8000, 8002]);
  await runtime.done('DEL', place({ ifname: 'eth1' }), second);
  assert.is(await statusOf(), 404);
});

cni(
  'DEL is done when things are gone: twice, without a namespace, without a result, with a changed configuration',
  async () => {
    await runtime.done('DEL', { id: 'never', netns: '/run/netns/never' }, web);
    await runtime.added(place(), web);
    await runtime.done('DEL', { id: 'c1' }, web); // no CNI_NETNS
    assert.is(await statusOf(), 404);
    await runtime.done('DEL', { id: 'c1' }, web);

    const second = addNetns('c2');
    const result = await runtime.added({ id: 'c2', netns: second }, web);
    removeNetns('c2');
    const changed = {
      cniVersion: '1.0.0',
      name: 'podnet',
      type: 'cleat',
      network: 'gone',
      unknown: 1,
      prevResult: result,
    };
    await runtime.done('DEL', { id: 'c2', netns: second }, changed);
    assert.is(await statusOf('c2'), 404);
  },
);

cni('an id in another namespace is another life of the container', async () => {
  // A runtime that never called DEL: its container, and the namespace, are over.
  const second = addNetns('c2');
  const first = await runtime.added({ id: 'x', netns: second }, web);
  removeNetns('c2');
  const next = await runtime.added({ id: 'x', netns }, web);
  assert.is.not(next.interfaces[2]?.mac, first.interfaces[2]?.mac);
  assert.ok(addressesIn('eth0').length === 2);
  await daemon.clean();
});

cni('CHECK: as it was, or an error', async () => {
  const wrong = async (more: Partial<Place>, config: object, reason: RegExp, code = 100) => {
    const error = await runtime.refused('CHECK', place(more), config);
    assert.is(error.code, code, error.msg);
    assert.match(error.msg, reason);
  };
  const prevResult = await runtime.added(place(), web);
  await runtime.done('CHECK', place(), { ...web, prevResult });
  await wrong({}, web, /prevResult is missing/, 7);
  await wrong({ id: 'nobody' }, { ...web, prevResult }, /NO_SUCH_CONTAINER/, 3);
  await wrong({ ifname: 'eth1' }, { ...web, prevResult }, /nothing was added/);
  await wrong({}, { ...web, name: 'other', prevResult }, /nothing was added/);
  const second = addNetns('c2');
  await wrong({ netns: second }, { ...web, prevResult }, /in another namespace/);
  removeNetns('c2');
  const ips = [{ address: '10.70.0.99/24', interface: 2 }];
  await wrong({}, { ...web, prevResult: { ...prevResult, ips } }, /has 10\.70\.0\.99\/24, the container has/);
  await wrong({}, { ...web, prevResult: { ...prevResult, ips: [] } }, /which the result of the ADD has not/);
  await wrong({}, { ...web, prevResult: { ...prevResult, interfaces: [] } }, /no interface eth0/);

  // What others take away is put back, and CHECK waits for that.
  execFileSync('ip', ['-n', 'c1', 'link', 'set', 'eth0', 'down']);
  await runtime.done('CHECK', place(), { ...web, prevResult });
});

cni('GC takes away what the runtime does not know any more, and only that', async () => {
  const gc = { ...web, cniVersion: '1.1.0' };
  const other = { cniVersion: '1.1.0', name: 'other', type: 'cleat', network: 'web' };
  const paths = ['a', 'b', 'c'].map(addNetns);
  const [a = '', b = '', c = ''] = paths;
  await runtime.added({ id: 'a', netns: a }, web);
  await runtime.added({ id: 'b', netns: b }, web);
  await runtime.added({ id: 'b', netns: b, ifname: 'eth1' }, { ...other, network: 'db' });
  await runtime.added({ id: 'c', netns: c }, other);
  await daemon.up('socket', { networks: on('web') });
  const error = await runtime.refused('GC', {}, gc);
  assert.is(error.code, 7, 'without a list nothing is known to be stale');
  await runtime.done(
    'GC',
    {},
    {
      ...gc,
      'cni.dev/valid-attachments': [
        { containerID: 'a', ifname: 'eth0' },
        { containerID: 'b', ifname: 'eth1' },
      ],
    },
  );
  assert.is((await view('a')).state, 'up');
  assert.equal(Object.keys((await view('b')).networks), ['db']);
  assert.is((await view('c')).state, 'up');
  await runtime.done('GC', {}, { ...gc, 'cni.dev/attachments': [] });
  assert.is(await statusOf('a'), 404);
  assert.equal(Object.keys((await view('b')).networks), ['db']);
  assert.is((await view('socket')).state, 'up');
  await daemon.down('b', 'c', 'socket');
  for (const name of ['a', 'b', 'c']) removeNetns(name);
});

cni('STATUS: whether the network can take a container, and nothing is changed by asking', async () => {
  const at = { ...web, cniVersion: '1.1.0' };
  await runtime.done('STATUS', {}, at);
  await runtime.done('STATUS', {}, described);
  assert.is((await daemon.get('/v1/networks/own')).status, 404);
  const overlapping = { ...described, ipam: { type: 'host-local', subnet: '10.72.0.0/16' } };
  const nowhere = await runtime.refused('STATUS', {}, { ...at, network: 'gone' });
  const taken = await runtime.refused('STATUS', {}, overlapping);
  assert.equal([nowhere.code, taken.code], [50, 50]);
  assert.match(taken.msg, /overlaps with network db/);

  const small = { ...described, name: 'small', ipam: { type: 'host-local', subnet: '10.73.0.0/30' } };
  await runtime.done('STATUS', {}, small);
  await runtime.added(place(), small);
  const full = await runtime.refused('STATUS', {}, small);
  assert.is(full.code, 50);
  assert.match(full.msg, /SUBNET_FULL/);
  const late = await runtime.refused('ADD', place({ id: 'c2' }), small);
  assert.is(late.code, 11);
});

cni('ids as long as a runtime likes, which keep apart', async () => {
  const long = (end: string) => `default-${'x'.repeat(300)}${end}`;
  const second = addNetns('c2');
  await runtime.added({ id: long('1'), netns }, web);
  await runtime.added({ id: long('2'), netns: second }, web);
  const { body } = await daemon.get<ContainerView[]>('/v1/containers');
  assert.is(new Set(body.map(({ id }) => id)).size, 2);
  assert.ok(body.every(({ id }) => id.length === 100 && id.startsWith('default-xxx')));
  await runtime.done('DEL', { id: long('1') }, web);
  await runtime.done('DEL', { id: long('2') }, web);
  removeNetns('c2');
  assert.equal((await daemon.get<ContainerView[]>('/v1/containers')).body, []);
});

cni('two commands for one container at once take turns', async () => {
  const second = { cniVersion: '1.0.0', name: 'second', type: 'cleat', network: 'db' };
  const ends = await Promise.all([
    runtime.cleat('ADD', place(), web),
    runtime.cleat('ADD', place({ ifname: 'eth1' }), second),
    runtime.cleat('ADD', place(), web),
    runtime.cleat('ADD', place({ ifname: 'eth2' }), web),
  ]);
  assert.is(ends.filter(({ code }) => code === 0).length, 2);
  assert.equal(Object.keys((await view()).networks).sort(), ['db', 'web']);
  // Which of those for one network came first is open.
  await Promise.all([
    runtime.done('DEL', place(), web),
    runtime.done('DEL', place({ ifname: 'eth1' }), second),
    runtime.done('DEL', place({ ifname: 'eth2' }), web),
  ]);
  assert.is(await statusOf(), 404);
});
cni.run();
