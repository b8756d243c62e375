// slow: 90 s, daemons on hosts of their own, and looks at everything that come every ten seconds
/**
 * An overlay whose hosts encrypt what they send each other: real daemons, a real etcd, wireguard-go and wg. What is on the wire is read
 * from the wire.
 *
 * Limits: the kernel that this was written on has no WireGuard, so its own links are made by nobody here.
 */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findUser } from '../../effects/processes/users.ts';
import type { AuditReport } from '../../state/answers/audit.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { OverlayView } from '../../state/answers/overlay.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { addressOf, pathOf, type TestDaemon } from '../harness/daemon.ts';
import { addHost, daemonOn, Etcd } from '../harness/etcd.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { openTun } from '../harness/tun.ts';
import { ROOT as TREE } from '../harness/sanitized.ts';
import { launcherOfTheUnit, maskOf, rightsOf } from '../harness/unit.ts';

requirePrivateNamespace();
const tunnels = suite('overlays of WireGuard');
const TTL = 5;
const SOCKETS = '/run/wireguard';
const mount = (...words: string[]) => execFileSync('mount', words);
const ROOT = '/cleat/v1/networks/web';
const etcd = new Etcd(1);
addHost('a', '192.0.2.1');
addHost('b', '192.0.2.2');
addHost('c', '192.0.2.3');

/**
 * Two hosts have two directories for the sockets of wireguard-go, while everything else that their daemons mount is the test's to see.
 * What a shell of the host does first is `before`.
 */
openTun();
mkdirSync(SOCKETS, { recursive: true });
mount('--make-shared', '/run');
mount('-t', 'tmpfs', 'tmpfs', SOCKETS);
mount('--make-private', SOCKETS);
const shells: ChildProcess[] = [];

async function host(name: string, address: string, before = ''): Promise<TestDaemon> {
  const daemon = daemonOn(name, address, etcd.endpoints, TTL);
  const script = `mount -t tmpfs tmpfs ${SOCKETS} ${before} && echo ready && read end`;
  const shell = spawn('unshare', ['-m', '--propagation', 'unchanged', 'sh', '-c', script]);
  shells.push(shell);
  await new Promise((resolve) => shell.stdout.once('data', resolve));
  daemon.launcher = ['nsenter', `--mount=/proc/${shell.pid}/ns/mnt`, `--net=/run/netns/${name}`, '--'];
  daemon.launcher.push(...launcherOfTheUnit());
  return daemon;
}

const a = await host('a', '192.0.2.1');
const b = await host('b', '192.0.2.2');

const view = async (daemon: TestDaemon): Promise<OverlayView> =>
  (await daemon.get<OverlayView>('/v1/networks/web/overlay')).body;
const definition = async (daemon: TestDaemon): Promise<NetworkDefinition> =>
  (await daemon.get<NetworkDefinition>('/v1/networks/web')).body;
