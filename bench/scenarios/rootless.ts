/**
 * Scenario `rootless`: an ordinary user's cleat beside root's, and beside what Podman does for the same user by itself: netavark,
 * slirp4netns and rootlessport.
 *
 * Guarantees: everyone has a container with the same server and one published port, that stands all the time, and takes turns; a
 * ratio is the median of the rounds' own ratios. A start is that of one more container with a port on the same network. Bytes
 * that the user's way out has carried while the published port was used are counted at its link.
 * Limits: as `forwarding` and `engines` have. Clients of published ports come from the host's loopback. Out of a container means to a
 * server on an address of the host, by way of slirp4netns for both users.
 */
import { execFileSync, type ChildProcess } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { on, port } from '../../test/harness/daemon.ts';
import { commandLines } from '../../test/harness/native.ts';
import { NETAVARK } from '../../test/harness/netavark.ts';
import { IMAGE, Podman } from '../../test/harness/podman.ts';
import { RootlessDaemon, TestUser } from '../../test/harness/rootless.ts';
import { LOOPBACK } from '../contenders/carriers.ts';
import { NETWORK } from '../client.ts';
import { Ground } from '../ground.ts';
import { dial, fetchFrom, send, serve, SERVED, type Moved } from '../load/load.ts';
import { cpuOf } from '../processes.ts';
import { emptyReport, ms, p50, quantile, times, type Report } from '../report.ts';
import { rotated } from '../rounds.ts';
import { pick, type Context, type Scenario } from '../scenario.ts';

const PEER = '/usr/lib/podman/netavark';
const NEEDED = ['/usr/bin/podman', '/bin/busybox', PEER, '/usr/bin/newuidmap', '/usr/bin/slirp4netns'];
/** Of the host, and not of its loopback, which ways out do not lead to. */
const HOST = '10.82.0.2';
const FIRST_PORT = 9400;
const TURN_MS = 200;
const DIALS = 600;

const ROOT = 'cleat, root';
const USER = 'cleat, a user';
const PODMAN_ON_CLEAT = 'a user, Podman on cleat';
const PODMAN = 'a user, Podman by itself';

/** A container that stands, and how one more is started (its milliseconds) and removed. */
interface Standing {
  name: string;
  port: number;
  netns: string;
  start: (id: number) => Promise<number>;
  /** The processes that carry the published port. */
  processes: () => number[];
}

interface UserOfPodman {
  name: string;
  uid: number;
  podman: Podman;
}

const KINDS = ['to it, MB/s', 'from it, MB/s', 'out, MB/s', 'connections/s'] as const;
type Kind = (typeof KINDS)[number];

export const rootless: Scenario = {
  name: 'rootless',
  async run(context) {
    const traffic = emptyReport(
      'a user beside root, and beside Podman by itself: one published port, and the way out',
      ['', 'n', ...KINDS, 'own CPU, a GB', 'a connection'],
    );
    const starts = emptyReport('one more container with a port', ['', 'n', 'p50', 'p90']);
    const missing = NEEDED.find((file) => !existsSync(file));
    if (missing !== undefined) return [{ ...traffic, notes: [`left out: ${missing} is missing`] }];
    const ground = new Ground();
    await ground.wayOut();
    const user = new TestUser('bench', 2100);
    const daemon = new RootlessDaemon(user);
    const podmans: UserOfPodman[] = [
      { name: PODMAN_ON_CLEAT, uid: 2101, podman: new Podman({ rootless: true, netavark: NETAVARK, uid: 2101 }) },
      { name: PODMAN, uid: 2102, podman: new Podman({ rootless: true, netavark: PEER, uid: 2102 }) },
    ];
    // crun refuses a machine that mixes both versions of cgroups.
    execFileSync('mount', ['-t', 'cgroup2', 'cgroup2', '/sys/fs/cgroup']);
    const standing = [await ofRoot(context), await ofUser(daemon, user)];
    for (const one of podmans) standing.push(await ofPodman(one, standing.length));
    const servers = await Promise.all([...standing.map(({ netns }) => netns), '/proc/self/ns/net'].map(serve));
    try {
      await measure(context, { standing, traffic, starts, carried: () => carriedBy(user) });
    } finally {
      for (const server of servers) await ended(server);
      for (const { podman } of podmans) await podman.do('rm', '--all', '--force', '--time', '0');
      await daemon.down('standing');
      await daemon.stop();
    }
    return [traffic, starts];
  },
};

