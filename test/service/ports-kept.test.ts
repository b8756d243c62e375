// slow: 30 s, each port handler is tried with each way to lose a network
/**
 * Published ports belong to the container, not to its networks. While it is on no network they lead nowhere and nobody
 * else can have them; then they lead to the next network. That holds for every port handler and whatever happens in
 * between.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import type { PortHandler } from '../../state/uplink.ts';
import { on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { withAgents } from '../harness/inside.ts';
import { calm, assertComesBackTo, inspectKernel, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { rounds } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const kept = suite('ports that are kept');
const twice = rounds(kept, daemon);
let empty: Picture;
/** An IPv6 address of this host: the firewall cannot lead ::1 anywhere. */
const HOST = 'fd00:aa::1';

kept.before(async () => {
  execFileSync('ip', ['address', 'add', `${HOST}/128`, 'dev', 'lo']);
  empty = inspectKernel();
  await daemon.start();
  await daemon.network({ name: 'front', subnets: [{ subnet: '10.71.0.0/24' }, { subnet: 'fd00:71::/64' }] });
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.72.0.0/24' }, { subnet: 'fd00:72::/64' }] });
  await daemon.network({ name: 'four', subnets: [{ subnet: '10.73.0.0/24' }] });
  await calm();
});

kept.after(async () => {
  await daemon.stop();
  await assertComesBackTo(empty, () => inspectKernel());
});

const PORTS = [
  port(8080, 80),
  port(8080, 80, { protocol: 'udp' }),
  port(8081, 80, { host_ip: HOST }),
  port(8082, 80, { host_ip: '127.0.0.1' }),
];
const NOWHERE = /^container web is on no network: its published ports lead nowhere/;
type Answered = ContainerView & { warnings?: string[] };

/** Returns those of these ports that lead into the container. */
async function leading(netns: string): Promise<string[]> {
  return withAgents([netns, null], async (inside, host) => {
    await inside.serve('web', 'tcp', 80);
    await inside.serve('web', 'udp', 80);
    const ways = [
      ['tcp', '127.0.0.1', 8080],
      ['udp', '127.0.0.1', 8080],
      ['tcp', HOST, 8081],
      ['tcp', '127.0.0.1', 8082],
    ] as const;
    const found: string[] = [];
    for (const [protocol, address, number] of ways) {
      const answer = await host.dial(protocol, address, number, 300).catch(() => '');
      if (answer.startsWith('web')) found.push(`${protocol} ${number}`);
    }
    return found;
  });
}
const ALL = ['tcp 8080', 'udp 8080', 'tcp 8081', 'tcp 8082'];

for (const handler of ['firewall', 'forwarder'] as const satisfies PortHandler[]) {
  twice(`${handler}: ports survive the last network until the next one, also over kill -9 and a reload`, async () => {
    const up = await daemon.up('web', { networks: on('front'), port_mappings: PORTS, port_handler: handler });
    const path = pathOf(up);
    assert.equal(await leading(path), ALL);
    for (const disturb of [async () => {}, () => daemon.kill().then(() => daemon.start())]) {
      const last = (await daemon.done({ type: 'disconnect', id: 'web', network: 'front' })) as Answered;
      assert.match(last.warnings?.join() ?? '', NOWHERE);
      assert.equal(last.ports, up.ports);
      await disturb();
      await daemon.done({ type: 'reload', id: 'web' });
      assert.equal(await leading(path), []);
      await daemon.clean();
      const other = await daemon.event({ type: 'create', id: 'other', networks: on('back'), port_mappings: PORTS });
      assert.is(other.status, 200);
      const taken = await daemon.event({ type: 'configure', id: 'other' });
      assert.equal([taken.body.error?.code, taken.body.error?.owner], ['PORT_TAKEN', 'web']);
      await daemon.down('other');
      await daemon.done({ type: 'connect', id: 'web', network: 'back' });
      assert.equal(await leading(path), ALL);
      await daemon.clean();
      await daemon.done({ type: 'disconnect', id: 'web', network: 'back' });
      await daemon.done({ type: 'connect', id: 'web', network: 'front' });
    }
    assert.equal(await leading(path), ALL);
    await daemon.down('web');
  });

  twice(`${handler}: ports without any network can be kept, unpublished and torn down`, async () => {
    const create = { type: 'create', id: 'web', networks: {}, port_mappings: PORTS, port_handler: handler } as const;
    const created = (await daemon.done(create)) as Answered;
    assert.match(created.warnings?.join() ?? '', NOWHERE);
    const up = (await daemon.done({ type: 'configure', id: 'web' })) as Answered;
    assert.match(up.warnings?.join() ?? '', NOWHERE);
    assert.is(up.ports.length, PORTS.length);
    await daemon.clean();
    const less = await daemon.done({
      type: 'unpublish',
      id: 'web',
      port_mappings: [port(8082, 80, { host_ip: '127.0.0.1' })],
    });
    assert.is(less.ports.length, PORTS.length - 1);
    await daemon.done({ type: 'publish', id: 'web', port_mappings: [port(8082, 80, { host_ip: '127.0.0.1' })] });
    const connected = (await daemon.done({ type: 'connect', id: 'web', network: 'front' })) as Answered;
    assert.is(connected.warnings, undefined);
    assert.equal(await leading(pathOf(up)), ALL);
    await daemon.done({ type: 'disconnect', id: 'web', network: 'front' });
    await daemon.done({ type: 'teardown', id: 'web' });
    // Nothing of it is kept.
    await daemon.up('web', { networks: on('back'), port_mappings: PORTS, port_handler: handler });
    await daemon.down('web');
  });
}

twice('a port of a family that no network has any more waits as well', async () => {
  const up = await daemon.up('web', { networks: on('front'), port_mappings: PORTS });
  await daemon.done({ type: 'connect', id: 'web', network: 'four' });
  const now = await daemon.done({ type: 'disconnect', id: 'web', network: 'front' });
  assert.equal(now.ports, up.ports);
  assert.equal(
    await leading(pathOf(up)),
    ALL.filter((way) => way !== 'tcp 8081'),
  );
  await daemon.done({ type: 'connect', id: 'web', network: 'back' });
  assert.equal(await leading(pathOf(up)), ALL);
  await daemon.down('web');
});

twice('a random port keeps its number', async () => {
  const up = await daemon.up('web', { networks: on('front'), port_mappings: [{ container_port: 80 }] });
  await daemon.done({ type: 'disconnect', id: 'web', network: 'front' });
  const back = await daemon.done({ type: 'connect', id: 'web', network: 'back' });
  assert.equal(back.ports, up.ports);
  await daemon.down('web');
});

twice('aliases on a network without DNS are accepted with a warning', async () => {
  const named = { front: { aliases: ['db', 'database'] } };
  const created = (await daemon.done({ type: 'create', id: 'web', networks: named })) as Answered;
  const warning =
    'cannot set network aliases for network "front" because dns is disabled: db, database will not be found';
  assert.equal(created.warnings, [warning]);
  const up = (await daemon.done({ type: 'configure', id: 'web' })) as Answered;
  assert.is(up.warnings, undefined);
  const event = { type: 'connect', id: 'web', network: 'back', options: { aliases: ['db'] } } satisfies LifecycleEvent;
  const connected = (await daemon.done(event)) as Answered;
  assert.equal(connected.warnings, [warning.replace('front', 'back').replace('db, database', 'db')]);
  assert.is((await daemon.get('/v1/containers/web')).text.includes('warnings'), false);
  await daemon.down('web');
});

kept.run();
