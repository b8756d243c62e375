/**
 * The daemon as a process: `cleat daemon`.
 *
 * Guarantees: SIGTERM and SIGINT end it in order, without touching a container; what cannot be started says why in one
 * line and ends with status 1.
 * Limits: there is no background mode, supervisors do that better.
 */
import { join } from 'node:path';
import { toFault } from '../effects/effect.ts';
import { driftPolicies } from '../state/drift.ts';
import { FAULTS } from '../state/faults.ts';
import { limitsOf } from '../state/limits.ts';
import { forwarderLimits } from '../state/forwarder.ts';
import { subnetPools } from '../state/network.ts';
import { startDaemon, type Daemon } from './daemon.ts';
import { DEFAULT_STATE_DIR } from './instance.ts';
import { openLog } from './log.ts';
import { USUAL_PROGRAMS } from './uplink-request.ts';

export interface MainOptions {
  runDir?: string;
  stateDir?: string;
  netnsDir?: string;
  socket?: string;
  publisher?: string;
  /** KIND=POLICY, any number of them. */
  drift?: string[];
  forwardOthers?: boolean;
  /** NAME=NUMBER, any number of them. */
  limits?: string[];
  /** BASE,SIZE, any number of them. */
  subnetPools?: string[];
  slirp4netns?: string;
  slirp4netnsOptions?: string[];
  pasta?: string;
  pastaOptions?: string[];
  /** NAME=NUMBER, any number of them. */
  forwarderLimits?: string[];
  logLevel?: string;
}

/** `tell`: lines for whoever starts the daemon, on stderr. */
export async function main(options: MainOptions, tell: (lines: string[]) => void): Promise<void> {
  const runDir = options.runDir ?? '/run/cleat';
  const log = openLog(options.logLevel ?? 'info', process.stderr.isTTY ? tell : null);
  if (process.getuid?.() !== 0) {
    tell(['Error: the daemon changes network namespaces and firewall rules: run it as root']);
    process.exitCode = 1;
    return;
  }
  let daemon: Daemon;
  try {
    daemon = await startDaemon({
      runDir,
      stateDir: options.stateDir ?? DEFAULT_STATE_DIR,
      netnsDir: options.netnsDir ?? '/run/netns',
      socket: options.socket ?? join(runDir, 'cleat.sock'),
      publisher: options.publisher ?? null,
      drift: driftPolicies(options.drift ?? []),
      forwardOthers: options.forwardOthers ?? false,
      limits: limitsOf(options.limits ?? []),
      subnetPools: subnetPools(options.subnetPools ?? []),
      uplinks: {
        slirp4netns: {
          file: options.slirp4netns ?? USUAL_PROGRAMS.slirp4netns.file,
          options: options.slirp4netnsOptions ?? [],
        },
        pasta: { file: options.pasta ?? USUAL_PROGRAMS.pasta.file, options: options.pastaOptions ?? [] },
      },
      forwarderLimits: forwarderLimits(options.forwarderLimits ?? []),
      log,
    });
  } catch (error) {
    // Said to whoever starts it, a person or a supervisor; only what nobody foresaw is worth a stack.
    const fault = toFault(error, 'start');
    if (fault.code === 'INTERNAL') log.fatal({ error }, 'the daemon cannot start');
    else tell([`Error: ${fault.message}`, `Hint: ${FAULTS[fault.code][1]}`]);
    process.exit(1); // whatever had been opened by then would keep it, and the lock with it
  }
  const stop = (signal: NodeJS.Signals) => {
    log.info({ signal }, 'stopping; containers keep their networks');
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
}
