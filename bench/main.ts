/**
 * `npm run bench [-- --quick | --only NAME | --json]`: cleat against the kernel floor and the peers, in one run.
 *
 * Guarantees: everything happens in namespaces and a folder of its own (arena.ts), gone afterwards; each budget is
 * printed with the number it is judged by, and the exit code is 0 whatever the numbers are: a slow machine is no error.
 * Limits: under eight minutes, under two with --quick (fewer samples: for a look, not for a claim); root.
 */
import { readFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { RUN, furnish, insideFolder, runInside } from './arena.ts';
import { burst, gone } from './scenarios/burst.ts';
import { Floor } from './floor/floor.ts';
import { engines } from './scenarios/engines.ts';
import { forwarding } from './scenarios/forwarding.ts';
import { growth } from './scenarios/growth.ts';
import { lifecycle } from './scenarios/lifecycle.ts';
import { cniChain } from './scenarios/cni.ts';
import { findPeers } from './peers.ts';
import { startCost } from './program.ts';
import { published } from './scenarios/published.ts';
import { publishing } from './scenarios/publishing.ts';
import { ready } from './scenarios/ready.ts';
import { ms, render, type Report } from './report.ts';
import { rootless } from './scenarios/rootless.ts';
import { memory } from './scenarios/residence.ts';
import { Context, type Scenario } from './scenario.ts';

const SCENARIOS: Scenario[] = [
  ...lifecycle,
  cniChain,
  published,
  gone,
  burst,
  growth,
  forwarding,
  publishing,
  ready,
  engines,
  rootless,
  memory,
];

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean' }, only: { type: 'string', multiple: true }, json: { type: 'boolean' } },
});

async function main(folder: string): Promise<void> {
  furnish();
  const floor = new Floor(`${RUN}/netns`, `${folder}/intents`);
  await floor.command('lo');
  await floor.command('setup');
  const peers = findPeers(floor, RUN);
  const context = new Context(floor, peers.contenders, options.quick === true, folder);
  const machine = {
    kernel: release(),
    cpus: cpus().length,
    cpu: cpus()[0]?.model ?? 'unknown',
    node: process.version,
    load: readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' '),
    startProgram: ms(await startCost()),
  };
  const say = (text: string): void => {
    if (options.json !== true) console.log(text);
  };
  say(`kernel ${machine.kernel}, ${machine.cpus} CPUs (${machine.cpu}), node ${machine.node}, load ${machine.load}`);
  say(
    `starting and reaping a program that does nothing takes ${machine.startProgram} (in the peers' times, per program)`,
  );
  for (const missing of peers.missing) say(`left out: ${missing}`);
  if (context.absent !== null) say(`cleat: ${context.absent}`);

  const reports: (Report & { scenario: string; seconds: number })[] = [];
  for (const scenario of SCENARIOS) {
    if (options.only !== undefined && !options.only.includes(scenario.name)) continue;
    const start = performance.now();
    let found: Report[];
    try {
      found = await scenario.run(context);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      found = [{ title: `${scenario.name}: failed`, columns: ['reason'], rows: [[reason]], checks: [], notes: [] }];
    }
    const seconds = (performance.now() - start) / 1000;
    for (const report of found) {
      reports.push({ scenario: scenario.name, seconds, ...report });
      say(render(report));
    }
  }
  await context.end();
  if (options.json === true) {
    console.log(JSON.stringify({ machine, missing: peers.missing, absent: context.absent, reports }, null, 2));
    return;
  }
  if (context.absent !== null) say(`\ncleat: ${context.absent}`);
  const judged = reports.flatMap((report) => report.checks);
  const met = judged.filter((one) => one.met === true).length;
  const open = judged.filter((one) => one.met === null).length;
  say(`\n${met} budgets met, ${judged.length - met - open} not met, ${open} not measured`);
}

function checkNames(): void {
  const names = SCENARIOS.map((scenario) => scenario.name);
  const unknown = options.only?.find((name) => !names.includes(name));
  if (unknown !== undefined) throw new Error(`--only ${unknown}: there is ${names.join(', ')}`);
}

try {
  checkNames();
  const folder = insideFolder();
  if (folder === null) process.exitCode = await runInside();
  else {
    await main(folder);
    // Sockets of a daemon that was killed may linger in the event loop: there is nothing left to wait for.
    process.exit(0);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
