/**
 * Commands that show containers: ps, inspect, port, stats, history, events.
 *
 * Guarantees: these commands change nothing. inspect prints the API's answer as an array, as docker and podman do.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Option, type Command } from 'commander';
import { CleatError } from '../../client/error.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { JournalEntry } from '../../state/answers/container/history.ts';
import type { Notification } from '../../state/answers/notification.ts';
import type { ContainerStats } from '../../state/answers/container/stats.ts';
import { collect, Session, subcommand } from '../command.ts';
import { Failure, usage } from '../failure.ts';
import { addListFlags, filterOf, showList, type Keys, type ListFlags } from '../listing/listing.ts';
import { each, reportFailures } from '../report.ts';
import {
  addressesOf,
  eventText,
  networksOf,
  notificationText,
  PS_HEADINGS,
  psRow,
  sizeText,
  timeText,
  whyText,
} from '../text.ts';

export function addLookCommands(program: Command): void {
  addPs(program);
  addInspect(program);
  addPort(program);
  addStats(program);
  addHistory(program);
  addEvents(program);
}

const CONTAINER_KEYS: Keys<ContainerView> = {
  id: ({ id }) => [id],
  name: ({ name }) => [name],
  state: ({ state }) => [state, state.split('.')[0] ?? ''],
  status: ({ state }) => [state, state.split('.')[0] ?? ''],
  network: networksOf,
  address: addressesOf,
  port: ({ ports }) =>
    ports.flatMap(({ host_port: outer, container_port: inner, range }) =>
      [outer, inner].flatMap((first) => Array.from({ length: range }, (_, i) => String(first + i))),
    ),
  fault: ({ fault }) => (fault === null ? [] : [fault.code]),
};

function addPs(program: Command): void {
  const command = subcommand(program, 'ps', 'list the containers', [
    'cleat ps',
    'cleat teardown $(cleat ps -q --filter state=degraded)',
    "cleat ps --format '{{.id}} {{.netns.path}}'",
    'cleat ps --noheading --format id,ports',
  ]).alias('ls');
  addListFlags(command, CONTAINER_KEYS, 'ids only')
    .addOption(new Option('-a, --all').hideHelp()) // docker and podman users type it; all are listed anyway
    .action(async ({ filter = [], quiet }: ListFlags, command: Command) => {
      const session = new Session(command);
      const chosen = filterOf(filter, CONTAINER_KEYS);
      const containers = (await (await session.client()).call('GET /v1/containers')).filter(chosen);
      const now = Date.now();
      const listing = { headings: PS_HEADINGS, row: (one: ContainerView) => psRow(one, now), name: idOf };
      await showList(session, containers, listing, quiet);
    });
}

const idOf = ({ id }: { id: string }): string => id;

function addInspect(program: Command): void {
  subcommand(program, 'inspect <id...>', 'everything about containers, as JSON', [
    'cleat inspect web',
    "cleat inspect web --format '{{.netns.path}}'",
    "cleat inspect web | jq '.[0].NetworkSettings.IPAddress, .[0].drift'",
  ])
    .addOption(new Option('-f <format>').hideHelp()) // docker's and podman's --format of inspect
    .action(async (ids: string[], { f }: { f?: string }, command: Command) => {
      if (f !== undefined) command.setOptionValue('format', f);
      const session = new Session(command);
      const client = await session.client();
      const results = await each(ids, (id) => client.container(id));
      session.full(results.filter((result) => !(result instanceof CleatError)));
      reportFailures(session, results);
    });
}

function addPort(program: Command): void {
  subcommand(program, 'port <id> [port]', 'list the published ports of a container, or where one of them is', [
    'cleat port web',
    'cleat port web 80/tcp',
  ]).action(async (id: string, port: string | undefined, _flags: unknown, command: Command) => {
    if (port !== undefined && !/^\d{1,5}(\/(tcp|udp|sctp))?$/.test(port))
      throw usage(`invalid port "${port}"`, 'It is the port inside, as 80 or 53/udp.');
    const session = new Session(command);
    const { Ports } = (await (await session.client()).container(id)).NetworkSettings;
    const wanted = port === undefined || port.includes('/') ? port : `${port}/tcp`;
    const found = Object.entries(Ports).filter(([inside]) => wanted === undefined || inside === wanted);
    const outside = ({ HostIp, HostPort }: { HostIp: string; HostPort: string }) =>
      `${HostIp.includes(':') ? `[${HostIp}]` : HostIp}:${HostPort}`;
    const lines = found.flatMap(([inside, bindings]) =>
      (bindings ?? []).map((one) => (wanted === undefined ? `${inside} -> ${outside(one)}` : outside(one))),
    );
    if (wanted !== undefined && lines.length === 0) {
      const hint = `\`cleat port ${id}\` lists those that are; \`cleat publish ${id} ${port}\` publishes it.`;
      throw new Failure({ code: 'NOT_PUBLISHED', message: `${id} has no published port ${wanted}`, hint });
    }
    session.say(Object.fromEntries(found), lines);
  });
}

function addStats(program: Command): void {
  const command = subcommand(
    program,
    'stats [id...]',
    'what has gone through each interface of containers, of all unless some are named; on a terminal as it changes',
    ['cleat stats', 'cleat stats --no-stream', "cleat stats web --format json | jq '.[0].interfaces.eth0.rx_bytes'"],
  );
  addListFlags(command, STATS_KEYS, null)
    .option('--no-stream', 'once, also on a terminal; so do --format and --noheading')
    .addOption(new Option('-a, --all').hideHelp())
    .action(async (ids: string[], flags: ListFlags & { stream: boolean; noheading?: boolean }, command: Command) => {
      const { filter = [], stream, noheading = false } = flags;
      const session = new Session(command);
      const chosen = filterOf(filter, STATS_KEYS);
      const client = await session.client();
      const ask = async () => {
        const results =
          ids.length === 0
            ? await client.call('GET /v1/stats')
            : await each(ids, (id) => client.call('GET /v1/containers/{id}/stats', { id }));
        return {
          results,
          answers: results.filter((one): one is ContainerStats => !(one instanceof CleatError) && chosen(one)),
        };
      };
      const { results, answers } = await ask();
      const live = stream && session.plain && !noheading && process.stdout.isTTY;
      // Of a name that means nothing, the error is better than a table without it.
      if (live && !results.some((one) => one instanceof CleatError)) return follow(async () => (await ask()).answers);
      await session.table(answers, STATS, answers.flatMap(statsRows));
      reportFailures(session, results);
    });
}

const STATS_KEYS: Keys<ContainerStats> = {
  id: ({ id }) => [id],
  network: ({ interfaces }) => Object.values(interfaces ?? {}).flatMap(({ network }) => network ?? []),
};

/** Shows the table as it changes, until q or Ctrl-C. A daemon that is away leaves the last one. */
async function follow(ask: () => Promise<ContainerStats[]>): Promise<never> {
  const { LiveTable } = await import('../watch/live.ts');
  let rows: string[][] = [];
  const table = new LiveTable(STATS, () => rows);
  for (;;) {
    try {
      rows = (await ask()).flatMap(statsRows);
      table.say(null);
    } catch (error) {
      if (!(error instanceof CleatError)) throw error;
      table.say(error.message);
    }
    table.open();
    await sleep(STATS_MS);
  }
}

