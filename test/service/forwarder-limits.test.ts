/**
 * The limits of a container in the forwarder, as an operator sets and sees them: the daemon's option, which also
 * reaches a running forwarder, and the stats of the container.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { forwarderLimits } from '../../state/forwarder.ts';
import type { ContainerStats } from '../../state/answers/container/stats.ts';
import { on, TestDaemon } from '../harness/daemon.ts';
import { agentIn } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const limits = suite('limits of the forwarder');

limits.before(async () => {
  daemon.forwarderLimits = ['connections=4', 'flows=100'];
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.77.0.0/24' }] });
});
limits.after(async () => {
  await daemon.stop();
});

const forwarderOf = async (id: string): Promise<ContainerStats['forwarder']> =>
  (await daemon.get<ContainerStats>(`/v1/containers/${id}/stats`)).body.forwarder;

limits('the option applies to a forwarder that starts, and to one that runs already', async () => {
  const mapping = { host_port: 8080, container_port: 80 };
  const web = await daemon.up('web', {
    networks: on('web'),
    port_mappings: [mapping, { ...mapping, host_port: 8081 }],
    port_handler: 'forwarder',
  });
  await daemon.up('plain', { networks: on('web') });
  const server = await agentIn(web.netns.path);
  await server.serve('web', 'tcp', 80);
  const none = { connections: 0, most_connections: 4, flows: 0, most_flows: 100, full: [] };
  assert.equal(await forwarderOf('web'), none);
  assert.is(await forwarderOf('plain'), null);

  // Accepted and closed by the server, they stay open until the clients close them.
  const clients = Array.from({ length: 3 }, () => connect({ port: 8080, host: '127.0.0.1', allowHalfOpen: true }));
  await Promise.all(clients.map((client) => once(client, 'connect')));
  await until('one waits', async () => (await forwarderOf('web'))?.full.length === 1);
  assert.equal(await forwarderOf('web'), { ...none, connections: 2, full: ['8080/tcp'] });
  const { body } = await daemon.get<ContainerStats[]>('/v1/stats');
  const all = new Map(body.map(({ id, forwarder }) => [id, forwarder]));
  assert.is(all.get('web')?.connections, 2);
  assert.is(all.get('plain'), null);

  // The next daemon changes one of the limits, and does not set the other.
  await daemon.kill();
  daemon.forwarderLimits = ['connections=20'];
  await daemon.start();
  await until('the forwarder is told', async () => (await forwarderOf('web'))?.most_connections === 20);
  await until('who waited is served', async () => (await forwarderOf('web'))?.connections === 3);
  assert.equal(await forwarderOf('web'), { ...none, connections: 3, most_connections: 20, most_flows: 8192 });
  for (const client of clients) client.destroy();
  server.stop();
  await daemon.down('web', 'plain');
});

limits('an invalid limit is refused', () => {
  assert.equal(forwarderLimits([]), {});
  assert.equal(forwarderLimits(['flows=1', 'half_closed=604800', 'flows=2']), { flows: 2, half_closed: 604_800 });
  for (const word of [
    '',
    'flows',
    'flows=',
    'flows=0',
    'flows=-1',
    'flows=1.5',
    'flows=1=1',
    'flow=1',
    'flows=1000001',
  ]) {
    assert.throws(
      () => forwarderLimits([word]),
      (error: Error) => error.message.startsWith(`forwarder limit ${word}:`),
    );
  }
});

limits.run();
