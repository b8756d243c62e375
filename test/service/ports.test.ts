/**
 * Published ports as packets see them: who reaches what from where, and who does not. One host, a neighbour on its LAN,
 * a server behind it that the host forwards to, and containers on two networks.
 *
 * Limits: sctp is tested as far as the rule goes; this kernel has no sctp to send with.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { PortMapping } from '../../state/event.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Agent } from '../harness/agent.ts';
import type { Protocol } from '../harness/host.ts';
import { addressOf, on, port, TestDaemon } from '../harness/daemon.ts';
import { agentIn, withAgents } from '../harness/inside.ts';
import { calm, assertComesBackTo, inspectKernel, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const HOST = '192.0.2.1';
const HOST6 = '2001:db8:2::1';
/** A second address of the host. */
const OTHER = '192.0.2.9';
const NEIGHBOUR = '192.0.2.2';
const NEIGHBOUR6 = '2001:db8:2::2';
/** A server behind the host, which forwards. */
const FAR = '198.51.100.2';

const PORTS: PortMapping[] = [
  port(8080, 80),
  port(8080, 80, { protocol: 'udp' }),
  port(8081, 80, { host_ip: '127.0.0.1' }),
  port(8081, 80, { host_ip: '127.0.0.1', protocol: 'udp' }),
  port(8082, 80, { host_ip: HOST }),
  port(8083, 80, { host_ip: '0.0.0.0' }),
  port(8084, 80, { host_ip: '::' }),
  port(8085, 80, { host_ip: '::1' }),
  port(8086, 80, { protocol: 'sctp' }),
  port(8087, 80, { host_ip: HOST6 }),
  port(8090, 90, { range: 3 }),
  port(0, 80),
];

const daemon = new TestDaemon();
const ports = suite('ports');
let before: Picture;
let web: ContainerView;
let random = 0;
let host: Agent, lan: Agent, far: Agent, self: Agent, peer: Agent, other: Agent, four: Agent;
let agents: Agent[] = [];

const ip = (commands: string) => execFileSync('ip', ['-batch', '-'], { input: commands });
const inside = (netns: string, commands: string) =>
  execFileSync('ip', ['-n', netns, '-batch', '-'], { input: commands });

ports.before(async () => {
  execFileSync('sysctl', ['-qw', 'net.bridge.bridge-nf-call-ip6tables=0']);
  // The host is a router before there is a daemon.
  execFileSync('sysctl', ['-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
  for (const [name, subnet, subnet6] of [
    ['lan', '192.0.2', '2001:db8:2:'],
    ['far', '198.51.100', '2001:db8:51:'],
  ] as const) {
    // lo stays down, so that 127.0.0.1 is an ordinary address, as for a neighbour that forges frames.
    execFileSync('ip', ['netns', 'add', name]);
    ip(`link add ${name}0 type veth peer name eth0 netns ${name}
      address add ${subnet}.1/24 dev ${name}0
      address add ${subnet6}:1/64 dev ${name}0 nodad
      link set ${name}0 up`);
    inside(
      name,
      `address add ${subnet}.2/24 dev eth0
      address add ${subnet6}:2/64 dev eth0 nodad
      link set eth0 up
      route add default via ${subnet}.1
      route add default via ${subnet6}:1`,
    );
  }
});
ports.before(async () => {
  ip(`address add ${OTHER}/24 dev lan0`);
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }] });
  await daemon.network({ name: 'other', subnets: [{ subnet: '10.71.0.0/24' }, { subnet: 'fd00:71::/64' }] });
  await daemon.network({ name: 'four', subnets: [{ subnet: '10.72.0.0/24' }] });
  await calm();
  before = inspectKernel();
  web = await daemon.up('web', { networks: on('web'), port_mappings: PORTS });
  const rest = await Promise.all([
    daemon.up('peer', { networks: on('web') }),
    daemon.up('other', { networks: on('other') }),
    daemon.up('four', { networks: on('four'), port_mappings: [port(8070, 80)] }),
  ]);
  random = web.ports.find(({ host_port }) => host_port >= 49_152)?.host_port ?? 0;
  const places = [null, '/run/netns/lan', '/run/netns/far', web.netns.path, ...rest.map(({ netns }) => netns.path)];
  agents = await Promise.all(places.map(agentIn));
  [host, lan, far, self, peer, other, four] = agents as [Agent, Agent, Agent, Agent, Agent, Agent, Agent];
  for (const protocol of ['tcp', 'udp'] as const) {
    await self.serve('web', protocol, 80);
    await far.serve('far', protocol, 8080);
  }
  for (const n of [90, 91, 92, 93]) await self.serve(`web${n}`, 'tcp', n);
  await four.serve('four', 'tcp', 80);
});
ports.after(async () => {
  for (const agent of agents) agent.stop();
  await daemon.stop();
});

