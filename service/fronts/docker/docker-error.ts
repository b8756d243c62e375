/**
 * Says a fault in Docker's words, with Docker's status: {"message": "..."}.
 *
 * Guarantees: pure, and total over the faults. Where Docker's daemon has a sentence for the same refusal, clients and scripts find
 * that sentence; the rest is cleat's own, with the status of state/faults.ts.
 * Limits: Docker's answer has no place for a code or a hint.
 */
import type { DockerError } from '../../../state/answers/docker.ts';
import { FaultError, FAULTS, type Fault, type FaultCode } from '../../../state/faults.ts';
import type { Refusal } from '../../requests/refusals.ts';

/** The statuses of moby's errdefs where they are not cleat's: what is in the way is "forbidden" there, not a conflict. */
const STATUS: Partial<Record<FaultCode, number>> = {
  NETWORK_IN_USE: 403,
  ALREADY_CONNECTED: 403,
  ADDRESS_TAKEN: 403,
  SUBNET_OVERLAPS: 403,
  NOT_CONNECTED: 500,
};

export const asDocker: Refusal<DockerError> = ({ code, message }) => ({
  status: STATUS[code] ?? FAULTS[code][0],
  body: { message },
});

/** What a request is about, as its client says it. */
export interface About {
  network: string;
  container?: string;
}

const WORDS: Partial<Record<FaultCode, (fault: Fault, about: About) => string>> = {
  NETWORK_EXISTS: (_fault, { network }) => `network with name ${network} already exists`,
  NETWORK_IN_USE: ({ owner = '' }, { network }) =>
    `error while removing network: network ${network} has active endpoints (${owner})`,
  NO_SUCH_NETWORK: ({ message }, { network }) =>
    message.startsWith('more than one')
      ? `network ${network} is ambiguous: ${message}`
      : `network ${network} not found`,
  ALREADY_CONNECTED: (_fault, { network, container }) =>
    `endpoint with name ${container} already exists in network ${network}`,
  NOT_CONNECTED: (_fault, { network, container }) => `container ${container} is not connected to network ${network}`,
  SUBNET_OVERLAPS: ({ message }) =>
    `invalid pool request: Pool overlaps with other one on this address space: ${message}`,
  NO_FREE_SUBNET: ({ message }) => `all predefined address pools have been fully subnetted: ${message}`,
  ADDRESS_TAKEN: ({ message }) => `Address already in use: ${message}`,
  ADDRESS_OUTSIDE_SUBNET: ({ message }) => `no configured subnet or ip-range contain the IP address: ${message}`,
  SUBNET_FULL: ({ message }) => `no available addresses on this pool: ${message}`,
};

/** Does a part of a request, whose fault then says it as Docker does. */
export async function inDockersWords<T>(about: About, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof FaultError)) throw error;
    const { fault } = error;
    throw FaultError.of({ ...fault, message: WORDS[fault.code]?.(fault, about) ?? fault.message });
  }
}
