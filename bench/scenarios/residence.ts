/**
 * Scenario `memory`: what 1,000 containers cost that just stand, in memory and in processor time, and how long a killed daemon takes
 * to serve them again.
 *
 * Guarantees: a daemon just started; the price of a container is the slope from 100 to 1,000, so that the cost of
 * start-up and warming is not spread over it; after the restart the bridge's ports are compared by ifindex with those
 * before.
 * Limits: resident set as the kernel counts it, without forcing a garbage collection; a bridge holds 1,023 ports. A quick run does not
 * wait for rest, when a daemon gives memory back (launch/heap.ts) and has looked at everything once: it has no figures of that.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { figure } from '../budgets.ts';
import { bridgePortIndexes, bulkDown, bulkUp, type Daemon } from '../daemon.ts';
import { cpuOf, wakeUpsOf } from '../processes.ts';
import { emptyReport, kb, mb, ms, percent, type Report } from '../report.ts';
import { attempt, type Context, type Scenario } from '../scenario.ts';

const WARM = 100;
const ALL = 1000;
const SETTLE_MS = 1000;
const REST_MS = 25_000;
const QUIET_MS = 70_000;
const IDLE_MS = 30_000;

/** The numbers that are judged; NaN until measured. Sizes in KB. */
class Findings {
  empty = Number.NaN;
  made = Number.NaN;
  full = Number.NaN;
  idle = Number.NaN;
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
      figure('memory, 1,000 containers just made', found.made),
      figure('ready after a kill with 1,000', found.serving),
      figure('missing from the list after it', found.unlisted),
      figure('links gone or made again after it', found.touched),
    );
    if (!context.quick) {
      report.checks.push(
        figure('memory, empty', found.empty),
        figure('memory, 1,000 containers', found.full),
        figure('idle with 1,000 containers, of one core', found.idle),
      );
    }
    return [report];
  },
};

async function measure(context: Context, daemon: Daemon, report: Report, found: Findings): Promise<void> {
  const rss = async (after = SETTLE_MS): Promise<number> => {
    await sleep(after);
    return daemon.rss();
  };
  const atRest = context.quick ? SETTLE_MS : REST_MS;
  found.empty = await rss(atRest);
  const first = context.nextIds(ALL);
  let client = daemon.client(8);
  await bulkUp(client, first, WARM);
  const warm = await rss(atRest);
  await bulkUp(client, first + WARM, ALL - WARM);
  found.made = await rss();
  found.full = await rss(atRest);
  report.rows.push(['resident, nothing in it', mb(found.empty)], [`resident, ${WARM}`, mb(warm)]);
  report.rows.push(
    [`resident, ${ALL} just made`, mb(found.made)],
    [`resident, ${ALL}`, mb(found.full)],
    ['each container more', kb((found.full - warm) / (ALL - WARM))],
  );
  client.close();
  if (!context.quick) found.idle = await idle(daemon, report);

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
  if (context.quick) return client.close(); // they go with the arena
  const { gone } = await bulkDown(client, first, ALL);
  report.rows.push([`all ${ALL} torn down and gone`, ms(gone)]);
  client.close();
}

/** Returns the percentage of one core that a daemon takes when nothing happens and its first looks at everything are over. */
async function idle(daemon: Daemon, report: Report): Promise<number> {
  await sleep(QUIET_MS);
  const [cpu, wakeUps, start] = [cpuOf(daemon.pid), wakeUpsOf(daemon.pid), performance.now()];
  await sleep(IDLE_MS);
  const took = performance.now() - start;
  const share = (100 * (cpuOf(daemon.pid) - cpu)) / took;
  const perSecond = ((wakeUpsOf(daemon.pid) - wakeUps) * 1000) / took;
  report.rows.push(['idle, of one core', percent(share)], ['idle, wake-ups a second', perSecond.toFixed(0)]);
  return share;
}
