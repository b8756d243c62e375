/**
 * Watches the way out of each outside: the MTU of the routes that lead to the rest of the world.
 *
 * Guarantees: once a second asks the routing of each outside, by one request per family (nothing is sent). Networks without an
 * MTU of their own follow the answer (machines/network.ts). If the request fails, they keep their MTU. Also looks at the foreign
 * bridges of unmanaged networks, and at parents: those networks follow their bridge or parent. An overlay follows the way to its other
 * hosts.
 * Limits: follows a change within a second. The kernel announces a changed MTU only together with everything else about links, a
 * dozen times for each container: asking costs less. The way to one address stands for the way out.
 */
import type { Kernel } from '../../effects/kernel.ts';
import { lookAtBridge } from '../../effects/links/unmanaged-bridge.ts';
import type { WayOut } from '../../plan/networks/way-out.ts';
import { familyOf } from '../../plan/addresses/address.ts';
import type { Outside } from '../../native/index.ts';
import type { Peer } from '../../state/overlay.ts';
import type { Shared } from '../outsides/shared.ts';

const LOOK_MS = 1000;
/** The number of an overlay's other hosts whose ways are asked for: all are behind the same links, usually. */
const SAMPLE = 4;

/** The addresses of the root name server A, the same for decades. Hosts have no routes to them alone. */
export const ELSEWHERE = { 4: '198.41.0.4', 6: '2001:503:ba3e::2:30' };

export interface WayOutParts {
  kernel: Pick<Kernel, 'outsideIfThere'>;
  shared: Pick<Shared, 'outsides' | 'setWayOut' | 'unmanaged' | 'setBridge' | 'overlays' | 'setUnderlay'>;
  failed: (what: string, error: unknown) => void;
}

export async function wayOutOf(native: Outside): Promise<WayOut> {
  const [four, six] = await Promise.all([native.wayTo(ELSEWHERE[4]), native.wayTo(ELSEWHERE[6])]);
  return { 4: four?.mtu ?? null, 6: six?.mtu ?? null };
}

/** Returns the narrowest way to other hosts of an overlay: to some of them, or to the rest of the world while there are none. */
async function underlayOf(native: Outside, peers: readonly Peer[]): Promise<WayOut> {
  if (peers.length === 0) return wayOutOf(native);
  const some = peers.slice(0, SAMPLE).map(({ address }) => address);
  const ways = await Promise.all(some.map((address) => native.wayTo(address)));
  const narrowest = (family: 4 | 6) => {
    const widths = ways.flatMap((way, i) => (familyOf(some[i] ?? '') === family ? (way?.mtu ?? []) : []));
    return widths.length === 0 ? null : Math.min(...widths);
  };
  return { 4: narrowest(4), 6: narrowest(6) };
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
        for (const { network, peers } of this.#parts.shared.overlays()) {
          this.#parts.shared.setUnderlay(outside, network.name, await underlayOf(native, peers));
        }
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
