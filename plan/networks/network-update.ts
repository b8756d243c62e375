/**
 * Turns a requested change into the complete new definition.
 *
 * Guarantees: pure; fields that the request does not name stay; subnets overlap no other network, and at least one is left. A
 * change without effect returns the same object, so that repeating a request does the work once.
 * Limits: the network's machine finds the containers whose addresses do not fit the new definition (lease.ts, displaced). The
 * kernel checks if the gateway of a route can be reached, when the first container gets it.
 */
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition, NetworkUpdate, Subnet } from '../../state/network.ts';
import { obstaclesTo } from './host-routes.ts';
import {
  chooseSubnet,
  completeSubnets,
  impossibleOptions,
  isV6,
  warningsOf,
  type Plan,
  type Surroundings,
} from './network.ts';
import { refuse } from '../refusal.ts';
import { uselessAddresses } from '../addresses/special-addresses.ts';
import { isOnParent, rivalsOf } from './parent.ts';
import { isUnmanaged, subnetUnknown } from './unmanaged.ts';

export function planUpdate(
  definition: NetworkDefinition,
  update: NetworkUpdate,
  around: Pick<Surroundings, 'networks' | 'routes' | 'pools'>,
): Plan | { fault: Fault } {
  const useless = uselessAddresses(update);
  if (useless !== null) return useless;
  const others = around.networks.filter(({ id }) => id !== definition.id);
  const changed = changedSubnets(definition, update, { ...around, networks: others });
  if ('fault' in changed) return changed;
  const { subnets } = changed;
  const next: NetworkDefinition = {
    ...definition,
    subnets,
    ipv6_enabled: subnets.some(isV6),
    options: changedOptions(definition.options, update.options ?? {}),
    routes: update.routes ?? definition.routes,
    network_dns_servers: update.network_dns_servers ?? definition.network_dns_servers,
  };
  const impossible = impossibleOptions(next);
  if (impossible !== null) return impossible;
  const had = new Set(definition.subnets.map(({ subnet }) => subnet));
  const added = (update.subnets ?? []).filter(({ subnet }) => !had.has(subnet));
  return {
    definition: same(definition, next) ? definition : next,
    warnings: warningsOf(
      added.map(({ subnet }) => ({ subnet })),
      obstaclesTo(definition, around.routes),
    ),
  };
}

function changedSubnets(
  definition: NetworkDefinition,
  { subnets: named = [], remove_subnets: removed = [], ipv6_enabled: ipv6 }: NetworkUpdate,
  around: Pick<Surroundings, 'networks' | 'routes' | 'pools'>,
): { subnets: Subnet[] } | { fault: Fault } {
  if (named.length === 0 && removed.length === 0 && ipv6 === undefined) return definition;
  if (definition.ipam_options.driver === 'none') {
    return refuse('BAD_REQUEST', `network ${definition.name} has no subnets: its ipam driver is none`);
  }
  const unknown = removed.find((cidr) => !definition.subnets.some(({ subnet }) => subnet === cidr));
  if (unknown !== undefined) return refuse('BAD_REQUEST', `network ${definition.name} has no subnet ${unknown}`);
  const torn = named.find(({ subnet }) => removed.includes(subnet));
  if (torn !== undefined) return refuse('BAD_REQUEST', `subnet ${torn.subnet} is to be changed, and to be removed`);
  if (ipv6 === false && named.some(isV6)) {
    return refuse('BAD_REQUEST', 'an IPv6 subnet is to be added, and IPv6 to be off');
  }
  const wanted: Subnet[] = definition.subnets.filter(
    (subnet) => !removed.includes(subnet.subnet) && !(ipv6 === false && isV6(subnet)),
  );
  for (const { lease_range: range, ...given } of named) {
    const at = wanted.findIndex(({ subnet }) => subnet === given.subnet);
    const { lease_range: before, ...had }: Subnet = wanted[at] ?? given;
    const lease_range = range === null ? undefined : (range ?? before);
    const subnet = { ...had, ...given, ...(lease_range === undefined ? {} : { lease_range }) };
    wanted.splice(at === -1 ? wanted.length : at, 1, subnet);
  }
  if (ipv6 === true && !wanted.some(isV6)) {
    if (isUnmanaged(definition)) return { fault: subnetUnknown(definition.name, 'IPv6 subnet') };
    const chosen = chooseSubnet(6, around, definition.id);
    if ('fault' in chosen) return chosen;
    wanted.push(chosen);
  }
  if (wanted.length === 0) return refuse('BAD_REQUEST', `network ${definition.name} would be left without a subnet`);
  const fill = !(isOnParent(definition) && definition.internal);
  return completeSubnets(wanted, rivalsOf(definition, around.networks), fill);
}

/** Null removes an option, so that its default applies again. */
function changedOptions(
  options: NetworkDefinition['options'],
  update: NonNullable<NetworkUpdate['options']>,
): NetworkDefinition['options'] {
  const given = Object.entries(update).filter(([, value]) => value !== undefined);
  const next = Object.entries({ ...options, ...Object.fromEntries(given) }).filter(([, value]) => value !== null);
  return Object.fromEntries(next) as NetworkDefinition['options'];
}

function same(a: NetworkDefinition, b: NetworkDefinition): boolean {
  const changeable = ({ subnets, options, routes, network_dns_servers: servers }: NetworkDefinition) =>
    JSON.stringify([
      subnets.map(({ subnet, gateway, lease_range: range }) => [subnet, gateway, range?.start_ip, range?.end_ip]),
      options,
      routes,
      servers,
    ]);
  return changeable(a) === changeable(b);
}
