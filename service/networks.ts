/**
 * Network definitions as users handle them: create, list, inspect, remove.
 *
 * Guarantees: a definition is on disk before it is answered; one at a time, so that two requests do not choose the same
 * subnet; a network in use is not removed, and says by whom.
 * Limits: a definition does not change once made.
 */
import { randomBytes } from 'node:crypto';
import type { Kernel } from '../effects/kernel.ts';
import { planNetwork } from '../machines/plan/network.ts';
import type { DefinitionStore } from '../state/definitions.ts';
import { FaultError } from '../state/faults.ts';
import { DEFAULT_NETWORK, type NetworkDefinition, type NetworkRequest } from '../state/network.ts';
import type { Shared } from './shared.ts';

export class Networks {
  readonly #definitions: Map<string, NetworkDefinition>;
  readonly #store: DefinitionStore;
  readonly #shared: Shared;
  readonly #kernel: Kernel;
  readonly #bridgePrefix: string;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(parts: {
    definitions: Map<string, NetworkDefinition>;
    store: DefinitionStore;
    shared: Shared;
    kernel: Kernel;
    bridgePrefix: string;
  }) {
    this.#definitions = parts.definitions;
    this.#store = parts.store;
    this.#shared = parts.shared;
    this.#kernel = parts.kernel;
    this.#bridgePrefix = parts.bridgePrefix;
  }

  all(): NetworkDefinition[] {
    return [...this.#definitions.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** By name, id or unique beginning of an id. */
  get(name: string): NetworkDefinition {
    const exact = this.#definitions.get(name);
    if (exact !== undefined) return exact;
    const byId = this.all().filter(({ id }) => name.length > 0 && id.startsWith(name));
    if (byId.length === 1 && byId[0] !== undefined) return byId[0];
    const message =
      byId.length > 1
        ? `more than one result for network ID ${name}`
        : `unable to find network with name or ID ${name}: network not found`;
    throw new FaultError('NO_SUCH_NETWORK', message);
  }

  /** The network that containers get when they do not say which: made at the first start, like any other. */
  async ensureDefault(): Promise<void> {
    if (!this.#definitions.has(DEFAULT_NETWORK)) await this.create({ name: DEFAULT_NETWORK });
  }

  create(request: NetworkRequest): Promise<NetworkDefinition> {
    return this.#inTurn(async () => {
      const native = this.#kernel.outside(null).kernel;
      const [routes, links] = await Promise.all([native.routes(), native.links()]);
      const MAIN_TABLE = 254;
      const plan = planNetwork(request, {
        routes: routes
          .filter(({ table, type }) => table === MAIN_TABLE && type === 'unicast')
          .map(({ destination, prefix }) => `${destination}/${prefix}`),
        links: links.map(({ name }) => name),
        networks: this.all(),
        bridgePrefix: this.#bridgePrefix,
        id: randomBytes(32).toString('hex'),
        now: new Date().toISOString(),
      });
      if ('fault' in plan) throw new FaultError(plan.fault.code, plan.fault.message, plan.fault);
      this.#store.save(plan.definition);
      this.#definitions.set(plan.definition.name, plan.definition);
      return plan.definition;
    });
  }

  remove(name: string): Promise<void> {
    return this.#inTurn(async () => {
      const definition = this.get(name);
      const users = this.#shared.usersOf(definition.name);
      // Without users it is on its way down, or there already.
      if (users.length > 0 || !(await this.#shared.whenDown(definition.name))) {
        const ids = users.map((owner) => owner.slice(0, owner.lastIndexOf(':')));
        const by = users.length > 0 ? ids.join(', ') : 'a bridge that could not be removed';
        throw new FaultError('NETWORK_IN_USE', `network ${definition.name} is being used by ${by}`, { owner: by });
      }
      this.#store.remove(definition.name);
      this.#definitions.delete(definition.name);
      this.#shared.forget(definition.name);
    });
  }

  #inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    const mine = this.#queue.then(work);
    this.#queue = mine.catch(() => {}); // told to whoever asked
    return mine;
  }
}
