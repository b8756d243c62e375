/**
 * Scenario `forwarding`: the bytes and connections a second that a published port carries where no bridge and no
 * firewall can.
 *
 * Guarantees: all contenders stand during the whole run and take turns, round after round; a ratio is the median of the
 * rounds' own ratios, so that other work of the machine is in both of its sides. The same program sends and receives
 * for all (load.cc), and only data that has arrived in the container counts. Beside the rates is the processor time
 * that the carrier's own processes took, which a busy machine changes less.
 * Limits: on two processors sender, receiver and forwarder share them: the figures say which one costs less of them,
 * not what the wire would bear. Clients come from the host itself. IPv4, TCP.
 */
import { figure, type FigureName } from '../budgets.ts';
import {
  carriers,
  FORWARDER,
  FORWARDER_SLIRP,
  NOBODY,
  plainVeth,
  ROOTLESSPORT,
  startAll,
  troubleOf,
  type Carried,
} from '../contenders/carriers.ts';
import { Ground } from '../ground.ts';
import { dial, fetchFrom, send, type Moved } from '../load/load.ts';
import { cpuOf } from '../processes.ts';
import { emptyReport, ms, p50, reasonOf, times, type Report } from '../report.ts';
import { rotated } from '../rounds.ts';
import { pick, type Scenario } from '../scenario.ts';

const FIRST_PORT = 9000;
const MANY_STREAMS = 8;
const MANY_DIALS = 16;
/** Many short turns rather than few long ones, because a busy machine changes from second to second. */
const TURN_MS = 200;
/** Few enough for the ports that clients come from: each stays taken for a minute (TIME_WAIT, tcp(7)). */
const MOST_DIALS = 600;

type Kind = 'one' | 'eight' | 'out' | 'serial' | 'many';
const KINDS: [Kind, string][] = [
  ['one', 'one connection'],
  ['eight', `${MANY_STREAMS} connections`],
  ['out', 'one connection, from it'],
  ['serial', 'connections/s'],
  ['many', `connections/s, ${MANY_DIALS} at once`],
];
const JUDGED: [Kind, FigureName][] = [
  ['one', 'forwarder to rootlessport, one connection'],
  ['eight', 'forwarder to rootlessport, 8 connections'],
  ['serial', 'forwarder to rootlessport, connections/s'],
];
const isDials = (kind: Kind): boolean => kind === 'serial' || kind === 'many';

/** The results of a contender, a figure to a round (NaN where it failed), and what they cost. */
class Findings {
  readonly rates: Record<Kind, number[]> = { one: [], eight: [], out: [], serial: [], many: [] };
  bytes = 0;
  bytesCpu = 0;
  dials = 0;
  dialsCpu = 0;
}

type Results = Map<string, Findings>;

/** Returns the median of the rounds that have a value. */
const middle = (values: number[]): number => p50(values.filter(Number.isFinite));
const us = (value: number): string => (Number.isFinite(value) ? `${(value * 1000).toFixed(0)} us` : '-');
const speed = (value: number): string => (Number.isFinite(value) ? value.toFixed(0) : '-');

export const forwarding: Scenario = {
  name: 'forwarding',
  async run(context) {
    const report = emptyReport('published ports without bridge and firewall: MB/s, and connections a second', [
      '',
      'n',
      'to it, MB/s',
      `${MANY_STREAMS} at once`,
      'from it, MB/s',
      'connections/s',
      `${MANY_DIALS} at once`,
      'own CPU, a GB',
      'a connection',
    ]);
    const ground = new Ground();
    const daemon = await context.cleat();
    const client = daemon?.client() ?? null;
    const all = carriers(ground, daemon, client, context.nextId);
    const standing = [await plainVeth(ground), ...(await startAll(all, report, FIRST_PORT))];
    const results: Results = new Map(standing.map(({ name }) => [name, new Findings()]));
    const rounds = pick(context, 15, 3);
    for (let round = 0; round < rounds; round++) {
      for (const carried of rotated(standing, round)) await turn(carried, results, report);
    }
    for (const carried of standing) await carried.end();
    client?.close();

    for (const [name, found] of results) {
      const rates = KINDS.map(([kind]) => speed(middle(found.rates[kind]) / (isDials(kind) ? 1 : 1e6)));
      const costs = [ms((found.bytesCpu * 1e9) / found.bytes), us(found.dialsCpu / found.dials)];
      report.rows.push([name, String(rounds), ...rates, ...(name === NOBODY ? ['', ''] : costs)]);
    }
    judge(results, report);
    return [report];
  },
};

async function turn(carried: Carried, results: Results, report: Report): Promise<void> {
  const { name, target } = carried;
  const works: Record<Kind, () => Promise<Moved>> = {
    one: () => send(target, 1, TURN_MS),
    eight: () => send(target, MANY_STREAMS, TURN_MS),
    out: () => fetchFrom(target, 1, TURN_MS),
    serial: () => dial(target, 1, MOST_DIALS, TURN_MS),
    many: () => dial(target, MANY_DIALS, 2 * MOST_DIALS, TURN_MS),
  };
  const cpu = async (): Promise<number> => (await carried.processes()).reduce((sum, pid) => sum + cpuOf(pid), 0);
  const found = results.get(name)!;
  for (const [kind] of KINDS) {
    try {
      const before = await cpu();
      const { amount, perSecond } = await works[kind]();
      const took = (await cpu()) - before;
      found.rates[kind].push(perSecond);
      if (isDials(kind)) {
        found.dials += amount;
        found.dialsCpu += took;
      } else {
        found.bytes += amount;
        found.bytesCpu += took;
      }
    } catch (error) {
      found.rates[kind].push(Number.NaN);
      const note = `${name}: ${reasonOf(error)}`;
      const trouble = troubleOf(report, name);
      if (!trouble.includes(note)) trouble.push(note);
    }
  }
}

function judge(results: Results, report: Report): void {
  const ratio = (ours: string, theirs: string, kind: Kind): number => {
    const [mine, other] = [results.get(ours)?.rates[kind] ?? [], results.get(theirs)?.rates[kind] ?? []];
    return middle(mine.map((value, round) => value / (other[round] ?? Number.NaN)));
  };
  for (const [kind, name] of JUDGED) report.checks.push(figure(name, ratio(FORWARDER, ROOTLESSPORT, kind)));
  report.checks.push(figure('forwarder to a plain veth, one connection', ratio(FORWARDER, NOBODY, 'one')));
  const others = KINDS.filter(([kind]) => !JUDGED.some(([judged]) => judged === kind));
  const rest = others.map(([kind, what]) => `${what} ${times(ratio(FORWARDER, ROOTLESSPORT, kind))}`);
  report.notes.push(`forwarder to rootlessport: ${rest.join(', ')}`);
  const behind = KINDS.map(([kind, what]) => `${what} ${times(ratio(FORWARDER_SLIRP, FORWARDER, kind))}`);
  report.notes.push(`behind slirp4netns to on a bridge: ${behind.join(', ')}`);
}
