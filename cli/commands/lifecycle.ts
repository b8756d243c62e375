/**
 * The lifecycle commands: configure, connect, disconnect, reload, publish, unpublish, teardown. Each sends one event.
 *
 * Guarantees: exit code 0 means that the event is done; for teardown, that nothing of the container is left (with --no-wait:
 * that the daemon will finish the teardown). stdout names the objects that were made or changed.
 */
import { Option, type Command } from 'commander';
import { CleatError } from '../../client/error.ts';
import type { EventAnswer, EventLine } from '../../state/answers/event.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import type { Client } from '../client.ts';
import { collect, Session, subcommand } from '../command.ts';
import { EXIT, usage, exitCodeOf } from '../failure.ts';
import { attachmentOptions, parsePort, type AttachmentFlags } from '../request/options.ts';
import { counting, withProgress } from '../progress.ts';
import { reportAll } from '../report.ts';
import { warn } from '../terminal.ts';
import { dryRunOption, showPlan, showPlans, type DryRun } from './plan.ts';
import { portText } from '../text.ts';

export function addLifecycleCommands(program: Command): void {
  addConfigure(program);
  addConnect(program);
  addDisconnect(program);
  addReload(program);
  addPublish(program);
  addTeardown(program);
}

function addConfigure(program: Command): void {
  subcommand(program, 'configure <id>', 'set up what was asked for at create: addresses, links, routes, ports', [
    'cleat configure web',
    'cleat configure web --dry-run     # each step, the addresses and ports it would get, and nothing done',
  ])
    .addOption(dryRunOption())
    .action(async (id: string, _flags: unknown, command: Command) => send(command, { type: 'configure', id }));
}

interface ReloadFlags extends DryRun {
  full?: boolean;
  all?: boolean;
}

export function addReload(program: Command): void {
  subcommand(
    program,
    'reload [id...]',
    'put firewall rules back that are missing; links and connections are not touched',
    [
      'cleat reload web',
      'cleat reload --all          # every container that is up',
      'cleat reload --full web     # new links too: same addresses, MAC and names, connections go on',
    ],
  )
    .option('--full', 'replace the links too, each by one with the same name, addresses and MAC')
    .option('-a, --all', 'every container that is up')
    .addOption(dryRunOption())
    .action(async (ids: string[], { full = false, all = false, dryRun = false }: ReloadFlags, command: Command) => {
      if (all === ids.length > 0) throw usage('name containers, or give --all');
      const session = new Session(command);
      const client = await session.client();
      const up = async () =>
        (await client.call('GET /v1/containers')).filter(({ state }) => state === 'up').map(({ id }) => id);
      const events = [...new Set(all ? await up() : ids)].map((id) => ({ type: 'reload' as const, id, full }));
      if (dryRun) return showPlans(session, client, events);
      const { text, one } = counting(
        'reloading',
        events.map(({ id }) => id),
      );
      const work = events.length === 0 ? Promise.resolve([]) : client.events(events, true, one);
      const answers = await withProgress(text, work);
      const results = answers.map(({ body }) => ('error' in body ? new CleatError(body.error) : body));
      reportAll(session, results, (answer) => answer.id);
    });
}

export function addConnect(program: Command): void {
  subcommand(program, 'connect <network> <id>', 'connect a container to one more network', [
    'cleat connect back web',
    'cleat connect --ip 10.90.0.7 --alias database back db',
  ])
    .option('--ip <address>', 'with this address (again for one of another subnet)', collect)
    .option('--ip6 <address>', 'with this IPv6 address', collect)
    .option('--mac <address>', 'with this MAC address')
    .option('--interface-name <name>', 'with this interface name inside the container')
    .option('--alias <name>', 'one more name on this network (again for more)', collect)
    .option('--gw-priority <number>', 'the network with the highest leads out and has the published ports (default: 0)')
    .addOption(dryRunOption())
    .action(async (network: string, id: string, flags: AttachmentFlags, command: Command) => {
      await send(command, { type: 'connect', id, network, options: attachmentOptions(flags) });
    });
}

export function addDisconnect(program: Command): void {
  subcommand(program, 'disconnect <network> <id>', 'disconnect a container from a network', [
    'cleat disconnect back web',
  ])
    .option('-f, --force', 'also when its link cannot be taken away: what is left is listed and tried again')
    .addOption(dryRunOption())
    .action(async (network: string, id: string, { force }: { force?: boolean }, command: Command) => {
      await send(command, { type: 'disconnect', id, network, ...(force === undefined ? {} : { force }) });
    });
}

