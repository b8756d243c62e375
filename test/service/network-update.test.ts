// as user: proving
/**
 * A network changes under its containers, on a real kernel: MTU, isolation, routes, DNS servers, a subnet, IPv6. The
 * change is made completely or not at all, also when the daemon is killed in the middle.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NetworkDefinition, NetworkUpdate } from '../../state/network.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, loopbackClient, on, pathOf, port, TestDaemon, type Answer } from '../harness/daemon.ts';
import { withAgents } from '../harness/inside.ts';
import { ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear, rounds } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const update = suite('network update');
const twice = rounds(update, daemon);

update.before(() => daemon.start());
update.after(async () => {
  await daemon.stop();
});

const SUBNET = '10.60.0.0/24';
const patch = (name: string, change: NetworkUpdate): Promise<Answer<NetworkDefinition & Partial<Answer['body']>>> =>
  daemon.request('PATCH', `/v1/networks/${name}`, change);
async function changed(name: string, change: NetworkUpdate): Promise<NetworkDefinition> {
  const { status, text, body } = await patch(name, change);
  if (status !== 200) throw new Error(`${name}: ${status} ${text}`);
  return body;
}
const onDisk = (name: string): NetworkDefinition =>
  JSON.parse(readFileSync(`${daemon.stateDir}/networks/${name}.json`, 'utf8')) as NetworkDefinition;
const underWay = (name: string): boolean => existsSync(`${daemon.stateDir}/networks/${name}.previous`);

interface Link {
  ifname: string;
  mtu: number;
  addr_info: { local: string; prefixlen: number; scope: string }[];
}
const view = async (id: string): Promise<ContainerView> =>
  (await daemon.get(`/v1/containers/${id}`)).body as ContainerView;
const inside = async (id: string): Promise<Link> => {
  const found = ipJson<Link[]>(pathOf(await view(id)), 'address').find(({ ifname }) => ifname === 'eth0');
  if (found === undefined) throw new Error(`${id} has no eth0`);
  return found;
};
const bridge = ({ network_interface: name }: NetworkDefinition): Link | undefined =>
  ipJson<Link[]>(undefined, 'address').find(({ ifname }) => ifname === name);
const globals = (link: Link | undefined): string[] =>
  (link?.addr_info ?? [])
    .filter(({ scope }) => scope === 'global')
    .map(({ local, prefixlen }) => `${local}/${prefixlen}`);
const routes = async (id: string): Promise<string[]> =>
  ipJson<{ dst: string; gateway?: string }[]>(pathOf(await view(id)), '-4', 'route')
    .filter(({ gateway }) => gateway !== undefined)
    .map(({ dst, gateway }) => `${dst} via ${gateway}`)
    .sort();

async function network(name: string, subnet: string): Promise<NetworkDefinition> {
  const { body } = await daemon.get<NetworkDefinition>(`/v1/networks/${name}`);
  if (body.name === name) await daemon.request('DELETE', `/v1/networks/${name}`);
  return daemon.network({ name, subnets: [{ subnet }] });
}

/** Networks are definitions on disk, which stay: each test makes its own, and removes it. */
function changing(title: string, body: (made: NetworkDefinition) => Promise<void>): void {
  twice(title, async () => {
    const made = await network('net', SUBNET);
    try {
      await body(made);
      await clear(daemon);
    } finally {
      await clear(daemon);
      assert.is((await daemon.request('DELETE', '/v1/networks/net')).status, 204);
    }
  });
}

changing('an unused network changes only its definition', async (made) => {
  const next = await changed('net', { options: { mtu: '1400' }, ipv6_enabled: true });
  assert.is(next.options.mtu, '1400');
  assert.is(next.subnets.length, 2);
  assert.equal(onDisk('net'), next);
  assert.not(underWay('net'));
  assert.is(bridge(made), undefined);
  assert.is((await patch('net', { options: { mtu: '1200' } })).status, 400);
  assert.is((await patch('net', { subnets: [{ subnet: '10.60.0.128/25' }] })).body.error?.code, 'SUBNET_OVERLAPS');
  assert.is((await patch('nowhere', {})).status, 404);
  assert.equal(onDisk('net'), next);
});

