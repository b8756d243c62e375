/**
 * `npm run bench`: cleat against the kernel floor and the peers.
 *
 *   npm run bench                          every scenario, with its budgets (bench/budgets.ts)
 *   npm run bench -- --only NAME ...       some of them
 *   npm run bench -- --quick               the ratios that matter, in three turns, compared with the last record
 *   npm run bench -- --quick --record      and makes them the record (bench/record/record.json)
 *   npm run bench -- --plot                growth curves, drawn into docs/images; with --quick fewer and shorter
 *   --json                                 what was found, as JSON
 *
 * Guarantees: everything happens in namespaces and a folder of its own (arena.ts), gone afterwards; each budget is printed with the
 * number it is judged by. The exit code is 0 whatever the numbers are, because a slow machine is no error; it is 1, and the output
 * says why, when something of the floor or of cleat could not be measured.
 * Limits: some twenty minutes, two with --quick, ten with --plot; root.
 */
import { parseArgs } from 'node:util';
import { insideFolder, runInside, tellOutside } from './arena.ts';
import type { FigureName } from './budgets.ts';
import { growth } from './growth/containers.ts';
import { growthNetworks } from './growth/networks.ts';
import { growthPorts } from './growth/ports.ts';
import { measure, type Listener, type Machine, type Run } from './inside.ts';
import { writePictures } from './plot/pictures.ts';
import { compare, comparisonRows, verdictOf, type Figures } from './record/compare.ts';
import { differences, readRecord, writeRecord } from './record/record.ts';
import { grid, render } from './report.ts';
import type { Scenario } from './scenario.ts';
import { burst, gone } from './scenarios/burst.ts';
import { cniChain } from './scenarios/cni.ts';
import { engines } from './scenarios/engines.ts';
import { forwarding } from './scenarios/forwarding.ts';
import { lifecycle } from './scenarios/lifecycle.ts';
import { published } from './scenarios/published.ts';
import { overlay } from './scenarios/overlay.ts';
import { publishing } from './scenarios/publishing.ts';
import { ready } from './scenarios/ready.ts';
import { memory } from './scenarios/residence.ts';
import { rootless } from './scenarios/rootless.ts';
import { start } from './scenarios/start.ts';
import { traffic } from './scenarios/traffic.ts';

const WHOLE = [
  ...lifecycle,
  cniChain,
  published,
  gone,
  burst,
  start,
  traffic,
  forwarding,
  publishing,
  ready,
  engines,
  rootless,
  overlay,
  memory,
  growth,
];
const PLOTTED = [growth, growthPorts, growthNetworks];
const ALL = [...new Set([...WHOLE, ...PLOTTED])];
const QUICK = ['create', 'gone', 'burst', 'start', 'memory'];
const TURNS = 3;

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
    record: { type: 'boolean', default: false },
    plot: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

/** Says what it is at, instead of printing what it finds. */
const brief = options.quick && !options.plot;

/** Prints to people, or not at all. */
const say = (text: string): void => {
  if (!options.json) console.log(text);
};

function chosen(): Scenario[] {
  const usual = options.plot ? PLOTTED : options.quick ? ALL.filter(({ name }) => QUICK.includes(name)) : WHOLE;
  const unknown = options.only?.find((name) => !ALL.some((scenario) => scenario.name === name));
  if (unknown !== undefined) {
    throw new Error(`--only ${unknown}: there is ${ALL.map(({ name }) => name).join(', ')}`);
  }
  if (options.record && (!options.quick || options.plot || options.only !== undefined)) {
    throw new Error('--record goes with --quick alone: a record has all of its figures from one run');
  }
  return options.only === undefined ? usual : ALL.filter(({ name }) => options.only?.includes(name));
}

/** Runs scenarios, each that leaves its place full in an arena of its own. */
async function runAll(scenarios: Scenario[]): Promise<Run[]> {
  const together = scenarios.filter(({ alone }) => alone !== true);
  const arenas = [together, ...scenarios.filter(({ alone }) => alone).map((one) => [one])];
  const runs: Run[] = [];
  for (const arena of arenas.filter(({ length }) => length > 0)) {
    const flags = (['quick', 'plot', 'json'] as const).filter((flag) => options[flag]).map((flag) => `--${flag}`);
    runs.push(await runInside<Run>([...flags, ...arena.flatMap(({ name }) => ['--only', name])]));
  }
  return runs;
}