interface PublishFlags extends DryRun {
  from?: string;
}

function addPublish(program: Command): void {
  subcommand(program, 'publish <id> <port...>', 'publish more ports of a container, while it runs', [
    'cleat publish web 8443:443',
    'cleat publish web 127.0.0.1::9090 [::1]:5353:53/udp',
    'cleat publish green 8080:80 --from blue    # blue gives it up in the same moment',
  ])
    .option('--from <id>', 'take the host ports over from this container, without a moment in which they are closed')
    .addOption(dryRunOption())
    .action(async (id: string, ports: string[], { from, dryRun = false }: PublishFlags, command: Command) => {
      const session = new Session(command);
      const client = await session.client();
      const event: LifecycleEvent = {
        type: 'publish',
        id,
        port_mappings: ports.flatMap(parsePort),
        ...(from === undefined ? {} : { from }),
      };
      if (dryRun) return showPlan(session, client, event);
      const before = (await client.container(id)).ports.map(portText);
      const answer = await client.event(event);
      const now = 'ports' in answer ? answer.ports.map(portText) : [];
      // The host ports that were chosen. A container that is not configured has none yet.
      const added = now.filter((text) => !before.includes(text));
      warn(answer);
      session.say(answer, added.length > 0 ? added : id);
    });
  subcommand(program, 'unpublish <id> <port...>', 'take published ports back, while the container runs', [
    'cleat unpublish web 8443:443',
    'cleat unpublish web 80        # whichever host port leads to 80',
  ])
    .addOption(dryRunOption())
    .action(async (id: string, ports: string[], _flags: unknown, command: Command) => {
      await send(command, { type: 'unpublish', id, port_mappings: ports.flatMap(parsePort) });
    });
}

interface TeardownFlags extends DryRun {
  ignore?: boolean;
  wait: boolean;
}

function addTeardown(program: Command): void {
  subcommand(program, 'teardown <id...>', 'take everything of a container away', [
    'cleat teardown web db',
    'cleat teardown --ignore web    # fine when there is none',
  ])
    .alias('rm')
    .option('-i, --ignore', 'a container that does not exist is torn down already')
    .addOption(new Option('-f, --force').hideHelp()) // docker and podman users type it; a teardown is always that
    .option('--no-wait', 'return when it is certain to happen, not when it has')
    .addOption(dryRunOption())
    .action(async (ids: string[], { ignore = false, wait, dryRun = false }: TeardownFlags, command: Command) => {
      const session = new Session(command);
      const client = await session.client();
      const events = [...new Set(ids)].map((id) => ({ type: 'teardown' as const, id }));
      if (dryRun) return showPlans(session, client, events, ignore);
      const { text, one } = counting(
        'tearing down',
        events.map(({ id }) => id),
      );
      const results = await withProgress(text, teardown(client, events, { wait, ignore, one }));
      reportAll(session, results, (answer) => answer.id);
    });
}

/** Tears all down at once, over one connection. The failure of one does not stop the others. */
async function teardown(
  client: Client,
  events: { type: 'teardown'; id: string }[],
  { wait, ignore, one }: { wait: boolean; ignore: boolean; one: () => void },
): Promise<(EventAnswer | CleatError)[]> {
  const answers = await client.events(events, wait, one);
  return Promise.all(answers.map((answer, i) => outcome(client, events[i]?.id ?? '', answer, wait, ignore)));
}

async function outcome(
  client: Client,
  id: string,
  { body }: EventLine,
  wait: boolean,
  ignore: boolean,
): Promise<EventAnswer | CleatError> {
  if (ignore && 'error' in body && body.error.code === 'NO_SUCH_CONTAINER') return { id, state: 'gone' };
  if (!wait && !('error' in body)) return body;
  try {
    return await client.tornDown(id, body);
  } catch (error) {
    if (error instanceof CleatError && exitCodeOf(error) !== EXIT.unreachable) return error;
    throw error;
  }
}

/** Sends one event, or plans it with --dry-run. */
export async function send(command: Command, event: LifecycleEvent): Promise<void> {
  const session = new Session(command);
  const client = await session.client();
  if (command.opts<DryRun>().dryRun === true) return showPlan(session, client, event);
  const answer = await withProgress(`${event.type} ${event.id}`, client.event(event));
  warn(answer);
  session.say(answer, event.id);
}
