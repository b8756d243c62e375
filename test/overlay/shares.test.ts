// slow: 60 s, leases have to end, and shares to rest
/**
 * Shares of an overlay, with real daemons on hosts of their own and a real etcd: who has which, and what happens when the store, a
 * daemon or a disk is not as it was.
 */
import { cpSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Why } from '../../state/answers/container/why.ts';
import type { OverlayView } from '../../state/answers/overlay.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Claim } from '../../state/overlay.ts';
import type { TestDaemon } from '../harness/daemon.ts';
import { addHost, cut, daemonOn, Etcd, join } from '../harness/etcd.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const shares = suite('shares');
const TTL = 5;

const etcd = new Etcd(3);
addHost('a', '192.0.2.1');
addHost('b', '192.0.2.2');
const a = daemonOn('a', '192.0.2.1', etcd.endpoints, TTL);
const b = daemonOn('b', '192.0.2.2', etcd.endpoints, TTL);

const view = async (daemon: TestDaemon, name = 'web'): Promise<OverlayView> =>
  (await daemon.get<OverlayView>(`/v1/networks/${name}/overlay`)).body;
const definition = async (daemon: TestDaemon, name = 'web'): Promise<NetworkDefinition> =>
  (await daemon.get<NetworkDefinition>(`/v1/networks/${name}`)).body;

async function until<T>(look: () => Promise<T>, so: (value: T) => boolean, ms = 20_000): Promise<T> {
  const end = performance.now() + ms;
  for (;;) {
    const value = await look();
    if (so(value)) return value;
    if (performance.now() > end) assert.unreachable(`not in ${ms} ms: ${JSON.stringify(value)}`);
    await sleep(50);
  }
}
const isLeased = ({ state }: OverlayView) => state === 'holding.leased';
const claims = (): Map<string, Claim> =>
  new Map(
    [...etcd.all('/cleat/v1/networks/web/subnets/')].map(([key, value]) => [
      (key.split('/').at(-1) ?? '').replace('-', '/'),
      JSON.parse(value) as Claim,
    ]),
  );

/** The first address of the overlay in an answer. */
const addressOf = (networks: unknown): string => /10\.140\.\d+\.\d+/.exec(JSON.stringify(networks))?.[0] ?? '';

/** Another host claims a share, although it rests. */
function takeOver(share: string): void {
  etcd.ctl(0, 'del', '--prefix', '/cleat/v1/networks/web/rests/');
  const thief = { host: '0'.repeat(32), address: '192.0.2.9', mac: '02:00:00:00:00:09', generation: 1, place: 'x' };
  etcd.put(`/cleat/v1/networks/web/subnets/${share.replace('/', '-')}`, JSON.stringify(thief));
}
const giveBack = (share: string): void =>
  void etcd.ctl(0, 'del', `/cleat/v1/networks/web/subnets/${share.replace('/', '-')}`);

shares.before(async () => {
  await etcd.start();
  await Promise.all([a.start(), b.start()]);
});
shares.after(async () => {
  await Promise.all([a.stop(), b.stop()]);
  await etcd.stop();
});

shares('the first host says what the overlay is, the second one takes it as it is, and each has a share', async () => {
  const first = await a.network({ name: 'web', driver: 'overlay', subnets: [{ subnet: '10.140.0.0/16' }] });
  const second = await b.network({ name: 'web', driver: 'overlay' });
  assert.is(first.id, second.id);
  assert.is(first.overlay?.vni, second.overlay?.vni);
  assert.equal(second.overlay?.pools, ['10.140.0.0/16']);
  const [mine, theirs] = [first.subnets[0]?.subnet ?? '', second.subnets[0]?.subnet ?? ''];
  assert.is.not(mine, theirs);
  assert.match(mine, /^10\.140\.\d+\.0\/24$/);
  assert.is(first.subnets[0]?.gateway, mine.replace('.0/24', '.1'));
  assert.equal([...claims().keys()].sort(), [mine, theirs].sort());
  const { peers } = await until(
    () => view(a),
    ({ peers: all }) => all.length === 1,
  );
  assert.equal(peers, [
    { host: (await view(b)).host, address: '192.0.2.2', mac: second.overlay?.mac, subnets: [theirs] },
  ]);
});

