/**
 * From a change that is asked for to the whole definition that follows from it.
 *
 * Guarantees: pure; what is not named stays as it is; subnets are only added, and overlap nothing. A change that changes
 * nothing gives the same object back, so that asking twice does the work once.
 * Limits: whether a gateway of a route can be reached is for the kernel to say, and it says so at the first container.
 */
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition, NetworkUpdate, Subnet } from '../../state/network.ts';
import {
  completeSubnet,
  takenSubnets,
  tooSmall,
  uniqueLocal,
  type CompleteSubnet,
  type Surroundings,
} from './network.ts';

export function planUpdate(
  definition: NetworkDefinition,
  update: NetworkUpdate,
  around: Pick<Surroundings, 'networks' | 'routes'>,
): { definition: NetworkDefinition } | { fault: Fault } {
  const present = (wanted: Subnet) =>
    definition.subnets.some(
      ({ subnet, gateway }) => subnet === wanted.subnet && gateway === (wanted.gateway ?? gateway),
    );
  const wanted = (update.subnets ?? []).filter((subnet) => !present(subnet));
  if (update.ipv6_enabled === true && ![...definition.subnets, ...wanted].some(isV6)) {
    wanted.push({ subnet: uniqueLocal(definition.id) });
  }
  const used = takenSubnets(around);
  const added: CompleteSubnet[] = [];
  for (const subnet of wanted) {
    const complete = completeSubnet(subnet, used, added);
    if ('fault' in complete) return complete;
    added.push(complete.subnet);
  }

  const subnets = [...definition.subnets, ...added];
  const next: NetworkDefinition = {
    ...definition,
    subnets,
    ipv6_enabled: subnets.some(isV6),
    options: { ...definition.options, ...given(update.options ?? {}) },
    routes: update.routes ?? definition.routes,
    network_dns_servers: update.network_dns_servers ?? definition.network_dns_servers,
  };
  const small = tooSmall(next);
  if (small !== null) return small;
  return { definition: same(definition, next) ? definition : next };
}

const isV6 = ({ subnet }: Subnet): boolean => subnet.includes(':');

/** Without keys that are there and undefined. */
function given<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

function same(a: NetworkDefinition, b: NetworkDefinition): boolean {
  const changeable = ({ subnets, options, routes, network_dns_servers: servers }: NetworkDefinition) =>
    JSON.stringify([subnets.length, options.mtu, options.isolate, routes, servers]);
  return changeable(a) === changeable(b);
}
