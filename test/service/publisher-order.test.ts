/**
 * A container with an outer publisher, step by step: its ports are exposed before anything is made, and removed first.
 * A publisher that refuses stops the set-up, but never the teardown.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, port, TestDaemon } from '../harness/daemon.ts';
import { FakeGvproxy } from '../harness/gvproxy.ts';
import { addNetns } from '../harness/inside.ts';
import { calm, assertComesBackTo, inspectKernel, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const gvproxy = new FakeGvproxy();
const failpoints = mkdtempSync('/run/failpoints-');
const order = suite('outer publisher, step by step');

/** The kernel while the daemon runs and there is no container. */
let empty: Picture;

interface JournalEntry {
  machine: string;
  to: string;
}

order.before(async () => {
  await gvproxy.start();
  daemon.publisher = gvproxy.url;
  daemon.environment['CLEAT_FAILPOINTS'] = failpoints;
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }], dns_enabled: false });
  addNetns('theirs');
  await calm();
  empty = inspectKernel();
});
order.after(async () => {
  await daemon.stop();
  await gvproxy.stop();
});

/** The states that the container has passed, without the machines of others. */
const passed = async (id: string): Promise<string[]> => {
  const { body } = await daemon.get<JournalEntry[]>(`/v1/containers/${id}/history`);
  return body.flatMap(({ machine, to }) => (machine === 'container' ? [to] : []));
};

/** Effects of containers, in the order in which they began since the last call. */
function begun(): string[] {
  const names = readFileSync(`${failpoints}/log`, 'utf8').split('\n');
  rmSync(`${failpoints}/log`);
  return names.filter((name) => OURS.test(name)).map((name) => name.replace(':durable', ''));
}
const OURS =
  /^(ensureNamespace|expose|ensureLink|ensureAddresses|publish|unexpose|unpublish|removeLink|removeNamespace|awaitLinksGone):durable$/;

order('ports are exposed before anything is made, and removed before anything goes', async () => {
  begun();
  const create = { networks: on('web'), port_mappings: [port(8080, 80)] };
  await daemon.up('a', create);
  const wayIn = ['ensureNamespace', 'expose', 'ensureLink', 'ensureAddresses', 'publish'];
  assert.equal(begun(), wayIn);
  await daemon.down('a');
  assert.equal(begun(), ['unexpose', 'unpublish', 'removeNamespace', 'awaitLinksGone']);
  // In a namespace of others the links have to be removed one by one.
  await daemon.up('a', { ...create, netns: { mode: 'path', path: '/run/netns/theirs' } });
  assert.equal(begun(), wayIn);
  await daemon.down('a');
  assert.equal(begun(), ['unexpose', 'unpublish', 'removeLink', 'removeNamespace', 'awaitLinksGone']);
  assert.equal(gvproxy.forwards, []);
  await assertComesBackTo(empty, () => inspectKernel());
});

order('a refusal of the publisher makes nothing', async () => {
  await gvproxy.have('tcp', ':8080', '192.168.127.9:80');
  await daemon.done({ type: 'create', id: 'a', networks: on('web'), port_mappings: [port(8080, 80)] });
  const { body } = await daemon.event({ type: 'configure', id: 'a' });
  assert.is(body.error?.code, 'PORT_TAKEN');
  const states = await passed('a');
  assert.not.ok(
    states.some((state) => /\.(attaching|publishing)/.test(state)),
    states.join(' '),
  );
  assert.is(states.at(-1), 'created');
  assert.equal(gvproxy.forwards, ['tcp :8080 192.168.127.9:80']);
  await daemon.down('a');
  await assertComesBackTo(empty, () => inspectKernel());
  await gvproxy.stop();
  await gvproxy.start();
});

order('an attachment that fails removes the exposure', async () => {
  const networks = { web: { interface_name: 'lo' } };
  await daemon.done({ type: 'create', id: 'a', networks, port_mappings: [port(8080, 80)] });
  const { body } = await daemon.event({ type: 'configure', id: 'a' });
  assert.is(body.error?.code, 'INTERFACE_TAKEN');
  const asked = gvproxy.requests.filter((request) => request.endsWith(':8080')).slice(-2);
  assert.equal(asked, ['expose :8080', 'unexpose :8080']);
  assert.equal(gvproxy.forwards, []);
  await daemon.down('a');
  await assertComesBackTo(empty, () => inspectKernel());
});

order('a publisher that does not answer blocks no teardown, and gets the removal later', async () => {
  await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  gvproxy.behave = 'hang';
  await daemon.down('a');
  gvproxy.behave = 'well';
  await assertComesBackTo(empty, () => inspectKernel());
  assert.is(gvproxy.forwards.length, 1);
  await daemon.up('b', { networks: on('web'), port_mappings: [port(8081, 80)] });
  assert.ok(gvproxy.forwards[0]?.startsWith('tcp :8081 '), gvproxy.forwards.join());
  assert.is(gvproxy.forwards.length, 1);
  await daemon.down('b');
  await assertComesBackTo(empty, () => inspectKernel());
});

order('a container that waits for the publisher delays no other', async () => {
  gvproxy.behave = 'hang';
  await daemon.done({ type: 'create', id: 'a', networks: on('web'), port_mappings: [port(8080, 80)] });
  let over = false;
  const waiting = daemon.event({ type: 'configure', id: 'a' }).finally(() => (over = true));
  await daemon.get('/v1/containers/a?wait=configuring&timeout=5000');
  await daemon.up('b', { networks: on('web') });
  await daemon.down('b');
  assert.not(over, 'b had to wait');
  const { status, body } = await waiting;
  assert.equal([status, body.error?.code], [502, 'PUBLISHER_FAILED']);
  gvproxy.behave = 'well';
  await daemon.down('a');
  await assertComesBackTo(empty, () => inspectKernel());
});

order('after a kill during a teardown, the start does not expose removed ports again', async () => {
  await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  writeFileSync(`${failpoints}/order`, 'SIGKILL unpublish:durable#1');
  await daemon.event({ type: 'teardown', id: 'a' }).catch(() => null);
  rmSync(`${failpoints}/order`);
  await daemon.kill();
  assert.equal(gvproxy.forwards, []);
  const before = gvproxy.requests.length;
  await daemon.start();
  await daemon.gone('a');
  const asked = gvproxy.requests.slice(before).filter((request) => request !== 'all');
  assert.equal([asked, gvproxy.forwards], [[], []]);
  await assertComesBackTo(empty, () => inspectKernel());
});

order.run();
