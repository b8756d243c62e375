// slow: 30 s, an outside is let go seconds after its last container
/**
 * Another namespace is mounted at the path of an outside, or over a container's pin. The daemon does not touch the new
 * namespace, the first one goes on, and no container that cannot be reached is reported `up`.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { addNetns, removeNetns, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { calm, assertComesBackTo, inspect, inspectKernel, unlessGone, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const other = suite('another namespace at the same path');

other.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }] });
});
other.before.each(() => clear(daemon));
other.after(async () => {
  await daemon.stop();
});

const kernelOf = (path: string): Picture => {
  const { mounts: _same, ...rest } = inspectKernel(path);
  return rest;
};
const served = { networks: on('web'), port_mappings: [port(8080, 80)] };

/** A container in the outside answers on the port that it has published there. */
const isReached = (outside: string, netns: string) =>
  withAgents([netns, outside], async (inside, host) => {
    await inside.serve('a', 'tcp', 80);
    assert.is(await host.dial('tcp', '127.0.0.1', 8080), 'a 10.70.0.1');
  });

/**
 * Checks that the teardown of `old` changes nothing in the namespace that is now at x, and that a new container is made
 * there.
 */
async function isUsedAfterOld(x: string, before: Picture): Promise<void> {
  await daemon.down('old');
  await assertComesBackTo(before, () => kernelOf(x), 0);
  const a = await daemon.up('a', { outside: x, ...served });
  await isReached(x, pathOf(a));
  await daemon.down('a');
  await assertComesBackTo(before, () => kernelOf(x));
  removeNetns('x');
}

other('at the path of an unused outside, the next container is in the new namespace', async () => {
  for (const round of [1, 2]) {
    const x = addNetns('x');
    const a = await daemon.up('a', { outside: x, ...served });
    await isReached(x, pathOf(a));
    await daemon.down('a');
    removeNetns('x'); // and another one in its place, at once
    assert.ok(round);
  }
});

other('at the path of an outside in use, no new container enters until the old ones are gone', async () => {
  const x = addNetns('x');
  const old = await daemon.up('old', { outside: x, ...served });
  removeNetns('x');
  addNetns('x');
  const strange = kernelOf(x);
  const { status, body } = await daemon.event({ type: 'create', id: 'a', outside: x, ...served });
  assert.equal([status, body.error?.code, body.error?.object], [400, 'NOT_A_NAMESPACE', x]);
  assert.match(body.error?.message ?? '', /container old any more/);
  assert.is((await daemon.get('/v1/containers/a')).status, 404);
  await daemon.done({ type: 'publish', id: 'old', port_mappings: [port(8081, 80)] });
  await withAgents([pathOf(old)], async (inside) => {
    await inside.serve('old', 'tcp', 80);
    assert.is(await inside.dial('tcp', '10.70.0.2', 80), 'old 10.70.0.2');
  });
  await isUsedAfterOld(x, strange);
});

other('an outside that was replaced without a daemon is not touched, and its containers can be torn down', async () => {
  const before = inspect(daemon);
  const x = addNetns('x');
  await daemon.up('old', { outside: x, ...served });
  await daemon.stop();
  removeNetns('x');
  addNetns('x');
  const strange = kernelOf(x);
  await daemon.start();
  await new Promise((resolve) => setTimeout(resolve, 500)); // a drift inspection
  await assertComesBackTo(strange, () => kernelOf(x), 0);
  await isUsedAfterOld(x, strange);
  await assertComesBackTo(before, () => inspect(daemon));
});

/** The namespaces of the daemon's threads. */
const namespaces = (): Set<string> =>
  new Set(
    readdirSync(`/proc/${daemon.pid}/task`).flatMap((tid) =>
      unlessGone(() => [readlinkSync(`/proc/${daemon.pid}/task/${tid}/ns/net`)]),
    ),
  );

/** The threads and descriptors that keep a namespace alive. */
const held = () => ({
  threads: readdirSync(`/proc/${daemon.pid}/task`).length,
  sockets: readdirSync(`/proc/${daemon.pid}/fd`).filter((fd) => {
    try {
      return /^(net|socket):/.test(readlinkSync(`/proc/${daemon.pid}/fd/${fd}`));
    } catch {
      return false;
    }
  }).length,
});

other('an outside is released after its last container, and its namespace ends with its path', async () => {
  await daemon.up('first', { networks: on('web') });
  await daemon.down('first');
  const before = held();
  for (let n = 0; n < 5; n++) {
    const x = addNetns(`x${n}`);
    await daemon.up('a', { outside: x, networks: on('web') });
    assert.ok(namespaces().size >= 2);
    await daemon.down('a');
    removeNetns(`x${n}`);
  }
  await until('all are let go', () => namespaces().size === 1 && held().threads <= before.threads, 15_000);
  await until('their descriptors too', () => held().sockets <= before.sockets, 5000);
});

other('an outside with remains of ours is released when these have gone', async () => {
  const isHeld = () => namespaces().has(namespace);
  const x = addNetns('late');
  const namespace = `net:[${statSync(x).ino}]`;
  await daemon.up('a', { outside: x, networks: on('web') });
  const links = execFileSync('ip', ['-n', 'late', '-d', 'link'], { encoding: 'utf8' });
  const [alias = ''] = /cleat:\w+:/.exec(links) ?? [];
  execFileSync('ip', ['-n', 'late', 'link', 'add', 'left', 'type', 'bridge']);
  execFileSync('ip', ['-n', 'late', 'link', 'set', 'left', 'alias', `${alias}left`]);
  await daemon.down('a');
  await new Promise((resolve) => setTimeout(resolve, 2500));
  assert.ok(isHeld());
  execFileSync('ip', ['-n', 'late', 'link', 'del', 'left']);
  await until('let go', () => !isHeld(), 15_000);
  removeNetns('late');
});

other('another namespace over a container’s pin is not touched by any request', async () => {
  const a = await daemon.up('a', served);
  const x = addNetns('theirs');
  execFileSync('ip', ['-batch', '-'], {
    input: ['link add tp type veth peer name eth0 netns theirs', 'link set tp up'].join('\n'),
  });
  execFileSync('ip', ['-n', 'theirs', '-batch', '-'], {
    input: 'addr add 10.99.0.2/24 dev eth0\nlink set eth0 up\n',
  });
  await calm(x);
  execFileSync('mount', ['--bind', x, pathOf(a)]);
  const strange = kernelOf(x);
  const connect = await daemon.event({ type: 'connect', id: 'a', network: 'cleat' });
  assert.is(connect.body.error?.code, 'NOT_A_NAMESPACE', connect.text);
  await assertComesBackTo(strange, () => kernelOf(x), 0);
  const reload = await daemon.event({ type: 'reload', id: 'a', full: true });
  assert.is.not(reload.status, 200);
  await assertComesBackTo(strange, () => kernelOf(x), 0);
  await daemon.event({ type: 'reload', id: 'a' });
  await daemon.event({ type: 'disconnect', id: 'a', network: 'web' });
  await assertComesBackTo(strange, () => kernelOf(x), 0);
  await daemon.kill();
  await daemon.start();
  await daemon.event({ type: 'reload', id: 'a', full: true });
  await assertComesBackTo(strange, () => kernelOf(x), 0);
  await daemon.down('a');
  await assertComesBackTo(strange, () => kernelOf(x), 0);
  assert.not.ok(readFileSync('/proc/self/mountinfo', 'utf8').includes(pathOf(a)));
  execFileSync('ip', ['link', 'del', 'tp']);
  removeNetns('theirs');
});

other.run();
