/**
 * The parts that every subcommand shares: the options that may stand before or after it, the client, and the output.
 *
 * Guarantees: --format and --socket mean the same in every place. With --format json, stdout holds the API's answer and nothing
 * else.
 */
import { type Command, Option } from 'commander';
import type { Client } from './client.ts';
import { patience, socketPath } from './places.ts';
import { table } from './table.ts';
import { columnsOf, parseTemplate, render, type Shown, type Template } from './template.ts';
import { printable, say, sayCells, sayJson } from './terminal.ts';
import { usage } from './failure.ts';

export interface Common {
  format?: string;
  socket?: string;
}

/** Commands that show a table have this flag, and only they know columns. */
const OF_LISTS = '--noheading';

/** Adds the common options to a command and all below it. Call it last, so that help shows a command's own options first. */
export function addCommonOptions(command: Command): void {
  for (const below of command.commands) addCommonOptions(below);
  command
    .addOption(
      new Option(
        '--format <format>',
        "how to answer: table (default), json, a template like '{{.id}} {{.state}}', in lists also columns like id,state",
      ).helpGroup('Common options:'),
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
  readonly command: Command;
  readonly json: boolean;
  readonly socket: string;
  readonly #template: Template | null;
  /** A list of columns, as it was given. */
  readonly #columns: string | null;
  readonly #heading: boolean;

  constructor(command: Command) {
    const { format = 'table', socket } = commonOptions(command);
    this.command = command;
    this.json = format === 'json';
    this.socket = socketPath(socket);
    const own = format === 'table' || format === 'json';
    this.#template = format.includes('{{') ? parseTemplate(format) : null;
    this.#columns = own || this.#template !== null ? null : columnsFor(format, command);
    this.#heading = command.opts<{ noheading?: boolean }>().noheading !== true;
  }

  /** True if people read it: no format was asked for. */
  get plain(): boolean {
    return !this.json && this.#template === null && this.#columns === null;
  }

  async client(): Promise<Client> {
    const { Client } = await import('./client.ts');
    return new Client(this.socket, patience());
  }

  /** Prints the answer as it came with --format json, each by the template if there is one, and as text otherwise. */
  say(answer: unknown, words: string | string[]): void {
    if (this.json) return sayJson(JSON.stringify(answer, null, 2));
    if (this.#template !== null) return this.#render(this.#template, [answer].flat().map(bare));
    say(typeof words === 'string' ? [words] : words);
  }

  /** Prints one answer of many that come one by one: as one line of JSON, by the template, or as text. */
  next(answer: unknown, words: () => string): void {
    if (this.json) sayJson(JSON.stringify(answer));
    else if (this.#template !== null) this.#render(this.#template, [bare(answer)]);
    else say([words()]);
  }

  /** Prints an answer of which people get JSON, too. */
  full(answer: unknown): void {
    if (this.#template !== null) this.#render(this.#template, [answer].flat().map(bare));
    else sayJson(JSON.stringify(answer, null, 2));
  }

  /** Prints a table. If it has a row for each answer, a template knows the fields of both, otherwise the columns alone. */
  async table(answer: unknown, headings: string[], rows: string[][]): Promise<void> {
    if (this.json) return this.say(answer, []);
    const template = this.#template;
    if (template === null) {
      const at = this.#columns === null ? [...headings.keys()] : columnsOf(this.#columns, headings);
      const cellsOf = (row: string[]) => at.map((i) => row[i] ?? '');
      return sayCells(await table(this.#heading ? cellsOf(headings) : null, rows.map(cellsOf)));
    }
    const answers = Array.isArray(answer) && answer.length === rows.length ? (answer as unknown[]) : [];
    const shown = rows.map((row, i) => ({
      answer: answers[i] ?? {},
      columns: Object.fromEntries(headings.map((heading, column) => [heading, row[column] ?? ''])),
    }));
    if (template.headings === null) return this.#render(template, shown);
    const lines = shown.map((one) => render(template, one, printable).split('\t'));
    sayCells(await table(this.#heading ? template.headings : null, lines));
  }

  #render(template: Template, shown: Shown[]): void {
    say(shown.flatMap((one) => render(template, one, printable).split('\n')));
  }
}

const bare = (answer: unknown): Shown => ({ answer, columns: {} });

function columnsFor(format: string, command: Command): string {
  if (command.options.some(({ long }) => long === OF_LISTS)) return format;
  throw usage(
    `invalid --format "${format}"`,
    "It is table, json, or a template like '{{.id}}'; `--help` says more. Columns are for commands that print a list.",
  );
}
