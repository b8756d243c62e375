/**
 * Network definitions as users handle them: create, list, inspect, update, remove.
 *
 * Guarantees: a definition is on disk before it is answered; one at a time, so that two requests do not choose the same
 * subnet; a network in use is not removed, and says by whom. An update is on disk before anything is changed, and what
 * was before stays beside it until all containers have followed, or all have gone back. When a file cannot be written
 * nothing is changed; what has reached the disk all the same is undone there, as soon as that can be.
 * A default network that cannot be made stops nothing: why is said by whoever asks for it, and it is tried again then.
 * Limits: name, bridge, labels and whether it is internal or has DNS do not change once made.
 */
import { randomBytes } from 'node:crypto';
import { findAardvark } from '../effects/aardvark.ts';
import { toFault } from '../effects/effect.ts';
import type { Kernel } from '../effects/kernel.ts';
import { requireIpv6 } from '../effects/switches.ts';
import type { Obstacle } from '../machines/plan/host-routes.ts';
import { planNetwork } from '../machines/plan/network.ts';
import { reservedNetwork } from '../machines/plan/special-addresses.ts';
import { planUpdate } from '../machines/plan/network-update.ts';
import { poolsOf, ULA } from '../machines/plan/subnet-pools.ts';
import type { DefinitionStore } from '../state/definitions.ts';
import { FaultError, type Fault } from '../state/faults.ts';
import {
  DEFAULT_NETWORK,
  type NetworkDefinition,
  type NetworkRequest,
  type NetworkUpdate,
  type SubnetPool,
} from '../state/network.ts';
import { hostObstacles } from './host-routes.ts';
import { finishUpdate, updateMachines, type UpdateParts } from './network-update.ts';
import type { Log } from './log.ts';
import { logged } from './log-notifications.ts';
import type { Shared } from './shared.ts';

const SETTLE_AGAIN_MS = 1000;

/** A definition as it is answered to who made or changed it. `warnings`: what may not be what was meant; absent for none. */
export type AnsweredNetwork = NetworkDefinition & { warnings?: string[] };

const answered = (definition: NetworkDefinition, warnings: string[]): AnsweredNetwork =>
  warnings.length === 0 ? definition : { ...definition, warnings };

export class Networks {
  readonly #definitions: Map<string, NetworkDefinition>;
  readonly #store: DefinitionStore;
  readonly #shared: Shared;
  readonly #kernel: Kernel;
  readonly #log: Log;
  readonly #bridgePrefix: string;
  readonly #pools: readonly SubnetPool[];
  readonly #departures: (owners: readonly string[]) => Promise<void> | null;
  /** Why there is no default network. */
  #defaultFault: Fault | null = null;
  /** Networks whose files are not as they should be, and why. */
  readonly #unsettled = new Map<string, Fault>();
  #queue: Promise<unknown> = Promise.resolve();

  constructor(parts: {
    definitions: Map<string, NetworkDefinition>;
    store: DefinitionStore;
    shared: Shared;
    kernel: Kernel;
    log: Log;
    bridgePrefix: string;
    pools: readonly SubnetPool[];
    /** Until containers that are on their way out are gone, of these owners. */
    departures: (owners: readonly string[]) => Promise<void> | null;
  }) {
    this.#definitions = parts.definitions;
    this.#store = parts.store;
    this.#shared = parts.shared;
    this.#kernel = parts.kernel;
    this.#log = parts.log;
    this.#bridgePrefix = parts.bridgePrefix;
    this.#pools = parts.pools;
    this.#departures = parts.departures;
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
        : `unable to find network with name or ID ${name}: ${this.#whyNot(name)}`;
    throw new FaultError('NO_SUCH_NETWORK', message);
  }

  /**
   * The network that containers get when they do not say which: made at the first start, like any other. Answers why it
   * could not be made: every subnet may be in use just now, by a VPN for example.
   */
  async ensureDefault(): Promise<Fault | null> {
    if (this.#definitions.has(DEFAULT_NETWORK)) return null;
    try {
      await this.#create({ name: DEFAULT_NETWORK, dns_enabled: false });
    } catch (error) {
      const fault = toFault(error, 'create');
      if (fault.code === 'STATE_UNWRITABLE') throw error; // nothing works then
      this.#defaultFault = fault;
    }
    return this.#defaultFault;
  }

  /** Why there is no default network, null when there is one or somebody took it away. */
  get defaultFault(): Fault | null {
    return this.#defaultFault;
  }

  #whyNot(name: string): string {
    const none = 'network not found';
    const fault = name === DEFAULT_NETWORK ? this.#defaultFault : null;
    return fault === null ? none : `${none}, for it could not be made: ${fault.message}`;
  }

