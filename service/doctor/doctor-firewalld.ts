/**
 * Checks of `doctor`: does firewalld run here, and which networks does it judge by another zone than the one that accepts all?
 *
 * Guarantees: changes nothing.
 * Limits: does not read what zones allow, nor sources of zones that are MAC addresses, sets, or have an IPv4 mask. A network that
 * firewalld has refused is shown by the machine that repeats the request ("unfinished").
 */
import { lookAtZones } from '../../effects/firewall/firewalld.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { toFault } from '../../effects/effect.ts';
import { sourcesOver, TRUSTED, zoneOf, type ZonesSeen } from '../../plan/networks/firewalld.ts';
import { isUnmanaged } from '../../plan/networks/unmanaged.ts';
import { FAULTS } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Check } from '../../state/answers/doctor.ts';

export async function firewalldChecks(kernel: Kernel, networks: readonly NetworkDefinition[]): Promise<Check[]> {
  const check = (text: string) => ({ name: 'firewalld', ok: true, severity: 'note', text }) as const;
  let seen: ZonesSeen | null;
  try {
    seen = await lookAtZones(kernel)({ outside: null, bound: false, leaving: [] });
  } catch (error) {
    const { code, message } = toFault(error, 'doctor');
    return [
      {
        ...check(`firewalld runs, and does not answer: ${message}`),
        ok: false,
        severity: 'warning',
        hint: FAULTS[code][1],
      },
    ];
  }
  if (seen === null) return [check('firewalld does not run here')];
  const { zones } = seen;
  const ours = networks.filter((network) => !isUnmanaged(network));
  const elsewhere = ours.flatMap(({ name, network_interface: bridge, subnets }) => {
    const zone = zoneOf({ zones }, bridge);
    const all = subnets.map(({ subnet }) => subnet);
    return [
      ...(zone === null ? [] : [{ name, zone, kind: 'interface', what: bridge }]),
      ...sourcesOver({ zones }, all).map(({ zone: of, source }) => ({ name, zone: of, kind: 'source', what: source })),
    ].filter((one) => one.zone !== TRUSTED);
  });
  if (elsewhere.length === 0) {
    return [check(`firewalld runs, and has the bridges of networks that are up in its zone ${TRUSTED}`)];
  }
  return elsewhere.map(({ name, zone, kind, what }) => ({
    ...check(`firewalld judges network ${name} by its zone ${zone}, into which somebody has put the ${kind} ${what}`),
    ok: false,
    hint: `it stays there; if that is not meant: firewall-cmd --zone=${zone} --remove-${kind}=${what}`,
  }));
}
