/**
 * The commands for shells and manuals: completion, complete (which the scripts of completion call), man.
 *
 * Guarantees: all of it is made from the commands themselves.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Argument, type Command } from 'commander';
import { Session, subcommand } from '../command.ts';
import { Failure } from '../failure.ts';
import { socketPath } from '../places.ts';
import { say, sayJson } from '../terminal.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;

export function addShellCommands(program: Command, version: string): void {
  subcommand(program, 'completion', 'print the script that completes `cleat` in a shell', [
    'source <(cleat completion bash)',
    'cleat completion zsh > ~/.zsh/completions/_cleat',
    'cleat completion fish > ~/.config/fish/completions/cleat.fish',
  ])
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .action(async (shell: (typeof SHELLS)[number]) => {
      const { scriptOf } = await import('../help/complete.ts');
      sayJson(scriptOf(shell));
    });

  program
    .command('complete [words...]', { hidden: true })
    .passThroughOptions()
    .action(async (words: string[], _flags: unknown, command: Command) => {
      const { complete } = await import('../help/complete.ts');
      const { Client } = await import('../client.ts');
      const named = words.indexOf('--socket');
      const socket = named === -1 ? new Session(command).socket : socketPath(words[named + 1]);
      // A key that is pressed must not wait for a daemon.
      say(await complete(program, words, new Client(socket, 0)));
    });

  subcommand(program, 'man', 'write the manual pages', ['cleat man /usr/local/share/man/man1', 'man cleat-run'])
    .argument('<directory>')
    .action(async (directory: string) => {
      const { pagesOf } = await import('../help/manual.ts');
      const pages = pagesOf(program, version);
      try {
        mkdirSync(directory, { recursive: true });
        for (const [name, text] of pages) writeFileSync(join(directory, name), text);
      } catch (error) {
        const { message, code = '' } = error as NodeJS.ErrnoException;
        throw new Failure({ code: 'UNWRITABLE', message: `cannot write ${directory}: ${message}`, errno: code });
      }
      say([`${pages.size} pages in ${directory}`]);
    });
}
