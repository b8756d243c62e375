/**
 * The parts that every subcommand shares: the options that may stand before or after it, the client, and the output.
 *
 * Guarantees: --format and --socket mean the same in every place. With --format json, stdout holds the API's answer and nothing
 * else.
 */
import { type Command, Option } from 'commander';
import type { Client } from './client.ts';
import { socketPath } from './places.ts';
import { table } from './table.ts';
import { say, sayJson } from './terminal.ts';

export interface Common {
  format?: 'table' | 'json';
  socket?: string;
}

/** Adds the common options to a command and all below it. Call it last, so that help shows a command's own options first. */
export function addCommonOptions(command: Command): void {
  for (const below of command.commands) addCommonOptions(below);
  command
    .addOption(
      new Option('--format <format>', 'how to answer (default: table)')
        .choices(['table', 'json'])
        .helpGroup('Common options:'),
    )
    .addOption(new Option('--socket <path>', "the daemon's socket (env: CLEAT_SOCKET)").helpGroup('Common options:'))
    .addHelpOption(new Option('-h, --help', 'show this help').helpGroup('Common options:'));
}

/** Returns the common options. If one is given several times, the one nearest to the end of the line wins. */
export function commonOptions(command: Command): Common {
  const { format, socket } = command.opts<Common>();
  const above = command.parent === null ? {} : commonOptions(command.parent);
  const given = { format: format ?? above.format, socket: socket ?? above.socket };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** Collects the values of an option that may be given many times. */
export function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** Adds a subcommand with its examples; `words` is its name and arguments. */
export function subcommand(parent: Command, words: string, description: string, examples: string[]): Command {
  const command = parent.command(words).description(description);
  const lines = examples.map((example) => `  $ ${example}\n`).join('');
  return command.addHelpText('after', `\nExamples:\n${lines}`);
}

/** The client and the output of one action. The first action that needs a client loads node:http. */
export class Session {
  readonly json: boolean;
  readonly socket: string;

  constructor(command: Command) {
    const { format, socket } = commonOptions(command);
    this.json = format === 'json';
    this.socket = socketPath(socket);
  }

  async client(): Promise<Client> {
    const { Client } = await import('./client.ts');
    return new Client(this.socket);
  }

  /** Prints the answer as it came with --format json, and as text otherwise. */
  say(answer: unknown, words: string | string[]): void {
    if (this.json) {
      sayJson(JSON.stringify(answer, null, 2));
      return;
    }
    say(typeof words === 'string' ? [words] : words);
  }

  async table(answer: unknown, headings: string[], rows: string[][]): Promise<void> {
    this.say(answer, this.json ? [] : await table(headings, rows));
  }
}
