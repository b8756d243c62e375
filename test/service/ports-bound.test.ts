// slow: 30 s, a process ends without a daemon, and the forwarder is given its time
/**
 * Ports end with the processes that their container is bound to, also while no daemon runs. The next daemon finds a
 * container that is ending, and does not report its ports as missing.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Notification } from '../../state/answers/notification.ts';
import { dial } from '../harness/agent.ts';
import { on, pathOf, port, TestDaemon, type CreateOptions } from '../harness/daemon.ts';
import { follow } from '../harness/hearing.ts';
import { agentIn, endSleepers, sleeper } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { calm, assertComesBackTo, inspect } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { forwardersOf } from '../harness/programs.ts';
import { clear } from '../harness/rounds.ts';

requirePrivateNamespace();

/** The time from the end of a process to that of its ports, on a machine with much other work. */
const SOON_MS = 2000;
const LATER_MS = 300;

const daemon = new TestDaemon();
const bound = suite('ports that are bound to processes');
let empty: ReturnType<typeof inspect>;

bound.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.71.0.0/24' }] });
  await calm();
  empty = inspect(daemon);
});

const listeners: Awaited<ReturnType<typeof agentIn>>[] = [];

// Removes what a failed test has left, so that the next test starts clean.
bound.before.each(async () => {
  if (daemon.pid === 0) await daemon.start();
  await clear(daemon);
});

bound.after.each(async () => {
  for (const listener of listeners.splice(0)) listener.stop();
  if (daemon.pid === 0) await daemon.start();
  await assertComesBackTo(empty, () => inspect(daemon));
  await daemon.clean();
  assert.not.match(daemon.log(), /drift|"level":50/, 'nothing was missed, nothing failed');
});

bound.after(async () => {
  endSleepers();
  await daemon.kill();
});

const here = (number: number) => dial('tcp', '127.0.0.1', number);
const refused = (number: number) =>
  until(`${number} is closed`, async () => (await here(number)) === 'ECONNREFUSED', SOON_MS);
const later = () => new Promise((go) => setTimeout(go, LATER_MS));

async function kill(...all: ChildProcess[]): Promise<void> {
  const ends = all.map((one) => once(one, 'exit'));
  for (const one of all) one.kill('SIGKILL');
  await Promise.all(ends);
}

/** A container with a port, behind which another process listens than the one that it ends with. */
async function serving(id: string, number: number, more: CreateOptions): Promise<void> {
  const up = await daemon.up(id, {
    networks: on('web'),
    port_handler: 'forwarder',
    port_mappings: [port(number, 80)],
    ...more,
  });
  const inside = await agentIn(pathOf(up));
  listeners.push(inside);
  await inside.serve(id, 'tcp', 80);
  assert.match(await here(number), new RegExp(`^${id} `));
}

const guest = (id: string, of: string, process?: ChildProcess) =>
  daemon.up(id, { netns: { mode: 'container', id: of }, ...(process === undefined ? {} : { bound_to: process.pid! }) });

/** Starts the next daemon, and returns what it shows of its containers. */
async function nextLife(): Promise<Notification[]> {
  const heard: Notification[] = [];
  await daemon.start();
  await follow(daemon.socket, (notification) => heard.push(notification));
  return heard;
}

bound('without a daemon, ports close, other containers go on, and the next daemon tears down', async () => {
  const [its, others] = [await sleeper(), await sleeper()];
  await serving('a', 8080, { bound_to: its.pid! });
  await serving('b', 8090, { bound_to: others.pid! });
  await serving('c', 8091, {});
  const [forwarder] = forwardersOf(daemon);
  await daemon.kill();
  await kill(its);
  await refused(8080);
  await later();
  assert.match(await here(8090), /^b /);
  assert.match(await here(8091), /^c /, 'bound to none');
  const heard = await nextLife();
  await daemon.gone('a');
  assert.is(await here(8080), 'ECONNREFUSED');
  assert.match(await here(8090), /^b /);
  assert.equal(forwardersOf(daemon), [forwarder]);
  assert.equal(
    heard.filter(({ type }) => type === 'drift' || type === 'repaired'),
    [],
  );
  await kill(others);
  await daemon.gone('b');
  await daemon.down('c');
});

