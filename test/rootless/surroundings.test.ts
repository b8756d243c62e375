// slow: 60 s, half a dozen daemons
/**
 * What an ordinary user's daemon says when something that it needs is not there, and that nothing is left then. What it finds of an
 * earlier life; another daemon of the same user, of another user, and of root.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { built } from '../../native/index.ts';
import { dial } from '../harness/agent.ts';
import { on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { agentIn, endSleepers, sleeper, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { ROOT } from '../harness/sanitized.ts';
import { killed, RootlessDaemon, setTun, TestUser } from '../harness/rootless.ts';

const surroundings = suite('rootless surroundings');

execFileSync('ip', ['-batch', '-'], {
  input:
    'link add world type bridge\naddr add 10.99.1.2/24 dev world\nlink set world up\nroute add default via 10.99.1.1\n',
});
const host = await agentIn(null);
await host.serve('host', 'tcp', 7001);

const ann = new TestUser('ann', 1601);
const bob = new TestUser('bob', 1602);
const none = new TestUser('none', 1603, 0);
const few = new TestUser('few', 1604, 1000);
const daemon = new RootlessDaemon(ann);

const CLEAT = join(ROOT, 'dist/bundle/cleat.cjs');
const launcher = [built('cleat-rootless'), '--', 'true'];
const unsafe = '/run/unsafe';
mkdirSync(unsafe, { mode: 0o777 });
chmodSync(unsafe, 0o777);
chownSync(unsafe, ann.uid, ann.uid);

/** A network namespace of root, where every user may open it. */
writeFileSync('/run/theirs', '');
execFileSync('mount', ['--bind', `/proc/${(await sleeper()).pid}/ns/net`, '/run/theirs']);

/** Covers a file in a mount namespace of the command's own. */
const without = (file: string, user: TestUser) => [
  'unshare',
  '--mount',
  'sh',
  '-c',
  `mount --bind /dev/null ${file} && exec "$@"`,
  'sh',
  ...user.prefix,
];

surroundings('what is missing is said, with what helps, and nothing is left', () => {
  const rows: [what: string, user: TestUser, environment: Record<string, string>, message: RegExp, hint: RegExp][] = [
    [
      'no such directory',
      ann,
      { XDG_RUNTIME_DIR: '/run/nowhere' },
      /XDG_RUNTIME_DIR cannot be used: \/run\/nowhere: No such/,
      /loginctl enable-linger/,
    ],
    ['not absolute', ann, { XDG_RUNTIME_DIR: 'run' }, /not an absolute path: run/, /0700/],
    ["another user's", ann, { XDG_RUNTIME_DIR: '/run' }, /not safe: \/run belongs to uid 0/, /a directory of yours/],
    ['open to others', ann, { XDG_RUNTIME_DIR: unsafe }, /not safe: \/run\/unsafe .*others may write/, /0700/],
    ['no subordinate ids', none, {}, /none has no subordinate ids in \/etc\/subuid/, /usermod --add-subuids .* none/],
    ['too few', few, {}, /few has only 1000 subordinate ids .* 65524 are needed/, /usermod --add-subuids .* few/],
  ];
  for (const [what, user, environment, message, hint] of rows) {
    const { status, stderr } = user.run(launcher, environment);
    assert.is(status, 1, what);
    const [first = '', second = ''] = stderr.split('\n');
    assert.match(first, new RegExp(`^Error: .*${message.source}`), what);
    assert.match(second, new RegExp(`^Hint: .*${hint.source}`), what);
    assert.equal(user.processes(), [], what);
    assert.not.ok(existsSync(user.record), what);
  }
});

surroundings('without newuidmap', () => {
  const env = { ...process.env, ...ann.environment };
  const [file = '', ...args] = [...without('/usr/bin/newuidmap', ann), ...launcher];
  let said = '';
  try {
    execFileSync(file, args, { encoding: 'utf8', env, stdio: 'pipe' });
  } catch (error) {
    said = (error as { stderr: string }).stderr;
  }
  assert.match(said, /^Error: newuidmap is not installed\nHint: As root: apt-get install uidmap/);
  assert.equal(ann.processes(), []);
  assert.not.ok(existsSync(ann.record));
});

