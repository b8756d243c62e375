/**
 * `cleat run`: its flags; ../run.ts does the work.
 *
 * Guarantees: everything after CMD belongs to CMD, with or without dashes. Every failure of cleat, a wrong flag included, exits
 * with 125, so that all other codes are CMD's.
 */
import { Option, type Command } from 'commander';
import { collect, Session, subcommand } from '../command.ts';
import { EXIT, Failure } from '../failure.ts';
import type { RunOptions } from '../run.ts';
import { NETWORK_HELP, portHandlerOption, PUBLISH_HELP } from './lifecycle.ts';

export function addRunCommand(program: Command): void {
  subcommand(program, 'run <cmd> [args...]', 'run a process with a network of its own, which ends with it', [
    'cleat run -- ip address',
    'cleat run -p 8080:80 -- python3 -m http.server 80',
    'cleat run --network none -- ./untrusted',
  ])
    .usage('[options] [--] <cmd> [args...]')
    .passThroughOptions()
    .option('--network <network>', `${NETWORK_HELP} (again for more)`, collect)
    .option('-p, --publish <port>', `${PUBLISH_HELP} (again for more)`, collect)
    .addOption(portHandlerOption())
    .option('--name <id>', 'its id (default: run- and 8 hex digits)')
    .addOption(new Option('--rm').hideHelp()) // docker and podman users type it; cleat always removes
    .addHelpText(
      'after',
      '\nEnds with the exit code of CMD, 128+n after signal n; 125: cleat failed, 126: CMD cannot be started, 127: not found.',
    )
    .action(async (cmd: string, args: string[], options: RunOptions, command: Command) => {
      try {
        const client = await new Session(command).client();
        const { run } = await import('../run.ts');
        process.exitCode = await run(client, options, [cmd, ...args]);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        const own = error.exitCode < EXIT.runFailed;
        throw own ? new Failure(error.error, EXIT.runFailed) : error;
      }
    });
}
