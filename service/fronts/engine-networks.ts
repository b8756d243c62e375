/**
 * Keeps the networks of engines: cleat knows each of them while a container is on it, or is about to be.
 *
 * Guarantees: a network is not forgotten while a request that needs it is under way. It is forgotten when no container names it
 * any more, whichever client took the last one off it; one that cannot be removed yet (a bridge that the kernel still holds) is
 * tried again every second. What a crash leaves behind is forgotten at the next start. A request waits for its own networks alone to
 * be forgotten, not for those that others have left, whose bridges may take long to go.
 * Limits: a stop of the daemon does not wait for that; the next start forgets it.
 */
import type { Containers } from '../containers/containers.ts';
import type { DescribedNetwork } from '../networks/described.ts';
import type { Networks } from '../networks/networks.ts';

const AGAIN_MS = 1000;

export class EngineNetworks {
  readonly #networks: Pick<Networks, 'adopt' | 'all' | 'forget'>;
  readonly #containers: Pick<Containers, 'all' | 'bus'>;
  readonly #failed: (what: string, error: unknown) => void;
  /** Counts the requests under way that need a network, by its name. */
  readonly #needs = new Map<string, number>();
  /** Names the networks that could not be forgotten yet, which has been reported. */
  readonly #late = new Set<string>();
  #again: NodeJS.Timeout | undefined;

  constructor(parts: {
    networks: Pick<Networks, 'adopt' | 'all' | 'forget'>;
    containers: Pick<Containers, 'all' | 'bus'>;
    failed: (what: string, error: unknown) => void;
  }) {
    this.#networks = parts.networks;
    this.#containers = parts.containers;
    this.#failed = parts.failed;
    parts.containers.bus.on('notification', ({ type, ...rest }) => {
      const gone = type === 'state' && 'to' in rest && rest.to === 'gone';
      const left = type === 'done' && 'event' in rest && rest.event === 'disconnect';
      if (gone || left) void this.forgetUnused();
    });
  }

  /** Runs work that needs these networks, which are known before it begins. */
  async having<T>(described: readonly DescribedNetwork[], work: () => Promise<T>): Promise<T> {
    const names = described.map(({ request }) => request.name);
    for (const name of names) this.#needs.set(name, (this.#needs.get(name) ?? 0) + 1);
    try {
      for (const one of described) await this.#networks.adopt(one);
      return await work();
    } finally {
      for (const name of names) {
        const others = (this.#needs.get(name) ?? 1) - 1;
        if (others > 0) this.#needs.set(name, others);
        else this.#needs.delete(name);
      }
      await this.forgetUnused((name) => names.includes(name));
    }
  }

  /** Forgets the engines' networks that nothing needs, or those `among` them. Resolves when that is done. */
  async forgetUnused(among: (name: string) => boolean = () => true): Promise<void> {
    const engines = this.#networks.all().filter(({ engine }) => engine !== undefined);
    for (const { name } of engines.filter((network) => among(network.name) && this.#isUnused(network.name))) {
      try {
        await this.#networks.forget(name, () => this.#isUnused(name));
        this.#late.delete(name);
      } catch (error) {
        if (!this.#late.has(name)) this.#failed(`network ${name} of an engine`, error);
        this.#late.add(name);
        clearTimeout(this.#again);
        this.#again = setTimeout(() => void this.forgetUnused(), AGAIN_MS).unref();
      }
    }
  }

  #isUnused(name: string): boolean {
    const isNamed = this.#containers.all().some(({ context }) => Object.hasOwn(context.request.networks, name));
    return !isNamed && !this.#needs.has(name);
  }
}
