// slow: 30 s, each command is a process, and daemons are started again
/**
 * The real docker client on cleat: networks that it makes are in the kernel as it said, containers join and leave them while they
 * run, what is removed leaves nothing; events, lists, versions, refusals; and the socket: whose it is, what it replaces, how it ends.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DockerEvent, DockerNetwork } from '../../state/answers/docker.ts';
import { addressOf, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { DockerClient } from '../harness/docker.ts';
import { withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { asUser } from '../harness/peer.ts';
import { assertComesBackTo, calm, inspect, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { connectTo, said } from '../harness/raw-client.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const SOCKET = `${daemon.directory}/docker.sock`;
const docker = new DockerClient(SOCKET);
const engine = suite('docker');
let empty: Picture;

const ip = (...words: string[]): string => execFileSync('ip', words, { encoding: 'utf8' });
const inspected = async (name: string): Promise<DockerNetwork> => {
  const [found] = JSON.parse(await docker.ok('network', 'inspect', name)) as DockerNetwork[];
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
};
const brief = ({ Action, Actor: { Attributes } }: DockerEvent): string =>
  [Action, Attributes.name, ...(Attributes.container === undefined ? [] : [Attributes.container])].join(' ');
/** The events about networks since a moment, in short. */
async function told(since: number, ...filters: string[]): Promise<string[]> {
  const until = ['--until', String(Math.ceil(Date.now() / 1000))];
  const flags = filters.flatMap((filter) => ['--filter', filter]);
  const lines = await docker.ok('events', '--since', String(since), ...until, '--format', '{{json .}}', ...flags);
  return lines === '' ? [] : lines.split('\n').map((line) => brief(JSON.parse(line) as DockerEvent));
}
const names = async (...filters: string[]): Promise<string[]> => {
  const flags = filters.flatMap((filter) => ['--filter', filter]);
  return (await docker.ok('network', 'ls', '--format', '{{.Name}}', ...flags))
    .split('\n')
    .filter((line) => line !== '');
};

engine.before(async () => {
  ip('link', 'set', 'lo', 'up');
  daemon.dockerSocket = SOCKET;
  await daemon.start();
  await daemon.up('warm', { networks: on('cleat') });
  await daemon.down('warm');
  await calm();
  empty = inspect(daemon);
});
engine.after.each(async () => {
  const { body } = await daemon.get<{ id: string }[]>('/v1/containers');
  await daemon.down(...body.map(({ id }) => id));
  await docker.ok('network', 'prune', '--force');
  await daemon.clean();
  await assertComesBackTo(empty, () => inspect(daemon));
});
engine.after(async () => {
  await daemon.stop();
});

engine('the client agrees with cleat on a version, and one that is too old or too new is told so', async () => {
  assert.match(
    await docker.ok('version', '--format', '{{.Client.APIVersion}} {{.Server.MinAPIVersion}}'),
    /^1\.\d\d 1\.41$/,
  );
  const asked = async (version: string) =>
    (await docker.run(['network', 'ls'], { DOCKER_API_VERSION: version })).stderr;
  assert.is(await asked('1.41'), '');
  const old =
    'Error response from daemon: client version 1.40 is too old. Minimum supported API version is 1.41, please upgrade';
  assert.ok((await asked('1.40')).startsWith(old));
  assert.match(await asked('1.99'), /client version 1\.99 is too new\. Maximum supported API version is 1\.50/);
  const { status, headers } = await daemon.docker('HEAD', '/_ping');
  assert.equal([status, headers['api-version'], headers.ostype], [200, '1.50', 'linux']);
});

