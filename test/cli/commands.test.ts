// slow: 40 s, each command is a process of its own, and Node takes a moment to start
/**
 *
 * `cleat` as a user types it, against a daemon that it started itself: every command once as intended, and each kind of
 * failure, by its exit code and its text. After each test the audit is clean.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView, Gone } from '../../state/answers/container/container.ts';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import type { ContainerStats } from '../../state/answers/container/stats.ts';
import type { Version } from '../../state/answers/version.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { processState, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { Shell } from './shell.ts';

requirePrivateNamespace();

const shell = new Shell();

const inspect = async (id: string): Promise<ContainerView> => {
  const [container] = JSON.parse(await shell.ok('inspect', id)) as [ContainerView];
  return container;
};

/** A table as objects, by its headings. */
const rows = (text: string): Record<string, string>[] => {
  const [head = '', ...lines] = text.split('\n');
  const columns = [...head.matchAll(/\S+(?: \S+)*/g)].map(({ 0: name, index }) => ({ name, index }));
  return lines.map((line) =>
    Object.fromEntries(columns.map(({ name, index }, i) => [name, line.slice(index, columns[i + 1]?.index).trim()])),
  );
};

const commands = suite('commands');

// The daemon does not restore what a test removes.
commands.before(() => shell.startDaemon('--drift', 'address=alert', '--drift', 'route=alert'));
commands.after(async () => void (await shell.endDaemon('SIGTERM')));
commands.after.each(async () => {
  await clear(shell.api);
  await shell.api.clean();
});

commands('a container lives through the commands of the documentation', async () => {
  assert.is(await shell.ok('network', 'create', 'back', '--subnet', '10.90.0.0/24', '--opt', 'mtu=1400'), 'back');
  assert.is(
    await shell.ok(
      'create',
      'web',
      '--network',
      'back:ip=10.90.0.5,mac=02:00:00:00:00:05',
      '-p',
      '8080:80',
      '-p',
      '127.0.0.1::53/udp',
    ),
    'web',
  );
  assert.is(await shell.ok('configure', 'web'), 'web');
  const [row] = rows(await shell.ok('ps'));
  assert.is(row?.ID, 'web');
  assert.is(row?.STATE, 'up');
  assert.is(row?.NETWORKS, 'back');
  assert.is(row?.ADDRESSES, '10.90.0.5');
  assert.match(row?.PORTS ?? '', /^\*:8080->80\/tcp, 127\.0\.0\.1:\d+->53\/udp$/);
  assert.match(row?.AGE ?? '', /^\d+s$/);

  await shell.ok('connect', 'cleat', 'web', '--interface-name', 'eth7');
  const { networks, netns } = await inspect('web');
  assert.equal(Object.keys(networks), ['back', 'cleat']);
  const inside = execFileSync('nsenter', [`--net=${netns.path}`, 'ip', '-br', 'address'], { encoding: 'utf8' });
  assert.match(inside, /eth0\S+ +UP +10\.90\.0\.5\/24/);
  assert.match(inside, /eth7/);

  assert.match(await shell.ok('publish', 'web', '9090-9091'), /^\*:\d+-\d+->9090-9091\/tcp$/);
  await shell.ok('unpublish', 'web', '9090-9091');
  assert.is((await inspect('web')).ports.length, 2);
  await shell.ok('reload', 'web');
  await shell.ok('disconnect', 'cleat', 'web');
  assert.equal(Object.keys((await inspect('web')).networks), ['back']);

  const history = rows(await shell.ok('history', 'web'));
  assert.ok(
    history.some((entry) => entry.EVENT === 'disconnect' && entry.FROM === 'up'),
    JSON.stringify(history),
  );

  assert.is(await shell.ok('teardown', 'web'), 'web');
  assert.not(existsSync(netns.path ?? ''));
  assert.is(await shell.ok('ps', '-q'), '');
  assert.is(await shell.ok('network', 'rm', 'back'), 'back');
});

