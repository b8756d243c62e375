/**
 * Checks of `doctor`: whether the bridges are there that unmanaged networks are on.
 *
 * Guarantees: changes nothing.
 * Limits: the daemon's own outside.
 */
import type { Kernel } from '../effects/kernel.ts';
import { lookAtBridge } from '../effects/unmanaged-bridge.ts';
import { isUnmanaged } from '../machines/plan/unmanaged.ts';
import type { NetworkDefinition } from '../state/network.ts';
import type { Check } from './doctor.ts';

/** None where no network is unmanaged. */
export async function bridgeChecks(kernel: Kernel, networks: readonly NetworkDefinition[]): Promise<Check[]> {
  const { kernel: native } = kernel.outside(null);
  const checks: Check[] = [];
  for (const { name, network_interface: bridge } of networks.filter(isUnmanaged)) {
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