bound('a forwarder ends with its last bound port, and is not missed', async () => {
  const its = await sleeper();
  await serving('a', 8080, { bound_to: its.pid! });
  await daemon.kill();
  await kill(its);
  await refused(8080);
  await until('it has ended', () => forwardersOf(daemon).length === 0, 5000);
  const heard = await nextLife();
  await daemon.gone('a');
  assert.equal(
    heard.filter(({ type }) => type === 'drift' || type === 'repaired'),
    [],
  );
});

bound('a running daemon is notified of the end, and misses nothing', async () => {
  const heard: Notification[] = [];
  await follow(daemon.socket, (notification) => heard.push(notification));
  const processes = await Promise.all(Array.from({ length: 8 }, () => sleeper()));
  for (const [i, its] of processes.entries()) await serving(`a${i}`, 8100 + i, { bound_to: its.pid! });
  await kill(...processes);
  for (const i of processes.keys()) await daemon.gone(`a${i}`);
  assert.equal(
    heard.filter(({ type }) => type === 'drift' || type === 'repaired'),
    [],
  );
});

bound('ports serve all processes of the namespace, and end with the last of them', async () => {
  const [its, guests] = [await sleeper(), await sleeper()];
  await serving('pod', 8080, { bound_to: its.pid! });
  await guest('app', 'pod', guests);
  await later();
  await daemon.kill();
  await kill(its);
  await later();
  assert.match(await here(8080), /^pod /);
  await nextLife();
  assert.is((await daemon.get('/v1/containers/pod')).body.state, 'up');
  await daemon.done({ type: 'publish', id: 'pod', port_mappings: [port(8081, 80)] });
  assert.match(await here(8081), /^pod /);
  await daemon.kill();
  await kill(guests);
  await refused(8080);
  await refused(8081);
  await nextLife();
  for (const id of ['app', 'pod']) await daemon.gone(id);
});

bound('with a guest without a known process ports stay, and when it has left, they are bound again', async () => {
  const its = await sleeper();
  await serving('pod', 8080, { bound_to: its.pid! });
  await guest('app', 'pod');
  await later();
  await daemon.down('app');
  await guest('other', 'pod');
  await later();
  await daemon.kill();
  await kill(its);
  await later();
  assert.match(await here(8080), /^pod /);
  await daemon.start();
  assert.is((await daemon.get('/v1/containers/pod')).body.state, 'up');
  await daemon.down('other');
  await daemon.gone('pod');

  const next = await sleeper();
  await serving('pod', 8080, { bound_to: next.pid! });
  await guest('app', 'pod');
  await later();
  await daemon.down('app');
  await later();
  await daemon.kill();
  await kill(next);
  await refused(8080);
  await daemon.start();
  await daemon.gone('pod');
});

bound('an owner that is held by guests ends with their process, one that comes back with its own', async () => {
  const [its, guests, next] = [await sleeper(), await sleeper(), await sleeper()];
  await serving('pod', 8080, { bound_to: its.pid! });
  await guest('app', 'pod', guests);
  await daemon.done({ type: 'teardown', id: 'pod' });
  await later();
  const create: CreateOptions = { networks: on('web'), port_handler: 'forwarder', port_mappings: [port(8080, 80)] };
  await daemon.done({ type: 'create', id: 'pod', ...create, bound_to: next.pid! });
  await later();
  await daemon.kill();
  await kill(guests);
  await later();
  assert.match(await here(8080), /^pod /, 'it came back');
  await kill(next);
  await refused(8080);
  await daemon.start();
  for (const id of ['app', 'pod']) await daemon.gone(id);

  const others = await sleeper();
  await serving('pod', 8080, { bound_to: its.pid! });
  await guest('app', 'pod', others);
  await daemon.done({ type: 'teardown', id: 'pod' });
  await later();
  await daemon.kill();
  await kill(others);
  await refused(8080);
  await daemon.start();
  for (const id of ['app', 'pod']) await daemon.gone(id);
});

bound.run();