engine('a network is in the kernel as it was asked for, and nothing is left of it', async () => {
  const flags =
    'network create --driver bridge --subnet 10.90.0.0/24 --gateway 10.90.0.254 --ip-range 10.90.0.128/25 ' +
    '--ipv6 --subnet fd00:90::/64 --internal --label stage=test ' +
    '--opt com.docker.network.bridge.name=brdocker --opt com.docker.network.driver.mtu=1400 back';
  const id = await docker.ok(...flags.split(' '));
  assert.match(id, /^[0-9a-f]{64}$/);
  const { Id, Driver, EnableIPv6, Internal, Labels, IPAM, Options } = await inspected('back');
  assert.equal([Id, Driver, EnableIPv6, Internal, Labels], [id, 'bridge', true, true, { stage: 'test' }]);
  assert.equal(IPAM.Config, [
    { Subnet: '10.90.0.0/24', IPRange: '10.90.0.128/25', Gateway: '10.90.0.254' },
    { Subnet: 'fd00:90::/64', Gateway: 'fd00:90::1' },
  ]);
  assert.is(Options['com.docker.network.bridge.name'], 'brdocker');
  assert.is((await inspected(id.slice(0, 12))).Name, 'back');

  const web = await daemon.up('web', { networks: on('back') });
  const bridge = ip('address', 'show', 'dev', 'brdocker');
  assert.match(bridge, /mtu 1400/);
  assert.match(bridge, /inet 10\.90\.0\.254\/24/);
  assert.match(bridge, /inet6 fd00:90::1\/64/);
  assert.is(addressOf(web, 'back'), '10.90.0.128');
  await docker.refused(
    'error while removing network: network back has active endpoints (web)',
    'network',
    'rm',
    'back',
  );
  await daemon.down('web');
  assert.is(await docker.ok('network', 'rm', 'back'), 'back');
  assert.not.match(ip('link'), /brdocker/);
  await daemon.clean();
  await assertComesBackTo(empty, () => inspect(daemon));
});

engine(
  'a container joins and leaves a network while it runs, with the addresses and names that were asked for',
  async () => {
    await docker.ok('network', 'create', '--subnet', '10.90.0.0/24', 'back');
    await docker.ok('network', 'create', '--subnet', '10.91.0.0/24', '--ipv6', '--subnet', 'fd00:91::/64', 'more');
    await docker.ok('network', 'create', '--ipv6', '--ipv4=false', 'six').catch(() => {}); // Docker 20 has no --ipv4
    const web = await daemon.up('web', { networks: on('back'), port_mappings: [port(8080, 80)] });
    const db = await daemon.up('db', { networks: on('more') });
    await docker.ok(
      'network',
      'connect',
      '--ip',
      '10.91.0.77',
      '--ip6',
      'fd00:91::77',
      '--alias',
      'sql',
      'more',
      'web',
    );
    await withAgents([pathOf(web), pathOf(db)], async (server, client) => {
      await server.serve('web', 'tcp', 80);
      assert.match(await client.dial('tcp', '10.91.0.77', 80), /^web /);
      assert.match(await client.dial('tcp', 'fd00:91::77', 80), /^web /);
    });
    const { Containers } = await inspected('more');
    assert.equal(Object.keys(Containers).sort(), ['db', 'web']);
    const { Name, IPv4Address, IPv6Address } = Containers.web ?? {};
    assert.equal([Name, IPv4Address, IPv6Address], ['web', '10.91.0.77/24', 'fd00:91::77/64']);
    const [alone] = JSON.parse(await docker.ok('inspect', 'web')) as [
      { NetworkSettings: { Networks: Record<string, object> } },
    ];
    assert.equal(Object.keys(alone.NetworkSettings.Networks), ['back', 'more']);
    assert.match(await docker.ok('port', 'web'), /^80\/tcp -> 0\.0\.0\.0:8080/);

    await docker.refused('endpoint with name web already exists in network more', 'network', 'connect', 'more', 'web');
    await docker.refused(/^Address already in use: /, 'network', 'connect', '--ip', '10.90.0.2', 'back', 'db');
    await docker.ok('network', 'disconnect', 'more', 'web');
    assert.not.match(
      execFileSync('nsenter', [`--net=${pathOf(web)}`, 'ip', 'address'], { encoding: 'utf8' }),
      /10\.91\.0\.77/,
    );
    await docker.refused('container web is not connected to network more', 'network', 'disconnect', 'more', 'web');
    assert.equal(Object.keys((await inspected('more')).Containers), ['db']);
  },
);

