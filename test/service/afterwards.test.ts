/**
 * An engine's next request once a teardown has answered: it uses the same id, address, MAC or host port, or changes or
 * removes the network. The kernel still reaps links then; the next request waits for that and is not refused.
 *
 * Each container has a process in its namespace, which keeps the links alive for some 300 ms longer than the answer
 * takes. Without the wait every one of these requests would be refused.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AttachmentOptions } from '../../state/event.ts';
import type { PortHandler } from '../../state/uplink.ts';
import { addressOf, on, pathOf, port, TestDaemon, type CreateOptions } from '../harness/daemon.ts';
import { ended } from '../harness/inside.ts';
import { calm, assertComesBackTo, inspectKernel, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const afterwards = suite('afterwards');
const processes: ChildProcess[] = [];
let empty: Picture;

afterwards.before(async () => {
  empty = inspectKernel();
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.73.0.0/24' }, { subnet: 'fd00:73::/64' }] });
  await daemon.network({ name: 'tight', subnets: [{ subnet: '10.74.0.0/30' }] }); // room for one container
  await calm();
});

afterwards.after.each(async () => {
  await daemon.clean();
  await clear(daemon); // Removes what a failed test has left.
  await endProcesses();
});

afterwards.after(async () => {
  await daemon.stop();
  await assertComesBackTo(empty, () => inspectKernel());
});

/** Creates a container with a process in its namespace. */
async function inhabited(id: string, create: CreateOptions) {
  const up = await daemon.up(id, create);
  const child = spawn('nsenter', [`--net=${pathOf(up)}`, 'sleep', '60'], { stdio: 'ignore' });
  processes.push(child);
  // The process is inside once it runs its command.
  while (!spawned(child).startsWith('sleep')) await new Promise((next) => setTimeout(next, 2));
  return up;
}

function spawned({ pid }: ChildProcess): string {
  return readFileSync(`/proc/${pid}/comm`, 'utf8');
}

/** Tears a container down and returns at the answer, before the kernel is finished with it. */
async function tornDown(id: string): Promise<void> {
  const { state } = await daemon.done({ type: 'teardown', id });
  assert.is(state, 'draining');
}

async function endProcesses(): Promise<void> {
  for (const { pid, exitCode } of processes.splice(0)) {
    if (pid === undefined || exitCode !== null) continue;
    process.kill(pid, 'SIGKILL');
    await ended(pid);
  }
}

