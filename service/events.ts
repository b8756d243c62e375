/**
 * Lifecycle events between the socket and the machine: in its own words, and which of them it takes now.
 *
 * Guarantees: an event is legal when the machine's present state has a transition for it, whatever its guards say: those
 * answer with a fault of their own.
 * Limits: create makes a machine; it is not an event for one.
 */
import type { ContainerEvent } from '../machines/container-inputs.ts';
import { isReserved } from '../machines/plan/names.ts';
import { innerMappings } from '../machines/plan/outer.ts';
import { coalesce } from '../machines/plan/port-list.ts';
import { notPublishable } from '../machines/plan/special-addresses.ts';
import type { ResolvedPort, PortRequest } from '../state/container.ts';
import type { AttachmentOptions, CreateEvent, LifecycleEvent, PortMapping } from '../state/event.ts';
import { FaultError } from '../state/faults.ts';
import { stateName, type ContainerSnapshot } from './snapshot.ts';

/** What an event means beyond its own words: facts that only the registry of containers knows. */
export interface Facts {
  /** A network's name from its name, id or the beginning of one id alone. */
  networkName(text: string): string;
  /** Other containers in the namespace. */
  users(): string[];
  /** The container's outer publisher. */
  publisher: string | null;
  /** Who gives up the ports to be published, and which. */
  giver: { owner: string; ports: ResolvedPort[] } | null;
}

export function toMachineEvent(event: Exclude<LifecycleEvent, { type: 'create' }>, facts: Facts): ContainerEvent {
  switch (event.type) {
    case 'connect':
      refuseAliases(event.options ?? {});
      return { type: 'connect', network: facts.networkName(event.network), options: event.options ?? {} };
    case 'disconnect':
      return { type: 'disconnect', network: facts.networkName(event.network), force: event.force ?? false };
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

/** The ports that a request asks for, as one list without contradictions; a publisher has the host addresses. */
export function wanted(mappings: readonly PortMapping[], publisher: string | null): PortRequest[] {
  for (const { host_ip: ip = '' } of mappings) {
    const fault = ip === '' ? null : notPublishable(ip);
    if (fault !== null) throw new FaultError(fault.code, fault.message);
  }
  const list = coalesce(mappings);
  if ('fault' in list) throw new FaultError(list.fault.code, list.fault.message, list.fault);
  return publisher === null ? list.ports : innerMappings(list.ports);
}

/** Refused and not left out: who asks for a name counts on it. */
export function refuseAliases({ aliases = [] }: AttachmentOptions): void {
  const reserved = aliases.find(isReserved);
  if (reserved === undefined) return;
  throw new FaultError(
    'BAD_REQUEST',
    `no container can be called ${reserved}: that is the name of each asker's own host`,
  );
}

/** The event with ids in the place of whatever it calls containers by. */
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

/** What the new container will be found by. */
export const callsOf = ({ id, name = id }: CreateEvent): string[] => [id, name];

export function nameTaken({ id, name = id }: CreateEvent, holder: string): FaultError {
  const message = `the container name ${JSON.stringify(name)} or id ${JSON.stringify(id)} is already in use by ${holder}`;
  return new FaultError('CONTAINER_EXISTS', message, { owner: holder });
}

const LIFECYCLE = ['configure', 'connect', 'disconnect', 'reload', 'publish', 'unpublish', 'teardown'];

/** The lifecycle events that the machine has a transition for in its present state, or in the one it was stopped in. */
export function legalEvents(snapshot: ContainerSnapshot): string[] {
  if (snapshot.status === 'done') return [];
  const known = new Set(snapshot._nodes.flatMap((node) => node.ownEvents as string[]));
  return LIFECYCLE.filter((type) => known.has(type));
}

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