commands("--format json, before or after the command, prints the API's answer", async () => {
  const created = await shell.json<ContainerView>('create', 'a');
  assert.is(created.state, 'created');
  const listed = JSON.parse(await shell.ok('--format=json', 'ps')) as ContainerView[];
  assert.equal(
    listed.map(({ id }) => id),
    ['a'],
  );
  const { daemon } = await shell.json<{ daemon: Version }>('version');
  assert.is(daemon.api, 'v1');
  assert.equal(await shell.json<Gone[]>('teardown', 'a'), [{ id: 'a', state: 'gone' }]);
  const refused = await shell.cleat('inspect', 'a', '--format', 'json');
  assert.is((JSON.parse(refused.stderr) as { error: { code: string } }).error.code, 'NO_SUCH_CONTAINER');
  const wrong = await shell.cleat('ps', '--nonsense', '--format', 'json');
  assert.is((JSON.parse(wrong.stderr) as { error: { code: string } }).error.code, 'USAGE');
});

commands('networks can be created, listed, inspected and removed', async () => {
  const flags = ['--subnet', '10.91.0.0/24', '--subnet', 'fd00:91::/64', '--gateway', '10.91.0.9', '--ip-range'];
  const made = await shell.json<NetworkDefinition>(
    'network',
    'create',
    'dual',
    ...flags,
    '10.91.0.128/25',
    '--label',
    'a=b',
  );
  assert.equal(made.subnets[0], {
    subnet: '10.91.0.0/24',
    gateway: '10.91.0.9',
    lease_range: { start_ip: '10.91.0.128', end_ip: '10.91.0.254' },
  });
  const listed = rows(await shell.ok('network', 'ls')).find(({ NAME }) => NAME === 'dual');
  assert.is(listed?.['NETWORK ID'], made.id.slice(0, 12));
  assert.is(listed?.SUBNETS, '10.91.0.0/24,fd00:91::/64');
  assert.equal(JSON.parse(await shell.ok('network', 'inspect', 'dual')), [made]);

  await shell.ok('create', 'a', '--network', 'dual');
  await shell.ok('configure', 'a');
  const used = await shell.cleat('network', 'rm', 'dual');
  assert.is(used.code, 1);
  assert.match(used.stderr, /^Error: network dual is being used by a\nHint: /);
  await shell.ok('teardown', 'a');
  await shell.ok('network', 'rm', 'dual');
  assert.is((await shell.cleat('network', 'rm', 'dual')).code, 1);
  await shell.ok('network', 'rm', '--ignore', 'dual');
  assert.is((await shell.cleat('network', 'create', 'host')).code, 2);
});

commands('stats shows the traffic of each interface, of all containers or of the named ones', async () => {
  await shell.ok('network', 'create', 'one', '--subnet', '10.93.0.0/24');
  await shell.ok('create', 'a', '--network', 'one', '--network', 'cleat');
  await shell.ok('configure', 'a');
  await shell.ok('create', 'host', '--network', 'host');
  const { netns } = await inspect('a');
  const blast = 'for i in $(seq 20); do printf "%01000d" 0 > /dev/udp/10.93.0.1/9 || true; done 2> /dev/null';
  execFileSync('nsenter', [`--net=${netns.path}`, 'bash', '-c', blast]);
  const table = rows(await shell.ok('stats'));
  assert.equal(
    table.map(({ ID, INTERFACE, NETWORK }) => [ID, INTERFACE, NETWORK]),
    [
      ['a', 'eth0', 'one'],
      ['a', 'eth1', 'cleat'],
      ['host', '-', '-'],
    ],
  );
  assert.match(table[0]?.TX ?? '', /^2[0-9](\.\d)?kB$/);
  assert.match(table[0]?.['TX PKTS'] ?? '', /^\d+$/);
  assert.is(table[0]?.['RX ERR'], '0');
  assert.equal(Object.keys(rows(await shell.ok('stats', 'host'))[0] ?? {}).length, 11);
  const [one] = await shell.json<ContainerStats[]>('stats', 'a');
  assert.ok((one?.interfaces?.eth0?.tx_bytes ?? 0) >= 20_000);
  const all = await shell.json<ContainerStats[]>('stats');
  assert.equal(
    all.map(({ id, interfaces }) => [id, interfaces === null]),
    [
      ['a', false],
      ['host', true],
    ],
  );
  const some = await shell.cleat('stats', 'a', 'none');
  assert.is(some.code, 1);
  assert.is(rows(some.stdout).length >= 2, true);
  assert.match(some.stderr, /^Error: no container with name or ID "none"/);
  await shell.ok('teardown', 'a');
  await shell.ok('network', 'rm', 'one');
});

