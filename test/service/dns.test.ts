// slow: 30 s, aardvark-dns is started, killed and read again for each case
// as user: proving
/**
 * Names as processes in containers resolve them, answered by the real aardvark-dns: by name, alias, short id, hostname
 * and pod. They exist as soon as the event that brought them has answered, and go with it.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { argumentsOf, findAardvark } from '../../effects/names/aardvark.ts';
import { openOutside } from '../../native/index.ts';
import type { AuditReport } from '../../state/answers/audit.ts';
import { addressOf, on, pathOf, TestDaemon } from '../harness/daemon.ts';
import { dig, resolversIn } from '../harness/dns.ts';
import { until } from '../harness/native.ts';
import { calm, assertComesBackTo, inspectKernel, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { rounds } from '../harness/rounds.ts';

requirePrivateNamespace();

const outside = openOutside();
const daemon = new TestDaemon();
const dns = suite('dns');
const twice = rounds(dns, daemon);
const aardvark = (await findAardvark())!;
let empty: Picture;

dns.before(async () => {
  empty = inspectKernel();
  await daemon.start();
  await daemon.network({
    name: 'front',
    subnets: [{ subnet: '10.71.0.0/24' }, { subnet: 'fd00:71::/64' }],
    dns_enabled: true,
  });
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.72.0.0/24' }], dns_enabled: true });
  await daemon.network({ name: 'quiet', subnets: [{ subnet: '10.73.0.0/24' }] });
  await calm();
});

dns.after(async () => {
  await daemon.stop();
  assert.equal(resolversIn(daemon.directory), []);
  await assertComesBackTo(empty, () => inspectKernel());
});

/** The answer that a process in the namespace gets. */
async function lookUp(netns: string, server: string, name: string, type: 'A' | 'AAAA' = 'A'): Promise<string[]> {
  return (await dig(outside, netns, server, name, type)).split(' ').slice(1);
}

twice(
  'containers have names by name, alias, short id and hostname, in both families, when configure has answered',
  async () => {
    const id = 'a1b2c3d4e5f6a7b8c9';
    const db = await daemon.up(id, {
      name: 'db',
      hostname: 'db.internal',
      networks: { front: { aliases: ['database', 'Pg'] } },
    });
    const web = await daemon.up('web', { networks: on('front') });
    for (const name of ['db', 'database', 'pg', 'PG', id.slice(0, 12), 'db.internal']) {
      assert.equal(await lookUp(pathOf(web), '10.71.0.1', name), [addressOf(db, 'front')], name);
      assert.equal(await lookUp(pathOf(web), '10.71.0.1', name, 'AAAA'), [addressOf(db, 'front', 6)], name);
    }
    assert.equal(await lookUp(pathOf(db), '10.71.0.1', 'web'), [addressOf(web, 'front')]);
    await daemon.down('web', id);
  },
);

twice('a container called like a domain of the world does not answer for it, one with such an alias does', async () => {
  const evil = await daemon.up('example.com', { name: 'www.example.com', networks: on('front') });
  const stands = await daemon.up('test', { networks: { front: { aliases: ['api.example.com'] } } });
  for (const name of ['example.com', 'EXAMPLE.com', 'www.example.com']) {
    assert.equal(await lookUp(pathOf(stands), '10.71.0.1', name), [], name);
  }
  assert.equal(await lookUp(pathOf(evil), '10.71.0.1', 'api.example.com'), [addressOf(stands, 'front')]);
  await daemon.down('example.com', 'test');
});

twice('a pod has the name, and its infra container has not', async () => {
  const infra = await daemon.up('infra', { name: 'k8s-infra', pod: 'shop', networks: on('front') });
  const web = await daemon.up('web', { networks: on('front') });
  assert.equal(await lookUp(pathOf(web), '10.71.0.1', 'shop'), [addressOf(infra, 'front')]);
  assert.equal(await lookUp(pathOf(web), '10.71.0.1', 'k8s-infra'), []);
  await daemon.down('web', 'infra');
});

twice('connect adds names and disconnect removes them, on that network alone', async () => {
  await daemon.up('db', { networks: on('quiet') });
  const web = await daemon.up('web', { networks: on('front', 'back') });
  assert.equal(await lookUp(pathOf(web), '10.71.0.1', 'db'), []);
  const now = await daemon.done({ type: 'connect', id: 'db', network: 'back', options: { aliases: ['store'] } });
  assert.equal(await lookUp(pathOf(web), '10.72.0.1', 'store'), [addressOf(now, 'back')]);
  await daemon.done({ type: 'disconnect', id: 'db', network: 'back' });
  const limit = performance.now() + 2000;
  while ((await lookUp(pathOf(web), '10.72.0.1', 'store')).length > 0) {
    assert.ok(performance.now() < limit, 'the name stays');
    await new Promise((next) => setTimeout(next, 10));
  }
  await daemon.down('web', 'db');
});

