/**
 * `cleat network`: create, update, ls, inspect, exists, rm, prune, and the commands about its containers, with Podman's flags and libnetwork's JSON.
 *
 * Guarantees: `network inspect` prints an array that podman can read.
 */
import { Option, type Command } from 'commander';
import { CleatError } from '../../client/error.ts';
import type { NetworkAnswer } from '../../state/answers/network.ts';
import type { NetworkDefinition, NetworkRequest } from '../../state/network.ts';
import type { Client } from '../client.ts';
import { collect, Session, subcommand } from '../command.ts';
import { EXIT, usage } from '../failure.ts';
import { addListFlags, filterOf, labelsOf, showList, type Keys, type ListFlags } from '../listing/listing.ts';
import { withProgress } from '../progress.ts';
import { each, reportAll, reportFailures } from '../report.ts';
import {
  networkRequest,
  networkUpdate,
  type NetworkFlags,
  type NetworkUpdateFlags,
} from '../request/network-options.ts';
import { DEFAULT_NETWORK } from '../request/options.ts';
import { timeText } from '../text.ts';
import { complain, warn } from '../terminal.ts';
import { addConnect, addDisconnect, addReload } from './lifecycle.ts';

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
  addList(network);
  addUses(network);
  addRemove(network);
  addPrune(network);
  addPeers(network);
  subcommand(network, 'inspect <name...>', 'everything about networks, as JSON', [
    'cleat network inspect web',
    "cleat network inspect web --format '{{json .subnets}}'",
  ])
    .addOption(new Option('-f <format>').hideHelp()) // docker's and podman's --format of inspect
    .action(async (names: string[], { f }: { f?: string }, command: Command) => {
      if (f !== undefined) command.setOptionValue('format', f);
      const session = new Session(command);
      const client = await session.client();
      const results = await each(names, (name) => client.call('GET /v1/networks/{name}', { name }));
      session.full(results.filter((result) => !(result instanceof CleatError)));
      reportFailures(session, results);
    });
}

const NETWORK_KEYS: Keys<NetworkDefinition> = {
  id: ({ id }) => [id],
  name: ({ name }) => [name],
  driver: ({ driver }) => [driver],
  label: ({ labels }) => labelsOf(labels),
  subnet: ({ subnets }) => subnets.map(({ subnet }) => subnet),
  internal: ({ internal }) => [String(internal)],
  dns: ({ dns_enabled: dns }) => [String(dns)],
};

function addList(network: Command): void {
  const command = subcommand(network, 'ls', 'list the networks', [
    'cleat network ls',
    'cleat network ls -q --filter driver=macvlan',
    "cleat network ls --format '{{.name}} {{json .labels}}'",
  ]).alias('list');
  addListFlags(command, NETWORK_KEYS, 'names only').action(
    async ({ filter = [], quiet }: ListFlags, action: Command) => {
      const session = new Session(action);
      const chosen = filterOf(filter, NETWORK_KEYS);
      const client = await session.client();
      const networks = await client.call('GET /v1/networks');
      if (!networks.some(({ name }) => name === DEFAULT_NETWORK)) await sayWhyNoDefault(client);
      const row = ({ id, name, driver, network_interface, subnets, internal }: NetworkDefinition) => [
        id.slice(0, 12),
        name,
        driver,
        network_interface,
        subnets.map(({ subnet }) => subnet).join(','),
        internal ? 'yes' : '',
      ];
      const headings = ['NETWORK ID', 'NAME', 'DRIVER', 'INTERFACE', 'SUBNETS', 'INTERNAL'];
      await showList(session, networks.filter(chosen), { headings, row, name: ({ name }) => name }, quiet);
    },
  );
}

/** The commands about a network's containers, where users of docker and podman look for them. */
function addUses(network: Command): void {
  addConnect(network);
  addDisconnect(network);
  addReload(network);
  subcommand(network, 'exists <name>', 'say by the exit code whether there is such a network: 0 yes, 1 no', [
    'cleat network exists web || cleat network create web',
  ]).action(async (name: string, _flags: unknown, command: Command) => {
    const client = await new Session(command).client();
    try {
      await client.call('GET /v1/networks/{name}', { name });
    } catch (error) {
      if (!isAbsent(error)) throw error;
      process.exitCode = EXIT.failed;
    }
  });
}

const isAbsent = (error: unknown): boolean => error instanceof CleatError && error.code === 'NO_SUCH_NETWORK';

