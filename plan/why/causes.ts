/**
 * Finds the faults that a container's state is due to: its own, and those of the machines that it shares.
 *
 * Guarantees: pure. A fault that another operation has left behind is no cause.
 */
import { topState } from '../states.ts';
import type { WhyPart } from '../../state/answers/container/why.ts';
import type { Fault } from '../../state/faults.ts';
import type { Facts, SharedFact } from './facts.ts';
import { FIREWALL, FIREWALLD, NETWORK, OVERLAY, RESOLVER, ROOTLESS, type Meanings } from './states.ts';

/** Returns the faults that its state is due to. */
export function causes({ context, state, defect }: Facts): Fault[] {
  if (defect !== null) return [defect];
  const { fault, lastFault, leftovers, operation } = context;
  switch (topState({ value: state })) {
    case 'degraded':
      return [lastFault ?? fault].filter((one) => one !== null);
    case 'failed':
    case 'teardownFailed':
      return [...(fault === null || state === 'teardownFailed' ? [] : [fault]), ...leftovers];
    case 'abandoning':
    case 'rollingBack':
      return fault === null ? [] : [fault];
    case 'created':
      return fault !== null && operation.type === 'configure' ? [fault] : [];
    default:
      return [];
  }
}

/**
 * Returns the faults of the shared machines that it depends on and that have failed. A machine of which drift is left has not
 * failed: its fault is an old one.
 */
export function sharedFaults(
  { networks, overlays, firewall, firewalld, rootless, resolver }: Facts,
  parts: readonly WhyPart[],
): Fault[] {
  const faultOf = (
    name: WhyPart['part'],
    machine: SharedFact | null,
    meanings: Meanings,
    object: string | null = null,
  ) =>
    machine !== null &&
    meanings[machine.state]?.condition === 'wrong' &&
    parts.some((one) => one.part === name && one.object === object)
      ? machine.fault
      : null;
  return [
    ...networks.map((machine) => faultOf('network', machine, NETWORK, machine.network)),
    ...overlays.map((machine) => faultOf('overlay', machine, OVERLAY, machine.network)),
    faultOf('firewall', firewall, FIREWALL),
    faultOf('firewalld', firewalld, FIREWALLD),
    faultOf('rootless', rootless, ROOTLESS),
    faultOf('resolver', resolver, RESOLVER),
  ].filter((fault) => fault !== null);
}
