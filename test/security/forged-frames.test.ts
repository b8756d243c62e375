/**
 * Frames that no honest kernel sends, from a container and from the LAN: to loopback, from loopback, to containers past
 * their published ports, and router advertisements. Each is sent beside an honest one that differs in nothing else and
 * does arrive, so that silence is the firewall's work.
 *
 * Limits: containers of one network share an Ethernet; cleat does not stop attacks between them on it (ARP).
 */
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { advertise, arrived, arrives, macOf, send, udp, type Datagram } from '../harness/frames.ts';
import { addNetns } from '../harness/inside.ts';
import { inside, ipJson } from '../harness/picture.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const HOST = '192.0.2.1';
const HOST6 = '2001:db8:2::1';
const NEIGHBOUR = '192.0.2.2';
const NEIGHBOUR6 = '2001:db8:2::2';
const GATEWAY = '10.70.0.1';
const GATEWAY6 = 'fd00:70::1';
/** A port of the host that nothing is published on: the listener there is the host's own. */
const HOSTS_OWN = 9999;

const daemon = new TestDaemon();
const frames = suite('forged frames');
let web: ContainerView, peer: ContainerView, other: ContainerView, four: ContainerView;
let bridge: string, lan: string;

frames.before(async () => {
  lan = addNetns('lan');
  const ip = (input: string, ...where: string[]) => execFileSync('ip', [...where, '-batch', '-'], { input });
  ip(`link add lan0 type veth peer name eth0 netns lan
    address add ${HOST}/24 dev lan0
    address add ${HOST6}/64 dev lan0 nodad
    link set lan0 up`);
  ip(
    `link set eth0 up\naddress add ${NEIGHBOUR}/24 dev eth0\naddress add ${NEIGHBOUR6}/64 dev eth0 nodad`,
    '-n',
    'lan',
  );
  await daemon.start();
  const { network_interface } = await daemon.network({
    name: 'web',
    subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }],
  });
  bridge = network_interface;
  await daemon.network({ name: 'other', subnets: [{ subnet: '10.71.0.0/24' }, { subnet: 'fd00:71::/64' }] });
  await daemon.network({ name: 'four', subnets: [{ subnet: '10.72.0.0/24' }] });
  const ports = [
    port(8080, 80, { protocol: 'udp' }),
    port(8081, 80, { protocol: 'udp', host_ip: '127.0.0.1' }),
    port(8082, 80, { protocol: 'udp', host_ip: '::1' }),
  ];
  web = await daemon.up('web', { networks: on('web'), port_mappings: ports });
  peer = await daemon.up('peer', { networks: on('web') });
  other = await daemon.up('other', { networks: on('other') });
  four = await daemon.up('four', { networks: on('four') });
});
frames.after(async () => {
  await daemon.stop();
});

interface Sender {
  netns: string;
  link: string;
  /** The destination of the frames on its Ethernet. */
  to: string;
}
const fromPeer = (): Sender => ({ netns: pathOf(peer), link: 'eth0', to: macOf(undefined, bridge) });
const fromLan = (): Sender => ({ netns: lan, link: 'eth0', to: macOf(undefined, 'lan0') });

interface Truths {
  host: Datagram[];
  web: Datagram[];
}

/**
 * Checks that `lies` reach no UDP layer, the host's or a container's, and that `truths`, sent after them by the same
 * way, all arrive: at the host, or at the container that they are published for.
 */
async function expect(sender: Sender, lies: Datagram[], truths: Truths): Promise<void> {
  const passed = await through(sender, lies, truths);
  if (passed.every((count) => count === 0)) return;
  for (const lie of lies) assert.equal(await through(sender, [lie], truths), [0, 0, 0, 0], JSON.stringify(lie));
  assert.equal(passed, [0, 0, 0, 0], 'all of them together');
}

/** Counts the lies that came through: to the host, to web, other and four. */
async function through(sender: Sender, lies: Datagram[], { host, web: published }: Truths): Promise<number[]> {
  const places = [undefined, ...[web, other, four].map(pathOf)];
  const before = places.map((netns) => arrived(netns));
  send(sender.netns, sender.link, sender.to, ...[...lies, ...host, ...published].map(udp));
  const honest = [host.length, published.length, 0, 0];
  for (const [i, netns] of places.entries()) {
    const all = await arrives((before[i] ?? 0) + (honest[i] ?? 0), netns);
    assert.ok(all, 'what is true does not arrive: the test shows nothing');
  }
  return places.map((netns, i) => arrived(netns) - (before[i] ?? 0) - (honest[i] ?? 0));
}

const said = () => ({
  v4: { from: addressOf(peer, 'web'), to: GATEWAY },
  v6: { from: addressOf(peer, 'web', 6), to: GATEWAY6 },
});
const fromInside = () => ({
  host: [
    { ...said().v4, port: HOSTS_OWN },
    { ...said().v6, port: HOSTS_OWN },
  ],
  web: [{ ...said().v4, port: 8080 }],
});
const fromOutside = {
  host: [
    { from: NEIGHBOUR, to: HOST, port: HOSTS_OWN },
    { from: NEIGHBOUR6, to: HOST6, port: HOSTS_OWN },
  ],
  web: [
    { from: NEIGHBOUR, to: HOST, port: 8080 },
    { from: NEIGHBOUR6, to: HOST6, port: 8080 },
  ],
};

frames("from a container: the host's loopback cannot be reached, nor what is published there", async () => {
  const { v4, v6 } = said();
  const lies = [8080, 8081, HOSTS_OWN].flatMap((number) => [
    { from: v4.from, to: '127.0.0.1', port: number },
    { from: v4.from, to: '127.1.2.3', port: number },
  ]);
  const lies6 = [8080, 8082, HOSTS_OWN].map((number) => ({ from: v6.from, to: '::1', port: number }));
  await expect(fromPeer(), [...lies, ...lies6], fromInside());
});