changing('isolation changes under open connections', async () => {
  await network('other', '10.61.0.0/24');
  await changed('other', { options: { isolate: 'true' } });
  const [a, b] = [await daemon.up('a', { networks: on('net') }), await daemon.up('b', { networks: on('other') })];
  await withAgents([pathOf(a), pathOf(b)], async (inA, inB) => {
    await inB.serve('b', 'tcp', 80);
    assert.is(await inA.dial('tcp', addressOf(b, 'other'), 80, 500), 'timeout');
    await changed('net', { options: { isolate: 'false' } });
    assert.match(await inA.dial('tcp', addressOf(b, 'other'), 80), /^b /);
    await changed('net', { options: { isolate: 'strict' } });
    assert.is(await inA.dial('tcp', addressOf(b, 'other'), 80, 500), 'timeout');
  });
  await clear(daemon);
  await daemon.request('DELETE', '/v1/networks/other');
});

changing('if one container cannot follow, none does, and it is named', async (made) => {
  await daemon.up('a', { networks: on('net') });
  // No neighbour has this address in any subnet: the kernel refuses the route in the first container.
  const { status, body } = await patch('net', {
    options: { mtu: '1400' },
    routes: [{ destination: '198.51.100.0/24', gateway: '192.0.2.1' }],
  });
  assert.is(status, 409);
  assert.is(body.error?.code, 'NETWORK_UPDATE_FAILED');
  assert.is(body.error?.owner, 'a');
  assert.is(body.error?.errno, 'ENETUNREACH');
  assert.equal(onDisk('net'), made);
  assert.not(underWay('net'));
  assert.is(bridge(made)?.mtu, 1500);
  assert.equal(globals(await inside('a')), [`${addressOf(await view('a'), 'net')}/24`]);
  await daemon.up('b', { networks: on('net') });
});

changing('the MTU of bridge and both ends changes, there and back', async (made) => {
  await daemon.up('a', { networks: on('net') });
  await changed('net', { options: { mtu: '1400' } });
  const all = ipJson<Link[]>(undefined, 'link').filter(({ ifname }) => ifname.startsWith('ve'));
  assert.equal([bridge(made)?.mtu, (await inside('a')).mtu, ...all.map(({ mtu }) => mtu)], [1400, 1400, 1400]);
  await changed('net', { options: { mtu: '1500' } });
  assert.equal([bridge(made)?.mtu, (await inside('a')).mtu], [1500, 1500]);
});

changing(
  'IPv6 and a subnet come under open connections: each container gets an address and keeps its own',
  async (made) => {
    const [a, b] = [await daemon.up('a', { networks: on('net') }), await daemon.up('b', { networks: on('net') })];
    const had = [addressOf(a, 'net'), addressOf(b, 'net')];
    await withAgents([pathOf(a), pathOf(b)], async (inA, inB) => {
      await inA.serve('a', 'tcp', 80);
      const next = await changed('net', { ipv6_enabled: true, subnets: [{ subnet: '10.62.0.0/24' }] });
      const [x, y] = [await view('a'), await view('b')];
      assert.equal([addressOf(x, 'net'), addressOf(y, 'net')], had);
      assert.is(await inB.dial('tcp', addressOf(x, 'net'), 80), `a ${had[1]}`);
      assert.is(await inB.dial('tcp', addressOf(x, 'net', 6), 80), `a ${addressOf(y, 'net', 6)}`);
      assert.equal(
        globals(bridge(made)).sort(),
        next.subnets.map(({ subnet, gateway }) => `${gateway}/${subnet.split('/')[1]}`).sort(),
      );
    });
    const late = await daemon.up('c', { networks: on('net') });
    assert.is(globals(await inside('c')).length, 3);
    assert.ok(addressOf(late, 'net', 6));
  },
);

changing('routes are replaced', async () => {
  await daemon.up('a', { networks: on('net') });
  await changed('net', { routes: [{ destination: '198.51.100.0/24', gateway: '10.60.0.77' }] });
  assert.ok((await routes('a')).includes('198.51.100.0/24 via 10.60.0.77'));
  await changed('net', { routes: [{ destination: '192.0.2.0/24', gateway: '10.60.0.78' }] });
  assert.equal(await routes('a'), ['192.0.2.0/24 via 10.60.0.78', 'default via 10.60.0.1']);
});

