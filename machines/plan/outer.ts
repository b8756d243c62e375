/**
 * Published ports behind an outer publisher: in a virtual machine, the process on the host that listens for it.
 *
 * Guarantees: pure. The host address that was asked for is the publisher's business and is kept for it; inside, the port
 * is published on every address, because what the publisher passes on arrives at an address that nobody asked for.
 * Limits: two host addresses that are given the same host port share one port inside, so they lead to one place.
 */
import type { PortRequest } from '../../state/container.ts';
import type { PortMapping } from '../../state/event.ts';

/** Copies: what was asked for is left as it is. Applied twice it changes nothing more. */
export function innerMappings(mappings: readonly (PortMapping | PortRequest)[]): PortRequest[] {
  return mappings.map((mapping) => ({
    ...mapping,
    host_ip: '',
    outer_ip: ('outer_ip' in mapping ? mapping.outer_ip : undefined) ?? mapping.host_ip ?? '',
  }));
}
