// slow: 25 s, a LAN is built and compared byte for byte around each case
/**
 * Networks of the driver macvlan, with a LAN behind the parent: the containers are hosts of that LAN and reach each other,
 * nothing about the parent is changed, and when the last container has gone the host is byte for byte as it was. In both
 * families, with a daemon that is killed in between, with links that others remove, and with a parent that goes away and
 * comes back. Drivers that this kernel lacks are refused by name.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isKernelError, openOutside } from '../../native/index.ts';
import type { AuditReport } from '../../state/answers/audit.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Check } from '../../state/answers/doctor.ts';
import type { NetworkRequest } from '../../state/network.ts';
import { addressOf, on, pathOf, port, TestDaemon, type Body } from '../harness/daemon.ts';
import { addNetns, removeNetns, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { asUser, sayAs } from '../harness/peer.ts';
import { calm, assertComesBackTo, inside, inspectKernel, ipJson, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

/** The host on the LAN, by the parent, and the router. */
const HOST = { 4: '192.0.2.5', 6: '2001:db8:2::5' };
const ROUTER = { 4: '192.0.2.1', 6: '2001:db8:2::1' };
/** The first address of the range is the host's own: no container may get it. */
const FIRST = { 4: '192.0.2.6', 6: '2001:db8:2::6' };
const LAN: NetworkRequest = {
  name: 'lan',
  driver: 'macvlan',
  options: { parent: 'up0' },
  subnets: [
    { subnet: '192.0.2.0/24', gateway: ROUTER[4], lease_range: { start_ip: HOST[4], end_ip: '192.0.2.99' } },
    { subnet: '2001:db8:2::/64', gateway: ROUTER[6], lease_range: { start_ip: HOST[6], end_ip: '2001:db8:2::99' } },
  ],
};
const FAMILIES = [4, 6] as const;

const daemon = new TestDaemon();
const outside = openOutside();
const parent = suite('networks on a parent');
let lan: string;

const ip = (...words: string[]) => execFileSync('ip', words, { encoding: 'utf8' });
const restart = async (): Promise<void> => {
  await daemon.kill();
  await daemon.start();
};

/** Acts as the host's administrator: the parent, and the LAN behind it. */
function makeParent(): void {
  execFileSync('ip', ['-batch', '-'], {
    input: `link add up0 address fc:34:97:00:00:05 type veth peer name eth0 address fc:34:97:00:00:01 netns lan
      link set up0 up
      addr add ${HOST[4]}/24 dev up0
      addr add ${HOST[6]}/64 dev up0 nodad\n`,
  });
  execFileSync('ip', ['-n', 'lan', '-batch', '-'], {
    input: `link set eth0 up
      addr add ${ROUTER[4]}/24 dev eth0
      addr add ${ROUTER[6]}/64 dev eth0 nodad\n`,
  });
}

parent.before(async () => {
  lan = addNetns('lan');
  execFileSync('sysctl', ['-qw', 'net.ipv6.conf.default.accept_dad=0']);
  makeParent();
  await daemon.start();
  await calm();
});
parent.after(async () => {
  await daemon.stop();
});

type Refused = { status: number; body: Body };
const said = ({ status, body }: Refused) => `${status} ${body.error?.code}`;
const create = (more: object): Promise<Refused & { body: Body & { warnings?: string[] } }> =>
  daemon.request('POST', '/v1/networks', { ...LAN, ...more });
const view = async (id: string): Promise<ContainerView> =>
  (await daemon.get<ContainerView>(`/v1/containers/${id}`)).body;
const stateOf = async (id: string) => (await view(id)).state;
/** Makes a container that is to fail, and returns the answer that says so. */
async function refused(id: string, more: object): Promise<Refused> {
  const made = await daemon.event({ type: 'create', id, ...more });
  return made.status === 200 ? daemon.event({ type: 'configure', id }) : made;
}
interface Shown {
  ifname: string;
  address: string;
  mtu: number;
  ifalias?: string;
  linkinfo?: { info_kind: string; info_data: { mode?: string } };
}
const linksIn = (container: ContainerView) => ipJson<Shown[]>(pathOf(container), '-d', 'link');
const linkIn = (container: ContainerView, name = 'eth0') => linksIn(container).find(({ ifname }) => ifname === name);