engine('what is refused changes nothing', async () => {
  await docker.ok('network', 'create', '--subnet', '10.90.0.0/24', 'back');
  await daemon.up('web', { networks: on('back') });
  await calm();
  const before = inspect(daemon);
  const create = ['network', 'create', 'x'];
  const option = 'com.docker.network.bridge.enable_icc=false';
  await docker.refused('network with name back already exists', 'network', 'create', 'back');
  await docker.refused(/Pool overlaps with other one on this address space/, ...create, '--subnet', '10.90.0.0/16');
  await docker.refused('operation is not permitted on predefined none network', 'network', 'create', 'none');
  await docker.refused(/^could not find plugin weave/, ...create, '--driver', 'weave');
  await docker.refused(/^overlay networks need etcd/, ...create, '--driver', 'overlay');
  await docker.refused(/^attachable is not supported/, ...create, '--attachable');
  await docker.refused(/enable_icc=false is not supported/, ...create, '--opt', option);
  await docker.refused(/^unknown option colour/, ...create, '--opt', 'colour=red');
  await docker.refused(/^auxiliary addresses/, ...create, '--subnet', '10.91.0.0/24', '--aux-address', 'a=10.91.0.9');
  await docker.refused(/^IPAM driver dhcp/, ...create, '--ipam-driver', 'dhcp');
  await docker.refused(/^links are not supported/, 'network', 'connect', '--link', 'a:b', 'cleat', 'web');
  await docker.refused('No such container: nobody', 'network', 'connect', 'back', 'nobody');
  await docker.refused('network nowhere not found', 'network', 'connect', 'nowhere', 'web');
  await docker.refused('network nowhere not found', 'network', 'rm', 'nowhere');
  await docker.refused('cleat is a pre-defined network and cannot be removed', 'network', 'rm', 'cleat');
  await docker.refused('bridge is a pre-defined network and cannot be removed', 'network', 'rm', 'bridge');
  await docker.refused(/^invalid filter 'colour'/, 'network', 'ls', '--filter', 'colour=red');
  const { stderr, code } = await docker.run(['run', 'alpine']);
  assert.is(code, 125);
  assert.match(stderr, /POST \/v1\.\d\d\/containers\/create is not supported/);
  assert.not.match(stderr, /Unable to find image/);
  assert.match((await docker.run(['inspect', 'nowhere'])).stderr, /No such object: nowhere/);
  await assertComesBackTo(before, () => inspect(daemon));
  // These get as far as the container, which remembers that it was asked.
  await docker.refused(/^no configured subnet or ip-range/, 'network', 'connect', '--ip', '10.99.0.9', 'cleat', 'web');
  await docker.refused('container web is not connected to network cleat', 'network', 'disconnect', 'cleat', 'web');
  await assertComesBackTo({ ...before, files: [] }, () => ({ ...inspect(daemon), files: [] }));
});

engine('lists and their filters', async () => {
  await docker.ok('network', 'create', '--label', 'stage=test', 'back');
  await docker.ok('network', 'create', '--internal', 'backstage');
  await daemon.up('web', { networks: on('back'), name: 'front' });
  await daemon.done({ type: 'create', id: 'new', networks: on('cleat') });
  assert.equal(await names(), ['back', 'backstage', 'cleat']);
  assert.equal(await names('name=back'), ['back', 'backstage']);
  assert.equal(await names('name=^back$'), ['back']);
  assert.equal(await names('label=stage=test'), ['back']);
  assert.equal(await names('driver=bridge', 'type=builtin'), ['cleat']);
  assert.equal(await names('driver=macvlan'), []);
  assert.equal(await names('dangling=true'), ['backstage']);
  assert.equal(await names('dangling=false'), ['back', 'cleat']);
  const [{ Id: id }] = [await inspected('back')];
  assert.equal(await names(`id=${id.slice(0, 12)}`), ['back']);
  assert.is((await inspected('bridge')).Name, 'cleat');
  await docker.refused('network host not found', 'network', 'inspect', 'host');

  const listed = async (...words: string[]) =>
    (await docker.ok('ps', '--format', '{{.ID}} {{.Names}} {{.Networks}}', ...words)).split('\n');
  assert.equal(await listed(), ['web front back']);
  assert.equal(await listed('-a'), ['new new cleat', 'web front back']);
  assert.equal(await listed('-l'), ['new new cleat']);
  assert.equal(await listed('--filter', 'network=back'), ['web front back']);
  assert.equal(await listed('--filter', 'status=created'), ['new new cleat']);
  assert.match(await docker.ok('ps', '--format', '{{.Status}}'), /^Up /);
  assert.match(await docker.ok('info', '--format', '{{.Containers}} {{.ContainersRunning}}'), /^2 1$/);
});

