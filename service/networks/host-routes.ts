/**
 * Reads the host's routing policy for networks: the routes that a new subnet must avoid, and those that overlap with an existing
 * one.
 *
 * Guarantees: changes nothing. Only routes that touch the addresses in question leave the native dump, so that a full internet
 * routing table costs no memory here.
 * Limits: reads the daemon's own outside, at one moment. The next look finds a VPN that comes up afterwards.
 */
import { bridgeAlias } from '../../effects/links/bridge.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { inTheWayOf, obstaclesOf, obstaclesTo, type Obstacle } from '../../plan/networks/host-routes.ts';
import { isKernelError, type Outside, type Rule } from '../../native/index.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Check } from '../../state/answers/doctor.ts';

/** Returns the host's specific routes that overlap with these subnets, without those through our own bridges. */
export async function hostObstacles(
  kernel: Kernel,
  networks: readonly NetworkDefinition[],
  subnets: readonly string[],
): Promise<Obstacle[]> {
  const { kernel: native } = kernel.outside(null);
  const [links, rules, routes] = await Promise.all([
    native.links(),
    rulesOf(native),
    native.routes(undefined, subnets.map(areaOf)),
  ]);
  const bridges = new Set(networks.map(({ name }) => bridgeAlias(kernel.instance.name, name)));
  const ours = new Set(links.filter(({ alias }) => bridges.has(alias)).map(({ index }) => index));
  return obstaclesOf(rules, routes, new Map(links.map(({ index, name }) => [index, name])), ours);
}

/** Returns a subnet in the form that native dumps of routes expect. */
export function areaOf(subnet: string): { destination: string; prefix: number } {
  const [destination = '', prefix = ''] = subnet.split('/');
  return { destination, prefix: Number(prefix) };
}

/** Returns the rules of the routing policy. A kernel without policy routing (CONFIG_IP_MULTIPLE_TABLES) has none. */
export async function rulesOf(native: Outside): Promise<Rule[]> {
  try {
    return await native.rules();
  } catch (error) {
    if (isKernelError(error) && error.code === 'EOPNOTSUPP') return [];
    throw error;
  }
}

/** Checks of `doctor`: networks that a foreign route on this machine leads into. */
export async function routeChecks(kernel: Kernel, networks: readonly NetworkDefinition[]): Promise<Check[]> {
  const all = networks.flatMap((network) => network.subnets.map(({ subnet }) => ({ network, subnet })));
  const obstacles = await hostObstacles(
    kernel,
    networks,
    all.map(({ subnet }) => subnet),
  );
  const overlaps = all.flatMap(({ network, subnet }): Check[] => {
    const { name } = network;
    const [first, ...more] = inTheWayOf(subnet, obstaclesTo(network, obstacles));
    if (first === undefined) return [];
    const others = more.length === 0 ? '' : ` and ${more.length} more`;
    return [
      {
        name: 'routes',
        ok: false,
        severity: 'warning',
        text: `network ${name}: its subnet ${subnet} overlaps with ${first.of}${others}`,
        hint:
          'containers or what is behind that route may be out of reach: take the route away, or give the network another ' +
          `subnet (cleat network update ${name} --subnet-drop ${subnet} --subnet CIDR)`,
      },
    ];
  });
  if (overlaps.length > 0) return overlaps;
  return [{ name: 'routes', ok: true, severity: 'warning', text: 'no route of the host leads into a network' }];
}
