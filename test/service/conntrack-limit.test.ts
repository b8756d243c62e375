// slow: 30 s, floods have to fill a table, and to be cut
/**
 * The share of connection tracking of one owner, with a small limit on the real kernel. Floods by sockets, and by
 * frames that a container makes itself, are cut to the limit, and no other container loses a connection.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Check } from '../../state/answers/doctor.ts';
import type { LimitedNotification } from '../../state/answers/notification.ts';
import { addressOf, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { macOf, send, udp } from '../harness/frames.ts';
import { hearLimited } from '../harness/hearing.ts';
import { addNetns } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const LIMIT = 300;
const FLOOD = 500;
/**
 * The entries that one test leaves and the next opens can look like no change at all; the recount then takes ten
 * seconds.
 */
const PATIENCE_MS = 20_000;
const GATEWAY = '10.77.0.1';
const GATEWAY6 = 'fd00:77::1';
const HOST = '192.0.2.1';
const LAN = '/run/netns/lan';

const daemon = new TestDaemon();
daemon.limits = [`tracked-per-container=${LIMIT}`];
const connections = suite('limit of tracked connections');
let heard: LimitedNotification[] = [];

const listen = (): void => hearLimited(daemon.socket, (notification) => heard.push(notification));

connections.before(async () => {
  addNetns('lan');
  execFileSync('ip', ['-batch', '-'], {
    input: `link add lan0 type veth peer name eth0 netns lan
      address add ${HOST}/24 dev lan0
      link set lan0 up`,
  });
  execFileSync('ip', ['-n', 'lan', '-batch', '-'], { input: 'address add 192.0.2.2/24 dev eth0\nlink set eth0 up' });
  await daemon.start();
  listen();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.77.0.0/24' }, { subnet: 'fd00:77::/64' }] });
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.78.0.0/24' }] });
});
connections.after(async () => {
  await daemon.stop();
});
connections.before.each(() => {
  heard = [];
});
connections.after.each(async () => {
  const { body } = await daemon.get<{ id: string }[]>('/v1/containers');
  await daemon.down(...body.map(({ id }) => id));
  execFileSync('conntrack', ['-F'], { stdio: 'pipe' });
});

/** Each connection is one datagram from a port of its own. */
function open(netns: string, to: string, count: number, at = 9): void {
  const program = `import socket, sys
for i in range(int(sys.argv[3])):
    s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('', 20000 + i))
    s.sendto(b'x', (sys.argv[1], int(sys.argv[2])))
    s.close()`;
  execFileSync('nsenter', [`--net=${netns}`, '--', 'python3', '-c', program, to, String(at), String(count)]);
}

/** The entries of one source (-s), or of one answering address (-r). */
function tracked(way: '-s' | '-r', address: string): string[] {
  const family = address.includes(':') ? 'ipv6' : 'ipv4';
  return execFileSync('conntrack', ['-L', '-f', family, way, address], { encoding: 'utf8', stdio: 'pipe' })
    .split('\n')
    .filter((line) => line.includes('src='));
}

/** Makes entries last as long as a test, once there is a table. */
const lasting = () =>
  execFileSync('sysctl', [
    '-qw',
    'net.netfilter.nf_conntrack_udp_timeout=600',
    'net.netfilter.nf_conntrack_icmp_timeout=600',
  ]);

const from = (address: string) => tracked('-s', address).length;

connections('a container that opens too many is cut to the limit, and those within it keep theirs', async () => {
  const a = await daemon.up('a', { networks: on('web') });
  const b = await daemon.up('b', { networks: on('web') });
  const c = await daemon.up('c', { networks: on('back') });
  lasting();
  // Together these have more than one container may have.
  open(pathOf(b), GATEWAY, 250);
  open(pathOf(c), '10.78.0.1', 250);
  open(pathOf(a), GATEWAY, FLOOD);
  const [ofA, ofB, ofC] = [addressOf(a, 'web'), addressOf(b, 'web'), addressOf(c, 'back')];
  await until('a is cut', () => from(ofA) <= LIMIT, PATIENCE_MS);
  assert.equal([from(ofA), from(ofB), from(ofC)], [LIMIT, 250, 250]);
  await until('it is told', () => heard.length > 0, PATIENCE_MS);
  assert.equal(
    heard.map(({ id, network, what, limit }) => ({ id, network, what, limit })),
    [{ id: 'a', network: null, what: 'connections', limit: LIMIT }],
  );
  assert.ok((heard[0]?.forgotten ?? 0) > 0 && (heard[0]?.entries ?? 0) > LIMIT, JSON.stringify(heard));
  const { body: history } = await daemon.get<{ event: string }[]>('/v1/containers/a/history');
  assert.ok(
    history.some(({ event }) => event === 'limited'),
    'the history has it',
  );
  assert.match(daemon.log(), 'too many connections');
});

