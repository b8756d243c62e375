/**
 * Commands about the journal of a container as a file: export, replay.
 *
 * Guarantees: `export` writes the whole journal or fails: a file that exists is replaced in one step, and readable by its owner
 * alone; a pipe or a device stays what it is. `replay` needs no daemon and no rights: it exits with 0 if this version of cleat
 * goes the same way as the file.
 * Limits: `replay` is the import from cli/ into service/ beside the daemon's (`#replay`). It is loaded when it runs.
 */
import { mkdtempSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
// oxlint-disable-next-line no-restricted-imports -- the types of the import described above
import type { Replay } from '#replay';
import type { JournalEntry } from '../../state/answers/container/history.ts';
import { Session, subcommand } from '../command.ts';
import { EXIT, Failure, usage } from '../failure.ts';
import { say, sayJson } from '../terminal.ts';
import { eventText } from '../text.ts';

export function addJournalCommands(program: Command): void {
  addExport(program);
  addReplay(program);
}

function addExport(program: Command): void {
  subcommand(program, 'export <id>', 'the journal of a container as a file, for a report or to look at later', [
    'cleat export web -o web.ndjson',
    'cleat export web | gzip > web.ndjson.gz',
  ])
    .option('-o, --output <file>', 'write to this file, instead of standard output')
    .action(async (id: string, { output }: { output?: string }, command: Command) => {
      if (output === undefined && process.stdout.isTTY)
        throw usage('a journal is for a file, not for a terminal', 'Redirect the output, or use -o FILE.');
      const client = await new Session(command).client();
      const lines: string[] = [];
      for await (const line of await client.lines('GET /v1/containers/{id}/export', { id }))
        lines.push(JSON.stringify(line));
      if (output === undefined) sayJson(lines.join('\n'));
      else write(output, `${lines.join('\n')}\n`);
    });
}

function write(path: string, text: string): void {
  try {
    const there = statSync(path, { throwIfNoEntry: false });
    // A pipe or a device, such as /dev/null, belongs to others too, and must not become a file.
    if (there?.isFile() === false) writeFileSync(path, text);
    else replaceFile(there === undefined ? path : realpathSync(path), text);
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    const hint = 'Choose another place with -o.';
    throw new Failure({ code: 'UNWRITABLE', message: `cannot write ${path}: ${message}`, errno: code ?? '', hint });
  }
}

function replaceFile(path: string, text: string): void {
  const beside = mkdtempSync(`${path}.`);
  try {
    writeFileSync(join(beside, 'new'), text, { mode: 0o600 });
    renameSync(join(beside, 'new'), path);
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
}

function addReplay(program: Command): void {
  subcommand(program, 'replay <file>', 'lead the machines of this version through an exported journal, and compare', [
    'cleat replay web.ndjson',
    'zcat web.ndjson.gz | cleat replay -',
  ]).action(async (file: string, _flags: unknown, command: Command) => {
    const session = new Session(command);
    // oxlint-disable-next-line no-restricted-imports -- the import described above
    const { replayFile } = await import('#replay');
    const { replay, fault } = await replayFile(file);
    if (replay !== null) {
      const { path, difference } = replay;
      const rows = path.map(rowOf(path[0]?.t ?? 0));
      await session.table(replay, ['MS', 'MACHINE', 'EVENT', 'FROM', 'TO', 'FAULT'], rows);
      if (session.plain) say(['', ...verdict(replay)]);
      if (difference !== null) process.exitCode = EXIT.failed;
    }
    if (fault !== null) throw new Failure(fault);
  });
}

/** Returns a function that makes rows of the table; the first column is the time since the first change. */
const rowOf =
  (first: number) =>
  ({ t, machine, event, from, to, fault }: JournalEntry): string[] => [
    String(t - first),
    machine,
    eventText(event),
    from,
    to,
    fault === undefined ? '' : `${fault.message} (${fault.code})`,
  ];

function verdict({ header, transitions, skipped, restarts, difference }: Replay): string[] {
  const notes = [
    ...(header.truncated ? ['The beginning of the history was no longer known when it was exported.'] : []),
    ...(skipped > 0
      ? [`${count(skipped, 'line')} could not be replayed: nothing whole came before, or another version.`]
      : []),
    ...(restarts > 0 ? [`The machine was restored from its snapshot ${count(restarts, 'time')}.`] : []),
  ];
  if (difference === null) return [...notes, `same: ${count(transitions, 'transition')}`];
  const { line, expected, got } = difference;
  const words = (what: unknown) => (typeof what === 'string' ? what : JSON.stringify(what));
  return [
    ...notes,
    `different after ${count(transitions, 'transition')}, ${line === null ? 'at the end' : `at line ${line}`}:`,
    `  expected  ${words(expected)}`,
    `  got       ${words(got)}`,
  ];
}

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;
