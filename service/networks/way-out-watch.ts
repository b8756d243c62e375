/**
 * Watches the way out of each outside: the MTU of the routes that lead to the rest of the world.
 *
 * Guarantees: once a second asks the routing of each outside, by one request per family (nothing is sent). Networks without an
 * MTU of their own follow the answer (machines/network.ts). If the request fails, they keep their MTU. Also looks at the foreign
 * bridges of unmanaged networks, and at parents: those networks follow their bridge or parent.
 * Limits: follows a change within a second. The kernel announces a changed MTU only together with everything else about links, a
 * dozen times for each container: asking costs less. The way to one address stands for the way out.
 */
import type { Kernel } from '../../effects/kernel.ts';
import { lookAtBridge } from '../../effects/links/unmanaged-bridge.ts';
import type { WayOut } from '../../plan/networks/way-out.ts';
import type { Outside } from '../../native/index.ts';
import type { Shared } from '../outsides/shared.ts';

const LOOK_MS = 1000;

/** The addresses of the root name server A, the same for decades. Hosts have no routes to them alone. */
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
  /** Outsides whose look failed, and whose failure has been logged. */
  readonly #failing = new Set<string | null>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(parts: WayOutParts) {
    this.#parts = parts;
  }

  /** Resolves when all of these outsides have been asked, or cannot be. */
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
        for (const network of this.#parts.shared.unmanaged()) {
          this.#parts.shared.setBridge(outside, network.name, await lookAtBridge(native, network));
        }
      }
      this.#failing.delete(outside);
    } catch (error) {
      if (!this.#failing.has(outside)) this.#parts.failed(`way out of ${outside ?? 'the host'}`, error);
      this.#failing.add(outside);
    }
  }
}