surroundings('nothing that is mounted for the user is seen outside', () => {
  const mounts = () => readFileSync('/proc/self/mountinfo', 'utf8');
  const before = mounts();
  const said = ann.launch('sh', '-c', 'cat /proc/self/mountinfo; ls -A /run /run/netns');
  assert.match(said.stdout, / \/run\/netns\/rootless /);
  assert.match(said.stdout, / \/run\/cleat-1601-\d+ /);
  assert.match(said.stdout, / \/run\/user /, 'the directories of the host are there');
  assert.is(mounts(), before);
  killed(ann.holder);
});

surroundings('a record of an earlier life leads nowhere, and is replaced', () => {
  mkdirSync(`${ann.runtime}/cleat`, { recursive: true });
  chownSync(`${ann.runtime}/cleat`, ann.uid, ann.uid);
  // A process that lives and is somebody else's, one that never was, and no record at all.
  const start = readFileSync('/proc/self/stat', 'utf8').split(' ')[21];
  for (const text of [`${process.pid} ${start} 1 2 /run/x\n`, '99999999 5 1 2 /run/x\n', 'garbage', '']) {
    writeFileSync(ann.record, text);
    chownSync(ann.record, ann.uid, ann.uid);
    const { status, stderr } = ann.launch('true');
    assert.is(status, 0, stderr);
    assert.match(readFileSync(ann.record, 'utf8'), /^\d+ \d+ \d+ \d+ \/run\/cleat-1601-\d+\n$/);
    killed(ann.holder);
  }
});

surroundings(
  'the program that leads out is missing, or may not open /dev/net/tun: the container is refused',
  async () => {
    const cases: [uplinks: TestDaemon['uplinks'], tun: number, message: RegExp][] = [
      [{ rootlessUplink: 'slirp4netns', slirp4netns: '/nowhere/slirp4netns' }, 0o666, /could not find slirp4netns/],
      [{}, 0o600, /\/dev\/net\/tun is closed to others.*chmod 0666/],
    ];
    for (const [uplinks, tun, message] of cases) {
      daemon.uplinks = uplinks;
      setTun(tun);
      await daemon.start();
      await daemon.done({ type: 'create', id: 'c', networks: on('cleat') });
      const { status, body } = await daemon.event({ type: 'configure', id: 'c' });
      assert.is(status, 500);
      assert.match(body.error?.message ?? '', message);
      await daemon.down('c');
      await daemon.clean();
      assert.is(await daemon.stop(), 0);
      await until('nothing is left', () => ann.processes().length === 0);
    }
    daemon.uplinks = {};
    setTun(0o666);
  },
);

surroundings(
  'a privileged port is refused, with the sysctl that would allow it; the firewall carries none',
  async () => {
    await daemon.start();
    await daemon.done({ type: 'create', id: 'low', networks: on('cleat'), port_mappings: [port(80, 80)] });
    const { status, body } = await daemon.event({ type: 'configure', id: 'low' });
    assert.is(status, 403);
    assert.is(body.error?.code, 'PORT_PRIVILEGED');
    assert.match(body.error?.message ?? '', /sysctl net.ipv4.ip_unprivileged_port_start=80 /);
    await daemon.down('low');
    const refused = await daemon.event({ type: 'create', id: 'fw', networks: on('cleat'), port_handler: 'firewall' });
    assert.match(refused.body.error?.message ?? '', /rootless networks are carried by forwarder, not by firewall/);
  },
);

surroundings('a second daemon of the user is refused by the lock', async () => {
  const second = ann.run([process.execPath, CLEAT, 'daemon']);
  assert.is(second.status, 1);
  assert.match(second.stderr, /another cleat daemon uses/);
  assert.is((await daemon.get('/v1/version')).status, 200);
});

