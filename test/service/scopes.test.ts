// slow: 40 s, boots systemd, and a user's, with three daemons that are killed with all that is in their cgroup
/**
 * Below the real systemd: the helpers of root's and of a user's daemon leave the cgroup of whoever has started the daemon. They go on
 * when that is stopped with all its processes, and no scope is left when they have ended.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DoctorReport } from '../../state/answers/doctor.ts';
import { booted, cgroupOf, move, startUserManager } from '../harness/booted.ts';
import { on, pathOf, port, TestDaemon, type CreateOptions } from '../harness/daemon.ts';
import { withAgents } from '../harness/inside.ts';
import { dial } from '../harness/agent.ts';
import { endWithReport, until } from '../harness/native.ts';
import { RootlessDaemon, TestUser } from '../harness/rootless.ts';

await booted(import.meta.filename);

const scopes = suite('scopes');

execFileSync('ip', ['-batch', '-'], {
  input:
    'link add world type bridge\naddr add 10.99.1.2/24 dev world\nlink set world up\nroute add default via 10.99.1.1\n',
});

/** The scopes that a manager has of ours, whatever their state is. */
const scopesOf = (...manager: string[]): string[] => {
  const options = ['list-units', '--all', '--plain', '--no-legend', '--full', 'cleat-*'];
  const [file = '', ...args] = [...manager, ...options];
  const said = execFileSync(file, args, { encoding: 'utf8' });
  return said.split('\n').flatMap((line) => line.split(' ')[0] || []);
};

/** The processes with these words on their command lines, and those that they have started. */
function pidsOf(words: string): number[] {
  const find = (...options: string[]) => {
    const { stdout } = spawnSync('pgrep', options, { encoding: 'utf8' });
    return stdout.split('\n').filter(Boolean).map(Number);
  };
  return find('-f', words).flatMap((pid) => [pid, ...find('-P', String(pid))]);
}

const helpersOf = (home: string) => ({
  uplink: pidsOf(`cleat-keeper --directory ${home}`),
  forwarder: pidsOf(`cleat-forwarder --socket ${home}`),
  dns: pidsOf(`aardvark-dns --config ${home}`),
});

const trouble = async (daemon: TestDaemon) => {
  const { body } = await daemon.get<DoctorReport>('/v1/doctor');
  return body.checks.find(({ name }) => name === 'scopes');
};

const isScoped = (kind: string, pid: number) => new RegExp(`/cleat-${kind}-\\d+-\\d+\\.scope$`).test(cgroupOf(pid));

interface Case {
  what: string;
  daemon: TestDaemon;
  /** Becomes the daemon, in a cgroup that is then stopped. */
  caller: string[];
  stop: string[];
  /** Lists units. */
  manager: string[];
  /** A directory in the command lines of its helpers. */
  home: () => string;
  /** The path from here to one in its mount namespace. */
  reach: (path: string) => string;
  /** What the daemon itself is in. */
  itself: RegExp;
  holder: () => number;
}

const ann = new TestUser('ann', 1701);
const bob = new TestUser('bob', 1702);
for (const user of [ann, bob]) startUserManager(user);
const asUser = (user: TestUser) => [...user.prefix, 'env', `XDG_RUNTIME_DIR=${user.runtime}`];
const inside = (user: TestUser) => `/run/cleat-${user.uid}-`;

const root = new TestDaemon();
const daemons = { root, service: new RootlessDaemon(ann), session: new RootlessDaemon(bob) };
const cases: Case[] = [
  {
    what: "root's",
    daemon: daemons.root,
    caller: ['systemd-run', '--quiet', '--scope', '--unit=caller', '--'],
    stop: ['systemctl', 'stop', 'caller.scope'],
    manager: ['systemctl'],
    home: () => root.directory,
    reach: (path) => path,
    itself: /\/caller\.scope$/,
    holder: () => 0,
  },
  {
    what: "a user's, in a unit of the user",
    daemon: daemons.service,
    caller: [...asUser(ann), 'systemd-run', '--user', '--quiet', '--scope', '--unit=caller', '--'],
    stop: [...asUser(ann), 'systemctl', '--user', 'stop', 'caller.scope'],
    manager: [...asUser(ann), 'systemctl', '--user'],
    home: () => inside(ann),
    reach: (path) => ann.outsidePath(path),
    itself: /\/user@1701\.service\/.*caller\.scope$/,
    holder: () => ann.holder,
  },
  {
    what: "a user's, in a session",
    daemon: daemons.session,
    caller: [
      'systemd-run',
      '--quiet',
      '--scope',
      '--unit=session-1',
      '--slice=user-1702.slice',
      '--uid=1702',
      '--gid=1702',
      '--',
      'sh',
      '-c',
      'sleep infinity & exec "$@"',
      'sh',
    ],
    stop: ['systemctl', 'stop', 'session-1.scope'],
    manager: [...asUser(bob), 'systemctl', '--user'],
    home: () => inside(bob),
    reach: (path) => bob.outsidePath(path),
    itself: /\/user@1702\.service\/.*cleat-daemon-\d+-\d+\.scope$/,
    holder: () => bob.holder,
  },
];

for (const [n, one] of cases.entries()) {
  const { what, daemon, manager } = one;
  scopes(`helpers leave the cgroup of the daemon, and outlive it: ${what}`, async () => {
    daemon.launcher = one.caller;
    await daemon.start();
    assert.match(cgroupOf(daemon.pid), one.itself);
    await daemon.network({ name: 'web', dns_enabled: true });
    const ports = { port_handler: 'forwarder', port_mappings: [port(18_100 + n, 80)] } satisfies CreateOptions;
    const made = await daemon.up('web', { networks: on('web'), ...ports });
    await daemon.up('slirp', { uplink: { program: 'slirp4netns' } });
    const isWhole = () => {
      const found = helpersOf(one.home());
      return Object.entries(found).every(([kind, pids]) => pids.length > 0 && pids.every((pid) => isScoped(kind, pid)));
    };
    await until('every helper is in a scope', isWhole);
    if (one.holder() > 0) await until('the holder too', () => isScoped('namespace', one.holder()));
    assert.ok((await trouble(daemon))?.ok);
    const before = helpersOf(one.home());
    await withAgents([one.reach(pathOf(made))], async (agent) => {
      await agent.serve('web', 'tcp', 80);
      execFileSync(one.stop[0]!, one.stop.slice(1));
      await daemon.kill();
      assert.equal(helpersOf(one.home()), before, 'they run, and nothing else');
      assert.match(await dial('tcp', '10.99.1.2', 18_100 + n, 5000), /^web /);
    });
    // A crash between the start of a helper and its request has left it in another cgroup.
    if (what.startsWith('root')) for (const stray of before.uplink) move(stray, 'system.slice');
    await daemon.start();
    await until('every helper is in a scope again', isWhole);
    assert.equal(helpersOf(one.home()), before);
    await daemon.clean();
  });

  scopes(`${what}: nothing is left of the scopes when the helpers have ended`, async () => {
    await daemon.down('web', 'slirp');
    await daemon.clean();
    assert.is(await daemon.stop(), 0);
    await until('no scope is left', () => scopesOf(...manager).length === 0);
  });
}

scopes.after(async () => {
  for (const { daemon } of cases) await daemon.kill();
});

endWithReport();
scopes.run();
