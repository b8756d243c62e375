/**
 * `cleat why`: why a container is as it is, for a person who has no network and wants to know within seconds.
 *
 * Guarantees: the first line is the verdict. The exit code is 0 when all is well, and 1 when not; `--format json` prints the
 * API's answer, whose text others may have chosen is left as it is.
 */
import type { Command } from 'commander';
import type { Why } from '../../state/answers/container/why.ts';
import { Session, subcommand } from '../command.ts';
import { EXIT } from '../failure.ts';
import { timeText } from '../text.ts';

export function addWhy(program: Command): void {
  subcommand(
    program,
    'why <id>',
    'why a container is as it is: each part, what led there, what blocks it, what helps',
    [
      'cleat why web',
      'cleat why web && echo all is well',
      'cleat why web --format json | jq -r \'.parts[] | select(.condition == "wrong").text\'',
    ],
  ).action(async (id: string, _flags: unknown, command: Command) => {
    const session = new Session(command);
    const why = await (await session.client()).call('GET /v1/containers/{id}/why', { id });
    if (!why.well) process.exitCode = EXIT.failed;
    session.say(why, whyLines(why));
  });
}

/** Returns the lines for people. A section without content is left out. */
function whyLines({ well, verdict, parts, led, blocks, unblocks, legal }: Why): string[] {
  const names = parts.map(({ part, object }) => (object === null ? part : `${part} ${object}`));
  const width = Math.max(0, ...names.map((name) => name.length));
  const list = parts.map(
    ({ condition, text }, i) => `  ${condition.padEnd(9)}${(names[i] ?? '').padEnd(width)}  ${text}`,
  );
  return [
    verdict,
    ...section('', list),
    ...section(
      'What led there:',
      led.map(({ t, text }) => `  ${timeText(t)}  ${text}`),
    ),
    ...section('What blocks it:', blocks.map(item)),
    ...section('What helps:', unblocks.map(item)),
    ...section('', well ? [] : [`Possible now: ${legal.length === 0 ? 'nothing' : legal.join(', ')}`]),
  ];
}

const item = (text: string): string => `  - ${text}`;

const section = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : ['', ...(title === '' ? [] : [title]), ...lines];