connections('the addresses of an IPv6 subnet that nobody was given have one share together', async () => {
  const a = await daemon.up('a', { networks: on('web') });
  const b = await daemon.up('b', { networks: on('web') });
  lasting();
  open(pathOf(b), GATEWAY6, 200);
  const frames = Array.from({ length: FLOOD }, (_, i) =>
    udp({ from: `fd00:77::1:${(i + 1).toString(16)}`, to: GATEWAY6, port: 9 }),
  );
  send(pathOf(a), 'eth0', bridgeOf('10.77.0.1'), ...frames);
  const strangers = () => tracked('-s', 'fd00:77::1:0/112').length;
  await until('they are cut', () => strangers() <= LIMIT && heard.length > 0, PATIENCE_MS);
  assert.equal([strangers(), from(addressOf(b, 'web', 6))], [LIMIT, 200]);
  assert.equal(
    heard.map(({ id, network }) => ({ id, network })),
    [{ id: null, network: 'web' }],
  );
});

connections('link-local addresses have one share together', async () => {
  const a = await daemon.up('a', { networks: on('web') });
  lasting();
  const frames = Array.from({ length: FLOOD }, (_, i) =>
    udp({ from: `fe80::1:${(i + 1).toString(16)}`, to: GATEWAY6, port: 9 }),
  );
  send(pathOf(a), 'eth0', bridgeOf('10.77.0.1'), ...frames);
  const strangers = () => tracked('-s', 'fe80::1:0/112').length;
  await until('they are cut', () => strangers() <= LIMIT && heard.length > 0, PATIENCE_MS);
  assert.is(strangers(), LIMIT);
  assert.equal(
    heard.map(({ id, network }) => ({ id, network })),
    [{ id: null, network: null }],
  );
});

connections('a container that is flooded through a published port has a share too, also after kill -9', async () => {
  const ports = [port(8080, 80, { protocol: 'udp' })];
  const a = await daemon.up('a', { networks: on('web'), port_mappings: ports });
  const b = await daemon.up('b', { networks: on('web') });
  lasting();
  open(pathOf(b), GATEWAY, 200);
  await daemon.kill();
  open(LAN, HOST, FLOOD, 8080);
  const led = () => tracked('-r', addressOf(a, 'web')).length;
  assert.is(led(), FLOOD, 'no daemon, no bound');
  await daemon.start();
  listen();
  await until('a is cut, and that is told', () => led() <= LIMIT && heard.length > 0, PATIENCE_MS);
  assert.equal([led(), from(addressOf(b, 'web'))], [LIMIT, 200]);
});

connections('doctor says how full the table is, and what one container may have', async () => {
  const { body } = await daemon.get<{ checks: Check[] }>('/v1/doctor');
  const check = body.checks.find(({ name }) => name === 'connections');
  assert.ok(check?.ok);
  assert.match(check?.text ?? '', /^\d+ connections are tracked, of \d+ that can be; one container may have 300$/);
});

/** The MAC of the bridge that has this address. */
function bridgeOf(gateway: string): string {
  const all = JSON.parse(execFileSync('ip', ['-j', 'address', 'show'], { encoding: 'utf8' })) as {
    ifname: string;
    addr_info: { local?: string }[];
  }[];
  const bridge = all.find(({ addr_info }) => addr_info.some(({ local }) => local === gateway));
  return macOf(undefined, bridge?.ifname ?? '');
}

connections.run();
