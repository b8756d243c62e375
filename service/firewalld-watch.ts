/**
 * The watch on firewalld: it forgets what it was told in force when it reloads or restarts, and may start after us.
 *
 * Guarantees: whatever firewalld does to its table, which it makes anew for each of these, has its machine look again
 * (machines/firewalld.ts), our own changes through it included: that look finds nothing to do. What happened before there was
 * a watch is looked at once. Where there is no firewalld, the kernel announces nothing, and this costs nothing.
 * Limits: the daemon's own outside (effects/firewalld.ts). What firewalld does at a time is looked at together, and not more
 * than once a second.
 */
import { FIREWALLD_TABLE } from '../effects/firewalld.ts';
import { retryUntilDone } from '../effects/retry.ts';
import type { Kernel } from '../effects/kernel.ts';
import type { Shared } from './shared.ts';

/** A reload is dozens of transactions, within which firewalld answers nobody. */
const GATHER_MS = 50;
/** From one look to the next: some programs change a set of firewalld's many times a second (fail2ban). */
const REST_MS = 1000;

interface FirewalldWatchParts {
  kernel: Kernel;
  shared: Pick<Shared, 'firewalld'>;
  failed: (what: string, error: unknown) => void;
}

export class FirewalldWatch {
  readonly #parts: FirewalldWatchParts;
  #timer: NodeJS.Timeout | null = null;
  /** There is no look before this time, which is as performance.now() has it. */
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
