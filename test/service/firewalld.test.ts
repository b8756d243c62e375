// slow: 40 s, firewalld, which is Python, is started again for several cases
/**
 * A host with firewalld, whose default zone drops. Containers reach the same as without firewalld, because their
 * bridges are in the zone that accepts. The bridges stay there through all restarts of firewalld and of the daemon, and
 * no entry of ours is left in the end. Entries that somebody else has put into a zone stay there.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Check } from '../../state/answers/doctor.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { on, pathOf, port } from '../harness/daemon.ts';
import { Firewalld, type Zones } from '../harness/firewalld.ts';
import { addNetns, withAgents } from '../harness/inside.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { HOST, LAN, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const tests = suite('firewalld');
const { daemon, lan } = await wayOut(tests);
const HOST6 = 'fd00:192::1';
const LAN6 = 'fd00:192::2';
const NET = { name: 'six', subnets: [{ subnet: '10.52.0.0/24' }, { subnet: 'fd00:52::/64' }] };
/** Waits until the daemon has handled what firewalld announced, whatever it handled before. */
const LOOKED_MS = 1500;
const firewalld = new Firewalld('drop');
let six = '';

async function bridgeOf(network: string): Promise<string> {
  const { body } = await daemon.get<NetworkDefinition[]>('/v1/networks');
  return body.find(({ name }) => name === network)?.network_interface ?? '';
}

tests.before(async () => {
  execFileSync('ip', ['addr', 'add', `${HOST6}/64`, 'dev', 'lan0', 'nodad']);
  execFileSync('ip', ['route', 'add', 'default', 'via', LAN6]);
  execFileSync('ip', ['-n', 'lan', 'addr', 'add', `${LAN6}/64`, 'dev', 'eth0', 'nodad']);
  await firewalld.start();
  await daemon.network(NET);
  six = await bridgeOf('six');
});
tests.before.each(async () => {
  firewalld.resume();
  if (firewalld.pid === 0)
    await firewalld.start().catch((e) => {
      console.log(e);
      console.log(
        execFileSync('sh', [
          '-c',
          'cat /run/test-firewalld/log; ls -la /run/test-firewalld /run/dbus; ps aux | tail -5',
        ]).toString(),
      );
      throw e;
    });
});
tests.after(() => firewalld.end());

const checks = async (of: string): Promise<Check[]> =>
  (await daemon.get<{ checks: Check[] }>('/v1/doctor')).body.checks.filter(({ name }) => name === of);
const said = async () => (await checks('firewalld')).map(({ text }) => text);
const unfinished = async () => (await checks('unfinished')).map(({ text }) => text);

const isIn = (zone: string, bridge: string) => firewalld.zones()[zone]?.interfaces?.includes(bridge) ?? false;

/** Waits as long as firewalld takes to come back, or a bridge to be lowered after a teardown. */
async function becomes(what: string, test: () => boolean | Promise<boolean>): Promise<void> {
  const limit = performance.now() + 10_000;
  while (!(await test())) {
    if (performance.now() > limit) throw new Error(`${what}: ${JSON.stringify(firewalld.zones())}\n${daemon.log()}`);
    await sleep(20);
  }
}

const up = (id: string, network = 'six') =>
  daemon.up(id, {
    networks: on(network),
    port_mappings: [port(8080, 80), port(8080, 80, { protocol: 'udp' })],
  });

/** Connections of a container to the LAN, and of the LAN to its ports, by both families, TCP and UDP. */
async function heard(path: string): Promise<string[]> {
  return withAgents([path], async (inside) => {
    for (const protocol of ['tcp', 'udp'] as const) await inside.serve('a', protocol, 80);
    const both = (['tcp', 'udp'] as const).flatMap((protocol) => [
      inside.dial(protocol, LAN, 7000, 1000),
      inside.dial(protocol, LAN6, 7000, 1000),
      lan.dial(protocol, HOST, 8080, 1000),
      lan.dial(protocol, HOST6, 8080, 1000),
    ]);
    return Promise.all(both);
  });
}
const ALL = [`lan ${HOST}`, `lan ${HOST6}`, `a ${LAN}`, `a ${LAN6}`];

/** Checks that the container reaches everybody, and that its bridge is in the zone. */
async function isWhole(path: string): Promise<void> {
  await becomes('bound', () => isIn('trusted', six));
  assert.equal(await heard(path), [...ALL, ...ALL]);
}

const warningsOf = (answer: object) => (answer as { warnings?: string[] }).warnings ?? [];

