// slow: 40 s, a daemon is killed and started once for each point that it passes
/**
 * An ordinary user's daemon is killed at every failpoint of a short life on a network: the next one finishes what was begun, or has
 * undone it, and after the teardown nothing leads out and nothing is left.
 *
 * Limits: in npm test at four of them.
 */
// proving: 1800
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, port } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { effort, spread } from '../harness/proof.ts';
import { RootlessDaemon, TestUser } from '../harness/rootless.ts';
import { RootlessKills } from '../harness/rootless-kills.ts';

const kills = suite('rootless kills');

const user = new TestUser('ann', 1701);
const daemon = new RootlessDaemon(user);
const killing = new RootlessKills(user, daemon);

/** One life. A request that the kill interrupts rejects. */
async function live(): Promise<void> {
  await daemon.up('c', { networks: on('cleat'), port_mappings: [port(19_500, 80)] });
  await daemon.down('c');
  await until('nothing leads out', () => !user.processes().some((line) => line.includes('slirp4netns')));
}

let points: string[] = [];

kills('a life passes the failpoints of the way out', async () => {
  await daemon.start();
  points = await killing.passed(live, ['probeUplink', 'startUplink', 'verifyUplink', 'stopUplink']);
});

kills('killed at each of them, the next daemon goes on', async () => {
  const uplink = points.filter((point) => /^(probe|start|verify|stop)Uplink:/.test(point));
  for (const point of spread(uplink, effort('kills', 4, Infinity))) {
    await killing.at(point, live);
    await until(`${point}: nothing leads out`, () => !user.processes().some((line) => line.includes('slirp4netns')));
    await daemon.clean();
    // And the next life is as the first.
    await live();
  }
  assert.is(await daemon.stop(), 0);
  await until('no process is left', () => user.processes().length === 0);
});

kills.after(async () => {
  await daemon.kill();
});

kills.run();