/** Why a run has failed: what of cleat and the floor it could not measure. */
function failuresOf(runs: Run[]): string[] {
  return runs.flatMap(({ absent, reports }) => [
    ...(absent === null ? [] : [`cleat: ${absent}`]),
    ...reports.flatMap(({ scenario, failures }) => failures.map((why) => `${scenario}: ${why}`)),
  ]);
}

const today = (): string => new Date().toISOString().slice(0, 10);

/** Says what was found, and returns why the run failed, if it did. */
async function outside(): Promise<string[]> {
  const scenarios = chosen();
  if (brief) return quickly(scenarios);
  const runs = await runAll(scenarios);
  const failures = failuresOf(runs);
  const reports = runs.flatMap((run) => run.reports);
  const checks = reports.flatMap((report) => report.checks).filter(({ budget }) => budget !== '');
  const met = checks.filter((one) => one.met === true).length;
  const open = checks.filter((one) => one.met === null).length;
  say(`\n${met} budgets met, ${checks.length - met - open} not met, ${open} not measured`);
  if (options.json) console.log(JSON.stringify(runs, null, 2));
  if (options.plot) {
    const growths = reports.flatMap((report) => report.growth ?? []);
    const drawn = writePictures({ recorded: today(), machine: runs[0]!.machine, growths });
    say(`drawn: ${drawn.join(', ')}`);
  }
  return failures;
}

/** Takes turns with itself, so that what is noise can be told from what has moved. */
async function quickly(scenarios: Scenario[]): Promise<string[]> {
  const began = performance.now();
  const figures: Figures = {};
  let machine: Machine | null = null;
  for (let turn = 1; turn <= TURNS; turn++) {
    say(`turn ${turn} of ${TURNS}`);
    const runs = await runAll(scenarios);
    machine ??= runs[0]!.machine;
    const failures = failuresOf(runs);
    if (failures.length > 0) return failures;
    for (const { figure, value } of runs.flatMap(({ reports }) => reports.flatMap(({ checks }) => checks))) {
      if (value !== null) (figures[figure as FigureName] ??= []).push(value);
    }
  }
  const record = readRecord();
  const comparisons = compare(figures, record?.figures ?? {});
  const { columns, rows } = comparisonRows(comparisons);
  if (options.json) console.log(JSON.stringify({ machine, figures, comparisons }, null, 2));
  say(`\n${grid(columns, rows)}`);
  if (record !== null) {
    say(`recorded ${record.recorded}, load ${record.machine.load}; now load ${machine!.load}`);
    for (const difference of differences(machine!, record.machine)) say(`recorded elsewhere: ${difference}`);
  }
  say(`${verdictOf(comparisons)} (${((performance.now() - began) / 1000).toFixed(0)} s)`);
  if (options.record) {
    writeRecord({ recorded: today(), machine: machine!, figures });
    say('this is the record now: bench/record/record.json');
  }
  return [];
}

/** A quick run says what it is at; another prints what it finds. */
const listener: Listener = {
  begins({ machine, missing, absent }) {
    const about = `kernel ${machine.kernel}, ${machine.cpus} CPUs (${machine.cpu}), node ${machine.node}, load ${machine.load}`;
    say(brief ? `  ${about}` : about);
    if (brief) return;
    say(
      `a program that does nothing takes ${machine.startProgram} to start and end (in the peers' times, per program)`,
    );
    for (const one of missing) say(`left out: ${one}`);
    if (absent !== null) say(`cleat: ${absent}`);
  },
  reports(report, scenario, seconds) {
    if (brief) say(`  ${scenario}, ${report.title}: ${seconds.toFixed(0)} s`);
    else say(render(report));
  },
};

try {
  const folder = insideFolder();
  if (folder === null) {
    const failures = await outside();
    for (const why of failures) console.error(`the run failed: ${why}`);
    process.exitCode = failures.length === 0 ? 0 : 1;
  } else {
    tellOutside(folder, await measure(chosen(), options.quick, folder, listener));
    // Sockets of a daemon that was killed may linger in the event loop: there is nothing left to wait for.
    process.exit(0);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