/** Each reaches the other and the LAN, which sees the container itself. */
async function areOnTheLan(a: ContainerView, b: ContainerView, why: string): Promise<void> {
  await withAgents([pathOf(a), pathOf(b), lan, null], async (one, other, far, host) => {
    await one.serve('one', 'tcp', 80);
    await far.serve('lan', 'tcp', 7);
    for (const family of FAMILIES) {
      const [own, its] = [addressOf(a, 'lan', family), addressOf(b, 'lan', family)];
      assert.is(await one.dial('tcp', ROUTER[family], 7, 2000), `lan ${own}`, `${why}: to the LAN`);
      assert.is(await far.dial('tcp', own, 80, 2000), `one ${ROUTER[family]}`, `${why}: from the LAN`);
      assert.is(await other.dial('tcp', own, 80, 2000), `one ${its}`, `${why}: to each other`);
    }
    // The kernel keeps a parent and its children apart; documented, and no rule of ours.
    assert.not.match(await host.dial('tcp', addressOf(a, 'lan'), 80, 200).catch(String), /^one/, why);
  });
}

parent('a network names its parent as libnetwork does, with what is unusual as warnings', async () => {
  const { status, body } = await create({});
  assert.is(status, 201, JSON.stringify(body));
  const { id: _id, created: _created, ...shown } = (await daemon.get<Record<string, unknown>>('/v1/networks/lan')).body;
  assert.equal(shown, {
    name: 'lan',
    driver: 'macvlan',
    network_interface: 'up0',
    subnets: LAN.subnets,
    routes: [],
    network_dns_servers: [],
    ipv6_enabled: true,
    internal: false,
    dns_enabled: false,
    labels: {},
    options: {},
    ipam_options: { driver: 'host-local' },
  });
  // The route of the parent into the subnet is no obstacle: the containers are to be there.
  assert.equal(body.warnings, undefined);
  const other = await create({ name: 'other', options: { parent: 'eth7' }, subnets: [{ subnet: '10.70.0.0/24' }] });
  assert.match(other.body.warnings?.join() ?? '', /there is no link eth7 now/);
  assert.is(said(await refused('x', { networks: on('other') })), '409 PARENT_MISSING');
  await daemon.down('x');
  const { checks } = (await daemon.get<{ checks: Check[] }>('/v1/doctor')).body;
  assert.equal(
    checks.filter(({ name }) => name === 'parent').map(({ ok, text }) => [ok, /parent (\w+)/.exec(text)?.[1]]),
    [
      [true, 'up0'],
      [false, 'eth7'],
    ],
  );
  assert.is((await daemon.request('DELETE', '/v1/networks/other')).status, 204);
  assert.is(sayAs(daemon, asUser(65_534, 0), { ...LAN, name: 'u' }, '/v1/networks'), '403 NOT_ALLOWED');
  const default_ = await create({ name: 'other', options: {}, subnets: [{ subnet: '10.70.0.0/24' }] });
  assert.is(said(default_), '409 PARENT_MISSING');
});

/** The host's own namespace. A parent listens to the MACs of its children. */
function outsidePicture(): Picture {
  const { mounts: _pins, links = [], ...rest } = inspectKernel();
  return { ...rest, links: links.filter((line) => !line.includes('"promiscuity"')) };
}