  create(request: NetworkRequest): Promise<AnsweredNetwork> {
    return logged(this.#log, 'create', request.name, () => this.#create(request));
  }

  update(name: string, update: NetworkUpdate): Promise<AnsweredNetwork> {
    return logged(this.#log, 'update', name, () => this.#update(name, update));
  }

  remove(name: string): Promise<void> {
    return logged(this.#log, 'remove', name, () => this.#remove(name));
  }

  #create(request: NetworkRequest): Promise<AnsweredNetwork> {
    return this.#inTurn(async () => {
      const [routes, links] = await Promise.all([
        this.#routes(request.subnets ?? []),
        this.#kernel.outside(null).kernel.links(),
      ]);
      const plan = planNetwork(request, {
        routes,
        links: links.map(({ name }) => name),
        networks: this.all(),
        pools: this.#pools,
        resolver: (await findAardvark()) !== null,
        bridgePrefix: this.#bridgePrefix,
        id: randomBytes(32).toString('hex'),
        now: new Date().toISOString(),
      });
      if ('fault' in plan) throw new FaultError(plan.fault.code, plan.fault.message, plan.fault);
      await this.#requireIpv6(plan.definition);
      this.record(plan.definition);
      if (request.name === DEFAULT_NETWORK) this.#defaultFault = null;
      return answered(plan.definition, plan.warnings);
    });
  }

  /** Change a network under its containers: all of them follow, or none. */
  async #update(name: string, update: NetworkUpdate): Promise<AnsweredNetwork> {
    await this.#abandoned(name);
    return this.#inTurn(async () => {
      const before = this.get(name);
      const routes = await this.#routes(update.subnets ?? []);
      const plan = planUpdate(before, update, { routes, networks: this.all(), pools: this.#pools });
      if ('fault' in plan) throw new FaultError(plan.fault.code, plan.fault.message, plan.fault);
      const next = plan.definition;
      if (next === before) return before;
      await this.#requireIpv6(next);
      this.#written(before.name, () => this.#store.begin(before, next));
      this.#definitions.set(next.name, next);
      const fault = await updateMachines(this.#updating(next.name), before, next);
      this.#settle(next.name);
      if (fault !== null) throw new FaultError(fault.code, fault.message, fault);
      return answered(next, plan.warnings);
    });
  }

  /** The definition is this from now on, whatever happens to the daemon. */
  record(definition: NetworkDefinition): void {
    const now = this.#definitions.get(definition.name) ?? definition;
    this.#written(definition.name, () => {
      // The machine of another outside has gone back already, or there is nothing to go back from.
      if (JSON.stringify(now) === JSON.stringify(definition)) this.#store.save(definition);
      else this.#store.goBack(definition, now);
    });
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

  /** Files that could not be made to say what is so, and networks that cannot be raised. */
  troubles(): { outside: null; what: string; fault: Fault }[] {
    const files = [...this.#unsettled].map(([name, fault]) => ({ what: `file of network ${name}`, fault }));
    const networks = this.all().flatMap((network) => {
      const fault = reservedNetwork(network);
      return fault === null ? [] : [{ what: `network ${network.name}`, fault }];
    });
    return [...files, ...networks].map((trouble) => ({ outside: null, ...trouble }));
  }

  async #remove(name: string): Promise<void> {
    await this.#abandoned(name);
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

  /** Whoever was torn down before is gone: a teardown answers before the kernel has let go of the addresses. */
  async #abandoned(name: string): Promise<void> {
    await this.#departures(this.#shared.usersOf(this.get(name).name));
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

  #requireIpv6({ name, subnets }: NetworkDefinition): Promise<void> {
    const { kernel } = this.#kernel.outside(null);
    return requireIpv6(
      kernel,
      `network ${name}`,
      subnets.map(({ subnet }) => subnet),
    );
  }

  /** The host's routes that overlap with these subnets or with any that may be chosen. */
  #routes(subnets: readonly { subnet: string }[]): Promise<Obstacle[]> {
    const pools = ([4, 6] as const).flatMap((family) => poolsOf(family, this.#pools).map(({ base }) => base));
    return hostObstacles(this.#kernel, this.all(), [...pools, ULA, ...subnets.map(({ subnet }) => subnet)]);
  }

  #inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    const mine = this.#queue.then(work);
    this.#queue = mine.catch(() => {}); // told to whoever asked
    return mine;
  }
}