async function ofRoot(context: Context): Promise<Standing> {
  const cleat = await context.cleat();
  if (cleat === null) throw new Error(context.absent ?? 'no daemon');
  const client = cleat.client();
  const up = async (id: string, hostPort: number): Promise<number> => {
    const ports = [{ host_port: hostPort, container_port: SERVED }];
    const created = await client.event({ type: 'create', id, networks: { [NETWORK]: {} }, port_mappings: ports });
    return created.ms + (await client.event({ type: 'configure', id })).ms;
  };
  await up('standing', FIRST_PORT);
  return {
    name: ROOT,
    port: FIRST_PORT,
    netns: await client.netnsOf('standing'),
    start: async (id) => {
      const took = await up(`more${id}`, FIRST_PORT + 50);
      await client.event({ type: 'teardown', id: `more${id}` });
      await client.waitGone(`more${id}`);
      return took;
    },
    processes: () => [], // the kernel
  };
}

async function ofUser(daemon: RootlessDaemon, user: TestUser): Promise<Standing> {
  await daemon.start();
  const up = (id: string, hostPort: number) =>
    daemon.up(id, { networks: on('cleat'), port_mappings: [port(hostPort, SERVED)] });
  const { netns } = await up('standing', FIRST_PORT + 1);
  return {
    name: USER,
    port: FIRST_PORT + 1,
    netns: user.outsidePath(netns.path ?? ''),
    start: async (id) => {
      const began = performance.now();
      await up(`more${id}`, FIRST_PORT + 51);
      const took = performance.now() - began;
      await daemon.down(`more${id}`);
      return took;
    },
    // It runs as one of the user's subordinate users.
    processes: () =>
      user
        .processes()
        .filter((line) => line.includes('/cleat-forwarder '))
        .map((line) => Number.parseInt(line, 10)),
  };
}

async function ofPodman({ name, podman, uid }: UserOfPodman, number: number): Promise<Standing> {
  await podman.importImage();
  await podman.do('network', 'create', '--disable-dns', '--subnet', `10.91.${number}.0/24`, 'own');
  const published = (hostPort: number) => ['--network', 'own', '-p', `${hostPort}:${SERVED}`, '--log-driver', 'none'];
  await podman.do('run', '--detach', '--name', 'standing', ...published(FIRST_PORT + number), IMAGE, 'sleep', '100000');
  return {
    name,
    port: FIRST_PORT + number,
    netns: `/proc/${await podman.inspect<number>('.State.Pid', 'standing')}/ns/net`,
    start: async () => {
      const began = performance.now();
      await podman.do('run', '--rm', ...published(FIRST_PORT + 50 + number), IMAGE, 'true');
      return performance.now() - began;
    },
    processes: () => processesOf(uid, 'rootlessport'),
  };
}

/** The processes that a user has of a program, by its name. */
const processesOf = (uid: number, name: string): number[] =>
  [...commandLines()].flatMap(([pid, [file = '']]) =>
    file.endsWith(name) && statSync(`/proc/${pid}`).uid === uid ? [pid] : [],
  );

interface Work {
  standing: Standing[];
  traffic: Report;
  starts: Report;
  carried: () => number;
}