parent('containers are hosts of the LAN and reach each other, also after kill -9 and a full reload', async () => {
  const before = outsidePicture();
  const [a, b] = [await daemon.up('a', { networks: on('lan') }), await daemon.up('b', { networks: on('lan') })];
  assert.equal([addressOf(a, 'lan'), addressOf(a, 'lan', 6)], [FIRST[4], FIRST[6]]);
  const link = linkIn(a);
  assert.equal([link?.linkinfo?.info_kind, link?.linkinfo?.info_data.mode], ['macvlan', 'bridge']);
  assert.match(link?.ifalias ?? '', /^cleat:[^:]+:a:\d+:lan$/);
  const look = async (why: string) => {
    await areOnTheLan(a, b, why);
    await daemon.clean();
    for (const id of ['a', 'b']) {
      const { state, drift } = await view(id);
      assert.equal([state, drift], ['up', []], `${why}: ${id}`);
    }
    // There is nothing of the containers in the host's namespace, not even a rule.
    await assertComesBackTo(before, outsidePicture, 2000);
  };
  await look('at first');
  await restart();
  await look('after a restart');
  await daemon.done({ type: 'reload', id: 'a', full: true });
  await look('after a full reload');
  assert.is(linkIn(await view('a'))?.address, link?.address);
});

parent('what others remove or change inside is noticed and restored', async () => {
  const [a, b] = [await view('a'), await view('b')];
  const inA = (...words: string[]) => inside(pathOf(a), 'ip', ...words);
  const harms: [string, () => void, () => boolean][] = [
    ['removed', () => inA('link', 'del', 'eth0'), () => linkIn(a) !== undefined],
    ['down', () => inA('link', 'set', 'eth0', 'down'), () => inA('link', 'show', 'up', 'dev', 'eth0') !== ''],
    ['address', () => inA('addr', 'flush', 'dev', 'eth0'), () => inA('addr', 'show', 'eth0').includes(FIRST[4])],
    ['route', () => inA('route', 'del', 'default'), () => inA('route').includes(`default via ${ROUTER[4]}`)],
  ];
  for (const [what, harm, mended] of harms) {
    harm();
    await until(`restored: ${what}`, () => mended(), 15_000);
    await until('at rest', async () => (await stateOf('a')) === 'up', 15_000);
  }
  await areOnTheLan(a, b, 'after all of it');
  await daemon.clean();
  // What the policy leaves as it is, the audit finds.
  daemon.drift = ['link=alert'];
  await restart();
  inA('link', 'del', 'eth0');
  await until('it is noticed', async () => (await view('a')).drift.length > 0, 15_000);
  const { findings } = (await daemon.get<AuditReport>('/v1/audit')).body;
  assert.equal(findings, [{ kind: 'link', object: 'eth0', problem: 'missing', owner: 'a' }]);
  daemon.drift = [];
  await restart();
  await until('it is back', () => linkIn(a) !== undefined, 15_000);
  await until('at rest again', async () => (await stateOf('a')) === 'up', 15_000);
  await daemon.clean();
});

parent('containers have the MTU of the parent, and follow it', async () => {
  const a = await view('a');
  ip('link', 'set', 'up0', 'mtu', '1400');
  // The kernel lowers the MTU of the child by itself; that the daemon follows shows when this is no drift any more.
  const calmAt = async (mtu: number) => linkIn(a)?.mtu === mtu && (await view('a')).drift.length === 0;
  await until('the container follows', () => calmAt(1400), 15_000);
  ip('link', 'set', 'up0', 'mtu', '1500');
  await until('and back', () => calmAt(1500), 15_000);
  const update = await daemon.request('PATCH', '/v1/networks/lan', { options: { mtu: '1300', metric: '7' } });
  assert.is(update.status, 200, update.text);
  assert.is(linkIn(a)?.mtu, 1300);
  assert.match(inside(pathOf(a), 'ip', 'route'), new RegExp(`default via ${ROUTER[4]} .*metric 7`));
  const back = await daemon.request('PATCH', '/v1/networks/lan', { options: { mtu: null, metric: null } });
  assert.is(back.status, 200, back.text);
  await until('the default again', () => calmAt(1500), 15_000);
  await daemon.clean();
});

