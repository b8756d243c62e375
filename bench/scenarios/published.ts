/**
 * Scenario `published`: the cost of a port when 10,000 are published already, compared with the first.
 *
 * Guarantees: measured empty, full and empty again, floor and cleat in turn each time, so that a drift of the machine
 * shows up as a difference of the two empty columns and not as growth.
 * Limits: the 10,000 are single ports, three apart, so that no table can hold them as a range; the peers are left out
 * (they take minutes to publish that many).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { upEvents, type Client } from '../client.ts';
import { floorContender } from '../contender.ts';
import { cleatContender } from '../daemon.ts';
import { check, emptyReport, ms, p50, times, type Report } from '../report.ts';
import { takeTurns, type Samples } from '../rounds.ts';
import { pick, type Context, type Scenario } from '../scenario.ts';

const PORTS = 10_000;
const FIRST = 16_384;
const STEP = 3;
const PER_CONTAINER = 200;

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
    await context.floor.command(`fill ${FIRST} ${STEP} ${PORTS}`);
    const filled = client === null ? [] : await fill(client, context, report);
    const full = await measure(context, client);
    await context.floor.command(`drain ${FIRST} ${STEP} ${PORTS}`);
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
      const error = [before, full, after].map((phase) => phase.get(name)?.error).find((text) => text !== undefined);
      if (error !== undefined) report.notes.push(`${name}: ${error}`);
    }
    report.checks.push(check('cleat <= 1.25x the first', slowdown, 1.25, times));
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

/** Returns the ids of the containers that hold the ports. */
async function fill(client: Client, context: Context, report: Report): Promise<string[]> {
  const ids: string[] = [];
  try {
    for (let done = 0; done < PORTS; done += PER_CONTAINER) {
      const id = `fill${context.nextId()}`;
      await client.events(upEvents(id, { count: PER_CONTAINER, first: FIRST + done * STEP, step: STEP }));
      ids.push(id);
    }
  } catch (error) {
    report.notes.push(`cleat, publishing: ${error instanceof Error ? error.message : String(error)}`);
  }
  return ids;
}