surroundings('daemons of two users and of root do not disturb each other', async () => {
  const other = new RootlessDaemon(bob);
  const root = new TestDaemon();
  await other.start();
  await root.start();
  const daemons = [daemon, other, root];
  const names = ['ann', 'bob', 'root'];
  const up = await Promise.all(
    daemons.map((one, i) => one.up('c', { networks: on('cleat'), port_mappings: [port(19_000 + i, 80)] })),
  );
  const paths = up.map((container, i) => {
    const user = [ann, bob][i];
    return user === undefined ? pathOf(container) : user.outsidePath(pathOf(container));
  });
  await withAgents(paths, async (...agents) => {
    await Promise.all(agents.map((agent, i) => agent.serve(names[i]!, 'tcp', 80)));
    const answers = async () => {
      for (const [i, name] of names.entries()) {
        assert.is(await dial('tcp', '10.99.1.2', 19_000 + i, 5000), `${name} 10.99.1.2`);
        assert.match(await agents[i]!.dial('tcp', '10.99.1.2', 7001, 5000), /^host /, `${name} leads out`);
      }
      for (const one of daemons) await one.clean();
    };
    await answers();
    // Each in turn is killed, started, and repairs what is its own.
    for (const one of daemons) {
      await one.kill();
      await one.start();
      await one.request('POST', '/v1/audit/repair');
      await answers();
    }
  });
  await Promise.all(daemons.map((one) => one.down('c')));
  for (const one of daemons) assert.is(await one.stop(), 0);
  const left = () => [...ann.processes(), ...bob.processes()];
  await until('nothing is left of either user', () => left().length === 0).catch(() => assert.equal(left(), []));
});

surroundings('a socket that a supervisor passes reaches the daemon through the launcher', async () => {
  const socket = `${bob.runtime}/passed.sock`;
  const activator = join(ROOT, 'test/service/activator.py');
  const command = [process.execPath, CLEAT, 'daemon', '--exit-when-idle', '1'];
  const [file = '', ...args] = [...bob.prefix, 'python3', activator, socket, 'stream', ...command];
  const supervisor = spawn(file, args, { stdio: 'ignore', env: { ...process.env, ...bob.environment } });
  await until('it is bound', () => existsSync(socket));
  assert.is((await new TestDaemon(undefined, socket).get('/v1/version')).status, 200);
  await until('it has left', () => bob.processes().length === 1);
  supervisor.kill('SIGKILL');
  await until('nothing is left', () => bob.processes().length === 0);
});

surroundings('a daemon that is passed what it cannot use, or cannot execute the launcher, says so', () => {
  const command = [process.execPath, CLEAT, 'daemon'];
  for (const count of ['two', '2']) {
    const shell = ['sh', '-c', `LISTEN_PID=$$ LISTEN_FDS=${count} exec "$@"`, 'sh'];
    const { status, stderr } = bob.run([...shell, ...command]);
    assert.is(status, 1);
    assert.match(stderr, `Error: LISTEN_FDS is "${count}": the daemon takes one socket\n`);
    killed(bob.holder);
  }
  const [file = '', ...args] = [...without(built('cleat-rootless'), bob), ...command];
  const { status, stderr } = spawnSync(file, args, { encoding: 'utf8', env: { ...process.env, ...bob.environment } });
  assert.is(status, 1);
  assert.match(stderr, /^Error: .*cleat-rootless/m);
  assert.not.match(stderr, / at enterRootless/);
});

surroundings(
  'a daemon with directories of its own stops well, and leaves the namespaces to one in the usual place',
  async () => {
    const elsewhere = new RootlessDaemon(bob);
    elsewhere.usualPlaces = false;
    chownSync(elsewhere.directory, bob.uid, bob.uid);
    await elsewhere.start();
    const { holder } = bob;
    assert.is(await elsewhere.stop(), 0);
    assert.equal(bob.processes().map(Number.parseFloat), [holder]);
    killed(holder);
  },
);

