/**
 * The settings that a daemon starts with, made of its options, which are those of the command line (cli/commands/daemon-settings.ts).
 *
 * Guarantees: an option that is not understood is refused by name. Paths are absolute, so they hold wherever the daemon works.
 * Nothing is opened or made.
 */
import { isAbsolute, join, resolve } from 'node:path';
import { driftPolicies } from '../../state/drift.ts';
import { FaultError } from '../../state/faults.ts';
import { forwarderLimits } from '../../state/forwarder.ts';
import { limitsOf } from '../../state/limits.ts';
import { PublisherUrl } from '../../state/names.ts';
import { subnetPools } from '../../state/network.ts';
import { USUAL_PROGRAMS, type UplinkPrograms } from '../events/uplink-request.ts';
import { DEFAULT_STATE_DIR } from '../records/instance.ts';
import { isLevel, LEVELS } from '../report/log.ts';
import { etcdOf } from './etcd.ts';
import { externalsOf } from './external-programs.ts';
import { refuseSocketPath } from '../sockets/listen.ts';
import type { DaemonOptions } from './options.ts';
import type { TakenSocket } from '../sockets/passed-socket.ts';
import { rootlessOptions, rootlessPlaces } from './rootless.ts';

const MAX_IDLE_S = 86_400;
/** What one command starts, usually; each takes kernel memory (docs/decisions/0065). */
const PREPARED = 8;
/** Each is a descriptor of the daemon's. */
const MAX_PREPARED = 512;

export interface MainOptions {
  runDir?: string;
  stateDir?: string;
  netnsDir?: string;
  socket?: string;
  dockerSocket?: string;
  publisher?: string;
  /** KIND=POLICY, repeatable. */
  drift?: string[];
  forwardOthers?: boolean;
  /** NAME=NUMBER, repeatable. */
  limits?: string[];
  /** A number, as text. */
  preparedNamespaces?: string;
  /** BASE,SIZE, repeatable. */
  subnetPools?: string[];
  slirp4netns?: string;
  slirp4netnsOptions?: string[];
  pasta?: string;
  pastaOptions?: string[];
  /** The program that leads out of an ordinary user's outside. */
  rootlessUplink?: string;
  /** Repeatable. */
  cniPlugins?: string[];
  netavark?: string;
  /** Seconds. */
  pluginTimeout?: string;
  /** URLs, repeatable; each may be several with commas between. */
  etcd?: string[];
  etcdCa?: string;
  etcdCert?: string;
  etcdKey?: string;
  etcdUser?: string;
  etcdPasswordFile?: string;
  /** Seconds, as text. */
  etcdTtl?: string;
  advertise?: string;
  /** NAME=NUMBER, repeatable. */
  forwarderLimits?: string[];
  otlpEndpoint?: string;
  /** Seconds, as text. */
  exitWhenIdle?: string;
  logLevel?: string;
}

/** Throws a FaultError for the first option that the daemon does not take. */
export function settingsOf(options: MainOptions, passed: TakenSocket | null): Omit<DaemonOptions, 'log'> {
  const { logLevel: level } = options;
  if (level !== undefined && !isLevel(level)) {
    throw new FaultError('BAD_REQUEST', `the log level is one of ${LEVELS.join(', ')}, not ${level}`);
  }
  const places = rootlessPlaces();
  const runDir = directoryOf('run', options.runDir) ?? places?.runDir ?? '/run/cleat';
  const uplinks = programsOf(options);
  const outside = rootlessOptions(uplinks, options.rootlessUplink);
  return {
    runDir,
    stateDir: directoryOf('state', options.stateDir) ?? places?.stateDir ?? DEFAULT_STATE_DIR,
    netnsDir: directoryOf('netns', options.netnsDir) ?? '/run/netns',
    socket: passed?.path ?? socketOf(options.socket) ?? join(runDir, 'cleat.sock'),
    socketFd: passed?.fd ?? null,
    dockerSocket: dockerSocketOf(options.dockerSocket),
    exitWhenIdle: secondsOf(options.exitWhenIdle),
    publisher: publisherOf(options.publisher),
    drift: driftPolicies(options.drift ?? []),
    forwardOthers: options.forwardOthers ?? false,
    limits: limitsOf(options.limits ?? []),
    preparedNamespaces: preparedOf(options.preparedNamespaces),
    subnetPools: subnetPools(options.subnetPools ?? []),
    uplinks,
    rootless: places === null ? null : outside,
    externals: externalsOf(options),
    etcd: etcdOf(options),
    forwarderLimits: forwarderLimits(options.forwarderLimits ?? []),
    otlpEndpoint: options.otlpEndpoint ?? null,
  };
}

/** Returns the path; one that is relative begins where the command was given. */
function directoryOf(which: string, path: string | undefined): string | undefined {
  if (path === '') throw new FaultError('BAD_REQUEST', `the ${which} directory has an empty name`);
  return path === undefined ? undefined : resolve(path);
}

/** Returns the path; one that is empty stays so, and is refused for its length like one that is too long. */
const socketOf = (path: string | undefined): string | undefined =>
  path === undefined || path === '' ? path : resolve(path);

function dockerSocketOf(path: string | undefined): string | null {
  if (path === undefined) return null;
  if (!isAbsolute(path)) throw new FaultError('BAD_REQUEST', `--docker-socket takes an absolute path, not ${path}`);
  refuseSocketPath(path);
  return path;
}

function secondsOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  const seconds = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && seconds > 0 && seconds <= MAX_IDLE_S) return seconds;
  throw new FaultError('BAD_REQUEST', `--exit-when-idle takes seconds, up to ${MAX_IDLE_S}, not ${text}`);
}

function preparedOf(text: string | undefined): number {
  if (text === undefined) return PREPARED;
  if (/^\d{1,3}$/.test(text) && Number(text) <= MAX_PREPARED) return Number(text);
  throw new FaultError('BAD_REQUEST', `--prepared-namespaces takes a number from 0 to ${MAX_PREPARED}, not ${text}`);
}

function programsOf({ slirp4netns, slirp4netnsOptions, pasta, pastaOptions }: MainOptions): UplinkPrograms {
  const relative = [slirp4netns, pasta].find((file) => file !== undefined && !isAbsolute(file));
  if (relative !== undefined) throw new FaultError('BAD_REQUEST', `${relative} is not an absolute path of a program`);
  return {
    slirp4netns: { file: slirp4netns ?? USUAL_PROGRAMS.slirp4netns.file, options: slirp4netnsOptions ?? [] },
    pasta: { file: pasta ?? USUAL_PROGRAMS.pasta.file, options: pastaOptions ?? [] },
  };
}

function publisherOf(text: string | undefined): string | null {
  if (text === undefined) return null;
  const { data, error } = PublisherUrl.safeParse(text);
  if (data === undefined) throw new FaultError('BAD_REQUEST', `publisher ${text}: ${error?.issues[0]?.message ?? ''}`);
  return data;
}
