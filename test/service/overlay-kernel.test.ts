// slow: 30 s, daemons that start again, and a way that grows narrower
/**
 * A daemon with a network on several hosts, and a store that tells of others. Whatever it has made outlives it, is put back when others remove it, follows the width of the way, and is gone after the last container.
 *
 * Limits: the other hosts are addresses where nobody answers; test/overlay/ and test/effects/overlay.test.ts have real ones.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { OverlayView } from '../../state/answers/overlay.ts';
import { on, TestDaemon } from '../harness/daemon.ts';
import { Etcd } from '../harness/etcd.ts';
import { until } from '../harness/native.ts';
import { peerOf, sharesOf } from '../harness/overlay-hosts.ts';
import { assertComesBackTo, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

/** Where this host is reached: not where it reaches the store, so that it can lose the one without the other. */
const ADVERTISED = '192.0.2.1';
const ip = (...words: string[]): string => execFileSync('ip', words, { encoding: 'utf8' });

const overlay = suite('a daemon with an overlay');
const etcd = await Etcd.alone();
let daemon: TestDaemon;
let vxlan = '';
let own = '';

/** Has the store tell of another host, or of its end. */
function tell(n: number): void {
  const { subnets, ...claim } = peerOf(n);
  etcd.put(keyOf(n), JSON.stringify({ ...claim, generation: 1, place: `host${n}` }));
  assert.is(subnets[0], sharesOf(n)[0]);
}
const keyOf = (n: number): string => `/cleat/v1/networks/ov/subnets/10.128.${n}.0-24`;

overlay.before.each(async () => {
  ip('address', 'add', `${ADVERTISED}/32`, 'dev', 'switch0');
  daemon = new TestDaemon();
  daemon.etcd = { etcd: etcd.endpoints, advertise: ADVERTISED, etcdTtl: '5' };
  await daemon.start();
  for (const n of [2, 3]) tell(n);
  const pool = { subnet: '10.128.0.0/10' };
  const made = await daemon.network({ name: 'ov', driver: 'overlay', network_interface: 'cl-ov', subnets: [pool] });
  vxlan = `vx-${made.id.slice(0, 10)}`;
  own = made.subnets[0]?.subnet.replace('/24', '') ?? '';
  await until('both', async () => {
    const { body } = await daemon.get<OverlayView>('/v1/networks/ov/overlay');
    return body.peers.length === 2;
  });
});
overlay.after.each(async () => {
  await daemon.request('DELETE', '/v1/networks/ov');
  await daemon.stop();
  etcd.ctl(0, 'del', '--prefix', '/cleat/');
  ip('address', 'del', `${ADVERTISED}/32`, 'dev', 'switch0');
});
overlay.after(() => etcd.stop());

const shares = (): string[] =>
  ip('-4', 'route', 'show', 'proto', '207')
    .split('\n')
    .flatMap((line) => /^(10\.\S+) via/.exec(line)?.[1] ?? []);

overlay('what leads to other hosts is there with the first container, and gone with the last', async () => {
  const before = inspectKernel();
  await daemon.up('a', { networks: on('ov') });
  assert.equal(shares(), ['10.128.2.0/24', '10.128.3.0/24']);
  await daemon.clean();
  await daemon.down('a');
  await assertComesBackTo(before, inspectKernel);
});

overlay('a daemon that is killed leaves it as it is, and the next one goes on with it', async () => {
  await daemon.up('a', { networks: on('ov') });
  const whole = inspectKernel();
  await daemon.kill();
  await assertComesBackTo(whole, inspectKernel);
  await daemon.start();
  await daemon.clean();
  await assertComesBackTo(whole, inspectKernel);
  // While there was no daemon, others have removed a route, and the store has told of other hosts.
  await daemon.kill();
  ip('route', 'del', '10.128.2.0/24');
  etcd.ctl(0, 'del', keyOf(3));
  tell(4);
  await daemon.start();
  await until('both', () => shares().join() === '10.128.2.0/24,10.128.4.0/24');
  await daemon.clean();
  await daemon.down('a');
});

