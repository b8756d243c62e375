// as user: every day
/**
 * Inspect on the real kernel: the fields that clients of Docker and Podman read, in every mode, and the answer when
 * somebody removes an object. It answers 200 whatever has happened to the namespace.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import { on, port, TestDaemon } from '../harness/daemon.ts';
import { addNetns, endSleepers, removeNetns, sleeper } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const inspecting = suite('inspect');

/** The ids of the networks, as `network inspect` shows them. */
const ids: Record<string, string> = {};

inspecting.before(async () => {
  // The daemon does not restore what a test removes.
  daemon.drift = ['link=ignore', 'address=ignore', 'route=ignore'];
  await daemon.start();
  const dual = [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }];
  ids.web = (await daemon.network({ name: 'web', subnets: dual, options: { mtu: '1400' } })).id;
  const routes = [{ destination: '10.99.0.0/16', gateway: '10.71.0.9' }];
  ids.back = (await daemon.network({ name: 'back', subnets: [{ subnet: '10.71.0.0/24' }], routes })).id;
  ids.inner = (await daemon.network({ name: 'inner', subnets: [{ subnet: '10.72.0.0/24' }], internal: true })).id;
  ids.six = (await daemon.network({ name: 'six', subnets: [{ subnet: 'fd00:73::/64' }] })).id;
});
inspecting.after(async () => {
  endSleepers();
  await daemon.stop();
});
/** Namespaces of others that a test has made: they are removed with it. */
const others: string[] = [];

inspecting.after.each(async () => {
  const { body } = await daemon.get<{ id: string }[]>('/v1/containers');
  await daemon.down(...body.map(({ id }) => id));
  for (const name of others.splice(0)) removeNetns(name);
});

async function inspect(id: string): Promise<Inspection> {
  const { status, body, text } = await daemon.get<Inspection>(`/v1/containers/${id}`);
  assert.is(status, 200, text);
  return body;
}

const ip = (netns: string, ...args: string[]): void => void execFileSync('nsenter', [`--net=${netns}`, 'ip', ...args]);

/** Addresses, gateways and MACs of an entry: first v4, then v6. */
const basics = (entry: Inspection['NetworkSettings']['Networks'][string] | undefined): unknown[] => [
  `${entry?.IPAddress}/${entry?.IPPrefixLen}`,
  entry?.Gateway,
  `${entry?.GlobalIPv6Address}/${entry?.GlobalIPv6PrefixLen}`,
  entry?.IPv6Gateway,
];

const macOf = (netns: string, link: string): string | undefined =>
  ipJson<{ ifname: string; address: string }[]>(netns, 'link').find(({ ifname }) => ifname === link)?.address;

// --- Modes ------------------------------------------------------------------------------------------------------

inspecting('netns new: each network has its id, its addresses per family, and its names', async () => {
  const networks = {
    six: { static_ips: ['fd00:73::5'] },
    web: { static_ips: ['10.70.0.5', 'fd00:70::5'], aliases: ['www'] },
    inner: { static_ips: ['10.72.0.5'] },
  };
  await daemon.done({ type: 'create', id: 'a', networks, port_mappings: [port(8000, 80, { range: 2 })] });
  const created = await inspect('a');
  assert.is(created.NetworkSettings.SandboxKey, created.netns.path);
  assert.equal(
    Object.entries(created.NetworkSettings.Networks).map(([name, { NetworkID }]) => [name, NetworkID]),
    ['inner', 'six', 'web'].map((name) => [name, ids[name]]),
  );
  assert.equal(basics(created.NetworkSettings.Networks.web), ['/0', '', '/0', '']);
  assert.equal(created.NetworkSettings.Networks.web?.Aliases, ['www']);
  assert.equal(created.NetworkSettings.Ports['81/tcp'], [{ HostIp: '0.0.0.0', HostPort: '8001' }]);

  await daemon.done({ type: 'configure', id: 'a' });
  const { NetworkSettings, drift, netns } = await inspect('a');
  const { Networks } = NetworkSettings;
  assert.equal(drift, []);
  assert.equal(Object.keys(Networks), ['inner', 'six', 'web']);
  assert.equal(basics(Networks.web), ['10.70.0.5/24', '10.70.0.1', 'fd00:70::5/64', 'fd00:70::1']);
  assert.equal(basics(Networks.inner), ['10.72.0.5/24', '', '/0', '']);
  assert.equal(basics(Networks.six), ['/0', '', 'fd00:73::5/64', 'fd00:73::1']);
  assert.equal(Networks.web?.IPAMConfig, { IPv4Address: '10.70.0.5', IPv6Address: 'fd00:70::5' });
  assert.ok(Networks.web?.Aliases.includes('www'));
  assert.is(Networks.web?.NetworkID, ids.web);
  assert.is(Networks.web?.MacAddress, macOf(netns.path!, 'eth1'));
  assert.equal(basics(NetworkSettings as never), ['/0', '', '/0', '']);
  assert.equal(NetworkSettings.Ports, {
    '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '8000' }],
    '81/tcp': [{ HostIp: '0.0.0.0', HostPort: '8001' }],
  });
});

