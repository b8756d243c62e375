/**
 * Scenario `traffic`: what the kernel's path costs that cleat has made: from container to container, out of a container to the
 * host's neighbour, and in from that neighbour by a published port of the firewall.
 *
 * Guarantees: each contender works in a host's namespace of its own, with a neighbour of its own, so nobody's packets pass the rules
 * of another; all stand during the whole run and take turns, and a ratio is the median of the rounds' own ratios. By hand is a
 * bridge, veths, one masquerade and one port (floor.cc), in both halves of the run. In the second half cleat has 10,000 ports and
 * 1,000 containers. The peers' rules are those of iptables, as Docker's are: a rule for each port.
 * Limits: sender and receiver share the processors. IPv4, TCP, one connection at a time. Packets of those who share a bridge pass no
 * rules unless br_netfilter is loaded.
 */
import { execFileSync, type ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { RUN } from '../arena.ts';
import { figure, type FigureName } from '../budgets.ts';
import { upEvents, type Client } from '../client.ts';
import { bulkUp } from '../daemon.ts';
import { Floor, NO_PORTS, type PortRun } from '../floor/floor.ts';
import { Ground } from '../ground.ts';
import { dial, echo, send, serve, SERVED, type Moved, type Target } from '../load/load.ts';
import { publishMany } from '../many-ports.ts';
import { findPeers } from '../contenders/peers.ts';
import { emptyReport, p50, reasonOf, times, type Report } from '../report.ts';
import { rotated } from '../rounds.ts';
import { pick, type Context, type Scenario } from '../scenario.ts';

const PORTS = 10_000;
/** Those without ports, beside the 50 that publish them and the two that have the traffic: a bridge holds 1,023. */
const IDLE = 948;
/** The daemon looks at everything once in the first minute, and would take its processor time from the traffic. */
const QUIET_MS: [full: number, quick: number] = [70_000, 2000];
const TURN_MS = 150;
/** Few enough for the ports that clients come from: each stays taken for a minute (TIME_WAIT, tcp(7)). */
const MOST_DIALS = 300;
const ONE_PORT: PortRun = { count: 1, first: SERVED, step: 1 };

const HAND = 'by hand';
const CLEAT = 'cleat';
const OURS = [HAND, CLEAT];
const PEER_EVERY = 3;

const PATHS = ['container to container', 'out, masqueraded', 'in, by a port'] as const;
type Path = (typeof PATHS)[number];
const KINDS = ['MB/s', 'connections/s', 'round trips/s'] as const;
type Kind = (typeof KINDS)[number];

const FEW: Record<Path, FigureName> = {
  'container to container': 'container to container, to by hand',
  'out, masqueraded': 'out of a container, to by hand',
  'in, by a port': 'in by a port, to by hand',
};
const MANY: Record<Path, FigureName> = {
  'container to container': 'container to container, 10,000 ports, to by hand',
  'out, masqueraded': 'out of a container, 10,000 ports, to by hand',
  'in, by a port': 'in by a port, 10,000 ports, to by hand',
};

const COLUMNS = ['', '', 'n', ...KINDS.flatMap((kind) => [kind, 'to by hand'])];

/** The namespace where a path begins, and where it leads. */
interface Way {
  from: string;
  to: Target;
}

/** Two containers and a neighbour. */
interface Standing {
  name: string;
  ways: Record<Path, Way>;
}

/** A figure for each round; NaN where it failed. */
type Rates = Map<string, number[]>;
const key = (name: string, path: Path, kind: Kind): string => `${name}/${path}/${kind}`;

export const traffic: Scenario = {
  name: 'traffic',
  async run(context) {
    const floor = new Floor(`${RUN}/hand`, `${context.folder}/hand`, true);
    const servers: ChildProcess[] = [];
    const client = (await context.beside(0))?.client() ?? null;
    try {
      const few = emptyReport('traffic with one published port each', COLUMNS);
      const standing = await standingOf(context, floor, client, few, servers);
      const begin = await rounds(context, standing, few);
      judge(few, begin, FEW);
      if (client === null) return [few];
      const many = emptyReport(
        `the same, with ${PORTS.toLocaleString('en')} ports and 1,000 containers of cleat`,
        COLUMNS,
      );
      await publishMany(client, context.nextId, 0, PORTS);
      await bulkUp(client, context.nextIds(IDLE), IDLE);
      await sleep(pick(context, ...QUIET_MS));
      const end = await rounds(
        context,
        standing.filter(({ name }) => OURS.includes(name)),
        many,
      );
      judge(many, end, MANY);
      return [few, many];
    } finally {
      for (const server of servers) server.kill('SIGKILL');
      client?.close();
      floor.end();
    }
  },
};

async function standingOf(
  context: Context,
  floor: Floor,
  client: Client | null,
  report: Report,
  servers: ChildProcess[],
): Promise<Standing[]> {
  const ground = new Ground();
  const found: Standing[] = [];
  const add = async (name: string, outside: string, create: (ports: PortRun) => Promise<string>): Promise<void> => {
    const [from, to] = [await create(NO_PORTS), await create(ONE_PORT)];
    const neighbour = await ground.neighbour(`neighbour${context.nextId()}`, outside);
    servers.push(await serve(to), await serve(neighbour.netns));
    found.push({
      name,
      ways: {
        'container to container': { from, to: { address: addressIn(to), port: SERVED } },
        'out, masqueraded': { from, to: { address: neighbour.address, port: SERVED } },
        'in, by a port': { from: neighbour.netns, to: { address: neighbour.host, port: SERVED } },
      },
    });
  };
  await floor.command('lo');
  await floor.command('setup');
  await add(HAND, floor.outside, async (ports) => {
    const id = context.nextId();
    await floor.create(id, ports);
    return floor.netnsPath(`fl${id}`);
  });
  const daemon = await context.beside(0);
  if (client !== null && daemon !== null) {
    await add(CLEAT, `/proc/${daemon.pid}/ns/net`, async (ports) => {
      const id = `traffic${context.nextId()}`;
      await client.events(upEvents(id, ports));
      return client.netnsOf(id);
    });
  }
  for (const { name } of context.peers) {
    const outside = await ground.bare(`host${context.nextId()}`);
    const { contenders } = findPeers(context.floor, `${RUN}/traffic-${name}`, { outside });
    const peer = contenders.find((one) => one.name === name)!;
    try {
      await add(name, outside, async (ports) => {
        const id = context.nextId();
        await peer.create(id, ports);
        return context.floor.netnsPath(`${name === 'CNI' ? 'cni' : 'na'}${id}`);
      });
    } catch (error) {
      report.notes.push(`${name}: ${reasonOf(error)}`);
    }
  }
  return found;
}

function addressIn(netns: string): string {
  const args = [`--net=${netns}`, 'ip', '-j', '-4', 'address', 'show', 'eth0'];
  const [link] = JSON.parse(execFileSync('nsenter', args, { encoding: 'utf8' })) as {
    addr_info: { local: string }[];
  }[];
  return link?.addr_info[0]?.local ?? '';
}

async function rounds(context: Context, standing: Standing[], report: Report): Promise<Rates> {
  const rates: Rates = new Map();
  const count = pick(context, 20, 4);
  const turns = PATHS.flatMap((path) => KINDS.map((kind) => ({ path, kind })));
  for (let round = 0; round < count; round++) {
    // One kind after another, so that the two sides of a ratio are a fifth of a second apart.
    for (const { path, kind } of turns) {
      for (const { name, ways } of rotated(standing, round)) {
        const at = key(name, path, kind);
        const idle = !OURS.includes(name) && round % PEER_EVERY !== 0;
        const rate = idle ? Number.NaN : await rateOf(name, path, kind, ways[path], report);
        rates.set(at, [...(rates.get(at) ?? []), rate]);
      }
    }
  }
  for (const path of PATHS) {
    for (const { name } of standing) {
      const cells = KINDS.flatMap((kind) => {
        const rate = middle(rates.get(key(name, path, kind)) ?? []) / (kind === 'MB/s' ? 1e6 : 1);
        return [Number.isFinite(rate) ? rate.toFixed(0) : '-', times(ratio(rates, name, path, kind))];
      });
      report.rows.push([
        path,
        name,
        String(rates.get(key(name, path, 'MB/s'))?.filter(Number.isFinite).length),
        ...cells,
      ]);
    }
  }
  return rates;
}

async function rateOf(name: string, path: Path, kind: Kind, { from, to }: Way, report: Report): Promise<number> {
  const works: Record<Kind, () => Promise<Moved>> = {
    'MB/s': () => send(to, 1, TURN_MS, from),
    'connections/s': () => dial(to, 1, MOST_DIALS, TURN_MS, from),
    'round trips/s': () => echo(to, 1, TURN_MS, from),
  };
  try {
    return (await works[kind]()).perSecond;
  } catch (error) {
    const note = `${name}, ${path}: ${reasonOf(error)}`;
    const where = OURS.includes(name) ? report.failures : report.notes;
    if (!where.includes(note)) where.push(note);
    return Number.NaN;
  }
}

const middle = (values: number[]): number => p50(values.filter(Number.isFinite));

function ratio(rates: Rates, name: string, path: Path, kind: Kind): number {
  const hand = rates.get(key(HAND, path, kind)) ?? [];
  const own = rates.get(key(name, path, kind)) ?? [];
  return middle(own.map((value, round) => value / (hand[round] ?? Number.NaN)));
}

/** A path is as good as the worst of its kinds. */
function judge(report: Report, rates: Rates, figures: Record<Path, FigureName>): void {
  for (const path of PATHS) {
    const least = Math.min(...KINDS.map((kind) => ratio(rates, CLEAT, path, kind)));
    report.checks.push(figure(figures[path], least));
  }
}
