// proving only: 3600
// slow: 60 s, a daemon is killed and started once for each point that an attachment passes
/**
 * An ordinary user's daemon is killed at every failpoint of an attachment that CNI plugins or netavark make: the next one finishes or
 * undoes it, and after the teardown nothing is left: no lease, no rule, no link.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cniGround, usualConflist } from '../harness/conflist.ts';
import { on, port } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { leasesOf, RootlessDaemon, TestUser } from '../harness/rootless.ts';
import { RootlessKills } from '../harness/rootless-kills.ts';

const kills = suite('rootless external kills');

const user = new TestUser('ann', 1851);
const daemon = new RootlessDaemon(user);
const killing = new RootlessKills(user, daemon);

/** Runs a command where the user's networks are. */
const inside = (...command: string[]): string =>
  execFileSync('nsenter', [`--net=${user.outsidePath('/run/netns/rootless')}`, ...command], { encoding: 'utf8' });

async function live(network: string): Promise<void> {
  await daemon.up('c', { networks: on(network), port_mappings: [port(19_850, 80)] });
  await daemon.down('c');
}

kills('the networks are made', async () => {
  await daemon.start();
  const conflist = usualConflist(cniGround(daemon.directory), 'pods', '10.81.0.0/24');
  user.cleat('network', 'create', 'pods', '--driver', 'cni', '--opt', `conflist=${conflist}`);
  user.cleat('network', 'create', 'old', '--driver', 'netavark', '--subnet', '10.85.0.0/24');
});

for (const [network, killed] of [
  ['pods', /^(add|remove)External:|^recordAnswer:/],
  // What follows the answer is the same for every program.
  ['old', /^addExternal:/],
] as const) {
  kills(`${network}: killed at each point, the next daemon goes on`, async () => {
    const passed = await killing.passed(() => live(network), ['addExternal', 'recordAnswer', 'removeExternal']);
    const points = passed.filter((point) => killed.test(point));
    for (const point of points) {
      await killing.at(point, () => live(network));
      await daemon.clean();
      assert.equal(leasesOf(user, 'pods'), [], point);
      const rules = inside('iptables-save').split('\n');
      assert.equal(
        rules.filter((line) => /10\.8[15]\.|dport|CNI-DN-/.test(line)),
        [],
        point,
      );
      await until(`${point}: only the bridge that the plugin keeps is left`, () =>
        (JSON.parse(inside('ip', '-j', 'link')) as { ifname: string }[]).every(({ ifname }) =>
          ['lo', 'cni0', 'tap0'].includes(ifname),
        ),
      );
    }
  });
}

kills('after the daemon nothing is left', async () => {
  assert.is(await daemon.stop(), 0);
  await until('no process is left', () => user.processes().length === 0);
});

kills.after(async () => {
  await daemon.kill();
});

kills.run();
