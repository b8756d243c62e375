/**
 * A new MAC behind an address is announced to the network. A neighbour that knew the earlier MAC reaches the new one at
 * once, in both families: for a container that is made again, whose link is restored, or to which the address moved.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, pathOf, TestDaemon } from '../harness/daemon.ts';
import { macOf } from '../harness/frames.ts';
import { addNetns, removeNetns, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { inside, ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const announcements = suite('announcements');
/** No neighbour would ask by itself before that: an entry is stale after 30 s, and is probed 5 s later. */
const ANNOUNCED_MS = 3000;
const ADDRESSES = ['10.66.0.50', 'fd00:66::50'];
const fixed = { networks: { web: { static_ips: ADDRESSES } } };
let neighbour: ContainerView;
let bridge: string;

const theirs = '/run/netns/theirs';

const linkOf = ({ networks }: ContainerView): string => Object.keys(networks['web']?.interfaces ?? {})[0] ?? '';
const webMac = (container: ContainerView): string => macOf(pathOf(container), linkOf(container));

/** The MACs that the neighbour has for the addresses. */
function believed(addresses = ADDRESSES): string[] {
  const all = ipJson<{ dst: string; lladdr?: string }[]>(pathOf(neighbour), 'neighbour', 'show', 'dev', 'eth0');
  return addresses.map((address) => all.find(({ dst }) => dst === address)?.lladdr ?? 'none');
}

/** The neighbour has sent to the addresses, and keeps their MACs for 30 s and more. */
async function warm(server: ContainerView, addresses = ADDRESSES): Promise<void> {
  await withAgents([pathOf(neighbour), pathOf(server)], async (client, agent) => {
    await agent.serve('server', 'tcp', 80);
    for (const address of addresses) assert.match(await client.dial('tcp', address, 80), /^server /);
  });
  const mac = webMac(server);
  assert.equal(believed(addresses), [mac, mac]);
}

/**
 * A connection must begin within a moment: without an announcement the neighbour would send to the old MAC for many
 * seconds.
 */
async function reachable(server: ContainerView, addresses = ADDRESSES): Promise<void> {
  const mac = webMac(server);
  await until('the neighbour knows the new MAC', () => believed(addresses).every((one) => one === mac), ANNOUNCED_MS);
  await withAgents([pathOf(neighbour), pathOf(server)], async (client, agent) => {
    await agent.serve('server', 'tcp', 80);
    for (const address of addresses) assert.match(await client.dial('tcp', address, 80), /^server /);
  });
}

announcements.before(async () => {
  await daemon.start();
  addNetns('theirs');
  const subnets = [{ subnet: '10.66.0.0/24' }, { subnet: 'fd00:66::/64' }];
  bridge = (await daemon.network({ name: 'web', subnets })).network_interface;
  await daemon.network({ name: 'other', subnets: [{ subnet: '10.69.0.0/24' }] });
  await daemon.network({ name: 'growing', subnets: [{ subnet: '10.67.0.0/24' }] });
  neighbour = await daemon.up('neighbour', { networks: { web: {} } });
});
announcements.after(async () => {
  await daemon.stop();
  removeNetns('theirs');
});
announcements.after.each(async () => {
  const { body } = await daemon.get<ContainerView[]>('/v1/containers');
  await daemon.down(...body.map(({ id }) => id).filter((id) => id !== 'neighbour'));
});

/** Each case gives the addresses to a container with another MAC, and returns that container. */
const ways: [string, (mac: string) => Promise<ContainerView>][] = [
  ['configure', (mac) => daemon.up('server', { networks: { web: { static_ips: ADDRESSES, static_mac: mac } } })],
  ['configure, without a static MAC', () => daemon.up('server', { networks: { web: { static_ips: ADDRESSES } } })],
  [
    'configure, in a namespace that is there already',
    (mac) =>
      daemon.up('server', {
        netns: { mode: 'path', path: theirs },
        networks: { web: { static_ips: ADDRESSES, static_mac: mac } },
      }),
  ],
  [
    'connect',
    async (mac) => {
      await daemon.up('server', { networks: { other: {} } });
      const options = { static_ips: ADDRESSES, static_mac: mac };
      return daemon.done({ type: 'connect', id: 'server', network: 'web', options });
    },
  ],
];

for (const [name, way] of ways) {
  announcements(`a neighbour reaches the next owner of the addresses: ${name}`, async () => {
    const first = await way('02:00:00:00:66:01');
    await warm(first);
    const before = webMac(first);
    await daemon.down('server');
    await daemon.stop();
    await daemon.start();
    const second = await way('02:00:00:00:66:02');
    assert.is.not(webMac(second), before);
    await reachable(second);
  });
}

announcements('a neighbour reaches the next owner of an address that was not chosen, after a kill', async () => {
  const up = () => daemon.up('server', { networks: { web: {} } });
  const first = await up();
  const addresses = ([4, 6] as const).map((family) => addressOf(first, 'web', family));
  await warm(first, addresses);
  await daemon.kill();
  await daemon.start();
  await daemon.down('server');
  // The daemon does not keep which addresses were given last: these are the first free ones.
  await daemon.kill();
  await daemon.start();
  const second = await up();
  assert.equal(
    ([4, 6] as const).map((family) => addressOf(second, 'web', family)),
    addresses,
  );
  assert.is.not(webMac(second), webMac(neighbour));
  await reachable(second, addresses);
});

