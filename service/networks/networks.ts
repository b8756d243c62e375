/**
 * Network definitions as users handle them: create, list, inspect, update, remove.
 *
 * Guarantees: a definition is on disk before the answer. Requests run one at a time, so that two of them do not choose the same
 * subnet. A network in use is not removed; the fault names its users. An update is on disk before anything changes, and the
 * previous definition stays beside it until all containers have followed, or all have gone back. If a file cannot be written,
 * nothing changes; what has reached the disk all the same is undone there, as soon as possible. A default network that cannot be
 * made stops nothing: a request for it gets the reason, and tries again.
 * Limits: name, bridge, labels and whether it is internal or has DNS do not change once made.
 * Over 400 lines because requests of people and of engines take the same turns, plans and removals.
 */
import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { findAardvark } from '../../effects/names/aardvark.ts';
import { toFault } from '../../effects/effect.ts';
import type { Kernel } from '../../effects/kernel.ts';
import type { TermsOf } from '../../effects/lease.ts';
import { requireIpv6 } from '../../effects/namespaces/switches.ts';
import type { Obstacle } from '../../plan/networks/host-routes.ts';
import { overlaps, parseSubnet } from '../../plan/addresses/address.ts';
import { isOnParent } from '../../plan/networks/parent.ts';
import { reservedNetwork } from '../../plan/addresses/special-addresses.ts';
import { isV6 } from '../../plan/networks/network.ts';
import { tooWide } from '../../plan/networks/way-out.ts';
import { planUpdate } from '../../plan/networks/network-update.ts';
import { poolsOf, ULA } from '../../plan/addresses/subnet-pools.ts';
import type { NetworkAnswer } from '../../state/answers/network.ts';
import type { Notification } from '../../state/answers/notification.ts';
import { FaultError, type Fault } from '../../state/faults.ts';
import {
  DEFAULT_NETWORK,
  type NetworkDefinition,
  type NetworkRequest,
  type NetworkUpdate,
  type SubnetPool,
} from '../../state/network.ts';
import type { Overlay } from '../../state/overlay.ts';
import type { Definitions } from './definitions.ts';
import { belongsToOthers, inUse, ofEngine, planned, type DescribedNetwork, type PlannedNetwork } from './described.ts';
import { hostObstacles } from './host-routes.ts';
import { ELSEWHERE } from './way-out-watch.ts';
import { finishUpdate, insistOn, updateMachines, type UpdateParts } from './network-update.ts';
import { told } from '../notifications/operations.ts';
import type { Shared } from '../outsides/shared.ts';
import { createOverlay, sharesAsSubnets } from '../overlay/create.ts';
import type { Overlays } from '../overlay/overlays.ts';
import { containerIdOf } from '../../plan/owner.ts';

const THE_DEFAULT: NetworkRequest = { name: DEFAULT_NETWORK, dns_enabled: false };

/** A definition as it is answered to who made or changed it. `warnings`: what may not be what was meant; absent for none. */
export type AnsweredNetwork = NetworkDefinition & { warnings?: string[] };

const answered = (definition: NetworkDefinition, warnings: string[]): AnsweredNetwork =>
  warnings.length === 0 ? definition : { ...definition, warnings };

export class Networks {
  readonly #definitions: Definitions;
  readonly #shared: Shared;
  readonly #kernel: Kernel;
  readonly #announce: (notification: Notification) => void;
  readonly #bridgePrefix: string;
  readonly #pools: readonly SubnetPool[];
  readonly #termsOf: TermsOf;
  readonly #departures: (owners: readonly string[]) => Promise<void> | null;
  readonly #overlays: Overlays;
  /** The fault because of which there is no default network. */
  #defaultFault: Fault | null = null;

