/**
 * `cleat daemon`: become the daemon.
 *
 * Guarantees: flags and environment are read here as every other subcommand reads them; the rest is in service/main.ts.
 * Limits: beside `replay` (journal.ts), this is the only import from cli/ into service/ (`#daemon`, made by scripts/bundle.ts). It
 * is loaded when this subcommand runs, so no other subcommand loads any code of the daemon.
 */
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { collect, commonOptions, Session, subcommand } from '../command.ts';
import { fromEnvironment } from '../places.ts';
import { complain } from '../terminal.ts';

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/** Engines come back within it, for the next container of a series. */
const IDLE_S = '10';

interface Flags {
  runDir?: string;
  stateDir?: string;
  netnsDir?: string;
  publisher?: string;
  drift?: string[];
  forwardOthers?: boolean;
  limit?: string[];
  defaultSubnetPool?: string[];
  slirp4netns?: string;
  slirp4netnsOption?: string[];
  pasta?: string;
  pastaOption?: string[];
  rootlessUplink?: string;
  cniPlugins?: string[];
  netavark?: string;
  pluginTimeout?: string;
  forwarderLimit?: string[];
  otlpEndpoint?: string;
  exitWhenIdle?: string | true;
  logLevel?: string;
  detach?: boolean;
}

export function addDaemonCommand(program: Command): void {
  subcommand(program, 'daemon', 'run the daemon, in the foreground unless --detach is given', [
    'cleat daemon',
    'cleat daemon --detach                         # returns when it serves, and prints its pid',
    'cleat daemon --run-dir /tmp/c/run --state-dir /tmp/c/state --netns-dir /tmp/c/netns',
  ])
    .option('-d, --detach', 'in the background: return when it serves; it writes daemon.log beside its socket')
    .option('--run-dir <path>', 'socket, snapshots, journals (env: CLEAT_RUN_DIR; default: /run/cleat)')
    .option('--state-dir <path>', 'network definitions (env: CLEAT_STATE_DIR; default: /var/lib/cleat)')
    .option('--netns-dir <path>', 'where namespaces are pinned (env: CLEAT_NETNS_DIR; default: /run/netns)')
    .option(
      '--publisher <url>',
      'in a machine of gvproxy, its API: http://HOST[:PORT] or unix:///PATH (env: CLEAT_PUBLISHER)',
    )
    .option(
      '--drift <kind=policy>',
      'what is done when others change or take away link, address, route, neighbour, switch, table, rule, port, dns or uplink: repair, alert or ' +
        'ignore; ' +
        'again for another kind (env: CLEAT_DRIFT=route=alert,port=ignore; default: repair)',
      collect,
    )
    .option(
      '--forward-others',
      'forward between other interfaces too: a host that forwarded nothing before its first network goes on to forward ' +
        'for networks alone (env: CLEAT_FORWARD_OTHERS=1)',
    )
    .option(
      '--limit <name=number>',
      'how much one may have: connections (1024), connections-per-uid (256), containers-per-uid (1000), ' +
        'ports-per-container (16384), tracked-per-container (a quarter of what the kernel tracks), neighbours-per-container ' +
        '(a quarter of what the machine may have); again for another ' +
        '(env: CLEAT_LIMIT=connections=64,containers-per-uid=10)',
      collect,
    )
    .option(
      '--default-subnet-pool <base,size>',
      'where networks without a subnet get one, instead of the usual pools of that family: 172.20.0.0/14,24 or ' +
        'fd00:1::/48,64; again for more',
      collect,
    )
    .option('--slirp4netns <path>', 'the program (env: CLEAT_SLIRP4NETNS; default: /usr/bin/slirp4netns)')
    .option(
      '--slirp4netns-option <key=value>',
      'for every container that does not say otherwise; again for more',
      collect,
    )
    .option('--pasta <path>', 'the program (env: CLEAT_PASTA; default: /usr/bin/pasta)')
    .option('--pasta-option <word>', 'for every container, before its own; again for more', collect)
    .option(
      '--rootless-uplink <program>',
      'as an ordinary user: what leads out of the namespace that the networks are in, slirp4netns or pasta ' +
        '(env: CLEAT_ROOTLESS_UPLINK; default: the first of them that is installed)',
    )
    .option(
      '--cni-plugins <directory>',
      'where the plugins of networks of driver cni are; again for more (env: CLEAT_CNI_PLUGINS=DIR:DIR; default: ' +
        '/opt/cni/bin and /usr/lib/cni)',
      collect,
    )
    .option(
      '--netavark <path>',
      'the program of networks of driver netavark (env: CLEAT_NETAVARK; default: /usr/lib/podman/netavark)',
    )
    .option(
      '--plugin-timeout <seconds>',
      'how long one execution of a plugin or of netavark may take (env: CLEAT_PLUGIN_TIMEOUT; default: 60)',
    )
    .option(
      '--forwarder-limit <name=number>',
      'what each container may use of the forwarder: connections (default: 16384), flows (8192), or how long it waits, ' +
        'in seconds: flow_idle (120), half_closed (240); again for another (env: CLEAT_FORWARDER_LIMIT=flows=100,...)',
      collect,
    )
    .option(
      '--otlp-endpoint <url>',
      'send a trace of each operation to this OpenTelemetry collector: http://127.0.0.1:4318 ' +
        '(env: OTEL_EXPORTER_OTLP_ENDPOINT and the other standard variables; default: none)',
    )
    .option(
      '--exit-when-idle [seconds]',
      'end when there is no container and no connection for so long, and remove what was made in the run directory ' +
        `(env: CLEAT_EXIT_WHEN_IDLE; without a number: ${IDLE_S}; default: never)`,
    )
    .addOption(
      new Option('--log-level <level>', 'how much to log (env: CLEAT_LOG_LEVEL; default: info)').choices(LEVELS),
    )
    .action(async (flags: Flags, command: Command) => {
      if (flags.detach === true) return detach(flags, command);
      const places = {
        runDir: flags.runDir ?? fromEnvironment('RUN_DIR'),
        stateDir: flags.stateDir ?? fromEnvironment('STATE_DIR'),
        netnsDir: flags.netnsDir ?? fromEnvironment('NETNS_DIR'),
        // No default here: the daemon's default socket is in its own run directory.
        socket: commonOptions(command).socket ?? fromEnvironment('SOCKET'),
        publisher: flags.publisher ?? fromEnvironment('PUBLISHER'),
        drift: flags.drift ?? fromEnvironment('DRIFT')?.split(','),
        forwardOthers: flags.forwardOthers ?? (fromEnvironment('FORWARD_OTHERS') === '1' ? true : undefined),
        limits: flags.limit ?? fromEnvironment('LIMIT')?.split(','),
        subnetPools: flags.defaultSubnetPool,
        slirp4netns: flags.slirp4netns ?? fromEnvironment('SLIRP4NETNS'),
        slirp4netnsOptions: flags.slirp4netnsOption,
        pasta: flags.pasta ?? fromEnvironment('PASTA'),
        pastaOptions: flags.pastaOption,
        rootlessUplink: flags.rootlessUplink ?? fromEnvironment('ROOTLESS_UPLINK'),
        cniPlugins: flags.cniPlugins ?? fromEnvironment('CNI_PLUGINS')?.split(':'),
        netavark: flags.netavark ?? fromEnvironment('NETAVARK'),
        pluginTimeout: flags.pluginTimeout ?? fromEnvironment('PLUGIN_TIMEOUT'),
        forwarderLimits: flags.forwarderLimit ?? fromEnvironment('FORWARDER_LIMIT')?.split(','),
        otlpEndpoint: flags.otlpEndpoint, // service/traces/ reads the standard variables
        exitWhenIdle: flags.exitWhenIdle === true ? IDLE_S : (flags.exitWhenIdle ?? fromEnvironment('EXIT_WHEN_IDLE')),
        logLevel: flags.logLevel ?? fromEnvironment('LOG_LEVEL'),
      };
      // oxlint-disable-next-line no-restricted-imports -- the import described above
      const { main } = await import('#daemon');
      await main(Object.fromEntries(Object.entries(places).filter(([, value]) => value !== undefined)), complain);
    });
}

async function detach({ runDir = fromEnvironment('RUN_DIR') }: Flags, command: Command): Promise<void> {
  const session = new Session(command);
  const { socket = fromEnvironment('SOCKET') } = commonOptions(command);
  const { startDetached } = await import('../process/detach.ts');
  const args = process.argv.slice(2).filter((word) => word !== '--detach' && word !== '-d');
  const place = socket ?? (runDir === undefined ? session.socket : join(runDir, 'cleat.sock'));
  const pid = await startDetached(args, place);
  session.say({ pid, socket: place }, String(pid));
}
