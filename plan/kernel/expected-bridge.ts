/**
 * Compares a network with the kernel of its outside, for the watch on drift.
 *
 * Guarantees: pure; the terms are those of native's dumps. There is one difference per object: if a bridge is missing, its
 * addresses and ports are not listed too.
 * Limits: compares only what the definition says; effects/ruleset/ruleset-compare.ts compares rules. A missing member is reported for
 * its container, not here.
 */
import type { Attachment, Difference } from '../../state/container.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { MAIN_TABLE, type AddressSeen, type Dump, type LinkSeen, type RouteSeen } from './expected.ts';
import { ETHERNET_MTU } from '../networks/mtu.ts';
import { bridgeMac, compareNeighbours, knownOutside } from '../addresses/neighbours.ts';
import { withGateways } from '../networks/network.ts';
import { isUnmanaged } from '../networks/unmanaged.ts';

/** A container's host link on the network, the alias that marks it as ours, and the container's addresses and MAC. */
export type Member = Pick<Attachment, 'hostLink' | 'alias' | 'addresses' | 'mac'>;

const LOCAL_TABLE = 255;

export function compareBridge(
  definition: NetworkDefinition,
  alias: string,
  members: readonly Member[],
  { links, addresses, routes, neighbours }: Dump,
): Difference[] {
  const { name: network, id, network_interface: bridge, subnets, options } = definition;
  const difference = (kind: 'link' | 'address' | 'route', object: string, problem: Difference['problem']) => ({
    kind,
    object,
    network,
    problem,
  });
  const link = links.find(({ name }) => name === bridge);
  if (link === undefined) return [difference('link', bridge, 'missing')];
  const ports = portsOf(members, links);
  const astray = ports.flatMap((port) => {
    if (port.link.master !== link.index) {
      return [difference('link', `master ${bridge} on ${port.hostLink}`, 'changed')];
    }
    return port.link.up ? [] : [difference('link', `up on ${port.hostLink}`, 'changed')];
  });
  // Everything else of such a bridge is up to its owner.
  if (isUnmanaged(definition)) return astray;
  // Somebody else has taken the name, so the bridge itself is missing.
  if (link.alias !== alias) return [difference('link', `alias ${alias} on ${bridge}`, 'changed')];
  const found: Difference[] = [];
  if (link.mac !== bridgeMac(id)) found.push(difference('link', `mac ${bridgeMac(id)} on ${bridge}`, 'changed'));
  if (link.mtu !== Number(options.mtu ?? ETHERNET_MTU)) {
    found.push(difference('link', `mtu ${options.mtu ?? ETHERNET_MTU} on ${bridge}`, 'changed'));
  }
  if (!link.up) found.push(difference('link', `up on ${bridge}`, 'changed'));
  for (const { subnet, gateway } of withGateways(definition)) {
    const [destination = '', length = ''] = subnet.split('/');
    const prefix = Number(length);
    if (!has(addresses, link, gateway, prefix)) {
      found.push(difference('address', `${gateway}/${prefix} on ${bridge}`, 'missing'));
    } else if (link.up && !leads(routes, link, destination, prefix, MAIN_TABLE)) {
      found.push(difference('route', `${subnet} on ${bridge}`, 'missing'));
    }
  }
  const v6 = subnets.some(({ subnet }) => subnet.includes(':'));
  if (v6 && link.up && !leads(routes, link, '::1', 128, LOCAL_TABLE)) {
    found.push(difference('route', `::1 on ${bridge}`, 'missing'));
  }
  // A link that is down has forgotten its neighbours; a link without an address has forgotten those of its family.
  const has4 = addresses.some((seen) => seen.link === link.index && !seen.address.includes(':'));
  const known = link.up ? ports.flatMap(knownOutside).filter(({ address }) => has4 || address.includes(':')) : [];
  return [...found, ...astray, ...compareNeighbours(known, link, neighbours, network)];
}

/** Returns the members that exist, each with its link. */
function portsOf(members: readonly Member[], links: readonly LinkSeen[]): (Member & { link: LinkSeen })[] {
  const byName = new Map(links.map((link) => [link.name, link]));
  return members.flatMap((member) => {
    const link = byName.get(member.hostLink);
    return link?.alias === member.alias ? [{ ...member, link }] : [];
  });
}

function has(addresses: readonly AddressSeen[], link: LinkSeen, address: string, prefix: number): boolean {
  return addresses.some((seen) => seen.link === link.index && seen.address === address && seen.prefix === prefix);
}

function leads(routes: readonly RouteSeen[], link: LinkSeen, to: string, prefix: number, table: number): boolean {
  return routes.some(
    (seen) => seen.link === link.index && seen.destination === to && seen.prefix === prefix && seen.table === table,
  );
}
