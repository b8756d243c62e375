/**
 * A daemon where the kernel has no IPv6, and where /proc/sys is read-only, as in a container: everything that is
 * possible works, the rest is refused by name, and nothing is left.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addressOf, on, pathOf, port, TestDaemon, type CreateOptions } from '../harness/daemon.ts';
import { withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { calm, assertComesBackTo, inspect } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { ROOT } from '../harness/sanitized.ts';

requirePrivateNamespace();

interface Checks {
  checks: { name: string; ok: boolean; severity: string; text: string; hint?: string }[];
}

const surroundings = suite('surroundings');
const daemons: TestDaemon[] = [];

function newDaemon(): TestDaemon {
  const daemon = new TestDaemon();
  daemons.push(daemon);
  return daemon;
}

const checkOf = async (daemon: TestDaemon, name: string) =>
  (await daemon.get<Checks>('/v1/doctor')).body.checks.find((check) => check.name === name);

const read = (key: string, path?: string) => {
  const command = ['cat', `/proc/sys/${key}`];
  const [file = '', ...args] = path === undefined ? command : ['nsenter', `--net=${path}`, '--', ...command];
  return execFileSync(file, args, { encoding: 'utf8' }).trim();
};

/** Everything that needs no bridge. */
const UPLINKS: CreateOptions[] = [
  { uplink: { program: 'slirp4netns' }, port_mappings: [port(8081, 80)] },
  { uplink: { program: 'pasta' }, port_mappings: [port(8082, 80)] },
];

surroundings.before(async () => {
  execFileSync('ip', ['-batch', '-'], {
    input: `link add lan0 up type veth peer name lan1
addr add 192.0.2.1/24 dev lan0
route add default via 192.0.2.2
`,
  });
  await calm();
});
surroundings.after.each(async () => {
  for (const daemon of daemons.splice(0)) {
    await clear(daemon).catch(() => {}); // a test that failed left some
    await daemon.kill();
  }
});

/** The last object that a daemon removes. */
const noTable = (): boolean => execFileSync('nft', ['list', 'tables'], { encoding: 'utf8' }) === '';

surroundings('without IPv6, everything of IPv4 works, and IPv6 is refused by name', async () => {
  const daemon = newDaemon();
  const shim = `${daemon.directory}/no-ipv6.so`;
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', shim, join(ROOT, 'test/service/no-ipv6.c'), '-ldl']);
  daemon.environment = { LD_PRELOAD: shim };
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.71.0.0/24' }], dns_enabled: true });
  const before = inspect(daemon);
  const a = await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  await daemon.up('f', { networks: on('web'), port_handler: 'forwarder', port_mappings: [port(8083, 80)] });
  for (const [n, options] of UPLINKS.entries()) await daemon.up(`u${n}`, options);
  await withAgents([pathOf(a), null], async (inside, host) => {
    await inside.serve('a', 'tcp', 80);
    assert.match(await host.dial('tcp', addressOf(a, 'web'), 80), /^a /);
    assert.match(await host.dial('tcp', '192.0.2.1', 8080), /^a /);
  });

  const six = { subnets: [{ subnet: 'fd00:71::/64' }], dns_enabled: false };
  const made = await daemon.request('POST', '/v1/networks', { name: 'six', ...six });
  assert.equal([made.status, made.body.error?.code], [409, 'NO_IPV6']);
  const updated = await daemon.request('PATCH', '/v1/networks/web', { subnets: six.subnets });
  assert.is(updated.body.error?.code, 'NO_IPV6', updated.text);
  await daemon.done({ type: 'create', id: 's', uplink: { program: 'slirp4netns', options: ['enable_ipv6=true'] } });
  const { body } = await daemon.event({ type: 'configure', id: 's' });
  assert.is(body.error?.code, 'NO_IPV6');
  assert.is((await checkOf(daemon, 'ipv6'))?.text, 'the kernel has no IPv6: networks with IPv6 subnets are refused');
  await daemon.down('a', 'f', 's', ...UPLINKS.map((_, n) => `u${n}`));
  await assertComesBackTo(before, () => inspect(daemon));
});