engine('events come whoever makes the change, in order, and those of the past', async () => {
  const began = Math.floor(Date.now() / 1000);
  const follower = docker.start(['events', '--format', '{{json .}}', '--filter', 'type=network']);
  const heard: string[] = [];
  createInterface({ input: follower.stdout ?? process.stdin }).on('line', (line) => {
    heard.push(brief(JSON.parse(line) as DockerEvent));
  });
  // The client has asked as soon as an event comes.
  await until('it follows', async () => {
    await daemon.network({ name: 'probe' });
    await daemon.request('DELETE', '/v1/networks/probe');
    return heard.length > 0;
  });
  await sleep(50);
  heard.length = 0;
  await docker.ok('network', 'create', 'back');
  await daemon.network({ name: 'own' });
  await daemon.done({ type: 'create', id: 'web', networks: on('back') });
  await daemon.done({ type: 'configure', id: 'web' });
  await docker.ok('network', 'connect', 'own', 'web');
  await daemon.request('PATCH', '/v1/networks/own', { options: { mtu: '1400' } });
  await daemon.done({ type: 'disconnect', id: 'web', network: 'back' });
  await daemon.down('web');
  await docker.ok('network', 'rm', 'back');
  await daemon.request('DELETE', '/v1/networks/own');
  const all = [
    'create back',
    'create own',
    'connect back web',
    'connect own web',
    'update own',
    'disconnect back web',
    'disconnect own web',
    'destroy back',
    'destroy own',
  ];
  await until('all are told', () => heard.length >= all.length);
  follower.kill();
  assert.equal(heard, all);
  assert.equal(await told(began, 'event=connect', 'event=disconnect', 'network=own'), [
    'connect own web',
    'disconnect own web',
  ]);
});

engine('an attachment that is refused is no event', async () => {
  const began = Date.now() / 1000;
  await docker.ok('network', 'create', '--subnet', '10.90.0.0/24', 'back');
  const web = await daemon.up('web', { networks: {} });
  execFileSync('nsenter', [`--net=${pathOf(web)}`, 'ip', 'link', 'add', 'eth0', 'type', 'bridge']);
  await docker.refused(
    /eth0/,
    'network',
    'connect',
    '--driver-opt',
    'com.docker.network.endpoint.ifname=eth0',
    'back',
    'web',
  );
  assert.equal(await told(began, 'container=web'), []);
});

engine('a prune takes what nobody uses, and nothing else', async () => {
  for (const name of ['a', 'b', 'c']) await docker.ok('network', 'create', '--label', `is=${name}`, name);
  await daemon.up('web', { networks: on('b') });
  await daemon.done({ type: 'create', id: 'new', networks: on('c') });
  assert.is(await docker.ok('network', 'prune', '--force', '--filter', 'until=1h'), '');
  assert.is(await docker.ok('network', 'prune', '--force', '--filter', 'label!=is=a'), '');
  assert.is(await docker.ok('network', 'prune', '--force'), 'Deleted Networks:\na');
  assert.equal(await names(), ['b', 'c', 'cleat']);
});

engine('a network that is really called bridge wins', async () => {
  await daemon.network({ name: 'bridge', subnets: [{ subnet: '10.95.0.0/24' }] });
  assert.is((await inspected('bridge')).IPAM.Config[0]?.Subnet, '10.95.0.0/24');
  assert.is(await docker.ok('network', 'rm', 'bridge'), 'bridge');
});

// --- The socket -----------------------------------------------------------------------------------------------------

engine('the socket is for its owner and group, and rights are those of the own socket', async () => {
  const { mode, uid, gid } = statSync(SOCKET);
  assert.equal([mode & 0o777, uid, gid], [0o660, 0, 0]);
  const [stranger, member] = [asUser(65_533, 65_533), asUser(65_533, 65_532)].map(
    (prefix) => new DockerClient(SOCKET, prefix),
  );
  chownSync(SOCKET, 0, 65_532);
  assert.match((await stranger!.run(['network', 'ls'])).stderr, /permission denied/);
  assert.is(await member!.ok('network', 'create', '--subnet', '10.90.0.0/24', 'theirs').then((id) => id.length), 64);
  ip('link', 'add', 'lan0', 'type', 'veth', 'peer', 'lan1');
  const macvlan = [
    'network',
    'create',
    '--driver',
    'macvlan',
    '--opt',
    'parent=lan0',
    '--subnet',
    '192.0.2.0/24',
    'lan',
  ];
  await member!.refused('a network of driver macvlan is not allowed for uid 65533', ...macvlan);
  await docker.ok(...macvlan);
  assert.is((await inspected('lan')).Options.parent, 'lan0');
  ip('link', 'del', 'lan0');
  chownSync(SOCKET, 0, 0);
});