parent('addresses, MACs and names that others have are refused, and given ones are used', async () => {
  const own = { networks: { lan: { static_ips: [HOST[4]] } } };
  assert.is(said(await refused('x', own)), '409 ADDRESS_TAKEN');
  await daemon.down('x');
  assert.is(said(await refused('x', { networks: { lan: { static_mac: 'fc:34:97:00:00:05' } } })), '409 MAC_TAKEN');
  await daemon.down('x');
  const wish = { static_mac: '02:00:00:00:00:77', static_ips: ['192.0.2.77'], interface_name: 'up0' };
  for (const round of [1, 2]) {
    // As `podman network reload` does: the link of the last life must not keep its MAC from this one's.
    const x = await daemon.up('x', { networks: { lan: wish } });
    assert.equal([addressOf(x, 'lan'), linkIn(x, 'up0')?.address], ['192.0.2.77', wish.static_mac], `round ${round}`);
    // A process that lives on keeps the namespace, and would keep the link in it.
    if (round === 2)
      await withAgents([pathOf(x)], () => daemon.down('x').then(() => daemon.up('x', { networks: { lan: wish } })));
    await daemon.down('x');
  }
});

parent('a container is on a bridge as well, and published ports lead there or nowhere', async () => {
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }] });
  const made = await daemon.event({ type: 'create', id: 'p', networks: on('lan'), port_mappings: [port(8080, 80)] });
  assert.is(made.status, 200, made.text);
  const configured = await daemon.event({ type: 'configure', id: 'p' });
  assert.is(configured.status, 200, configured.text);
  assert.match(
    ((configured.body as { warnings?: string[] }).warnings ?? []).join(),
    /no network that takes published ports.*lan \(macvlan\)/,
  );
  const served = async (why: string) => {
    await withAgents([pathOf(await view('p')), lan], async (web, far) => {
      await web.serve('p', 'tcp', 80);
      assert.match(await far.dial('tcp', HOST[4], 8080, 2000), /^p /, why);
    });
    await daemon.clean();
  };
  await daemon.clean();
  await daemon.done({ type: 'connect', id: 'p', network: 'web' });
  await served('connected to a bridge');
  await daemon.done({ type: 'disconnect', id: 'p', network: 'lan' });
  await daemon.done({ type: 'connect', id: 'p', network: 'lan' });
  await served('connected to the LAN again');
  await daemon.done({ type: 'disconnect', id: 'p', network: 'web' });
  await daemon.clean();
  await daemon.down('p');
  await daemon.up('p', { networks: on('lan'), port_mappings: [port(8080, 80)], port_handler: 'forwarder' });
  await served('by the forwarder');
  await daemon.down('p');
});

parent('a namespace of others keeps nothing of it', async () => {
  const path = addNetns('theirs');
  const before = inspectKernel(path);
  const t = await daemon.up('t', { netns: { mode: 'path', path }, networks: on('lan') });
  await areOnTheLan(t, await view('b'), 'in a namespace of others');
  await restart();
  await daemon.clean();
  await daemon.down('t');
  const { links: _was, ...rest } = before;
  await assertComesBackTo(rest, () => {
    const { links: _is, ...now } = inspectKernel(path);
    return now;
  });
  assert.not.match(ip('-n', 'theirs', 'link'), /macvlan|eth0/);
  // A link of theirs with the name is left alone.
  ip('-n', 'theirs', 'link', 'add', 'eth0', 'type', 'ifb');
  const taken = { netns: { mode: 'path', path }, networks: { lan: { interface_name: 'eth0' } } };
  assert.is(said(await refused('t', taken)), '409 INTERFACE_TAKEN');
  await daemon.down('t');
  assert.match(ip('-n', 'theirs', 'link'), /eth0/);
  removeNetns('theirs');
});