/** docker and podman show new numbers about as often. */
const STATS_MS = 1000;

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

const HISTORY_KEYS: Keys<JournalEntry> = {
  machine: ({ machine }) => [machine],
  event: ({ event }) => [event, eventText(event)],
  from: ({ from }) => [from],
  to: ({ to }) => [to],
};

function addHistory(program: Command): void {
  const command = subcommand(
    program,
    'history <id>',
    'what a container went through: each state, how long, and why it failed',
    ['cleat history web', 'cleat history web --filter machine=container --format time,to'],
  );
  addListFlags(command, HISTORY_KEYS, null).action(async (id: string, { filter = [] }: ListFlags, action: Command) => {
    const session = new Session(action);
    const chosen = filterOf(filter, HISTORY_KEYS);
    const entries = (await (await session.client()).call('GET /v1/containers/{id}/history', { id })).filter(chosen);
    const row = (entry: JournalEntry) => {
      const { t, machine, event, from, to, ms } = entry;
      return [timeText(t), machine, eventText(event), from, to, String(ms), whyText(entry)];
    };
    await showList(session, entries, {
      headings: ['TIME', 'MACHINE', 'EVENT', 'FROM', 'TO', 'MS', 'WHY'],
      row,
      name: String,
    });
  });
}

const EVENT_KEYS: Keys<Notification> = {
  id: ({ id }) => (id === null ? [] : [id]),
  container: ({ id }) => (id === null ? [] : [id]),
  type: ({ type }) => [type],
  event: (one) => [one.type, ...('event' in one ? [one.event] : [])],
  network: (one) => ('network' in one && one.network !== null ? [one.network] : []),
  machine: (one) => ('machine' in one ? [one.machine] : one.type === 'state' ? ['container'] : []),
  action: (one) => ('action' in one ? [one.action] : []),
  state: (one) => ('to' in one ? [one.to, one.to.split('.')[0] ?? ''] : []),
  code: (one) => ('fault' in one && one.fault !== null ? [one.fault.code] : []),
};

