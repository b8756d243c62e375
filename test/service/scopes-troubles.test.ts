/**
 * A daemon where systemd does not answer: everything goes on as without it, `doctor` says what it means, and a stop does not wait.
 */
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DoctorReport } from '../../state/answers/doctor.ts';
import { on, TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';

const troubles = suite('scopes troubles');

const connections = new Set<object>();
mkdirSync('/run/systemd');
const silent = createServer((socket) => {
  connections.add(socket);
  socket
    .on('error', () => {})
    .on('close', () => connections.delete(socket))
    .resume();
});
await once(silent.listen('/run/systemd/private'), 'listening');
const daemon = new TestDaemon();

const check = async () => {
  const { body } = await daemon.get<DoctorReport>('/v1/doctor');
  return body.checks.find(({ name }) => name === 'scopes');
};

troubles('containers come up and go while systemd is asked, and doctor says that it does not answer', async () => {
  await daemon.start();
  await daemon.network({ name: 'web', dns_enabled: true });
  await daemon.up('a', { networks: on('web') });
  await daemon.up('b', { uplink: { program: 'slirp4netns' } });
  assert.is(connections.size, 1, 'it has not answered yet, and is asked for one at a time');
  await until('doctor says it', async () => (await check())?.ok === false);
  assert.match((await check())?.text ?? '', /helpers end with the unit or session .* systemd has not answered within/);
  await daemon.down('a', 'b');
  await daemon.clean();
});

troubles('a stop does not wait for it', async () => {
  await daemon.up('c', { uplink: { program: 'slirp4netns' } });
  await until('it is asked again', () => connections.size === 1);
  assert.is(await daemon.stop(), 0);
  await daemon.start();
  await daemon.down('c');
});

troubles.after(async () => {
  await daemon.kill();
  silent.close();
});

troubles.run();
