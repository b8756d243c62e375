/**
 * slirp4netns as the way out of a container, with the real program: the effect of its options, what happens when it,
 * its keeper, its container or the daemon dies, and that nothing is left when it is removed.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isAlive } from '../../effects/processes/process.ts';
import { findUplink, listUplinks } from '../../effects/uplinks/uplink-keeper.ts';
import { probeUplink, uplinkFile } from '../../effects/uplinks/uplink-probe.ts';
import { removeUplink } from '../../effects/uplinks/uplink-process.ts';
import { planLaunch, type UplinkInput } from '../../plan/uplinks/uplink.ts';
import { parseSlirp } from '../../plan/uplinks/slirp4netns.ts';
import { processStartTime } from '../../native/index.ts';
import type { SlirpSettings } from '../../state/uplink.ts';
import { dial } from '../harness/agent.ts';
import { ended, endSleepers, removeNetns, sleeper, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { container, makeServedWorld, runUplink, settled, toldOfEnd, uplinkInput, Uplinks } from '../harness/uplink.ts';

requirePrivateNamespace();
const world = await makeServedWorld();
execFileSync('ip', ['addr', 'add', '10.99.1.3/24', 'dev', 'world']);
const netns = await container('c1');
const other = await container('c2');
const uplinks = new Uplinks();
const directory = uplinks.at('c1');

function settings(...options: string[]): SlirpSettings {
  const file = uplinkFile('slirp4netns');
  const parsed = parseSlirp({ engine: [], container: options, file, isInterface: (name) => name === 'world' });
  if ('fault' in parsed) throw new Error(parsed.fault.message);
  return parsed.settings;
}

const input = (verb: UplinkInput['verb'], more: Partial<UplinkInput> = {}): UplinkInput =>
  uplinkInput(verb, { directory, netns, settings: settings(), apiSocket: true, ...more });
const stopped = { outcome: 'stopped', link: null, missing: [], fault: null };
const child = () => findUplink(directory)?.child?.pid ?? 0;
const keeper = () => findUplink(directory)?.keeper.pid ?? 0;

const slirp = suite('slirp4netns');

slirp.after.each(async () => {
  assert.equal(await runUplink(input('stop')), stopped);
  uplinks.assertNothingLeft();
});
slirp.after(() => {
  world.stop();
  endSleepers();
  removeNetns('c1');
  removeNetns('c2');
  uplinks.end();
});

slirp("slirp4netns leads out, not to the host's loopback, and reports what it made", async () => {
  const output = await runUplink(input('start'));
  assert.equal(settled(output), {
    outcome: 'ready',
    link: { name: 'tap0', mtu: 65_520, addresses: [{ address: '10.0.2.100', prefix: 24, gateway: '10.0.2.2' }] },
    missing: [],
    fault: null,
  });
  await withAgents([netns], async (inside) => {
    assert.is(await inside.dial('tcp', '10.99.1.2', 7001), 'world 10.99.1.2');
    assert.is(await inside.dial('udp', '10.99.1.2', 7001), 'world 10.99.1.2');
    assert.is.not(await inside.dial('tcp', '10.0.2.2', 7001), 'world 127.0.0.1');
  });
  const status = findUplink(directory);
  assert.is(status?.state, 'ready');
  assert.match(status?.output ?? '', 'received tapfd');
  assert.type(status?.readyMs, 'number');
  // Its sandbox has unmounted its view of /run; ours is as it was (assertNothingLeft), and it has no privileges.
  assert.match(readFileSync(`/proc/${child()}/status`, 'utf8'), /CapEff:\t0000000000000400\n/);
  assert.match(readFileSync(`/proc/${child()}/status`, 'utf8'), /Seccomp:\t2\n/);
});

slirp('slirp4netns keeps its options: network, MTU, IPv6, loopback of the host', async () => {
  const wanted = settings('cidr=10.5.0.7/16', 'mtu=1500', 'enable_ipv6=true', 'allow_host_loopback=true');
  const output = await runUplink(input('start', { settings: wanted }));
  assert.equal(settled(output), {
    outcome: 'ready',
    link: {
      name: 'tap0',
      mtu: 1500,
      addresses: [
        { address: '10.5.0.100', prefix: 16, gateway: '10.5.0.2' },
        { address: 'fd00::100', prefix: 64, gateway: 'fd00::2' },
      ],
    },
    missing: [],
    fault: null,
  });
  await withAgents([netns], async (inside) => {
    assert.is(await inside.dial('tcp', 'fd99::2', 7001), 'world fd99::2');
    assert.is(await inside.dial('tcp', '10.5.0.2', 7001), 'world 127.0.0.1');
  });
});

slirp('traffic leaves by the requested address', async () => {
  await runUplink(input('start', { settings: settings('outbound_addr=10.99.1.3') }));
  await withAgents([netns], async (inside) => {
    assert.is(await inside.dial('tcp', '10.99.1.2', 7001), 'world 10.99.1.3');
  });
});

slirp('a healthy program is adopted by a start or a repair, and other options start another', async () => {
  await runUplink(input('start'));
  const [pid, parent] = [child(), keeper()];
  assert.is((await runUplink(input('start'))).outcome, 'ready');
  assert.is((await runUplink(input('repair'))).outcome, 'ready');
  assert.equal([child(), keeper()], [pid, parent]);
  assert.is((await runUplink(input('start', { settings: settings('mtu=1400') }))).link?.mtu, 1400);
  assert.is.not(child(), pid);
  await ended(pid);
});

slirp('the end of a killed program or keeper is reported, and a repair starts another', async () => {
  await runUplink(input('start'));
  for (const victim of [child, keeper]) {
    const [pid, parent] = [child(), keeper()];
    const told = toldOfEnd(directory);
    process.kill(victim(), 'SIGKILL');
    await told;
    assert.is(findUplink(directory)?.state, 'ended');
    await Promise.all([ended(pid), ended(parent)]);
    assert.is((await runUplink(input('repair'))).outcome, 'ready');
    assert.is.not(child(), pid);
  }
  await withAgents([netns], async (inside) => {
    assert.is(await inside.dial('tcp', '10.99.1.2', 7001), 'world 10.99.1.2');
  });
});

slirp('what a running program has lost is restored, and without its link it is restarted', async () => {
  await runUplink(input('start', { settings: settings('enable_ipv6=true') }));
  for (const loss of ['link del tap0', 'addr flush dev tap0', 'route del default', 'link set tap0 down']) {
    const pid = child();
    execFileSync('ip', ['-n', 'c1', ...loss.split(' ')]);
    const output = await runUplink(input('repair', { settings: settings('enable_ipv6=true') }));
    assert.equal([output.outcome, output.fault], ['ready', null], loss);
    assert.is(child() === pid, loss !== 'link del tap0', loss);
    assert.equal(
      output.link?.addresses.map(({ address, gateway }) => [address, gateway]),
      [
        ['10.0.2.100', '10.0.2.2'],
        ['fd00::100', 'fd00::2'],
      ],
    );
  }
});

slirp('an end that has happened already is reported', async () => {
  await toldOfEnd(directory);
  assert.is(findUplink(directory), null);
});

slirp('slirp4netns ends with the process it is bound to, and does not start for an ended one', async () => {
  const shell = await sleeper();
  const boundTo = { pid: shell.pid ?? 0, startTime: processStartTime(shell.pid ?? 0) };
  assert.is((await runUplink(input('start', { boundTo }))).outcome, 'ready');
  const told = toldOfEnd(directory);
  shell.kill('SIGKILL');
  await told;
  assert.is(findUplink(directory)?.cause, 'bound');
  const output = await runUplink(input('start', { boundTo }));
  assert.is(output.outcome, 'stopped');
  assert.equal(output.fault, { code: 'NO_SUCH_PROCESS', message: `process ${boundTo.pid} has ended` });
});

slirp('remains of a daemon that died on the way do not matter', async () => {
  const states = [
    () => mkdirSync(directory),
    () => {
      mkdirSync(directory);
      writeFileSync(`${directory}/keeper`, `${process.pid} 1\n`);
      writeFileSync(`${directory}/status`, '{"state":');
      symlinkSync('/etc', `${directory}/link`);
    },
    () => mkdirSync(`${directory}.doomed`),
  ];
  for (const prepare of states) {
    prepare();
    assert.is((await runUplink(input('start'))).outcome, 'ready');
    assert.equal(await runUplink(input('stop')), stopped);
    uplinks.assertNothingLeft();
  }
  // Interrupted between the two: the name is gone, the program is not.
  await runUplink(input('start'));
  const pid = child();
  renameSync(directory, `${directory}.doomed`);
  mkdirSync(directory);
  assert.equal(listUplinks(uplinks.parent), ['c1']);
  assert.is((await runUplink(input('start'))).outcome, 'ready');
  await ended(pid);
  assert.is.not(child(), pid);
});

slirp('the daemon may be killed at any moment of a start, and the next one has one program', async () => {
  const wanted = input('start');
  const launch = planLaunch(wanted, await probeUplink({ program: 'slirp4netns', file: wanted.settings.file }));
  const start = { ...wanted, ...launch, program: 'slirp4netns', file: wanted.settings.file };
  const program = `import(${JSON.stringify(new URL('../../effects/uplinks/uplink-process.js', import.meta.url))})
    .then(async ({ ensureUplink }) => {
      process.send('now');
      await ensureUplink(${JSON.stringify(start)});
    });`;
  for (let ms = 0; ms <= 24; ms += 3) {
    const daemon = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    const exited = once(daemon, 'exit'); // it may be done before we kill it
    await once(daemon, 'message');
    await new Promise((resolve) => setTimeout(resolve, ms));
    daemon.kill('SIGKILL');
    await exited;
    const output = await runUplink(wanted);
    assert.equal([output.outcome, output.fault], ['ready', null], `after ${ms} ms`);
    // One that came too late is gone in a moment.
    await until('there is one keeper and one program', () => uplinks.running().length === 2);
    assert.equal(await runUplink(input('stop')), stopped);
    uplinks.assertNothingLeft();
  }
});

slirp('slirp4netns is removed even without its files, its namespace, or its process', async () => {
  await runUplink(input('start'));
  const pid = child();
  rmSync(`${directory}/status`);
  await removeUplink(directory);
  await ended(pid);
  await runUplink(input('start', { netns: other }));
  const second = child();
  removeNetns('c2');
  await removeUplink(directory);
  await ended(second);
  await container('c2');
});

slirp('two programs do not affect each other', async () => {
  const theirs = input('start', { directory: uplinks.at('c2'), netns: other });
  const outputs = await Promise.all([runUplink(input('start')), runUplink(theirs)]);
  assert.equal(
    outputs.map(({ outcome }) => outcome),
    ['ready', 'ready'],
  );
  const status = findUplink(theirs.directory);
  assert.equal(await runUplink(input('stop')), stopped);
  assert.ok(isAlive(status?.child ?? null));
  assert.equal(await runUplink({ ...theirs, verb: 'stop' }), stopped);
});

slirp('a start in a missing namespace is reported, and leaves nothing', async () => {
  const output = await runUplink(input('start', { netns: '/run/netns/nowhere' }));
  assert.is(output.outcome, 'stopped');
  assert.is(output.fault?.code, 'UPLINK_FAILED');
  assert.is(output.fault?.message, 'there is no namespace at /run/netns/nowhere');
  uplinks.assertNothingLeft();
});

slirp('the host is unchanged, and connecting to it works as before', async () => {
  await runUplink(input('start'));
  assert.is(await dial('tcp', '10.99.1.2', 7001), 'world 10.99.1.2');
});

slirp.run();
