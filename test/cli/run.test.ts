// slow: 30 s, each command is a process of its own, and Node takes a moment to start
/**
 *
 * Processes in containers' networks as a user starts, enters and ends them: run, run -d, exec, stop, wait, up; and the daemon in the
 * background, which a client waits for. After each test the audit is clean.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import { Upstream } from '../harness/dns.ts';
import { processState, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { Shell } from './shell.ts';

requirePrivateNamespace();

const shell = new Shell();
const runs = suite('runs');

const inspect = async (id: string) => (JSON.parse(await shell.ok('inspect', id)) as [Inspection])[0];
const alive = (pid: number): boolean => existsSync(`/proc/${pid}`) && processState(pid) !== 'Z';

/** The inodes of the daemon's ends of connections: the sixth field is 03 when one is connected, the seventh its inode. */
const connections = (): string[] =>
  readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .flatMap(([, , , , , state, inode = '', path]) => (state === '03' && path === shell.socket ? [inode] : []));

runs.before(async () => {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  await shell.startDaemon();
  await shell.ok('network', 'create', 'back', '--subnet', '10.90.0.0/24');
});
runs.after(async () => void (await shell.endDaemon('SIGTERM')));
runs.after.each(async () => {
  await clear(shell.api);
  await shell.api.clean();
});

runs('run -d returns when CMD runs, and names it; what ends CMD ends its network', async () => {
  const id = await shell.ok('run', '-d', '--', 'sleep', '1000');
  assert.match(id, /^run-[0-9a-f]{8}$/);
  const { bound_to: pid, netns } = await inspect(id);
  assert.is(readFileSync(`/proc/${pid}/cmdline`, 'utf8'), 'sleep\x001000\x00');
  assert.is(Number(execFileSync('stat', ['-Lc%i', `/proc/${pid}/ns/net`], { encoding: 'utf8' })), netns.ino);
  // A session of its own, without a terminal (fields 6 and 7 of proc_pid_stat(5)).
  const [, , , session, terminal] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  assert.equal([session, terminal], [String(pid), '0']);
  const waiting = shell.start('wait', id);
  // A request that is there twice is one that waits.
  let before: string[] = [];
  await until('it waits', () => {
    const [last, now] = [before, connections()];
    before = now;
    return now.some((inode) => last.includes(inode));
  });
  assert.is(await shell.ok('stop', id), id);
  assert.equal([(await waiting.ended).code, waiting.so().stdout], [0, `${id}\n`]);
  assert.not(alive(pid ?? 0));
  assert.is(await shell.ok('ps', '-q'), '');
});

runs(
  'run -d leaves what CMD prints to the journal, which has it when CMD is gone; without one it says so',
  async () => {
    const unheard = await shell.cleat('run', '-d', '--', 'echo', 'nothing');
    assert.equal([unheard.code, unheard.stderr.includes('Warning: what CMD prints is lost: no journal')], [0, true]);
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/var/log']); // it writes there if it finds a journal of the machine
    const journald = spawn('/lib/systemd/systemd-journald', { stdio: 'ignore' });
    await until('it listens', () => existsSync('/run/systemd/journal/stdout'));
    const script = 'echo one; echo two >&2; grep flags /proc/self/fdinfo/1; exit 3';
    const heard = await shell.cleat('run', '-d', '--name', 'talk', '--', 'sh', '-c', script);
    assert.equal([heard.code, heard.stdout, heard.stderr], [0, 'talk\n', '']);
    await until('it is gone', async () => (await shell.ok('ps', '-q')) === '');
    const said = () => execFileSync('journalctl', ['-t', 'talk', '-o', 'cat'], { encoding: 'utf8' });
    await until('all is there', () => said().split('\n').length === 4);
    assert.is(said(), 'one\ntwo\nflags:\t02\n', 'in order, and a write waits (no O_NONBLOCK)');
    journald.kill();
    await until('it has ended', () => journald.exitCode !== null || journald.signalCode !== null);
    rmSync('/run/systemd/journal/stdout', { force: true });
    execFileSync('umount', ['/var/log']);
  },
);

runs('stop kills what does not end by itself, and refuses what has no process', async () => {
  await shell.ok('run', '-d', '--name', 'deaf', '--', 'sh', '-c', 'trap "" TERM; while :; do sleep 0.05; done');
  const { bound_to: pid } = await inspect('deaf');
  await until('it ignores SIGTERM', () =>
    /^SigIgn:\s+[0-9a-f]*4000$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')),
  );
  assert.is(await shell.ok('stop', '--time', '0', 'deaf'), 'deaf');
  assert.not(alive(pid ?? 0));
  await shell.ok('up', 'web');
  const refused = await shell.cleat('stop', 'web');
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /^Error: container web is bound to no process\nHint: `cleat teardown web`/);
  assert.is((await shell.cleat('stop', 'none')).code, 1);
  assert.is(await shell.ok('stop', '--ignore', 'none'), 'none');
  assert.is((await shell.cleat('stop', '-t', 'soon', 'web')).code, 2);
  assert.is((await inspect('web')).state, 'up');
});

