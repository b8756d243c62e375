// slow: 60 s, daemons on hosts of their own, and leases that have to end
/**
 * Containers on two hosts, with real daemons and a real etcd: they reach each other by address and by name, and a host that is gone is
 * forgotten in time.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { OverlayView } from '../../state/answers/overlay.ts';
import { addressOf, pathOf, type TestDaemon } from '../harness/daemon.ts';
import { addHost, cut, daemonOn, Etcd, join } from '../harness/etcd.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const hosts = suite('hosts');
const TTL = 5;
const etcd = new Etcd(3);
addHost('a', '192.0.2.1');
addHost('b', '192.0.2.2');
const a = daemonOn('a', '192.0.2.1', etcd.endpoints, TTL);
const b = daemonOn('b', '192.0.2.2', etcd.endpoints, TTL);

const view = async (daemon: TestDaemon): Promise<OverlayView> =>
  (await daemon.get<OverlayView>('/v1/networks/web/overlay')).body;
const run = (netns: string, ...command: string[]): string =>
  execFileSync('nsenter', [`--net=${netns}`, '--', ...command], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
const routes = (host: string): string[] =>
  run(`/run/netns/${host}`, 'ip', 'route', 'show', 'proto', '207')
    .split('\n')
    .filter((line) => line.startsWith('10.140.') && line.includes(' dev '));

/** Resolves with the milliseconds until it is so. */
async function until(so: () => boolean | Promise<boolean>, what: string, ms = 20_000): Promise<number> {
  const began = performance.now();
  while (!(await so())) {
    if (performance.now() - began > ms) assert.unreachable(`${what}: not in ${ms} ms`);
    await sleep(10);
  }
  return performance.now() - began;
}
const PING = new URL('../../../test/harness/ping.py', import.meta.url).pathname;
const reaches = (netns: string, address: string): boolean =>
  spawnSync('nsenter', [`--net=${netns}`, '--', 'python3', PING, address, '60', '', '1']).status === 0;

hosts.before(async () => {
  await etcd.start();
  await Promise.all([a.start(), b.start()]);
  await a.network({ name: 'web', driver: 'overlay', subnets: [{ subnet: '10.140.0.0/16' }], dns_enabled: true });
  await b.network({ name: 'web', driver: 'overlay', dns_enabled: true });
  await until(
    async () => (await view(a)).peers.length === 1 && (await view(b)).peers.length === 1,
    'they know each other',
  );
});
hosts.after(async () => {
  await Promise.all([a.stop(), b.stop()]);
  await etcd.stop();
});

hosts('containers on two hosts reach each other by address, across restarts of their daemons', async () => {
  const [one, two] = [await a.up('one', { networks: { web: {} } }), await b.up('two', { networks: { web: {} } })];
  await until(() => routes('a').length === 1 && routes('b').length === 1, 'routes');
  assert.ok(reaches(pathOf(one), addressOf(two, 'web')));
  assert.ok(reaches(pathOf(two), addressOf(one, 'web')));
  await a.kill();
  assert.ok(reaches(pathOf(one), addressOf(two, 'web')), 'the daemon is not in the data path');
  await a.start();
  await until(async () => (await view(a)).state === 'holding.leased', 'leased again');
  assert.ok(reaches(pathOf(one), addressOf(two, 'web')));
  await Promise.all([a.clean(), b.clean()]);
});

/** Asks the name server of the network from inside, as a container does. */
const lookUp = (netns: string, server: string, name: string): string =>
  execFileSync('nsenter', [`--net=${netns}`, '--', process.execPath, '-e', LOOK_UP, server, name], {
    encoding: 'utf8',
  });
const LOOK_UP = `
  const { Resolver } = require('node:dns');
  const resolver = new Resolver({ timeout: 300, tries: 1 });
  resolver.setServers([process.argv[1]]);
  resolver.resolve4(process.argv[2], (error, all) => process.stdout.write(error?.code ?? all.sort().join()));
`;
const gatewayOf = (container: Pick<ContainerView, 'networks'>): string =>
  addressOf(container, 'web').replace(/\.\d+$/, '.1');

