/**
 * Operations that cannot be done, on the real kernel: the fault says why, nothing half made stays, and leftovers that
 * cannot be removed are not forgotten.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerContext } from '../../state/container.ts';
import { addressOf, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { calm, inside, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { rounds } from '../harness/rounds.ts';
import { Transfer } from '../harness/transfer.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const failures = suite('failures');
const twice = rounds(failures, daemon);

failures.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.71.0.0/24' }], dns_enabled: false });
  await daemon.network({
    name: 'back',
    subnets: [{ subnet: '10.72.0.0/24' }, { subnet: 'fd00:72::/64' }],
    dns_enabled: false,
  });
  await calm();
});
failures.after(async () => {
  await daemon.stop();
});

twice('a namespace that cannot be made is a fault with place and reason, and there is no container', async () => {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', daemon.netnsDir]);
  const { status, body } = await daemon.event({ type: 'create', id: 'a', networks: on('web') });
  execFileSync('umount', [daemon.netnsDir]);
  assert.equal([status, body.error?.code, body.error?.step], [500, 'KERNEL', 'ensureNamespace']);
  assert.equal([body.error?.errno, body.error?.syscall], ['EROFS', 'open']);
  assert.ok(body.error?.object?.startsWith(`${daemon.netnsDir}/netns-`), body.error?.object);
  assert.is((await daemon.get('/v1/containers/a')).status, 404);
  await daemon.up('a', { networks: on('web') });
  await daemon.down('a');
});

twice('a teardown that gets stuck removes the rest, and lists and keeps what is left, also over kill -9', async () => {
  const ports = { port_mappings: [port(8080, 80)] };
  const up = await daemon.up('a', { networks: on('web'), ...ports });
  // A foreign file in the place of the pin, which only its owner may remove.
  execFileSync('umount', [pathOf(up)]);
  writeFileSync(pathOf(up), 'precious');
  const stuck = async () => {
    const { body } = await daemon.get('/v1/containers/a');
    assert.is(body.state, 'teardownFailed');
    assert.equal(
      body.leftovers?.map(({ step, errno, object }) => [step, errno, object]),
      [['removeNamespace', 'EINVAL', pathOf(up)]],
    );
    // The rules went all the same; its leases are given to nobody else.
    const { ruleset = [] } = inspectKernel();
    assert.not.ok(ruleset.some((line) => line.includes('8080')));
    const other = await daemon.event({ type: 'publish', id: 'b', ...ports });
    assert.equal([other.body.error?.code, other.body.error?.owner], ['PORT_TAKEN', 'a']);
  };
  const answer = await daemon.event({ type: 'teardown', id: 'a' });
  assert.equal([answer.status, answer.body.error?.code], [500, 'UNFINISHED']);
  assert.ok(answer.body.error?.message.includes(pathOf(up)), answer.text);
  const b = await daemon.up('b', { networks: on('web') });
  assert.is.not(addressOf(b, 'web'), addressOf(up, 'web'));
  await stuck();
  await daemon.kill();
  await daemon.start();
  const again = await daemon.event({ type: 'teardown', id: 'a' });
  assert.is(again.body.error?.code, 'UNFINISHED', again.text);
  await stuck();
  assert.is(readFileSync(pathOf(up), 'utf8'), 'precious');
  rmSync(pathOf(up));
  await daemon.gone('a'); // the teardown is tried again by itself
  const { ports: published } = await daemon.done({ type: 'publish', id: 'b', ...ports });
  assert.is(published.length, 1);
  await daemon.down('b');
});

twice('reload --full that fails leaves the old link with everything on it, and says why', async () => {
  const static_ = { static_ips: ['10.72.0.9', 'fd00:72::9'], static_mac: '02:00:00:00:00:09', interface_name: 'lan' };
  const up = await daemon.up('a', { networks: { back: static_ }, port_mappings: [port(8080, 80)] });
  const path = pathOf(up);
  // The temporary name of the new link is taken inside.
  const text = readFileSync(`${daemon.runDir}/containers/a.json`, 'utf8');
  const { token, nextOrdinal } = (JSON.parse(text) as { snapshot: { context: ContainerContext } }).snapshot.context;
  const taken = `ve${token.slice(0, 8)}${nextOrdinal.toString(36)}`;
  inside(path, 'ip', 'link', 'add', taken, 'type', 'ifb');
  await calm(path);
  const before = inspectKernel(path);
  const transfer = await Transfer.start(path, 9000, '10.72.0.9', 9000);
  try {
    const refused = await daemon.event({ type: 'reload', id: 'a', full: true });
    assert.equal([refused.body.error?.code, refused.body.error?.object], ['INTERFACE_TAKEN', taken]);
    const { bytes } = transfer;
    await until('the transfer goes on', () => transfer.bytes > bytes + 200_000);
  } finally {
    await transfer.stop();
  }
  assert.is((await daemon.get('/v1/containers/a')).body.state, 'up');
  assert.equal(inspectKernel(path), before);
  await daemon.clean();
  // With the name free again the reload succeeds, with the same static addresses, MAC and name.
  inside(path, 'ip', 'link', 'del', taken);
  const rebuilt = await daemon.done({ type: 'reload', id: 'a', full: true });
  assert.equal(rebuilt.networks, up.networks);
  await withAgents([path, null], async (agent, host) => {
    await agent.serve('a', 'tcp', 80);
    assert.is(await host.dial('tcp', '127.0.0.1', 8080), 'a 10.72.0.1');
  });
  await daemon.clean();
  await daemon.down('a');
});

twice('a container without a namespace of its own has no networks or ports to change', async () => {
  await daemon.up('own', { networks: on('web') });
  await daemon.up('host', { netns: { mode: 'host' } });
  await daemon.up('guest', { netns: { mode: 'container', id: 'own' } });
  await daemon.done({ type: 'create', id: 'early', netns: { mode: 'host' } });
  for (const id of ['host', 'guest', 'early']) {
    const connect = await daemon.event({ type: 'connect', id, network: 'web' });
    assert.equal([connect.status, connect.body.error?.code], [409, 'MODE_NOT_SUPPORTED'], id);
    const publish = await daemon.event({ type: 'publish', id, port_mappings: [port(8080, 80)] });
    assert.is(publish.body.error?.code, 'MODE_NOT_SUPPORTED', id);
    // The daemon first checks that the network exists.
    const nowhere = await daemon.event({ type: 'connect', id, network: 'nowhere' });
    assert.is(nowhere.body.error?.code, 'NO_SUCH_NETWORK', id);
  }
  await daemon.down('guest', 'host', 'early');
  await daemon.down('own');
});

twice('reload without links of its own is done, whatever the namespace', async () => {
  await daemon.up('own', { networks: on('web') });
  await daemon.up('host', { netns: { mode: 'host' } });
  await daemon.up('guest', { netns: { mode: 'container', id: 'own' } });
  await daemon.up('none', { networks: {} });
  for (const id of ['host', 'guest', 'none']) {
    for (const full of [false, true]) assert.is((await daemon.done({ type: 'reload', id, full })).state, 'up', id);
  }
  await daemon.down('guest', 'host', 'none');
  await daemon.down('own');
});

twice('the names on a network are the requested ones, the short id and the hostname, each once', async () => {
  const id = 'f00dfeedf00dfeedf00d';
  const up = await daemon.up(id, {
    hostname: 'box',
    networks: { web: { aliases: ['www', 'box', 'www', 'f00dfeedf00d'] } },
  });
  const { body } = await daemon.get(`/v1/containers/${id}`);
  assert.equal([...(body.NetworkSettings?.Networks.web?.Aliases ?? [])].sort(), ['box', 'f00dfeedf00d', 'www']);
  assert.ok(existsSync(pathOf(up)));
  await daemon.done({ type: 'disconnect', id, network: 'web' });
  await daemon.done({ type: 'connect', id, network: 'web' });
  const again = (await daemon.get(`/v1/containers/${id}`)).body;
  assert.equal([...(again.NetworkSettings?.Networks.web?.Aliases ?? [])].sort(), ['box', 'f00dfeedf00d']);
  await daemon.up('ab', { networks: on('web') });
  assert.equal((await daemon.get('/v1/containers/ab')).body.NetworkSettings?.Networks.web?.Aliases, ['ab']);
  await daemon.down(id, 'ab');
});

failures.run();
