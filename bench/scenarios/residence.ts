/**
 * Scenario `memory`: the memory of the daemon with 1,000 containers, and how long a killed one takes to serve them
 * again.
 *
 * Guarantees: a daemon just started; the price of a container is the slope from 100 to 1,000, so that the cost of
 * start-up and warming is not spread over it; after the restart the bridge's ports are compared by ifindex with those
 * before.
 * Limits: resident set as the kernel counts it, without forcing a garbage collection; a bridge holds 1,023 ports.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { bridgePortIndexes, bulkDown, bulkUp, type Daemon } from '../daemon.ts';
import { check, emptyReport, ms, type Report } from '../report.ts';
import { attempt, type Context, type Scenario } from '../scenario.ts';

const WARM = 100;
const ALL = 1000;
const SETTLE_MS = 1000;

const mb = (value: number): string => `${(value / 1024).toFixed(1)} MB`;
const kb = (value: number): string => `${value.toFixed(1)} KB`;
const ofAll = (value: number): string => `${value} of ${ALL}`;

/** The numbers that the budgets judge; NaN until measured. Sizes in KB. */
class Findings {
  empty = Number.NaN;
  full = Number.NaN;
  each = Number.NaN;
  serving = Number.NaN;
  unlisted = Number.NaN;
  touched = Number.NaN;
}

export const memory: Scenario = {
  name: 'memory',
  async run(context) {
    const report = emptyReport(`the daemon with ${ALL.toLocaleString('en')} containers`, ['', 'cleat']);
    const daemon = await context.cleat(true);
    const found = new Findings();
    if (daemon !== null) await attempt(report, () => measure(context, daemon, report, found));
    report.checks.push(
      check('resident <= 60 MB with nothing in it', found.empty, 60 * 1024, mb),
      check('resident <= 100 MB', found.full, 100 * 1024, mb),
      check('<= 64 KB for each container more', found.each, 64, kb),
      check('serving <= 0.3 s after a kill', found.serving, 300, ms),
      check('none missing from the list then', found.unlisted, 0, ofAll),
      check('no link gone or made again then', found.touched, 0, ofAll),
    );
    return [report];
  },
};

async function measure(context: Context, daemon: Daemon, report: Report, found: Findings): Promise<void> {
  const rss = async (): Promise<number> => {
    await sleep(SETTLE_MS);
    return daemon.rss();
  };
  found.empty = await rss();
  const first = context.nextIds(ALL);
  let client = daemon.client(8);
  await bulkUp(client, first, WARM);
  const warm = await rss();
  await bulkUp(client, first + WARM, ALL - WARM);
  found.full = await rss();
  found.each = (found.full - warm) / (ALL - WARM);
  report.rows.push(['resident, nothing in it', mb(found.empty)], [`resident, ${WARM}`, mb(warm)]);
  report.rows.push([`resident, ${ALL}`, mb(found.full)], ['each container more', kb(found.each)]);
  client.close();

  const before = bridgePortIndexes();
  await daemon.kill();
  found.serving = await daemon.start();
  client = daemon.client(8);
  const list = await client.containers();
  report.rows.push(['killed, started: serving after', ms(found.serving)]);
  report.rows.push(['then listing all of them takes', ms(list.ms)]);
  const ids = Array.from({ length: ALL }, (_, i) => `"c${first + i}"`);
  found.unlisted = ids.filter((id) => !list.body.includes(id)).length;
  // Gives a repair that should not happen the time to happen.
  await sleep(SETTLE_MS);
  const after = bridgePortIndexes();
  const lost = [...before].filter(([name, index]) => after.get(name) !== index).length;
  found.touched = lost + [...after.keys()].filter((name) => !before.has(name)).length;
  report.rows.push(['resident after the restart', mb(await rss())]);
  const { gone } = await bulkDown(client, first, ALL);
  report.rows.push([`all ${ALL} torn down and gone`, ms(gone)]);
  client.close();
}