type Dial = [from: Agent, protocol: Protocol, address: string, port: number, expected: string | RegExp];

async function expect(dials: Dial[]): Promise<void> {
  const answers = await Promise.all(dials.map(([from, ...to]) => from.dial(to[0], to[1], to[2], 800)));
  const wrong = dials.flatMap(([, protocol, address, number, expected], i) => {
    const answer = answers[i] ?? '';
    const right = typeof expected === 'string' ? answer === expected : expected.test(answer);
    return right ? [] : [`${protocol} ${address} ${number}: ${answer}, not ${String(expected)}`];
  });
  assert.equal(wrong, []);
}

/** Matches a missing answer and a missing listener; udp shows neither. */
const NOBODY = /^(ECONNREFUSED|timeout)$/;
const REFUSED = 'ECONNREFUSED';

ports('from the host: ports answer on loopback, its own addresses, the address of the bridge', async () => {
  await expect([
    [host, 'tcp', '127.0.0.1', 8080, 'web 10.70.0.1'],
    [host, 'udp', '127.0.0.1', 8080, 'web 10.70.0.1'],
    [host, 'tcp', '::1', 8080, 'web fd00:70::1'],
    [host, 'udp', '::1', 8080, 'web fd00:70::1'],
    [host, 'tcp', '127.0.0.5', 8080, 'web 10.70.0.1'],
    [host, 'tcp', HOST, 8080, `web ${HOST}`],
    [host, 'tcp', HOST6, 8080, `web ${HOST6}`],
    [host, 'tcp', OTHER, 8080, /^web /],
    [host, 'tcp', '10.70.0.1', 8080, 'web 10.70.0.1'],
    [host, 'tcp', 'fd00:70::1', 8080, 'web fd00:70::1'],
    [host, 'tcp', '10.71.0.1', 8080, /^web /],
  ]);
});

for (const [who, from] of Object.entries({
  'another container of the network': () => peer,
  'a container of another network': () => other,
  'the container itself': () => self,
})) {
  ports(`from ${who}: ports answer on the addresses of the host and of the bridge`, async () => {
    await expect([
      [from(), 'tcp', HOST, 8080, /^web /],
      [from(), 'udp', HOST, 8080, /^web /],
      [from(), 'tcp', HOST6, 8080, /^web /],
      [from(), 'tcp', '10.70.0.1', 8080, /^web /],
      [from(), 'tcp', 'fd00:70::1', 8080, /^web /],
    ]);
  });
}

ports('from outside: the address of the client is kept', async () => {
  await expect([
    [lan, 'tcp', HOST, 8080, `web ${NEIGHBOUR}`],
    [lan, 'udp', HOST, 8080, `web ${NEIGHBOUR}`],
    [lan, 'tcp', HOST6, 8080, `web ${NEIGHBOUR6}`],
    [lan, 'udp', HOST6, 8080, `web ${NEIGHBOUR6}`],
    [lan, 'tcp', OTHER, 8080, `web ${NEIGHBOUR}`],
    [far, 'tcp', HOST, 8080, `web ${FAR}`],
  ]);
});

ports('a host IP limits a port to that address', async () => {
  await expect([
    [host, 'tcp', '127.0.0.1', 8081, 'web 10.70.0.1'],
    [host, 'udp', '127.0.0.1', 8081, 'web 10.70.0.1'],
    [host, 'tcp', HOST, 8081, REFUSED],
    [lan, 'tcp', HOST, 8081, REFUSED],
    [lan, 'udp', HOST, 8081, NOBODY],
    [peer, 'tcp', '10.70.0.1', 8081, NOBODY],
    [lan, 'tcp', HOST, 8082, `web ${NEIGHBOUR}`],
    [lan, 'tcp', OTHER, 8082, REFUSED],
    [host, 'tcp', '127.0.0.1', 8082, REFUSED],
    [host, 'tcp', '::1', 8085, 'web fd00:70::1'],
    [host, 'tcp', '127.0.0.1', 8085, REFUSED],
    [lan, 'tcp', HOST6, 8085, NOBODY],
    [lan, 'tcp', HOST6, 8087, `web ${NEIGHBOUR6}`],
    [lan, 'tcp', HOST, 8087, REFUSED],
  ]);
});

