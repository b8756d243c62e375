/**
 * The settings of the daemon: one table, of which flags, environment, the file, `cleat config` and docs/configuration.md are made.
 *
 * Guarantees: a flag wins over the environment, the environment over the file. Of settings that are pairs, each name is one
 * setting: `--drift route=alert` leaves what the file says of ports.
 * Limits: where clients look for the daemon (--run-dir, --socket) is not in the file, because each of them would have to read it.
 * Values are checked here by their shape alone; the daemon checks the rest when it starts (service/start/settings.ts).
 */
import { type Command, Option } from 'commander';
import { collect, commonOptions } from '../command.ts';
import { usage } from '../failure.ts';

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/** Engines come back within it, for the next container of a series. */
const IDLE_S = '10';

/** What the file has: text, a number, also of seconds, true or false, a list of words, or a table of NAME = VALUE. */
type Kind = 'text' | 'number' | 'seconds' | 'switch' | 'words' | 'pairs';

export interface Setting {
  /** As the daemon takes it (MainOptions in service/start/settings.ts). */
  name: string;
  /** In the file, "pasta.options" being `options` in the table `pasta`; null if it is not in the file. */
  key: string | null;
  kind: Kind;
  flag: string;
  /** In the environment. `example` says how a list is written there, and its separator. */
  env?: { variable: string; separator?: string; example?: string };
  usual: string | null;
  text: string;
}