shares('what does not agree, or cannot be, is refused and changes nothing', async () => {
  const before = JSON.stringify([...etcd.all()]);
  const refused = async (request: object) => {
    const { body } = await b.request('POST', '/v1/networks', { driver: 'overlay', ...request });
    return `${body.error?.code} ${body.error?.message}`;
  };
  assert.match(await refused({ name: 'web' }), /NETWORK_EXISTS/);
  await b.request('DELETE', '/v1/networks/web');
  await sleep(300);
  const without = JSON.stringify([...etcd.all()].filter(([key]) => !key.includes('rests')));
  assert.match(
    await refused({ name: 'web', overlay: { vni: 7 } }),
    /OVERLAY_DIFFERS overlay web exists with VNI \d+, not 7/,
  );
  assert.match(
    await refused({ name: 'web', subnets: [{ subnet: '10.141.0.0/16' }] }),
    /OVERLAY_DIFFERS .* pools 10.140.0.0/,
  );
  assert.match(await refused({ name: 'web', ipv6_enabled: true }), /OVERLAY_DIFFERS .*IPv6/);
  assert.match(await refused({ name: 'x', overlay: { backend: 'geneve' } }), /BAD_REQUEST .*backend/);
  assert.match(
    await refused({ name: 'x', subnets: [{ subnet: '10.142.0.0/25' }] }),
    /BAD_REQUEST pool .* no shares of \/24/,
  );
  assert.match(await refused({ name: 'x', subnets: [{ subnet: '10.89.0.0/16' }] }), /SUBNET_OVERLAPS .* network cleat/);
  assert.match(await refused({ name: 'x', options: { vlan: '5', bclim: '3' } }), /BAD_REQUEST/);
  assert.is(JSON.stringify([...etcd.all()].filter(([key]) => !key.includes('rests'))), without);
  const back = await b.network({ name: 'web', driver: 'overlay' });
  assert.is(JSON.stringify([...etcd.all()].map(([key]) => key)).length > 0, true);
  assert.ok(before.length > 0 && back.subnets.length === 1);
});

shares('a daemon that is killed takes its share over at once, with the same lease time', async () => {
  const before = await definition(a);
  const generation = claims().get(before.subnets[0]?.subnet ?? '')?.generation ?? 0;
  await a.kill();
  await a.start();
  await until(() => view(a), isLeased);
  assert.equal((await definition(a)).subnets, before.subnets);
  assert.is(claims().get(before.subnets[0]?.subnet ?? '')?.generation, generation + 1);
});

shares(
  'a host that is cut off from the store is fenced in time, attaches nothing, and goes on when it is back',
  async () => {
    await a.up('before', { networks: { web: {} } });
    cut('a');
    const began = performance.now();
    const fenced = await until(
      () => view(a),
      ({ state }) => state === 'fenced',
    );
    assert.ok(performance.now() - began <= TTL * 1000, 'before the lease may have ended');
    assert.is(fenced.fault?.code, 'OVERLAY_FENCED');
    await a.done({ type: 'create', id: 'later', networks: { web: {} } });
    const { body } = await a.event({ type: 'configure', id: 'later' });
    assert.is(body.error?.code, 'OVERLAY_FENCED', JSON.stringify(body));
    const members = /no member of etcd answers: http:\/\/192.0.2.20\d:2379: .*; http:.*; http:/;
    assert.match(body.error?.message ?? '', members, 'what each member has answered');
    const { outage, closed_since: closed, lease_ends: ends } = await view(a);
    assert.match(outage?.why ?? '', members);
    assert.ok((outage?.since ?? Infinity) <= (closed ?? 0), 'first etcd, and then the fence');
    assert.ok(ends === null || ends - (closed ?? 0) < TTL * 1000, `${closed} ${ends}`);
    const why = (await a.get<Why>('/v1/containers/later/why')).body;
    assert.match(
      why.verdict,
      /configure failed: nothing can be attached to network web now: .*no member of etcd answers/,
    );
    assert.match(JSON.stringify(why.parts), /nothing was attached since \d s ago; etcd began not to answer \d+ s ago/);
    assert.match((await a.get('/v1/doctor')).text, /overlay web.*no member of etcd answers/);
    join('a');
    await until(() => view(a), isLeased);
    await until(
      () => view(a),
      (one) => one.outage === null,
    );
    const lines = a
      .log()
      .split('\n')
      .filter((line) => line.includes('etcd, for network web'));
    assert.is(lines.length, 2, lines.join('\n'));
    assert.match(lines[0] ?? '', members);
    assert.match(lines[1] ?? '', /etcd, for network web: answers again, after \d+ s/);
    assert.is((await view(a)).closed_since, null);
    await a.done({ type: 'configure', id: 'later' });
    await a.down('later', 'before');
  },
);

