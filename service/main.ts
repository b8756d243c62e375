/**
 * The daemon as a process: `cleat daemon`.
 *
 * Guarantees: SIGTERM and SIGINT end it in order, without touching a container. A start that fails prints the reason in one line
 * and exits with status 1.
 * Limits: it stays in the foreground. cli/process/detach.ts, and the fronts, start it in the background.
 */
import { toFault } from '../effects/effect.ts';
import { FAULTS, type FaultCode } from '../state/faults.ts';
import { startDaemon } from './daemon.ts';
import { isLevel, openLog } from './report/log.ts';
import { settingsFiles, type SettingsFile } from './start/config-file.ts';
import type { Leaving } from './start/idle.ts';
import { takePassedSocket } from './sockets/passed-socket.ts';
import { enterRootless } from './start/rootless.ts';
import type { Daemon } from './start/serve.ts';
import { settingsOf, type MainOptions } from './start/settings.ts';
import { Supervisor } from './start/supervisor.ts';

const SETTINGS_HINT =
  'docs/configuration.md lists the settings; `cleat config` shows which hold, and where each comes from.';

/**
 * `tell` prints lines on stderr, for the person or supervisor that starts the daemon. `unfit`: why its code cache was not used
 * (launch/program.ts), if there is one.
 */
export async function main(
  options: MainOptions,
  tell: (lines: string[]) => void,
  unfit: string | null = null,
): Promise<void> {
  const { logLevel: level = 'info' } = options;
  const log = openLog(isLevel(level) ? level : 'info', process.stderr.isTTY ? tell : null);
  if (unfit !== null) log.info({ why: unfit }, 'compiled anew: the code cache does not fit');
  let daemon: Daemon;
  let supervisor: Supervisor;
  try {
    enterRootless();
    supervisor = new Supervisor(process.env, log);
    const settings = settingsOf(options, takePassedSocket(process.env, options.socket));
    process.chdir('/'); // the filesystem that it was started from can be unmounted
    daemon = await startDaemon({ ...settings, log });
  } catch (error) {
    // The message is for the person or supervisor that starts the daemon. Only an unforeseen fault is worth a stack.
    const { code, message, hint } = refusalOf(error);
    if (code === 'INTERNAL') log.fatal({ error }, 'the daemon cannot start');
    else tell([`Error: ${message}`, `Hint: ${hint}`]);
    process.exit(1); // objects that are already open would keep the process alive, and the lock with it
  }
  supervisor.ready();
  let stopping = false;
  const stop = (why: NodeJS.Signals | Leaving) => {
    if (stopping) return;
    stopping = true;
    supervisor.stopping();
    log.info({ why }, 'stopping; containers keep their networks');
    daemon.close(why).then(
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

/** Returns the settings files, the weakest first, or why one is not understood. */
export function readSettings(
  named: string | undefined,
  environment: NodeJS.ProcessEnv,
): { files: SettingsFile[] } | Refusal {
  try {
    return { files: settingsFiles(named, environment) };
  } catch (error) {
    return refusalOf(error);
  }
}

/** Returns why a daemon would not start with these options; null if it would take them. Nothing is opened or made. */
export function refuses(options: MainOptions): Refusal | null {
  try {
    settingsOf(options, null);
    return null;
  } catch (error) {
    return refusalOf(error);
  }
}

interface Refusal {
  code: FaultCode;
  message: string;
  hint: string;
}

function refusalOf(error: unknown): Refusal {
  const { code, message } = toFault(error, 'start');
  // There is no request yet: what is wrong is a setting.
  return { code, message, hint: code === 'BAD_REQUEST' ? SETTINGS_HINT : FAULTS[code][1] };
}
