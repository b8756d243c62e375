/**
 * Measures what the next one costs as more and more stand: the points of a growth curve, for all contenders in turn.
 *
 * Guarantees: at each point every contender holds as many of its own, and they take turns as in every scenario. A peer ends its
 * curve where the next point would take it more time than it has, and the report says where and why.
 * Limits: everybody's stand on one host, so at a point the kernel has as many again of the floor's, and of each peer's that is still
 * there. The containers of a point's turns stand together until its teardowns, so the first point is "a few". Nothing is taken
 * down at the end: what stands goes with the arena, and no other scenario should run in the same one.
 */
import type { Contender } from '../contenders/contender.ts';
import { emptyReport, ms, p50, reasonOf, times, type Report } from '../report.ts';
import { partsNote, takeTurns } from '../rounds.ts';
import type { Growth, Point } from '../plot/growth.ts';
import { pick, type Context } from '../scenario.ts';

export interface Grower {
  contender: Contender;
  /** Has `to` stand where `from` do. */
  grow(from: number, to: number): Promise<void>;
  /** Returns the resident KB of its daemon; null: it has none. */
  memory(): Promise<number | null>;
}

export interface Climb {
  of: string;
  title: string;
  points: number[];
  /** Ports of each container of the turns. */
  ports: number;
}

const FIRST_PORT = 2000;
const WARM_UP = 30;
/** A peer may spend so long on what stands. */
const PEER_MS: [full: number, quick: number] = [60_000, 5000];

interface Climber {
  grower: Grower;
  points: Point[];
  /** Milliseconds, in all and for the last one of those that it has put there. */
  spent: number;
  each: number;
  ended: boolean;
}

export async function climb(context: Context, plan: Climb, growers: Grower[]): Promise<Report> {
  const { of, title, points } = plan;
  const report = emptyReport(title, ['', ...points.map((at) => at.toLocaleString('en')), 'last to first']);
  const climbers = growers.map((grower): Climber => ({ grower, points: [], spent: 0, each: 0, ended: false }));
  let standing = 0;
  for (const at of points) {
    for (const climber of present(climbers)) await reach(context, climber, standing, at, report);
    standing = at;
    await look(context, plan, present(climbers), at, report);
  }
  report.growth = {
    of,
    curves: climbers.map(({ grower, points: found }) => ({ name: grower.contender.name, points: found })),
  };
  rows(report, report.growth, points);
  return report;
}

const present = (climbers: Climber[]): Climber[] => climbers.filter(({ ended }) => !ended);

/** Puts down why a curve ends: of a peer that is a note. */
function end(climber: Climber, report: Report, at: number, why: string): void {
  const { name, peer } = climber.grower.contender;
  climber.ended = true;
  (peer ? report.notes : report.failures).push(`${name} ends at ${at.toLocaleString('en')}: ${why}`);
}

async function reach(context: Context, climber: Climber, from: number, to: number, report: Report): Promise<void> {
  const expected = climber.each * (to - from);
  if (climber.grower.contender.peer && climber.spent + expected > pick(context, ...PEER_MS)) {
    return end(climber, report, from, `${(to - from).toLocaleString('en')} more would take it ${ms(expected)}`);
  }
  const start = performance.now();
  try {
    await climber.grower.grow(from, to);
  } catch (error) {
    return end(climber, report, from, reasonOf(error));
  }
  const took = performance.now() - start;
  climber.spent += took;
  climber.each = took / (to - from);
}

/** Measures the next one, of everybody who has reached this point. */
async function look(context: Context, plan: Climb, climbers: Climber[], at: number, report: Report): Promise<void> {
  const first = at === plan.points[0];
  const results = await takeTurns({
    contenders: climbers.map(({ grower }) => grower.contender),
    // Code that is not compiled yet would make the first point dear, and the growth small.
    warmUp: first ? WARM_UP : 0,
    rounds: pick(context, 15, 5),
    peerEvery: 5,
    peerSeconds: 5,
    ports: plan.ports,
    firstPort: FIRST_PORT,
    nextId: context.nextId,
  });
  for (const climber of climbers) {
    const { contender } = climber.grower;
    const samples = results.get(contender.name)!;
    const { create, parts, error } = samples;
    if (create.length > 0) climber.points.push({ at, ms: p50(create), kb: await climber.grower.memory() });
    if (error !== undefined) end(climber, report, at, error);
    if ((first || at === plan.points.at(-1)) && Object.keys(parts).length > 1) {
      report.notes.push(`${at.toLocaleString('en')}: ${partsNote(contender.name, samples)}`);
    }
  }
}

function rows(report: Report, { curves }: Growth, at: number[]): void {
  for (const { name, points } of curves) {
    const values = at.map((one) => points.find((point) => point.at === one)?.ms ?? Number.NaN);
    report.rows.push([name, ...values.map(ms), times(values.at(-1)! / values[0]!)]);
    const kb = at.map((one) => points.find((point) => point.at === one)?.kb ?? null);
    if (kb.some((value) => value !== null)) {
      report.rows.push([`${name}, MB`, ...kb.map((value) => (value === null ? '-' : (value / 1024).toFixed(0))), '']);
    }
  }
}

/** Returns a contender's milliseconds at a point; NaN: it did not get there. */
export function at({ curves }: Growth, name: string, point: number): number {
  return curves.find((curve) => curve.name === name)?.points.find((one) => one.at === point)?.ms ?? Number.NaN;
}
