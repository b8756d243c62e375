/**
 * Checks of `doctor`: does a foreign firewall drop what containers send and receive?
 *
 * nf_tables runs all tables: a packet that one of them drops is lost, whatever our table decides. Docker, ufw and many
 * handwritten rulesets have a forward chain that drops by default.
 * Guarantees: changes nothing.
 * Limits: a table whose rules mention a bridge is assumed to let its packets pass. Not found are rules that drop or reject in a
 * chain that accepts by default (firewalld's have a check of their own, doctor-firewalld.ts), and rules of iptables-legacy, which
 * are outside of nf_tables.
 */
import type { Kernel } from '../../effects/kernel.ts';
import { isUnmanaged } from '../../plan/networks/unmanaged.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Check } from '../../state/answers/doctor.ts';

export async function firewallChecks(kernel: Kernel, networks: readonly NetworkDefinition[]): Promise<Check[]> {
  const out = networks.filter((network) => !network.internal && !isUnmanaged(network));
  const drops = await kernel.outside(null).kernel.nftForwardDrops(out.map((network) => network.network_interface));
  const found = drops.flatMap(({ family, table, chain, named }): Check[] => {
    const cut = out.filter((network) => !named.includes(network.network_interface) && has(network, family));
    if (cut.length === 0) return [];
    const insert = insertion(family, table, chain);
    const rules = cut.flatMap(({ network_interface: bridge }) => [insert('from', bridge), insert('to', bridge)]);
    return [
      {
        name: 'forward',
        ok: false,
        severity: 'warning',
        text:
          `chain ${chain} of table ${family} ${table} drops what is forwarded, and no rule of that table mentions ` +
          `${cut.map(({ name, network_interface: bridge }) => `${bridge} (network ${name})`).join(', ')}: ` +
          'containers there reach nothing outside, and are not reached',
        hint: `let them pass, as whoever made that table has it done for good: ${rules.join('; ')}`,
      },
    ];
  });
  if (found.length > 0) return found;
  return [
    { name: 'forward', ok: true, severity: 'warning', text: 'no other firewall drops what is forwarded by default' },
  ];
}

function has({ subnets }: NetworkDefinition, family: 'ip' | 'ip6' | 'inet'): boolean {
  return family === 'inet' || subnets.some(({ subnet }) => subnet.includes(':') === (family === 'ip6'));
}

/** Returns the command in the syntax of the program that owns such a table. iptables-nft names its tables and chains like this. */
function insertion(family: 'ip' | 'ip6' | 'inet', table: string, chain: string) {
  const isIptables = family !== 'inet' && table === 'filter' && chain === 'FORWARD';
  const program = family === 'ip6' ? 'ip6tables' : 'iptables';
  return (way: 'from' | 'to', bridge: string): string =>
    isIptables
      ? `${program} -I FORWARD ${way === 'from' ? '-i' : '-o'} ${bridge} -j ACCEPT`
      : `nft insert rule ${family} ${table} ${chain} ${way === 'from' ? 'iifname' : 'oifname'} ${bridge} accept`;
}
