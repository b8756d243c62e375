/**
 * Decides whether an event is accepted, and what the machine of the container then gets.
 *
 * Guarantees: changes nothing, so an event that is only foreseen is judged by the same code as one that is dispatched. What
 * `creation` and `translated` answer holds until something else happens, so the caller goes on in the same turn.
 * Limits: the machines that grant addresses and ports decide whether these are free.
 */
import { isDeepStrictEqual } from 'node:util';
import { isDeparting, sharable, stateName } from '../../plan/states.ts';
import type { ContainerEvent, ContainerInput } from '../../machines/container/container-inputs.ts';
import type { CreateEvent, LifecycleEvent } from '../../state/event.ts';
import { FaultError } from '../../state/faults.ts';
import type { Limits } from '../../state/limits.ts';
import { identifyExit } from '../../effects/processes/exit-descriptor.ts';
import { boundTo, planContainer, requested } from '../events/creation.ts';
import { callsOf, illegal, legalEvents, nameTaken, toMachineEvent } from '../events/events.ts';
import { hasAllContainers, refuseTooManyContainers, refuseTooManyPorts } from '../events/limits.ts';
import { refuseUncarried, type UplinkPrograms } from '../events/uplink-request.ts';
import type { ContainerActor, ContainerSnapshot } from '../records/snapshot.ts';
import { newToken } from '../records/token.ts';
import type { ContainerNames } from './container-names.ts';
import type { Roster } from './roster.ts';
import { departed, passed } from './wait-for-state.ts';

export interface AdmissionParts {
  bootId: string;
  instance: string;
  netnsDir: string;
  /** Returns a network's name from its name, its id or the beginning of a unique id. Throws NO_SUCH_NETWORK. */
  networkName: (text: string) => string;
  /** Returns the path by which the outside at this path is known, null for the daemon's own. */
  outsideName: (path: string) => string | null;
  /** The outer publisher, which publishes ports one machine further out; null if there is none. */
  publisher: string | null;
  uplinks: UplinkPrograms;
  /** True for a daemon of an ordinary user: the forwarder carries the ports of networks unless another handler is named. */
  rootless: boolean;
  limits: Limits;
}

/** Is an event for a container that exists. */
export type LaterEvent = Exclude<LifecycleEvent, CreateEvent>;

/** Holds what an accepted event comes to: an event for the machine of a container, or the input of a new one. */
export type Admitted = { before: ContainerSnapshot; event: ContainerEvent } | { before: null; input: ContainerInput };

/** Holds what a new container is given besides its request. */
export interface CreationChoices {
  /** Is above the number of every earlier container. */
  generation: number;
  /** Comes from a plan; without one, a new token is made. */
  token?: string | undefined;
  /** Finds networks in another way, such as one that is still to be made. */
  networkName?: (text: string) => string;
}

/** Binds an event to the plan that it carries out. */
export interface AppliedPlan {
  /** Names a new container. */
  token: string | undefined;
  /** Throws if this is not the state that the plan was made in; null for no container. */
  verify(before: ContainerSnapshot | null): void;
  /** Returns the event with what the plan has named. */
  promise(event: ContainerEvent): ContainerEvent;
}

export class Admission {
  readonly #parts: AdmissionParts;
  readonly #roster: Roster;
  readonly #names: ContainerNames;

  constructor(parts: AdmissionParts, roster: Roster, names: ContainerNames) {
    this.#parts = parts;
    this.#roster = roster;
    this.#names = names;
  }

  /**
   * Judges what a create event says by itself, then waits until departing containers are gone that have its id or name, or that
   * count towards this user's limit.
   */
  async readyToCreate(event: CreateEvent, uid: number | null): Promise<void> {
    refuseTooManyPorts(event, [], this.#parts.limits);
    if (uid !== null && hasAllContainers(uid, this.#roster.all(), this.#parts.limits))
      await this.#roster.neighbours.departures((other) => other.uid === uid);
    const rivals = [event.id, this.#names.holderOf(event.id, ...callsOf(event)) ?? event.id];
    const actors = rivals.flatMap((id) => this.#roster.entries.get(id)?.actor ?? []);
    await departed(actors.filter((actor) => isDeparting(actor.getSnapshot())));
  }

  /** Judges a create event: it makes a container, or resumes one whose namespace others have kept. */
  creation(event: CreateEvent, uid: number | null, choices: CreationChoices): Admitted {
    const existing = this.#roster.get(event.id);
    if (existing !== undefined) return { before: existing, event: this.#resumption(event, existing) };
    const holder = this.#names.holderOf(event.id, ...callsOf(event));
    if (holder !== null) throw nameTaken(event, holder);
    if (uid !== null) refuseTooManyContainers(uid, this.#roster.all(), this.#parts.limits);
    const input = planContainer(event, {
      ...this.#parts,
      networkName: choices.networkName ?? this.#parts.networkName,
      generation: choices.generation,
      token: choices.token ?? newToken(this.#parts.instance),
      uid,
      container: (id) => sharable(this.#roster.get(id))?.context,
    });
    return { before: null, input };
  }

  /** A container whose namespace others have kept must be created alike, and continues where it was. */
  #resumption(event: CreateEvent, snapshot: ContainerSnapshot): ContainerEvent {
    const { context } = snapshot;
    const exists = (why: string) =>
      new FaultError('CONTAINER_EXISTS', `container ${event.id} exists already (${why})`, { owner: event.id });
    if (!context.ownerGone || snapshot.status !== 'active' || !snapshot.hasTag('rest'))
      throw exists(stateName(snapshot));
    const netns = event.netns ?? { mode: 'new' };
    const wish = { netns, ...requested(event, netns, this.#parts) };
    const users = this.#roster.neighbours.usersOf(context.owner).join(', ');
    if (!isDeepStrictEqual(wish, context.request))
      throw exists(`its namespace is in use by ${users}, and was made otherwise`);
    return {
      type: 'resume',
      boundTo: boundTo(netns.mode === 'pid' ? netns.pid : event.bound_to),
      ...(event.exit_fd === undefined ? {} : { exit: identifyExit(event.exit_fd) }),
    };
  }

  /**
   * Waits for an operation of our own. An owner that leaves users behind comes to rest first, so that they keep a complete
   * network.
   */
  ready(event: LaterEvent, actor: ContainerActor): Promise<void> {
    const { owner } = actor.getSnapshot().context;
    return passed(actor, event.type === 'teardown' && this.#roster.neighbours.usersOf(owner).length > 0);
  }

  /** Judges an event: refuses it, or returns the one that the machine gets. */
  translated(event: LaterEvent, before: ContainerSnapshot): ContainerEvent {
    // snapshot.can() is not used: it tries the whole transition, and our guards never leave an event unanswered.
    if (!legalEvents(before).includes(event.type)) throw illegal(before, event.type);
    if (event.type === 'publish') {
      const { request, portHandler = 'firewall' } = before.context;
      refuseTooManyPorts(event, request.ports, this.#parts.limits);
      refuseUncarried(event.id, portHandler, event.port_mappings, request.ports);
    }
    return toMachineEvent(event, {
      networkName: (text) => this.#parts.networkName(text),
      requested: before.context.request.networks,
      users: () => this.#roster.neighbours.usersOf(before.context.owner),
      publisher: before.context.publisher,
      giver: event.type === 'publish' ? this.#roster.neighbours.giver(event, before.context) : null,
    });
  }
}