/** Tears the container down, and checks that firewalld has what it had before. */
async function goesWithoutTrace(before: Zones): Promise<void> {
  await daemon.down('a');
  await isAs(before);
}

async function isAs(before: Zones): Promise<void> {
  await becomes('as before', () => isDeepStrictEqual(firewalld.zones(), before));
  await becomes('no record', () => readdirSync(`${daemon.runDir}/outsides`).length === 0);
}

tests('containers reach out and are reached, and nothing is left when the network goes', async () => {
  const before = firewalld.zones();
  const a = await up('a');
  assert.equal(warningsOf(a), []);
  assert.equal(await heard(pathOf(a)), [...ALL, ...ALL]);
  assert.equal(firewalld.zones(), { ...before, trusted: { interfaces: [six] } });
  assert.equal(await said(), ['firewalld runs, and has the bridges of networks that are up in its zone trusted']);
  await goesWithoutTrace(before);
});

tests('a bridge in another zone stays there: containers reach nothing, and doctor says so', async () => {
  firewalld.change('add', 'Interface', 'drop', six);
  const before = firewalld.zones();
  const a = await up('a');
  const [out4, out6, in4, in6] = await heard(pathOf(a));
  assert.equal([out4, out6], ['timeout', 'timeout']);
  // firewalld accepts translated packets in every zone.
  assert.equal([in4, in6], [`a ${LAN}`, `a ${LAN6}`]);
  assert.equal(firewalld.zones(), before);
  assert.equal(await said(), [
    `firewalld judges network six by its zone drop, into which somebody has put the interface ${six}`,
  ]);
  await goesWithoutTrace(before);
  firewalld.change('remove', 'Interface', 'drop', six);
});

for (const [what, entry] of [
  ['by its name', () => six],
  ['by the beginning of its name', () => `${six.slice(0, -1)}+`],
] as const) {
  tests(`a bridge that somebody has put into the same zone ${what} is there when the network has gone`, async () => {
    firewalld.change('add', 'Interface', 'trusted', entry());
    const before = firewalld.zones();
    const a = await up('a');
    assert.equal(await heard(pathOf(a)), [...ALL, ...ALL]);
    assert.equal(firewalld.zones(), before);
    await daemon.kill();
    await daemon.start();
    await goesWithoutTrace(before);
    firewalld.change('remove', 'Interface', 'trusted', entry());
  });
}

tests('a bridge that somebody makes permanent or moves while the network is up stays so', async () => {
  await up('a');
  firewalld.permanently('add', 'Interface', 'trusted', six);
  await goesWithoutTrace({ trusted: { interfaces: [six] } });
  firewalld.permanently('remove', 'Interface', 'trusted', six);
  firewalld.change('remove', 'Interface', 'trusted', six);
  await isWhole(pathOf(await up('a')));
  firewalld.change('remove', 'Interface', 'trusted', six);
  firewalld.change('add', 'Interface', 'work', six);
  await sleep(LOOKED_MS);
  assert.equal(firewalld.zones(), { work: { interfaces: [six] } });
  await goesWithoutTrace({ work: { interfaces: [six] } });
  firewalld.change('remove', 'Interface', 'work', six);
});

tests('a source of another zone has priority, and doctor says so', async () => {
  for (const source of ['10.52.0.128/25', 'fd00:52::/48', '10.99.0.0/24', 'aa:bb:cc:dd:ee:ff']) {
    firewalld.change('add', 'Source', 'drop', source);
  }
  await up('a');
  assert.ok(isIn('trusted', six));
  assert.equal(await said(), [
    'firewalld judges network six by its zone drop, into which somebody has put the source 10.52.0.128/25',
    'firewalld judges network six by its zone drop, into which somebody has put the source fd00:52::/48',
  ]);
  await daemon.down('a');
  for (const source of firewalld.zones()['drop']?.sources ?? []) firewalld.change('remove', 'Source', 'drop', source);
  await becomes('as before', () => isDeepStrictEqual(firewalld.zones(), {}));
});

tests('firewalld reloads, restarts, is killed and starts: the bridge is added again each time', async () => {
  const a = await up('a');
  await isWhole(pathOf(a));
  firewalld.reload();
  await isWhole(pathOf(a));
  await firewalld.stop();
  await firewalld.start();
  await isWhole(pathOf(a));
  await firewalld.stop('SIGKILL'); // its rules stay
  await firewalld.start();
  await isWhole(pathOf(a));
  await firewalld.stop();
  assert.equal(await said(), ['firewalld does not run here']);
  assert.equal(await heard(pathOf(a)), [...ALL, ...ALL]);
  await firewalld.start();
  await isWhole(pathOf(a));
  await goesWithoutTrace({});
});

