/**
 * Scenario `published`: the cost of a port when 10,000 are published already, compared with the first.
 *
 * Guarantees: measured empty, full and empty again, floor and cleat in turn each time, so that a drift of the machine
 * shows up as a difference of the two empty columns and not as growth.
 * Limits: the peers are left out (they take minutes to publish that many).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { figure } from '../budgets.ts';
import type { Client } from '../client.ts';
import { floorContender } from '../contenders/contender.ts';
import { cleatContender } from '../daemon.ts';
import { manyPorts, publishMany } from '../many-ports.ts';
import { emptyReport, ms, p50, times } from '../report.ts';
import { noteErrors, takeTurns, type Samples } from '../rounds.ts';
import { attempt, pick, type Context, type Scenario } from '../scenario.ts';

const PORTS = 10_000;

export const published: Scenario = {
  name: 'published',
  async run(context) {
    const daemon = await context.cleat();
    const client = daemon?.client() ?? null;
    const report = emptyReport('create + configure with 1 port: the first, and with 10,000 published', [
      '',
      'n',
      'first',
      `with ${PORTS.toLocaleString('en')}`,
      'first, again',
      'full to first',
    ]);
    const before = await measure(context, client);
    const { first, step, count } = manyPorts(0, PORTS);
    await context.floor.command(`fill ${first} ${step} ${count}`);
    const filled: string[] = [];
    if (client !== null) {
      await attempt(report, async () => void filled.push(...(await publishMany(client, context.nextId, 0, PORTS))));
    }
    const full = await measure(context, client);
    await context.floor.command(`drain ${first} ${step} ${count}`);
    for (const id of filled) await client!.event({ type: 'teardown', id });
    for (const id of filled) await client!.waitGone(id);
    await sleep(100);
    const after = await measure(context, client);
    client?.close();
    // Without this, the next `gone` would count from the first of these teardowns.
    await context.floor.command('gone');

    let slowdown = Number.NaN;
    for (const [name, samples] of full) {
      const [first, loaded, again] = [before, full, after].map((phase) => p50(phase.get(name)?.create));
      // Both empty columns count: their mean is the machine halfway, which is when it was full.
      const ratio = loaded! / ((first! + again!) / 2);
      report.rows.push([name, String(samples.create.length), ms(first!), ms(loaded!), ms(again!), times(ratio)]);
      if (name === 'cleat') slowdown = ratio;
    }
    for (const phase of [before, full, after]) noteErrors(report, phase, []);
    report.checks.push(figure('create with 1 port, 10,000 published, to the first', slowdown));
    return [report];
  },
};

function measure(context: Context, client: Client | null): Promise<Map<string, Samples>> {
  return takeTurns({
    contenders: [floorContender(context.floor), ...(client === null ? [] : [cleatContender(client)])],
    rounds: pick(context, 60, 15),
    peerEvery: 1,
    peerSeconds: 0,
    ports: 1,
    firstPort: 2000,
    nextId: context.nextId,
  });
}
