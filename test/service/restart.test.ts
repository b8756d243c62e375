// slow: 30 s, the daemon is stopped or killed, and started again, in each case
// as user: proving
/**
 * The daemon is stopped, killed and started again under containers that are up: nothing of theirs is touched, and the
 * daemon handles what happened meanwhile.
 *
 * Limits: the crash tests kill at every single step of an operation; damaged files are in damage.test.ts.
 */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NetworkDefinition } from '../../state/network.ts';
import { asAnswered, on, port, TestDaemon } from '../harness/daemon.ts';
import { endSleepers, sleeper } from '../harness/inside.ts';
import { calm, assertComesBackTo, inspectKernel, ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { rounds } from '../harness/rounds.ts';
import { Transfer } from '../harness/transfer.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const restart = suite('restart');
const twice = rounds(restart, daemon);

restart.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }] });
});
restart.after(async () => {
  endSleepers();
  await daemon.stop();
});

const WAYS = { stopped: () => daemon.stop(), killed: () => daemon.kill() };
for (const [how, end] of Object.entries(WAYS)) {
  twice(
    `${how} and started, the daemon keeps containers, addresses and links, and a transfer loses no byte`,
    async () => {
      const web = await daemon.up('web', { networks: on('web', 'cleat'), port_mappings: [port(8080, 80)] });
      await daemon.done({ type: 'create', id: 'waiting', networks: on('web') });
      await calm();
      const kernel = inspectKernel();
      const indices = ipJson<{ ifname: string; ifindex: number }[]>(undefined, 'link').map(({ ifname, ifindex }) => [
        ifname,
        ifindex,
      ]);
      const transfer = await Transfer.start(web.netns.path ?? '', 80, '127.0.0.1', 8080);
      await sleep(100);
      const first = transfer.bytes;
      await end();
      await sleep(100);
      const second = transfer.bytes;
      await daemon.start();
      await sleep(100);
      const total = await transfer.stop();
      assert.ok(0 < first && first < second && second < total, `${first} ${second} ${total}`);
      const { body } = await daemon.get('/v1/containers/web?wait=up');
      assert.equal(asAnswered(body), web);
      assert.is((await daemon.get('/v1/containers/waiting?wait=created')).body.state, 'created');
      await assertComesBackTo(kernel, () => inspectKernel());
      assert.equal(
        ipJson<{ ifname: string; ifindex: number }[]>(undefined, 'link').map(({ ifname, ifindex }) => [
          ifname,
          ifindex,
        ]),
        indices,
      );
      assert.is((await daemon.get<{ clean: boolean }>('/v1/audit')).body.clean, true);
      await daemon.done({ type: 'configure', id: 'waiting' });
      await daemon.down('web', 'waiting');
    },
  );
}

twice('a process that ended meanwhile takes its network with it at the start', async () => {
  const child = await sleeper();
  await daemon.up('bound', { networks: on('web'), bound_to: child.pid! });
  const joined = await sleeper();
  await daemon.up('joined', { netns: { mode: 'pid', pid: joined.pid! }, networks: on('web') });
  await daemon.stop();
  for (const one of [child, joined]) {
    one.kill('SIGKILL');
    await once(one, 'exit');
  }
  await daemon.start();
  await Promise.all([daemon.gone('bound'), daemon.gone('joined')]);
});

twice('a process that lives on is watched again', async () => {
  const child = await sleeper();
  await daemon.up('bound', { networks: on('web'), bound_to: child.pid! });
  await daemon.kill();
  await daemon.start();
  assert.is((await daemon.get('/v1/containers/bound?wait=up')).body.state, 'up');
  child.kill('SIGKILL');
  await once(child, 'exit');
  await daemon.gone('bound');
});

twice('addresses and ports of containers that are up are not given to others after a start', async () => {
  const wish = { networks: { web: { static_ips: ['10.70.0.9'] } }, port_mappings: [port(8080, 80)] };
  const ports = [...wish.port_mappings, port(9000, 9000, { range: 10, protocol: 'udp' })];
  await daemon.up('first', { ...wish, port_mappings: ports });
  await daemon.kill();
  await daemon.start();
  await daemon.done({ type: 'create', id: 'second', ...wish });
  assert.is((await daemon.event({ type: 'configure', id: 'second' })).body.error?.code, 'ADDRESS_TAKEN');
  for (const taken of [port(8080, 80), port(9000, 1, { protocol: 'udp' }), port(9009, 1, { protocol: 'udp' })]) {
    await daemon.done({ type: 'create', id: 'third', networks: on('web'), port_mappings: [taken] });
    const { body } = await daemon.event({ type: 'configure', id: 'third' });
    assert.is(body.error?.code, 'PORT_TAKEN', JSON.stringify(taken));
    await daemon.down('third');
  }
  await daemon.down('first', 'second');
});

restart('network definitions survive with id and bridge, and a removed one stays removed', async () => {
  await daemon.network({ name: 'brief' });
  const list = async () => (await daemon.get<NetworkDefinition[]>('/v1/networks')).body;
  const before = await list();
  await daemon.kill();
  await daemon.start();
  assert.equal(await list(), before);
  await daemon.request('DELETE', '/v1/networks/brief');
  await daemon.kill();
  await daemon.start();
  assert.equal(
    await list(),
    before.filter(({ name }) => name !== 'brief'),
  );
});

restart('a stop ends open streams, removes the socket and touches nothing', async () => {
  const web = await daemon.up('web', { networks: on('web'), port_mappings: [port(8080, 80)] });
  await calm();
  const before = inspectKernel();
  const following = daemon.get('/v1/events').catch(() => 'cut');
  await sleep(50);
  assert.is(await daemon.stop(), 0);
  assert.ok(await following);
  assert.is(existsSync(daemon.socket), false);
  assert.equal(inspectKernel(), before);
  await daemon.start();
  assert.equal(asAnswered((await daemon.get('/v1/containers/web?wait=up')).body), web);
  await daemon.down('web');
});

restart('an answered change is there after a kill, even if no effect had to run', async () => {
  await daemon.done({ type: 'create', id: 'later', networks: {} });
  for (let i = 0; i < 3; i++) {
    const id = `host${i}`;
    await daemon.done({ type: 'create', id, netns: { mode: 'host' } });
    await daemon.kill(); // at once: no write may be outstanding
    await daemon.start();
    assert.is((await daemon.get(`/v1/containers/${id}`)).body.state, 'created');
  }
  await daemon.done({ type: 'connect', id: 'later', network: 'web' });
  await daemon.kill();
  await daemon.start();
  assert.equal((await daemon.get('/v1/containers/later')).body.requested_networks, on('web'));
  await daemon.down('later', 'host0', 'host1', 'host2');
});

restart.run();
