// slow: 20 s, pictures of three namespaces are compared until they are as before
/**
 * Several outside namespaces under one daemon have the same networks, each with a bridge, a table and addresses of its
 * own. A change in one is not visible in another, nor in the daemon's own namespace.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addressOf, on, port, TestDaemon } from '../harness/daemon.ts';
import { addNetns, removeNetns, withAgents } from '../harness/inside.ts';
import { assertComesBackTo, inspect, inspectKernel, ipJson, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const outsides = suite('outsides');
let [x, y] = ['', ''];

outsides.before(async () => {
  [x, y] = [addNetns('x'), addNetns('y')];
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }] });
});
outsides.after(async () => {
  await daemon.stop();
});

/** A test that fails removes its containers. */
function check(name: string, body: () => Promise<void>): void {
  outsides(name, async () => {
    try {
      await body();
    } catch (error) {
      await clear(daemon);
      throw error;
    }
  });
}

const look = (): Picture => inspect(daemon, x, y);
const kernel = ({ mounts: _mounts, ...rest }: Picture): Picture => rest;

for (const round of ['first', 'second']) {
  check(`two outsides can have the same networks and ports, ${round} time`, async () => {
    const before = look();
    const here = kernel(inspectKernel());
    // The address is requested: an outside that was released chooses from the beginning again, one that was not goes
    // on.
    const create = { networks: { web: { static_ips: ['10.70.0.9'] } }, port_mappings: [port(8080, 80)] };
    const [a, b] = await Promise.all([
      daemon.up('a', { outside: x, ...create }),
      daemon.up('b', { outside: y, ...create }),
    ]);
    assert.equal([a.outside, b.outside], [x, y]);
    assert.is(addressOf(a, 'web'), addressOf(b, 'web'));
    assert.equal(kernel(inspectKernel()), here);
    await withAgents([a.netns.path, b.netns.path, x, y, null], async (inA, inB, inX, inY, host) => {
      await inA.serve('a', 'tcp', 80);
      await inB.serve('b', 'tcp', 80);
      assert.is(await inX.dial('tcp', addressOf(a, 'web'), 80), 'a 10.70.0.1');
      assert.is(await inY.dial('tcp', addressOf(b, 'web'), 80), 'b 10.70.0.1');
      assert.is(await inX.dial('tcp', '127.0.0.1', 8080), 'a 10.70.0.1');
      assert.is(await inY.dial('tcp', '127.0.0.1', 8080), 'b 10.70.0.1');
      assert.is(await host.dial('tcp', '127.0.0.1', 8080), 'ECONNREFUSED');
      assert.is(await host.dial('tcp', addressOf(a, 'web'), 80), 'ENETUNREACH');
    });
    assert.is((await daemon.get<{ clean: boolean }>('/v1/audit')).body.clean, true);
    const beside = inspectKernel(y);
    await daemon.down('a');
    assert.equal(kernel(inspectKernel(y)), kernel(beside));
    await daemon.down('b');
    await assertComesBackTo(before, look);
  });
}

check('a port that a process in the outside listens on is taken there, and free elsewhere', async () => {
  const before = look();
  await withAgents([x], async (inX) => {
    await inX.serve('x', 'tcp', 8080);
    const create = { networks: on('web'), port_mappings: [port(8080, 80)] };
    await daemon.done({ type: 'create', id: 'a', outside: x, ...create });
    const { body } = await daemon.event({ type: 'configure', id: 'a' });
    assert.is(body.error?.code, 'PORT_TAKEN');
    assert.is(body.error?.owner, `pid ${inX.pid} (node)`);
    await daemon.up('b', { outside: y, ...create });
  });
  await daemon.down('a', 'b');
  await assertComesBackTo(before, look);
});

check('containers of an outside go on when the daemon is started again', async () => {
  const before = look();
  const a = await daemon.up('a', { outside: x, networks: on('web') });
  const links = (netns: string) =>
    ipJson<{ ifname: string; ifindex: number }[]>(netns, 'link').map((link) => [link.ifname, link.ifindex]);
  const there = links(x);
  await daemon.kill();
  await daemon.start();
  const again = await daemon.get('/v1/containers/a?wait=up');
  assert.equal([again.body.state, again.body.outside, again.body.networks], ['up', x, a.networks]);
  assert.equal(links(x), there);
  await daemon.down('a');
  await assertComesBackTo(before, look);
});

check('an outside that was removed while the daemon was stopped does not block its containers', async () => {
  const z = addNetns('z');
  const before = inspect(daemon);
  await daemon.up('a', { outside: z, networks: on('web'), port_mappings: [port(8080, 80)] });
  await daemon.stop();
  removeNetns('z');
  await daemon.start();
  const teardown = await daemon.event({ type: 'teardown', id: 'a' });
  assert.is(teardown.status, 200, teardown.text);
  await daemon.gone('a');
  const { mounts: _mounts, ...rest } = before;
  await assertComesBackTo(rest, () => kernel(inspect(daemon)));
});

check('an outside that was removed under a running daemon does not block its containers', async () => {
  const z = addNetns('zz');
  const { mounts: _mounts, ...before } = inspect(daemon);
  await daemon.up('a', { outside: z, networks: on('web') });
  removeNetns('zz');
  await daemon.down('a');
  await assertComesBackTo(before, () => kernel(inspect(daemon)));
});

outsides.run();