parent('containers follow a parent that goes away and comes back', async () => {
  ip('link', 'del', 'up0');
  for (const id of ['a', 'b']) await until(`${id} is cut off`, async () => (await stateOf(id)) === 'degraded', 15_000);
  const why = async () => (await daemon.get('/v1/containers/a/why')).text;
  await until('it says why', async () => (await why()).includes('up0 does not exist (PARENT_MISSING)'), 15_000);
  const late = await refused('late', { networks: on('lan') });
  assert.is(said(late), '409 PARENT_MISSING');
  await daemon.down('late');
  await restart();
  makeParent();
  for (const id of ['a', 'b']) await until(`${id} is whole again`, async () => (await stateOf(id)) === 'up', 15_000);
  await areOnTheLan(await view('a'), await view('b'), 'after the parent came back');
  await daemon.clean();
});

parent('a network without addresses gives a link alone, on a parent and on a bridge', async () => {
  const none = { subnets: [], ipam_options: { driver: 'none' } };
  assert.is((await create({ name: 'bare', ...none })).status, 201);
  assert.is((await create({ name: 'pipe', driver: 'bridge', options: {}, ...none })).status, 201);
  const x = await daemon.up('x', { networks: on('bare', 'pipe'), port_mappings: [port(8081, 81)] });
  for (const name of ['eth0', 'eth1']) {
    assert.not.match(inside(pathOf(x), 'ip', 'addr', 'show', name), /inet/);
    assert.match(inside(pathOf(x), 'ip', 'link', 'show', name), /[<,]UP[,>]/);
  }
  await daemon.clean();
  await restart();
  await daemon.clean();
  assert.equal([(await view('x')).state, (await view('x')).drift], ['up', []]);
  await daemon.down('x');
  for (const name of ['bare', 'pipe']) {
    assert.is((await daemon.request('DELETE', `/v1/networks/${name}`)).status, 204);
  }
});

parent('modes reach the kernel, and a parent that others use in another way says why not', async () => {
  for (const mode of ['private', 'vepa']) {
    assert.is(
      (await create({ name: mode, options: { mode, parent: 'up0' }, subnets: [{ subnet: '10.71.0.0/24' }] })).status,
      201,
    );
    const x = await daemon.up('x', { networks: on(mode) });
    assert.is(linkIn(x)?.linkinfo?.info_data.mode, mode);
    await daemon.down('x');
    assert.is((await daemon.request('DELETE', `/v1/networks/${mode}`)).status, 204);
  }
  const pass = { name: 'pass', options: { mode: 'passthru', parent: 'up0' }, subnets: [{ subnet: '10.71.0.0/24' }] };
  assert.is((await create(pass)).status, 201);
  const busy = await refused('x', { networks: on('pass') });
  assert.is(said(busy), '500 KERNEL');
  assert.match(busy.body.error?.message ?? '', /EINVAL \(it is no Ethernet link.*passthru excludes all others\)/);
  await daemon.down('x');
  for (const id of ['a', 'b']) await daemon.down(id);
  const x = await daemon.up('x', { networks: on('pass') });
  assert.is(linkIn(x)?.address, 'fc:34:97:00:00:05');
  assert.is(x.networks['pass']?.interfaces['eth0']?.mac_address, 'fc:34:97:00:00:05');
  const second = await refused('y', { networks: on('pass') });
  assert.is(said(second), '409 NETWORK_IN_USE');
  await daemon.down('y');
  await daemon.down('x');
  assert.is((await daemon.request('DELETE', '/v1/networks/pass')).status, 204);
});

