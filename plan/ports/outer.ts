/**
 * Published ports behind an outer publisher: the process that listens on the host for a virtual machine.
 *
 * Guarantees: pure. The requested host address is kept for the publisher. Inside, the port is published on every address,
 * because the publisher's connections arrive at an address that is in no request.
 * Limits: two host addresses with the same host port share one port inside, so they lead to one target.
 */
import type { PortRequest } from '../../state/container.ts';
import type { PortMapping } from '../../state/event.ts';

/** Returns copies; the requests are left as they are. Applying it twice changes nothing more. */
export function innerMappings(mappings: readonly (PortMapping | PortRequest)[]): PortRequest[] {
  return mappings.map((mapping) => ({
    ...mapping,
    host_ip: '',
    outer_ip: ('outer_ip' in mapping ? mapping.outer_ip : undefined) ?? mapping.host_ip ?? '',
  }));
}