function addRemove(network: Command): void {
  subcommand(network, 'rm <name...>', 'remove networks that nobody uses', [
    'cleat network rm web',
    'cleat network rm -f web       # disconnects its containers first',
  ])
    .alias('remove')
    .option('-i, --ignore', 'a network that does not exist is removed already')
    .option('-f, --force', 'disconnect its containers first; a network that does not exist is removed already')
    .action(async (names: string[], flags: { ignore?: boolean; force?: boolean }, command: Command) => {
      const { force = false, ignore = force } = flags;
      const session = new Session(command);
      const client = await session.client();
      const work = each([...new Set(names)], async (name) => {
        try {
          if (force) await disconnectAll(client, name);
          await client.call('DELETE /v1/networks/{name}', { name });
        } catch (error) {
          if (!(ignore && isAbsent(error))) throw error;
        }
        return { name };
      });
      reportAll(session, await withProgress(`removing ${names.join(' ')}`, work), ({ name }) => name);
    });
}

async function disconnectAll(client: Client, text: string): Promise<void> {
  const { name } = await client.call('GET /v1/networks/{name}', { name: text });
  const containers = await client.call('GET /v1/containers');
  const users = containers.filter(({ networks, requested_networks: asked }) => name in networks || name in asked);
  if (users.length === 0) return;
  const events = users.map(({ id }) => ({ type: 'disconnect' as const, id, network: name, force: true }));
  for (const { body } of await client.events(events)) {
    // It may have been torn down meanwhile.
    if ('error' in body && !['NO_SUCH_CONTAINER', 'NOT_CONNECTED'].includes(body.error.code))
      throw new CleatError(body.error);
  }
}

function addPeers(network: Command): void {
  subcommand(network, 'peers <name>', 'the hosts of an overlay network, and how this one takes part in it', [
    'cleat network peers all',
    "cleat network peers all --format '{{.state}} {{json .shares}}'",
  ]).action(async (name: string, _flags: unknown, command: Command) => {
    const session = new Session(command);
    const view = await (await session.client()).call('GET /v1/networks/{name}/overlay', { name });
    const { host, shares, peers, state, fault, refused, closed_since: closed, outage, renumbered } = view;
    const rows = [
      [host.slice(0, 12), 'this host', shares.join(',')],
      ...peers.map((peer) => [peer.host.slice(0, 12), peer.address, peer.subnets.join(',')]),
    ];
    await session.table(view, ['HOST', 'ADDRESS', 'SHARES'], rows);
    if (fault !== null)
      complain([`Warning: ${state}${closed === null ? '' : ` since ${timeText(closed)}`}: ${fault.message}`]);
    if (outage !== null)
      complain([
        `Warning: etcd does not answer as it should since ${timeText(outage.since)}, so hosts may be missing: ${outage.why}`,
      ]);
    if (renumbered !== null)
      complain([
        `Note: the network was given ${renumbered.to.join(', ')} at ${timeText(renumbered.at)}, in place of ${renumbered.from.join(', ')}`,
      ]);
    for (const [key, why] of Object.entries(refused)) complain([`Warning: left out: ${key} ${why}`]);
  });
}

function addPrune(network: Command): void {
  const keys: Keys<NetworkDefinition> = {
    label: NETWORK_KEYS.label ?? (() => []),
    driver: NETWORK_KEYS.driver ?? (() => []),
  };
  const command = subcommand(network, 'prune', 'remove all networks that nobody uses, but the default network', [
    'cleat network prune',
    'cleat network prune -f --filter label=stage=test',
  ]).option('-f, --force', 'without asking');
  command
    .addOption(
      new Option('--filter <key=value>', 'only those; KEY is label or driver (again for more)').argParser(collect),
    )
    .action(async (flags: { filter?: string[]; force?: boolean }, action: Command) => {
      const session = new Session(action);
      const chosen = filterOf(flags.filter ?? [], keys);
      const client = await session.client();
      const networks = await client.call('GET /v1/networks');
      const unused = networks.filter((one) => one.name !== DEFAULT_NETWORK && one.engine === undefined && chosen(one));
      if (flags.force !== true && !(await agrees('This removes all networks that no container uses. Continue?')))
        return;
      const results = await each(
        unused.map(({ name }) => name),
        async (name) => {
          try {
            await client.call('DELETE /v1/networks/{name}', { name });
          } catch (error) {
            // The daemon alone knows who uses it at this moment.
            if (isAbsent(error) || (error instanceof CleatError && error.code === 'NETWORK_IN_USE')) return null;
            throw error;
          }
          return { name };
        },
      );
      reportAll(
        session,
        results.filter((one) => one !== null),
        ({ name }) => name,
      );
    });
}

/** Asks a person at a terminal. Without one there is nobody to agree. */
async function agrees(question: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw usage('nobody is there to be asked', 'Give --force: it does not ask.');
  }
  const { createInterface } = await import('node:readline/promises');
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await lines.question(`${question} [y/N] `);
  lines.close();
  return /^y(es)?$/i.test(answer.trim());
}

/** Warns if there is no default network, with the daemon's reason: no container can then be made without naming a network. */
async function sayWhyNoDefault(client: Client): Promise<void> {
  try {
    await client.call('GET /v1/networks/{name}', { name: DEFAULT_NETWORK });
  } catch (error) {
    if (!(error instanceof CleatError)) throw error;
    complain([`Warning: there is no default network: ${error.message}`]);
  }
}

