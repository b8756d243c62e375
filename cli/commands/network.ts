/**
 * `cleat network`: create, update, ls, inspect, rm, with Podman's flags and libnetwork's JSON.
 *
 * Guarantees: `network inspect` prints an array that podman can read.
 */
import type { Command } from 'commander';
import type { NetworkAnswer } from '../../state/answers/network.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Client } from '../client.ts';
import { collect, Session, subcommand } from '../command.ts';
import { Failure, usage } from '../failure.ts';
import { networkRequest, networkUpdate, type NetworkFlags, type NetworkUpdateFlags } from '../network-options.ts';
import { each, reportAll, reportFailures } from '../report.ts';
import { complain, sayJson, warn } from '../terminal.ts';

const path = (name: string): string => `/v1/networks/${encodeURIComponent(name)}`;

/** The network that a container joins if it names none. A copy, because the client imports only types from state/network.ts. */
const DEFAULT_NETWORK = 'cleat';

const OPTIONS =
  'mtu=BYTES, isolate=strict|true|false, metric=N, no_default_route=true, outbound_addr4=ADDRESS, outbound_addr6=ADDRESS, ' +
  'com.docker.network.bridge.enable_ip_masquerade=false; create alone: mode=unmanaged (the bridge is there already), ' +
  'parent=LINK, mode=bridge|private|vepa|passthru (macvlan), mode=l2|l3|l3s (ipvlan), bclim=N (macvlan), vlan=TAG (vlan; bridge: of the ports), ' +
  'conflist=PATH (cni)';

/** Words that have another meaning for --network. */
const RESERVED = new Set(['none', 'host']);

export function addNetworkCommands(program: Command): void {
  const network = program.command('network').description('make, change, list and remove networks');
  addCreate(network);
  addUpdate(network);
  subcommand(network, 'ls', 'list the networks', ['cleat network ls', 'cleat network ls -q'])
    .alias('list')
    .option('-q, --quiet', 'names only')
    .action(async ({ quiet = false }: { quiet?: boolean }, command: Command) => {
      const session = new Session(command);
      const client = await session.client();
      const networks = await client.get<NetworkDefinition[]>('/v1/networks');
      if (!networks.some(({ name }) => name === DEFAULT_NETWORK)) await sayWhyNoDefault(client);
      const names = networks.map(({ name }) => name);
      if (quiet) return session.say(names, names);
      const rows = networks.map(({ id, name, driver, network_interface, subnets, internal }) => [
        id.slice(0, 12),
        name,
        driver,
        network_interface,
        subnets.map(({ subnet }) => subnet).join(','),
        internal ? 'yes' : '',
      ]);
      await session.table(networks, ['NETWORK ID', 'NAME', 'DRIVER', 'INTERFACE', 'SUBNETS', 'INTERNAL'], rows);
    });
  subcommand(network, 'inspect <name...>', 'everything about networks, as JSON', ['cleat network inspect web']).action(
    async (names: string[], _flags: unknown, command: Command) => {
      const session = new Session(command);
      const client = await session.client();
      const results = await each(names, (name) => client.get<NetworkDefinition>(path(name)));
      sayJson(
        JSON.stringify(
          results.filter((result) => !(result instanceof Failure)),
          null,
          2,
        ),
      );
      reportFailures(session, results);
    },
  );
  subcommand(network, 'rm <name...>', 'remove networks that nobody uses', ['cleat network rm web'])
    .alias('remove')
    .option('-i, --ignore', 'a network that does not exist is removed already')
    .action(async (names: string[], { ignore = false }: { ignore?: boolean }, command: Command) => {
      const session = new Session(command);
      const client = await session.client();
      const results = await each(names, async (name) => {
        try {
          await client.delete(path(name));
        } catch (error) {
          if (!(ignore && error instanceof Failure && error.error.code === 'NO_SUCH_NETWORK')) throw error;
        }
        return { name };
      });
      reportAll(session, results, ({ name }) => name);
    });
}

/** Warns if there is no default network, with the daemon's reason: no container can then be made without naming a network. */
async function sayWhyNoDefault(client: Client): Promise<void> {
  try {
    await client.get(path(DEFAULT_NETWORK));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    complain([`Warning: there is no default network: ${error.error.message}`]);
  }
}

