/**
 * A daemon on a host whose default route leads to a LAN, and somebody to talk to on either: for tests of programs that
 * lead out, as a container and its clients find them.
 *
 * Guarantees: each test begins with a daemon that runs and without containers; nothingLeft compares with what was there
 * before the first.
 * The host's name server, in an /etc of the test's own, is on the LAN, whatever the machine has.
 * Limits: nothing is resolved: no name server answers.
 */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Inspection } from '../../service/inspect.ts';
import type { ContainerView } from '../../service/view.ts';
import { pathOf, TestDaemon } from './daemon.ts';
import { addNetns, agentIn, endSleepers, withAgents } from './inside.ts';
import { calm, comesBackTo, inspect } from './picture.ts';
import { clear } from './rounds.ts';

/** The host on the LAN. */
export const HOST = '192.0.2.1';
/** Says "lan CLIENT" on port 7000, of TCP and UDP; on the host, port 7001 says "host CLIENT". */
export const LAN = '192.0.2.2';
export const SLIRP = { program: 'slirp4netns' } as const;

/** The daemon, its programs and the test see the same one. */
function ownEtc(nameserver: string): void {
  const etc = '/run/host-etc';
  execFileSync('cp', ['-a', '/etc', etc]);
  execFileSync('mount', ['--bind', etc, '/etc']);
  rmSync('/etc/resolv.conf', { force: true });
  writeFileSync('/etc/resolv.conf', `nameserver ${nameserver}\n`);
}

/** With networks web and back; all of it ends after the last of these tests. */
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

  // Those that a failed test left behind: the next one tells its own story.
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
  const asBefore = () => comesBackTo(before, () => inspect(daemon));
  return {
    daemon,
    lan,
    host,
    before,
    shown,
    /** What is shown of its program, which runs. */
    processOf: async (id: string) => {
      const { uplink: found } = await shown(id);
      if (!found?.process?.pid) throw new Error(`${id} has no process: ${JSON.stringify(found)}`);
      return found.process as typeof found.process & { pid: number };
    },
    /** Whether it is up with a process that is not this one. */
    isUpAnew: async (id: string, pid: number) => {
      const { state, uplink: found } = await shown(id);
      const now = found?.process?.pid ?? null;
      return state === 'up' && found?.process?.state === 'ready' && now !== null && now !== pid;
    },
    isUp: async (id: string) => (await daemon.get<ContainerView>(`/v1/containers/${id}`)).body.state === 'up',
    /** Container a leads out to the LAN, and its port 80, served by now, is reached from there as 8080. */
    leadsBothWays: (a: ContainerView) =>
      withAgents([pathOf(a)], async (inside) => {
        await inside.serve('a', 'tcp', 80);
        assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
        assert.is(await lan.dial('tcp', HOST, 8080, 2000), `a ${LAN}`);
      }),
    /** Another daemon in its place, called with this. */
    restart: async (called: Partial<Pick<TestDaemon, 'uplinks' | 'drift'>>) => {
      await daemon.stop();
      Object.assign(daemon, called);
      await daemon.start();
    },
    asBefore,
    /** Everything is torn down: as before, processes too. */
    nothingLeft: async (...ids: string[]) => {
      await daemon.down(...ids);
      await asBefore();
      await daemon.clean();
    },
  };
}
