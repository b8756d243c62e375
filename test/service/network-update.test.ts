/**
 * A network changed under its containers, on a real kernel: MTU, isolation, routes, DNS servers, a subnet, IPv6. All of it
 * or nothing, also when the daemon is killed in the middle.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NetworkDefinition, NetworkUpdate } from '../../state/network.ts';
import type { ContainerView } from '../../service/view.ts';
import { addressOf, on, pathOf, TestDaemon, type Answer } from '../harness/daemon.ts';
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

/** Networks are definitions on disk, which stay: each test makes its own, and takes it away. */
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

changing('nobody uses it: the definition is all there is to change', async (made) => {
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

changing('isolation: who reaches whom changes under open connections', async () => {
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

changing('a container that cannot follow: nobody does, and it is named', async (made) => {
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

changing('MTU: bridge and both ends, there and back', async (made) => {
  await daemon.up('a', { networks: on('net') });
  await changed('net', { options: { mtu: '1400' } });
  const all = ipJson<Link[]>(undefined, 'link').filter(({ ifname }) => ifname.startsWith('ve'));
  assert.equal([bridge(made)?.mtu, (await inside('a')).mtu, ...all.map(({ mtu }) => mtu)], [1400, 1400, 1400]);
  await changed('net', { options: { mtu: '1500' } });
  assert.equal([bridge(made)?.mtu, (await inside('a')).mtu], [1500, 1500]);
});

changing(
  'IPv6 and a subnet under open connections: each container has an address more and keeps its own',
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

update('the command: only what is named, and what cannot be is said in one line', async () => {
  const cleat = (...args: string[]) =>
    execFileSync(process.execPath, [new URL('../../cli/main.js', import.meta.url).pathname, ...args], {
      encoding: 'utf8',
      env: { ...process.env, CLEAT_SOCKET: daemon.socket },
    });
  await network('net', SUBNET);
  assert.is(cleat('network', 'update', 'net', '--opt', 'mtu=1400', '--dns', '192.0.2.53', '--ipv6'), 'net\n');
  const { options, network_dns_servers: servers, subnets } = onDisk('net');
  assert.equal([options, servers, subnets.length], [{ mtu: '1400' }, ['192.0.2.53'], 2]);
  cleat('network', 'update', 'net', '--dns-none');
  assert.equal(onDisk('net').network_dns_servers, []);
  assert.throws(() => cleat('network', 'update', 'net'), /nothing to change/);
});

update.run();
