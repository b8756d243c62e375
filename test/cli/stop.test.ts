/**
 * The time of `cleat stop` is that of --time, also where the daemon waits no longer than a part of it in one request.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Client } from '../../cli/client.ts';
import type { CallOptions, Outgoing } from '../../client/connection.ts';
import { stop } from '../../cli/process/stop.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

/** Asks for shorter waits than its caller, as if the limit of the daemon (minutes) were this short. */
class Impatient extends Client {
  protected override exchange(outgoing: Outgoing, options?: CallOptions): Promise<unknown> {
    const path = outgoing.path.replace(/timeout=(\d+)/, (_, ms: string) => `timeout=${Math.min(200, Number(ms))}`);
    return super.exchange({ ...outgoing, path }, options);
  }
}

const daemon = new TestDaemon();
const client = new Impatient(daemon.socket, 0);
const stopping = suite('stop');

stopping.before(() => daemon.start());
stopping.after(async () => void (await daemon.stop()));

/** Binds container `a` to a process that ends this long after SIGTERM. */
async function bound(seconds: number): Promise<{ ended: Promise<unknown[]> }> {
  const child = spawn('sh', ['-c', `trap 'sleep ${seconds}; exit' TERM; echo; while :; do sleep 0.05; done`], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await once(child.stdout, 'data');
  child.stdout.destroy(); // its sleep may outlive it
  await daemon.up('a', { networks: {}, bound_to: child.pid! });
  return { ended: once(child, 'exit') };
}

stopping('a process that needs its time has it', async () => {
  const { ended } = await bound(1);
  assert.equal(await stop(client, 'a', { seconds: 10, ignore: false }), { id: 'a', state: 'gone' });
  assert.equal(await ended, [0, null]);
});

stopping('one that needs more is killed when the time is over, and not before', async () => {
  const { ended } = await bound(30);
  const began = performance.now();
  assert.equal(await stop(client, 'a', { seconds: 1, ignore: false }), { id: 'a', state: 'gone' });
  assert.equal(await ended, [null, 'SIGKILL']);
  assert.ok(performance.now() - began >= 1000);
});

stopping('who has the id of a container that is gone is left alone', async () => {
  const { ended } = await bound(0);
  const other = spawn('sleep', ['30']);
  const done = stop(client, 'a', { seconds: 10, ignore: false });
  await ended;
  while ((await daemon.get('/v1/containers/a')).status !== 404);
  await daemon.up('a', { networks: {}, bound_to: other.pid! });
  assert.equal(await done, { id: 'a', state: 'gone' });
  assert.is(other.exitCode ?? other.signalCode, null);
  other.kill();
});

stopping.run();