commands('inspect shows what docker and podman show, and what is missing', async () => {
  await shell.ok('create', 'a', '-p', '8080:80');
  await shell.ok('configure', 'a');
  const look = async () => (JSON.parse(await shell.ok('inspect', 'a')) as [Inspection])[0];
  const { NetworkSettings, netns, drift } = await look();
  assert.equal(NetworkSettings.Ports, { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '8080' }] });
  assert.is(NetworkSettings.SandboxKey, netns.path);
  assert.is(NetworkSettings.IPAddress, NetworkSettings.Networks.cleat?.IPAddress);
  assert.equal(drift, []);
  execFileSync('nsenter', [`--net=${netns.path}`, 'ip', 'address', 'flush', 'dev', 'eth0']);
  const after = await look();
  assert.ok(after.drift.some(({ kind, problem }) => kind === 'address' && problem === 'missing'));
});

commands('a refusal for one of several ids does not hide the others', async () => {
  await shell.ok('create', 'a');
  const some = await shell.cleat('inspect', 'a', 'none');
  assert.is(some.code, 1);
  assert.equal(
    (JSON.parse(some.stdout) as ContainerView[]).map(({ id }) => id),
    ['a'],
  );
  assert.match(some.stderr, /^Error: no container with name or ID "none"/);
  const { code, stdout } = await shell.cleat('teardown', 'none', 'a', 'a');
  assert.equal([code, stdout], [1, 'a\n']);
  assert.is(await shell.ok('teardown', '--ignore', 'none'), 'none');
});

commands('teardown --no-wait returns before the teardown is done, and it is done all the same', async () => {
  await shell.ok('create', 'a');
  await shell.ok('configure', 'a');
  assert.is(await shell.ok('teardown', '--no-wait', 'a'), 'a');
  await until('a is gone', async () => (await shell.ok('ps', '-q')) === '');
});

commands('create --exit-fd ties a container to a descriptor of the command, or of another process', async () => {
  // The shell and the command both end; only `sleep` keeps the write end.
  const script = `exec 5< <(exec sleep 1000 2>/dev/null); "$@"; echo $!`;
  const main = join(import.meta.dirname, '../../bundle/cleat.cjs');
  const argv = ['-c', script, 'bash', globalThis.process.execPath, main, 'create', 'tied', '--exit-fd', '5'];
  const options = { encoding: 'utf8' as const, env: shell.environment };
  const [made, sleep] = execFileSync('bash', argv, options).split('\n');
  assert.is(made, 'tied');
  assert.is((await inspect('tied')).exit_fd?.fd, 5);
  globalThis.process.kill(Number(sleep), 'SIGKILL');
  await until('tied is gone', async () => (await shell.ok('ps', '-q')) === '');
  for (const [text, code, message] of [
    ['x', 2, /It is the number of a descriptor, or PID:FD/],
    ['0:1', 2, /It is the number of a process/],
    [':1', 2, /It is the number of a descriptor, or PID:FD/],
    ['4194304:1', 1, /no process 4194304/],
    [`${globalThis.process.pid}:999999`, 1, /descriptor 999999 of process \d+ is not open/],
  ] as const) {
    const refused = await shell.cleat('create', 'tied', '--exit-fd', text);
    assert.is(refused.code, code, refused.stderr);
    assert.match(refused.stderr, message);
  }
});

