// slow: 30 s, each network is tried with full packets through ways of several MTUs
/**
 * Networks and the MTU of the way out: networks without an MTU option have that MTU and follow it, TCP announces no
 * more than fits through, and doctor names wider networks.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Check } from '../../state/answers/doctor.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { on, pathOf } from '../harness/daemon.ts';
import { inside, ipJson } from '../harness/picture.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { HOST, LAN, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const mtu = suite('mtu');
const { daemon } = await wayOut(mtu);
const NETNS = '/run/netns/lan';
const HOST6 = 'fd00:192::1';
const LAN6 = 'fd00:192::2';

/** The MTU of a link of the host alone: the links behind it have 1500 and do not know about a narrower one. */
const setMtu = (link: string, bytes: number): void => {
  execFileSync('ip', ['link', 'set', link, 'mtu', `${bytes}`]);
};

const LISTEN = `import socket
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('::', 7080))
s.listen()
print('ready', flush=True)
c, _ = s.accept()
c.sendall(str(c.getsockopt(6, socket.TCP_MAXSEG)).encode())
c.shutdown(socket.SHUT_WR)
c.recv(1)`;
const CONNECT = `import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
own = s.getsockopt(6, socket.TCP_MAXSEG)
print(s.recv(9).decode(), own)`;