  constructor(parts: {
    definitions: Definitions;
    shared: Shared;
    kernel: Kernel;
    /** Takes what becomes of a definition: that an operation is requested, and that it is done or has failed. */
    announce: (notification: Notification) => void;
    bridgePrefix: string;
    pools: readonly SubnetPool[];
    termsOf: TermsOf;
    overlays: Overlays;
    /** Resolves when departing containers of these owners are gone; null if there are none. */
    departures: (owners: readonly string[]) => Promise<void> | null;
  }) {
    this.#definitions = parts.definitions;
    this.#shared = parts.shared;
    this.#kernel = parts.kernel;
    this.#announce = parts.announce;
    this.#bridgePrefix = parts.bridgePrefix;
    this.#pools = parts.pools;
    this.#termsOf = parts.termsOf;
    this.#departures = parts.departures;
    this.#overlays = parts.overlays;
  }

  all(): NetworkDefinition[] {
    return [...this.#definitions.byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Finds a network by name, id or unique beginning of an id. */
  get(name: string): NetworkDefinition {
    const exact = this.#definitions.byName.get(name);
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
   * Makes the network that containers without a choice of networks get, at the first start, like any other network. Returns the
   * reason if it cannot be made: a VPN, for example, may use every subnet at the moment.
   */
  async ensureDefault(): Promise<Fault | null> {
    if (this.#definitions.byName.has(DEFAULT_NETWORK)) return null;
    try {
      await this.#definitions.inTurn(async () => {
        // One that cannot be planned is tried at each request, which need not be told each time.
        const { definition } = await this.#planned(THE_DEFAULT);
        await told(this.#announce, 'network.create', DEFAULT_NETWORK, () => this.#record(definition));
      });
    } catch (error) {
      const fault = toFault(error, 'create');
      if (fault.code === 'STATE_UNWRITABLE') throw error; // nothing works in this case
      this.#defaultFault = fault;
    }
    return this.#defaultFault;
  }

  /**
   * Chooses the parent of each definition that names none, as files of Podman's do: the link of the default route now. Without such a
   * route they have none until the next start, and refuse containers.
   */
  async chooseParents(): Promise<void> {
    const open = this.all().filter((network) => isOnParent(network) && network.network_interface === '');
    const link = open.length === 0 ? null : await this.#defaultLink();
    if (link === null) return;
    await this.#definitions.inTurn(() => {
      for (const definition of open) this.#definitions.record({ ...definition, network_interface: link });
    });
  }

  async #defaultLink(): Promise<string | null> {
    const { kernel } = this.#kernel.outside(null);
    const [four, six] = await Promise.all([kernel.wayTo(ELSEWHERE[4]), kernel.wayTo(ELSEWHERE[6])]);
    return (four ?? six)?.link ?? null;
  }

  /** Returns why there is no default network; null if there is one, or somebody removed it. */
  get defaultFault(): Fault | null {
    return this.#defaultFault;
  }

