// as user: proving
/**
 * Counters of interfaces on the real kernel: they move with the traffic, each interface has its own, and all containers
 * of a namespace have the same.
 */
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerStats } from '../../state/answers/container/stats.ts';
import { addressOf, on, TestDaemon } from '../harness/daemon.ts';
import { addNetns, endSleepers, removeNetns, sleeper } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { inside } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const stats = suite('stats');

stats.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.75.0.0/24' }] });
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.76.0.0/24' }] });
});
stats.after(async () => {
  endSleepers();
  await daemon.stop();
});
stats.after.each(async () => {
  const { body } = await daemon.get<{ id: string }[]>('/v1/containers');
  await daemon.down(...body.map(({ id }) => id));
});

type Interfaces = NonNullable<ContainerStats['interfaces']>;

async function read(id: string): Promise<ContainerStats> {
  const { status, body, text } = await daemon.get<ContainerStats>(`/v1/containers/${id}/stats`);
  assert.is(status, 200, text);
  return body;
}

async function interfaces(id: string): Promise<Interfaces> {
  const answer = await read(id);
  if (answer.interfaces === null) throw new Error(`${id} has no interfaces`);
  return answer.interfaces;
}

async function readAll(): Promise<ContainerStats[]> {
  const { status, body, text } = await daemon.get<ContainerStats[]>('/v1/stats');
  assert.is(status, 200, text);
  return body;
}

const networksOf = (all: Interfaces): [string, string | null][] =>
  Object.entries(all).map(([name, { network }]) => [name, network]);

/** `count` datagrams of 1000 bytes to an address at which nobody listens. */
function send(netns: string, address: string, count: number): void {
  const one = `printf '%01000d' 0 > /dev/udp/${address}/9`;
  inside(netns, 'bash', '-c', `for i in $(seq ${count}); do ${one} || true; done 2> /dev/null`);
}

stats('counters move with the traffic, of its interface and its direction', async () => {
  const a = await daemon.up('a', { networks: on('web', 'back') });
  const b = await daemon.up('b', { networks: on('web') });
  const before = { a: await interfaces('a'), b: await interfaces('b') };
  assert.equal(networksOf(before.a), [
    ['eth0', 'web'],
    ['eth1', 'back'],
  ]);
  send(a.netns.path!, addressOf(b, 'web'), 30);
  const now = { a: before.a, b: before.b };
  await until('30 kB have arrived', async () => {
    now.b = await interfaces('b');
    return now.b.eth0!.rx_bytes - before.b.eth0!.rx_bytes >= 30_000;
  });
  now.a = await interfaces('a');
  const grown = (which: 'a' | 'b', link: string, counter: 'rx_bytes' | 'tx_bytes' | 'rx_packets' | 'tx_packets') =>
    now[which][link]![counter] - before[which][link]![counter];
  assert.ok(grown('a', 'eth0', 'tx_bytes') >= 30_000);
  assert.ok(grown('a', 'eth0', 'tx_packets') >= 30);
  assert.ok(grown('b', 'eth0', 'rx_packets') >= 30);
  assert.ok(grown('a', 'eth0', 'rx_bytes') < 30_000);
  assert.ok(grown('a', 'eth1', 'tx_bytes') < 30_000);
  for (const counter of ['rx_errors', 'rx_dropped', 'tx_errors', 'tx_dropped'] as const) {
    assert.type(now.a.eth0![counter], 'number');
  }
});