twice('many containers at once are each resolvable when their configure has answered', async () => {
  const asker = await daemon.up('asker', { networks: on('front') });
  const ids = Array.from({ length: 30 }, (_, n) => `c${n}`);
  await Promise.all(
    ids.map(async (id) => {
      const view = await daemon.up(id, { networks: on('front') });
      assert.equal(await lookUp(pathOf(asker), '10.71.0.1', id), [addressOf(view, 'front')]);
    }),
  );
  assert.is(resolversIn(daemon.directory).length, 1);
  await daemon.down('asker', ...ids);
});

twice('the server lives on when the daemon is killed, is adopted, and is started again when it dies', async () => {
  const web = await daemon.up('web', { networks: on('front') });
  const before = resolversIn(daemon.directory);
  assert.is(before.length, 1);
  await daemon.kill();
  assert.equal(await lookUp(pathOf(web), '10.71.0.1', 'web'), [addressOf(web, 'front')]);
  await daemon.start();
  assert.equal(resolversIn(daemon.directory), before);
  const db = await daemon.up('db', { networks: on('front') });
  assert.equal(resolversIn(daemon.directory), before);
  process.kill(before[0]!, 'SIGKILL');
  const limit = performance.now() + 5000;
  while ((await lookUp(pathOf(web), '10.71.0.1', 'db')).length === 0) {
    assert.ok(performance.now() < limit, 'no server comes back');
    await new Promise((next) => setTimeout(next, 20));
  }
  assert.equal(await lookUp(pathOf(web), '10.71.0.1', 'db'), [addressOf(db, 'front')]);
  await daemon.down('web', 'db');
  assert.equal(resolversIn(daemon.directory), []);
});

dns('the audit names a server that nobody needs, and one that is needed and missing', async () => {
  const findings = async () =>
    (await daemon.get<AuditReport>('/v1/audit')).body.findings.map((one) => `${one.problem} ${one.kind} ${one.object}`);
  const finds = (what: string) => until(`it finds: ${what}`, async () => (await findings()).join() === what, 10_000);
  await daemon.up('web', { networks: on('front') });
  assert.equal(await findings(), []);
  const open = `${daemon.runDir}/dns/own/open`;
  const closed = `${daemon.runDir}/dns/own/closed`;
  mkdirSync(closed);
  writeFileSync(`${closed}/stray.zone`, '127.7.7.7\n');
  execFileSync(aardvark, argumentsOf(closed), { stdio: 'ignore' });
  assert.equal(await findings(), [`leaked dns ${closed}`]);
  process.kill(Number(readFileSync(`${closed}/aardvark.pid`, 'utf8')), 'SIGKILL');
  await finds('');

  execFileSync('mount', ['--bind', '/dev/null', aardvark]);
  try {
    for (const pid of resolversIn(daemon.directory)) process.kill(pid, 'SIGKILL');
    await finds(`missing dns ${open}`);
  } finally {
    execFileSync('umount', [aardvark]);
  }
  await finds('');
  await daemon.down('web');
});

dns('an update of the DNS servers of a network keeps its names', async () => {
  const web = await daemon.up('web', { networks: on('back') });
  const change = async (servers: string[]) =>
    (await daemon.request('PATCH', '/v1/networks/back', { network_dns_servers: servers })).status;
  assert.is(await change(['192.0.2.53']), 200);
  assert.equal(await lookUp(pathOf(web), '10.72.0.1', 'web'), [addressOf(web, 'back')]);
  assert.is(await change([]), 200);
  await daemon.down('web');
});

dns('a network is made with DNS if a server is installed, and without it on request', async () => {
  const { body: yes } = await daemon.request<{ dns_enabled: boolean }>('POST', '/v1/networks', { name: 'yes' });
  assert.is(yes.dns_enabled, true);
  const no = await daemon.network({ name: 'no', dns_enabled: false });
  assert.is(no.dns_enabled, false);
  await daemon.request('DELETE', '/v1/networks/yes');
  await daemon.request('DELETE', '/v1/networks/no');
});

dns.run();
