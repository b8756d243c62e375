/**
 * The real containerd with cleat as its CNI plugin: `ctr run --cni` with runc and with crun.
 *
 * Limits: ctr runs plugins in its own process and has no port mappings; the CRI of containerd is not run here.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { Containerd } from '../harness/containerd.ts';
import { addressOf, TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { withAgents } from '../harness/inside.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const engine = new Containerd(daemon.socket);
const containerd = suite('containerd');

const ipam = {
  type: 'host-local',
  ranges: [[{ subnet: '10.98.0.0/24' }], [{ subnet: 'fd00:98::/64' }]],
  routes: [{ dst: '0.0.0.0/0' }],
};
const conflist = {
  cniVersion: '1.0.0',
  name: 'app',
  plugins: [
    { type: 'cleat', ipam, capabilities: { portMappings: true } },
    { type: 'tuning', sysctl: {} },
  ],
};

containerd.before(async () => {
  await daemon.start();
  await engine.start(conflist);
});
containerd.after(async () => {
  await engine.stop();
  await daemon.clean();
  await daemon.stop();
});

const view = async (id: string) => (await daemon.get<ContainerView>(`/v1/containers/${engine.cniId(id)}`)).body;
const statusOf = async (id: string) => (await daemon.get(`/v1/containers/${engine.cniId(id)}`)).status;

for (const [runtime, flags] of [
  ['runc', []],
  ['crun', ['--runc-binary', 'crun']],
] as const) {
  containerd(`ctr run --cni with ${runtime}: a network while it runs, nothing afterwards`, async () => {
    const { code, stdout, stderr } = await engine.run(
      `${runtime}1`,
      ['--rm', ...flags],
      '/usr/sbin/ip',
      '-br',
      'address',
    );
    assert.is(code, 0, stderr + engine.log());
    assert.match(stdout, /^eth0@\S+ +UP +10\.98\.0\.\d+\/24 fd00:98::[0-9a-f]+\/64/m);
    assert.is(await statusOf(`${runtime}1`), 404);
  });
}

containerd('containers that run on reach each other, survive the daemon, and start again under their id', async () => {
  const start = async (id: string) => {
    const { code, stderr } = await engine.run(id, ['-d'], '/usr/bin/sleep', '1000');
    assert.is(code, 0, stderr);
    const container = await view(id);
    assert.is(container.state, 'up');
    return container;
  };
  const [a, b] = [await start('a'), await start('b')];
  const assertReached = () =>
    withAgents([a.netns.path, b.netns.path], async (inA, inB) => {
      await inB.serve('b', 'tcp', 80);
      assert.match(await inA.dial('tcp', addressOf(b, 'app'), 80), /^b /);
      assert.match(await inA.dial('tcp', addressOf(b, 'app', 6), 80), /^b /);
    });
  await assertReached();
  await daemon.kill();
  await assertReached();
  await daemon.start();
  await assertReached();

  // ctr calls no DEL for a container that was started in the background. The id in a new namespace is a new life.
  const end = async (id: string) => {
    await engine.ctr('task', 'kill', '--signal', 'SIGKILL', id);
    await until(`${id} has ended`, async () => (await engine.ctr('task', 'delete', id)).code === 0);
    assert.is((await engine.ctr('container', 'delete', id)).code, 0);
  };
  await end('a');
  const again = await start('a');
  assert.is.not(again.generation, a.generation);
  await end('a');
  await end('b');
  await daemon.down(engine.cniId('a'), engine.cniId('b'));
});

containerd('without the daemon the container does not start, and says why', async () => {
  await daemon.stop();
  const { code, stderr } = await engine.run('late', ['--rm'], '/usr/bin/true');
  assert.is(code, 1);
  assert.match(stderr, /plugin type="cleat" failed \(add\): the daemon of cleat cannot be reached; no daemon at/);
  await daemon.start();
  await engine.ctr('container', 'delete', 'late');
});
containerd.run();
