/**
 * Writes the manual pages (man(7)), from the commands themselves: cleat(1), and cleat-COMMAND(1) for each.
 *
 * Guarantees: pure; a page says what `--help` says.
 */
import type { Command } from 'commander';
import { visible } from './complete.ts';

/** Returns the pages by the names of their files. */
export function pagesOf(program: Command, version: string): Map<string, string> {
  const pages = new Map<string, string>();
  const add = (command: Command): void => {
    const path = pathOf(command);
    pages.set(`${path.join('-')}.1`, pageOf(command, path, version));
    for (const below of visible(command)) if (below.name() !== 'help') add(below);
  };
  add(program);
  return pages;
}

function pathOf(command: Command): string[] {
  return [...(command.parent === null ? [] : pathOf(command.parent)), command.name()];
}

/** In roff a backslash begins a request, and so does a dot or an apostrophe at the start of a line. */
const roff = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(/^([.'])/gm, '\\&$1');

function pageOf(command: Command, path: string[], version: string): string {
  const help = command.createHelp();
  const name = path.join('-');
  const entries = (list: readonly { term: string; text: string }[]) =>
    list.flatMap(({ term, text }) => ['.TP', `\\fB${roff(term)}\\fR`, roff(text)]);
  const section = (title: string, lines: readonly string[]) => (lines.length === 0 ? [] : [`.SH ${title}`, ...lines]);
  const options = help
    .visibleOptions(command)
    .map((one) => ({ term: help.optionTerm(one), text: help.optionDescription(one) }));
  const commands = visible(command).map((one) => ({
    term: help.subcommandTerm(one),
    text: help.subcommandDescription(one),
  }));
  const examples = examplesOf(command);
  return [
    `.TH "${name.toUpperCase()}" "1" "" "cleat ${version}" "cleat"`,
    '.SH NAME',
    `${roff(name)} \\- ${roff(command.description())}`,
    '.SH SYNOPSIS',
    `\\fB${roff(path.join(' '))}\\fR ${roff(command.usage())}`,
    ...section('COMMANDS', entries(commands)),
    ...section('OPTIONS', entries(options)),
    ...section('EXAMPLES', examples === '' ? [] : ['.nf', roff(examples), '.fi']),
    ...section('SEE ALSO', path.length === 1 ? [] : [`\\fB${roff(path.slice(0, -1).join('-'))}\\fR(1)`]),
    '',
  ].join('\n');
}

/** What `--help` says after the options. */
function examplesOf(command: Command): string {
  let text = '';
  command.configureOutput({ ...command.configureOutput(), writeOut: (more) => (text += more) });
  command.outputHelp();
  const [, after = ''] = /^Examples:\n([^]*)$/m.exec(text) ?? [];
  return after.trimEnd();
}
