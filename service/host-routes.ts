/**
 * The host's routing policy, read for networks: what a new subnet has to keep off, and what has come to lie over one.
 *
 * Guarantees: changes nothing. Only routes that touch the addresses in question leave the native dump, so that a table with
 * all of the internet in it costs no memory here.
 * Limits: the daemon's own outside. A moment: a VPN that comes up afterwards is found by the next look.
 */
import { bridgeAlias } from '../effects/bridge.ts';
import type { Kernel } from '../effects/kernel.ts';
import { inTheWayOf, obstaclesOf, obstaclesTo, type Obstacle } from '../machines/plan/host-routes.ts';
import { isKernelError, type Outside, type Rule } from '../native/index.ts';
import type { NetworkDefinition } from '../state/network.ts';
import type { Check } from './doctor.ts';

/** The host's specific routes that overlap with these subnets, without those through our own bridges. */
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

/** A subnet as native dumps of routes are told of it. */
export function areaOf(subnet: string): { destination: string; prefix: number } {
  const [destination = '', prefix = ''] = subnet.split('/');
  return { destination, prefix: Number(prefix) };
}

/** A kernel without policy routing (CONFIG_IP_MULTIPLE_TABLES) has no rules. */
export async function rulesOf(native: Outside): Promise<Rule[]> {
  try {
    return await native.rules();
  } catch (error) {
    if (isKernelError(error) && error.code === 'EOPNOTSUPP') return [];
    throw error;
  }
}

/** For `doctor`: networks that something else on this machine has a route into. */
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