/** The segment sizes of a connection, of the server and of the client. */
async function segments(server: string, client: string | undefined, address: string, port = 7080): Promise<number[]> {
  const child = spawn('nsenter', [`--net=${server}`, '--', 'python3', '-c', LISTEN], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  const arguments_ = ['python3', '-c', CONNECT, address, `${port}`];
  const said =
    client === undefined ? execFileSync('env', arguments_, { encoding: 'utf8' }) : inside(client, ...arguments_);
  if (child.exitCode === null) await once(child, 'exit');
  return said.trim().split(' ').map(Number);
}

/** IP and TCP headers, and the timestamps that both sides send (RFC 7323). */
const fits = (bytes: number, family: 4 | 6): number => bytes - (family === 4 ? 20 : 40) - 20 - 12;

mtu.before(async () => {
  execFileSync('ip', ['-batch', '-'], {
    input: `addr add ${HOST6}/64 dev lan0 nodad\nroute add default via ${LAN6}\n`,
  });
  execFileSync('ip', ['-n', 'lan', 'addr', 'add', `${LAN6}/64`, 'dev', 'eth0', 'nodad']);
  const subnets = [{ subnet: '10.52.0.0/24' }, { subnet: 'fd00:52::/64' }];
  await daemon.network({ name: 'dual', subnets: [{ subnet: '10.53.0.0/24' }, { subnet: 'fd00:53::/64' }] });
  await daemon.network({ name: 'internal', subnets: [{ subnet: '10.54.0.0/24' }], internal: true });
  await daemon.network({ name: 'both', subnets, options: { mtu: '1500' } });
});
mtu.after.each(async () => {
  ip('link set lan0 mtu 1500', `route replace default via ${LAN}`, `route replace default via ${LAN6}`);
  await until('all is as usual', async () =>
    (await checks()).some(({ text }) => text === 'the way out has an MTU of 1500 for IPv4, 1500 for IPv6'),
  );
});

const ip = (...commands: string[]) => execFileSync('ip', ['-batch', '-'], { input: commands.join('\n') });

async function checks(): Promise<Check[]> {
  const { body } = await daemon.get<{ checks: Check[] }>('/v1/doctor');
  return body.checks.filter(({ name }) => name === 'mtu');
}

interface Link {
  ifname: string;
  mtu: number;
  linkinfo?: { info_kind: string };
}
/** The MTU of eth0 inside, and of all bridges and ports of the host except the LAN. */
function mtus(container: ContainerView): number[] {
  const own = ipJson<Link[]>(pathOf(container), 'link', 'show', 'eth0');
  const host = ipJson<Link[]>(undefined, '-d', 'link').filter(({ ifname, linkinfo }) => linkinfo && ifname !== 'lan0');
  return [...own, ...host].map((link) => link.mtu);
}
const has = (container: ContainerView, bytes: number) => () => mtus(container).every((one) => one === bytes);

const KINDS: [string, 4 | 46 | 6, number, string[]][] = [
  ['its link', 4, 1400, ['link set lan0 mtu 1400']],
  ['the route', 4, 1390, [`route replace default via ${LAN} mtu 1390`]],
  ['the route of IPv6', 46, 1380, [`route replace default via ${LAN6} mtu 1380`]],
  [
    'a rule that leads to another table',
    4,
    1370,
    ['rule add table 77', `route add default via ${LAN} mtu 1370 table 77`],
  ],
  ['more than usual', 46, 9000, ['link set lan0 mtu 9000']],
  ['too little for IPv6', 46, 1280, [`route replace default via ${LAN} mtu 1000`]],
];
for (const [name, families, bytes, commands] of KINDS) {
  mtu(`a network without an MTU has that of the way out, and follows it: ${name}`, async () => {
    const network = families === 4 ? 'web' : 'dual';
    const a = await daemon.up('a', { networks: on(network) });
    assert.ok(has(a, 1500)());
    ip(...commands);
    await until('it follows', has(a, bytes));
    await daemon.clean();
    const b = await daemon.up('b', { networks: on(network) });
    assert.ok(has(b, bytes)());
    // A daemon that starts finds the change, and one that was away catches up.
    await daemon.kill();
    await daemon.start();
    assert.ok(has(a, bytes)());
    await daemon.stop();
    if (name.includes('table')) ip('rule del table 77', 'route flush table 77');
    ip('link set lan0 mtu 1500', `route replace default via ${LAN}`, `route replace default via ${LAN6}`);
    await daemon.start();
    await until('it follows again', has(b, 1500));
    await daemon.down('a', 'b');
    const c = await daemon.up('c', { networks: on(network) });
    assert.ok(has(c, 1500)());
    await daemon.clean();
  });
}

mtu('a configured MTU stays, and so does that of an internal network, or of a host without a route', async () => {
  const own = await daemon.up('own', { networks: on('both') });
  const internal = await daemon.up('internal', { networks: on('internal') });
  const follows = await daemon.up('follows', { networks: on('web') });
  const inside = (container: ContainerView) => ipJson<Link[]>(pathOf(container), 'link', 'show', 'eth0')[0]?.mtu;
  setMtu('lan0', 1400);
  await until('one follows', () => inside(follows) === 1400);
  ip('route del default');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.equal([own, internal, follows].map(inside), [1500, 1500, 1400]);
});

mtu('doctor names a network that is wider than the way out', async () => {
  setMtu('lan0', 1400);
  await until('it is seen', async () => (await checks()).some(({ ok }) => !ok));
  const [only, ...more] = await checks();
  assert.is(more.length, 0);
  assert.match(only?.text ?? '', /^network both has an MTU of 1500, and the way out one of 1400: /);
});

mtu('TCP announces a segment size that the way out has room for, from both sides', async () => {
  const ports = [{ host_port: 7080, container_port: 7080 }];
  const a: ContainerView = await daemon.up('a', { networks: on('both'), port_mappings: ports });
  setMtu('lan0', 1300);
  for (const [lan, host, family] of [
    [LAN, HOST, 4],
    [LAN6, HOST6, 6],
  ] as const) {
    const narrow = fits(1300, family);
    assert.equal(await segments(NETNS, pathOf(a), lan), [narrow, narrow], `to ${lan}`);
    assert.equal(await segments(pathOf(a), NETNS, host), [narrow, narrow], `published on ${host}`);
  }
});

mtu('within a network no segment size is lowered', async () => {
  const a = await daemon.up('a', { networks: on('both') });
  const b = await daemon.up('b', { networks: on('both') });
  setMtu('lan0', 1300);
  const address = Object.values(b.networks['both']?.interfaces ?? {})[0]?.subnets[0]?.ipnet.split('/')[0] ?? '';
  const wide = fits(1500, 4);
  assert.equal(await segments(pathOf(b), pathOf(a), address), [wide, wide]);
});

mtu.run();