commands('a container can use a shared namespace, that of a process, one at a path, or the host’s', async () => {
  await shell.ok('create', 'web');
  await shell.ok('configure', 'web');
  await shell.ok('create', 'side', '--network', 'container:web');
  const process = spawn('unshare', ['--net', 'sleep', '60']);
  await until('it has a namespace of its own', () => {
    try {
      const inode = (pid: number | undefined) =>
        execFileSync('readlink', [`/proc/${pid}/ns/net`], { encoding: 'utf8' });
      return inode(process.pid) !== inode(globalThis.process.pid);
    } catch {
      return false;
    }
  });
  await shell.ok('create', 'pid', '--pid', String(process.pid), '--network', 'none');
  await shell.ok('create', 'at', '--network', `ns:${(await inspect('web')).netns.path}`);
  await shell.ok('create', 'host', '--network', 'host');
  const networks = Object.fromEntries(rows(await shell.ok('ps')).map(({ ID = '', NETWORKS = '' }) => [ID, NETWORKS]));
  assert.is(networks.side, 'container:web');
  assert.is(networks.host, 'host');
  assert.match(networks.at ?? '', /^ns:\//);
  process.kill('SIGKILL');
  await until('it went with its process', async () => !(await shell.ok('ps', '-q')).split('\n').includes('pid'));
});

commands('usage errors end with exit code 2 and name the wrong word', async () => {
  const cases: [string[], RegExp][] = [
    [['teardwon'], /unknown command 'teardwon'[\s\S]*Did you mean teardown/],
    [['create'], /missing required argument 'id'/],
    [['create', 'a', 'b'], /too many arguments/],
    [['create', 'a', '-p', 'x'], /"x" is not between/],
    [['create', 'a', '--pid', 'me'], /It is the number of a process/],
    [['create', 'a', '--network', 'none', '--network', 'back'], /exclude each other/],
    [['ps', '--format', 'yaml'], /there is no column "yaml"/],
    [['create', 'a', '--format', 'yaml'], /invalid --format "yaml"/],
    [['network'], /Usage: cleat network/],
    [[], /Usage: cleat/],
  ];
  for (const [args, message] of cases) {
    const { code, stdout, stderr } = await shell.cleat(...args);
    assert.is(code, 2, args.join(' '));
    assert.is(stdout, '', args.join(' '));
    assert.match(stderr, message, args.join(' '));
  }
});

commands('each command has a help with examples, and printing it is no error', async () => {
  const { stdout } = await shell.cleat('--help');
  const names = [...stdout.matchAll(/^ {2}(\w+)(?:\|\w+)? /gm)].map(([, name = '']) => name);
  for (const name of ['run', 'create', 'teardown', 'ps', 'network', 'audit', 'daemon'])
    assert.ok(names.includes(name), name);
  assert.match(stdout, /Exit codes:/);
  for (const args of [['run'], ['create'], ['publish'], ['network', 'create'], ['events'], ['daemon']]) {
    const help = await shell.cleat(...args, '--help');
    assert.is(help.code, 0);
    assert.match(help.stdout, /Examples:\n {2}\$ cleat /);
  }
  assert.match((await shell.cleat('--version')).stdout, /^\d+\.\d+\.\d+\n$/);
});

commands('doctor lists its checks', async () => {
  const { code, stdout } = await shell.cleat('doctor');
  assert.is(code, 0, stdout);
  assert.match(stdout, /^ok +nftables: /m);
});

commands('audit ends with exit code 1 and names what leaked', async () => {
  await shell.ok('create', 'a');
  await shell.ok('configure', 'a');
  const { netns } = await inspect('a');
  execFileSync('umount', [netns.path ?? '']);
  // The link goes with the namespace, and a container that is restoring it is not at rest: it is not compared then.
  let audit = await shell.cleat('audit');
  await until('named', async () => (audit = await shell.cleat('audit')).code !== 0);
  assert.is(audit.code, 1);
  assert.match(audit.stdout, new RegExp(`^missing +namespace +${netns.path} +a$`, 'm'));
});

commands('events follow one container until Ctrl-C', async () => {
  const following = shell.start('events', '--id', 'a');
  const json = shell.start('events', '--format', 'json');
  // It prints nothing until something happens; only repeated requests show that it listens.
  let n = 0;
  await until('both listen', async () => {
    await shell.ok('create', 'a');
    await shell.ok('create', `b${n++}`);
    await shell.ok('teardown', 'a', `b${n - 1}`);
    return following.so().stdout !== '' && json.so().stdout !== '';
  });
  for (const { child } of [following, json]) child.kill('SIGINT');
  const [text, lines] = await Promise.all([following.ended, json.ended]);
  assert.equal([text.code, lines.code], [0, 0]);
  assert.match(text.stdout, /^\d{4}-\S+Z {2}a {2}teardown requested$/m);
  assert.not.match(text.stdout, / {2}b\d+ {2}/);
  for (const line of lines.stdout.trim().split('\n')) assert.ok((JSON.parse(line) as { id: string }).id);
});

commands('run gives CMD a network of its own, and exits with its exit code', async () => {
  const address = await shell.ok('run', '-p', '8080:80', 'ip', '-br', 'address');
  // UP comes a moment later, when the kernel's link watch has seen both ends.
  assert.match(address, /^eth0\S+ +\S+ +10\.\d+\.\d+\.\d+\/24/m);
  assert.is((await shell.cleat('run', '--rm', '--', 'sh', '-c', 'exit 7')).code, 7);
  assert.is((await shell.cleat('run', '--network', 'none', 'sh', '-c', 'kill -KILL $$')).code, 137);
  assert.is((await shell.cleat('run', 'no-such-command')).code, 127);
  assert.is((await shell.cleat('run', '/etc/passwd')).code, 126);
  assert.is((await shell.cleat('run', '--network', 'host', 'true')).code, 0);
  assert.is(await shell.ok('ps', '-q'), '');
});

commands('run exits with 125 if cleat fails', async () => {
  for (const args of [
    ['run'],
    ['run', '--nonsense', 'true'],
    ['run', '-p', 'x', 'true'],
    ['run', '--network', 'none-such', 'true'],
  ]) {
    const { code, stderr } = await shell.cleat(...args);
    assert.is(code, 125, args.join(' '));
    assert.match(stderr, /^Error: /);
  }
  assert.is((await shell.cleat('--socket', '/run/none', 'run', 'true')).code, 125);
  assert.is(await shell.ok('ps', '-q'), '');
});

commands('run passes signals on to CMD', async () => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    const script = `trap "exit 9" ${signal.slice(3)}; echo ready; while :; do sleep 0.02; done`;
    const running = shell.start('run', '--name', 'sig', 'sh', '-c', script);
    await until('CMD runs', () => running.so().stdout === 'ready\n');
    running.child.kill(signal);
    assert.is((await running.ended).code, 9, signal);
  }
});