runs('wait ends in the state that was asked for, and fails when it cannot come', async () => {
  await shell.ok('create', 'web');
  const waiting = shell.start('wait', '--condition', 'up', 'web');
  await shell.ok('configure', 'web');
  assert.is((await waiting.ended).code, 0);
  assert.is(await shell.ok('wait', '--condition', 'created', 'web'), 'web');
  assert.match((await shell.cleat('wait', '--condition', 'happy', 'web')).stderr, /there is no state happy/);
  assert.match((await shell.cleat('wait', 'none')).stderr, /no container with name or ID "none"/);
});

runs('CMD sees the files and the interfaces of its network, and the host those of the host', async () => {
  const before = ['/etc/hosts', '/etc/resolv.conf'].map((file) => readFileSync(file, 'utf8'));
  await shell.ok('run', '-d', '--name', 'db', '--network', 'back', '--network-alias', 'sql', '--', 'sleep', '1000');
  const script = 'getent hosts db; getent hosts sql; ls /sys/class/net; ls -A /sys/fs/cgroup | wc -l';
  const [db = '', sql = '', ...rest] = (await shell.ok('run', '--network', 'back', 'sh', '-c', script)).split('\n');
  const { NetworkSettings } = await inspect('db');
  const address = NetworkSettings.Networks.back?.IPAddress ?? '';
  assert.match(db, new RegExp(`^${address.replaceAll('.', '\\.')}\\s+db`));
  assert.match(sql, new RegExp(`^${address.replaceAll('.', '\\.')}\\s+sql`));
  assert.equal(rest, ['eth0', 'lo', String(readdirSync('/sys/fs/cgroup').length)]);
  assert.equal(
    ['/etc/hosts', '/etc/resolv.conf'].map((file) => readFileSync(file, 'utf8')),
    before,
  );
  assert.ok(readdirSync('/sys/class/net').includes('lo'));
  assert.not(readFileSync('/proc/self/mountinfo', 'utf8').includes(`${shell.directory}/run/etc`));

  assert.match(await shell.ok('exec', 'db', '--', 'cat', '/etc/hosts'), new RegExp(`^${address} db sql`, 'm'));
  assert.is((await shell.cleat('exec', 'db', 'sh', '-c', 'exit 6')).code, 6);
  assert.is((await shell.cleat('exec', 'db', 'no-such-command')).code, 127);
  assert.is((await shell.cleat('exec', 'db', '/etc/passwd')).code, 126);
  assert.is((await shell.cleat('exec', 'db', '--')).code, 125);
  assert.is((await shell.cleat('exec', 'none', 'true')).code, 125);
  // One that shares the namespace has the same names.
  assert.match(
    await shell.ok('run', '--network', 'container:db', 'cat', '/etc/hosts'),
    new RegExp(`^${address} db`, 'm'),
  );
});

runs('--ip, --mac-address, --add-host, --dns, --expose and --net mean what they mean elsewhere', async () => {
  const upstream = await Upstream.at('127.0.0.7', '203.0.113.5');
  const flags = [
    '--net',
    'back',
    '--ip',
    '10.90.0.77',
    '--mac-address',
    '02:00:00:00:00:77',
    '--expose',
    '80/udp',
    '-P',
  ];
  const hosts = ['--add-host', 'one:192.0.2.1', '--add-host', 'two:[2001:db8::2]', '--dns', '127.0.0.7'];
  await shell.ok('run', '-d', '--name', 'a', ...flags, ...hosts, '--', 'sleep', '1000');
  const { NetworkSettings } = await inspect('a');
  assert.is(NetworkSettings.Networks.back?.IPAddress, '10.90.0.77');
  assert.is(NetworkSettings.Networks.back?.MacAddress, '02:00:00:00:00:77');
  assert.match(NetworkSettings.Ports['80/udp']?.[0]?.HostPort ?? '', /^\d{5}$/);
  const seen = await shell.ok('exec', 'a', 'cat', '/etc/hosts');
  assert.match(seen, /^192\.0\.2\.1 one$/m);
  assert.match(seen, /^2001:db8::2 two$/m);
  // The resolver of the network forwards to the server of this container; containers' names it answers itself.
  assert.match(await shell.ok('exec', 'a', 'getent', 'ahostsv4', 'example.test'), /^203\.0\.113\.5 /);
  upstream.close();

  // Without a resolver on the network, the file names the servers.
  const plain = await shell.ok('run', '--dns', '192.0.2.53', 'cat', '/etc/resolv.conf');
  assert.match(plain, /^nameserver 192\.0\.2\.53$/m);
  assert.is(plain.match(/nameserver/g)?.length, 1);
});

