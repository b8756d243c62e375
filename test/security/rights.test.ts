// slow: 30 s, a daemon is started without each capability in turn
// proving: 480
/**
 * A daemon with fewer capabilities: each capability of the unit is removed in turn. Operations that do not need it
 * work; operations that do are refused by name and leave nothing; `doctor` has said so before.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CAPABILITIES, capabilitiesFor, ESSENTIAL, HELPER_NAMES, type Helper } from '../../effects/capabilities.ts';
import { on, pathOf, port, TestDaemon, type CreateOptions } from '../harness/daemon.ts';
import { agentIn } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { assertComesBackTo, inspect } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, spread } from '../harness/proof.ts';
import { capabilitiesOfTheUnit, launcherWith, prepareUplinks } from '../harness/unit.ts';

requirePrivateNamespace();

interface Checks {
  checks: { name: string; ok: boolean; severity: string; text: string; hint?: string }[];
}

const rights = suite('rights');
const UNIT = capabilitiesOfTheUnit();

/** wireguard-go needs other hosts: test/overlay/wireguard.test.ts runs it. */
type Tried = Exclude<Helper, 'wireguard-go'>;
const TRIED = HELPER_NAMES.filter((name): name is Tried => name !== 'wireguard-go');

/** A container that needs this helper. */
const NEEDS: Record<Tried, CreateOptions> = {
  'aardvark-dns': { networks: on('names') },
  forwarder: { networks: on('plain'), port_handler: 'forwarder', port_mappings: [port(8081, 80)] },
  slirp4netns: { uplink: { program: 'slirp4netns' } },
  pasta: { uplink: { program: 'pasta' }, port_mappings: [port(8082, 80)] },
};

async function daemonWith(names: readonly string[]): Promise<TestDaemon> {
  const daemon = new TestDaemon();
  daemon.launcher = launcherWith(names);
  await daemon.start();
  await daemon.network({ name: 'plain', subnets: [{ subnet: '10.71.0.0/24' }] });
  await daemon.network({ name: 'names', subnets: [{ subnet: '10.72.0.0/24' }], dns_enabled: true });
  return daemon;
}

const failedChecks = async (daemon: TestDaemon) =>
  (await daemon.get<Checks>('/v1/doctor')).body.checks.filter(({ ok }) => !ok);

const inNetns = (path: string, ...command: string[]) =>
  execFileSync('nsenter', [`--net=${path}`, '--', ...command], { encoding: 'utf8' });

const without = (name: string) => UNIT.filter((other) => other !== name);

/** Runs a daemon that is expected to end by itself, and returns its exit and its output. */
async function ends(daemon: TestDaemon): Promise<{ code: number | null; signal: string | null; said: string }> {
  const child = daemon.spawn();
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.once('exit', (code: number | null, by: string | null) => resolve([code, by]));
  });
  return { code, signal, said: daemon.log() };
}

rights.before(prepareUplinks);

rights('the unit gives what the daemon uses, no more and no less', () => {
  assert.equal([...UNIT].sort(), [...CAPABILITIES].sort());
});

for (const helper of TRIED) {
  rights(`${helper} runs with the capabilities of its row`, async () => {
    const daemon = await daemonWith([...ESSENTIAL, ...capabilitiesFor(helper)]);
    const before = inspect(daemon);
    const { state } = await daemon.up('a', NEEDS[helper]);
    assert.is(state, 'up');
    await daemon.down('a');
    await assertComesBackTo(before, () => inspect(daemon));
    await daemon.stop();
  });
}

const OTHERS = CAPABILITIES.filter((one) => !ESSENTIAL.includes(one));
for (const name of spread(OTHERS, effort('capabilities', 4, OTHERS.length))) {
  rights(`without CAP_${name}, what needs it is refused by name, all else works, and doctor says so`, async () => {
    const daemon = await daemonWith(without(name));
    const before = inspect(daemon);
    for (const helper of TRIED) {
      const needed = capabilitiesFor(helper).includes(name);
      await daemon.done({ type: 'create', id: helper, ...NEEDS[helper] });
      const { status, body } = await daemon.event({ type: 'configure', id: helper });
      const expected = needed ? [500, 'CAPABILITY_MISSING'] : [200, undefined];
      assert.equal([status, body.error?.code], expected, `${helper}: ${body.error?.message}`);
      if (needed) assert.is(body.error?.message, `${helper} cannot be started: the daemon lacks CAP_${name}`);
    }
    const found = (await failedChecks(daemon)).filter((check) => check.name === 'capabilities');
    assert.is(found.length, 1);
    assert.match(found[0]?.text ?? '', `the daemon lacks CAP_${name}: `);
    await daemon.down(...TRIED);
    await assertComesBackTo(before, () => inspect(daemon));
    await daemon.stop();
  });
}

