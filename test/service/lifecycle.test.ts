// slow: 25 s, it runs once more as an ordinary user, whose daemon takes longer to start
// as user: every day
/**
 * A container from create to gone, once for each kind of namespace. Each test runs twice with the same ids, and after
 * each teardown the kernel and the files are byte for byte what they were.
 *
 * Limits: networks.test.ts has addresses and networks; outsides.test.ts has outsides.
 */
import { once } from 'node:events';
import { existsSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addressOf, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { addNetns, ended, endSleepers, removeNetns, sleeper, withAgents } from '../harness/inside.ts';
import { calm, assertComesBackTo, inside, inspectKernel, ipJson, mounts } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { rounds } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const lifecycle = suite('lifecycle');
const twice = rounds(lifecycle, daemon);

lifecycle.before(async () => {
  removeNetns(addNetns('first').slice(-5)); // makes /run/netns a mount point, once and for all
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }] });
});
lifecycle.after(async () => {
  endSleepers();
  await daemon.stop();
});

const links = (netns: string) => ipJson<{ ifname: string }[]>(netns, 'link').map(({ ifname }) => ifname);

twice('netns new: a namespace of its own from create on, a network from configure on', async () => {
  const created = await daemon.done({ type: 'create', id: 'a', networks: on('web') });
  assert.is(created.state, 'created');
  assert.equal(links(pathOf(created)), ['lo']);
  assert.match(inside(pathOf(created), 'ip', 'link', 'show', 'lo'), /LOOPBACK,UP/);
  const up = await daemon.done({ type: 'configure', id: 'a' });
  assert.is(up.state, 'up');
  assert.equal(links(pathOf(up)), ['lo', 'eth0']);
  await withAgents([pathOf(up), null], async (container, host) => {
    await container.serve('a', 'tcp', 80);
    await container.serve('a', 'udp', 80);
    for (const family of [4, 6] as const) {
      const address = addressOf(up, 'web', family);
      const gateway = family === 4 ? '10.70.0.1' : 'fd00:70::1';
      assert.is(await host.dial('tcp', address, 80), `a ${gateway}`);
      assert.is(await host.dial('udp', address, 80), `a ${gateway}`);
    }
  });
  await daemon.down('a');
  assert.is(existsSync(pathOf(up)), false);
});

twice('netns new without a network has loopback and nothing else', async () => {
  const up = await daemon.up('a', { networks: {} });
  assert.is(up.state, 'up');
  assert.equal(links(pathOf(up)), ['lo']);
  assert.equal([up.networks, up.ports], [{}, []]);
  await daemon.down('a');
});

twice('netns host: nothing is made', async () => {
  const before = inspectKernel();
  const up = await daemon.up('a', { netns: { mode: 'host' } });
  assert.is(up.state, 'up');
  assert.is(up.netns.path, null);
  assert.equal(inspectKernel(), before);
  await daemon.down('a');
});

twice('netns container: it has the same interfaces, and none of its own', async () => {
  const owner = await daemon.up('owner', { networks: on('web') });
  const guest = await daemon.up('guest', { netns: { mode: 'container', id: 'owner' } });
  assert.equal(links(pathOf(guest)), ['lo', 'eth0']);
  assert.match(inside(pathOf(guest), 'ip', 'address'), new RegExp(`${addressOf(owner, 'web')}/24`));
  assert.is(guest.netns.ino, owner.netns.ino);
  const third = await daemon.up('third', { netns: { mode: 'container', id: 'guest' } });
  assert.is(third.netns.ino, owner.netns.ino);
  await daemon.down('third');
  assert.equal(links(pathOf(owner)), ['lo', 'eth0']);
  await daemon.down('guest', 'owner');
});

twice('netns path: it is joined, and left as it was', async () => {
  const path = addNetns('joined');
  const before = inspectKernel(path);
  const up = await daemon.up('a', { netns: { mode: 'path', path } });
  assert.is(readlinkOf(up), readlinkOf({ netns: { path } }));
  assert.equal(up.networks, {});
  await daemon.down('a');
  const { mounts: _before, ...kernel } = before;
  const { mounts: _now, ...now } = inspectKernel(path);
  assert.equal(now, kernel);
  removeNetns('joined');
});

twice('netns path with networks: its links go with the container, and the namespace stays', async () => {
  const path = addNetns('joined');
  const before = inspectKernel(path);
  const up = await daemon.up('a', { netns: { mode: 'path', path }, networks: on('web') });
  assert.equal(links(path), ['lo', 'eth0']);
  await withAgents([path, null], async (container, host) => {
    await container.serve('a', 'tcp', 80);
    assert.is(await host.dial('tcp', addressOf(up, 'web'), 80), 'a 10.70.0.1');
    assert.is(await host.dial('tcp', addressOf(up, 'web', 6), 80), 'a fd00:70::1');
  });
  await daemon.down('a');
  assert.ok(existsSync(path));
  const kernel = ({ mounts: _mounts, ...rest }: Record<string, string[]>) => rest;
  await assertComesBackTo(kernel(before), () => kernel(inspectKernel(path)));
  removeNetns('joined');
});