commands('run leaves nothing behind when its client is killed', async () => {
  const running = shell.start('run', '--name', 'killed', 'sh', '-c', 'echo $$; exec sleep 60');
  await until('CMD runs', () => running.so().stdout.endsWith('\n'));
  running.child.kill('SIGKILL');
  await running.ended;
  await until('killed is gone', async () => (await shell.ok('ps', '-q')) === '');
  // The teardown of the network does not end CMD itself.
  const pid = Number(running.so().stdout);
  assert.is(processState(pid), 'S');
  process.kill(pid, 'SIGKILL');
});

commands('run survives that the daemon is away when CMD ends', async () => {
  const running = shell.start('run', '--name', 'alone', 'sh', '-c', 'echo ready; sleep 1; exit 4');
  await until('CMD runs', () => running.so().stdout === 'ready\n');
  await shell.endDaemon('SIGKILL');
  const { code, stderr } = await running.ended;
  assert.is(code, 4);
  assert.match(stderr, /Error: cleat does not answer[\s\S]*The daemon takes alone down by itself/);
  await shell.startDaemon();
  await until('alone is gone', async () => (await shell.ok('ps', '-q')) === '');
});

commands('without a daemon the exit code is 3, and the error says how to start it', async () => {
  const { code, stderr } = await shell.cleat('ps', '--socket', '/run/none/cleat.sock');
  assert.is(code, 3);
  assert.match(
    stderr,
    /^Error: cleat does not answer at \/run\/none\/cleat\.sock: .*\nHint: Start it with `cleat daemon`/,
  );
  const version = await shell.cleat('version', '--socket', '/run/none/cleat.sock');
  assert.is(version.code, 3);
  assert.match(version.stdout, /^client \d/);
});

commands('a second daemon on the same directories is refused', async () => {
  const { code, stderr } = await shell.cleat('daemon');
  assert.is(code, 1);
  assert.match(stderr, /another cleat daemon uses/);
  assert.ok(readdirSync(`${shell.directory}/run`).includes('cleat.sock'));
});

commands.run();