frames('from a container: no other host believes that it is 127.0.0.1', async () => {
  // The bridge has route_localnet; without it the kernel would drop these as martians by itself.
  const lies = ['127.0.0.1', '127.0.0.2', '127.255.255.254'].flatMap((from) => [
    { from, to: GATEWAY, port: HOSTS_OWN },
    { from, to: GATEWAY, port: 8080 },
    { from, to: '127.0.0.1', port: 8081 },
    { from, to: addressOf(other, 'other'), port: 80 },
  ]);
  await expect(fromPeer(), [...lies, { from: '::1', to: GATEWAY6, port: HOSTS_OWN }], fromInside());
});

frames(
  'from a container: other networks are closed, also to a container that poses as one of their hosts',
  async () => {
    const target = addressOf(other, 'other');
    const lies = [
      addressOf(peer, 'web'),
      '10.71.0.1',
      '10.71.0.77',
      HOST,
      '0.0.0.0',
      '255.255.255.255',
      '224.0.0.1',
    ].map((from) => ({ from, to: target, port: 80 }));
    const lies6 = [addressOf(peer, 'web', 6), 'fd00:71::1'].map((from) => ({
      from,
      to: addressOf(other, 'other', 6),
      port: 80,
    }));
    await expect(fromPeer(), [...lies, ...lies6], fromInside());
  },
);

frames("from the LAN: the host's loopback and ports published there are closed, with any forged source", async () => {
  const lies = [NEIGHBOUR, '127.0.0.1', '127.0.0.2', GATEWAY].flatMap((from) => [
    { from, to: '127.0.0.1', port: 8081 },
    { from, to: '127.0.0.1', port: HOSTS_OWN },
  ]);
  const martians = ['127.0.0.1', '127.0.0.2'].map((from) => ({ from, to: HOST, port: HOSTS_OWN }));
  const lies6 = [NEIGHBOUR6, '::1'].map((from) => ({ from, to: '::1', port: 8082 }));
  await expect(fromLan(), [...lies, ...martians, ...lies6], fromOutside);
});

frames('from the LAN: no address of a container can be reached, with any forged source', async () => {
  const sources = [NEIGHBOUR, GATEWAY, addressOf(peer, 'web'), '127.0.0.1', HOST, '10.71.0.1'];
  const lies = sources.flatMap((from) => [
    { from, to: addressOf(web, 'web'), port: 80 },
    { from, to: addressOf(other, 'other'), port: 80 },
    { from, to: addressOf(four, 'four'), port: 80 },
  ]);
  const lies6 = [NEIGHBOUR6, GATEWAY6, addressOf(peer, 'web', 6)].map((from) => ({
    from,
    to: addressOf(web, 'web', 6),
    port: 80,
  }));
  await expect(fromLan(), [...lies, ...lies6], fromOutside);
});

// --- Router advertisements ----------------------------------------------------------------------------------------

const ROUTER = 'fe80::bad';
const PREFIX = '2001:db8:bad::';
const v6Of = (netns: string | undefined, link: string): unknown => [
  ipJson(netns, '-6', 'route', 'show', 'dev', link),
  ipJson<{ addr_info: { local: string }[] }[]>(netns, '-6', 'address', 'show', 'dev', link).flatMap(({ addr_info }) =>
    (addr_info ?? []).map(({ local }) => local),
  ),
];

frames('a router advertisement is accepted by no container, joined or made, and not by the host', async () => {
  // An ordinary machine on the same Ethernet: it accepts them.
  const believer = addNetns('believer');
  execFileSync('ip', ['link', 'add', 'believer0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', 'believer']);
  execFileSync('ip', ['link', 'set', 'believer0', 'master', bridge, 'up']);
  execFileSync('ip', ['-n', 'believer', 'link', 'set', 'eth0', 'up']);
  const theirs = addNetns('theirs');
  const joined = await daemon.up('joined', { netns: { mode: 'path', path: theirs }, networks: on('web') });
  const look = () => [
    ...[web, peer, joined].map((container) => v6Of(pathOf(container), 'eth0')),
    v6Of(undefined, bridge),
  ];
  const before = look();
  await until('the advertisement to be believed by somebody', () => {
    advertise(pathOf(peer), 'eth0', ROUTER, PREFIX);
    return JSON.stringify(v6Of(believer, 'eth0')).includes('2001:db8:bad:');
  });
  await sleep(200);
  assert.equal(look(), before);
  await daemon.down('joined');
  execFileSync('ip', ['link', 'del', 'believer0']);
});

frames('a network with IPv4 alone has no IPv6 at all, also after a router advertisement', async () => {
  const netns = pathOf(four);
  const { body } = await daemon.get<{ network_interface: string }>('/v1/networks/four');
  const mac = '33:33:00:00:00:01';
  assert.equal(v6Of(netns, 'eth0'), [[], []]);
  assert.equal(v6Of(undefined, body.network_interface), [[], []]);
  advertise(netns, 'eth0', ROUTER, PREFIX);
  send(netns, 'eth0', mac, udp({ from: 'fe80::1', to: 'ff02::1', port: HOSTS_OWN }));
  await sleep(200);
  assert.equal(v6Of(netns, 'eth0'), [[], []]);
  assert.equal(v6Of(undefined, body.network_interface), [[], []]);
  assert.match(inside(netns, 'sysctl', '-n', 'net.ipv6.conf.eth0.disable_ipv6'), /^1$/m);
});

frames.run();
