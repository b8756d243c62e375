/**
 * A daemon on a host whose default route leads to a LAN, and servers on both: for tests of uplink programs, as a
 * container and its clients see them.
 *
 * Guarantees: each test begins with a daemon that runs and without containers; assertNothingLeft compares with the state
 * before the first.
 * The host's name server, in an /etc of the test's own, is on the LAN, whatever the machine has.
 * Limits: no name is resolved: no name server answers.
 */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { pathOf, TestDaemon } from './daemon.ts';
import { addNetns, agentIn, endSleepers, withAgents } from './inside.ts';
import { calm, assertComesBackTo, inspect } from './picture.ts';
import { clear } from './rounds.ts';

/** The address of the host on the LAN. */
export const HOST = '192.0.2.1';
/** Sends "lan CLIENT" on port 7000, of TCP and UDP; on the host, port 7001 sends "host CLIENT". */
export const LAN = '192.0.2.2';
export const SLIRP = { program: 'slirp4netns' } as const;

/** The daemon, its programs and the test share this directory. */
function ownEtc(nameserver: string): void {
  const etc = '/run/host-etc';
  execFileSync('cp', ['-a', '/etc', etc]);
  execFileSync('mount', ['--bind', etc, '/etc']);
  rmSync('/etc/resolv.conf', { force: true });
  writeFileSync('/etc/resolv.conf', `nameserver ${nameserver}\n`);
}

/** Starts it with networks web and back; everything ends after the last of these tests. */
export async function wayOut(tests: Test, nameserver = LAN) {
  ownEtc(nameserver);
  const netns = addNetns('lan');
  execFileSync('ip', ['link', 'add', 'lan0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns]);
  execFileSync('ip', ['-batch', '-'], {
    input: `addr add ${HOST}/24 dev lan0\nlink set lan0 up\nroute add default via ${LAN}\n`,
  });
  execFileSync('ip', ['-n', 'lan', '-batch', '-'], { input: `addr add ${LAN}/24 dev eth0\nlink set eth0 up\n` });
  await calm();
  const [lan, host] = await Promise.all([agentIn(netns), agentIn(null)]);
  await lan.serve('lan', 'tcp', 7000);
  await lan.serve('lan', 'udp', 7000);
  await host.serve('host', 'tcp', 7001);
  const daemon = new TestDaemon();
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.50.0.0/24' }] });
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.51.0.0/24' }] });
  const before = inspect(daemon);

  // Removes what a failed test left behind, so that the next test starts clean.
  tests.before.each(async () => {
    if (daemon.pid === 0) await daemon.start();
    await clear(daemon);
  });
  tests.after(async () => {
    lan.stop();
    host.stop();
    endSleepers();
    await daemon.kill();
  });

  const shown = async (id: string): Promise<Inspection> => (await daemon.get<Inspection>(`/v1/containers/${id}`)).body;
  const assertAsBefore = () => assertComesBackTo(before, () => inspect(daemon));
  return {
    daemon,
    lan,
    host,
    before,
    shown,
    /** The shown data of its running program. */
    processOf: async (id: string) => {
      const { uplink: found } = await shown(id);
      if (!found?.process?.pid) throw new Error(`${id} has no process: ${JSON.stringify(found)}`);
      return found.process as typeof found.process & { pid: number };
    },
    /** True if it is up with another process than this one. */
    isUpAnew: async (id: string, pid: number) => {
      const { state, uplink: found } = await shown(id);
      const now = found?.process?.pid ?? null;
      return state === 'up' && found?.process?.state === 'ready' && now !== null && now !== pid;
    },
    isUp: async (id: string) => (await daemon.get<ContainerView>(`/v1/containers/${id}`)).body.state === 'up',
    /**
     * Checks that container a reaches the LAN, and that its port 80, which now has a server, is reached from there as
     * 8080.
     */
    assertLeadsBothWays: (a: ContainerView, hostPort = 8080) =>
      withAgents([pathOf(a)], async (inside) => {
        await inside.serve('a', 'tcp', 80);
        assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
        assert.is(await lan.dial('tcp', HOST, hostPort, 2000), `a ${LAN}`);
      }),
    /** Replaces the daemon by another one with these arguments. */
    restart: async (called: Partial<Pick<TestDaemon, 'uplinks' | 'drift'>>) => {
      await daemon.stop();
      Object.assign(daemon, called);
      await daemon.start();
    },
    assertAsBefore,
    /** Tears everything down, and checks that all is as before, processes too. */
    assertNothingLeft: async (...ids: string[]) => {
      await daemon.down(...ids);
      await assertAsBefore();
      await daemon.clean();
    },
  };
}
