/**
 * The daemon as a process: `cleat daemon`.
 *
 * Guarantees: SIGTERM and SIGINT end it in order, without touching a container. A start that fails prints the reason in one line
 * and exits with status 1.
 * Limits: it stays in the foreground. cli/process/detach.ts, and the fronts, start it in the background.
 */
import { join } from 'node:path';
import { toFault } from '../effects/effect.ts';
import { driftPolicies } from '../state/drift.ts';
import { FAULTS, FaultError } from '../state/faults.ts';
import { limitsOf } from '../state/limits.ts';
import { forwarderLimits } from '../state/forwarder.ts';
import { subnetPools } from '../state/network.ts';
import { startDaemon } from './daemon.ts';
import { DEFAULT_STATE_DIR } from './records/instance.ts';
import { externalsOf } from './start/external-programs.ts';
import { openLog } from './report/log.ts';
import { USUAL_PROGRAMS, type UplinkPrograms } from './events/uplink-request.ts';
import type { Leaving } from './start/idle.ts';
import { takePassedSocket } from './start/passed-socket.ts';
import { enterRootless, rootlessOptions, rootlessPlaces } from './start/rootless.ts';
import type { Daemon } from './start/serve.ts';

const MAX_IDLE_S = 86_400;

export interface MainOptions {
  runDir?: string;
  stateDir?: string;
  netnsDir?: string;
  socket?: string;
  publisher?: string;
  /** KIND=POLICY, repeatable. */
  drift?: string[];
  forwardOthers?: boolean;
  /** NAME=NUMBER, repeatable. */
  limits?: string[];
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
  /** NAME=NUMBER, repeatable. */
  forwarderLimits?: string[];
  otlpEndpoint?: string;
  /** Seconds, as text. */
  exitWhenIdle?: string;
  logLevel?: string;
}

/** `tell` prints lines on stderr, for the person or supervisor that starts the daemon. */
export async function main(options: MainOptions, tell: (lines: string[]) => void): Promise<void> {
  const log = openLog(options.logLevel ?? 'info', process.stderr.isTTY ? tell : null);
  let daemon: Daemon;
  try {
    enterRootless();
    const passed = takePassedSocket(process.env, options.socket);
    const places = rootlessPlaces();
    const runDir = options.runDir ?? places?.runDir ?? '/run/cleat';
    const uplinks = programsOf(options);
    daemon = await startDaemon({
      runDir,
      stateDir: options.stateDir ?? places?.stateDir ?? DEFAULT_STATE_DIR,
      netnsDir: options.netnsDir ?? '/run/netns',
      socket: passed?.path ?? options.socket ?? join(runDir, 'cleat.sock'),
      socketFd: passed?.fd ?? null,
      exitWhenIdle: secondsOf(options.exitWhenIdle),
      publisher: options.publisher ?? null,
      drift: driftPolicies(options.drift ?? []),
      forwardOthers: options.forwardOthers ?? false,
      limits: limitsOf(options.limits ?? []),
      subnetPools: subnetPools(options.subnetPools ?? []),
      uplinks,
      rootless: places === null ? null : rootlessOptions(uplinks, options.rootlessUplink),
      externals: externalsOf(options),
      forwarderLimits: forwarderLimits(options.forwarderLimits ?? []),
      otlpEndpoint: options.otlpEndpoint ?? null,
      log,
    });
  } catch (error) {
    // The message is for the person or supervisor that starts the daemon. Only an unforeseen fault is worth a stack.
    const fault = toFault(error, 'start');
    if (fault.code === 'INTERNAL') log.fatal({ error }, 'the daemon cannot start');
    else tell([`Error: ${fault.message}`, `Hint: ${FAULTS[fault.code][1]}`]);
    process.exit(1); // objects that are already open would keep the process alive, and the lock with it
  }
  let stopping = false;
  const stop = (why: NodeJS.Signals | Leaving) => {
    if (stopping) return;
    stopping = true;
    log.info({ why }, 'stopping; containers keep their networks');
    daemon.close().then(
      () => process.exit(0),
      (error: unknown) => {
        log.fatal({ error }, 'stopping failed');
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  void daemon.leaving?.then(stop);
}

function secondsOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  const seconds = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && seconds > 0 && seconds <= MAX_IDLE_S) return seconds;
  throw new FaultError('BAD_REQUEST', `--exit-when-idle takes seconds, up to ${MAX_IDLE_S}, not ${text}`);
}

function programsOf({ slirp4netns, slirp4netnsOptions, pasta, pastaOptions }: MainOptions): UplinkPrograms {
  return {
    slirp4netns: { file: slirp4netns ?? USUAL_PROGRAMS.slirp4netns.file, options: slirp4netnsOptions ?? [] },
    pasta: { file: pasta ?? USUAL_PROGRAMS.pasta.file, options: pastaOptions ?? [] },
  };
}