interface EventFlags {
  id?: string;
  filter?: string[];
  f?: string[];
  since?: number;
  until?: number;
}

function addEvents(program: Command): void {
  subcommand(program, 'events', 'what happens, as it happens; until Ctrl-C', [
    'cleat events',
    'cleat events --since 10m --until now --filter type=failed',
    "cleat events --id web --format '{{.type}} {{json .fault}}'",
    'cleat events --filter type=daemon --filter type=machine',
  ])
    .option('--id <id>', 'of this container only (id or name)')
    .option(
      '--since <time>',
      'first what has happened since then: 2026-01-10T17:45:44Z, seconds since 1970, or 10m ago',
      timeOf,
    )
    .option('--until <time>', 'end then; `now` ends after what has happened', timeOf)
    .addOption(new Option('--follow').hideHelp()) // who is used to it types it; events are followed anyway
    .option(
      '--filter <key=value>',
      `only those; KEY is ${Object.keys(EVENT_KEYS).join(', ')} (again for more)`,
      collect,
    )
    .addOption(
      new Option('-f [key=value]', 'the same; alone it is --follow of others, and events are followed anyway')
        .preset(true)
        .argParser((word: string | true, before: string[] | undefined) =>
          word === true ? (before ?? []) : collect(word, before),
        ),
    )
    .action(async ({ filter = [], f = [], ...follow }: EventFlags, action: Command) => {
      const session = new Session(action);
      const chosen = filterOf([...filter, ...f], EVENT_KEYS);
      const client = await session.client();
      // Ctrl-C is the usual way to stop following, not a failure.
      process.once('SIGINT', () => process.exit(0));
      for await (const { event_id: _id, ...notification } of client.notifications(follow))
        if (chosen(notification)) session.next(notification, () => notificationText(notification));
    });
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Parses a moment as docker and podman do, and also `now`. Returns milliseconds since the epoch. */
export function timeOf(text: string): number {
  if (text === 'now') return Date.now();
  if (/^\d{1,12}(\.\d{1,9})?$/.test(text)) return Math.floor(Number(text) * 1000);
  if (/^(\d{1,6}[smhd])+$/.test(text)) {
    const parts = [...text.matchAll(/(\d+)([smhd])/g)];
    return Date.now() - parts.reduce((sum, [, n = '0', unit = 's']) => sum + Number(n) * (UNITS[unit] ?? 0), 0);
  }
  const t = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(t))
    throw usage(`invalid time "${text}"`, 'A time is 2026-01-10T17:45:44Z, seconds since 1970, 10m or now.');
  return t;
}