const at = (container: ContainerView): string => addressOf(container, 'web');
const inNetns = (path: string, ...command: string[]): string =>
  execFileSync('nsenter', [`--net=${path}`, '--', ...command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const on = (name: string, ...command: string[]): string => inNetns(`/run/netns/${name}`, ...command);

/** The processes of wireguard-go in the namespace of a host. */
function helpersOn(name: string): number[] {
  const { ino } = statSync(`/run/netns/${name}`);
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        const isIts = statSync(`/proc/${pid}/ns/net`).ino === ino;
        return isIts && readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('/usr/bin/wireguard-go\0');
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** wg(8), where the sockets of a host are. */
function wg(name: string, ...words: string[]): string {
  const [helper = 0] = helpersOn(name);
  return execFileSync('nsenter', [`--target=${helper}`, '--mount', '--net', '--', 'wg', ...words], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}
const linkOn = (name: string): string => /\bwg-[0-9a-f]{10}\b/.exec(on(name, 'ip', '-o', 'link'))?.[0] ?? '';
const routesOn = (name: string): string[] =>
  on(name, 'ip', 'route', 'show', 'proto', '207')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.startsWith('10.140.') && line.includes(' dev wg-'));

async function until(so: () => boolean | Promise<boolean>, what: string, ms = 30_000): Promise<void> {
  const began = performance.now();
  while (!(await so())) {
    if (performance.now() - began > ms) assert.unreachable(`${what}: not in ${ms} ms`);
    await sleep(20);
  }
}
const PING = new URL('../../../test/harness/ping.py', import.meta.url).pathname;
const reaches = (netns: string, address: string, seconds = 1): boolean =>
  spawnSync('nsenter', [`--net=${netns}`, '--', 'python3', PING, address, '60', '', String(seconds)]).status === 0;

const networks = { networks: { web: {} } };
let one: ContainerView;
let two: ContainerView;
const soon = (what: string) => until(() => reaches(pathOf(one), at(two)), what);

tunnels.before(async () => {
  await etcd.start();
  await Promise.all([a.start(), b.start()]);
  const subnets = [{ subnet: '10.140.0.0/16' }];
  await a.network({ name: 'web', driver: 'overlay', subnets, dns_enabled: true, overlay: { backend: 'wireguard' } });
  await b.network({ name: 'web', driver: 'overlay', dns_enabled: true });
  one = await a.up('one', networks);
  two = await b.up('two', networks);
});
tunnels.after(async () => {
  await Promise.all([a.stop(), b.stop()]);
  await etcd.stop();
  for (const shell of shells) shell.stdin?.end('\n');
});

tunnels('containers of two hosts reach each other', async () => {
  assert.is((await definition(b)).overlay?.backend, 'wireguard', 'the second host takes it as it is');
  await soon('one reaches two');
  assert.ok(reaches(pathOf(two), at(one)));
  assert.equal([routesOn('a').length, routesOn('b').length], [1, 1]);
  assert.match(on('a', 'ip', 'link', 'show', linkOn('a')), /mtu 1440 /, 'what is left of 1500 bytes');
  assert.match(inNetns(pathOf(one), 'ip', 'link', 'show', 'eth0'), /mtu 1440 /);
  const big = spawnSync('nsenter', [`--net=${pathOf(one)}`, '--', 'python3', PING, at(two), '1440', '', '1']);
  assert.is(big.status, 0, 'a whole packet');
  assert.equal(helpersOn('a').length, 1);
});

/** Sends a text by TCP, and returns what arrived. */
async function send(from: string, to: string, address: string, text: string): Promise<string> {
  const listen = `import socket; s=socket.socket(); s.bind(("${address}",7000)); s.listen(); c,_=s.accept(); print(c.makefile().read())`;
  const server = spawn('nsenter', [`--net=${to}`, '--', 'python3', '-c', listen]);
  let arrived = '';
  server.stdout.setEncoding('utf8').on('data', (more: string) => {
    arrived += more;
  });
  const ended = new Promise((resolve) => server.on('close', resolve));
  const speak = `import socket; c=socket.create_connection(("${address}",7000),5); c.sendall(b"${text}"*200); c.close()`;
  await until(() => spawnSync('nsenter', [`--net=${from}`, '--', 'python3', '-c', speak]).status === 0, 'a connection');
  await ended;
  return arrived;
}

const CAPTURE = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(("p-a", 0)); s.settimeout(0.2)
print("ready", flush=True)
import select
seen = b""
while True:
    if select.select([0], [], [], 0)[0]: break
    try: seen += s.recv(65535)
    except socket.timeout: pass
sys.stdout.write(str(seen.count(b"words-of-a-container")) + " " + str(seen.count(b"\\xca\\x6c")))
`;

/** Returns how often the words of `send`, and the port 51820, were on the wire of host a meanwhile. */
async function onTheWire(work: () => Promise<unknown>): Promise<{ words: number; port: number }> {
  const reader = spawn('python3', ['-c', CAPTURE]);
  let said = '';
  reader.stdout.setEncoding('utf8').on('data', (more: string) => {
    said += more;
  });
  const ended = new Promise((resolve) => reader.on('close', resolve));
  await until(() => said.startsWith('ready\n'), 'it listens');
  await work();
  await sleep(300);
  reader.stdin.end('\n');
  await ended;
  const [words = -1, port = -1] = said.slice('ready\n'.length).split(' ').map(Number);
  return { words, port };
}

tunnels('what containers say is not on the wire in the clear', async () => {
  const text = 'words-of-a-container';
  const clear = await onTheWire(() => send('/run/netns/a', '/run/netns/b', '192.0.2.2', text));
  assert.ok(clear.words > 100, `the reader reads what hosts say in the clear: ${clear.words}`);
  let arrived = '';
  const secret = await onTheWire(async () => {
    arrived = await send(pathOf(one), pathOf(two), at(two), text);
  });
  assert.is(arrived.split(text).length - 1, 200, 'it has arrived');
  assert.is(secret.words, 0);
  assert.ok(secret.port > 3, `it went by the port of the overlay: ${secret.port}`);
});

tunnels('the private key is in its file, for root alone, and nowhere else', async () => {
  const directory = join(a.stateDir, 'wireguard');
  const [file = ''] = readdirSync(directory);
  assert.is(file, `${(await definition(a)).id}.json`);
  assert.is(statSync(join(directory, file)).mode & 0o777, 0o600);
  const { private_key: secret } = JSON.parse(readFileSync(join(directory, file), 'utf8')) as { private_key: string };
  assert.is(wg('a', 'show', linkOn('a'), 'private-key').trim(), clamped(secret), 'it is the key of the link');
  const publicKey = execFileSync('wg', ['pubkey'], { input: secret, encoding: 'utf8' }).trim();
  assert.is((await definition(a)).overlay?.public_key, publicKey, 'and wg(8) agrees on its other half');
  const others = [
    ...[a.runDir, a.stateDir].map((path) => everyFile(path, join(directory, file))),
    JSON.stringify([...etcd.all()]),
    a.log(),
    JSON.stringify((await a.get('/v1/networks')).body),
    JSON.stringify((await a.get('/v1/containers/one')).body),
    JSON.stringify((await a.get('/v1/doctor')).body),
    everyProcess(),
  ];
  assert.ok(others.every((text) => text.length > 0));
  assert.ok(others[2]?.includes(publicKey), 'what is looked through has the public one');
  for (const form of [secret, clamped(secret), Buffer.from(secret, 'base64').toString('hex')])
    assert.equal(
      others.map((text) => text.includes(form)),
      others.map(() => false),
    );
});

/** A private key as WireGuard shows it: with the bits that Curve25519 does not use set as it wants them. */
function clamped(key: string): string {
  const bytes = Buffer.from(key, 'base64');
  bytes[0] = (bytes[0] ?? 0) & 248;
  bytes[31] = ((bytes[31] ?? 0) & 127) | 64;
  return bytes.toString('base64');
}

const everyFile = (directory: string, but: string): string =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && join(entry.parentPath, entry.name) !== but)
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    .join('\n');

const everyProcess = (): string =>
  readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => ['cmdline', 'environ'].map((file) => `/proc/${pid}/${file}`))
    .map((path) => {
      try {
        return readFileSync(path, 'latin1');
      } catch {
        return ''; // it has ended
      }
    })
    .join('\n');

tunnels('the helper has the rights of its row, and its socket is for root', () => {
  const [helper = 0] = helpersOn('a');
  const rights = rightsOf(helper);
  assert.equal(new Set(rights.uids), new Set([findUser('cleat-wireguard').uid]));
  for (const mask of [rights.permitted, rights.effective, rights.bounding]) assert.is(mask, maskOf(['NET_ADMIN']));
  const row = /^\| wireguard-go .*$/m.exec(readFileSync(join(TREE, 'docs/security.md'), 'utf8'))?.[0] ?? '';
  const yes = (is: boolean) => (is ? 'yes' : 'no');
  assert.equal(
    row.split('|').map((cell) => cell.trim()),
    [
      '',
      'wireguard-go',
      'cleat-wireguard',
      'NET_ADMIN',
      yes(!rights.noNewPrivileges),
      yes(rights.filtered),
      String(rights.descriptors),
      '',
    ],
  );
  const environment = readFileSync(`/proc/${helper}/environ`, 'utf8').split('\0').filter(Boolean);
  assert.equal(environment.sort(), ['LOG_LEVEL=silent', 'WG_UAPI_FD=3'], 'nothing of the daemon');
  const socket = statSync(`/proc/${helper}/root${SOCKETS}/${linkOn('a')}.sock`);
  assert.equal([socket.uid, socket.mode & 0o777], [0, 0o640]);
});

tunnels('a daemon that is killed leaves the network as it is, and takes it over', async () => {
  const before = helpersOn('a');
  const handshake = () => wg('a', 'show', linkOn('a'), 'latest-handshakes').split('\t')[1];
  const then = handshake();
  await a.kill();
  assert.ok(reaches(pathOf(one), at(two)), 'while there is no daemon');
  await a.start();
  assert.ok(reaches(pathOf(one), at(two), 3), 'with the next one');
  await until(async () => (await view(a)).peers.length === 1, 'it knows the other host');
  assert.equal([helpersOn('a'), handshake()], [before, then], 'nothing was made anew');
});

tunnels('what others remove comes back', async () => {
  const [key = ''] = wg('a', 'show', linkOn('a'), 'peers').trim().split('\n');
  wg('a', 'set', linkOn('a'), 'peer', key, 'remove');
  assert.is(reaches(pathOf(one), at(two), 0.3), false, 'without the peer');
  const { findings } = (await a.get<AuditReport>('/v1/audit')).body;
  assert.ok(
    findings.some(({ object, problem }) => object.startsWith(`${key} for 10.140.`) && problem === 'missing'),
    JSON.stringify(findings),
  );
  await soon('the peer is back');
  wg('a', 'set', linkOn('a'), 'peer', key, 'allowed-ips', '10.140.0.0/16');
  await until(() => !wg('a', 'show', linkOn('a'), 'allowed-ips').includes('/16'), 'nobody has the whole pool');
  await soon('the share is back');
  const [route = ''] = routesOn('a');
  on('a', 'ip', 'route', 'del', ...route.split(' ').slice(0, 3));
  await soon('the route is back');
  on('a', 'ip', 'link', 'del', linkOn('a'));
  await soon('the link is back');
  assert.is(helpersOn('a').length, 1);
});

tunnels('a helper that is killed, or stopped, comes back with all that it had', async () => {
  const [helper = 0] = helpersOn('a');
  process.kill(helper, 'SIGKILL');
  await until(() => helpersOn('a').some((pid) => pid !== helper), 'another one');
  await soon('it has its peers and routes');
  const [next = 0] = helpersOn('a');
  process.kill(next, 'SIGSTOP');
  await until(() => helpersOn('a').some((pid) => pid !== next), 'the stopped one is replaced');
  await soon('and works');
  assert.is(helpersOn('a').length, 1);
  assert.equal((await a.get<AuditReport>('/v1/audit')).body.findings, []);
});

/** Makes host c a host of the overlay by hand, with a key of its own, and a claim that says this key. */
async function intruder(claimed: (own: string) => string) {
  const secret = execFileSync('wg', ['genkey'], { encoding: 'utf8' }).trim();
  const own = execFileSync('wg', ['pubkey'], { input: secret, encoding: 'utf8' }).trim();
  const claim = {
    host: 'c'.repeat(32),
    address: '192.0.2.3',
    mac: '02:00:00:00:00:03',
    public_key: claimed(own),
    generation: 1,
    place: 'by hand',
  };
  etcd.put(`${ROOT}/subnets/10.140.250.0-24`, JSON.stringify(claim));
  const peer = wg('a', 'show', linkOn('a'), 'public-key').trim();
  const share = (await definition(a)).subnets[0]?.subnet ?? '';
  const child = spawn('ip', ['netns', 'exec', 'c', 'wireguard-go', '-f', 'wg-c'], { stdio: 'ignore' });
  return { secret, peer, share, child };
}

async function asIntruder(claimed: (own: string) => string, work: () => Promise<void>): Promise<void> {
  const { secret, peer, share, child } = await intruder(claimed);
  const ended = new Promise((resolve) => child.on('exit', resolve));
  try {
    await until(() => existsSync(`${SOCKETS}/wg-c.sock`), 'host c has a link');
    writeFileSync('/run/key-of-c', secret, { mode: 0o600 });
    execFileSync('wg', ['set', 'wg-c', 'private-key', '/run/key-of-c']);
    execFileSync('wg', ['set', 'wg-c', 'peer', peer, 'endpoint', '192.0.2.1:51820', 'allowed-ips', share]);
    on('c', 'ip', 'address', 'add', '10.140.250.0/32', 'dev', 'wg-c');
    on('c', 'ip', 'link', 'set', 'wg-c', 'up', 'mtu', '1440');
    on('c', 'ip', 'route', 'add', share, 'dev', 'wg-c');
    await work();
  } finally {
    child.kill();
    await ended;
    etcd.ctl(0, 'del', `${ROOT}/subnets/10.140.250.0-24`);
    await until(async () => (await view(a)).peers.length === 1, 'host c is forgotten');
  }
}
const OTHER_KEY = Buffer.alloc(32, 9).toString('base64');

tunnels('a host with the key that it has claimed is let in, and one with another key is not', async () => {
  await asIntruder(
    (own) => own,
    () => until(() => reaches('/run/netns/c', at(one)), 'host c reaches a container'),
  );
  await asIntruder(
    () => OTHER_KEY,
    async () => {
      await until(() => wg('a', 'show', linkOn('a'), 'peers').includes(OTHER_KEY), 'host a knows the claim');
      for (let n = 0; n < 3; n++) assert.is(reaches('/run/netns/c', at(one)), false);
    },
  );
  await soon('the others go on');
});

tunnels('a host that is let in has the sources of its own share alone', async () => {
  await asIntruder(
    (own) => own,
    async () => {
      await until(() => reaches('/run/netns/c', at(one)), 'host c reaches a container');
      // With the address of a container of host b, whose answers would not come here: what arrives at `one` is counted.
      on('c', 'ip', 'address', 'add', `${at(two)}/32`, 'dev', 'wg-c');
      inNetns(
        pathOf(one),
        'nft',
        'add table ip seen; add chain ip seen in { type filter hook prerouting priority 0; }',
      );
      const mark = `ip saddr ${at(two)} ip length 778 counter`;
      inNetns(pathOf(one), 'nft', `add rule ip seen in ${mark}`);
      const forge = ['python3', PING, at(one), '778', at(two), '0.3'];
      const counted = () => /packets (\d+)/.exec(inNetns(pathOf(one), 'nft', 'list table ip seen'))?.[1];
      spawnSync('nsenter', ['--net=/run/netns/c', '--', ...forge]);
      assert.is(counted(), '0', 'it is dropped');
      spawnSync('nsenter', [`--net=${pathOf(two)}`, '--', ...forge]);
      assert.is(counted(), '1', 'from where it belongs it arrives');
      inNetns(pathOf(one), 'nft', 'delete table ip seen');
    },
  );
});

tunnels('what comes in the clear is dropped', async () => {
  on('c', 'ip', 'address', 'add', '10.140.250.7/32', 'dev', 'lo');
  on('c', 'ip', 'route', 'add', at(one), 'via', '192.0.2.1');
  const counted = (netns: string) => /packets (\d+)/.exec(inNetns(netns, 'nft', 'list table ip clear'))?.[1];
  const places = ['/run/netns/a', pathOf(one)];
  for (const netns of places) {
    inNetns(netns, 'nft', 'add table ip clear; add chain ip clear in { type filter hook prerouting priority -400; }');
    inNetns(netns, 'nft', 'add rule ip clear in ip saddr 10.140.250.7 counter');
  }
  spawnSync('nsenter', ['--net=/run/netns/c', '--', 'python3', PING, at(one), '60', '10.140.250.7', '0.3']);
  assert.equal(places.map(counted), ['1', '0'], 'it reaches the host, and not the container');
  for (const netns of places) inNetns(netns, 'nft', 'delete table ip clear');
  on('c', 'ip', 'route', 'del', at(one));
  on('c', 'ip', 'address', 'del', '10.140.250.7/32', 'dev', 'lo');
  await soon('the others go on');
});

tunnels('claims without a key, with a damaged one, or with that of another host are left out', async () => {
  const theirs = (await definition(b)).overlay?.public_key;
  const claim = { address: '192.0.2.9', generation: 1, place: 'x' };
  const bad: Record<string, object> = {
    '10.140.240.0-24': { ...claim, host: '1'.repeat(32), mac: '02:00:00:00:01:01' },
    '10.140.241.0-24': { ...claim, host: '2'.repeat(32), mac: '02:00:00:00:01:02', public_key: 'AAAA' },
    '10.140.242.0-24': { ...claim, host: '3'.repeat(32), mac: '02:00:00:00:01:03', public_key: `${'A'.repeat(43)}\n` },
    '10.140.243.0-24': { ...claim, host: '4'.repeat(32), mac: '02:00:00:00:01:04', public_key: theirs },
  };
  for (const [share, value] of Object.entries(bad)) etcd.put(`${ROOT}/subnets/${share}`, JSON.stringify(value));
  await until(async () => Object.keys((await view(a)).refused).length >= 4, 'they are refused');
  const { refused, peers } = await view(a);
  const why = Object.values(refused).join('\n');
  assert.match(why, /has no key/);
  assert.is(why.split('32 bytes in base64').length, 3, why);
  assert.match(why, /has the key of host/);
  // One of the two that say they have this key is believed: the one with the lower share, as with a MAC.
  assert.equal(
    peers.map(({ public_key: key }) => key),
    [theirs],
  );
  for (const share of Object.keys(bad)) etcd.ctl(0, 'del', `${ROOT}/subnets/${share}`);
  await until(async () => Object.keys((await view(a)).refused).length === 0, 'and forgotten');
  await soon('the others go on');
});

tunnels('a host that gets another share keeps its key, and is reached there', async () => {
  const [share = ''] = (await view(b)).shares;
  const key = (await definition(b)).overlay?.public_key;
  const claim = { host: '5'.repeat(32), address: '192.0.2.9', mac: '02:00:00:00:01:05', public_key: OTHER_KEY };
  const path = `${ROOT}/subnets/${share.replace('/', '-')}`;
  etcd.put(path, JSON.stringify({ ...claim, generation: 1, place: 'x' }));
  const now = async () => (await definition(b)).subnets[0]?.subnet;
  await until(async () => (await now()) !== share, 'it has another share');
  const former = at(two);
  const moved = async () => {
    two = (await b.get<ContainerView>('/v1/containers/two')).body;
    return at(two) !== former;
  };
  await until(moved, 'its container has another address');
  await soon('it is reached there');
  assert.is((await definition(b)).overlay?.public_key, key);
  await until(() => wg('a', 'show', linkOn('a'), 'peers').includes(OTHER_KEY), "its former share is another host's");
  etcd.ctl(0, 'del', path);
  await until(() => !wg('a', 'show', linkOn('a'), 'peers').includes(OTHER_KEY), 'who leaves again');
  await until(async () => (await b.get<AuditReport>('/v1/audit')).body.clean, 'nothing of the former share is left');
});

tunnels('each overlay of a host has a UDP port of its own', async () => {
  const made = (name: string, port?: number) =>
    a.request<NetworkDefinition & { code?: string; message?: string }>('POST', '/v1/networks', {
      name,
      driver: 'overlay',
      subnets: [{ subnet: name === 'more' ? '10.141.0.0/16' : '10.142.0.0/16' }],
      overlay: { backend: 'wireguard', ...(port === undefined ? {} : { port }) },
    });
  const { body } = await made('more');
  assert.is(body.overlay?.port, 51_821);
  const refused = await made('again', 51_820);
  assert.is(refused.status, 409);
  assert.match(JSON.stringify(refused.body), /UDP port 51820 of overlay again is that of overlay web/);
  assert.equal([...etcd.all('/cleat/v1/networks/again')], []);
  assert.is(readdirSync(join(a.stateDir, 'wireguard')).length, 2, 'no key of what was refused');
  // A port that somebody else has is told when it is needed.
  const holder = spawn('nsenter', [
    '--net=/run/netns/a',
    '--',
    'python3',
    '-c',
    'import socket,time; s=socket.socket(2,2); s.bind(("",51821)); print(1,flush=True); time.sleep(99)',
  ]);
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  const failed = await a.request('POST', '/v1/events', { type: 'create', id: 'three', networks: { more: {} } });
  const answer = JSON.stringify([failed.body, await a.event({ type: 'configure', id: 'three' })]);
  assert.match(answer, /UDP port 51821 of wg-[0-9a-f]+ is in use/);
  holder.kill();
  await a.down('three');
  assert.is((await a.request('DELETE', '/v1/networks/more')).status, 204);
});

tunnels('without the programs a host is refused by name, and nothing has changed', async () => {
  const before = [...etcd.all()].length;
  const bare = await host(
    'c',
    '192.0.2.3',
    '&& mount --bind /dev/null /usr/bin/wireguard-go && mount --bind /dev/null /usr/bin/wg',
  );
  await bare.start();
  const { status, body } = await bare.request('POST', '/v1/networks', { name: 'web', driver: 'overlay' });
  assert.is(status, 409);
  const text = JSON.stringify(body);
  assert.match(
    text,
    /DRIVER_UNSUPPORTED.*wg \(apt install wireguard-tools\), and .*wireguard-go \(apt install wireguard-go\)/,
  );
  assert.equal(readdirSync(join(bare.stateDir, 'wireguard')), []);
  assert.is([...etcd.all()].length, before);
  await bare.stop();
});

tunnels('the last container takes the link with it, and the network the key', async () => {
  await a.down('one');
  await until(() => helpersOn('a').length === 0, 'the helper is gone');
  assert.is(linkOn('a'), '');
  assert.equal(routesOn('a'), []);
  assert.is((await a.request('DELETE', '/v1/networks/web')).status, 204);
  assert.equal(readdirSync(join(a.stateDir, 'wireguard')), []);
  assert.equal((await a.get<AuditReport>('/v1/audit')).body.findings, []);
  await b.down('two');
  await until(() => helpersOn('b').length === 0, 'the other one too');
});

tunnels.run();
