/**
 * Checks of `doctor`: which capabilities does the daemon have, and what can it not do without the missing ones?
 *
 * Guarantees: pure. Each missing capability is one failed check that says what does not work without it.
 * Limits: a daemon without the essential ones does not start at all (daemon.ts).
 */
import { capabilitiesFor, HELPER_NAMES, lacking, type Capability } from '../../effects/capabilities.ts';
import type { Check } from '../../state/answers/doctor.ts';

export function rightsChecks(missing: readonly Capability[] = lacking()): Check[] {
  if (missing.length === 0) {
    return [
      { name: 'capabilities', ok: true, severity: 'warning', text: 'the daemon has every capability that it uses' },
    ];
  }
  return missing.map((name) => ({
    name: 'capabilities',
    ok: false,
    severity: 'warning',
    text: `the daemon lacks CAP_${name}: ${without(name)}`,
    hint: 'give it to the daemon (CapabilityBoundingSet= of its unit, docs/systemd.md), and start it again',
  }));
}

function without(name: Capability): string {
  if (name === 'NET_BROADCAST') return 'what others change inside containers is not noticed, nor put back';
  const helpers = HELPER_NAMES.filter((helper) => capabilitiesFor(helper).includes(name)).join(', ');
  const besides = {
    NET_BIND_SERVICE: '; the forwarder cannot publish ports below 1024',
    DAC_READ_SEARCH: '; namespaces in directories of other users cannot be used',
    SYS_PTRACE: '; namespaces of processes of other users cannot be used, and who holds a port is not known',
  } as Partial<Record<Capability, string>>;
  return `${helpers} cannot be started${besides[name] ?? ''}`;
}
