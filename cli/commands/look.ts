/**
 * Commands that show containers: ps, inspect, stats, history, events.
 *
 * Guarantees: these commands change nothing. inspect prints the API's answer as an array, as docker and podman do.
 */
import type { Command } from 'commander';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { JournalEntry } from '../../state/answers/container/history.ts';
import type { Notification } from '../../state/answers/notification.ts';
import type { ContainerStats } from '../../state/answers/container/stats.ts';
import { Session, subcommand } from '../command.ts';
import { Failure } from '../failure.ts';
import { each, reportFailures } from '../report.ts';
import { say, sayJson } from '../terminal.ts';
import { eventText, notificationText, PS_HEADINGS, psRow, sizeText, timeText, whyText } from '../text.ts';

export function addLookCommands(program: Command): void {
  addPs(program);
  addInspect(program);
  addStats(program);
  addHistory(program);
  addEvents(program);
}

function addPs(program: Command): void {
  subcommand(program, 'ps', 'list the containers', ['cleat ps', 'cleat teardown $(cleat ps -q)'])
    .alias('ls')
    .option('-q, --quiet', 'ids only')
    .option('-a, --all', 'accepted for those who are used to it: all are listed anyway')
    .action(async ({ quiet = false }: { quiet?: boolean }, command: Command) => {
      const session = new Session(command);
      const containers = await (await session.client()).get<ContainerView[]>('/v1/containers');
      if (quiet)
        return session.say(
          containers.map(({ id }) => id),
          containers.map(({ id }) => id),
        );
      const now = Date.now();
      await session.table(
        containers,
        PS_HEADINGS,
        containers.map((container) => psRow(container, now)),
      );
    });
}

function addInspect(program: Command): void {
  subcommand(program, 'inspect <id...>', 'everything about containers, as JSON', [
    'cleat inspect web',
    "cleat inspect web | jq -r '.[0].netns.path'",
    "cleat inspect web | jq '.[0].NetworkSettings.IPAddress, .[0].drift'",
  ]).action(async (ids: string[], _flags: unknown, command: Command) => {
    const session = new Session(command);
    const client = await session.client();
    const results = await each(ids, (id) => client.container(id));
    sayJson(
      JSON.stringify(
        results.filter((result) => !(result instanceof Failure)),
        null,
        2,
      ),
    );
    reportFailures(session, results);
  });
}

function addStats(program: Command): void {
  subcommand(
    program,
    'stats [id...]',
    'what has gone through each interface of containers, of all unless some are named',
    ['cleat stats', "cleat stats web --format json | jq '.[0].interfaces.eth0.rx_bytes'"],
  ).action(async (ids: string[], _flags: unknown, command: Command) => {
    const session = new Session(command);
    const client = await session.client();
    const results =
      ids.length === 0
        ? await client.get<ContainerStats[]>('/v1/stats')
        : await each(ids, (id) => client.get<ContainerStats>(`/v1/containers/${encodeURIComponent(id)}/stats`));
    const answers = results.filter((result): result is ContainerStats => !(result instanceof Failure));
    await session.table(answers, STATS, answers.flatMap(statsRows));
    reportFailures(session, results);
  });
}

const STATS = [
  'ID',
  'INTERFACE',
  'NETWORK',
  'RX',
  'RX PKTS',
  'RX ERR',
  'RX DROP',
  'TX',
  'TX PKTS',
  'TX ERR',
  'TX DROP',
];

/** Returns one row per interface; a row of dashes for a container without one, so that every container is listed. */
function statsRows({ id, interfaces }: ContainerStats): string[][] {
  const rows = Object.entries(interfaces ?? {}).map(([name, one]) => {
    const counts = [one.rx_packets, one.rx_errors, one.rx_dropped, one.tx_packets, one.tx_errors, one.tx_dropped];
    const [rx, tx] = [counts.slice(0, 3).map(String), counts.slice(3).map(String)];
    return [id, name, one.network ?? '-', sizeText(one.rx_bytes), ...rx, sizeText(one.tx_bytes), ...tx];
  });
  return rows.length > 0 ? rows : [[id, ...STATS.slice(1).map(() => '-')]];
}

function addHistory(program: Command): void {
  subcommand(program, 'history <id>', 'what a container went through: each state, how long, and why it failed', [
    'cleat history web',
  ]).action(async (id: string, _flags: unknown, command: Command) => {
    const session = new Session(command);
    const path = `/v1/containers/${encodeURIComponent(id)}/history`;
    const entries = await (await session.client()).get<JournalEntry[]>(path);
    const rows = entries.map((entry) => {
      const { t, machine, event, from, to, ms } = entry;
      const why = whyText(entry);
      return [timeText(t), machine, eventText(event), from, to, String(ms), why];
    });
    await session.table(entries, ['TIME', 'MACHINE', 'EVENT', 'FROM', 'TO', 'MS', 'WHY'], rows);
  });
}

function addEvents(program: Command): void {
  subcommand(program, 'events', 'what happens, as it happens; until Ctrl-C', [
    'cleat events',
    'cleat events --id web --format json | jq -c \'select(.type == "failed")\'',
  ])
    .option('--id <id>', 'of this container only (id or name)')
    .option('-f, --follow', 'accepted for those who are used to it: events are followed anyway')
    .action(async ({ id }: { id?: string }, command: Command) => {
      const session = new Session(command);
      const path = id === undefined ? '/v1/events' : `/v1/events?id=${encodeURIComponent(id)}`;
      const client = await session.client();
      // Ctrl-C is the usual way to stop following, not a failure.
      process.once('SIGINT', () => process.exit(0));
      await client.follow(path, (line) =>
        session.json ? sayJson(line) : say([notificationText(JSON.parse(line) as Notification)]),
      );
      const hint = 'It was stopped, or this reader was too slow; `cleat ps` shows how things are.';
      throw new Failure({ code: 'UNREACHABLE', message: 'the daemon closed the stream of events', hint }, 3);
    });
}