shares('a share whose lease has ended is claimed again; one that is somebody else’s by then is given up', async () => {
  const before = await definition(a);
  const [share = ''] = before.subnets.map(({ subnet }) => subnet);
  const was = await a.up('kept', { networks: { web: {} } });
  cut('a');
  await until(
    async () => claims().has(share),
    (has) => !has,
  );
  join('a');
  await until(() => view(a), isLeased);
  assert.equal((await definition(a)).subnets, before.subnets, 'it rested for whoever had it');
  cut('a');
  await until(
    async () => claims().has(share),
    (has) => !has,
  );
  takeOver(share);
  join('a');
  const { shares: now } = await until(
    () => view(a),
    (one) => isLeased(one) && one.shares[0] !== share,
  );
  const after = await definition(a);
  assert.equal(
    after.subnets.map(({ subnet }) => subnet),
    now,
  );
  const moved = await until(
    async () => addressOf((await a.get('/v1/containers/kept')).body.networks),
    (address) => address !== addressOf(was.networks),
  );
  assert.is(moved.split('.')[2], now[0]?.split('.')[2]);
  assert.equal((await view(a)).renumbered?.from, [share]);
  const why = (await a.get<Why>('/v1/containers/kept/why')).body;
  assert.ok(
    JSON.stringify(why.parts).includes(`addresses of ${now[0]} in place of ${share}`),
    JSON.stringify(why.parts),
  );
  const { peers } = await until(
    () => view(a),
    ({ peers: all }) => all.length === 2,
  );
  assert.equal(peers.map(({ address }) => address).sort(), ['192.0.2.2', '192.0.2.9']);
  giveBack(share);
  await a.clean();
  await a.down('kept');
});

shares(
  'a daemon that was stopped for longer than its lease attaches nothing with the addresses that it had',
  async () => {
    const { shares: had } = await until(() => view(b), isLeased);
    const [share = ''] = had;
    process.kill(b.pid, 'SIGSTOP');
    await until(
      async () => claims().has(share),
      (has) => !has,
    );
    takeOver(share);
    const asked = b.up('stopped', { networks: { web: {} } }).then(
      ({ networks }) => addressOf(networks),
      (error: Error) => error.message,
    );
    process.kill(b.pid, 'SIGCONT');
    const said = await asked;
    const [prefix = ''] = share.split('.0/');
    assert.ok(said.includes('OVERLAY_FENCED') || !said.startsWith(`${prefix}.`), said);
    await until(
      () => view(b),
      (one) => isLeased(one) && one.shares[0] !== share,
    );
    giveBack(share);
    await b.down('stopped');
  },
);

