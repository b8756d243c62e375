/**
 * The commands about processes: run, exec, stop, wait; ../process/ does the work.
 *
 * Guarantees: everything after CMD belongs to CMD, with or without dashes. Every failure of cleat, a wrong flag included, exits
 * with 125, so that all other codes are CMD's.
 */
import { Option, type Command } from 'commander';
import { CleatError } from '../../client/error.ts';
import { Session, subcommand } from '../command.ts';
import { EXIT, Failure, usage, exitCodeOf } from '../failure.ts';
import type { RunOptions } from '../process/run.ts';
import { withProgress } from '../progress.ts';
import { each, reportAll } from '../report.ts';
import { addWiring } from './create.ts';

const CODES =
  '\nEnds with the exit code of CMD, 128+n after signal n; 125: cleat failed, 126: CMD cannot be started, 127: not found.';

export function addProcessCommands(program: Command): void {
  addRun(program);
  addExec(program);
  addStop(program);
  addWait(program);
}

function addRun(program: Command): void {
  const command = subcommand(
    program,
    'run <cmd> [args...]',
    'run a process with a network of its own, which ends with it',
    [
      'cleat run -- ip address',
      'cleat run -p 8080:80 -- python3 -m http.server 80',
      'cleat run -d --name web --network back --ip 10.90.0.5 -- python3 -m http.server 80    # prints web, and returns',
      'cleat run --network none -- ./untrusted',
    ],
  )
    .usage('[options] [--] <cmd> [args...]')
    .passThroughOptions()
    .option(
      '-d, --detach',
      'return when CMD runs, and print the id; its output goes to the journal (journalctl -t ID); `cleat stop` ends it',
    )
    .option('--name <id>', 'its id (default: run- and 8 hex digits)');
  addWiring(command)
    .addOption(new Option('--rm').hideHelp()) // docker and podman users type it; cleat always removes
    .addOption(new Option('-i, --interactive').hideHelp()) // CMD has our terminal anyway
    .addOption(new Option('-t, --tty').hideHelp())
    .addHelpText('after', CODES)
    .action((cmd: string, args: string[], options: RunOptions, action: Command) =>
      outsideOfCmd(async () => {
        const session = new Session(action);
        const client = await session.client();
        const { run } = await import('../process/run.ts');
        const result = await run(client, options, [cmd, ...args]);
        if (typeof result === 'number') process.exitCode = result;
        else session.say(result, result.id);
      }),
    );
}

function addExec(program: Command): void {
  subcommand(program, 'exec <id> <cmd> [args...]', 'run one more process in the network of a container', [
    'cleat exec web ip address',
    'cleat exec web -- curl http://db/',
  ])
    .usage('[options] <id> [--] <cmd> [args...]')
    .passThroughOptions()
    .addOption(new Option('-i, --interactive').hideHelp())
    .addOption(new Option('-t, --tty').hideHelp())
    .addHelpText('after', CODES)
    .action((id: string, cmd: string, args: string[], _flags: unknown, action: Command) =>
      outsideOfCmd(async () => {
        // `--` may stand behind the id, as kubectl has it.
        const argv = cmd === '--' ? args : [cmd, ...args];
        if (argv.length === 0) throw usage("missing required argument 'cmd'");
        const client = await new Session(action).client();
        const { exec } = await import('../process/run.ts');
        process.exitCode = await exec(client, id, argv);
      }),
    );
}

/** Gives a failure of cleat the exit code that means: not CMD's. */
async function outsideOfCmd(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof CleatError)) throw error;
    throw exitCodeOf(error) < EXIT.runFailed ? new Failure(error.error, EXIT.runFailed) : error;
  }
}

const seconds = (text: string): number => {
  if (!/^\d{1,6}$/.test(text)) throw usage(`invalid --time "${text}": it is a number of seconds`);
  return Number(text);
};

function addStop(program: Command): void {
  subcommand(program, 'stop <id...>', 'end the process that a container is bound to, and wait until both are gone', [
    'cleat stop web',
    'cleat stop --time 60 db',
  ])
    .option('-t, --time <seconds>', 'how long to wait after SIGTERM, before SIGKILL (default: 10)', seconds)
    .option('-i, --ignore', 'a container that does not exist is stopped already')
    .action(async (ids: string[], flags: { time?: number; ignore?: boolean }, command: Command) => {
      const { time = 10, ignore = false } = flags;
      const session = new Session(command);
      const client = await session.client();
      const { stop } = await import('../process/stop.ts');
      const work = each([...new Set(ids)], (id) => stop(client, id, { seconds: time, ignore }));
      reportAll(session, await withProgress(`stopping ${ids.join(' ')}`, work), ({ id }) => id);
    });
}

function addWait(program: Command): void {
  subcommand(program, 'wait <id...>', 'wait until containers are gone, or in a state', [
    'cleat wait web',
    'cleat wait --condition up web    # 1 if it does not get there any more',
  ])
    .option('--condition <state>', 'up, degraded, created, ... (default: gone)')
    .action(async (ids: string[], { condition = 'gone' }: { condition?: string }, command: Command) => {
      const session = new Session(command);
      const client = await session.client();
      const { waitFor } = await import('../process/stop.ts');
      const work = each([...new Set(ids)], (id) => waitFor(client, id, condition));
      reportAll(session, await withProgress(`waiting for ${ids.join(' ')}`, work), ({ id }) => id);
    });
}
