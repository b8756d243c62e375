/**
 * The daemon in a machine whose host has an outer publisher: its requests at the start, its ledger, and what doctor
 * says. The publisher is a stand-in (harness/gvproxy.ts).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ContainerContext } from '../../state/container.ts';
import { on, port, TestDaemon } from '../harness/daemon.ts';
import { FakeGvproxy } from '../harness/gvproxy.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const gvproxy = new FakeGvproxy();
const service = suite('outer publisher of a daemon');

interface Kept {
  snapshot: { context: ContainerContext };
}
const path = (id: string) => `${daemon.runDir}/containers/${id}.json`;
const kept = (id: string) => JSON.parse(readFileSync(path(id), 'utf8')) as Kept;

interface Checks {
  checks: { name: string; ok: boolean; severity: string; text: string }[];
}
const checks = async () => {
  const { body } = await daemon.get<Checks>('/v1/doctor');
  return body.checks.filter(({ name }) => name === 'publisher');
};

service.before(async () => {
  await gvproxy.start();
  daemon.publisher = gvproxy.url;
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }] });
});
service.after(async () => {
  await daemon.stop();
  await gvproxy.stop();
});

/** Polls until the condition holds, and fails with the last value when it never does. */
async function becomes<T>(expected: T, look: () => T | Promise<T>): Promise<void> {
  const deadline = performance.now() + 10_000;
  let now = await look();
  while (!isDeepStrictEqual(now, expected) && performance.now() < deadline) {
    await sleep(20);
    now = await look();
  }
  assert.equal(now, expected);
}

const SSH = 'tcp 127.0.0.1:2222 192.168.127.2:22';
const WEB = ['tcp 127.0.0.1:8080 127.0.0.1:8080', 'tcp :9000 127.0.0.1:9000', 'tcp :9001 127.0.0.1:9001'];

service('the requested host address is kept for the publisher and shown, and inside it is every one', async () => {
  const port_mappings = [port(8080, 80, { host_ip: '127.0.0.1' }), port(9001, 91), port(9000, 90)];
  const { ports } = await daemon.up('web', { networks: on('web'), port_mappings });
  assert.equal(
    ports.map(({ host_ip, host_port, range }) => `${host_ip} ${host_port} ${range}`),
    [' 9000 2', '127.0.0.1 8080 1'],
  );
  await daemon.stop(); // every state is on disk
  const { context } = kept('web').snapshot;
  ContainerContext.parse(context);
  assert.is(context.publisher, gvproxy.url);
  assert.equal(
    context.request.ports.map(({ host_ip, outer_ip }) => [host_ip, outer_ip]),
    [
      ['', ''],
      ['', '127.0.0.1'],
    ],
  );
  assert.equal(
    context.ports.map(({ hostIp, outerIp }) => [hostIp, outerIp]),
    [
      ['', ''],
      ['', '127.0.0.1'],
    ],
  );
  await daemon.start();
});

service('a restarted publisher gets its ports at the next start', async () => {
  await daemon.kill();
  await gvproxy.stop();
  await gvproxy.start();
  await gvproxy.have('tcp', '127.0.0.1:2222', '192.168.127.2:22');
  await daemon.start();
  await becomes([SSH, ...WEB].sort(), () => gvproxy.forwards);
  const [check, ...more] = await checks();
  assert.equal([check?.ok, more], [true, []]);
  assert.match(check?.text ?? '', /^the publisher at http:\/\/127\.0\.0\.1:\d+ answers; it has 4 forwards$/);
});

service('ports published later are handled the same', async () => {
  await daemon.done({ type: 'publish', id: 'web', port_mappings: [port(7000, 70, { host_ip: '::1' })] });
  const { ports } = (await daemon.get('/v1/containers/web')).body;
  assert.ok(ports?.some(({ host_ip, host_port }) => host_ip === '::1' && host_port === 7000));
  await daemon.stop();
  const found = kept('web').snapshot.context.ports.find(({ hostPort }) => hostPort === 7000);
  assert.equal([found?.hostIp, found?.outerIp], ['', '::1']);
  await daemon.start();
  await becomes(true, () => gvproxy.forwards.includes('tcp [::1]:7000 127.0.0.1:7000'));
});

service('a publisher that does not answer delays no start, and doctor says so', async () => {
  await daemon.stop();
  gvproxy.behave = 'hang';
  await daemon.start();
  const [check] = await checks();
  assert.equal([check?.ok, check?.severity], [false, 'error']);
  assert.match(check?.text ?? '', /has not answered in time: containers with published ports cannot be configured$/);
  gvproxy.behave = 'well';
  // The work that the start could not do is recorded.
  await becomes(true, async () => /at the start: .* has not answered in time/.test((await checks())[0]?.text ?? ''));
});

service('containers of another boot are gone, and so are their exposures', async () => {
  await daemon.kill();
  const record = kept('web');
  record.snapshot.context.bootId = '00000000-0000-0000-0000-000000000000';
  writeFileSync(path('web'), JSON.stringify(record));
  await daemon.start();
  assert.is((await daemon.get('/v1/containers/web')).status, 404);
  await becomes([SSH], () => gvproxy.forwards);
  const [check] = await checks();
  assert.is(check?.ok, true, check?.text);
});

service('exposures of another boot are gone also if the run directory is', async () => {
  // Exposures that an earlier daemon requested, and that no container needs.
  await gvproxy.have('tcp', ':7777', '127.0.0.1:7777');
  await daemon.stop();
  const exposed = [{ publisher: gvproxy.url, protocol: 'tcp', local: ':7777', remote: '127.0.0.1:7777' }];
  writeFileSync(`${daemon.stateDir}/exposed.json`, JSON.stringify({ version: 1, exposed }));
  await daemon.start();
  await becomes([SSH], () => gvproxy.forwards);
});

service('an invalid publisher ends the start with the reason', async () => {
  const other = new TestDaemon();
  other.publisher = 'https://gateway';
  const child = other.spawn();
  const code = await new Promise((resolve) => child.once('exit', resolve));
  assert.is(code, 1);
  assert.match(other.log(), /publisher https:\/\/gateway: a publisher is http:\/\/HOST/);
});

service.run();