runs('wrong flags are refused with nothing made', async () => {
  for (const [args, message] of [
    [['--ip', 'x'], /invalid ip address "x"/],
    [['--ip', '10.90.0.7', '--network', 'none'], /--ip needs a network, and none is none/],
    [['--network-alias', 'x', '--network', 'host'], /--network-alias needs a network/],
    [['--ip', '10.90.0.7', '--network', 'back', '--net', 'cleat'], /--ip is for one network/],
    [['--mac-address', '01:00:00:00:00:01', '--network', 'back'], /not a unicast MAC address/],
    [['--dns', 'x'], /invalid --dns "x"/],
    [['--add-host', 'x'], /it is NAME:ADDRESS/],
    [['--add-host', 'a b:192.0.2.1'], /a host name is labels/],
    [['--add-host', 'x:host-gateway'], /host\.containers\.internal/],
    [['-P'], /-P publishes what --expose names/],
    [['--expose', '1:2', '-P'], /invalid --expose "1:2"/],
  ] as const) {
    const run = await shell.cleat('run', ...args, 'true');
    assert.is(run.code, 125, `${args.join(' ')}: ${run.stderr}`);
    assert.match(run.stderr, message);
    assert.not((await shell.cleat('up', 'web', ...args)).code === 0, args.join(' '));
  }
  assert.is(await shell.ok('ps', '-q'), '');
  // -d: who is refused leaves no process behind.
  assert.is((await shell.cleat('run', '-d', '--network', 'none-such', 'sleep', '4711')).code, 125);
  assert.is((await shell.cleat('run', '-d', 'no-such-command')).code, 127);
  assert.is(await shell.ok('ps', '-q'), '');
  assert.throws(() => execFileSync('pgrep', ['-f', 'sleep 4711']));
});

runs('up makes a container that is up, or none', async () => {
  assert.is(await shell.ok('up', 'web', '--network', 'back', '-p', '8080:80'), 'web');
  assert.is((await inspect('web')).state, 'up');
  const taken = await shell.cleat('up', 'other', '--network', 'back', '-p', '8080:80');
  assert.is(taken.code, 1);
  assert.match(taken.stderr, /^Error: .*8080/);
  assert.is((await shell.cleat('up', 'web')).code, 1);
  assert.is(await shell.ok('ps', '-q'), 'web');
});

runs(
  'daemon --detach returns when it serves, or says why it does not; a client waits for one that starts',
  async () => {
    await shell.endDaemon('SIGTERM');
    delete shell.environment.CLEAT_CONNECT_TIMEOUT;
    const early = shell.start('ps', '-q');
    const pid = Number(await shell.ok('daemon', '--detach'));
    assert.equal([(await early.ended).code, early.so().stderr], [0, '']);
    assert.is((await shell.json<{ daemon: { pid: number } }>('version')).daemon.pid, pid);
    const second = await shell.cleat('daemon', '-d');
    assert.is(second.code, 1);
    assert.match(second.stderr, /^Error: another cleat daemon uses/);
    const wrong = await shell.cleat('daemon', '--detach', '--drift', 'x=y');
    assert.is(wrong.code, 1);
    assert.match(wrong.stderr, /^Error: /);
    process.kill(pid, 'SIGTERM');
    await until('it has ended', () => !alive(pid));
    // A relative path begins where the command was given, and a word that looks like the flag belongs to its own flag.
    const before = process.cwd();
    process.chdir(shell.directory);
    const own = ['--run-dir', 'near', '--state-dir', 'near/state', '--pasta-option', '-d'];
    const near = Number(await shell.ok('daemon', '-d', ...own));
    assert.is(readlinkSync(`/proc/${near}/cwd`), '/');
    assert.match(readFileSync(`/proc/${near}/cmdline`, 'utf8'), /\0--pasta-option\0-d\0/);
    assert.ok(existsSync('near/cleat.sock') && existsSync('near/state'));
    assert.is(await shell.ok('--socket', 'near/cleat.sock', 'ps', '-q'), '');
    process.kill(near, 'SIGTERM');
    await until('it has ended', () => !alive(near));
    rmSync('near', { recursive: true });
    process.chdir(before);
    shell.environment.CLEAT_CONNECT_TIMEOUT = '0';
    await shell.startDaemon();
  },
);

runs('CMD that is not told where to go does not begin', async () => {
  const waits = spawn(`${import.meta.dirname}/../../../build/Release/cleat-run`, ['touch', '/run/begun'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  const ended = new Promise((resolve) => waits.once('exit', resolve));
  waits.stdio[3]?.destroy();
  assert.is(await ended, 125);
  assert.not(existsSync('/run/begun'));
});

runs.run();
