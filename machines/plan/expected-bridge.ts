/**
 * What a network means in the kernel of its outside, and where the kernel differs: for the watch on drift.
 *
 * Guarantees: pure; the terms are those of native's dumps. One difference per thing: of a bridge that is not there, its
 * addresses and ports are not listed too.
 * Limits: what the definition says and nothing else; rules are effects/ruleset-compare.ts. A member that is not there is
 * its container's affair.
 */
import type { Attachment, Difference } from '../../state/container.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { MAIN_TABLE, type AddressSeen, type Dump, type LinkSeen, type RouteSeen } from './expected.ts';
import { ETHERNET_MTU } from './mtu.ts';
import { bridgeMac, compareNeighbours, knownOutside } from './neighbours.ts';
import { isUnmanaged } from './unmanaged.ts';

/** A host link of a container on the network, the name that says it is ours, and who is behind it. */
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
  // All else about it is its owner's.
  if (isUnmanaged(definition)) return astray;
  // Somebody else has taken the name: what is missing is the bridge.
  if (link.alias !== alias) return [difference('link', `alias ${alias} on ${bridge}`, 'changed')];
  const found: Difference[] = [];
  if (link.mac !== bridgeMac(id)) found.push(difference('link', `mac ${bridgeMac(id)} on ${bridge}`, 'changed'));
  if (link.mtu !== Number(options.mtu ?? ETHERNET_MTU)) {
    found.push(difference('link', `mtu ${options.mtu ?? ETHERNET_MTU} on ${bridge}`, 'changed'));
  }
  if (!link.up) found.push(difference('link', `up on ${bridge}`, 'changed'));
  for (const { subnet, gateway } of subnets) {
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
  // A link that is down has forgotten them, one without an address those of its family.
  const has4 = addresses.some((seen) => seen.link === link.index && !seen.address.includes(':'));
  const known = link.up ? ports.flatMap(knownOutside).filter(({ address }) => has4 || address.includes(':')) : [];
  return [...found, ...astray, ...compareNeighbours(known, link, neighbours, network)];
}

/** The members that are there, each with its link. */
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
