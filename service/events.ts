/**
 * Lifecycle events between the socket and the machine: in its own words, and which of them it takes now.
 *
 * Guarantees: an event is legal when the machine's present state has a transition for it, whatever its guards say: those
 * answer with a fault of their own.
 * Limits: create makes a machine; it is not an event for one.
 */
import type { ContainerEvent } from '../machines/container.ts';
import type { LifecycleEvent } from '../state/event.ts';
import { FaultError } from '../state/faults.ts';
import { stateName, type ContainerSnapshot } from './snapshot.ts';

export function toMachineEvent(event: Exclude<LifecycleEvent, { type: 'create' }>): ContainerEvent {
  switch (event.type) {
    case 'connect':
      return { type: 'connect', network: event.network, options: event.options ?? {} };
    case 'disconnect':
      return { type: 'disconnect', network: event.network };
    case 'publish':
    case 'unpublish':
      return { type: event.type, ports: event.port_mappings };
    case 'configure':
    case 'reload':
    case 'teardown':
      return { type: event.type };
  }
}

const LIFECYCLE = ['configure', 'connect', 'disconnect', 'reload', 'publish', 'unpublish', 'teardown'];

/** The lifecycle events that the machine has a transition for in its present state. */
export function legalEvents(snapshot: ContainerSnapshot): string[] {
  if (snapshot.status !== 'active') return [];
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
