/**
 * The daemon as a process: `cleat daemon`.
 *
 * Guarantees: SIGTERM and SIGINT end it in order, without touching a container; what cannot be started says why in one
 * line and ends with status 1.
 * Limits: logs are JSON lines on stderr (pino); there is no background mode, supervisors do that better.
 */
import { join } from 'node:path';
import pino from 'pino';
import { driftPolicies } from '../state/drift.ts';
import { DEFAULT_STATE_DIR, startDaemon, type Daemon } from './daemon.ts';
import { USUAL_PROGRAMS } from './uplink-request.ts';

export interface MainOptions {
  runDir?: string;
  stateDir?: string;
  netnsDir?: string;
  socket?: string;
  publisher?: string;
  /** KIND=POLICY, any number of them. */
  drift?: string[];
  slirp4netns?: string;
  slirp4netnsOptions?: string[];
  pasta?: string;
  pastaOptions?: string[];
  logLevel?: string;
}

export async function main(options: MainOptions): Promise<void> {
  const runDir = options.runDir ?? '/run/cleat';
  // By default pino knows errors as `err` alone; any other is {} in the log.
  const serializers = { error: pino.stdSerializers.err };
  const settings = { name: 'cleat', level: options.logLevel ?? 'info', serializers };
  const log = pino(settings, pino.destination({ fd: 2, sync: true }));
  if (process.getuid?.() !== 0) {
    process.stderr.write('Error: the daemon changes network namespaces and firewall rules: run it as root\n');
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
      uplinks: {
        slirp4netns: {
          file: options.slirp4netns ?? USUAL_PROGRAMS.slirp4netns.file,
          options: options.slirp4netnsOptions ?? [],
        },
        pasta: { file: options.pasta ?? USUAL_PROGRAMS.pasta.file, options: options.pastaOptions ?? [] },
      },
      log,
    });
  } catch (error) {
    log.fatal({ error }, error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
    return;
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