/** "default via 10.60.0.1 metric 100", of one family. */
const defaults = async (id: string, family: '-4' | '-6' = '-4'): Promise<string[]> =>
  ipJson<{ dst: string; gateway?: string; metric?: number }[]>(pathOf(await view(id)), family, 'route')
    .filter(({ dst }) => dst === 'default')
    .map(({ gateway, metric }) => `${gateway} metric ${metric}`)
    .sort();
/** A container on the network, with a requested address. */
const asking = (address: string) => ({ net: { static_ips: [address] } });
/** The objects of the network's bridge: addresses and the routes that come with them. */
const ofBridge = (made: NetworkDefinition): string[] => [
  ...globals(bridge(made)),
  ...ipJson<{ dst: string }[]>(undefined, '-4', 'route', 'show', 'dev', made.network_interface).map(({ dst }) => dst),
];

changing('the gateway changes on the bridge and in each container', async (made) => {
  await changed('net', { ipv6_enabled: true });
  const [a, b] = [await daemon.up('a', { networks: on('net') }), await daemon.up('b', { networks: on('net') })];
  const six = onDisk('net').subnets[1]?.subnet ?? '';
  const new6 = six.replace('/64', 'fe');
  await withAgents([pathOf(a), pathOf(b)], async (inA, inB) => {
    await inA.serve('a', 'tcp', 80);
    await changed('net', {
      subnets: [
        { subnet: SUBNET, gateway: '10.60.0.254' },
        { subnet: six, gateway: new6 },
      ],
    });
    assert.equal(await defaults('a'), ['10.60.0.254 metric 100']);
    assert.equal(await defaults('b', '-6'), [`${new6} metric 100`]);
    assert.equal(ofBridge(made).sort(), [SUBNET, '10.60.0.254/24', `${new6}/64`].sort());
    assert.match(await inB.dial('tcp', addressOf(a, 'net'), 80), /^a /);
    assert.match(await inB.dial('tcp', addressOf(a, 'net', 6), 80), /^a /);
  });
  // The old gateway is an ordinary address now, and the new one is not.
  await daemon.up('c', { networks: asking('10.60.0.1') });
  assert.equal(globals(await inside('c')).includes('10.60.0.1/24'), true);
  const { status, body } = await patch('net', { subnets: [{ subnet: SUBNET, gateway: '10.60.0.1' }] });
  assert.equal([status, body.error?.owner], [409, 'c']);
  assert.match(body.error?.message ?? '', /it would take their addresses from c \(10\.60\.0\.1\)/);
  assert.equal(await defaults('c'), ['10.60.0.254 metric 100']);
});

changing('metric and default route can be given and removed, and the network that leads out follows', async () => {
  await network('other', '10.61.0.0/24');
  const a = await daemon.up('a', { networks: on('net', 'other'), port_mappings: [port(8080, 80)] });
  const both = () => defaults('a');
  assert.equal(await both(), ['10.60.0.1 metric 100', '10.61.0.1 metric 101']);
  await withAgents([pathOf(a), null], async (inA, host) => {
    await inA.serve('a', 'tcp', 80);
    // A published port leads to the network with the default route: the client's packets show which one that is.
    const asked = () => host.dial('tcp', '127.0.0.1', 8080);
    assert.is(await asked(), `a ${loopbackClient(a, 'net')}`);
    await changed('net', { options: { metric: '500' } });
    assert.equal(await both(), ['10.60.0.1 metric 500', '10.61.0.1 metric 101']);
    assert.is(await asked(), `a ${loopbackClient(a, 'other')}`);
    // An update of something else does not move it.
    await changed('other', { options: { mtu: '1400' } });
    assert.equal(await both(), ['10.60.0.1 metric 500', '10.61.0.1 metric 101']);
    await changed('other', { options: { no_default_route: 'true' } });
    assert.equal(await both(), ['10.60.0.1 metric 500']);
    assert.is(await asked(), `a ${loopbackClient(a, 'net')}`);
  });
  await changed('net', { options: { metric: null } });
  await changed('other', { options: { no_default_route: null, mtu: null } });
  assert.equal(await both(), ['10.60.0.1 metric 100', '10.61.0.1 metric 101']);
  assert.equal([onDisk('net').options, onDisk('other').options], [{}, {}]);
  await clear(daemon);
  await daemon.request('DELETE', '/v1/networks/other');
});