inspecting('the default network alone is shown at the top too, and a second one is not', async () => {
  await daemon.up('a');
  const { NetworkSettings, networks } = await inspect('a');
  const [block] = Object.values(networks.cleat?.interfaces ?? {});
  const four = block?.subnets.find(({ ipnet }) => !ipnet.includes(':'));
  assert.is(`${NetworkSettings.IPAddress}/${NetworkSettings.IPPrefixLen}`, four?.ipnet);
  assert.is(NetworkSettings.Gateway, four?.gateway);
  assert.is(NetworkSettings.MacAddress, block?.mac_address);
  assert.equal(basics(NetworkSettings as never), basics(NetworkSettings.Networks.cleat));
  await daemon.done({ type: 'connect', id: 'a', network: 'web' });
  const both = (await inspect('a')).NetworkSettings;
  assert.is(both.IPAddress, '');
  assert.equal(Object.keys(both.Networks), ['cleat', 'web']);
  await daemon.done({ type: 'disconnect', id: 'a', network: 'web' });
  assert.is((await inspect('a')).NetworkSettings.IPAddress, NetworkSettings.IPAddress);
});

inspecting('a network that was removed before configure is listed by its name', async () => {
  await daemon.network({ name: 'brief', subnets: [{ subnet: '10.74.0.0/24' }] });
  await daemon.done({ type: 'create', id: 'a', networks: on('brief') });
  await daemon.request('DELETE', '/v1/networks/brief');
  assert.is((await inspect('a')).NetworkSettings.Networks.brief?.NetworkID, 'brief');
});

inspecting('netns host: it shows no networks, nothing at the top, no namespace', async () => {
  await daemon.up('a', { netns: { mode: 'host' } });
  const { NetworkSettings, drift } = await inspect('a');
  assert.equal([NetworkSettings.SandboxKey, NetworkSettings.Networks, drift], ['', {}, []]);
  assert.equal(basics(NetworkSettings as never), ['/0', '', '/0', '']);
});

/** A foreign namespace: two links with addresses, one without, and default routes. */
function foreignNetns(): string {
  const path = addNetns('theirs');
  others.push('theirs');
  for (const link of ['out1', 'out0', 'idle'])
    ip(path, 'link', 'add', link, 'type', 'veth', 'peer', 'name', `${link}p`);
  for (const link of ['out1', 'out0', 'idle']) {
    for (const end of [link, `${link}p`]) ip(path, 'link', 'set', end, 'up');
  }
  ip(path, 'address', 'add', '192.0.2.10/24', 'dev', 'out0');
  ip(path, 'address', 'add', '198.51.100.10/24', 'dev', 'out1');
  ip(path, 'address', 'add', '169.254.3.3/16', 'dev', 'idle');
  ip(path, 'address', 'add', '2001:db8::10/64', 'dev', 'out1', 'nodad');
  ip(path, 'route', 'add', 'default', 'via', '192.0.2.1');
  ip(path, '-6', 'route', 'add', 'default', 'via', '2001:db8::1');
  return path;
}

inspecting('netns path: the top shows what is there, and Networks what cleat attached', async () => {
  const path = foreignNetns();
  await daemon.up('a', { netns: { mode: 'path', path } });
  const bare = (await inspect('a')).NetworkSettings;
  assert.equal(basics(bare as never), ['192.0.2.10/24', '192.0.2.1', '2001:db8::10/64', '2001:db8::1']);
  assert.equal(bare.SecondaryIPAddresses, [{ Addr: '198.51.100.10', PrefixLength: 24 }]);
  // The others have only a link-local address, and come last.
  const names = ['out0', 'out1', 'idle', 'idlep', 'out0p', 'out1p'];
  assert.equal(
    [bare.MacAddress, ...bare.AdditionalMACAddresses],
    names.map((name) => macOf(path, name)),
  );
  assert.equal(bare.Networks, {});
  await daemon.down('a');

  const up = await daemon.up('a', {
    netns: { mode: 'path', path },
    networks: { back: { static_ips: ['10.71.0.33'] } },
  });
  const { NetworkSettings, drift } = await inspect('a');
  assert.is(NetworkSettings.SandboxKey, up.netns.path);
  assert.equal(basics(NetworkSettings.Networks.back), ['10.71.0.33/24', '10.71.0.1', '/0', '']);
  assert.equal(basics(NetworkSettings as never), ['10.71.0.33/24', '10.71.0.1', '2001:db8::10/64', '2001:db8::1']);
  assert.equal(NetworkSettings.SecondaryIPAddresses, [
    { Addr: '192.0.2.10', PrefixLength: 24 },
    { Addr: '198.51.100.10', PrefixLength: 24 },
  ]);
  assert.equal(drift, []);
  // The link is removed by hand: Networks shows what should be, the top what is there.
  ip(path, 'link', 'del', 'eth0');
  const after = await inspect('a');
  assert.is(after.NetworkSettings.IPAddress, '192.0.2.10');
  assert.is(after.NetworkSettings.Networks.back?.IPAddress, '10.71.0.33');
  assert.ok(after.drift.some(({ object, problem }) => object === 'eth0' && problem === 'missing'));
});

