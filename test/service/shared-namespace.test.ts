// as user: proving
/** container:ID: the users hold the namespace and all that is in it. The owner may leave before them, and come back. */
import { existsSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, loopbackClient, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { ended, sleeper, withAgents } from '../harness/inside.ts';
import { calm, assertComesBackTo, inspectKernel, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { rounds } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const shared = suite('shared namespaces');
const twice = rounds(shared, daemon);
let empty: Picture;

shared.before(async () => {
  empty = inspectKernel();
  await daemon.start();
  await daemon.network({ name: 'front', subnets: [{ subnet: '10.71.0.0/24' }], dns_enabled: false });
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.72.0.0/24' }], dns_enabled: false });
  await calm();
});

shared.after(async () => {
  await daemon.stop();
  await assertComesBackTo(empty, () => inspectKernel());
});

const state = async (id: string) => {
  const { status, body } = await daemon.get(`/v1/containers/${id}`);
  return status === 404 ? 'gone' : `${body.state}${body.owner_gone === true ? ' (owner gone)' : ''}`;
};
const pod = { networks: on('front'), port_mappings: [port(8080, 80)] };
const share = (id: string, of: string) => daemon.up(id, { netns: { mode: 'container', id: of } });

twice('the owner leaves first: addresses, ports and links stay until the last user has gone', async () => {
  const owner = await daemon.up('infra', pod);
  const user = await share('app', 'infra');
  const far = await share('side', 'app');
  const left = await daemon.done({ type: 'teardown', id: 'infra' });
  assert.is(left.state, 'up');
  assert.is(left.owner_gone, true);
  await daemon.down('app'); // the middle one of the chain
  await daemon.clean();
  await withAgents([pathOf(far), null], async (inside, host) => {
    await inside.serve('side', 'tcp', 80);
    assert.is(await host.dial('tcp', '127.0.0.1', 8080), `side ${loopbackClient(owner, 'front')}`);
    // Its address is not given to another container meanwhile.
    const other = await daemon.up('other', { networks: on('front') });
    assert.is.not(addressOf(other, 'front'), addressOf(owner, 'front'));
    await daemon.down('other');
  });
  assert.is(await state('infra'), 'up (owner gone)');
  await daemon.down('side');
  await daemon.gone('infra');
  for (const view of [owner, user, far]) assert.not.ok(existsSync(pathOf(view)));
});

twice('a held owner lives on: it can be changed, and is there after kill -9', async () => {
  const owner = await daemon.up('infra', pod);
  const user = await share('app', 'infra');
  await daemon.done({ type: 'teardown', id: 'infra' });
  await daemon.done({ type: 'connect', id: 'infra', network: 'back' });
  await daemon.done({ type: 'publish', id: 'infra', port_mappings: [port(8081, 81)] });
  await daemon.kill();
  await daemon.start();
  await daemon.get('/v1/containers/infra?wait=up&timeout=10000'); // the publish may still be arriving
  assert.is(await state('infra'), 'up (owner gone)');
  await withAgents([pathOf(user), null], async (inside, host) => {
    await inside.serve('app', 'tcp', 81);
    assert.is(await host.dial('tcp', '127.0.0.1', 8081), `app ${loopbackClient(owner, 'front')}`);
  });
  await daemon.down('app');
  await daemon.gone('infra');
});

twice('an owner that comes back unchanged takes up where it left, and another one has to wait', async () => {
  const first = await daemon.up('infra', pod);
  await share('app', 'infra');
  await daemon.done({ type: 'teardown', id: 'infra' });
  const otherwise = await daemon.event({ type: 'create', id: 'infra', networks: on('back') });
  assert.is(otherwise.body.error?.code, 'CONTAINER_EXISTS');
  assert.match(otherwise.body.error?.message ?? '', /in use by app/);
  const back = await daemon.up('infra', pod);
  assert.is(await state('infra'), 'up');
  assert.is(pathOf(back), pathOf(first));
  await daemon.down('app');
  assert.is(await state('infra'), 'up');
  await daemon.down('infra');
});

twice('when the process of an owner ends, its users keep the network', async () => {
  const child = await sleeper();
  await daemon.up('infra', { netns: { mode: 'pid', pid: child.pid! }, networks: on('front') });
  const user = await share('app', 'infra');
  child.kill('SIGKILL');
  await ended(child.pid!);
  while ((await state('infra')) !== 'up (owner gone)') await new Promise((next) => setTimeout(next, 5));
  await withAgents([pathOf(user), null], async (inside, host) => {
    await inside.serve('app', 'tcp', 80);
    const { body } = await daemon.get('/v1/containers/infra');
    assert.is(await host.dial('tcp', addressOf(body as ContainerView, 'front'), 80), 'app 10.71.0.1');
  });
  await daemon.down('app');
  await daemon.gone('infra');
});

twice('cycles are refused: a container as its own owner, and an owner as a user of its user', async () => {
  await daemon.up('infra', pod);
  await share('app', 'infra');
  const self = await daemon.event({ type: 'create', id: 'me', netns: { mode: 'container', id: 'me' } });
  assert.is(self.body.error?.code, 'BAD_REQUEST');
  await daemon.done({ type: 'teardown', id: 'infra' });
  const round = await daemon.event({ type: 'create', id: 'infra', netns: { mode: 'container', id: 'app' } });
  assert.is(round.body.error?.code, 'CONTAINER_EXISTS');
  await daemon.down('app');
  await daemon.gone('infra');
  const nobody = await daemon.event({ type: 'create', id: 'x', netns: { mode: 'container', id: 'infra' } });
  assert.is(nobody.body.error?.code, 'NO_SUCH_CONTAINER');
});

twice('an owner whose users end while the daemon is away is removed at the start', async () => {
  const child = await sleeper();
  await daemon.up('infra', pod);
  await daemon.up('app', { netns: { mode: 'container', id: 'infra' }, bound_to: child.pid! });
  await daemon.done({ type: 'teardown', id: 'infra' });
  await daemon.kill();
  child.kill('SIGKILL');
  await ended(child.pid!);
  await daemon.start();
  await daemon.gone('app');
  await daemon.gone('infra');
});

shared.run();