changing('the range can be given, changed and removed, and an address outside of it stays', async () => {
  const range = (start_ip: string, end_ip: string) => ({ subnet: SUBNET, lease_range: { start_ip, end_ip } });
  const next = async (id: string) => addressOf(await daemon.up(id, { networks: on('net') }), 'net');
  assert.is(await next('a'), '10.60.0.2');
  await changed('net', { subnets: [range('10.60.0.100', '10.60.0.100')] });
  assert.is(await next('b'), '10.60.0.100');
  await daemon.done({ type: 'create', id: 'full', networks: on('net') });
  const full = await daemon.event({ type: 'configure', id: 'full' });
  assert.is(full.body.error?.code, 'SUBNET_FULL');
  assert.match(full.body.error?.message ?? '', /the range 10\.60\.0\.100-10\.60\.0\.100 of 10\.60\.0\.0\/24/);
  // While the subnet is full, the error still says what is wrong with an address.
  for (const [address, code] of [
    ['10.61.0.7', 'ADDRESS_OUTSIDE_SUBNET'],
    ['fd00::7', 'ADDRESS_OUTSIDE_SUBNET'],
    ['10.60.0.1', 'ADDRESS_TAKEN'],
    ['10.60.0.2', 'ADDRESS_TAKEN'],
  ] as const) {
    await daemon.done({ type: 'create', id: 'asks', networks: asking(address) });
    assert.is((await daemon.event({ type: 'configure', id: 'asks' })).body.error?.code, code, address);
    await daemon.down('asks');
  }
  await changed('net', { subnets: [range('10.60.0.50', '10.60.0.60')] });
  assert.is(await next('c'), '10.60.0.50');
  await changed('net', { subnets: [{ subnet: SUBNET, lease_range: null }] });
  assert.is(onDisk('net').subnets[0]?.lease_range, undefined);
  assert.is(await next('d'), '10.60.0.51');
  assert.is(addressOf(await view('a'), 'net'), '10.60.0.2');
});

changing('a subnet can go when nobody has an address of it, and can grow under its users', async (made) => {
  await changed('net', { ipv6_enabled: true, subnets: [{ subnet: '10.62.0.0/24' }] });
  const a = await daemon.up('a', { networks: on('net') });
  const b = await daemon.up('b', { networks: on('net') });
  const held = await patch('net', { remove_subnets: ['10.62.0.0/24'] });
  assert.equal([held.status, held.body.error?.code], [409, 'NETWORK_UPDATE_FAILED']);
  assert.match(held.body.error?.message ?? '', /from a \(10\.62\.0\.2\), b \(10\.62\.0\.3\)$/);
  assert.is((await patch('net', { ipv6_enabled: false })).status, 409);
  assert.is(onDisk('net').subnets.length, 3);
  await withAgents([pathOf(a), pathOf(b)], async (inA, inB) => {
    await inA.serve('a', 'tcp', 80);
    await changed('net', { remove_subnets: [SUBNET], subnets: [{ subnet: '10.60.0.0/23' }] });
    assert.match(await inB.dial('tcp', addressOf(a, 'net'), 80), /^a /);
  });
  assert.ok(globals(await inside('a')).includes('10.60.0.2/23'));
  assert.not(globals(await inside('a')).includes('10.60.0.2/24'));
  assert.equal(await defaults('a'), ['10.60.0.1 metric 100']);
  // The rollback would leave no room for 10.60.1.9.
  await daemon.up('c', { networks: asking('10.60.1.9') });
  const small = await patch('net', { remove_subnets: ['10.60.0.0/23'], subnets: [{ subnet: SUBNET }] });
  assert.match(small.body.error?.message ?? '', /from c \(10\.60\.1\.9\)$/);
  await clear(daemon);
  const next = await changed('net', {
    remove_subnets: ['10.60.0.0/23', '10.62.0.0/24'],
    ipv6_enabled: false,
    subnets: [{ subnet: SUBNET }],
  });
  assert.equal(next.subnets, [{ subnet: SUBNET, gateway: '10.60.0.1' }]);
  assert.is(next.ipv6_enabled, false);
  await daemon.up('a', { networks: on('net') });
  assert.equal(ofBridge(made), ['10.60.0.1/24', SUBNET]);
});