twice('netns pid: the process has the network until the teardown', async () => {
  const child = await sleeper();
  const pid = child.pid!;
  const up = await daemon.up('a', { netns: { mode: 'pid', pid }, networks: on('web') });
  assert.is(up.bound_to, pid);
  assert.equal(links(`/proc/${pid}/ns/net`), ['lo', 'eth0']);
  await daemon.down('a');
  assert.equal(links(`/proc/${pid}/ns/net`), ['lo']);
  child.kill('SIGKILL');
  await ended(pid);
});

twice('netns pid: the process that ends takes its network with it', async () => {
  const child = await sleeper();
  await daemon.up('a', { netns: { mode: 'pid', pid: child.pid! }, port_mappings: [port(8080, 80)] });
  child.kill('SIGKILL');
  await once(child, 'exit');
  await daemon.gone('a');
  assert.is((await daemon.get('/v1/containers/a')).status, 404);
});

twice('bound_to: the end of that process ends the network', async () => {
  const child = await sleeper();
  const up = await daemon.up('a', { networks: on('web'), bound_to: child.pid! });
  assert.is(up.bound_to, child.pid);
  assert.equal(links(pathOf(up)), ['lo', 'eth0']);
  child.kill('SIGKILL');
  await once(child, 'exit');
  await daemon.gone('a');
  const created = await sleeper();
  await daemon.done({ type: 'create', id: 'a', bound_to: created.pid! });
  created.kill('SIGKILL');
  await once(created, 'exit');
  await daemon.gone('a');
});

twice('the namespace of the host is not configured as if it were a container', async () => {
  const before = inspectKernel();
  for (const netns of [
    { mode: 'path', path: '/proc/self/ns/net' },
    { mode: 'pid', pid: process.pid },
  ] as const) {
    const created = await daemon.event({ type: 'create', id: 'a', netns, networks: on('web') });
    const { status, body } = created.status === 200 ? await daemon.event({ type: 'configure', id: 'a' }) : created;
    assert.is(`${status} ${body.error?.code}`, '400 NOT_A_NAMESPACE', JSON.stringify(body));
    if (created.status === 200) await daemon.down('a');
    await assertComesBackTo(before, () => inspectKernel());
  }
});

twice('configure, connect and reload of a container that is up change nothing', async () => {
  await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  await calm();
  const before = inspectKernel();
  const again = await daemon.done({ type: 'configure', id: 'a' });
  assert.is(again.state, 'up');
  assert.is((await daemon.done({ type: 'reload', id: 'a' })).state, 'up');
  await assertComesBackTo(before, () => inspectKernel());
  await daemon.down('a');
});

twice('teardown of a container that is gone is 404', async () => {
  await daemon.up('a', { networks: on('web') });
  await daemon.down('a');
  assert.is((await daemon.event({ type: 'teardown', id: 'a' })).body.error?.code, 'NO_SUCH_CONTAINER');
});

twice('teardown overtakes everything that is under way', async () => {
  for (const pause of [0, 1, 2, 4]) {
    await daemon.done({ type: 'create', id: 'a', networks: on('web', 'cleat'), port_mappings: [port(8080, 80)] });
    const configure = daemon.event({ type: 'configure', id: 'a' });
    await sleep(pause);
    const teardown = await daemon.event({ type: 'teardown', id: 'a' });
    assert.is(teardown.status, 200, teardown.text);
    const { status, body } = await configure;
    // The other event was overtaken, was quicker, or came after.
    assert.ok(status === 200 || ['SUPERSEDED', 'ILLEGAL_EVENT', 'NO_SUCH_CONTAINER'].includes(body.error?.code ?? ''));
    await daemon.gone('a');
  }
});

twice('teardown of a container that is being created succeeds', async () => {
  const create = daemon.event({ type: 'create', id: 'a', networks: on('web') });
  let teardown = await daemon.event({ type: 'teardown', id: 'a' });
  if (teardown.status === 404) {
    await create;
    teardown = await daemon.event({ type: 'teardown', id: 'a' });
  }
  assert.is(teardown.status, 200, teardown.text);
  await create;
  await daemon.gone('a');
});

twice('forty containers go up and down at once', async () => {
  const ids = Array.from({ length: 40 }, (_, n) => `c${n}`);
  const all = await Promise.all(
    ids.map((id, n) => daemon.up(id, { networks: on('web'), port_mappings: [port(9000 + n, 80)] })),
  );
  const addresses = new Set(all.map((container) => addressOf(container, 'web')));
  assert.is(addresses.size, ids.length);
  assert.is((await daemon.get<{ clean: boolean }>('/v1/audit')).body.clean, true);
  await daemon.down(...ids);
});

lifecycle('nothing is mounted where containers were', () => {
  assert.equal(
    mounts().filter((mount) => mount.includes(daemon.netnsDir)),
    [],
  );
});

function readlinkOf({ netns: { path } }: { netns: { path: string | null } }): string {
  return inside(path ?? '', 'readlink', '/proc/self/ns/net') || readlinkSync('/proc/self/ns/net');
}

lifecycle.run();
