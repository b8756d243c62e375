/**
 * Checks of `doctor`: do the bridges of unmanaged networks exist?
 *
 * Guarantees: changes nothing.
 * Limits: checks the daemon's own outside only.
 */
import type { Kernel } from '../../effects/kernel.ts';
import { lookAtBridge } from '../../effects/links/unmanaged-bridge.ts';
import { isExternal } from '../../plan/networks/external.ts';
import { isUnmanaged } from '../../plan/networks/unmanaged.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Check } from '../../state/answers/doctor.ts';

/** Returns no checks if no network is unmanaged. */
export async function bridgeChecks(kernel: Kernel, networks: readonly NetworkDefinition[]): Promise<Check[]> {
  const { kernel: native } = kernel.outside(null);
  const checks: Check[] = [];
  for (const { name, network_interface: bridge } of networks.filter((one) => isUnmanaged(one) && !isExternal(one))) {
    const ok = (await lookAtBridge(native, bridge)) !== null;
    checks.push({
      name: 'bridge',
      ok,
      severity: 'warning',
      text: ok
        ? `network ${name} is unmanaged, and its bridge ${bridge} is there`
        : `network ${name} is unmanaged, and there is no bridge ${bridge}: its containers reach nobody by it, others are refused`,
      ...(ok ? {} : { hint: `ip link add ${bridge} type bridge, or whatever makes it on this machine` }),
    });
  }
  return checks;
}