surroundings('a network with IPv6 from an earlier boot is refused by name, and others are not', async () => {
  const daemon = newDaemon();
  await daemon.start();
  await daemon.network({ name: 'six', subnets: [{ subnet: '10.72.0.0/24' }, { subnet: 'fd00:72::/64' }] });
  await daemon.stop();
  const shim = `${daemon.directory}/no-ipv6.so`;
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', shim, join(ROOT, 'test/service/no-ipv6.c'), '-ldl']);
  daemon.environment = { LD_PRELOAD: shim };
  await daemon.start();
  await daemon.done({ type: 'create', id: 'a', networks: on('six') });
  const { body } = await daemon.event({ type: 'configure', id: 'a' });
  assert.equal([body.error?.code, body.error?.message], ['NO_IPV6', 'network six has IPv6, and this kernel has none']);
  await daemon.down('a');
  assert.is((await daemon.up('b')).state, 'up');
  await daemon.down('b');
  await until('nothing is left', noTable);
});

surroundings('with a read-only /proc/sys, our switches are written, and the host’s are named', async () => {
  const forwarding = ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding'];
  const set = (value: string) =>
    execFileSync('sysctl', ['-q', ...forwarding.map((key) => `${key.replaceAll('/', '.')}=${value}`)]);
  set('0');
  execFileSync('mount', ['--bind', '/proc/sys', '/proc/sys']);
  const remount = (how: string) => execFileSync('mount', ['-o', `remount,${how},bind`, '/proc/sys']);
  remount('ro');
  const daemon = newDaemon();
  await daemon.start();
  const both = [{ subnet: '10.71.0.0/24' }, { subnet: 'fd00:71::/64' }];
  const { network_interface: bridge } = await daemon.network({ name: 'web', subnets: both });
  const before = inspect(daemon);

  const check = await checkOf(daemon, 'forwarding');
  assert.equal([check?.ok, check?.severity], [false, 'error']);
  await until('it is logged', () => /"level":50.*"check":"forwarding"/.test(daemon.log()));
  await daemon.done({ type: 'create', id: 'a', networks: on('web'), port_mappings: [port(8080, 80)] });
  const { body } = await daemon.event({ type: 'configure', id: 'a' });
  assert.is(body.error?.code, 'SWITCH_READ_ONLY');
  assert.match(body.error?.message ?? '', /^net\.ipv4\.ip_forward is off, and \/proc\/sys is read-only/);
  for (const [n, options] of UPLINKS.entries()) assert.is((await daemon.up(`u${n}`, options)).state, 'up');
  assert.equal(
    forwarding.map((key) => read(key)),
    ['0', '0'],
  );

  remount('rw');
  set('1');
  remount('ro');
  assert.is((await checkOf(daemon, 'forwarding'))?.ok, true);
  const a = await daemon.done({ type: 'configure', id: 'a' });
  const path = pathOf(a);
  // Neither accepts advertisements or redirects of a container, as everywhere else.
  for (const family of ['ipv4', 'ipv6']) assert.is(read(`net/${family}/conf/${bridge}/accept_redirects`), '0');
  assert.is(read(`net/ipv6/conf/${bridge}/accept_ra`), '0');
  assert.is(read('net/ipv4/conf/all/accept_redirects', path), '0');
  assert.is(read('net/ipv6/conf/default/accept_ra', path), '0');
  await withAgents([path, null], async (inside, host) => {
    await inside.serve('a', 'tcp', 80);
    for (const family of [4, 6] as const) assert.match(await host.dial('tcp', addressOf(a, 'web', family), 80), /^a /);
    assert.match(await host.dial('tcp', '127.0.0.1', 8080), /^a /);
  });
  await daemon.down('a', ...UPLINKS.map((_, n) => `u${n}`));
  assert.equal(
    forwarding.map((key) => read(key)),
    ['1', '1'],
  );
  assert.match(execFileSync('cat', ['/proc/self/mountinfo'], { encoding: 'utf8' }), / \/proc\/sys ro,/);
  await until('the table has gone', noTable);
  // Somebody turns forwarding off: the daemon cannot restore it, says so, and its table is removed all the same.
  await daemon.up('b', { networks: on('web') });
  // While it can be written, the daemon would turn it on again.
  process.kill(daemon.pid, 'SIGSTOP');
  remount('rw');
  set('0');
  remount('ro');
  process.kill(daemon.pid, 'SIGCONT');
  await daemon.down('b');
  await until('the table has gone again', noTable);
  assert.match(daemon.log(), /"level":50.*putting back the switches of forwarding/);
  await assertComesBackTo(before, () => inspect(daemon));
  execFileSync('umount', ['/proc/sys']);
});

surroundings.run();
