/**
 * Turns faults into errors of the CNI specification: a code that a runtime can act on, a message, details.
 *
 * Guarantees: pure; every fault has a code. The fault's own code is in the message, the hint in the details.
 * Limits: codes below 100 are the specification's (SPEC.md, "Error"). 100: refused, whoever asks again gets the same answer until
 * something has changed. 999, which is libcni's: it failed.
 */
import type { CniError } from '../../../state/answers/cni.ts';
import { FAULTS, type Fault, type FaultCode } from '../../../state/faults.ts';
import type { CniVersion } from '../../../state/fronts/cni.ts';

const UNSUPPORTED_FIELD = 2;
const UNKNOWN_CONTAINER = 3;
const BAD_VARIABLES = 4;
const BAD_CONFIGURATION = 7;
const TRY_AGAIN_LATER = 11;
const NOT_AVAILABLE = 50;
const REFUSED = 100;
const FAILED = 999;

const CODES: Partial<Record<FaultCode, number>> = {
  UNSUPPORTED: UNSUPPORTED_FIELD,
  BAD_REQUEST: BAD_CONFIGURATION,
  // The runtime need not clean up after a container that has nothing.
  NO_SUCH_CONTAINER: UNKNOWN_CONTAINER,
  NOT_A_NAMESPACE: BAD_VARIABLES,
  NO_SUCH_NETWORK: BAD_CONFIGURATION,
  NETWORK_EXISTS: BAD_CONFIGURATION,
  NETWORK_IN_USE: BAD_CONFIGURATION,
  ADDRESS_OUTSIDE_SUBNET: BAD_CONFIGURATION,
  SUBNET_RESERVED: BAD_CONFIGURATION,
  SUBNET_OVERLAPS: BAD_CONFIGURATION,
  // What others are about to give back, or to finish.
  LIMIT_REACHED: TRY_AGAIN_LATER,
  SUBNET_FULL: TRY_AGAIN_LATER,
  NO_FREE_PORT: TRY_AGAIN_LATER,
  ILLEGAL_EVENT: TRY_AGAIN_LATER,
  STATE_UNREACHABLE: TRY_AGAIN_LATER,
  SUPERSEDED: TRY_AGAIN_LATER,
  WAIT_TIMEOUT: TRY_AGAIN_LATER,
  DEADLINE: TRY_AGAIN_LATER,
  STATE_UNWRITABLE: TRY_AGAIN_LATER,
};

export function cniError(fault: Fault, command: string, version: CniVersion): CniError {
  return {
    cniVersion: version,
    code: command === 'STATUS' && !isCallers(fault) ? NOT_AVAILABLE : codeOf(fault),
    msg: `${fault.message} (${fault.code})`,
    details: FAULTS[fault.code][1],
  };
}

/** Returns true if the request itself is wrong. */
const isCallers = ({ code }: Fault): boolean => code === 'BAD_REQUEST' || code === 'UNSUPPORTED';

function codeOf({ code, issues = [] }: Fault): number {
  if (code === 'BAD_REQUEST' && issues[0]?.path.startsWith('env') === true) return BAD_VARIABLES;
  return CODES[code] ?? (FAULTS[code][0] < 500 ? REFUSED : FAILED);
}
