/**
 * Checks of `doctor`: the drift of shared objects, and machines whose repair has not succeeded yet.
 *
 * Guarantees: pure. A container's own drift is shown with the container (`ps`, `inspect`).
 */
import type { Drift } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { Check } from '../../state/answers/doctor.ts';

export function driftChecks(
  present: readonly Drift[],
  troubles: readonly { outside: string | null; what: string; fault: Fault }[],
): Check[] {
  const drift = present.map(({ kind, object, network }): Check => ({
    name: 'drift',
    ok: false,
    severity: 'warning',
    text: `${kind} ${object}${network === null ? '' : ` of network ${network}`} is not as it should be, and is left so`,
    hint: `policy: start the daemon with --drift ${kind}=repair to have it put back`,
  }));
  const stuck = troubles.map(({ outside, what, fault }): Check => ({
    name: 'unfinished',
    ok: false,
    severity: 'error',
    text: `${what}${outside === null ? '' : ` in ${outside}`}: ${fault.message} (${fault.code})`,
    hint: 'tried again by itself; mend what the message names',
  }));
  if (drift.length + stuck.length > 0) return [...drift, ...stuck];
  return [{ name: 'drift', ok: true, severity: 'warning', text: 'bridges and rules are as they should be' }];
}
