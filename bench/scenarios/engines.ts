/**
 * Scenario `engines`: Podman on cleat and on netavark.
 *
 * Guarantees: all take turns. The helper is measured as Podman runs it, from its start to its end, beside the same request of a
 * client that is connected already: the difference is what the executable adds, its start included. Each has a container
 * that stands all the time, so that no turn makes or removes a bridge. Podman is measured by the time of its commands.
 * Limits: IPv4, one published port, no names; Podman without cgroups, with images and containers in a tmpfs.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, mkdirSync, symlinkSync } from 'node:fs';
import { IMAGE, Podman } from '../../test/harness/podman.ts';
import { NETAVARK, mapping, network, request } from '../../test/harness/netavark.ts';
import { figure } from '../budgets.ts';
import type { Client } from '../client.ts';
import type { Daemon } from '../daemon.ts';
import { runProgram } from '../program.ts';
import { emptyReport, ms, p50, quantile, times, type Report } from '../report.ts';
import { rotated } from '../rounds.ts';
import { attempt, pick, type Context, type Scenario } from '../scenario.ts';

const PEER = '/usr/lib/podman/netavark';
const FIRST_PORT = 20_000;
const NOTHING = 'a program that does nothing';

type Verb = 'setup' | 'teardown';
/** Does one verb for the container with this number; resolves with the milliseconds. */
interface Way {
  name: string;
  call: (verb: Verb, netns: string, id: number) => Promise<number>;
}

const isThere = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

export const engines: Scenario = {
  name: 'engines',
  async run(context) {
    const daemon = await context.cleat();
    if (daemon === null) return [];
    // Where Podman's helper, and conmon's cleanup with its bare environment, find the daemon.
    mkdirSync('/run/cleat', { recursive: true });
    symlinkSync(daemon.socket, '/run/cleat/cleat.sock');
    const helper = await helpers(context, daemon);
    return [...helper, await podmans(context)];
  },
};

/** The JSON of the container with this number; the networks of the ways are apart. */
const jsonOf = (way: number, id: number): string =>
  JSON.stringify(
    request(`e${id}`, 2 + (id % 200), [network(`engine${way}`, 100 + way)], {
      port_mappings: [mapping(FIRST_PORT + id, 80)],
    }),
  );

function waysOf(client: Client): Way[] {
  const program = (path: string, way: number): Way['call'] => {
    const folder = '/run/netavark';
    mkdirSync(folder, { recursive: true });
    return async (verb, netns, id) =>
      (await runProgram(path, ['--config', folder, verb, netns], jsonOf(way, id), { NETAVARK_FW: 'iptables' })).ms;
  };
  return [
    {
      name: 'the request alone',
      call: async (verb, netns, id) =>
        (await client.post(`/v1/netavark/${verb}?netns=${encodeURIComponent(netns)}`, jsonOf(0, id))).ms,
    },
    { name: 'cleat-netavark', call: program(NETAVARK, 1) },
    // It shows how much of a helper's time is the start of a program.
    { name: NOTHING, call: async (_verb, _netns, id) => (await runProgram('/bin/true', [], jsonOf(3, id), {})).ms },
    ...(isThere(PEER) ? [{ name: 'netavark', call: program(PEER, 2) }] : []),
  ];
}

async function helpers(context: Context, daemon: Daemon): Promise<Report[]> {
  const { floor } = context;
  const client = daemon.client();
  const ways = waysOf(client);
  const samples = { setup: new Map<string, number[]>(), teardown: new Map<string, number[]>() };
  const reports = (['setup', 'teardown'] as const).map((verb) => {
    return {
      verb,
      report: emptyReport(`${verb} by an engine's helper, one port`, ['', 'n', 'p50', 'p90', 'more than the request']),
    };
  });
  const turn = async (way: Way, counts: boolean): Promise<() => Promise<void>> => {
    const id = context.nextId();
    const name = `engine${id}`;
    await floor.netns(name);
    const do_ = async (verb: Verb) => {
      const took = await way.call(verb, floor.netnsPath(name), id);
      if (counts) samples[verb].set(way.name, [...(samples[verb].get(way.name) ?? []), took]);
    };
    await do_('setup');
    return async () => {
      await do_('teardown');
      await floor.command(`unnetns ${name}`);
    };
  };
  await attempt(reports[0]!.report, async () => {
    const standing = await Promise.all(ways.map((way) => turn(way, false)));
    for (let round = 0; round < pick(context, 60, 8); round++) {
      for (const way of rotated(ways, round)) await (await turn(way, true))();
    }
    for (const end of standing) await end();
  });
  client.close();
  for (const { verb, report } of reports) {
    const alone = p50(samples[verb].get('the request alone'));
    for (const [name, values] of samples[verb]) {
      const middle = p50(values);
      report.rows.push([name, String(values.length), ms(middle), ms(quantile(values, 0.9)), ms(middle - alone)]);
    }
    const ours = p50(samples[verb].get('cleat-netavark'));
    if (verb === 'setup') report.checks.push(figure('netavark executable, its own cost', ours - alone));
    const nothing = p50(samples[verb].get(NOTHING));
    report.notes.push(`beyond starting a program that does nothing, the executable adds ${ms(ours - alone - nothing)}`);
    report.notes.push(`netavark takes ${times(p50(samples[verb].get('netavark')) / ours)} as long as cleat-netavark`);
  }
  return reports.map(({ report }) => report);
}

async function podmans(context: Context): Promise<Report> {
  const report = emptyReport('podman, one port', ['', 'n', 'p50', 'p90', 'to netavark']);
  const missing = ['/usr/bin/podman', '/bin/busybox', PEER].find((path) => !isThere(path));
  if (missing !== undefined) {
    report.notes.push(`left out: ${missing} (Debian packages podman, busybox-static, netavark)`);
    return report;
  }
  // crun refuses a machine that mixes both versions of cgroups.
  execFileSync('mount', ['-t', 'cgroup2', 'cgroup2', '/sys/fs/cgroup']);
  const ways = ['cleat-netavark', 'netavark'].map((name) => {
    return { name, podman: new Podman({ netavark: name === 'netavark' ? PEER : NETAVARK }) };
  });
  const samples = new Map<string, number[]>();
  const measured = async (name: string, what: string, podman: Podman, ...args: string[]): Promise<void> => {
    const start = performance.now();
    await podman.do(...args);
    const key = `${what}: ${name}`;
    samples.set(key, [...(samples.get(key) ?? []), performance.now() - start]);
  };
  await attempt(report, async () => {
    for (const { podman } of ways) await podman.importImage();
    for (let round = 0; round < pick(context, 20, 3); round++) {
      for (const [i, { name, podman }] of rotated([...ways.entries()], round)) {
        const port = ['-p', `${FIRST_PORT - 1 - i}:80`, '--log-driver', 'none'];
        await measured(name, 'run --rm', podman, 'run', '--rm', ...port, IMAGE, 'true');
        await measured(name, 'run --detach', podman, 'run', '--detach', '--name', 'c', ...port, IMAGE, 'sleep', '1000');
        await measured(name, 'rm --force', podman, 'rm', '--force', '--time', '0', 'c');
      }
    }
  });
  for (const [key, values] of samples) {
    const peer = p50(samples.get(key.replace(/: .*/, ': netavark')));
    report.rows.push([
      key,
      String(values.length),
      ms(p50(values)),
      ms(quantile(values, 0.9)),
      times(p50(values) / peer),
    ]);
  }
  report.notes.push('Podman itself, conmon and crun take most of it: the rows above have the part of the network.');
  return report;
}
