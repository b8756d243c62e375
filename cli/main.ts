/**
 * `cleat`: the command line, a thin client of the daemon's API.
 *
 * Guarantees: answers go to stdout, everything else to stderr; exit codes are those in EXIT_CODES below and docs/cli.md. If the
 * reader of stdout goes away (`cleat events | head`), the command ends without an error message.
 * Limits: the command decides nothing: the API can do all that the command can.
 */
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { Command, CommanderError } from 'commander';
import { CleatError } from '../client/error.ts';
import { addCommonOptions, commonOptions } from './command.ts';
import { addCreateCommands } from './commands/create.ts';
import { addDaemonCommand } from './commands/daemon.ts';
import { addHealthCommands } from './commands/health.ts';
import { addInspectorCommand } from './commands/inspector.ts';
import { addJournalCommands } from './commands/journal.ts';
import { addLifecycleCommands } from './commands/lifecycle.ts';
import { addLookCommands } from './commands/look.ts';
import { addNetworkCommands } from './commands/network.ts';
import { addApplyCommand } from './commands/plan.ts';
import { addProcessCommands } from './commands/run.ts';
import { addShellCommands } from './commands/shell.ts';
import { addWatch } from './commands/watch.ts';
import { addWhy } from './commands/why.ts';
import { EXIT, exitCodeOf } from './failure.ts';
import { report } from './report.ts';
import { complain, say } from './terminal.ts';

const EXIT_CODES = `
Exit codes:
  0        done
  1        refused or failed; audit, doctor, why: something was found
  2        the command line is wrong
  3        the daemon does not answer
  125-127  of run: cleat failed, CMD cannot be started, CMD is not found; else CMD's own`;

const EXAMPLES = `
Examples:
  $ cleat run -p 8080:80 -- python3 -m http.server 80
  $ cleat network create back --subnet 10.90.0.0/24
  $ cleat create web --network back -p 8443:443 && cleat configure web
  $ cleat ps`;

const linesOf = (text: string): string[] => text.replace(/\n$/, '').split('\n');

function createProgram(version: string): Command {
  const program = new Command('cleat')
    .description('Networks for containers. `cleat COMMAND --help` tells more about each command.')
    .version(version, '-V, --version', 'show the version of this client')
    .addHelpText('after', `${EXAMPLES}\n${EXIT_CODES}`)
    .showSuggestionAfterError(false) // help/suggest.ts
    .enablePositionalOptions() // everything after `run CMD` belongs to CMD
    .configureOutput({
      writeOut: (text) => say(linesOf(text)),
      writeErr: (text) => complain(linesOf(text)),
      outputError: () => {}, // main() prints it, in the requested format
    })
    .exitOverride();
  program.commandsGroup('Processes and containers:');
  addProcessCommands(program);
  addCreateCommands(program);
  addLifecycleCommands(program);
  addApplyCommand(program);
  program.commandsGroup('Looking:');
  addLookCommands(program);
  addWhy(program);
  addWatch(program);
  addInspectorCommand(program);
  addJournalCommands(program);
  addHealthCommands(program, version);
  program.commandsGroup('Networks and the daemon:');
  addNetworkCommands(program);
  addDaemonCommand(program);
  addShellCommands(program, version);
  program.helpCommand('help [command]', 'show the help of a command');
  addCommonOptions(program);
  return program;
}

export async function main(argv: string[]): Promise<void> {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failed);
  });
  const program = createProgram(version);
  let running: Command = program;
  program.hook('preSubcommand', (_program, subcommand) => void (running = subcommand));
  program.hook('preAction', (_program, action) => void (running = action));
  const isRun = (): boolean => ['run', 'exec'].includes(running.name());
  try {
    await program.parseAsync(argv);
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? EXIT.ok : isRun() ? EXIT.runFailed : EXIT.usage;
      // Commander has already printed the help, requested or not.
      if (error.exitCode === 0 || error.code === 'commander.help') return;
      const hint = `\`${helpOf(running)}\` tells more.`;
      const message = `${error.message.replace(/^error: /, '')}${await instead(error, running)}`;
      report({ code: 'USAGE', message, hint }, asksForJson(argv), running);
    } else if (error instanceof CleatError) {
      process.exitCode = exitCodeOf(error);
      report(error.error, commonOptions(running).format === 'json', running);
    } else {
      process.exitCode = isRun() ? EXIT.runFailed : EXIT.failed;
      complain(inspect(error).split('\n')); // a defect: with its stack
    }
  }
}

/** Returns what to type instead of an unknown command or option, in parentheses; nothing if that is not sure. */
async function instead({ code, message }: CommanderError, command: Command): Promise<string> {
  const [, typed] = /^error: unknown (?:command|option) '([^']+)'/.exec(message) ?? [];
  if (typed === undefined) return '';
  const { suggestion } = await import('./help/suggest.ts');
  const help = command.createHelp();
  const known =
    code === 'commander.unknownOption'
      ? help.visibleOptions(command).flatMap(({ long }) => long ?? [])
      : help.visibleCommands(command).flatMap((one) => [one.name(), ...one.aliases()]);
  const found = suggestion(typed, known, command.parent === null);
  return found === null ? '' : ` (${found})`;
}

function helpOf(command: Command): string {
  const names: string[] = [];
  for (let at: Command | null = command; at !== null; at = at.parent) names.unshift(at.name());
  return `${names.join(' ')} --help`;
}

/** Returns true if the arguments request JSON. Also works on a command line that Commander could not parse. */
function asksForJson(argv: string[]): boolean {
  const ours = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  return ours.some((word, i) => word === '--format=json' || (word === '--format' && ours[i + 1] === 'json'));
}

if (process.argv[1] === import.meta.filename) void main(process.argv);
