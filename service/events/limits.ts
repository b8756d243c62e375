/**
 * Refuses requests for more than one user or container may have (state/limits.ts).
 *
 * Guarantees: decides before any part of the request is accepted. A lower limit never removes what exists already.
 */
import { coalesce } from '../../plan/ports/port-list.ts';
import type { PortRequest } from '../../state/container.ts';
import type { PortMapping } from '../../state/event.ts';
import { FaultError } from '../../state/faults.ts';
import type { Limits } from '../../state/limits.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';

const containersOf = (uid: number, all: readonly ContainerSnapshot[]): number =>
  all.filter(({ context }) => context.uid === uid).length;

/** Returns true if the user has as many containers as allowed. */
export const hasAllContainers = (uid: number, all: readonly ContainerSnapshot[], limits: Limits): boolean =>
  containersOf(uid, all) >= limits['containers-per-uid'];

export function refuseTooManyContainers(uid: number, all: readonly ContainerSnapshot[], limits: Limits): void {
  if (!hasAllContainers(uid, all, limits)) return;
  const message = `uid ${uid} has ${containersOf(uid, all)} containers of at most ${limits['containers-per-uid']}`;
  throw new FaultError('LIMIT_REACHED', message);
}

/** `before`: the ports that the container publishes already. A request for one of them again counts as the same port. */
export function refuseTooManyPorts(
  { id, port_mappings: asked = [] }: { id: string; port_mappings?: readonly PortMapping[] | undefined },
  before: readonly PortRequest[],
  limits: Limits,
): void {
  const limit = limits['ports-per-container'];
  const list = coalesce([...before, ...asked]);
  if ('fault' in list) return; // a later check refuses this fault
  const count = list.ports.reduce((sum, { range = 1 }) => sum + range, 0);
  if (count <= limit) return;
  throw new FaultError('LIMIT_REACHED', `container ${id} would publish ${count} ports of at most ${limit}`);
}
