/**
 * Compares the rules, routes and switches that the forwarder sets in a container's namespace, so that clients keep their
 * addresses (native/forwarder/keep.h), with a dump of the namespace.
 *
 * Guarantees: pure. A family without rule and route is no difference: the kernel or the rights of the daemon did not allow
 * them, and clients have another address there.
 * Limits: so the removal of both is not noticed.
 */
import type { Difference } from '../../state/container.ts';
import type { RouteSeen } from './expected.ts';

/** The mark of keep.h, and the table that marked packets use. */
export const KEPT_TABLE = 0x636c6561;
const PRIORITY = 99;

/** The switches that give the mark to accepted connections, and (by family) to answers that no socket sends. */
const ACCEPT = 'net/ipv4/tcp_fwmark_accept';
const REFLECT = { 4: 'net/ipv4/fwmark_reflect', 6: 'net/ipv6/fwmark_reflect' } as const;
export const KEPT_SWITCHES = [ACCEPT, REFLECT[4], REFLECT[6]];

export interface KeptSeen {
  rules: readonly { family: 4 | 6; priority: number; table: number }[];
  /** The routes of the table. */
  routes: readonly Pick<RouteSeen, 'destination' | 'prefix' | 'type'>[];
  /** By the keys of KEPT_SWITCHES. */
  switches: ReadonlyMap<string, string | null>;
}

/** `network`: the network whose repair restores it. */
export function compareKeptSources({ rules, routes, switches }: KeptSeen, network: string | null): Difference[] {
  const missing = { network, problem: 'missing' } as const;
  const kept = ([4, 6] as const).filter((family) => {
    const hasRule = rules.some((rule) => rule.family === family && isKept(rule));
    return hasRule || routes.some((route) => leadsHome(route, family));
  });
  const found = kept.flatMap((family): Difference[] => {
    const of = family === 4 ? 'ip' : 'ip -6';
    const mark = `0x${KEPT_TABLE.toString(16)}`;
    return [
      ...(rules.some((rule) => rule.family === family && isKept(rule))
        ? []
        : [
            {
              ...missing,
              kind: 'rule' as const,
              object: `${of} rule ${PRIORITY}: fwmark ${mark} lookup ${KEPT_TABLE}`,
            },
          ]),
      ...(routes.some((route) => leadsHome(route, family))
        ? []
        : [{ ...missing, kind: 'route' as const, object: `${of} route local default dev lo table ${KEPT_TABLE}` }]),
    ];
  });
  const off = [...(kept.length > 0 ? [ACCEPT] : []), ...kept.map((family) => REFLECT[family])].filter(
    (key) => switches.get(key) === '0',
  );
  return [
    ...found,
    ...off.map((key) => ({ kind: 'switch', object: `${key}=1`, network, problem: 'changed' }) as const),
  ];
}

const isKept = ({ priority, table }: { priority: number; table: number }): boolean =>
  priority === PRIORITY && table === KEPT_TABLE;

const leadsHome = ({ destination, prefix, type }: KeptSeen['routes'][number], family: 4 | 6): boolean =>
  type === 'local' && prefix === 0 && destination.includes(':') === (family === 6);