rights(
  'without CAP_NET_BROADCAST, drift outside of containers is repaired, and a notice says that drift inside is not',
  async () => {
    const daemon = await daemonWith(without('NET_BROADCAST'));
    await daemon.up('a', { networks: on('plain'), port_mappings: [port(8080, 80)] });
    const ruleset = () => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' });
    execFileSync('nft', ['flush', 'ruleset']);
    await until('the rules are there again', () => ruleset().includes('8080'));
    const found = await failedChecks(daemon);
    const texts = found.filter(({ name }) => name === 'unfinished').map(({ text }) => text);
    assert.is(texts.length, 1);
    assert.match(texts[0] ?? '', /^drift inside containers is not noticed: .*CAP_NET_BROADCAST/);
    await daemon.down('a');
    await daemon.stop();
  },
);

rights('without CAP_NET_BIND_SERVICE, a free low port is published, and one in use is refused', async () => {
  const daemon = await daemonWith(without('NET_BIND_SERVICE'));
  const host = await agentIn(null);
  await host.serve('host', 'tcp', 81);
  await daemon.up('a', { networks: on('plain'), port_mappings: [port(82, 80), port(82, 80, { protocol: 'udp' })] });
  const { body } = await daemon.event({ type: 'publish', id: 'a', port_mappings: [port(81, 80)] });
  host.stop();
  const forwarded: CreateOptions = { ...NEEDS.forwarder, port_mappings: [port(83, 80)] };
  await daemon.done({ type: 'create', id: 'b', ...forwarded });
  const refused = (await daemon.event({ type: 'configure', id: 'b' })).body.error;
  assert.is(refused?.code, 'CAPABILITY_MISSING', refused?.message);
  assert.match(refused?.message ?? '', /83\/tcp.*CAP_NET_BIND_SERVICE/);
  assert.is(body.error?.code, 'PORT_TAKEN');
  assert.match(body.error?.message ?? '', /^port 81\/tcp is in use on the host by pid \d+ /);
  await daemon.down('a', 'b');
  await daemon.stop();
});

for (const name of ESSENTIAL) {
  rights(`without CAP_${name} the daemon does not start, and says why`, async () => {
    const daemon = new TestDaemon();
    daemon.launcher = launcherWith(without(name));
    const { code, signal, said } = await ends(daemon);
    assert.equal([code, signal], [1, null]);
    const [message, hint, ...more] = said.trim().split('\n');
    assert.is(message, `Error: the daemon cannot work without CAP_${name}`);
    assert.match(hint ?? '', /^Hint: Give the daemon the capabilities/);
    assert.equal(more, []);
  });
}

rights('root of a user namespace without the network namespace: the daemon ends, and is not aborted', async () => {
  const daemon = new TestDaemon();
  daemon.launcher = ['unshare', '--user', '--map-root-user', '--mount', '--'];
  const { code, signal, said } = await ends(daemon);
  assert.equal([code, signal], [1, null], said);
  assert.match(said, /^Error: the daemon may not change the network namespace that it is in \(.*\)\nHint: [^\n]*\n$/);
});

rights('with the unit, doctor finds nothing missing, and changes inside a container are repaired', async () => {
  const daemon = await daemonWith(UNIT);
  const { body } = await daemon.get<Checks>('/v1/doctor');
  assert.is(body.checks.find(({ name }) => name === 'capabilities')?.ok, true);
  const path = pathOf(await daemon.up('a', { networks: on('plain') }));
  const addresses = () => inNetns(path, 'ip', '-4', '-o', 'addr', 'show', 'dev', 'eth0');
  inNetns(path, 'ip', 'addr', 'flush', 'dev', 'eth0');
  await until('the address is there again', () => addresses().includes('10.71.0.2/24'));
  inNetns(path, 'ip', 'route', 'del', 'default');
  await until('the route is there again', () => inNetns(path, 'ip', 'route').includes('default via 10.71.0.1'));
  assert.equal(
    (await failedChecks(daemon)).filter(({ name }) => name === 'unfinished'),
    [],
  );
  await daemon.down('a');
  await daemon.stop();
});

rights('a /dev/net/tun that is closed to others is named by doctor, and in the fault', async () => {
  const daemon = await daemonWith(UNIT);
  execFileSync('chmod', ['0600', '/dev/net/tun']);
  const check = (await failedChecks(daemon)).find(({ name }) => name === 'tun');
  assert.match(check?.text ?? '', /^slirp4netns and pasta cannot start: \/dev\/net\/tun is closed to others/);
  assert.match(check?.hint ?? '', /CAP_MKNOD/);
  for (const helper of ['slirp4netns', 'pasta'] as const) {
    await daemon.done({ type: 'create', id: helper, ...NEEDS[helper] });
    const { body } = await daemon.event({ type: 'configure', id: helper });
    assert.is(body.error?.code, 'UPLINK_FAILED');
    assert.match(body.error?.message ?? '', /\/dev\/net\/tun is closed to others.*chmod 0666/);
    await daemon.down(helper);
  }
  await daemon.stop();
  const trusted = await daemonWith([...UNIT, 'mknod']);
  assert.is((await trusted.up('a', NEEDS.slirp4netns)).state, 'up');
  await trusted.down('a');
  await trusted.stop();
  execFileSync('chmod', ['0666', '/dev/net/tun']);
});

rights.run();