function addCreate(network: Command): void {
  subcommand(network, 'create [name]', 'make a network; without a name, it gets one: net1, net2, ...', [
    'cleat network create web                                   # a free subnet is chosen',
    'cleat network create back --subnet 10.90.0.0/24 --ip-range 10.90.0.128/25 --internal',
    'cleat network create lan --opt mode=unmanaged --interface-name br0 --subnet 192.0.2.0/24 --gateway 192.0.2.1 \\\n' +
      '    --ip-range 192.0.2.128/26                              # on a bridge that others have made',
    'cleat network create lan2 -d macvlan -o parent=eth0 --subnet 192.0.2.0/24 --ip-range 192.0.2.128/26   # hosts of the LAN',
    'cleat network create pods -d cni --opt conflist=/etc/cni/net.d/10-pods.conflist   # made by CNI plugins',
    'cleat network create all --driver overlay                  # one network over many hosts, on the etcd of the daemon',
    'cleat network create all --driver overlay --backend wireguard    # the same, encrypted between the hosts',
    'cleat network create dual --subnet 10.91.0.0/24 --subnet fd00:91::/64 --opt mtu=1400',
  ])
    .option('--ignore', 'a network of this name that exists already is no error, and stays as it is')
    .option('-d, --driver <driver>', 'bridge (default), overlay, macvlan, ipvlan, vlan, cni or netavark')
    .option('--subnet <cidr>', 'a subnet (again for one more, of the other family)', collect)
    .option('--gateway <address>', 'the gateway of the subnet that contains it', collect)
    .option('--ip-range <range>', 'give addresses out of this part of the subnet: a CIDR, or FIRST-LAST', collect)
    .option('--ipv6', 'an IPv6 subnet too')
    .option('--host-prefix <length>', "overlay: the size of each host's share of the IPv4 subnet (default: 24)")
    .option('--host-prefix6 <length>', 'overlay: of the IPv6 subnet (default: 64)')
    .option(
      '--backend <name>',
      'overlay: vxlan (default), wireguard: encrypted, or host-gw: routes alone, for hosts on one link',
    )
    .option('--tunnel-port <port>', 'overlay: the UDP port (default: 4789; of wireguard the first free from 51820 on)')
    .option('--internal', 'no way out, and no published ports')
    .option('--disable-dns', 'no name server on this network')
    .option('--dns <address>', 'who is asked about names that are not ours (again for one more)', collect)
    .option('--interface-name <name>', 'name of the bridge, or of the parent')
    .option('--ipam-driver <driver>', 'host-local (default), or none: its containers get no addresses')
    .option('-o, --opt <key=value>', OPTIONS, collect)
    .option('--route <route>', 'DESTINATION,GATEWAY[,METRIC] for each container', collect)
    .option('--label <key=value>', 'a label', collect)
    .action(async (name: string | undefined, flags: NetworkFlags, command: Command) => {
      if (name !== undefined && RESERVED.has(name))
        throw usage(`a network cannot be called ${name}: --network ${name} means something else`);
      if (name === undefined && flags.ignore === true) throw usage('--ignore is about a name, and none is given');
      const session = new Session(command);
      const request = networkRequest(name ?? 'net', flags);
      const client = await session.client();
      const work =
        name === undefined ? createNumbered(client, request) : create(client, request, flags.ignore === true);
      const definition = await withProgress(`creating network ${name ?? ''}`, work);
      warn(definition);
      session.say(definition, definition.name);
    });
}

async function create(client: Client, request: NetworkRequest, ignore: boolean): Promise<NetworkAnswer> {
  try {
    return await client.call('POST /v1/networks', { body: request });
  } catch (error) {
    if (!(ignore && error instanceof CleatError && error.code === 'NETWORK_EXISTS')) throw error;
    return client.call('GET /v1/networks/{name}', { name: request.name });
  }
}

/** Creates a network with the first free name of net1, net2, ... */
async function createNumbered(client: Client, request: NetworkRequest): Promise<NetworkAnswer> {
  const taken = new Set((await client.call('GET /v1/networks')).map(({ name }) => name));
  for (let n = 1; ; n++) {
    const name = `net${n}`;
    if (taken.has(name)) continue;
    try {
      return await client.call('POST /v1/networks', { body: { ...request, name } });
    } catch (error) {
      // Somebody else was faster. Any other refusal is one of the request.
      if (!(error instanceof CleatError && error.code === 'NETWORK_EXISTS' && error.message.includes(name)))
        throw error;
    }
  }
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
      const definition = await (await session.client()).call('PATCH /v1/networks/{name}', { name, body: update });
      warn(definition);
      session.say(definition, definition.name);
    });
}