announcements('a link whose MAC others had changed is made again', async () => {
  const server = await daemon.up('server', fixed);
  inside(pathOf(server), 'ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:66:99');
  // The bridge's own entry is on disk, with another MAC: only the neighbour has to learn the new one.
  await warm(server);
  await daemon.done({ type: 'reload', id: 'server', full: true });
  assert.is.not(webMac(server), '02:00:00:00:66:99');
  await reachable(server);
});

announcements('addresses that others removed, and used elsewhere meanwhile, are restored', async () => {
  const server = await daemon.up('server', fixed);
  const other = await daemon.up('other', { networks: { web: {} } });
  for (const address of ADDRESSES) {
    inside(
      pathOf(neighbour),
      'ip',
      'neighbour',
      'replace',
      address,
      'lladdr',
      webMac(other),
      'dev',
      'eth0',
      'nud',
      'stale',
    );
    const length = address.includes(':') ? 64 : 24;
    inside(pathOf(server), 'ip', 'address', 'del', `${address}/${length}`, 'dev', 'eth0');
  }
  await until('they are put back', () => /10\.66\.0\.50[^]*fd00:66::50/.test(inside(pathOf(server), 'ip', 'address')));
  await reachable(server);
});

announcements('an address that comes with an update of the network is announced', async () => {
  const server = await daemon.up('server', { networks: { growing: {} } });
  const peer = await daemon.up('peer', { networks: { growing: {} } });
  const came = ['10.68.0.2', '10.68.0.3', 'fd00:68::2', 'fd00:68::3'];
  inside(pathOf(peer), 'ip', 'address', 'add', '10.68.0.99/24', 'dev', 'eth0');
  inside(pathOf(peer), 'sysctl', '-qw', 'net.ipv6.conf.eth0.disable_ipv6=0');
  for (const address of came) {
    const entry = [address, 'lladdr', '02:00:00:00:66:98', 'dev', 'eth0', 'nud', 'stale'];
    inside(pathOf(peer), 'ip', 'neighbour', 'replace', ...entry);
  }
  const subnets = [{ subnet: '10.68.0.0/24' }, { subnet: 'fd00:68::/64' }];
  const { status, text } = await daemon.request('PATCH', '/v1/networks/growing', { subnets });
  assert.is(status, 200, text);
  const leased = inside(pathOf(server), 'ip', 'address');
  const news = came.filter((address) => leased.includes(`${address}/`));
  assert.is(news.length, 2);
  const mac = macOf(pathOf(server), 'eth0');
  const seen = () => ipJson<{ dst: string; lladdr?: string }[]>(pathOf(peer), 'neighbour', 'show', 'dev', 'eth0');
  for (const address of news) {
    // The container may have a new link by then, which announces itself: either way the neighbour knows it.
    await until(
      `${address} is known`,
      () => seen().every(({ dst, lladdr }) => dst !== address || lladdr === mac),
      ANNOUNCED_MS,
    );
  }
});

announcements('a full reload teaches the bridge the new link before the container has sent anything', async () => {
  const server = await daemon.up('server', fixed);
  await warm(server);
  for (let n = 0; n < 5; n++) {
    await daemon.done({ type: 'reload', id: 'server', full: true });
    const known = () =>
      execFileSync('bridge', ['-j', 'fdb', 'show', 'dynamic', 'br', bridge], { encoding: 'utf8' }).includes(
        webMac(server),
      );
    await until('the bridge has learnt where it is', known, ANNOUNCED_MS);
  }
});

announcements('many containers that come at once are all announced', async () => {
  const numbers = Array.from({ length: 40 }, (_, n) => 100 + n);
  const addresses = numbers.flatMap((n) => [`10.66.0.${n}`, `fd00:66::${n}`]);
  const entries = addresses.map(
    (address) => `neighbour replace ${address} lladdr 02:00:00:00:66:97 dev eth0 nud stale`,
  );
  execFileSync('nsenter', [`--net=${pathOf(neighbour)}`, 'ip', '-batch', '-'], { input: entries.join('\n') });
  const asked = (n: number) => ({ networks: { web: { static_ips: [`10.66.0.${n}`, `fd00:66::${n}`] } } });
  await Promise.all(numbers.map((n) => daemon.up(`many${n}`, asked(n))));
  const stale = () =>
    inside(pathOf(neighbour), 'ip', 'neighbour')
      .split('\n')
      .filter((line) => line.includes('66:97'));
  await until('all are known', () => stale().length === 0, ANNOUNCED_MS);
});

announcements('nothing that is in order is announced, so entries by others in the neighbour table stay', async () => {
  const server = await daemon.up('server', fixed);
  inside(pathOf(server), 'ip', 'neighbour', 'add', '10.66.0.77', 'lladdr', '02:00:00:00:66:77', 'dev', 'eth0');
  await daemon.done({ type: 'reload', id: 'server' });
  assert.match(inside(pathOf(server), 'ip', 'neighbour'), /10\.66\.0\.77 dev eth0 lladdr 02:00:00:00:66:77 PERMANENT/);
});

announcements.run();
