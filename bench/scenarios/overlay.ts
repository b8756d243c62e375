/**
 * Scenario `overlay`: two daemons on hosts of their own, a real etcd of three members, and up to a thousand simulated hosts.
 *
 * Guarantees: an event counts when the kernels of both real hosts have it, which are asked themselves; the time begins before it is written
 * to the store. Traffic between containers of the two hosts takes turns with that of two hosts whose bridge, VXLAN link, route,
 * neighbour and forwarding entry were made by hand. Attaching takes turns with a bridge of the same daemon.
 * Limits: all hosts, real and simulated, and etcd share this machine's processors and disk. A host is asked for its routes every few
 * milliseconds, which are part of the times.
 */
import { execFileSync, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { RUN } from '../arena.ts';
import { figure, type FigureName } from '../budgets.ts';
import { upEvents, type Client } from '../client.ts';
import { Daemon } from '../daemon.ts';
import { NO_PORTS } from '../floor/floor.ts';
import { dial, echo, send, serve, SERVED, type Moved } from '../load/load.ts';
import { Crowd } from '../overlay/crowd.ts';
import { Hosts, type Host } from '../overlay/hosts.ts';
import { hostByHand } from '../overlay/by-hand.ts';
import { emptyReport, ms, p50, quantile, type Report } from '../report.ts';
import { attempt, pick, type Context, type Scenario } from '../scenario.ts';

const ETCD = '/usr/bin/etcd';
const NETWORK = 'ov';
const PLAIN = 'plain';
const TTL_S = 10;
const MAIN_TABLE = 254;
const LOOK_MS = 3;
const WITHIN_MS = 30_000;
const FEW = 100;
const MANY = 1000;
/** A daemon looks at everything once in the first minute, and would take its processor time from the traffic. */
const QUIET_MS: [full: number, quick: number] = [70_000, 2000];
/** Shorter turns differ by a quarter of themselves. */
const TURN_MS: [full: number, quick: number] = [700, 150];
const MOST_DIALS = 300;

interface RealHost extends Host {
  daemon: Daemon;
  client: Client;
}

export const overlay: Scenario = {
  name: 'overlay',
  alone: true,
  async run(context) {
    const report = emptyReport('one network over several hosts', ['', 'n', 'p50', 'p99']);
    if (!existsSync(ETCD)) {
      report.notes.push('left out: etcd (Debian package etcd-server)');
      return [report];
    }
    const hosts = await Hosts.start(context.folder);
    const crowd = new Crowd(hosts, NETWORK);
    const servers: ChildProcess[] = [];
    const real: RealHost[] = [];
    try {
      await attempt(report, async () => {
        for (const n of [11, 12]) real.push(await realHost(context, hosts, n));
        await attach(context, real[0]!, report);
        await traffic(context, hosts, real, servers, report);
        await crowd.growTo(FEW - real.length);
        await crowd.watch();
        await programmed(hosts, real, crowd, pick(context, 100, 20), report);
        await joinAtOnce(hosts, real, crowd, report);
        await programmed(hosts, real, crowd, pick(context, 50, 10), report);
        await idle(hosts, pick(context, 30, 5), report);
        await dead(hosts, real, report);
      });
    } finally {
      crowd.end();
      for (const server of servers) server.kill('SIGKILL');
      for (const { client, daemon } of real) {
        client.close();
        await daemon.kill();
      }
    }
    return [report];
  },
};

async function realHost(context: Context, hosts: Hosts, n: number): Promise<RealHost> {
  const host = await hosts.host(n);
  const args = ['--etcd', hosts.endpoints.join(','), '--advertise', host.address, '--etcd-ttl', String(TTL_S)];
  const daemon = new Daemon(`${context.folder}/host${n}`, `${RUN}/host${n}`, args, host.netns);
  await daemon.start();
  const client = daemon.client();
  const network = { name: NETWORK, driver: 'overlay', network_interface: 'cleatbench1', dns_enabled: false };
  await client.post('/v1/networks', JSON.stringify(network));
  await client.makeNetwork(PLAIN);
  for (const name of [NETWORK, PLAIN]) await client.events(upEvents(`${name}${n}`, NO_PORTS, name));
  return { ...host, daemon, client };
}

/** A container on the overlay, and one on a bridge, in turn. */
async function attach(context: Context, { client }: RealHost, report: Report): Promise<void> {
  const took = new Map<string, number[]>([NETWORK, PLAIN].map((network) => [network, []]));
  const [warmUp, rounds] = [30, pick(context, 60, 20)];
  for (let round = 0; round < warmUp + rounds; round++) {
    for (const [network, samples] of took) {
      const id = `attach${context.nextId()}`;
      const { ms: up } = await client.events(upEvents(id, NO_PORTS, network));
      if (round >= warmUp) samples.push(up);
      await client.event({ type: 'teardown', id });
    }
  }
  const [over, plain] = [NETWORK, PLAIN].map((network) => p50(took.get(network)));
  row(report, 'create + configure on the overlay', took.get(NETWORK)!);
  row(report, 'create + configure on a bridge', took.get(PLAIN)!);
  report.checks.push(figure('overlay: attach, to a bridge', over! / plain!));
}

/** Between containers of two hosts, with cleat and by hand. */
async function traffic(
  context: Context,
  hosts: Hosts,
  real: RealHost[],
  servers: ChildProcess[],
  report: Report,
): Promise<void> {
  const [a, b] = real as [RealHost, RealHost];
  const [fromCleat, toCleat] = [await a.client.netnsOf(`${NETWORK}11`), await b.client.netnsOf(`${NETWORK}12`)];
  const [fromHand, toHand] = [await hostByHand(hosts, 21, 22), await hostByHand(hosts, 22, 21)];
  const ways = {
    hand: { from: fromHand.netns, to: { address: toHand.address, port: SERVED } },
    cleat: { from: fromCleat, to: { address: addressIn(toCleat), port: SERVED } },
  };
  servers.push(await serve(toHand.netns), await serve(toCleat));
  const turn = pick(context, ...TURN_MS);
  const kinds = {
    throughput: ({ from, to }) => send(to, 1, turn, from),
    connections: ({ from, to }) => dial(to, 1, MOST_DIALS, turn, from),
    'round trips': ({ from, to }) => echo(to, 1, turn, from),
  } as const satisfies Record<string, (way: typeof ways.hand) => Promise<Moved>>;
  await sleep(pick(context, ...QUIET_MS));
  const ratios = { throughput: [] as number[], connections: [] as number[], 'round trips': [] as number[] };
  const names = Object.keys(kinds) as (keyof typeof kinds)[];
  for (let round = 0; round < pick(context, 20, 4); round++) {
    for (const kind of names) {
      const order = round % 2 === 0 ? (['hand', 'cleat'] as const) : (['cleat', 'hand'] as const);
      const rate = { hand: 0, cleat: 0 };
      for (const who of order) rate[who] = (await kinds[kind](ways[who])).perSecond;
      ratios[kind].push(rate.cleat / rate.hand);
    }
  }
  for (const kind of names) report.checks.push(figure(`overlay: ${kind} between hosts, to by hand`, p50(ratios[kind])));
}

/** Hosts join and leave, one after the other, until the kernels of the real ones have it. */
async function programmed(hosts: Hosts, real: RealHost[], crowd: Crowd, count: number, report: Report): Promise<void> {
  const took: number[] = [];
  const all = crowd.size + real.length;
  for (let turn = 0; turn < count; turn++) {
    const start = performance.now();
    const joins = turn % 2 === 0;
    const share = joins ? await crowd.joinOne() : await crowd.leaveOne();
    await Promise.all(real.map((host) => untilRoutes(hosts, host, (routes) => routes.has(share) === joins)));
    took.push(performance.now() - start);
    await sleep(20);
  }
  const name =
    all >= MANY ? 'overlay: an event at all of 1,000 hosts, p99' : 'overlay: an event at all of 100 hosts, p99';
  row(report, `an event, until it is programmed, with ${all.toLocaleString('en')} hosts`, took);
  report.checks.push(figure(name satisfies FigureName, quantile(took, 0.99)));
}

/** Hundreds of hosts join while a daemon is stopped: it has all of them to catch up with at once. */
async function joinAtOnce(hosts: Hosts, real: RealHost[], crowd: Crowd, report: Report): Promise<void> {
  const [host] = real as [RealHost];
  process.kill(host.daemon.pid, 'SIGSTOP');
  await crowd.growTo(MANY - real.length);
  const start = performance.now();
  process.kill(host.daemon.pid, 'SIGCONT');
  await untilRoutes(hosts, host, (routes) => routes.size >= MANY - 1);
  const took = performance.now() - start;
  row(report, `${MANY - FEW} hosts that have joined meanwhile, until they are programmed`, [took]);
  report.checks.push(figure('overlay: 900 hosts at once', took));
  for (const other of real) await untilRoutes(hosts, other, (routes) => routes.size >= MANY - 1);
  await crowd.watch();
}

/** Real hosts that do nothing, beside simulated ones that write nothing. */
async function idle(hosts: Hosts, seconds: number, report: Report): Promise<void> {
  const store = hosts.store();
  const before = (await store.list('/cleat/')).revision;
  await sleep(seconds * 1000);
  const writes = (await store.list('/cleat/')).revision - before;
  report.checks.push(figure('overlay: writes of an idle host a second', writes / 2 / seconds));
}

async function dead(hosts: Hosts, real: RealHost[], report: Report): Promise<void> {
  const [host, dying] = real as [RealHost, RealHost];
  const share = await shareOf(dying);
  await untilRoutes(hosts, host, (routes) => routes.has(share));
  const start = performance.now();
  await dying.daemon.kill();
  await untilRoutes(hosts, host, (routes) => !routes.has(share));
  const took = performance.now() - start;
  row(report, `a host that was killed, until nothing leads to it (lease of ${TTL_S} s)`, [took]);
  report.checks.push(figure('overlay: a dead host is gone', took));
}

async function shareOf({ client }: RealHost): Promise<string> {
  const { body } = await client.get(`/v1/networks/${NETWORK}`);
  return (JSON.parse(body) as { subnets: { subnet: string }[] }).subnets[0]!.subnet;
}

/** Waits until the routes to shares of other hosts are so. */
async function untilRoutes(hosts: Hosts, { netns }: Host, so: (routes: Set<string>) => boolean): Promise<void> {
  for (const start = performance.now(); ; await sleep(LOOK_MS)) {
    const routes = await hosts.outside.routesOf(netns, [MAIN_TABLE]);
    const shares = routes.filter(({ gateway, prefix }) => gateway !== null && gateway !== '' && prefix === 24);
    if (so(new Set(shares.map(({ destination, prefix }) => `${destination}/${prefix}`)))) return;
    if (performance.now() - start > WITHIN_MS) throw new Error(`${shares.length} routes to other hosts after 30 s`);
  }
}

function addressIn(netns: string): string {
  const args = [`--net=${netns}`, 'ip', '-j', '-4', 'address', 'show', 'eth0'];
  const [link] = JSON.parse(execFileSync('nsenter', args, { encoding: 'utf8' })) as {
    addr_info: { local: string }[];
  }[];
  return link?.addr_info[0]?.local ?? '';
}

function row(report: Report, what: string, took: number[]): void {
  report.rows.push([what, String(took.length), ms(p50(took)), ms(quantile(took, 0.99))]);
}
