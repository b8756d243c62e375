/**
 * Makes the errors of effects: requests that the kernel refused, and capabilities that the daemon lacks.
 *
 * Guarantees: changes nothing. Each error names its object. A helper is not started if the daemon could not change it to its
 * user, or not end it.
 * Limits: replies of rtnetlink only; other calls reject with their own error.
 */
import { capabilitiesFor, lacking, listed, type Helper } from './capabilities.ts';
import { FaultError, type Fault } from '../state/faults.ts';

/** Throws for the first reply that is not success. */
export function refuse(replies: readonly { errno: number; code: string }[], object: string): void {
  const failed = replies.find(({ errno }) => errno !== 0);
  if (failed === undefined) return;
  throw new FaultError('KERNEL', `rtnetlink ${object}: ${failed.code}`, {
    errno: failed.code,
    syscall: 'rtnetlink',
    object,
  });
}

export function stranger(name: string, alias: string): FaultError {
  const whose = alias === '' ? 'something else' : alias;
  return new FaultError('NAME_TAKEN_IN_KERNEL', `link ${name} exists and belongs to ${whose}`, {
    object: name,
    owner: whose,
  });
}

/** Throws if the daemon lacks a capability that starting this helper needs. */
export function requireFor(helper: Helper): void {
  const names = capabilitiesFor(helper).filter((name) => lacking().includes(name));
  if (names.length === 0) return;
  throw new FaultError('CAPABILITY_MISSING', `${helper} cannot be started: the daemon lacks ${listed(names)}`, {
    object: helper,
  });
}

/**
 * Returns true if bind(2) has refused a port because the daemon is a user's: it has the capability, where it is worth nothing. Root's
 * daemon that is refused lacks it.
 */
export const isForRootAlone = (errno: string | undefined): boolean =>
  errno === 'EACCES' && !lacking().includes('NET_BIND_SERVICE');

/** Returns the fault of a host port that the kernel gives to root alone. */
export function privileged(port: string, number: number): Fault {
  const message = `port ${port} is privileged: sysctl net.ipv4.ip_unprivileged_port_start=${number} would let users have it`;
  return { code: 'PORT_PRIVILEGED', message, errno: 'EACCES' };
}