ports('0.0.0.0 and :: mean every address of their family', async () => {
  await expect([
    [lan, 'tcp', HOST, 8083, `web ${NEIGHBOUR}`],
    [lan, 'tcp', OTHER, 8083, `web ${NEIGHBOUR}`],
    [lan, 'tcp', HOST6, 8083, NOBODY],
    [lan, 'tcp', HOST6, 8084, `web ${NEIGHBOUR6}`],
    [lan, 'tcp', HOST, 8084, REFUSED],
    [host, 'tcp', '::1', 8084, 'web fd00:70::1'],
  ]);
});

ports('a link-local address of the host is answered by the host itself, published or not', async () => {
  const linkLocal = (link: string, ...where: string[]) => {
    const words = [...where, '-6', '-o', 'address', 'show', 'dev', link, 'scope', 'link'];
    const shown = execFileSync('ip', words, { encoding: 'utf8' });
    return /inet6 (fe80:\S+)\/64/.exec(shown)?.[1] ?? '';
  };
  const [ofHost, ofLan] = [linkLocal('lan0'), linkLocal('eth0', '-n', 'lan')];
  const forBoth = (from: Agent, address: string, answer: [tcp: string, udp: string | RegExp]): Dial[] => [
    [from, 'tcp', address, 8080, answer[0]],
    [from, 'udp', address, 8080, answer[1]],
  ];
  await expect([
    ...forBoth(lan, `${ofHost}%eth0`, [REFUSED, NOBODY]),
    ...forBoth(host, `${ofHost}%lan0`, [REFUSED, NOBODY]),
  ]);
  await withAgents([null], async (own) => {
    for (const protocol of ['tcp', 'udp'] as const) await own.serve('own', protocol, 8080);
    await expect([
      ...forBoth(lan, `${ofHost}%eth0`, [`own ${ofLan}%lan0`, `own ${ofLan}%lan0`]),
      ...forBoth(host, `${ofHost}%lan0`, [`own ${ofHost}%lan0`, `own ${ofHost}%lan0`]),
      // On every other address the port is the container's.
      ...forBoth(lan, HOST6, [`web ${NEIGHBOUR6}`, `web ${NEIGHBOUR6}`]),
    ]);
  });
});

ports('a container with IPv4 alone is published in IPv4 alone', async () => {
  await expect([
    [lan, 'tcp', HOST, 8070, `four ${NEIGHBOUR}`],
    [lan, 'tcp', HOST6, 8070, NOBODY],
    [host, 'tcp', '::1', 8070, REFUSED],
  ]);
});

ports('a range is published port by port, up to its end', async () => {
  await expect([
    [lan, 'tcp', HOST, 8090, `web90 ${NEIGHBOUR}`],
    [lan, 'tcp', HOST, 8091, `web91 ${NEIGHBOUR}`],
    [lan, 'tcp', HOST6, 8092, `web92 ${NEIGHBOUR6}`],
    [lan, 'tcp', HOST, 8093, REFUSED],
    [lan, 'tcp', HOST, 8089, REFUSED],
  ]);
});

ports('a port without a number is chosen, answered, and reached', async () => {
  assert.ok(random >= 49_152, String(random));
  await expect([[lan, 'tcp', HOST, random, `web ${NEIGHBOUR}`]]);
  // A port that the host listens on is not chosen.
  const listening = [1, 2, 3].map((n) => random + n);
  for (const number of listening) await host.serve('host', 'tcp', number);
  const { ports: chosen } = await daemon.done({ type: 'publish', id: 'peer', port_mappings: [port(0, 80)] });
  assert.ok(chosen[0] !== undefined && !listening.includes(chosen[0].host_port), JSON.stringify(chosen));
});

ports('sctp is published as far as the rules go', () => {
  const { ruleset = [] } = inspectKernel();
  const map = ruleset.find((line) => line.includes('"map":{"family":"inet","name":"ports4"')) ?? '';
  assert.match(map, /"sctp",8086\]/);
});