stats("the answer has the kernel's counters, and says when they were read", async () => {
  const { netns } = await daemon.up('a', { networks: on('web') });
  const started = Date.now();
  const answer = await read('a');
  assert.is(answer.id, 'a');
  assert.is(new Date(answer.read).toISOString(), answer.read);
  assert.ok(Date.parse(answer.read) >= started && Date.parse(answer.read) <= Date.now());
  // Nothing is in flight on a link that is down.
  inside(netns.path!, 'ip', 'link', 'set', 'eth0', 'down');
  const counted = () => {
    const [link] = JSON.parse(inside(netns.path!, 'ip', '-s', '-j', 'link', 'show', 'eth0')) as {
      stats64: Record<'rx' | 'tx', { bytes: number; packets: number; errors: number; dropped: number }>;
    }[];
    const { rx, tx } = link!.stats64;
    return {
      network: 'web',
      rx_bytes: rx.bytes,
      rx_packets: rx.packets,
      rx_errors: rx.errors,
      rx_dropped: rx.dropped,
      tx_bytes: tx.bytes,
      tx_packets: tx.packets,
      tx_errors: tx.errors,
      tx_dropped: tx.dropped,
    };
  };
  // Packets sent just before may still be counted.
  let before = counted();
  await until('nothing is counted any more', async () => {
    await sleep(50);
    const now = counted();
    const calm = isDeepStrictEqual(before, now);
    before = now;
    return calm;
  });
  assert.equal((await interfaces('a')).eth0, counted());
});

stats('a shared namespace has the same interfaces and networks for all, and those that others made', async () => {
  const path = addNetns('theirs');
  inside(path, 'ip', 'link', 'add', 'out0', 'type', 'veth', 'peer', 'name', 'a-peer');
  await daemon.up('owner', { netns: { mode: 'path', path }, networks: on('web') });
  await daemon.up('side', { netns: { mode: 'container', id: 'owner' } });
  await daemon.up('third', { netns: { mode: 'container', id: 'side' } });
  await daemon.up('beside', { netns: { mode: 'path', path }, networks: { back: { interface_name: 'back0' } } });
  const expected = [
    ['a-peer', null],
    ['back0', 'back'],
    ['eth0', 'web'],
    ['out0', null],
  ];
  for (const id of ['owner', 'side', 'third', 'beside']) assert.equal(networksOf(await interfaces(id)), expected, id);
  for (const { interfaces: all } of await readAll()) assert.equal(networksOf(all!), expected);
  await daemon.down('third', 'side', 'beside', 'owner');
  removeNetns('theirs');
});

stats('stats exist for a process, without a network, and in the host’s namespace', async () => {
  const process = await sleeper();
  await daemon.up('pid', { netns: { mode: 'pid', pid: process.pid! }, networks: on('web') });
  assert.equal(networksOf(await interfaces('pid')), [['eth0', 'web']]);
  await daemon.up('none', { networks: {} });
  assert.equal((await read('none')).interfaces, {});
  await daemon.up('host', { netns: { mode: 'host' } });
  assert.is((await read('host')).interfaces, null);
  await daemon.down('pid');
  process.kill('SIGKILL');
});

stats('one answer has all containers, in the order of the list, with null for a lost namespace', async () => {
  const names = Array.from({ length: 20 }, (_, n) => `c${n}`);
  const made = await Promise.all(names.map((id) => daemon.up(id, { networks: on('web') })));
  const lost = made[3]!;
  execFileSync('umount', [lost.netns.path!]);
  const { body: listed } = await daemon.get<{ id: string }[]>('/v1/containers');
  const all = await readAll();
  assert.equal(
    all.map(({ id }) => id),
    listed.map(({ id }) => id),
  );
  assert.is(all.length, 20);
  for (const { id, interfaces: found } of all) {
    if (id === lost.id) assert.is(found, null);
    else assert.equal(networksOf(found!), [['eth0', 'web']], id);
  }
  const { status, body } = await daemon.get(`/v1/containers/${lost.id}/stats`);
  assert.equal([status, body.error?.code, body.error?.errno], [500, 'KERNEL', 'EINVAL']);
  assert.is(body.error?.object, lost.netns.path);
  assert.ok(body.error?.hint);
});

stats('an unknown container has no stats', async () => {
  assert.equal(await readAll(), []);
  const { status, body } = await daemon.get('/v1/containers/nobody/stats');
  assert.equal([status, body.error?.code], [404, 'NO_SUCH_CONTAINER']);
  assert.is((await daemon.get('/v1/containers/..%2f/stats')).status, 400);
});

stats.run();
