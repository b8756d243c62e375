/**
 * Watches firewalld: a reload or a restart of firewalld drops its runtime settings, and firewalld may start after the daemon.
 *
 * Guarantees: whatever firewalld does to its table, which it makes anew each time, the watch makes the machine look again
 * (machines/firewalld.ts). This includes our own changes through firewalld: that look finds nothing to do. The watch begins with
 * a look, for changes before it. Without firewalld the kernel announces nothing, and the watch costs nothing.
 * Limits: watches the daemon's own outside only (effects/firewall/firewalld.ts). Changes that firewalld makes together cause one look, and
 * there is at most one look per second.
 */
import { FIREWALLD_TABLE } from '../../effects/firewall/firewalld.ts';
import { retryUntilDone } from '../../effects/retry.ts';
import type { Kernel } from '../../effects/kernel.ts';
import type { Shared } from '../outsides/shared.ts';

/** A reload is dozens of transactions. firewalld answers no requests during them. */
const GATHER_MS = 50;
/** The pause between two looks: some programs change a set of firewalld's many times a second (fail2ban). */
const REST_MS = 1000;

interface FirewalldWatchParts {
  kernel: Kernel;
  shared: Pick<Shared, 'firewalld'>;
  failed: (what: string, error: unknown) => void;
}

export class FirewalldWatch {
  readonly #parts: FirewalldWatchParts;
  #timer: NodeJS.Timeout | null = null;
  /** The earliest time of the next look, as performance.now() counts. */
  #rested = 0;
  #stop: (() => void) | null = null;
  #closed = false;

  constructor(parts: FirewalldWatchParts) {
    this.#parts = parts;
  }

  start(): void {
    const { kernel, failed } = this.#parts;
    const listen = async () => {
      if (this.#closed) return;
      const stop = await kernel.outside(null).kernel.nftMonitor(FIREWALLD_TABLE, () => this.#gather());
      if (this.#closed) return stop();
      this.#stop = stop;
      this.#gather();
    };
    retryUntilDone(listen, (error) => failed('watch on firewalld', error));
  }

  close(): void {
    this.#closed = true;
    this.#stop?.();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #gather(): void {
    if (this.#closed) return;
    this.#timer ??= setTimeout(
      () => {
        this.#timer = null;
        this.#rested = performance.now() + REST_MS;
        this.#parts.shared.firewalld(null).send({ type: 'verify' });
      },
      Math.max(GATHER_MS, this.#rested - performance.now()),
    );
  }
}