parent('a driver that the kernel lacks is refused by name', async () => {
  for (const [driver, kind, options] of [
    ['ipvlan', 'ipvlan', {}],
    ['vlan', 'vlan', { vlan: '7' }],
  ] as const) {
    const subnets = [{ subnet: '10.71.0.0/24' }];
    assert.is((await create({ name: driver, driver, options: { parent: 'up0', ...options }, subnets })).status, 201);
    // A kernel that has the driver makes the link: another test of the same request.
    if (await has(kind)) {
      const x = await daemon.up('x', { networks: on(driver) });
      assert.is(linkIn(x)?.linkinfo?.info_kind, kind);
    } else {
      const answer = await refused('x', { networks: on(driver) });
      assert.is(said(answer), '409 DRIVER_UNSUPPORTED');
      assert.match(answer.body.error?.message ?? '', new RegExp(`no links of kind ${kind} \\(EOPNOTSUPP\\)`));
    }
    await daemon.down('x');
    await daemon.clean();
    assert.is((await daemon.request('DELETE', `/v1/networks/${driver}`)).status, 204);
  }
});

parent('tags of bridge ports are refused by name on a kernel without them, and leave nothing', async () => {
  const before = inspectKernel();
  assert.is((await create({ name: 'tagged', driver: 'bridge', options: { vlan: '7' }, subnets: [] })).status, 201);
  const answer = await refused('x', { networks: on('tagged') });
  if (answer.status !== 200) {
    assert.is(said(answer), '409 DRIVER_UNSUPPORTED');
    assert.match(answer.body.error?.message ?? '', /cannot have ports with tag 7: this kernel has no VLAN filtering/);
  }
  await daemon.down('x');
  await daemon.clean();
  await assertComesBackTo(before, () => inspectKernel());
  assert.is((await daemon.request('DELETE', '/v1/networks/tagged')).status, 204);
});

async function has(kind: 'ipvlan' | 'vlan'): Promise<boolean> {
  try {
    const [reply] = await outside.rtnl([
      { op: 'link.add', kind, name: 'probe', parent: 'up0', ...(kind === 'vlan' ? { vlan: 9 } : {}) },
      { op: 'link.del', name: 'probe' },
    ]);
    return reply?.code !== 'EOPNOTSUPP';
  } catch (error) {
    if (isKernelError(error)) return false;
    throw error;
  }
}

parent('a file of Podman that names no parent gets that of the default route, for good', async () => {
  // As `podman network create -d macvlan --subnet 192.0.2.0/24 -o mode=private` of 4.3 writes it.
  const file = {
    name: 'pods',
    id: '1be00e33fa442359f38044da4efd34dbb016629b769ef4a2f3d987aa02dff460',
    driver: 'macvlan',
    created: '2026-01-10T22:17:24.310336055Z',
    subnets: [{ subnet: '192.0.2.0/24', gateway: ROUTER[4], lease_range: { start_ip: '192.0.2.100' } }],
    ipv6_enabled: false,
    internal: false,
    dns_enabled: true,
    options: { mode: 'private' },
    ipam_options: { driver: 'host-local' },
  };
  ip('route', 'add', 'default', 'via', ROUTER[4], 'dev', 'up0');
  writeFileSync(`${daemon.stateDir}/networks/pods.json`, JSON.stringify(file));
  await restart();
  ip('route', 'del', 'default');
  await restart();
  const { body } = await daemon.get<{ network_interface: string }>('/v1/networks/pods');
  assert.is(body.network_interface, 'up0');
  const x = await daemon.up('x', { networks: on('pods') });
  assert.is(linkIn(x)?.linkinfo?.info_data.mode, 'private');
  assert.equal(x.networks['pods']?.dns_server_ips ?? [], []);
  await daemon.clean();
  await daemon.down('x');
  assert.is((await daemon.request('DELETE', '/v1/networks/pods')).status, 204);
});

parent('when everything has gone, the host is byte for byte as it was', async () => {
  await daemon.request('DELETE', '/v1/networks/web');
  await calm();
  const found = inspectKernel();
  const [a, b] = [await daemon.up('a', { networks: on('lan') }), await daemon.up('b', { networks: on('lan') })];
  await restart();
  await areOnTheLan(a, b, 'again');
  await daemon.down('a');
  await daemon.down('b');
  await assertComesBackTo(found, () => inspectKernel());
  assert.is((await daemon.request('DELETE', '/v1/networks/lan')).status, 204);
});

parent.run();
