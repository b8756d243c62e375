/**
 * The commands that make a container: create, and up, which creates and configures in one. Also the flags that say where a container
 * is, which `run` has too.
 *
 * Guarantees: `up` leaves a container that is up, or none. The flags of Docker and Podman for the only network of a container mean
 * the same as those in NAME:ip=...
 */
import { InvalidArgumentError, Option, type Command } from 'commander';
import { CleatError } from '../../client/error.ts';
import type { CreateEvent } from '../../state/event.ts';
import type { PortHandler } from '../../state/uplink.ts';
import { collect, Session, subcommand } from '../command.ts';
import { withProgress } from '../progress.ts';
import { report } from '../report.ts';
import { parseWiring, type WiringOptions } from '../request/options.ts';
import { warn } from '../terminal.ts';
import { send } from './lifecycle.ts';
import { dryRunOption } from './plan.ts';

const NETWORK_HELP =
  'network NAME[:ip=..,ip6=..,mac=..,interface_name=..,alias=..,gw-priority=..], none, host, container:ID, ns:PATH, ' +
  'slirp4netns[:KEY=VALUE,..] or pasta[:OPTION,..] (again for more)';
const PORT_HANDLERS: readonly PortHandler[] = ['firewall', 'forwarder', 'slirp4netns', 'pasta'];

/** Adds the flags that parseWiring reads, and --port-handler. */
export function addWiring(command: Command): Command {
  return command
    .option('--network <network>', NETWORK_HELP, collect)
    .addOption(new Option('--net <network>').argParser(collect).hideHelp()) // docker's other word
    .option('-p, --publish <port>', 'publish [HOSTIP:][HOSTPORT:]PORT[-PORT][/PROTO] (again for more)', collect)
    .option('--expose <port>', 'a port PORT[-PORT][/PROTO] that -P publishes (again for more)', collect)
    .option('-P, --publish-all', 'publish what --expose names, each on a host port that is free')
    .addOption(
      new Option('--port-handler <handler>', 'who carries published ports (default: what suits the network)').choices(
        PORT_HANDLERS,
      ),
    )
    .option('--ip <address>', 'its address on the only network (again for one of another subnet)', collect)
    .option('--ip6 <address>', 'its IPv6 address there', collect)
    .option('--mac-address <address>', 'its MAC address there')
    .option('--network-alias <name>', 'one more name there (again for more)', collect)
    .option(
      '--dns <address>',
      "asked for names that are no container's, instead of the host's (again for more)",
      collect,
    )
    .option('--add-host <name:address>', 'one more line of its hosts file (again for more)', collect);
}

interface CreateFlags extends WiringOptions {
  boundTo?: number;
  exitFd?: { pid: number; fd: number };
  name?: string;
  files?: boolean;
}

export function addCreateCommands(program: Command): void {
  const create = subcommand(program, 'create <id>', 'give a container a network namespace of its own', [
    'cleat create web -p 8080:80                       # on the default network',
    'cleat create db --network back:ip=10.90.0.5,alias=database --network front',
    'cleat create sidecar --network container:web      # the same namespace as web',
    'cleat create guest --network slirp4netns:mtu=1500 -p 8080:80',
    'cleat create app --pid 4242 -p [::1]:8443:443     # the namespace of a process; torn down when it ends',
    'cleat create job --exit-fd 4242:5                  # torn down when the other end of its descriptor 5 is closed',
  ]);
  addCreateFlags(create)
    .addOption(dryRunOption())
    .action((id: string, flags: CreateFlags, command: Command) => send(command, requestOf(id, flags)));

  const up = subcommand(program, 'up <id>', 'create a container and configure it: afterwards it is up, or not there', [
    'cleat up web --network back -p 8080:80',
    'cleat up db --ip 10.90.0.5 --network back',
  ]);
  addCreateFlags(up).action(async (id: string, flags: CreateFlags, command: Command) => {
    const session = new Session(command);
    const event = requestOf(id, flags);
    const client = await session.client();
    warn(await client.event(event));
    try {
      const answer = await withProgress(`configuring ${id}`, client.event({ type: 'configure', id }));
      warn(answer);
      session.say(answer, id);
    } catch (error) {
      try {
        await client.tornDown(id, await client.event({ type: 'teardown', id }));
      } catch (left) {
        if (!(left instanceof CleatError)) throw left;
        report(left.error, session.json, command);
      }
      throw error;
    }
  });
}

function addCreateFlags(command: Command): Command {
  return addWiring(command)
    .option('--pid <pid>', 'use the network namespace of this process, and tear down when it ends', parsePid)
    .option('--bound-to <pid>', 'tear down when this process ends', parsePid)
    .option(
      '--exit-fd <[pid:]fd>',
      'tear down when the other end of this descriptor (pipe, socket, pidfd) is closed; without a pid, one that cleat was ' +
        'started with',
      parseExitFd,
    )
    .option('--name <name>', 'a name for people and name servers, unique (default: the id)')
    .option('--hostname <name>', 'one more name on every network')
    .option('--pod <name>', 'hold the namespace of this pod: the pod has the name, not the container')
    .option('--files', 'keep a resolv.conf and a hosts file for it, to be bind-mounted (`cleat inspect` says where)')
    .option('--outside <path>', "network namespace that holds the bridge and the rules (default: the daemon's)");
}

function requestOf(id: string, flags: CreateFlags): CreateEvent {
  const { name, hostname, pod, files, boundTo, exitFd, outside, portHandler } = flags;
  return {
    type: 'create',
    id,
    ...parseWiring(flags),
    ...(name === undefined ? {} : { name }),
    ...(hostname === undefined ? {} : { hostname }),
    ...(pod === undefined ? {} : { pod }),
    ...(files === undefined ? {} : { files }),
    ...(boundTo === undefined ? {} : { bound_to: boundTo }),
    ...(exitFd === undefined ? {} : { exit_fd: exitFd }),
    ...(outside === undefined ? {} : { outside }),
    ...(portHandler === undefined ? {} : { port_handler: portHandler }),
  };
}

function parsePid(text: string): number {
  const pid = /^\d{1,7}$/.test(text) ? Number(text) : 0;
  if (pid < 1) throw new InvalidArgumentError('It is the number of a process.');
  return pid;
}

/** Parses [PID:]FD. Without a pid it is a descriptor of this process, which has inherited it. */
function parseExitFd(text: string): { pid: number; fd: number } {
  const [, pid, fd = ''] = /^(?:(\d{1,7}):)?(\d{1,9})$/.exec(text) ?? [];
  if (fd === '') throw new InvalidArgumentError('It is the number of a descriptor, or PID:FD.');
  return { pid: pid === undefined ? process.pid : parsePid(pid), fd: Number(fd) };
}
