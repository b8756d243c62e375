/**
 * Checks of `doctor`: do the packets of networks fit through the way out of the host?
 *
 * Guarantees: pure; changes nothing.
 * Limits: checks the first hop alone. Path MTU discovery finds a narrower link further on.
 */
import { ETHERNET_MTU } from '../../plan/networks/mtu.ts';
import { narrowest, type WayOut } from '../../plan/networks/way-out.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Check } from '../../state/answers/doctor.ts';

export function mtuChecks(networks: readonly NetworkDefinition[], wayOut: WayOut): Check[] {
  const wide = networks.flatMap((network): Check[] => {
    const { name, options } = network;
    const way = narrowest(network, wayOut);
    if (options.mtu === undefined || way === null || Number(options.mtu) <= way) return [];
    return [
      {
        name: 'mtu',
        ok: false,
        severity: 'warning',
        text:
          `network ${name} has an MTU of ${options.mtu}, and the way out one of ${way}: ` +
          'TCP is told so as it begins, larger packets of other protocols are lost where path MTU discovery is not heard',
        hint: `cleat network update ${name} --opt-drop mtu, so that it follows the way out, or --opt mtu=${way}`,
      },
    ];
  });
  if (wide.length > 0) return wide;
  const of = (family: 4 | 6) => (wayOut[family] === null ? [] : [`${wayOut[family]} for IPv${family}`]);
  const known = [...of(4), ...of(6)].join(', ');
  const none = `no route leads out: networks have an MTU of ${ETHERNET_MTU}`;
  const text = known === '' ? none : `the way out has an MTU of ${known}`;
  return [{ name: 'mtu', ok: true, severity: 'warning', text }];
}