overlay('what others remove is put back, and the container can say what is missing until then', async () => {
  await daemon.up('a', { networks: on('ov') });
  const whole = inspectKernel();
  for (const damage of [
    ['route', 'del', '10.128.2.0/24'],
    ['route', 'del', 'unreachable', '10.128.0.0/10'],
    ['link', 'del', vxlan],
    ['link', 'set', vxlan, 'down'],
    ['address', 'del', `${own}/32`, 'dev', vxlan],
  ]) {
    ip(...damage);
    await until(damage.join(' '), () => {
      const there = shares().length === 2 && ip('route').includes('unreachable');
      return there && ip('address', 'show', 'dev', vxlan).includes(`${own}/32`);
    });
  }
  await daemon.clean();
  assert.equal(Object.keys(inspectKernel()), Object.keys(whole));
  await daemon.stop();
  daemon.drift = ['route=alert'];
  await daemon.start();
  ip('route', 'del', '10.128.3.0/24');
  await until('told', async () => (await daemon.get('/v1/containers/a/why')).text.includes('10.128.3.0/24'));
  assert.equal(shares(), ['10.128.2.0/24']);
  const { body } = await daemon.get<{ findings: { object: string; problem: string }[] }>('/v1/audit');
  assert.equal(
    body.findings.map(({ object, problem }) => `${problem}: ${object}`),
    ['missing: 10.128.3.0/24 via 10.128.3.0'],
  );
  daemon.drift = [];
  await daemon.down('a');
});

overlay('its MTU is that of the way to the other hosts, without the headers of the tunnel', async () => {
  ip('link', 'set', 'switch0', 'mtu', '1400');
  await daemon.up('a', { networks: on('ov') });
  const mtuOf = (link: string) => Number(/mtu (\d+)/.exec(ip('link', 'show', link))?.[1]);
  await until('1350', () => mtuOf('cl-ov') === 1350 && mtuOf(vxlan) === 1350);
  const wide = await daemon.request('PATCH', '/v1/networks/ov', { options: { mtu: '1351' } });
  assert.equal([wide.status, wide.body.error?.code], [400, 'BAD_REQUEST']);
  assert.match(wide.body.error?.message ?? '', /1351 does not fit.* 1350$/);
  ip('link', 'set', 'switch0', 'mtu', '1500');
  await until('1450', () => mtuOf('cl-ov') === 1450 && mtuOf(vxlan) === 1450);
  await daemon.clean();
  await daemon.down('a');
});

overlay('an address that the host has lost refuses new containers with a reason', async () => {
  ip('address', 'del', `${ADVERTISED}/32`, 'dev', 'switch0');
  await daemon.done({ type: 'create', id: 'a', networks: on('ov') });
  const { status, body } = await daemon.event({ type: 'configure', id: 'a' });
  assert.equal([status, body.error?.code], [409, 'VTEP_ADDRESS_MISSING']);
  ip('address', 'add', `${ADVERTISED}/32`, 'dev', 'switch0');
  await daemon.done({ type: 'configure', id: 'a' });
  assert.equal(shares().length, 2);
  await daemon.down('a');
});

overlay('a damaged list of other hosts is set aside, and stops nothing', async () => {
  await daemon.stop();
  writeFileSync(join(daemon.stateDir, 'peers', 'ov.json'), '{"version":1,"peers":[{"host":"x"}]}');
  await daemon.start();
  assert.match((await daemon.get('/v1/doctor')).text, /peers\/ov\.json\.unreadable/);
  await until('open', async () => (await daemon.event({ type: 'create', id: 'a', networks: on('ov') })).status === 200);
  await until('attached', async () => (await daemon.event({ type: 'configure', id: 'a' })).status === 200);
  await until('told anew', () => shares().length === 2);
  await daemon.down('a');
});

overlay.run();
