/**
 * Network definitions as users handle them: create, list, inspect, update, remove.
 *
 * Guarantees: a definition is on disk before it is answered; one at a time, so that two requests do not choose the same
 * subnet; a network in use is not removed, and says by whom. An update is on disk before anything is changed, and what
 * was before stays beside it until all containers have followed, or all have gone back. When a file cannot be written
 * nothing is changed; what has reached the disk all the same is undone there, as soon as that can be.
 * Limits: name, bridge and the subnets that there are do not change once made.
 */
import { randomBytes } from 'node:crypto';
import { findAardvark } from '../effects/aardvark.ts';
import { toFault } from '../effects/effect.ts';
import type { Kernel } from '../effects/kernel.ts';
import { planNetwork } from '../machines/plan/network.ts';
import { planUpdate } from '../machines/plan/network-update.ts';
import type { DefinitionStore } from '../state/definitions.ts';
import { FaultError, type Fault } from '../state/faults.ts';
import { DEFAULT_NETWORK, type NetworkDefinition, type NetworkRequest, type NetworkUpdate } from '../state/network.ts';
import { finishUpdate, updateMachines, type UpdateParts } from './network-update.ts';
import type { Shared } from './shared.ts';

const SETTLE_AGAIN_MS = 1000;

export class Networks {
  readonly #definitions: Map<string, NetworkDefinition>;
  readonly #store: DefinitionStore;
  readonly #shared: Shared;
  readonly #kernel: Kernel;
  readonly #bridgePrefix: string;
  /** Networks whose files are not as they should be, and why. */
  readonly #unsettled = new Map<string, Fault>();
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
    if (!this.#definitions.has(DEFAULT_NETWORK)) await this.create({ name: DEFAULT_NETWORK, dns_enabled: false });
  }

  create(request: NetworkRequest): Promise<NetworkDefinition> {
    return this.#inTurn(async () => {
      const [routes, links] = await Promise.all([this.#routes(), this.#kernel.outside(null).kernel.links()]);
      const plan = planNetwork(request, {
        routes,
        links: links.map(({ name }) => name),
        networks: this.all(),
        resolver: findAardvark() !== null,
        bridgePrefix: this.#bridgePrefix,
        id: randomBytes(32).toString('hex'),
        now: new Date().toISOString(),
      });
      if ('fault' in plan) throw new FaultError(plan.fault.code, plan.fault.message, plan.fault);
      this.record(plan.definition);
      return plan.definition;
    });
  }

  /** Change a network under its containers: all of them follow, or none. */
  update(name: string, update: NetworkUpdate): Promise<NetworkDefinition> {
    return this.#inTurn(async () => {
      const before = this.get(name);
      const plan = planUpdate(before, update, { routes: await this.#routes(), networks: this.all() });
      if ('fault' in plan) throw new FaultError(plan.fault.code, plan.fault.message, plan.fault);
      const next = plan.definition;
      if (next === before) return before;
      this.#written(before.name, () => this.#store.begin(before, next));
      this.#definitions.set(next.name, next);
      const fault = await updateMachines(this.#updating(next.name), before, next);
      this.#settle(next.name);
      if (fault !== null) throw new FaultError(fault.code, fault.message, fault);
      return next;
    });
  }

  /** The definition is this from now on, whatever happens to the daemon. */
  record(definition: NetworkDefinition): void {
    this.#written(definition.name, () => this.#store.save(definition));
    this.#definitions.set(definition.name, definition);
  }

  /** Bring updates to an end that a crash interrupted. The networks named have begun with that by themselves. */
  finish(names: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      for (const name of names) {
        if (this.#definitions.has(name)) await finishUpdate(this.#updating(name), () => this.get(name));
        this.#settle(name);
      }
    });
  }

  /** Files that could not be made to say what is so. */
  troubles(): { outside: null; what: string; fault: Fault }[] {
    return [...this.#unsettled].map(([name, fault]) => ({ outside: null, what: `file of network ${name}`, fault }));
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
      this.#written(definition.name, () => this.#store.remove(definition.name));
      this.#definitions.delete(definition.name);
      this.#shared.forget(definition.name);
    });
  }

  /** A write that fails may have happened, or half of it: the files are made to say what is still so. */
  #written(name: string, write: () => void): void {
    try {
      write();
    } catch (error) {
      this.#settle(name);
      throw error;
    }
  }

  /** The files say what is so, and nothing of an update stays behind; a disk that does not let us is asked again. */
  #settle(name: string): void {
    try {
      this.#store.settle(name, this.#definitions.get(name) ?? null);
      this.#unsettled.delete(name);
    } catch (error) {
      this.#unsettled.set(name, toFault(error, 'settle'));
      setTimeout(() => void this.#inTurn(() => this.#settle(name)), SETTLE_AGAIN_MS).unref();
    }
  }

  /** Back to what it was, in any case: a file that cannot be written now is written when the update is settled. */
  #revert(definition: NetworkDefinition): void {
    this.#definitions.set(definition.name, definition);
    try {
      this.#store.save(definition);
    } catch (error) {
      this.#unsettled.set(definition.name, toFault(error, 'revert'));
    }
  }

  #updating(name: string): UpdateParts {
    return { machines: () => this.#shared.machinesOf(name), revert: (definition) => this.#revert(definition) };
  }

  /** Destinations of the host's own routes: subnets keep off them. */
  async #routes(): Promise<string[]> {
    const MAIN_TABLE = 254;
    const routes = await this.#kernel.outside(null).kernel.routes();
    return routes
      .filter(({ table, type }) => table === MAIN_TABLE && type === 'unicast')
      .map(({ destination, prefix }) => `${destination}/${prefix}`);
  }

  #inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    const mine = this.#queue.then(work);
    this.#queue = mine.catch(() => {}); // told to whoever asked
    return mine;
  }
}
