/**
 * Says whether a network can take one more container (STATUS).
 *
 * Guarantees: changes nothing. The reason is the one that an ADD would be refused with now, or what keeps the network's machine or
 * the firewall from doing its work.
 * Limits: looks at the daemon's own namespace alone, where CNI's containers are attached.
 */
import { grantLease } from '../../../plan/networks/lease.ts';
import type { Fault } from '../../../state/faults.ts';
import type { Shared } from '../../outsides/shared.ts';

/** Names an owner that no container is. */
const NEXT = 'status:0';

export function whyNoRoom(shared: Pick<Shared, 'networksIn' | 'troubles'>, network: string): Fault | null {
  const trouble = shared
    .troubles()
    .find(({ outside, what }) => outside === null && [`network ${network}`, 'firewall'].includes(what));
  if (trouble !== undefined) return trouble.fault;
  const machine = shared.networksIn(null).get(network)?.getSnapshot().context;
  if (machine === undefined) return null;
  const grant = grantLease(machine.definition, machine.leases, machine.cursors, NEXT, {});
  return 'fault' in grant ? grant.fault : null;
}
