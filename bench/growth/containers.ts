/**
 * Scenario `growth`: the cost of the next container when 1 to 4,000 stand already, on five bridges.
 *
 * Limits: a bridge holds 1,023 ports, so there are five, and what is measured is one more on the first. The peers have one bridge.
 * As climb.ts.
 */
import { figure } from '../budgets.ts';
import { NETWORK } from '../client.ts';
import { floorContender } from '../contenders/contender.ts';
import { bulkUp, cleatContender } from '../daemon.ts';
import { NO_PORTS } from '../floor/floor.ts';
import type { Report } from '../report.ts';
import type { Context, Scenario } from '../scenario.ts';
import type { Growth } from '../plot/growth.ts';
import { at, climb, type Grower } from './climb.ts';
import { noDaemon, peerGrower, settled } from './growers.ts';

const POINTS = [1, 4, 16, 64, 250, 1000, 2000, 4000];
const QUICK_POINTS = [1, 16, 64, 250];
const BRIDGES = 5;
const CONNECTIONS = 8;

export const growth: Scenario = {
  name: 'growth',
  alone: true,
  async run(context) {
    const points = context.quick ? QUICK_POINTS : POINTS;
    const title = 'p50 of create + configure with so many containers standing';
    const growers = [await floorGrower(context), ...(await cleatGrower(context))];
    for (const peer of context.peers) {
      growers.push(peerGrower(peer, context.nextId, (from, to) => Array.from({ length: to - from }, () => NO_PORTS)));
    }
    const report = await climb(context, { of: 'containers', title, points, ports: 0 }, growers);
    if (!context.quick) judge(report, report.growth!);
    return [report];
  },
};

async function floorGrower({ floor, nextIds }: Context): Promise<Grower> {
  for (let bridge = 1; bridge < BRIDGES; bridge++) await floor.command(`bridge ${bridge}`);
  return {
    contender: floorContender(floor),
    async grow(from, to) {
      await floor.command(`burst ${nextIds(to - from)} ${to - from} ${BRIDGES}`);
    },
    memory: noDaemon,
  };
}

async function cleatGrower(context: Context): Promise<Grower[]> {
  const daemon = await context.cleat();
  if (daemon === null) return [];
  const client = daemon.client(CONNECTIONS);
  const networks = [NETWORK];
  for (let n = 1; n < BRIDGES; n++) {
    const name = `${NETWORK}${n}`;
    await client.makeNetwork(name, `cleatbench${n}`, `10.${128 + n}.0.0/16`);
    networks.push(name);
  }
  return [
    {
      contender: cleatContender(client),
      grow: (from, to) => bulkUp(client, context.nextIds(to - from), to - from, networks),
      memory: settled(daemon),
    },
  ];
}

function judge(report: Report, growth: Growth): void {
  const ratio = (name: string, point: number): number => at(growth, name, point) / at(growth, name, 1);
  report.checks.push(
    figure('create with 1,000 standing, to the first', ratio('cleat', 1000)),
    figure('create with 4,000 standing, to the first', ratio('cleat', 4000)),
    figure("create with 4,000 standing, growth to the floor's", ratio('cleat', 4000) / ratio('floor', 4000)),
  );
}