shares('a copy of a disk takes an id and a share of its own, and the original keeps both', async () => {
  const original = await until(() => view(a), isLeased);
  addHost('c', '192.0.2.3');
  const c = daemonOn('c', '192.0.2.3', etcd.endpoints, TTL);
  cpSync(a.stateDir, c.stateDir, { recursive: true });
  await c.start();
  const copy = await until(() => view(c), isLeased, 40_000);
  assert.is.not(copy.host, original.host);
  assert.is.not(copy.shares[0], original.shares[0]);
  assert.equal(
    (await definition(c)).subnets.map(({ subnet }) => subnet),
    copy.shares,
  );
  const { host, shares: kept } = await view(a);
  assert.equal([host, kept], [original.host, original.shares]);
  await c.request('DELETE', '/v1/networks/web');
  await c.stop();
});

shares('foreign and damaged keys are left out alone, and said once', async () => {
  const [share = ''] = (await view(b)).shares;
  const prefix = '/cleat/v1/networks/web';
  const other = { ...claims().get(share), host: '1'.repeat(32), mac: '02:00:00:00:00:08' };
  etcd.put(`${prefix}/subnets/10.140.250.0-24`, '{"host":');
  etcd.put(`${prefix}/subnets/10.99.0.0-24`, JSON.stringify(other));
  etcd.put(`${prefix}/other`, 'x');
  etcd.put(`${prefix}/subnets/nonsense`, '\\0');
  const seen = await until(
    () => view(a),
    ({ refused }) => Object.keys(refused).length === 4,
  );
  assert.equal(
    seen.peers.map(({ address }) => address),
    ['192.0.2.2'],
  );
  for (const why of [/no JSON/, /not a key of cleat/, /in no pool/]) assert.match(JSON.stringify(seen.refused), why);
  const told = a.log().split('\n');
  assert.is(told.filter((line) => line.includes('10.140.250.0-24 in etcd is left out')).length, 1);
  for (const key of ['subnets/10.140.250.0-24', 'subnets/10.99.0.0-24', 'other', 'subnets/nonsense'])
    etcd.ctl(0, 'del', `${prefix}/${key}`);
});

shares('in a pool that is full by hand, without rests, it is said that no share is left', async () => {
  await a.network({ name: 'small', driver: 'overlay', subnets: [{ subnet: '10.141.0.0/22' }] });
  const own = (await view(a, 'small')).shares[0] ?? '';
  const others = [0, 1, 2, 3].map((n) => `10.141.${n}.0-24`).filter((key) => key !== own.replace('/', '-'));
  const thief = { host: '0'.repeat(32), address: '192.0.2.9', mac: '02:00:00:00:00:09', generation: 1, place: 'x' };
  const keys = others.map((key) => `/cleat/v1/networks/small/subnets/${key}`);
  for (const key of keys) etcd.put(key, JSON.stringify(thief));
  const { body } = await b.request('POST', '/v1/networks', { name: 'small', driver: 'overlay' });
  assert.is(body.error?.code, 'NO_SHARE_LEFT', body.error?.message);
  for (const key of keys) etcd.ctl(0, 'del', key);
  assert.is((await a.request('DELETE', '/v1/networks/small')).status, 204);
});

shares('the last host that leaves takes the overlay with it', async () => {
  for (const daemon of [a, b]) assert.is((await daemon.request('DELETE', '/v1/networks/web')).status, 204);
  assert.equal(
    [...etcd.all('/cleat/').keys()].filter((key) => !key.includes('/rests/')),
    [],
  );
});

shares('without a store a daemon starts, serves its local networks, and says what it lacks', async () => {
  await a.network({ name: 'web', driver: 'overlay', subnets: [{ subnet: '10.140.0.0/16' }] });
  await a.stop();
  cut('a');
  await a.start();
  await a.up('local', { networks: { cleat: {} } });
  const { body } = await a.request('POST', '/v1/networks', { name: 'other', driver: 'overlay' });
  assert.is(body.error?.code, 'STORE_UNREACHABLE');
  assert.match(body.error?.message ?? '', /no member of etcd answers: http:/);
  assert.match((await a.get('/v1/doctor')).text, /overlay web/);
  join('a');
  await until(() => view(a), isLeased);
  await a.down('local');
});

shares.run();
