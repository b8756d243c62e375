/**
 * The relations between containers: users of a namespace, containers that end together, givers and takers of a port.
 *
 * Guarantees: views over the existing containers, without data of their own that could disagree with them.
 * Limits: an answer holds for this moment. For later changes the caller watches the actor that it gets.
 */
import { isDeparting } from '../../plan/states.ts';
import type { NeighbourDirectory } from '../../effects/ask.ts';
import { coveredBy, leadsTo } from '../../plan/containers/change.ts';
import { without } from '../../plan/ports/port-list.ts';
import { targetsFor } from '../../plan/ports/ports.ts';
import type { ContainerContext, PortTarget, ResolvedPort, Tie } from '../../state/container.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import { FaultError } from '../../state/faults.ts';
import type { PortHandler } from '../../state/uplink.ts';
import { noSuchContainer, wanted } from '../events/events.ts';
import type { ContainerActor, ContainerSnapshot } from '../records/snapshot.ts';
import { departed } from './wait-for-state.ts';
import { containerIdOf } from '../../plan/owner.ts';

/** Port handlers that many containers share, and that can hand a port over. An uplink has the ports of one container. */
const HANDS_OVER = new Set<PortHandler | undefined>([undefined, 'forwarder']);

/** Returns where ports lead that a container gives away to a taker; null if it does not give them away. */
export function givenBy(giver: ContainerSnapshot, taker: string, ports: readonly ResolvedPort[]): PortTarget[] | null {
  const { change } = giver.context;
  // A giver that has been notified that its last taker failed takes its ports back. They are not given to the next taker.
  if (!giver.matches({ yielding: 'waiting' }) || change?.kind !== 'yield') return null;
  if (change.taker !== taker) return null;
  if (without(change.ports, ports).length > 0 || without(ports, change.ports).length > 0) return null;
  return targetsFor(giver.context.portHandler, change.ports, leadsTo(giver.context));
}

type PublishEvent = Extract<LifecycleEvent, { type: 'publish' }>;

export class Neighbours implements NeighbourDirectory {
  readonly #find: (id: string) => ContainerActor | undefined;
  readonly #all: () => ContainerSnapshot[];

  constructor(find: (id: string) => ContainerActor | undefined, all: () => ContainerSnapshot[]) {
    this.#find = find;
    this.#all = all;
  }

  container(owner: string): ContainerActor | null {
    const actor = this.#find(containerIdOf(owner));
    return actor !== undefined && actor.getSnapshot().context.owner === owner ? actor : null;
  }

  /** Returns the ids of other containers in the namespace of an owner. */
  usersOf(owner: string): string[] {
    // Each teardown asks several times, and nearly always there are none: nothing is made for those that are not.
    const users: string[] = [];
    for (const { context } of this.#all()) if (context.netns?.of === owner) users.push(context.id);
    return users;
  }

  /**
   * Returns what an owner and all containers in its namespace end with; nothing, if one of these containers ends by teardown
   * alone. The owner's ports serve all of them, and end with the last. An owner that is only held by its users has already ended.
   */
  boundTo(owner: string): Tie[] {
    const its = this.#all().flatMap(({ context }): Tie[] =>
      (context.owner === owner && !context.ownerGone) || context.netns?.of === owner
        ? [{ process: context.boundTo, exit: context.exit ?? null }]
        : [],
    );
    return its.some(({ process, exit }) => process === null && exit === null) ? [] : its;
  }

  /** Returns the owner that gives up the ports that an event requests, and these ports; null if the event takes none over. */
  giver(event: PublishEvent, context: ContainerContext): { owner: string; ports: ResolvedPort[] } | null {
    const { from: id } = event;
    if (id === undefined) return null;
    const giver = this.#find(id)?.getSnapshot().context;
    if (giver === undefined) throw noSuchContainer(id);
    if (id === event.id) throw new FaultError('BAD_REQUEST', `container ${id} cannot take a port over from itself`);
    if (giver.outside !== context.outside) {
      throw new FaultError('BAD_REQUEST', `containers ${id} and ${event.id} are not on the same outside`);
    }
    if (giver.portHandler !== context.portHandler || !HANDS_OVER.has(context.portHandler)) {
      const handlers = [giver, context].map(({ portHandler }) => portHandler ?? 'firewall');
      throw new FaultError(
        'BAD_REQUEST',
        `a port cannot go from one port handler to another: ${handlers.join(' -> ')}`,
      );
    }
    if (event.port_mappings.some(({ host_port: port = 0 }) => port === 0)) {
      throw new FaultError('BAD_REQUEST', 'a port that is taken over has a host port');
    }
    const ports = coveredBy(giver.ports, wanted(event.port_mappings, giver.publisher));
    if (ports.length > 0) return { owner: giver.owner, ports };
    throw new FaultError('NOT_PUBLISHED', `container ${id} does not publish these ports`, { owner: id });
  }

  /** Resolves when all matching containers that are leaving are gone. Returns null if there are none. */
  departures(concerns: (context: ContainerContext) => boolean): Promise<void> | null {
    const leaving = this.#all().filter((snapshot) => isDeparting(snapshot) && concerns(snapshot.context));
    if (leaving.length === 0) return null;
    return departed(leaving.flatMap(({ context: { owner } }) => this.container(owner) ?? []));
  }

  yields(giver: string, taker: string, ports: readonly ResolvedPort[]): PortTarget[] | null {
    const actor = this.container(giver);
    if (actor === null) return null;
    actor.send({ type: 'yield', ports: [...ports], taker });
    return givenBy(actor.getSnapshot(), taker, ports);
  }

  holds(owner: string, ports: readonly ResolvedPort[]): boolean {
    const held = this.container(owner)?.getSnapshot().context.ports ?? [];
    const hostSide = (port: ResolvedPort) => ({ ...port, containerPort: port.hostPort });
    return without(ports.map(hostSide), held.map(hostSide)).length === 0;
  }
}
