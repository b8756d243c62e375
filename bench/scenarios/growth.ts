/**
 * Scenario `growth`: the cost of the next container when 1, 10, 100, 250 and 500 stand already.
 *
 * Guarantees: floor and cleat hold as many containers each and take turns; the measured containers are taken down again
 * before the next point.
 * Limits: the peers take a few turns at the first and last points, beside the others' containers and none of their own:
 * this shows what their start-up costs, not how they grow.
 */
import { bulkDown, bulkUp, cleatContender } from '../daemon.ts';
import { floorContender } from '../contender.ts';
import { emptyReport, ms, p50, times } from '../report.ts';
import { takeTurns, type Samples } from '../rounds.ts';
import { attempt, pick, type Scenario } from '../scenario.ts';

const POINTS = [1, 10, 100, 250, 500];

export const growth: Scenario = {
  name: 'growth',
  async run(context) {
    const report = emptyReport('growth: p50 of create + configure with so many standing', [
      '',
      ...POINTS.map(String),
      'last to first',
    ]);
    let client = (await context.cleat())?.client(8) ?? null;
    const first = context.nextIds(POINTS.at(-1)!);
    const byPoint: Map<string, Samples>[] = [];
    let standing = 0;
    for (const point of POINTS) {
      await context.floor.command(`burst ${first + standing} ${point - standing}`);
      if (client !== null) {
        const holder = client;
        let failed = true;
        await attempt(report, async () => {
          await bulkUp(holder, first + standing, point - standing);
          failed = false;
        });
        if (failed) client = null;
      }
      standing = point;
      const peersHere = point === POINTS[0] || point === POINTS.at(-1) ? context.peers : [];
      const cleat = client === null ? [] : [cleatContender(client)];
      byPoint.push(
        await takeTurns({
          contenders: [floorContender(context.floor), ...cleat, ...peersHere],
          rounds: pick(context, 20, 6),
          peerEvery: pick(context, 7, 3),
          peerSeconds: 3,
          ports: 0,
          firstPort: 0,
          nextId: context.nextId,
        }),
      );
    }
    for (const name of new Set(byPoint.flatMap((point) => [...point.keys()]))) {
      const middles = byPoint.map((point) => p50(point.get(name)?.create));
      report.rows.push([name, ...middles.map(ms), times(middles.at(-1)! / middles[0]!)]);
      const error = byPoint.map((point) => point.get(name)?.error).find((text) => text !== undefined);
      if (error !== undefined) report.notes.push(`${name}: ${error}`);
    }
    await context.floor.command(`teardown ${first} ${standing}`);
    await context.floor.command('gone');
    const holder = client;
    if (holder !== null) {
      await attempt(report, async () => void (await bulkDown(holder, first, standing)));
      holder.close();
    }
    return [report];
  },
};
