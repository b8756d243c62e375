/**
 * What containers are to each other: users of a namespace, those that end together, givers and takers of a port.
 *
 * Guarantees: views over the containers there are, nothing of its own that could disagree with them.
 * Limits: answers for this moment; whoever needs more watches the machine it is given.
 */
import type { NeighbourDirectory } from '../effects/ask.ts';
import { coveredBy, leadsTo } from '../machines/plan/change.ts';
import { without } from '../machines/plan/port-list.ts';
import { targetsFor } from '../machines/plan/ports.ts';
import type { ContainerContext, PortTarget, ProcessIdentity, ResolvedPort } from '../state/container.ts';
import type { LifecycleEvent } from '../state/event.ts';
import { FaultError } from '../state/faults.ts';
import type { PortHandler } from '../state/uplink.ts';
import { noSuchContainer, wanted } from './events.ts';
import type { ContainerActor, ContainerSnapshot } from './snapshot.ts';
import { isDeparting } from './desired-ruleset.ts';
import { departed } from './wait-for-state.ts';

/** Those that many containers share: an uplink has the ports of one. */
const HANDS_OVER = new Set<PortHandler | undefined>([undefined, 'forwarder']);

type PublishEvent = Extract<LifecycleEvent, { type: 'publish' }>;

export class Neighbours implements NeighbourDirectory {
  readonly #find: (id: string) => ContainerActor | undefined;
  readonly #all: () => ContainerSnapshot[];

  constructor(find: (id: string) => ContainerActor | undefined, all: () => ContainerSnapshot[]) {
    this.#find = find;
    this.#all = all;
  }

  container(owner: string): ContainerActor | null {
    const actor = this.#find(owner.slice(0, owner.lastIndexOf(':')));
    return actor !== undefined && actor.getSnapshot().context.owner === owner ? actor : null;
  }

  /** Ids of other containers in the namespace of an owner. */
  usersOf(owner: string): string[] {
    return this.#all().flatMap(({ context }) => (context.netns?.of === owner ? [context.id] : []));
  }

  /**
   * The processes whose ends are the end of an owner and of everybody in its namespace; none, where one of them ends by
   * teardown alone. Its ports serve all of them, and end with the last. One that is held has had its end.
   */
  boundTo(owner: string): ProcessIdentity[] {
    const its = this.#all().flatMap(({ context }) =>
      (context.owner === owner && !context.ownerGone) || context.netns?.of === owner ? [context.boundTo] : [],
    );
    return its.includes(null) ? [] : its.filter((process) => process !== null);
  }

  /** Who gives up the ports that an event asks for, and which; null when it takes none over. */
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

  /** Resolves when all of these that are on their way out are gone; null when there are none. */
  departures(concerns: (context: ContainerContext) => boolean): Promise<void> | null {
    const leaving = this.#all().filter((snapshot) => isDeparting(snapshot) && concerns(snapshot.context));
    if (leaving.length === 0) return null;
    return departed(leaving.flatMap(({ context: { owner } }) => this.container(owner) ?? []));
  }

  yields(giver: string, taker: string, ports: readonly ResolvedPort[]): PortTarget[] | null {
    const actor = this.container(giver);
    if (actor === null) return null;
    actor.send({ type: 'yield', ports: [...ports], taker });
    const snapshot = actor.getSnapshot();
    const { change } = snapshot.context;
    // One that has been told that its last taker failed takes back what it gave: that is not given to the next one.
    if (!snapshot.matches({ yielding: 'waiting' }) || change?.taker !== taker) return null;
    if (without(change.ports, ports).length > 0 || without(ports, change.ports).length > 0) return null;
    return targetsFor(snapshot.context.portHandler, change.ports, leadsTo(snapshot.context));
  }

  holds(owner: string, ports: readonly ResolvedPort[]): boolean {
    const held = this.container(owner)?.getSnapshot().context.ports ?? [];
    const hostSide = (port: ResolvedPort) => ({ ...port, containerPort: port.hostPort });
    return without(ports.map(hostSide), held.map(hostSide)).length === 0;
  }
}
