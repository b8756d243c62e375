/**
 * Checks of `doctor`: whether somebody else's firewall drops what containers send and receive.
 *
 * nf_tables asks all tables: what one drops is gone, whatever ours says. Docker, ufw and many a handwritten ruleset have a
 * forward chain that drops by default.
 * Guarantees: changes nothing.
 * Limits: a table whose rules mention a bridge is taken to let it pass; rules that drop or reject in a chain that accepts by
 * default are not found (firewalld's have a check of their own, doctor-firewalld.ts), nor is what iptables-legacy keeps outside
 * of nf_tables.
 */
import type { Kernel } from '../effects/kernel.ts';
import { isUnmanaged } from '../machines/plan/unmanaged.ts';
import type { NetworkDefinition } from '../state/network.ts';
import type { Check } from './doctor.ts';

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

/** In the words of the program that has such a table: iptables-nft calls its tables and chains like this. */
function insertion(family: 'ip' | 'ip6' | 'inet', table: string, chain: string) {
  const isIptables = family !== 'inet' && table === 'filter' && chain === 'FORWARD';
  const program = family === 'ip6' ? 'ip6tables' : 'iptables';
  return (way: 'from' | 'to', bridge: string): string =>
    isIptables
      ? `${program} -I FORWARD ${way === 'from' ? '-i' : '-o'} ${bridge} -j ACCEPT`
      : `nft insert rule ${family} ${table} ${chain} ${way === 'from' ? 'iifname' : 'oifname'} ${bridge} accept`;
}
