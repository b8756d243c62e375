/**
 * The table that all networks of an outside share, and its forwarding switches.
 *
 * Guarantees: rules first, then forwarding; on the way out the other way round. The switches end as they were found.
 * Limits: interfaces that appear while the firewall is up keep what they were born with.
 */
import type { Switches } from '../machines/firewall.ts';
import type { Kernel } from './kernel.ts';
import { baseRules, removeTable } from './ruleset.ts';
import { writeIfThere } from './switches.ts';

interface Where {
  outside: string | null;
}

const FORWARDING = ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding'];

/** Every switch that raising may change, as it is now. */
export const readSwitches =
  (kernel: Kernel) =>
  async ({ outside }: Where): Promise<Switches> => {
    const { kernel: native } = kernel.outside(outside);
    // With forwarding on, accept_ra=1 stops accepting router advertisements, and a host that has its default route
    // from one would lose it (Documentation/networking/ip-sysctl.rst): those interfaces need 2.
    const links = await native.links();
    const keys = [...FORWARDING, ...links.map(({ name }) => `net/ipv6/conf/${name}/accept_ra`)];
    const values = await native.sysctlRead(keys);
    const switches: Record<string, string> = {};
    keys.forEach((key, i) => {
      const value = values[i];
      if (typeof value === 'string' && (FORWARDING.includes(key) || value === '1')) switches[key] = value;
    });
    return switches;
  };

export const raiseFirewall =
  (kernel: Kernel) =>
  async ({ outside, found }: Where & { found: Switches | null }): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    await native.nft(baseRules(kernel.instance.table));
    for (const key of Object.keys(found ?? {})) {
      if (key.endsWith('/accept_ra')) await writeIfThere(native, { [key]: '2' });
    }
    await native.sysctlWrite({ 'net/ipv4/ip_forward': '1' });
  };

export const lowerFirewall =
  (kernel: Kernel) =>
  async ({ outside, found }: Where & { found: Switches | null }): Promise<void> => {
    const native = kernel.outsideIfThere(outside)?.kernel;
    if (native === undefined) return;
    // ip_forward first: writing it resets the per-interface switches.
    for (const [key, value] of Object.entries(found ?? {})) await writeIfThere(native, { [key]: value });
    await native.nft(removeTable(kernel.instance.table));
  };