inspecting('netns pid: the top shows what is there, and Networks what cleat attached', async () => {
  const process = await sleeper();
  await daemon.up('a', { netns: { mode: 'pid', pid: process.pid! }, networks: on('web') });
  const { NetworkSettings, drift } = await inspect('a');
  assert.equal(drift, []);
  assert.is(NetworkSettings.IPAddress, NetworkSettings.Networks.web?.IPAddress);
  assert.is(NetworkSettings.GlobalIPv6Address, NetworkSettings.Networks.web?.GlobalIPv6Address);
  assert.is(NetworkSettings.IPv6Gateway, 'fd00:70::1');
  await daemon.down('a');
  process.kill('SIGKILL');
});

inspecting(
  'netns container: it shows the owner’s networks, through any number of sharing containers, also when it has left',
  async () => {
    await daemon.up('owner', { networks: on('web'), port_mappings: [port(8000, 80)] });
    await daemon.up('side', { netns: { mode: 'container', id: 'owner' } });
    await daemon.up('third', { netns: { mode: 'container', id: 'side' } });
    const owner = (await inspect('owner')).NetworkSettings;
    for (const id of ['side', 'third']) {
      const shared = await inspect(id);
      assert.equal([shared.NetworkSettings, shared.drift], [owner, []]);
      assert.equal(shared.networks, {});
    }
    // The owner may leave before them: what they use stays, and is shown.
    await daemon.done({ type: 'teardown', id: 'owner' });
    await daemon.down('side');
    assert.equal((await inspect('third')).NetworkSettings, owner);
    await daemon.down('third');
    await daemon.gone('owner');
  },
);

inspecting('netns container of one with netns path: it shows what is found there', async () => {
  const path = foreignNetns();
  await daemon.up('owner', { netns: { mode: 'path', path } });
  await daemon.up('side', { netns: { mode: 'container', id: 'owner' } });
  assert.equal((await inspect('side')).NetworkSettings, (await inspect('owner')).NetworkSettings);
  assert.is((await inspect('side')).NetworkSettings.IPAddress, '192.0.2.10');
});

// --- Drift ------------------------------------------------------------------------------------------------------

const said = ({ drift }: Inspection): string[] =>
  drift.map(({ kind, object, network, problem }) => `${problem} ${kind} ${object} (${network})`);

const hostLinks = (): string[] =>
  ipJson<{ ifname: string; ifalias?: string }[]>(undefined, 'link')
    .filter(({ ifalias }) => ifalias !== undefined && !ifalias.includes(':network:'))
    .map(({ ifname }) => ifname);

