/**
 * Scenario `ready`: the time from nothing to an uplink that works, through the daemon and with the program started by
 * hand.
 *
 * Guarantees: both have a namespace that exists, and take turns. Through the daemon it is the whole `configure`: the
 * keeper and the program, the check of what it made, snapshots, the answer. By hand it is the program alone, until it
 * reports that it is ready.
 * Limits: the program's own arguments are the same in what costs time, not letter by letter.
 */
import { pasta, slirp, isThere, PROGRAMS, type Started } from '../contenders/by-hand.ts';
import { RUN } from '../arena.ts';
import type { Client } from '../client.ts';
import { Ground } from '../ground.ts';
import { emptyReport, ms, p50, quantile, reasonOf, times } from '../report.ts';
import { rotated } from '../rounds.ts';
import { pick, type Context, type Scenario } from '../scenario.ts';

type UplinkProgram = 'slirp4netns' | 'pasta';

interface Way {
  name: string;
  program: UplinkProgram;
  byHand: boolean;
  samples: number[];
  error?: string;
}

export const ready: Scenario = {
  name: 'ready',
  async run(context) {
    const report = emptyReport('time to ready of an uplink', [
      '',
      'n',
      'p50',
      'p95',
      'more than by hand',
      'to by hand',
    ]);
    const ground = new Ground();
    await ground.wayOut();
    const client = (await context.cleat())?.client() ?? null;
    const ways: Way[] = [];
    for (const program of ['slirp4netns', 'pasta'] as const) {
      if (!isThere(program)) {
        report.notes.push(`left out: ${PROGRAMS[program].file} (Debian package ${PROGRAMS[program].debian})`);
        continue;
      }
      ways.push({ name: `${program}, by hand`, program, byHand: true, samples: [] });
      if (client !== null) ways.push({ name: `${program}, cleat configure`, program, byHand: false, samples: [] });
    }
    for (let round = 0; round < pick(context, 25, 5); round++) {
      for (const way of rotated(ways, round)) {
        if (way.error !== undefined) continue;
        try {
          const took = way.byHand ? await byHand(way, ground, context) : await byDaemon(way, client!, context);
          // The first round does not count: it reads each program from disk, and the daemon queries the program's
          // options.
          if (round > 0) way.samples.push(took);
        } catch (error) {
          way.error = reasonOf(error);
          (way.byHand ? report.notes : report.failures).push(`${way.name}: ${way.error}`);
        }
      }
    }
    client?.close();
    for (const { name, program, byHand: own, samples } of ways) {
      const [middle, alone] = [p50(samples), p50(ways.find((way) => way.byHand && way.program === program)?.samples)];
      const compared = own ? ['', ''] : [ms(middle - alone), times(middle / alone)];
      report.rows.push([name, String(samples.length), ms(middle), ms(quantile(samples, 0.95)), ...compared]);
    }
    return [report];
  },
};

async function byHand({ program }: Way, ground: Ground, context: Context): Promise<number> {
  const id = context.nextId();
  const netns = await ground.bare(`hand${id}`);
  let started: Started | null = null;
  try {
    started = program === 'pasta' ? await pasta(netns, `${RUN}/peer/${id}`) : await slirp(netns);
    return started.ms;
  } finally {
    await started?.end();
    await ground.remove(netns);
  }
}

async function byDaemon({ program }: Way, client: Client, context: Context): Promise<number> {
  const id = `uplink${context.nextId()}`;
  await client.event({ type: 'create', id, uplink: { program } });
  try {
    return (await client.event({ type: 'configure', id })).ms;
  } finally {
    await client.event({ type: 'teardown', id });
    await client.waitGone(id);
  }
}
