/**
 * Scenario `start`: from nothing to a daemon that serves, and from a command to its answer.
 *
 * Guarantees: both take turns with bare Node, which runs an empty script: no program of Node's is below that. Each daemon begins
 * with an empty state, in a network namespace of its own, and is gone before the next; `cleat ps` asks one with three containers.
 * Limits: programs are in the page cache, and have their code caches. The daemon is asked every 5 ms whether it serves.
 */
import { figure } from '../budgets.ts';
import { RUN } from '../arena.ts';
import { bulkDown, bulkUp, Daemon, PROGRAM } from '../daemon.ts';
import { runProgram } from '../program.ts';
import { emptyReport, ms, p50, quantile, times } from '../report.ts';
import { attempt, pick, type Scenario } from '../scenario.ts';

const NODE = 'bare Node';
const READY = 'daemon ready, empty';
const COMMAND = 'cleat ps';
const CONTAINERS = 3;

export const start: Scenario = {
  name: 'start',
  async run(context) {
    const report = emptyReport('starts: the daemon until it serves, a command until it has answered', [
      '',
      'n',
      'p50',
      'p90',
      'to bare Node',
    ]);
    const daemon = await context.cleat();
    const samples = new Map<string, number[]>();
    const first = context.nextIds(CONTAINERS);
    if (daemon !== null) {
      const client = daemon.client();
      await attempt(report, async () => {
        await bulkUp(client, first, CONTAINERS);
        for (let round = 0; round < pick(context, 20, 6); round++) {
          const took: Record<string, number> = {
            [NODE]: (await runProgram(process.execPath, ['-e', ''], '', {})).ms,
            [COMMAND]: (await runProgram(process.execPath, [PROGRAM, 'ps', '--socket', daemon.socket], '', {})).ms,
            [READY]: await startOf(`${context.folder}/start${round}`, `${RUN}/start${round}`),
          };
          // The first round reads programs from the disk.
          if (round === 0) continue;
          for (const [name, value] of Object.entries(took)) samples.set(name, [...(samples.get(name) ?? []), value]);
        }
        await bulkDown(client, first, CONTAINERS);
      });
      client.close();
    }
    const [node, command, ready] = [NODE, COMMAND, READY].map((name) => p50(samples.get(name)));
    for (const [name, values] of samples) {
      const cells = [ms(p50(values)), ms(quantile(values, 0.9)), times(p50(values) / node!)];
      report.rows.push([name, String(values.length), ...cells]);
    }
    report.checks.push(
      figure('ready, empty', ready!),
      figure('ready, empty, to bare Node', ready! / node!),
      figure('a command (cleat ps)', command!),
      figure('a command, to bare Node', command! / node!),
    );
    return [report];
  },
};

async function startOf(folder: string, run: string): Promise<number> {
  const daemon = new Daemon(folder, run, []);
  try {
    return await daemon.start();
  } finally {
    await daemon.kill();
  }
}
