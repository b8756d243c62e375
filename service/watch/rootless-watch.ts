/**
 * Watches the way out of a rootless daemon's own outside, and notifies its machine when something of it is gone.
 *
 * Guarantees: the end of the program and the end of its link are noticed at once; a stopped program, a lost address and a lost
 * default route within a few seconds. Nothing is reported while the machine itself is at work.
 * Limits: the program is not asked whether it carries packets: neither of the two can be.
 */
import { isStopped } from '../../effects/processes/process.ts';
import { failedIn } from '../../effects/uplinks/uplink-link.ts';
import { findUplink, watchUplink } from '../../effects/uplinks/uplink-keeper.ts';
import type { Kernel } from '../../effects/kernel.ts';
import type { UplinkLink } from '../../state/uplink.ts';
import { compareUplink } from '../../plan/uplinks/uplink-inside.ts';
import type { Shared } from '../outsides/shared.ts';

const TURN_MS = 2000;

export interface RootlessWatchParts {
  kernel: Kernel;
  shared: Pick<Shared, 'rootless'>;
  /** The program's directory. */
  directory: string;
  failed: (what: string, error: unknown) => void;
}

export class RootlessWatch {
  readonly #parts: RootlessWatchParts;
  #timer: NodeJS.Timeout | undefined;
  #unsubscribe = (): void => {};
  #unwatch: (() => void) | null = null;
  #closed = false;
  readonly #gone = (name: string) => {
    if (name === this.#link()?.name) this.#lost();
  };

  constructor(parts: RootlessWatchParts) {
    this.#parts = parts;
  }

  start(): void {
    const { kernel, shared } = this.#parts;
    const machine = shared.rootless(null);
    if (machine === null) return;
    kernel.outside(null).links.on('gone', this.#gone);
    const subscription = machine.subscribe(() => this.#follow());
    this.#unsubscribe = () => subscription.unsubscribe();
    this.#follow();
    this.#again();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#unsubscribe();
    this.#unwatch?.();
    if (this.#parts.kernel.isOpen(null)) this.#parts.kernel.outside(null).links.off('gone', this.#gone);
  }

  /** Returns the link that should be there; null while there should be none, or it is being made. */
  #link(): UplinkLink | null {
    const state = this.#parts.shared.rootless(null)?.getSnapshot();
    return state?.matches('up') === true ? state.context.link : null;
  }

  #lost(): void {
    this.#parts.shared.rootless(null)?.send({ type: 'lost' });
  }

  /** Watches the program while it should run. */
  #follow(): void {
    if (this.#link() === null) {
      this.#unwatch?.();
      this.#unwatch = null;
    } else if (this.#unwatch === null) {
      try {
        this.#unwatch = watchUplink(this.#parts.directory, () => this.#lost());
      } catch (error) {
        this.#parts.failed('way out of rootless networks', error); // the next turn tries again
      }
    }
  }

  #again(): void {
    this.#timer = setTimeout(() => {
      this.#follow();
      this.#look().then(
        (whole) => {
          if (!whole) this.#lost();
          if (!this.#closed) this.#again();
        },
        (error: unknown) => {
          this.#parts.failed('way out of rootless networks', error);
          if (!this.#closed) this.#again();
        },
      );
    }, TURN_MS).unref();
  }

  /** Returns false if something is missing. */
  async #look(): Promise<boolean> {
    const link = this.#link();
    if (link === null) return true;
    const found = findUplink(this.#parts.directory);
    if (found?.state !== 'ready' || found.child === null || isStopped(found.child)) return false;
    const { kernel } = this.#parts.kernel.outside(null);
    const reads = [kernel.links(), kernel.addresses(), kernel.routes()] as const;
    const [links, addresses, routes] = await Promise.all(reads).catch(failedIn(this.#parts.kernel.own ?? ''));
    // The machine may have gone on meanwhile: then this was a look at something else.
    return this.#link() !== link || compareUplink(link, { links, addresses, routes, neighbours: [] }).length === 0;
  }
}