inspecting('a manual removal or change is drift', async () => {
  const a = await daemon.up('a', { networks: { web: { static_ips: ['10.70.0.7'] }, back: {} } });
  const path = a.netns.path!;
  const [web, back] = hostLinks() as [string, string];
  assert.equal(said(await inspect('a')), []);
  const bridge = ipJson<{ master?: string }[]>(undefined, 'link', 'show', web)[0]?.master;
  const alias = ipJson<{ ifalias: string }[]>(undefined, 'link', 'show', web)[0]!.ifalias;
  const bridgeMac = ipJson<{ address: string }[]>(undefined, 'link', 'show', bridge!)[0]!.address;
  /** The change, the expected drift, and how to undo the change. */
  const cases: [string[], string, string[]][] = [
    [
      ['address', 'del', '10.70.0.7/24', 'dev', 'eth0'],
      'missing address 10.70.0.7/24 on eth0 (web)|missing route default via 10.70.0.1 on eth0 (web)',
      ['address', 'add', '10.70.0.7/24', 'dev', 'eth0'],
    ],
    [
      ['neighbour', 'del', 'fd00:70::1', 'dev', 'eth0'],
      `missing neighbour fd00:70::1 at ${bridgeMac} on eth0 (web)`,
      ['neighbour', 'replace', 'fd00:70::1', 'lladdr', bridgeMac, 'dev', 'eth0'],
    ],
    [
      ['route', 'del', '10.99.0.0/16'],
      'missing route 10.99.0.0/16 via 10.71.0.9 on eth1 (back)',
      ['route', 'add', '10.99.0.0/16', 'via', '10.71.0.9', 'metric', '100'],
    ],
    [
      ['-6', 'route', 'replace', 'default', 'via', 'fd00:70::9', 'metric', '100'],
      'changed route default via fd00:70::1 on eth0 (web)',
      ['-6', 'route', 'replace', 'default', 'via', 'fd00:70::1', 'metric', '100'],
    ],
    [
      ['link', 'set', 'eth0', 'mtu', '1300'],
      'changed link mtu 1400 on eth0 (web)',
      ['link', 'set', 'eth0', 'mtu', '1400'],
    ],
    [
      ['link', 'set', 'eth1', 'mtu', '1300'],
      'changed link mtu 1500 on eth1 (back)',
      ['link', 'set', 'eth1', 'mtu', '1500'],
    ],
  ];
  for (const [change, found, undo] of cases) {
    ip(path, ...change);
    assert.is(said(await inspect('a')).join('|'), found);
    ip(path, ...undo);
    if (found.includes('default via 10.70')) {
      // Not `add`: the missing neighbours make the daemon inspect, and it may have been quicker.
      ip(path, ...'route replace default via 10.70.0.1 metric 100'.split(' '));
      ip(path, ...`neighbour replace 10.70.0.1 lladdr ${bridgeMac} dev eth0`.split(' '));
    }
    // While the daemon itself looks for drift, the answer is what it recorded last.
    await until(`no drift after ${change.join(' ')}`, async () => said(await inspect('a')).length === 0);
  }
  const outside: [string[], string, string[]][] = [
    [['nomaster'], `changed link master ${bridge} on ${web} (web)`, ['master', bridge!]],
    [['alias', 'mine'], `changed link alias ${alias} on ${web} (web)`, ['alias', alias]],
  ];
  for (const [change, found, undo] of outside) {
    execFileSync('ip', ['link', 'set', web, ...change]);
    assert.equal(said(await inspect('a')), [found]);
    execFileSync('ip', ['link', 'set', web, ...undo]);
    assert.equal(said(await inspect('a')), []);
  }
  execFileSync('ip', ['link', 'del', back]);
  assert.equal(said(await inspect('a')), [`missing link ${back} (back)`, 'missing link eth1 (back)']);
  // The list shows what was recorded, and does not inspect the kernel.
  const { body } = await daemon.get<{ id: string; drift: object[] }[]>('/v1/containers');
  assert.equal(
    body.map(({ id, drift }) => [id, drift]),
    [['a', []]],
  );
  assert.not.ok('NetworkSettings' in body[0]!);
});

inspecting('a namespace that was unmounted by hand is drift, and everything else is as before', async () => {
  const { netns } = await daemon.up('a');
  const before = await inspect('a');
  execFileSync('umount', [netns.path!]);
  const after = await inspect('a');
  // The host's end of its link goes too, as soon as the kernel reaps it.
  assert.equal(
    said(after).filter((line) => !line.startsWith('missing link ve')),
    [`missing link ${netns.path} (null)`],
  );
  assert.equal(after.NetworkSettings, before.NetworkSettings);
});

inspecting('another namespace mounted in its place is drift, and is not inspected', async () => {
  const path = foreignNetns();
  others.push('mine');
  const { netns } = await daemon.up('a', { netns: { mode: 'path', path: addNetns('mine') } });
  execFileSync('umount', [netns.path!]);
  execFileSync('mount', ['--bind', path, netns.path!]);
  const { NetworkSettings, ...after } = await inspect('a');
  assert.equal(said(after as Inspection), [`changed link ${netns.path} (null)`]);
  assert.is(NetworkSettings.IPAddress, '');
});

inspecting('a wait answers with the same view, and a wait for gone says gone', async () => {
  const later = { prefer: 'respond-async' };
  await daemon.done({ type: 'create', id: 'a', networks: on('web') });
  await daemon.event({ type: 'configure', id: 'a' }, later);
  const { body } = await daemon.get<Inspection>('/v1/containers/a?wait=up&timeout=5000');
  assert.equal([body.state, body.drift, body.NetworkSettings.Networks.web?.NetworkID], ['up', [], ids.web]);
  await daemon.event({ type: 'teardown', id: 'a' }, later);
  const gone = await daemon.get('/v1/containers/a?wait=gone&timeout=5000');
  assert.equal(gone.body, { id: 'a', state: 'gone' });
  assert.is((await daemon.get('/v1/containers/a')).status, 404);
});

inspecting.run();