hosts('names of containers on other hosts resolve, follow them, and go with them', async () => {
  const one = (await a.get<ContainerView>('/v1/containers/one')).body;
  const two = (await b.get<ContainerView>('/v1/containers/two')).body;
  const from = (container: ContainerView, name: string) => lookUp(pathOf(container), gatewayOf(container), name);
  await until(() => from(one, 'two') === addressOf(two, 'web'), 'two is known at one');
  await until(() => from(two, 'one') === addressOf(one, 'web'), 'one is known at two');
  const late = await b.up('late', { networks: { web: { aliases: ['db'] } } });
  await until(() => from(one, 'db') === addressOf(late, 'web'), 'an alias');
  await b.down('late');
  await until(() => from(one, 'db') !== addressOf(late, 'web'), 'it is gone');
  await b.kill();
  assert.is(from(one, 'two'), addressOf(two, 'web'), 'the names of a killed daemon last as long as its lease');
  await b.start();
  await until(async () => (await view(b)).state === 'holding.leased', 'leased again');
  await sleep(TTL * 1000);
  assert.is(from(one, 'two'), addressOf(two, 'web'), 'they are of the new lease');
  const forged = `/cleat/v1/networks/web/names/${'f'.repeat(32)}/x`;
  etcd.put(forged, JSON.stringify({ id: 'x', addresses: ['10.140.0.9'], names: ['two'] }));
  await sleep(300);
  assert.is(from(one, 'two'), addressOf(two, 'web'), 'an address that is in nobody’s share does not count');
  etcd.ctl(0, 'del', forged);
  await Promise.all([a.clean(), b.clean()]);
});

hosts(
  'a host that is cut off keeps its local traffic; the others forget it within its lease and five seconds',
  async () => {
    const here = await a.up('here', { networks: { web: {} } });
    const one = (await a.get<ContainerView>('/v1/containers/one')).body;
    const began = performance.now();
    cut('a');
    await until(() => routes('b').length === 0, 'forgotten', (TTL + 5) * 1000);
    assert.ok(performance.now() - began <= (TTL + 5) * 1000);
    assert.ok(reaches(pathOf(here), addressOf(one, 'web')), 'local traffic');
    assert.is(routes('a').length, 1, 'the peers that were known last');
    join('a');
    await until(() => routes('b').length === 1, 'known again');
    const two = (await b.get<ContainerView>('/v1/containers/two')).body;
    await until(() => reaches(pathOf(here), addressOf(two, 'web')), 'reached again');
    await a.down('here');
  },
);

hosts('the store may be away: what runs goes on, also over a restart of a daemon', async () => {
  const [one, two] = [
    (await a.get<ContainerView>('/v1/containers/one')).body,
    (await b.get<ContainerView>('/v1/containers/two')).body,
  ];
  for (const n of [0, 1, 2]) etcd.signal(n, 'SIGSTOP');
  await b.kill();
  await b.start();
  await sleep(TTL * 1000);
  assert.ok(reaches(pathOf(one), addressOf(two, 'web')));
  for (const n of [0, 1, 2]) etcd.signal(n, 'SIGCONT');
  await until(
    async () => (await view(b)).state === 'holding.leased' && (await view(a)).state === 'holding.leased',
    'leased',
  );
  assert.ok(reaches(pathOf(two), addressOf(one, 'web')));
});

hosts(
  'after the last container nothing is left in the kernel, and after the network nothing in the store',
  async () => {
    await a.down('one');
    await b.down('two');
    assert.equal(routes('a'), []);
    assert.not.match(run('/run/netns/a', 'ip', 'link'), /vxlan|vx-/);
    for (const daemon of [a, b]) assert.is((await daemon.request('DELETE', '/v1/networks/web')).status, 204);
    assert.equal(
      [...etcd.all('/cleat/').keys()].filter((key) => !key.includes('/rests/')),
      [],
    );
  },
);

hosts.run();