engine('bytes that are no HTTP, and bodies that are too large, are refused in the form of Docker', async () => {
  const head =
    'POST /networks/create HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2000000\r\n\r\n';
  const rows: [bytes: string, status: number, message: RegExp][] = [
    ['SSH-2.0-x\r\n\r\n', 400, /^no HTTP/],
    [head, 413, /^the body is larger than 1048576 bytes$/],
  ];
  for (const [bytes, status, message] of rows) {
    const socket = await connectTo(SOCKET);
    socket.write(bytes);
    const [top = '', body = ''] = (await said(socket)).split('\r\n\r\n');
    assert.ok(top.startsWith(`HTTP/1.1 ${status} `), top);
    assert.match(top, /content-type: application\/json(\r|$)/i);
    assert.match((JSON.parse(body) as { message: string }).message, message);
    socket.destroy();
  }
});

engine('connections to both sockets count together', async () => {
  const small = new TestDaemon();
  small.dockerSocket = `${small.directory}/docker.sock`;
  small.limits = ['connections=8'];
  await small.start();
  const held = await Promise.all(Array.from({ length: 8 }, () => connectTo(small.socket)));
  // One that is answered has been counted.
  for (const socket of held) socket.write('GET /_ping HTTP/1.1\r\nhost: x\r\n\r\n');
  await Promise.all(held.map((socket) => once(socket, 'data')));
  await new DockerClient(small.dockerSocket).refused(/^no connection is left: there are 8$/, 'network', 'ls');
  for (const socket of held) socket.destroy();
  await until('there is room', async () => (await small.docker('GET', '/networks')).status === 200);
  await small.stop();
});

engine('a stop takes the socket away, a crash is made good, and containers do not notice', async () => {
  await docker.ok('network', 'create', 'back');
  const web = await daemon.up('web', { networks: on('back') });
  const began = Date.now() / 1000 - 3600;
  assert.is(await daemon.stop(), 0);
  assert.not.ok(existsSync(SOCKET));
  await daemon.start();
  await daemon.kill();
  assert.ok(existsSync(SOCKET));
  await daemon.start();
  const { Containers } = await inspected('back');
  assert.is(Containers.web?.IPv4Address, `${addressOf(web, 'back')}/24`);
  // It was on the network before: nothing has happened.
  assert.equal(await told(began), []);
});

engine('a socket of others, or what is no socket, is left as it is, and the daemon does not start', async () => {
  await daemon.stop();
  const refuses = async (why: RegExp) => {
    const child = daemon.spawn();
    await until('it has ended', () => child.exitCode !== null).finally(() => child.kill('SIGKILL'));
    assert.is(child.exitCode, 1);
    assert.match(daemon.log().trimEnd().split('\n').slice(-2).join('\n'), why);
    assert.not.ok(existsSync(daemon.socket), 'the own socket is not there either');
  };
  const theirs = createServer((socket) => socket.end());
  await new Promise<void>((resolve) => theirs.listen(SOCKET, resolve));
  const { ino } = statSync(SOCKET);
  await refuses(/--docker-socket .*: another program listens there/);
  assert.is(statSync(SOCKET).ino, ino);
  await new Promise((resolve) => theirs.close(resolve));
  writeFileSync(SOCKET, 'precious');
  await refuses(/something is there that is no socket/);
  assert.is(statSync(SOCKET).size, 8);
  rmSync(SOCKET);
  daemon.dockerSocket = '/nowhere/docker.sock';
  await refuses(/--docker-socket \/nowhere\/docker\.sock: /);
  daemon.dockerSocket = 'docker.sock';
  await refuses(/takes an absolute path, not docker\.sock/);
  daemon.dockerSocket = `/run/${'x'.repeat(120)}`;
  await refuses(/has 1 to 107 bytes, not 125/);
  daemon.dockerSocket = SOCKET;
  await daemon.start();
});

engine('a daemon that ends when idle does not while a client of Docker follows it', async () => {
  const idle = new TestDaemon();
  idle.dockerSocket = `${idle.directory}/docker.sock`;
  idle.exitWhenIdle = '0.5';
  await idle.start();
  const follower = new DockerClient(idle.dockerSocket).start(['events']);
  await sleep(2000);
  process.kill(idle.pid, 0);
  follower.kill();
  await until('it has ended', () => !existsSync(idle.socket));
  await until('and its socket, too', () => !existsSync(idle.dockerSocket ?? ''));
  await idle.stop();
});

engine.run();