surroundings("names of the world are asked of the way out first, and follow the host's resolv.conf", async () => {
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/mnt']);
  // Empty, as when it is missing; then with a server on the host's loopback, and one of the world.
  writeFileSync('/mnt/resolv.conf', '');
  execFileSync('mount', ['--bind', '/mnt/resolv.conf', '/etc/resolv.conf']);
  await daemon.start();
  await daemon.network({ name: 'web', dns_enabled: true });
  await daemon.up('c', { networks: on('web') });
  const zone = () => readFileSync(`${ann.runtime}/cleat/dns/own/open/web.zone`, 'utf8').split('\n')[0] ?? '';
  assert.match(zone(), /^10\.\d+\.\d+\.1$/);
  writeFileSync('/mnt/resolv.conf', 'nameserver 127.0.0.53\nnameserver 192.0.2.7\n');
  await until('the servers are named', () => zone().endsWith(' 10.0.2.3,192.0.2.7'));
  await daemon.down('c');
  await daemon.stop();
  execFileSync('umount', ['/etc/resolv.conf']);
});

surroundings('the command as the user: run, ps, network, connect, publish, stats, why', async () => {
  await daemon.start();
  const environment = ann.environment;
  const said = ann.run(
    [
      process.execPath,
      CLEAT,
      'run',
      '--network',
      'cleat',
      '--',
      'sh',
      '-c',
      'head -1 /proc/self/uid_map; ip -4 -br addr show dev eth0; exit 7',
    ],
    environment,
  );
  assert.is(said.status, 7, said.stderr);
  assert.match(said.stdout, /^\s+0\s+1601\s+1\n/);
  assert.match(said.stdout, /eth0@\S+\s+UP\s+10\.\d+\.\d+\.\d+\/24/);
  // The files and the interfaces of the container, in the background too; the daemon's own namespace has others.
  assert.is(ann.cleat('run', '-d', '--name', 'd', '--add-host', 'one:192.0.2.1', '--', 'sleep', '1000'), 'd\n');
  const inside = ann.cleat('exec', 'd', '--', 'sh', '-c', 'ls /sys/class/net; cat /etc/hosts');
  assert.match(inside, /^eth0\nlo\n/);
  assert.match(inside, /^192\.0\.2\.1 one$/m);
  const sleeper = ann.processOf('sleep 1000');
  assert.is(ann.cleat('stop', 'd'), 'd\n');
  assert.not(existsSync(`/proc/${sleeper}`));
  ann.cleat('network', 'create', 'back');
  ann.cleat('create', 'c', '--network', 'cleat', '-p', '19100:80');
  ann.cleat('configure', 'c');
  ann.cleat('connect', 'back', 'c');
  ann.cleat('publish', 'c', '19101:80');
  assert.match(ann.cleat('ps'), /c\s+c\s+up\s+back,cleat|c\s+c\s+up\s+cleat,back/);
  assert.match(ann.cleat('why', 'c'), /c is up, and nothing is missing/);
  ann.cleat('stats', 'c');
  ann.cleat('reload', 'c');
  ann.cleat('disconnect', 'back', 'c');
  assert.match(ann.cleat('audit'), /^clean/);
  ann.cleat('teardown', 'c');
});

surroundings('a namespace of the host, or of another user, is refused before anything is made', async () => {
  // It runs as ann, in a network namespace that root has made.
  const others = await sleeper(ann.uid);
  for (const [netns, why] of [
    [['--network', 'ns:/proc/self/ns/net'], /is the one of the daemon: it cannot be that of a container/],
    [['--network', 'ns:/run/theirs'], /is not this user's: the daemon has no rights over it/],
    [['--pid', String(others.pid)], /is not this user's: the daemon has no rights over it/],
  ] as const) {
    const { status, stderr } = ann.run([process.execPath, CLEAT, 'create', 'x', ...netns]);
    assert.is(status, 1, stderr);
    assert.match(stderr, why);
  }
  await daemon.clean();
  endSleepers();
});

surroundings('daemon --detach as the user returns when it serves', async () => {
  await daemon.stop();
  const pid = Number(ann.cleat('daemon', '--detach'));
  assert.is(ann.cleat('version', '--format', '{{.daemon.pid}}'), `${pid}\n`);
  assert.is(ann.cleat('run', '--', 'sh', '-c', 'ls /sys/class/net'), 'eth0\nlo\n');
  process.kill(pid, 'SIGTERM');
  await until('it has ended', () => !existsSync(`/proc/${pid}`));
});

surroundings.after(async () => {
  host.stop();
  await daemon.kill();
});

surroundings.run();
