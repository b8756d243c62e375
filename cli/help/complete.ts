/**
 * Completes a command line, for the shells: commands, flags, values of flags, and the names of containers and networks.
 *
 * Guarantees: what is offered comes from the commands themselves, so it cannot differ from what they take. A daemon that does not
 * answer is no error: its names are missing then. CMD of `run` and `exec` is the shell's to complete.
 */
import type { Command, Option } from 'commander';
import type { Client } from '../client.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** Each asks `cleat complete` for the words that fit, one a line, and falls back to files if there are none. */
const SCRIPTS: Readonly<Record<Shell, string>> = {
  bash: `_cleat() {
  local IFS=$'\\n'
  COMPREPLY=($(compgen -W "$(cleat complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _cleat cleat`,
  zsh: `#compdef cleat
_cleat() {
  local -a found
  found=("\${(@f)$(cleat complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${found[1]}" ]]; then compadd -- "\${found[@]}"; else _files; fi
}
compdef _cleat cleat`,
  fish: `complete -c cleat -a '(cleat complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'`,
};

export const scriptOf = (shell: Shell): string => SCRIPTS[shell];

/** Returns the words that may stand in the place of the last one. */
export async function complete(program: Command, words: readonly string[], client: Client): Promise<string[]> {
  const typed = words.at(-1) ?? '';
  let command = program;
  let operands = 0;
  let pending: Option | undefined;
  for (const word of words.slice(0, -1)) {
    if (pending !== undefined) {
      pending = undefined;
      continue;
    }
    const option = optionOf(command, word);
    const below =
      operands === 0 ? command.commands.find((one) => one.name() === word || one.aliases().includes(word)) : undefined;
    if (option !== undefined) pending = option.required && !word.includes('=') ? option : undefined;
    else if (below !== undefined) command = below;
    else operands++;
  }
  if (pending !== undefined) return fitting(typed, await valuesOf(pending, client));
  if (typed.startsWith('-')) return fitting(typed, flagsOf(command));
  if (command.commands.length > 0 && operands > 0) return []; // no such command
  if (command.commands.length > 0)
    return fitting(
      typed,
      visible(command).map((one) => one.name()),
    );
  const { registeredArguments: all } = command;
  const argument = all[operands] ?? (all.at(-1)?.variadic === true ? all.at(-1) : undefined);
  // The name of a network is that of an argument only below `network`.
  const of = argument?.name() === 'name' && command.parent?.name() === 'network' ? 'network' : (argument?.name() ?? '');
  return fitting(typed, await namesOf(of, client));
}

const optionOf = (command: Command, word: string): Option | undefined => {
  for (let at: Command | null = command; at !== null; at = at.parent) {
    const found = at.options.find(({ long, short }) => word === short || word === long || word.startsWith(`${long}=`));
    if (found !== undefined) return found;
  }
  return undefined;
};

const fitting = (typed: string, words: readonly string[]): string[] =>
  [...new Set(words)].filter((word) => word.startsWith(typed)).sort();

/** The commands that help shows. */
export const visible = (command: Command): Command[] => command.createHelp().visibleCommands(command);

const flagsOf = (command: Command): string[] =>
  command
    .createHelp()
    .visibleOptions(command)
    .flatMap(({ long }) => long ?? []);

async function valuesOf({ argChoices, long }: Option, client: Client): Promise<readonly string[]> {
  if (argChoices !== undefined) return argChoices;
  if (long === '--network' || long === '--net') return namesOf('network', client);
  if (long === '--format') return ['table', 'json'];
  return long === '--id' || long === '--from' ? namesOf('id', client) : [];
}

async function namesOf(what: string, client: Client): Promise<string[]> {
  try {
    if (what === 'id') return (await client.call('GET /v1/containers')).map(({ name }) => name);
    return what === 'network' ? (await client.call('GET /v1/networks')).map(({ name }) => name) : [];
  } catch {
    return [];
  }
}