async function measure(context: Context, { standing, traffic, starts, carried }: Work): Promise<void> {
  const rates = new Map(standing.map(({ name }) => [name, new Map(KINDS.map((kind) => [kind, [] as number[]]))]));
  const took = new Map(standing.map(({ name }) => [name, [] as number[]]));
  const cost = new Map(standing.map(({ name }) => [name, { bytes: 0, bytesCpu: 0, dials: 0, dialsCpu: 0 }]));
  let [throughPort, throughWay] = [0, 0];
  const rounds = pick(context, 15, 3);
  for (let round = 0; round < rounds; round++) {
    for (const { name, port: number, netns, start, processes } of rotated(standing, round)) {
      const target = { address: LOOPBACK, port: number };
      const works: Record<Kind, () => Promise<Moved>> = {
        'to it, MB/s': () => send(target, 1, TURN_MS),
        'from it, MB/s': () => fetchFrom(target, 1, TURN_MS),
        'out, MB/s': () => send({ address: HOST, port: SERVED }, 1, TURN_MS, netns),
        'connections/s': () => dial(target, 1, DIALS, TURN_MS),
      };
      for (const kind of KINDS) {
        const before = carried();
        const cpu = () => processes().reduce((sum, pid) => sum + cpuOf(pid), 0);
        const cpuBefore = cpu();
        const { amount, perSecond } = await works[kind]();
        rates.get(name)!.get(kind)!.push(perSecond);
        const spent = cost.get(name)!;
        if (kind === 'connections/s') {
          spent.dials += amount;
          spent.dialsCpu += cpu() - cpuBefore;
        } else if (kind !== 'out, MB/s') {
          spent.bytes += amount;
          spent.bytesCpu += cpu() - cpuBefore;
        }
        if (name !== USER || kind === 'out, MB/s') continue;
        throughWay += carried() - before;
        if (kind !== 'connections/s') throughPort += amount;
      }
      took.get(name)!.push(await start(context.nextId()));
    }
  }
  for (const { name } of standing) {
    const shown = KINDS.map((kind) => {
      const middle = p50(rates.get(name)!.get(kind));
      return (kind === 'connections/s' ? middle : middle / 1e6).toFixed(0);
    });
    const { bytes, bytesCpu, dials, dialsCpu } = cost.get(name)!;
    const costs = [ms((bytesCpu * 1e9) / bytes), `${((dialsCpu * 1000) / dials).toFixed(0)} us`];
    traffic.rows.push([name, String(rounds), ...shown, ...(name === ROOT ? ['', ''] : costs)]);
    const samples = took.get(name)!;
    starts.rows.push([name, String(samples.length), ms(p50(samples)), ms(quantile(samples, 0.9))]);
  }
  const ratio = (a: number[], b: number[]): string => times(p50(a.map((value, i) => value / (b[i] ?? Number.NaN))));
  for (const other of [ROOT, PODMAN]) {
    const all = KINDS.map((kind) => `${kind} ${ratio(rates.get(USER)!.get(kind)!, rates.get(other)!.get(kind)!)}`);
    traffic.notes.push(`${USER}, to ${other}: ${all.join('; ')}`);
  }
  traffic.notes.push(
    `${(throughPort / 1e9).toFixed(2)} GB passed the user's published port, and meanwhile ` +
      `${(throughWay / 1e3).toFixed(1)} KB the link of slirp4netns`,
  );
  starts.notes.push(`${USER}, to ${ROOT}: ${ratio(took.get(USER)!, took.get(ROOT)!)}`);
  starts.notes.push(`${PODMAN_ON_CLEAT}, to ${PODMAN}: ${ratio(took.get(PODMAN_ON_CLEAT)!, took.get(PODMAN)!)}`);
}

/** The bytes that the link of a user's way out has carried, both ways. */
function carriedBy(user: TestUser): number {
  const inside = [
    'nsenter',
    `--net=${user.outsidePath('/run/netns/rootless')}`,
    'ip',
    '-j',
    '-s',
    'link',
    'show',
    'tap0',
  ];
  const [file = '', ...args] = inside;
  const [link] = JSON.parse(execFileSync(file, args, { encoding: 'utf8' })) as {
    stats64: { rx: { bytes: number }; tx: { bytes: number } };
  }[];
  return (link?.stats64.rx.bytes ?? 0) + (link?.stats64.tx.bytes ?? 0);
}

async function ended(server: ChildProcess): Promise<void> {
  const exited = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGKILL');
  await exited;
}
