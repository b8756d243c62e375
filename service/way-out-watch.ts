/**
 * The watch on the way out of each outside: which MTU its routes have that lead to the rest of the world.
 *
 * Guarantees: once a second each outside is asked, by one question per family to its routing (nothing is sent); networks
 * without an MTU of their own follow what it says (machines/network.ts). What cannot be asked says nothing: they keep what
 * they have.
 * Bridges of others, which unmanaged networks are on, are looked at as well: those networks follow their bridge.
 * Limits: a change is followed within a second. The kernel announces none of a link's MTU but with everything else about
 * links, a dozen times for each container: looking costs less. The way to one address stands for the way out.
 */
import type { Kernel } from '../effects/kernel.ts';
import { lookAtBridge } from '../effects/unmanaged-bridge.ts';
import type { WayOut } from '../machines/plan/way-out.ts';
import type { Outside } from '../native/index.ts';
import type { Shared } from './shared.ts';

const LOOK_MS = 1000;

/** Of the root name server A, which have been the same for decades: nobody has a route to them alone. */
export const ELSEWHERE = { 4: '198.41.0.4', 6: '2001:503:ba3e::2:30' };

export interface WayOutParts {
  kernel: Pick<Kernel, 'outsideIfThere'>;
  shared: Pick<Shared, 'outsides' | 'setWayOut' | 'unmanaged' | 'setBridge'>;
  failed: (what: string, error: unknown) => void;
}

export async function wayOutOf(native: Outside): Promise<WayOut> {
  const [four, six] = await Promise.all([native.wayTo(ELSEWHERE[4]), native.wayTo(ELSEWHERE[6])]);
  return { 4: four?.mtu ?? null, 6: six?.mtu ?? null };
}

export class WayOutWatch {
  readonly #parts: WayOutParts;
  /** Outsides that could not be asked, and of which that has been said. */
  readonly #failing = new Set<string | null>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(parts: WayOutParts) {
    this.#parts = parts;
  }

  /** Resolves when these have been asked, or cannot be. */
  async look(outsides: Iterable<string | null>): Promise<void> {
    await Promise.all([...outsides].map((outside) => this.#ask(outside)));
  }

  start(): void {
    if (this.#closed) return;
    const again = () => void this.look(this.#parts.shared.outsides()).then(() => this.start());
    this.#timer = setTimeout(again, LOOK_MS).unref();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #ask(outside: string | null): Promise<void> {
    try {
      const native = this.#parts.kernel.outsideIfThere(outside)?.kernel;
      if (native !== undefined) {
        this.#parts.shared.setWayOut(outside, await wayOutOf(native));
        for (const { name, network_interface: bridge } of this.#parts.shared.unmanaged()) {
          this.#parts.shared.setBridge(outside, name, await lookAtBridge(native, bridge));
        }
      }
      this.#failing.delete(outside);
    } catch (error) {
      if (!this.#failing.has(outside)) this.#parts.failed(`way out of ${outside ?? 'the host'}`, error);
      this.#failing.add(outside);
    }
  }
}
