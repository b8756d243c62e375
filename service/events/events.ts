/**
 * Lifecycle events between the socket and the machine: translates them into events of the machine, and lists which of them it
 * accepts now.
 *
 * Guarantees: an event is legal if the machine's present state has a transition for it, whatever its guards decide: a guard that
 * refuses it answers with a fault of its own.
 * Limits: create makes a machine; it is not an event for one.
 */
import { getNextTransitions } from 'xstate';
import { stateName } from '../../plan/states.ts';
import type { ContainerEvent } from '../../machines/container/container-inputs.ts';
import { isReserved } from '../../plan/names/names.ts';
import { innerMappings } from '../../plan/ports/outer.ts';
import { coalesce } from '../../plan/ports/port-list.ts';
import { notPublishable } from '../../plan/addresses/special-addresses.ts';
import type { ResolvedPort, PortRequest } from '../../state/container.ts';
import type { AttachmentOptions, CreateEvent, LifecycleEvent, PortMapping } from '../../state/event.ts';
import { FaultError } from '../../state/faults.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';

/** Facts that an event needs besides its own fields, and that only the registry of containers knows. */
export interface Facts {
  /** Returns a network's name from its name, its id or the beginning of a unique id. */
  networkName(text: string): string;
  /** The networks that the container is on, or is to be on, by name. */
  requested: Readonly<Record<string, unknown>>;
  /** Returns the ids of other containers in the namespace. */
  users(): string[];
  /** The container's outer publisher. */
  publisher: string | null;
  /** The owner that gives up the ports to be published, and these ports. */
  giver: { owner: string; ports: ResolvedPort[] } | null;
}

export function toMachineEvent(event: Exclude<LifecycleEvent, { type: 'create' }>, facts: Facts): ContainerEvent {
  switch (event.type) {
    case 'connect':
      refuseAliases(event.options ?? {});
      return { type: 'connect', network: facts.networkName(event.network), options: event.options ?? {} };
    case 'disconnect':
      return { type: 'disconnect', network: nameToLeave(event.network, facts), force: event.force ?? false };
    case 'publish':
      return { type: 'publish', ports: wanted(event.port_mappings, facts.publisher), from: facts.giver };
    case 'unpublish':
      return { type: 'unpublish', ports: event.port_mappings };
    case 'reload':
      return { type: 'reload', full: event.full ?? false };
    case 'teardown':
      return { type: 'teardown', users: facts.users() };
    case 'configure':
      return { type: 'configure' };
  }
}

/** A container can leave a network that is gone, by the name that the container knows it by. */
const nameToLeave = (text: string, facts: Facts): string =>
  Object.hasOwn(facts.requested, text) ? text : facts.networkName(text);

/** Returns the ports of a request, as one list without contradictions. An outer publisher takes over the host addresses. */
export function wanted(mappings: readonly PortMapping[], publisher: string | null): PortRequest[] {
  for (const { host_ip: ip = '' } of mappings) {
    const fault = ip === '' ? null : notPublishable(ip);
    if (fault !== null) throw new FaultError(fault.code, fault.message);
  }
  const list = coalesce(mappings);
  if ('fault' in list) throw FaultError.of(list.fault);
  return publisher === null ? list.ports : innerMappings(list.ports);
}

/** Throws if an alias is reserved. The alias is not just left out, because the caller relies on the names it requests. */
export function refuseAliases({ aliases = [] }: AttachmentOptions): void {
  const reserved = aliases.find(isReserved);
  if (reserved === undefined) return;
  throw new FaultError(
    'BAD_REQUEST',
    `no container can be called ${reserved}: that is the name of each asker's own host`,
  );
}

/** Returns the event with ids in the place of other references to containers. */
export function withIds(event: LifecycleEvent, idOf: (text: string) => string): LifecycleEvent {
  if (event.type === 'create') {
    const { netns } = event;
    return netns?.mode === 'container' ? { ...event, netns: { ...netns, id: idOf(netns.id) } } : event;
  }
  const id = idOf(event.id);
  return event.type === 'publish' && event.from !== undefined
    ? { ...event, id, from: idOf(event.from) }
    : { ...event, id };
}

/** The texts that the new container will be found by. */
export const callsOf = ({ id, name = id }: CreateEvent): string[] => [id, name];

export function nameTaken({ id, name = id }: CreateEvent, holder: string): FaultError {
  const message = `the container name ${JSON.stringify(name)} or id ${JSON.stringify(id)} is already in use by ${holder}`;
  return new FaultError('CONTAINER_EXISTS', message, { owner: holder });
}

const LIFECYCLE = ['configure', 'connect', 'disconnect', 'reload', 'publish', 'unpublish', 'teardown'];

/** Returns the lifecycle events that the machine has a transition for in its present state, or in the state it was stopped in. */
export function legalEvents(snapshot: ContainerSnapshot): string[] {
  if (snapshot.status === 'done') return [];
  const state = JSON.stringify(snapshot.value);
  let legal = legalIn.get(state);
  if (legal === undefined) {
    const known = new Set(getNextTransitions(snapshot).map(({ eventType }) => eventType));
    legal = LIFECYCLE.filter((type) => known.has(type));
    legalIn.set(state, legal);
  }
  return [...legal];
}

/** The events of each state of the machine: they depend on nothing else, and every view has them. */
const legalIn = new Map<string, string[]>();

export function illegal(snapshot: ContainerSnapshot, type: string): FaultError {
  const { id } = snapshot.context;
  const legal = legalEvents(snapshot);
  return new FaultError('ILLEGAL_EVENT', `container ${id} is ${stateName(snapshot)}: ${type} is not possible now`, {
    legal,
  });
}

export function noSuchContainer(id: string): FaultError {
  return new FaultError('NO_SUCH_CONTAINER', `no container with name or ID "${id}" found: no such container`);
}