changing('if nobody can follow, gateway, metric and subnet are unchanged, and no trace is left', async (made) => {
  await daemon.up('a', { networks: on('net') });
  const { status, body } = await patch('net', {
    options: { metric: '7' },
    subnets: [{ subnet: SUBNET, gateway: '10.60.0.254' }, { subnet: '10.62.0.0/24' }],
    routes: [{ destination: '198.51.100.0/24', gateway: '192.0.2.1' }],
  });
  assert.equal([status, body.error?.errno], [409, 'ENETUNREACH']);
  assert.equal(onDisk('net'), made);
  assert.equal(await defaults('a'), ['10.60.0.1 metric 100']);
  assert.equal(ofBridge(made), ['10.60.0.1/24', SUBNET]);
  assert.equal(globals(await inside('a')), ['10.60.0.2/24']);
});

const program = new URL('../../bundle/cleat.cjs', import.meta.url).pathname;

update('the command changes only what is named, and a refusal is one line', async () => {
  const cleat = (...args: string[]) =>
    execFileSync(process.execPath, [program, ...args], {
      encoding: 'utf8',
      env: { ...process.env, CLEAT_SOCKET: daemon.socket },
    });
  await network('net', SUBNET);
  assert.is(cleat('network', 'update', 'net', '--opt', 'mtu=1400', '--dns', '192.0.2.53', '--ipv6'), 'net\n');
  const { options, network_dns_servers: servers, subnets } = onDisk('net');
  assert.equal([options, servers, subnets.length], [{ mtu: '1400' }, ['192.0.2.53'], 2]);
  cleat('network', 'update', 'net', '--dns-none');
  assert.equal(onDisk('net').network_dns_servers, []);
  const range = { start_ip: '10.60.0.128', end_ip: '10.60.0.254' };
  cleat('network', 'update', 'net', '--subnet', SUBNET, '--gateway', '10.60.0.9', '--ip-range', '10.60.0.128/25');
  assert.equal(onDisk('net').subnets[0], { subnet: SUBNET, gateway: '10.60.0.9', lease_range: range });
  cleat('network', 'update', 'net', '--opt-drop', 'mtu', '--opt', 'metric=7', '--ip-range-drop', SUBNET, '--no-ipv6');
  assert.equal(
    [onDisk('net').options, onDisk('net').subnets],
    [{ metric: '7' }, [{ subnet: SUBNET, gateway: '10.60.0.9' }]],
  );
  cleat('network', 'update', 'net', '--subnet-drop', SUBNET, '--subnet', '10.60.0.0/23');
  assert.equal(onDisk('net').subnets, [{ subnet: '10.60.0.0/23', gateway: '10.60.0.1' }]);
  assert.throws(() => cleat('network', 'update', 'net', '--opt-drop', 'colour'), /options: Unrecognized key/);
  execFileSync('ip', ['route', 'add', '10.63.0.0/16', 'dev', 'lo']);
  const words = spawnSync(process.execPath, [program, 'network', 'update', 'net', '--subnet', '10.63.1.0/24'], {
    encoding: 'utf8',
    env: { ...process.env, CLEAT_SOCKET: daemon.socket },
  });
  execFileSync('ip', ['route', 'del', '10.63.0.0/16', 'dev', 'lo']);
  assert.is(words.stdout, 'net\n');
  assert.match(
    words.stderr,
    /^Warning: subnet 10\.63\.1\.0\/24 overlaps with the route 10\.63\.0\.0\/16 by lo of the host/,
  );
  assert.throws(() => cleat('network', 'update', 'net'), /nothing to change/);
});

update.run();
