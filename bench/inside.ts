/**
 * A run inside the arena: scenarios one after another, on one floor and one daemon.
 *
 * Guarantees: a scenario that fails leaves its reason as a report and the others their turn; the run is plain JSON.
 */
import { readFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { RUN, furnish } from './arena.ts';
import { Floor } from './floor/floor.ts';
import { findPeers } from './contenders/peers.ts';
import { startCost } from './program.ts';
import { emptyReport, ms, reasonOf, type Report } from './report.ts';
import { Context, type Scenario } from './scenario.ts';

export interface Machine {
  kernel: string;
  cpus: number;
  cpu: string;
  node: string;
  load: string;
  startProgram: string;
}

export interface Run {
  machine: Machine;
  /** The programs of peers that are missing. */
  missing: string[];
  /** Why there was no cleat in it, if so. */
  absent: string | null;
  reports: (Report & { scenario: string; seconds: number })[];
}

/** Hears of a run as it goes. */
export interface Listener {
  begins: (run: Run) => void;
  reports: (report: Report, scenario: string, seconds: number) => void;
}

export async function measure(scenarios: Scenario[], quick: boolean, folder: string, listener: Listener): Promise<Run> {
  furnish();
  const floor = new Floor(`${RUN}/netns`, `${folder}/intents`);
  await floor.command('lo');
  await floor.command('setup');
  const peers = findPeers(floor, RUN);
  const context = new Context(floor, peers.contenders, quick, folder);
  const machine: Machine = {
    kernel: release(),
    cpus: cpus().length,
    cpu: cpus()[0]?.model ?? 'unknown',
    node: process.version,
    load: readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' '),
    startProgram: ms(await startCost()),
  };
  const run: Run = { machine, missing: peers.missing, absent: context.absent, reports: [] };
  listener.begins(run);
  for (const scenario of scenarios) {
    const start = performance.now();
    let found: Report[];
    try {
      found = await scenario.run(context);
    } catch (error) {
      found = [{ ...emptyReport(scenario.name, []), failures: [reasonOf(error)] }];
    }
    const seconds = (performance.now() - start) / 1000;
    for (const report of found) {
      run.reports.push({ scenario: scenario.name, seconds, ...report });
      listener.reports(report, scenario.name, seconds);
    }
  }
  await context.end();
  run.absent = context.absent;
  return run;
}