ports('the address of a container is not reached from outside, whatever is published', async () => {
  const dials = [80, 8080, 90].flatMap((number): Dial[] => [
    [lan, 'tcp', addressOf(web, 'web'), number, 'timeout'],
    [lan, 'udp', addressOf(web, 'web'), number, 'timeout'],
    [lan, 'tcp', addressOf(web, 'web', 6), number, 'timeout'],
  ]);
  await expect(dials);
});

ports('a neighbour that forges 127.0.0.1 does not reach what is published there', async () => {
  execFileSync('nft', ['-f', '-'], {
    input: `add table ip witness
      add counter ip witness frames
      add chain ip witness early { type filter hook prerouting priority -350; }
      add rule ip witness early iifname "lan0" ip daddr 127.0.0.1 counter name frames\n`,
  });
  lan.sysctl('net.ipv4.conf.eth0.route_localnet', '1');
  lan.ip(`route add 127.0.0.1/32 via ${HOST} src ${NEIGHBOUR}`);
  await expect([
    [lan, 'tcp', '127.0.0.1', 8081, 'timeout'],
    [lan, 'udp', '127.0.0.1', 8081, 'timeout'],
    [lan, 'tcp', '127.0.0.1', 8080, 'timeout'],
  ]);
  const counted = execFileSync('nft', ['-j', 'list', 'counter', 'ip', 'witness', 'frames'], { encoding: 'utf8' });
  execFileSync('nft', ['delete', 'table', 'ip', 'witness']);
  assert.ok(Number(/"packets": ?(\d+)/.exec(counted)?.[1]) >= 3, `the forged frames did not even arrive: ${counted}`);
});

ports('traffic that passes through to another host is not caught', async () => {
  await expect([
    [lan, 'tcp', FAR, 8080, `far ${NEIGHBOUR}`],
    [lan, 'udp', FAR, 8080, `far ${NEIGHBOUR}`],
    [lan, 'tcp', '2001:db8:51::2', 8080, `far ${NEIGHBOUR6}`],
    [host, 'tcp', FAR, 8080, 'far 198.51.100.1'],
    [peer, 'tcp', FAR, 8080, /^far /],
  ]);
});

ports('publish and unpublish of a container that is up touch that port alone', async () => {
  const more = await daemon.done({ type: 'publish', id: 'web', port_mappings: [port(8099, 80)] });
  assert.is(more.ports.length, web.ports.length + 1);
  await expect([[lan, 'tcp', HOST, 8099, `web ${NEIGHBOUR}`]]);
  await daemon.done({ type: 'unpublish', id: 'web', port_mappings: [port(8099, 80)] });
  await daemon.done({ type: 'unpublish', id: 'web', port_mappings: [port(8080, 80)] });
  await expect([
    [lan, 'tcp', HOST, 8099, REFUSED],
    [lan, 'tcp', HOST, 8080, REFUSED],
    [lan, 'udp', HOST, 8080, `web ${NEIGHBOUR}`],
    [lan, 'tcp', HOST, 8083, `web ${NEIGHBOUR}`],
  ]);
});

ports('ports move to the next network when theirs is disconnected', async () => {
  await daemon.done({ type: 'connect', id: 'web', network: 'other' });
  const moved = await daemon.done({ type: 'disconnect', id: 'web', network: 'web' });
  assert.equal(Object.keys(moved.networks), ['other']);
  await expect([
    [host, 'tcp', '127.0.0.1', 8081, 'web 10.71.0.1'],
    [host, 'tcp', '::1', 8085, 'web fd00:71::1'],
  ]);
});

ports("a host port is free again when its container's teardown has been answered", async () => {
  for (const id of ['one', 'two', 'three']) {
    await daemon.up(id, { networks: on('web'), port_mappings: [port(8098, 80)] });
    await daemon.done({ type: 'teardown', id }); // its link is still being reaped
  }
  await Promise.all(['one', 'two', 'three'].map((id) => daemon.gone(id)));
});

ports('everything goes with the containers, and is as it was', async () => {
  for (const agent of [self, peer, other, four]) agent.stop();
  await daemon.down('web', 'peer', 'other', 'four');
  await assertComesBackTo(before, () => inspectKernel());
  await expect([[lan, 'tcp', HOST, 8080, REFUSED]]);
});

ports.run();
