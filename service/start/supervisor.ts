/**
 * Tells a supervisor how the daemon is (sd_notify(3), Type=notify): that it serves, that it stops, and, where a watchdog asks for it,
 * that it is alive.
 *
 * Guarantees: READY=1 is sent when the socket answers, not before. WATCHDOG=1 is sent from the loop that serves requests, twice as
 * often as demanded: a loop that hangs is silent. Children do not get the variables, so nobody else speaks for the daemon.
 * Limits: that the loop turns says nothing about the kernel or about a helper: `doctor` and drift do. A supervisor that cannot be
 * told is logged, and is no reason to end.
 */
import { isKernelError, sendDatagram } from '../../native/index.ts';
import type { Log } from '../report/log.ts';

/** A supervisor that is behind is told again, for some seconds. */
const AGAIN_MS = 100;
const TIMES = 50;

export class Supervisor {
  readonly #socket: string | undefined;
  readonly #everyMs: number | null;
  readonly #log: Log;
  #watchdog: NodeJS.Timeout | undefined;

  /** Takes the variables out of `env`. */
  constructor(env: NodeJS.ProcessEnv, log: Log) {
    const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: microseconds, WATCHDOG_PID: pid } = env;
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) Reflect.deleteProperty(env, name);
    const isAsked = Number(microseconds) > 0 && (pid === undefined || pid === String(process.pid));
    this.#socket = socket;
    this.#everyMs = isAsked ? Number(microseconds) / 2000 : null;
    this.#log = log;
  }

  ready(): void {
    this.#tell('READY=1', TIMES);
    if (this.#everyMs !== null) this.#watchdog = setInterval(() => this.#tell('WATCHDOG=1', 0), this.#everyMs);
  }

  /** The watchdog goes on: a stop that hangs is one, too. */
  stopping(): void {
    this.#tell('STOPPING=1', 0);
  }

  #tell(state: string, again: number): void {
    if (this.#socket === undefined) return;
    try {
      sendDatagram(this.#socket, state);
    } catch (error) {
      if (isKernelError(error) && error.code === 'EAGAIN') {
        if (again > 0) setTimeout(() => this.#tell(state, again - 1), AGAIN_MS);
        return;
      }
      clearInterval(this.#watchdog);
      this.#log.warn({ error }, 'the supervisor cannot be told how the daemon is');
    }
  }
}