export const SETTINGS: readonly Setting[] = [
  {
    name: 'runDir',
    key: null,
    kind: 'text',
    flag: '--run-dir <path>',
    env: { variable: 'RUN_DIR' },
    usual: '/run/cleat; of an ordinary user: $XDG_RUNTIME_DIR/cleat',
    text: 'socket, snapshots, journals',
  },
  {
    name: 'socket',
    key: null,
    kind: 'text',
    flag: '--socket <path>',
    env: { variable: 'SOCKET' },
    usual: 'cleat.sock in the run directory',
    text: 'where clients reach it',
  },
  {
    name: 'stateDir',
    key: 'state_dir',
    kind: 'text',
    flag: '--state-dir <path>',
    env: { variable: 'STATE_DIR' },
    usual: '/var/lib/cleat; of an ordinary user: ~/.local/state/cleat',
    text: 'network definitions',
  },
  {
    name: 'netnsDir',
    key: 'netns_dir',
    kind: 'text',
    flag: '--netns-dir <path>',
    env: { variable: 'NETNS_DIR' },
    usual: '/run/netns',
    text: 'where namespaces are pinned',
  },
  {
    name: 'dockerSocket',
    key: 'docker_socket',
    kind: 'text',
    flag: '--docker-socket <path>',
    env: { variable: 'DOCKER_SOCKET' },
    usual: 'none',
    text: "a second socket, for the `docker network` commands of Docker's clients",
  },
  {
    name: 'publisher',
    key: 'publisher',
    kind: 'text',
    flag: '--publisher <url>',
    env: { variable: 'PUBLISHER' },
    usual: null,
    text: 'in a machine of gvproxy, its API: http://HOST[:PORT] or unix:///PATH',
  },
  {
    name: 'drift',
    key: 'drift',
    kind: 'pairs',
    flag: '--drift <kind=policy>',
    env: { variable: 'DRIFT', separator: ',', example: 'route=alert,port=ignore' },
    usual: 'repair',
    text:
      'what is done when others change or take away link, address, route, neighbour, switch, table, rule, port, dns or uplink: ' +
      'repair, alert or ignore; again for another kind',
  },
  {
    name: 'forwardOthers',
    key: 'forward_others',
    kind: 'switch',
    flag: '--forward-others',
    env: { variable: 'FORWARD_OTHERS', example: '1' },
    usual: null,
    text:
      'forward between other interfaces too: a host that forwarded nothing before its first network goes on to forward ' +
      'for networks alone',
  },
  {
    name: 'limits',
    key: 'limits',
    kind: 'pairs',
    flag: '--limit <name=number>',
    env: { variable: 'LIMIT', separator: ',', example: 'connections=64,containers-per-uid=10' },
    usual: null,
    text:
      'how much one may have: connections (1024), connections-per-uid (256), containers-per-uid (1000), ' +
      'ports-per-container (16384), tracked-per-container (a quarter of what the kernel tracks), neighbours-per-container ' +
      '(a quarter of what the machine may have); again for another',
  },
  {
    name: 'preparedNamespaces',
    key: 'prepared_namespaces',
    kind: 'number',
    flag: '--prepared-namespaces <number>',
    env: { variable: 'PREPARED_NAMESPACES' },
    usual: '8',
    text: 'how many namespaces are kept ready for the next containers, 0 to 512',
  },
  {
    name: 'subnetPools',
    key: 'default_subnet_pools',
    kind: 'words',
    flag: '--default-subnet-pool <base,size>',
    usual: null,
    text:
      'where networks without a subnet get one, instead of the usual pools of that family: 172.20.0.0/14,24 or ' +
      'fd00:1::/48,64; again for more',
  },
  {
    name: 'slirp4netns',
    key: 'slirp4netns.path',
    kind: 'text',
    flag: '--slirp4netns <path>',
    env: { variable: 'SLIRP4NETNS' },
    usual: '/usr/bin/slirp4netns',
    text: 'the program',
  },
  {
    name: 'slirp4netnsOptions',
    key: 'slirp4netns.options',
    kind: 'words',
    flag: '--slirp4netns-option <key=value>',
    usual: null,
    text: 'for every container that does not say otherwise; again for more',
  },
  {
    name: 'pasta',
    key: 'pasta.path',
    kind: 'text',
    flag: '--pasta <path>',
    env: { variable: 'PASTA' },
    usual: '/usr/bin/pasta',
    text: 'the program',
  },
  {
    name: 'pastaOptions',
    key: 'pasta.options',
    kind: 'words',
    flag: '--pasta-option <word>',
    usual: null,
    text: 'for every container, before its own; again for more',
  },
  {
    name: 'rootlessUplink',
    key: 'rootless_uplink',
    kind: 'text',
    flag: '--rootless-uplink <program>',
    env: { variable: 'ROOTLESS_UPLINK' },
    usual: 'the first of them that is installed',
    text: 'as an ordinary user: what leads out of the namespace that the networks are in, slirp4netns or pasta',
  },
  {
    name: 'cniPlugins',
    key: 'cni_plugins',
    kind: 'words',
    flag: '--cni-plugins <directory>',
    env: { variable: 'CNI_PLUGINS', separator: ':', example: 'DIR:DIR' },
    usual: '/opt/cni/bin and /usr/lib/cni',
    text: 'where the plugins of networks of driver cni are; again for more',
  },
  {
    name: 'netavark',
    key: 'netavark',
    kind: 'text',
    flag: '--netavark <path>',
    env: { variable: 'NETAVARK' },
    usual: '/usr/lib/podman/netavark',
    text: 'the program of networks of driver netavark',
  },
  {
    name: 'pluginTimeout',
    key: 'plugin_timeout',
    kind: 'seconds',
    flag: '--plugin-timeout <seconds>',
    env: { variable: 'PLUGIN_TIMEOUT' },
    usual: '60',
    text: 'how long one execution of a plugin or of netavark may take',
  },
  {
    name: 'etcd',
    key: 'etcd.endpoints',
    kind: 'words',
    flag: '--etcd <url>',
    env: { variable: 'ETCD', separator: ',', example: 'https://10.0.0.1:2379,...' },
    usual: 'none',
    text: 'a member of the etcd that overlay networks live on (docs/overlay.md); again, or with commas, for all of them',
  },
  {
    name: 'etcdCa',
    key: 'etcd.ca',
    kind: 'text',
    flag: '--etcd-ca <file>',
    env: { variable: 'ETCD_CA' },
    usual: null,
    text: 'the certificate of the authority that has signed those of etcd; read again when it is replaced',
  },
  {
    name: 'etcdCert',
    key: 'etcd.cert',
    kind: 'text',
    flag: '--etcd-cert <file>',
    env: { variable: 'ETCD_CERT' },
    usual: null,
    text: 'the certificate that is shown to etcd; read again when it is replaced',
  },
  {
    name: 'etcdKey',
    key: 'etcd.key',
    kind: 'text',
    flag: '--etcd-key <file>',
    env: { variable: 'ETCD_KEY' },
    usual: null,
    text: 'the key of that certificate',
  },
  {
    name: 'etcdUser',
    key: 'etcd.user',
    kind: 'text',
    flag: '--etcd-user <name>',
    env: { variable: 'ETCD_USER' },
    usual: null,
    text: 'the user that the daemon is to etcd, where etcd has users and roles',
  },
  {
    name: 'etcdPasswordFile',
    key: 'etcd.password_file',
    kind: 'text',
    flag: '--etcd-password-file <file>',
    env: { variable: 'ETCD_PASSWORD_FILE' },
    usual: null,
    text: 'the file with the password of that user; read each time that etcd wants it',
  },
  {
    name: 'etcdTtl',
    key: 'etcd.ttl',
    kind: 'seconds',
    flag: '--etcd-ttl <seconds>',
    env: { variable: 'ETCD_TTL' },
    usual: '30',
    text: "how long this host's share of an overlay is its own without an answer from etcd: 5 to 600",
  },
  {
    name: 'advertise',
    key: 'advertise',
    kind: 'text',
    flag: '--advertise <address>',
    env: { variable: 'ADVERTISE' },
    usual: null,
    text: 'the address at which the other hosts of overlay networks reach this one',
  },
  {
    name: 'forwarderLimits',
    key: 'forwarder_limits',
    kind: 'pairs',
    flag: '--forwarder-limit <name=number>',
    env: { variable: 'FORWARDER_LIMIT', separator: ',', example: 'flows=100,...' },
    usual: null,
    text:
      'what each container may use of the forwarder: connections (default: 16384), flows (8192), or how long it waits, ' +
      'in seconds: flow_idle (120), half_closed (240); again for another',
  },
  {
    name: 'otlpEndpoint',
    key: null, // service/traces/ reads the standard variables, which would have to win over it
    kind: 'text',
    flag: '--otlp-endpoint <url>',
    usual: 'OTEL_EXPORTER_OTLP_ENDPOINT and the other standard variables, or none',
    text: 'send a trace of each operation to this OpenTelemetry collector: http://127.0.0.1:4318',
  },
  {
    name: 'exitWhenIdle',
    key: 'exit_when_idle',
    kind: 'seconds',
    flag: '--exit-when-idle [seconds]',
    env: { variable: 'EXIT_WHEN_IDLE' },
    usual: 'never',
    text:
      'end when there is no container and no connection for so long, and remove what was made in the run directory ' +
      `(without a number: ${IDLE_S})`,
  },
  {
    name: 'logLevel',
    key: 'log_level',
    kind: 'text',
    flag: '--log-level <level>',
    env: { variable: 'LOG_LEVEL' },
    usual: 'info',
    text: `how much to log: ${LEVELS.join(', ')}`,
  },
];