afterwards('the same id can be used again with all it had, by one client or two, of which one is refused', async () => {
  const all: CreateOptions = {
    networks: { web: { static_ips: ['10.73.0.9', 'fd00:73::9'], static_mac: '02:00:00:00:73:09' } },
    port_mappings: [port(8080, 80)],
  };
  await inhabited('a', all);
  await tornDown('a');
  await inhabited('a', all);
  await tornDown('a');
  const answers = await Promise.all([1, 2].map(() => daemon.event({ type: 'create', id: 'a', ...all })));
  const granted = answers.filter(({ status }) => status === 200);
  assert.is(granted.length, 1);
  const refused = answers.find(({ status }) => status === 409);
  assert.match(refused?.body.error?.message ?? '', /^container a exists already \(creat/);
  await daemon.done({ type: 'configure', id: 'a' });
  await daemon.down('a');
  await endProcesses();
});

afterwards('the same id can be used again on one stream, without waiting for the teardown', async () => {
  await inhabited('a', { networks: on('web') });
  const lines = [{ type: 'teardown' }, { type: 'create', networks: on('web') }];
  const body = lines.map((event) => `${JSON.stringify({ id: 'a', ...event })}\n`).join('');
  const headers = { 'content-type': 'application/x-ndjson', prefer: 'respond-async' };
  const { text } = await daemon.request('POST', '/v1/events', body, headers);
  const statuses = text.match(/"status":\d+/g);
  assert.equal(statuses, ['"status":202', '"status":202'], text);
  await daemon.get('/v1/containers/a?wait=created');
  await daemon.done({ type: 'configure', id: 'a' });
  await daemon.down('a');
  await endProcesses();
});

const WISHES: [what: string, network: string, options: AttachmentOptions][] = [
  ['a static IPv4 address', 'web', { static_ips: ['10.73.0.9'] }],
  ['a static IPv6 address', 'web', { static_ips: ['fd00:73::9'] }],
  ['a MAC', 'web', { static_mac: '02:00:00:00:73:09' }],
  ['the last free address of a subnet', 'tight', {}],
];
for (const [what, network, options] of WISHES) {
  afterwards(`${what}: it can be used by another container at configure, and at connect`, async () => {
    await inhabited('a', { networks: { [network]: options } });
    await tornDown('a');
    await inhabited('b', { networks: { [network]: options } });
    await daemon.up('c', { networks: {} });
    await tornDown('b');
    await daemon.done({ type: 'connect', id: 'c', network, options });
    await daemon.down('c');
    await endProcesses();
  });
}

for (const handler of ['firewall', 'forwarder'] as const satisfies PortHandler[]) {
  afterwards(`a host port (${handler}) can be used by another container at configure, and at publish`, async () => {
    const ports: CreateOptions = {
      networks: on('web'),
      port_mappings: [port(8080, 80), port(8081, 81, { protocol: 'udp' })],
      port_handler: handler,
    };
    await inhabited('a', ports);
    await tornDown('a');
    await inhabited('b', ports);
    await daemon.up('c', { networks: on('web'), port_handler: handler });
    await tornDown('b');
    await daemon.done({ type: 'publish', id: 'c', port_mappings: ports.port_mappings ?? [] });
    await daemon.down('c');
    await endProcesses();
  });
}

afterwards('the network can be changed and removed', async () => {
  await daemon.network({ name: 'brief', subnets: [{ subnet: '10.75.0.0/24' }] });
  await inhabited('a', { networks: on('brief') });
  await tornDown('a');
  const change = { subnets: [{ subnet: '10.76.0.0/24' }], remove_subnets: ['10.75.0.0/24'] };
  const changed = await daemon.request('PATCH', '/v1/networks/brief', change);
  assert.is(changed.status, 200, changed.text);
  await inhabited('a', { networks: on('brief') });
  await tornDown('a');
  const removed = await daemon.request('DELETE', '/v1/networks/brief');
  assert.is(removed.status, 204, removed.text);
  await daemon.gone('a');
  await endProcesses();
});

afterwards(
  'an owner that was left behind goes with its last user: id, address, port and network are free',
  async () => {
    await daemon.network({ name: 'brief', subnets: [{ subnet: '10.75.0.0/24' }] });
    const pod: CreateOptions = { networks: { brief: { static_ips: ['10.75.0.9'] } }, port_mappings: [port(8080, 80)] };
    for (const next of ['infra', 'other']) {
      await inhabited('infra', pod);
      await daemon.up('app', { netns: { mode: 'container', id: 'infra' } });
      await daemon.done({ type: 'teardown', id: 'infra' });
      assert.is((await daemon.done({ type: 'teardown', id: 'app' })).state, 'gone');
      const up = await daemon.up(next, pod);
      assert.is(addressOf(up, 'brief'), '10.75.0.9');
      await daemon.down(next);
    }
    await inhabited('infra', pod);
    await daemon.up('app', { netns: { mode: 'container', id: 'infra' } });
    await daemon.done({ type: 'teardown', id: 'infra' });
    await daemon.done({ type: 'teardown', id: 'app' });
    const removed = await daemon.request('DELETE', '/v1/networks/brief');
    assert.is(removed.status, 204, removed.text);
    await daemon.gone('infra');
    await endProcesses();
  },
);

afterwards('the next daemon waits as well when the daemon is killed in between', async () => {
  const all: CreateOptions = { networks: { web: { static_ips: ['10.73.0.9'] } }, port_mappings: [port(8080, 80)] };
  await inhabited('a', all);
  await daemon.done({ type: 'create', id: 'b', ...all });
  await tornDown('a');
  await daemon.event({ type: 'configure', id: 'b' }, { prefer: 'respond-async' });
  await daemon.kill();
  await daemon.start();
  const up = await daemon.get('/v1/containers/b?wait=up&timeout=10000');
  assert.is(up.status, 200, up.text);
  await daemon.down('b');
  await daemon.gone('a');
  await endProcesses();
});

afterwards('an obstacle that stays is named at once', async () => {
  await daemon.up('a', { networks: { web: { static_ips: ['10.73.0.9'] } } });
  await daemon.done({ type: 'create', id: 'b', networks: { web: { static_ips: ['10.73.0.9'] } } });
  const { body } = await daemon.event({ type: 'configure', id: 'b' });
  assert.is(body.error?.code, 'ADDRESS_TAKEN');
  assert.is(body.error?.owner, 'a');
  const again = await daemon.event({ type: 'create', id: 'a' });
  assert.is(again.body.error?.code, 'CONTAINER_EXISTS');
  await daemon.down('a', 'b');
});

afterwards.run();
