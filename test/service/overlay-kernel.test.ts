// slow: 30 s, daemons that start again, and a way that grows narrower
/**
 * A daemon with a network on several hosts, and no store: it goes on with the hosts that it was told of last. Whatever it has made
 * outlives it, is put back when others remove it, follows the width of the way, and is gone after the last container.
 *
 * Limits: the other hosts are addresses where nobody answers; test/effects/overlay.test.ts has real ones.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { overlayOf, peerOf } from '../harness/overlay-hosts.ts';
import { assertComesBackTo, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const VXLAN = 'vx-6f76000000';
const ip = (...words: string[]): string => execFileSync('ip', words, { encoding: 'utf8' });

const overlay = suite('a daemon with an overlay');
let daemon: TestDaemon;

/** Gives the daemon a network as it would be on disk, and what it was told of other hosts. */
function remember({ peers, ...network }: ReturnType<typeof overlayOf>, directory: string): void {
  for (const name of ['networks', 'peers']) mkdirSync(join(directory, name), { recursive: true, mode: 0o700 });
  writeFileSync(join(directory, 'networks', 'ov.json'), JSON.stringify({ ...network, options: {} }));
  writeFileSync(join(directory, 'peers', 'ov.json'), JSON.stringify({ version: 1, peers }));
}

overlay.before.each(async () => {
  ip('link', 'add', 'eth0', 'up', 'type', 'ifb');
  ip('address', 'add', '192.0.2.1/24', 'dev', 'eth0');
  daemon = new TestDaemon();
  mkdirSync(daemon.stateDir, { recursive: true, mode: 0o700 });
  remember(overlayOf(1, [peerOf(2), peerOf(3)]), daemon.stateDir);
  await daemon.start();
});
overlay.after.each(async () => {
  await daemon.stop();
  ip('link', 'del', 'eth0');
});

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
  remember(overlayOf(1, [peerOf(2), peerOf(4)]), daemon.stateDir);
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
    ['link', 'del', VXLAN],
    ['link', 'set', VXLAN, 'down'],
    ['address', 'del', '10.128.1.0/32', 'dev', VXLAN],
  ]) {
    ip(...damage);
    await until(damage.join(' '), () => {
      const there = shares().length === 2 && ip('route').includes('unreachable');
      return there && ip('address', 'show', 'dev', VXLAN).includes('10.128.1.0/32');
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
  ip('link', 'set', 'eth0', 'mtu', '1400');
  await daemon.up('a', { networks: on('ov') });
  const mtuOf = (link: string) => Number(/mtu (\d+)/.exec(ip('link', 'show', link))?.[1]);
  await until('1350', () => mtuOf('cl-ov') === 1350 && mtuOf(VXLAN) === 1350);
  const wide = await daemon.request('PATCH', '/v1/networks/ov', { options: { mtu: '1351' } });
  assert.equal([wide.status, wide.body.error?.code], [400, 'BAD_REQUEST']);
  assert.match(wide.body.error?.message ?? '', /1351 does not fit.* 1350$/);
  ip('link', 'set', 'eth0', 'mtu', '9000');
  await until('8950', () => mtuOf('cl-ov') === 8950 && mtuOf(VXLAN) === 8950);
  await daemon.clean();
  await daemon.down('a');
});

overlay('an address that the host has lost refuses new containers with a reason', async () => {
  ip('address', 'del', '192.0.2.1/24', 'dev', 'eth0');
  await daemon.done({ type: 'create', id: 'a', networks: on('ov') });
  const { status, body } = await daemon.event({ type: 'configure', id: 'a' });
  assert.equal([status, body.error?.code], [409, 'VTEP_ADDRESS_MISSING']);
  ip('address', 'add', '192.0.2.1/24', 'dev', 'eth0');
  await daemon.done({ type: 'configure', id: 'a' });
  assert.equal(shares().length, 2);
  await daemon.down('a');
});

overlay('a damaged list of other hosts is set aside, and stops nothing', async () => {
  await daemon.stop();
  writeFileSync(join(daemon.stateDir, 'peers', 'ov.json'), '{"version":1,"peers":[{"host":"x"}]}');
  await daemon.start();
  await daemon.up('a', { networks: on('ov') });
  assert.equal(shares(), []);
  assert.match((await daemon.get('/v1/doctor')).text, /peers\/ov\.json\.unreadable/);
  await daemon.down('a');
});

overlay.run();