  #whyNot(name: string): string {
    const none = 'network not found';
    const fault = name === DEFAULT_NETWORK ? this.#defaultFault : null;
    return fault === null ? none : `${none}, for it could not be made: ${fault.message}`;
  }

  create(request: NetworkRequest): Promise<NetworkAnswer> {
    return told(this.#announce, 'network.create', request.name, () => this.#create(request));
  }

  /**
   * Makes a network as an engine describes it, or finds it so. The engine keeps the definition, and may have changed it since the
   * last container: other servers for names are given to a network in use; for anything else, a network without users is made
   * anew, and one in use is refused.
   */
  adopt(described: DescribedNetwork): Promise<NetworkDefinition> {
    return this.#definitions.inTurn(() => this.#adopt(described));
  }

  /** Throws the reason if `adopt` would refuse this network now. Changes nothing. */
  foresee(described: DescribedNetwork): Promise<void> {
    return this.#definitions.inTurn(async () => {
      const { known, others } = this.#beside(described);
      if (known !== null) {
        if (isDeepStrictEqual(await this.#wished(described, known, others), known)) return;
        this.#refuseUsed(known.name);
      }
      await this.#planned(described.request, others, described.id);
    });
  }

  update(name: string, update: NetworkUpdate): Promise<NetworkAnswer> {
    return told(this.#announce, 'network.update', this.#nameOf(name), () => this.#update(name, update));
  }

  remove(name: string): Promise<void> {
    return told(this.#announce, 'network.remove', this.#nameOf(name), () => this.#remove(name));
  }

  /** Returns the default network as it would be made now; null if there is one, or none can be made. */
  async comingDefault(): Promise<NetworkDefinition | null> {
    if (this.#defaultFault === null) return null;
    const planned = await this.#planned(THE_DEFAULT).catch(() => null);
    return planned?.definition ?? null;
  }

  #create(request: NetworkRequest): Promise<AnsweredNetwork> {
    if (request.driver === 'overlay') return this.#createOverlay(request);
    if (request.overlay !== undefined) throw new FaultError('BAD_REQUEST', 'overlay is for networks of driver overlay');
    return this.#definitions.inTurn(async () => {
      const plan = await this.#planned(request);
      this.#record(plan.definition);
      return answered(plan.definition, plan.warnings);
    });
  }

  async #createOverlay(request: NetworkRequest): Promise<AnsweredNetwork> {
    const plan = (asked: NetworkRequest, overlay: Overlay) => this.#planned(asked, this.all(), overlay.id, overlay);
    const { definition, warnings } = await createOverlay(this.#overlays, request, {
      plan,
      record: (asked, overlay) =>
        this.#definitions.inTurn(async () => {
          const planned = await plan(asked, overlay);
          this.#record(planned.definition);
          return planned;
        }),
    });
    return answered(definition, warnings);
  }

  #record(definition: NetworkDefinition): void {
    this.#definitions.record(definition);
    if (definition.name === DEFAULT_NETWORK) this.#defaultFault = null;
  }

  /** Returns the name of a network; the text itself if there is none. */
  #nameOf(text: string): string {
    try {
      return this.get(text).name;
    } catch {
      return text;
    }
  }

  async #adopt(described: DescribedNetwork): Promise<NetworkDefinition> {
    const { known, others } = this.#beside(described);
    if (known !== null) {
      const wished = await this.#wished(described, known, others);
      if (isDeepStrictEqual(wished, known)) return known;
      const { network_dns_servers } = wished;
      if (isDeepStrictEqual({ ...known, network_dns_servers }, wished)) {
        return told(this.#announce, 'network.update', known.name, () => this.#change(known, { network_dns_servers }));
      }
      await told(this.#announce, 'network.remove', known.name, () => this.#removeUnused(known));
    }
    return told(this.#announce, 'network.create', described.request.name, async () => {
      const plan = await this.#planned(described.request, others, described.id);
      const definition = ofEngine(described, plan, known?.created ?? described.created);
      this.#definitions.record(definition);
      await this.#moveDefault(definition);
      return definition;
    });
  }

  /** Returns the network of this name as it is known, null if it is not, and the networks that it has to be beside. */
  #beside({ engine, request }: DescribedNetwork): { known: NetworkDefinition | null; others: NetworkDefinition[] } {
    const known = this.#definitions.byName.get(request.name) ?? null;
    if (known !== null && known.engine !== engine) throw belongsToOthers(known);
    return { known, others: this.all().filter(({ name }) => name !== request.name && !this.#givesWay(name)) };
  }

  /**
   * Returns what a known network is to be now. What an engine hands over is complete, so the kernel is not asked. An engine may make its
   * definition anew for each container, so the time in it says nothing.
   */
  async #wished(
    described: DescribedNetwork,
    known: NetworkDefinition,
    others: readonly NetworkDefinition[],
  ): Promise<NetworkDefinition> {
    const around = { networks: others, routes: [], links: [], defaultLink: known.network_interface };
    const plan = planned(described.request, { ...around, ...(await this.#choices(described.id)) });
    return ofEngine(described, plan, known.created);
  }

  /** Returns true for the default network while nobody uses it: cleat has chosen its subnet, and can choose another. */
  #givesWay(name: string): boolean {
    return name === DEFAULT_NETWORK && this.#shared.usersOf(name).length === 0;
  }

  /** Gives the default network, if nobody uses it, another subnet than that of a network that an engine has described. */
  async #moveDefault({ subnets }: NetworkDefinition): Promise<void> {
    const own = this.#definitions.byName.get(DEFAULT_NETWORK);
    if (own === undefined || !this.#givesWay(DEFAULT_NETWORK)) return;
    const described = subnets.map(({ subnet }) => parseSubnet(subnet));
    const isInTheWay = ({ subnet }: { subnet: string }) => described.some((one) => overlaps(one, parseSubnet(subnet)));
    if (!own.subnets.some(isInTheWay)) return;
    await told(this.#announce, 'network.remove', own.name, () => this.#removeUnused(own));
    const { created: _created, id: _id, ipam_options: _ipam, ...request } = own;
    const free = request.subnets.filter((subnet) => !isInTheWay(subnet));
    try {
      const { definition } = await this.#planned({ ...request, subnets: free });
      await told(this.#announce, 'network.create', own.name, () => this.#record(definition));
    } catch (error) {
      this.#defaultFault = toFault(error, 'create');
    }
  }

  /** Completes a definition, and makes nothing. Rejects with the reason if there can be no such network beside `others`. */
  async #planned(
    request: NetworkRequest,
    others: readonly NetworkDefinition[] = this.all(),
    id?: string,
    overlay?: Overlay,
  ): Promise<PlannedNetwork> {
    const [routes, links, defaultLink] = await Promise.all([
      this.#routes(request.subnets ?? []),
      this.#kernel.outside(null).kernel.links(),
      this.#defaultLink(),
    ]);
    const plan = planned(request, {
      ...(await this.#choices(id)),
      routes,
      links: links.map(({ name }) => name),
      defaultLink,
      networks: others,
      ...(overlay === undefined ? {} : { overlay }),
    });
    // A conflist that nobody could use is refused now.
    this.#termsOf(plan.definition, null);
    await this.#requireIpv6(plan.definition);
    this.#refuseWide(plan.definition);
    return plan;
  }

  /** Returns what a network that an engine keeps is completed from, besides what the engine says. */
  async surroundings(): Promise<{ now: string; defaultLink: string | null }> {
    return { now: new Date().toISOString(), defaultLink: await this.#defaultLink() };
  }

  /** Returns what a new network is chosen from, besides what the kernel and other networks leave. */
  async #choices(id = randomBytes(32).toString('hex')) {
    return {
      pools: this.#pools,
      resolver: (await findAardvark()) !== null,
      bridgePrefix: this.#bridgePrefix,
      id,
      now: new Date().toISOString(),
    };
  }

  /** Changes a network that containers use: all of them follow, or none. */
  async #update(name: string, update: NetworkUpdate): Promise<NetworkAnswer> {
    await this.#abandoned(name);
    return this.#definitions.inTurn(() => this.#change(this.get(name), update));
  }

  async #change(before: NetworkDefinition, update: NetworkUpdate): Promise<AnsweredNetwork> {
    const routes = await this.#routes(update.subnets ?? []);
    const plan = planUpdate(before, update, { routes, networks: this.all(), pools: this.#pools });
    if ('fault' in plan) throw FaultError.of(plan.fault);
    const next = plan.definition;
    if (next === before) return before;
    await this.#requireIpv6(next);
    this.#refuseWide(next);
    this.#definitions.begin(before, next);
    const fault = await updateMachines(this.#updating(next.name), before, next);
    this.#definitions.settle(next.name);
    if (fault !== null) throw FaultError.of(fault);
    return answered(next, plan.warnings);
  }

  /** Makes this the definition from now on, whatever happens to the daemon. */
  finish(names: readonly string[]): Promise<void> {
    return this.#definitions.inTurn(async () => {
      for (const name of names) {
        if (this.#definitions.byName.has(name)) await finishUpdate(this.#updating(name), () => this.get(name));
        this.#definitions.settle(name);
      }
    });
  }

  /** Returns the files that could not be brought up to date, and the networks that cannot be raised. */
  troubles(): { outside: null; what: string; fault: Fault }[] {
    const networks = this.all().flatMap((network) => {
      const fault = reservedNetwork(network);
      return fault === null ? [] : [{ what: `network ${network.name}`, fault }];
    });
    return [...this.#definitions.troubles(), ...networks].map((trouble) => ({ outside: null, ...trouble }));
  }

  async #remove(name: string): Promise<void> {
    await this.#abandoned(name);
    const removed = await this.#definitions.inTurn(async () => {
      const definition = this.get(name);
      await this.#removeUnused(definition);
      return definition;
    });
    // Not in turn: other networks need no etcd.
    await this.#overlays.leave(removed.name);
  }

  /** Removes the definition of a network, if it is still unused when its turn comes. */
  async forget(name: string, isUnused: () => boolean): Promise<void> {
    await this.#departures(this.#shared.usersOf(name));
    await this.#definitions.inTurn(async () => {
      const definition = this.#definitions.byName.get(name);
      if (definition === undefined || !isUnused()) return;
      await told(this.#announce, 'network.remove', name, () => this.#removeUnused(definition));
    });
  }

  /** Gives an overlay these shares in place of its own: all containers follow, now or as soon as they can. */
  renumber(name: string, shares: readonly string[], overlay: Overlay): Promise<void> {
    return told(this.#announce, 'network.update', name, () =>
      this.#definitions.inTurn(async () => {
        const before = this.#definitions.byName.get(name);
        if (before === undefined) return;
        const subnets = sharesAsSubnets(shares);
        const next = { ...before, subnets, ipv6_enabled: subnets.some(isV6), overlay };
        // An earlier attempt may have been refused by a machine when the definition was written already.
        const isRecorded = JSON.stringify(before) === JSON.stringify(next);
        if (!isRecorded) this.#definitions.begin(before, next);
        await insistOn(this.#updating(name), isRecorded ? before : next);
        this.#definitions.settle(name);
      }),
    );
  }

  /** Throws NETWORK_IN_USE. */
  async #removeUnused({ name }: NetworkDefinition): Promise<void> {
    this.#refuseUsed(name);
    // Without users it is on its way down, or already down.
    if (!(await this.#shared.whenDown(name))) throw inUse(name, 'a bridge that could not be removed');
    this.#definitions.remove(name);
    this.#shared.forget(name);
  }

  #refuseUsed(name: string): void {
    const users = this.#shared.usersOf(name);
    if (users.length > 0) throw inUse(name, users.map(containerIdOf).join(', '));
  }

  /** Waits until departing containers of a network are gone: a teardown answers before the kernel has released the addresses. */
  async #abandoned(name: string): Promise<void> {
    await this.#departures(this.#shared.usersOf(this.get(name).name));
  }

  #updating(name: string): UpdateParts {
    return {
      machines: () => this.#shared.machinesOf(name),
      revert: (definition) => this.#definitions.revert(definition),
    };
  }

  #refuseWide(definition: NetworkDefinition): void {
    const fault = tooWide(definition, this.#shared.underlay(definition));
    if (fault !== null) throw FaultError.of(fault);
  }

  #requireIpv6({ name, subnets }: NetworkDefinition): Promise<void> {
    const { kernel } = this.#kernel.outside(null);
    return requireIpv6(
      kernel,
      `network ${name}`,
      subnets.map(({ subnet }) => subnet),
    );
  }

  /** Returns the host's routes that overlap with these subnets or with any that may be chosen. */
  #routes(subnets: readonly { subnet: string }[]): Promise<Obstacle[]> {
    const pools = ([4, 6] as const).flatMap((family) => poolsOf(family, this.#pools).map(({ base }) => base));
    return hostObstacles(this.#kernel, this.all(), [...pools, ULA, ...subnets.map(({ subnet }) => subnet)]);
  }
}