export type Value = string | boolean | string[];

/** Values by the names of settings, all from one place: a file, the environment or the command line. */
export interface Layer {
  from: (setting: Setting) => string;
  values: ReadonlyMap<string, Value>;
}

/** Adds the flags of all settings to a command. */
export function addSettings(command: Command): void {
  for (const { name, kind, flag, env, usual, text } of SETTINGS) {
    if (name === 'socket') continue; // every command has it
    const where =
      env === undefined ? [] : [`env: CLEAT_${env.variable}${env.example === undefined ? '' : `=${env.example}`}`];
    const notes = [...where, ...(usual === null ? [] : [`default: ${usual}`])].join('; ');
    const option = new Option(flag, notes === '' ? text : `${text} (${notes})`);
    if (kind === 'words' || kind === 'pairs') option.argParser(collect);
    if (flag.startsWith('--log-level')) option.choices(LEVELS);
    command.addOption(option);
  }
  command.option('--config <file>', 'the file with settings (env: CLEAT_CONFIG; default: see docs/configuration.md)');
}

/** Returns what the command line says. */
export function flagLayer(command: Command): Layer {
  const given: Record<string, Value | undefined> = { ...command.opts(), ...commonOptions(command) };
  const values = new Map<string, Value>();
  for (const setting of SETTINGS) {
    const value = given[new Option(setting.flag).attributeName()];
    if (value !== undefined) values.set(setting.name, setting.kind === 'seconds' && value === true ? IDLE_S : value);
  }
  return { from: ({ flag }) => flag.split(' ')[0] ?? flag, values };
}

/** Returns what the environment says; a variable that is empty says nothing. */
export function environmentLayer(environment: NodeJS.ProcessEnv): Layer {
  const values = new Map<string, Value>();
  for (const { name, kind, env } of SETTINGS) {
    const text = env === undefined ? '' : (environment[`CLEAT_${env.variable}`] ?? '');
    if (env === undefined || text === '') continue;
    if (kind === 'switch' && text !== '0' && text !== '1') throw usage(`CLEAT_${env.variable} is 0 or 1, not ${text}`);
    values.set(name, kind === 'switch' ? text === '1' : env.separator === undefined ? text : text.split(env.separator));
  }
  return { from: ({ env }) => `CLEAT_${env?.variable}`, values };
}

/** Returns the value of each setting that somebody has set; `layers` begin with the weakest. */
export function settle(layers: readonly Layer[]): Map<string, Value> {
  const settled = new Map<string, Value>();
  const isPairs = new Set(SETTINGS.filter(({ kind }) => kind === 'pairs').map(({ name }) => name));
  for (const { values } of layers) {
    for (const [name, value] of values) {
      const before = settled.get(name);
      // The daemon takes the last of two pairs with one name.
      const joined = isPairs.has(name) && Array.isArray(before) && Array.isArray(value) ? [...before, ...value] : value;
      settled.set(name, joined);
    }
  }
  return settled;
}