tests('a bridge that somebody removes from the zone is added again', async () => {
  const a = await up('a');
  firewalld.change('remove', 'Interface', 'trusted', six);
  await isWhole(pathOf(a));
  await goesWithoutTrace({});
});

tests("when firewalld's table is deleted, our entries are not forgotten, and are removed when possible", async () => {
  await up('a');
  execFileSync('nft', ['delete', 'table', 'inet', 'firewalld']);
  await sleep(LOOKED_MS);
  assert.ok(isIn('trusted', six));
  await daemon.down('a');
  await becomes('said', async () =>
    (await unfinished()).some((text) => /^bridges in firewalld's zone: .*removeInterface/.test(text)),
  );
  await firewalld.stop(); // it does not reload without its table
  await firewalld.start();
  await isAs({});
  await becomes('said no more', async () => (await unfinished()).length === 0);
});

tests('a network that is up before firewalld starts is put into the zone when it does', async () => {
  await firewalld.stop();
  const a = await up('a');
  await firewalld.start();
  await isWhole(pathOf(a));
  await goesWithoutTrace({});
});

tests('a bridge stays after kill -9, also when firewalld restarts meanwhile, and is removed in the end', async () => {
  const a = await up('a');
  await daemon.kill();
  assert.ok(isIn('trusted', six));
  await daemon.start();
  await isWhole(pathOf(a));
  await goesWithoutTrace({});
  const again = await up('a');
  await daemon.kill();
  await firewalld.stop();
  await firewalld.start();
  assert.equal(firewalld.zones(), {});
  await daemon.start();
  await isWhole(pathOf(again));
  await goesWithoutTrace({});
});

tests('each of several networks has its own bridge in the zone while it is up', async () => {
  const web = await bridgeOf('web');
  await up('a');
  await daemon.up('b', { networks: on('web') });
  await becomes('both', () => isIn('trusted', web) && isIn('trusted', six));
  firewalld.reload();
  await becomes('both again', () => isIn('trusted', web) && isIn('trusted', six));
  await daemon.down('b');
  await becomes('one', () => isDeepStrictEqual(firewalld.zones(), { trusted: { interfaces: [six] } }));
  await goesWithoutTrace({});
});

tests('firewalld does not answer: the network goes up with a warning, is repaired, and goes down cleanly', async () => {
  firewalld.pause();
  const a = await up('a');
  assert.match(warningsOf(a).join(), /until it is told of them: .*\(FIREWALLD_FAILED\)$/);
  const texts = await unfinished();
  assert.ok(
    texts.some((text) =>
      /^bridges in firewalld's zone: firewalld refuses getActiveZones: .*\(FIREWALLD_FAILED\)$/.test(text),
    ),
    texts.join('\n'),
  );
  assert.match(daemon.log(), /"what":"bridges in firewalld's zone".*FIREWALLD_FAILED/);
  firewalld.resume();
  await isWhole(pathOf(a));
  firewalld.pause();
  await daemon.down('a');
  firewalld.resume();
  await isAs({});
});

tests(
  'firewalld was killed, its rules stay: the network goes up with a warning, and is repaired when it starts',
  async () => {
    await firewalld.stop('SIGKILL');
    const a = await up('a');
    assert.match(warningsOf(a).join(), /\(FIREWALLD_FAILED\)$/);
    const [out4] = await heard(pathOf(a));
    assert.is(out4, 'timeout');
    await firewalld.start();
    await isWhole(pathOf(a));
    assert.equal(await unfinished(), []);
    await goesWithoutTrace({});
  },
);

tests('names are answered at the gateway, although the default zone drops queries to the host', async () => {
  await daemon.network({ name: 'named', dns_enabled: true, subnets: [{ subnet: '10.53.0.0/24' }] });
  const a = await up('a', 'named');
  assert.equal([a.state, a.fault], ['up', null]);
  await goesWithoutTrace({});
});

tests('a network in another namespace is not added to firewalld', async () => {
  const path = addNetns('outside');
  const a = await daemon.up('a', { networks: on('six'), outside: path });
  assert.equal(firewalld.zones(), {});
  assert.is(a.state, 'up');
  await daemon.down('a');
});

tests.run();
