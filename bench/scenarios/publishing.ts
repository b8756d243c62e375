/**
 * Scenario `publishing`: the memory and the processes that a published port costs with each carrier.
 *
 * Guarantees: each carrier gets one container with one port, then another with a thousand more. The price of a port is
 * the difference, so that the weight of a process without any is not in it. Memory is the proportional set size
 * (smaps_rollup, proc_pid_smaps(5)) of all processes that carry the ports. The daemon's own is reported apart.
 * Limits: the kernel's part, a listening socket to a port with all of them, is not in it. socat gets fewer ports.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { figure } from '../budgets.ts';
import { canRun, carriers, FORWARDER, FORWARDER_SLIRP, troubleOf, type Carrier } from '../contenders/carriers.ts';
import { Ground } from '../ground.ts';
import { pssOf } from '../processes.ts';
import { emptyReport, kb, reasonOf, type Report } from '../report.ts';
import { pick, type Scenario } from '../scenario.ts';

const FIRST_PORT = 20_000;
const SETTLE_MS = 200;

const count = (value: number): string => String(Number(value.toFixed(3)));

interface Weight {
  processes: number;
  /** KB */
  pss: number;
}

export const publishing: Scenario = {
  name: 'publishing',
  async run(context) {
    const more = pick(context, 1000, 200);
    const report = emptyReport('what a published port weighs', [
      '',
      'ports',
      'processes',
      'memory',
      'ports',
      'processes',
      'memory',
      'each: processes',
      'memory',
    ]);
    const daemon = await context.cleat();
    const client = daemon?.client() ?? null;
    let each: Weight = { processes: Number.NaN, pss: Number.NaN };
    for (const carrier of carriers(new Ground(), daemon, client, context.nextId)) {
      if (carrier.name === FORWARDER_SLIRP || !canRun(carrier, report)) continue; // the same process
      const added = Math.min(more, carrier.most);
      try {
        const found = await compare(carrier, added, report, () => (daemon === null ? 0 : daemon.rss()));
        if (carrier.name === FORWARDER) each = found;
      } catch (error) {
        troubleOf(report, carrier.name).push(`${carrier.name}: ${reasonOf(error)}`);
      }
    }
    client?.close();
    report.checks.push(
      figure('forwarder, processes for a port', each.processes),
      figure('forwarder, memory for a port', each.pss),
    );
    return [report];
  },
};

async function compare(carrier: Carrier, added: number, report: Report, daemon: () => number): Promise<Weight> {
  const few = await weigh(carrier, 1);
  const before = daemon();
  const many = await weigh(carrier, 1 + added, () => {
    if (carrier.name === FORWARDER) {
      report.notes.push(`the daemon has ${kb((daemon() - before) / added)} more for each port of the forwarder`);
    }
  });
  const each = { processes: (many.processes - few.processes) / added, pss: (many.pss - few.pss) / added };
  report.rows.push([
    carrier.name,
    '1',
    String(few.processes),
    kb(few.pss),
    String(1 + added),
    String(many.processes),
    kb(many.pss),
    count(each.processes),
    kb(each.pss),
  ]);
  return each;
}

async function weigh(carrier: Carrier, ports: number, look: () => void = () => {}): Promise<Weight> {
  const carried = await carrier.publish(FIRST_PORT, ports);
  try {
    await sleep(SETTLE_MS);
    look();
    const pids = await carried.processes();
    return { processes: pids.length, pss: pids.map(pssOf).reduce((a, b) => a + b, 0) };
  } finally {
    await carried.end();
  }
}