function addCreate(network: Command): void {
  subcommand(network, 'create <name>', 'make a network', [
    'cleat network create web                                   # a free subnet is chosen',
    'cleat network create back --subnet 10.90.0.0/24 --ip-range 10.90.0.128/25 --internal',
    'cleat network create lan --opt mode=unmanaged --interface-name br0 --subnet 192.0.2.0/24 --gateway 192.0.2.1 \\\n' +
      '    --ip-range 192.0.2.128/26                              # on a bridge that others have made',
    'cleat network create lan2 -d macvlan -o parent=eth0 --subnet 192.0.2.0/24 --ip-range 192.0.2.128/26   # hosts of the LAN',
    'cleat network create pods -d cni --opt conflist=/etc/cni/net.d/10-pods.conflist   # made by CNI plugins',
    'cleat network create dual --subnet 10.91.0.0/24 --subnet fd00:91::/64 --opt mtu=1400',
  ])
    .option('-d, --driver <driver>', 'bridge (default), macvlan, ipvlan, vlan, cni or netavark')
    .option('--subnet <cidr>', 'a subnet (again for one more, of the other family)', collect)
    .option('--gateway <address>', 'the gateway of the subnet that contains it', collect)
    .option('--ip-range <range>', 'give addresses out of this part of the subnet: a CIDR, or FIRST-LAST', collect)
    .option('--ipv6', 'an IPv6 subnet too')
    .option('--internal', 'no way out, and no published ports')
    .option('--disable-dns', 'no name server on this network')
    .option('--dns <address>', 'who is asked about names that are not ours (again for one more)', collect)
    .option('--interface-name <name>', 'name of the bridge, or of the parent')
    .option('--ipam-driver <driver>', 'host-local (default), or none: its containers get no addresses')
    .option('-o, --opt <key=value>', OPTIONS, collect)
    .option('--route <route>', 'DESTINATION,GATEWAY[,METRIC] for each container', collect)
    .option('--label <key=value>', 'a label', collect)
    .action(async (name: string, flags: NetworkFlags, command: Command) => {
      if (RESERVED.has(name)) throw usage(`a network cannot be called ${name}: --network ${name} means something else`);
      const session = new Session(command);
      const request = networkRequest(name, flags);
      const definition = await (await session.client()).post<NetworkAnswer>('/v1/networks', request);
      warn(definition);
      session.say(definition, definition.name);
    });
}

function addUpdate(network: Command): void {
  subcommand(
    network,
    'update <name>',
    'change a network under its containers: all of them follow, or nothing changes',
    [
      'cleat network update web --opt mtu=1400',
      'cleat network update web --ipv6 --opt isolate=false',
      'cleat network update web --dns 192.0.2.53 --route 198.51.100.0/24,10.89.0.7',
      'cleat network update web --subnet 10.89.0.0/24 --gateway 10.89.0.254 --ip-range 10.89.0.128/25',
      'cleat network update web --subnet-drop 10.89.0.0/24 --subnet 10.89.0.0/23 --opt-drop metric',
    ],
  )
    .option('-o, --opt <key=value>', OPTIONS, collect)
    .option('--opt-drop <key>', 'an option has its default again', collect)
    .option('--dns <address>', 'who is asked about names that are not ours (again for one more); replaces all', collect)
    .option('--dns-none', "nobody in particular: the host's resolv.conf says")
    .option(
      '--route <route>',
      'DESTINATION,GATEWAY[,METRIC] for each container (again for one more); replaces all',
      collect,
    )
    .option('--route-none', 'no routes')
    .option(
      '--subnet <cidr>',
      'one more subnet: each container gets an address of it; or one that is there, to change its gateway or range',
      collect,
    )
    .option('--subnet-drop <cidr>', 'take a subnet away that no container has an address of', collect)
    .option('--gateway <address>', 'the gateway of the subnet that contains it', collect)
    .option('--ip-range <range>', 'give addresses out of this part of the subnet: a CIDR, or FIRST-LAST', collect)
    .option('--ip-range-drop <cidr>', 'give addresses out of all of this subnet', collect)
    .option('--ipv6', 'an IPv6 subnet, if there is none')
    .option('--no-ipv6', 'no IPv6 subnet')
    .action(async (name: string, flags: NetworkUpdateFlags, command: Command) => {
      const session = new Session(command);
      const update = networkUpdate(flags);
      const definition = await (await session.client()).patch<NetworkAnswer>(path(name), update);
      warn(definition);
      session.say(definition, definition.name);
    });
}
