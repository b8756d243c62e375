/**
 * Checks of `doctor`: do the bridges of unmanaged networks exist, and the parents of those of other drivers?
 *
 * Guarantees: changes nothing.
 * Limits: checks the daemon's own outside only.
 */
import type { Kernel } from '../../effects/kernel.ts';
import { lookAtBridge } from '../../effects/links/unmanaged-bridge.ts';
import { isExternal } from '../../plan/networks/external.ts';
import { isOnParent } from '../../plan/networks/parent.ts';
import { isUnmanaged } from '../../plan/networks/unmanaged.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Check } from '../../state/answers/doctor.ts';

/** Returns no checks if no network is unmanaged. */
export async function bridgeChecks(kernel: Kernel, networks: readonly NetworkDefinition[]): Promise<Check[]> {
  const { kernel: native } = kernel.outside(null);
  const checks: Check[] = [];
  for (const network of networks.filter((one) => isUnmanaged(one) && !isExternal(one))) {
    const { name, driver, network_interface: link } = network;
    const ok = (await lookAtBridge(native, network)) !== null;
    const onParent = isOnParent(network);
    const [is, what] = onParent ? [`has driver ${driver}`, 'parent'] : ['is unmanaged', 'bridge'];
    const make = onParent ? '`ip link` lists the links' : `ip link add ${link} type bridge, or whatever makes it`;
    checks.push({
      name: what,
      ok,
      severity: 'warning',
      text: ok
        ? `network ${name} ${is}, and its ${what} ${link} is there`
        : `network ${name} ${is}, and there is no ${what} ${link}: its containers reach nobody by it, others are refused`,
      ...(ok ? {} : { hint: `${make} on this machine` }),
    });
  }
  return checks;
}
