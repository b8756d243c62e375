/**
 * Says what an overlay has in the kernel of each host beside its bridge: a link with this host's address in the overlay, and for each other
 * host a route by it. A VXLAN link has also a neighbour and an entry of its forwarding table for each, and one of WireGuard has a peer
 * (expected-wireguard.ts). The backend host-gw has routes alone.
 *
 * Guarantees: pure. Routes and neighbours carry OVERLAY_PROTOCOL. A peer whose share is not in the pool, is this host's own, or is
 * reached by another family than this host's address, has no entries: it could take traffic that is not its own.
 * Limits: the forwarding table keeps no protocol. The link is ours alone, so that each of its entries is ours.
 */
import type { Difference } from '../../state/container.ts';
import type { Overlay, Peer } from '../../state/overlay.ts';
import { familyOf, overlaps, parseSubnet, toText } from '../addresses/address.ts';
import { PERMANENT, type NeighbourSeen } from '../addresses/neighbours.ts';
import { ETHERNET_MTU } from '../networks/mtu.ts';
import type { Seen } from '../networks/unmanaged.ts';
import { compareWireguard, type Report, type WireguardSeen } from './expected-wireguard.ts';
import { MAIN_TABLE, type AddressSeen, type LinkSeen, type RouteSeen } from './expected.ts';

/** The protocol of our routes and neighbours (RTA_PROTO, NDA_PROTOCOL): a number that nobody else has (rt_protos of iproute2). */
export const OVERLAY_PROTOCOL = 207;

/** A definition that is an overlay's. */
export type OverlaySeen = Seen & { overlay: Overlay };

export const isOverlay = (definition: Seen): definition is OverlaySeen => definition.overlay !== undefined;

const PREFIXES = { vxlan: 'vx-', wireguard: 'wg-', 'host-gw': null } as const;

/** Returns the name of the link to other hosts; null for a backend without one. The name of its bridge may be as long as names get. */
export function tunnelName({ id, overlay }: Pick<Seen, 'id' | 'overlay'>): string | null {
  const prefix = overlay === undefined ? null : PREFIXES[overlay.backend];
  return prefix === null ? null : `${prefix}${id.slice(0, 10)}`;
}

/** An alias with the same parts as that of a bridge (drift-clues.ts). */
export const tunnelAlias = (instance: string, network: string): string => `cleat:${instance}:overlay:${network}`;

/** A route to the share of another host, by a gateway or by the link alone; or from a pool to nowhere. */
export interface ShareRoute {
  destination: string;
  prefix: number;
  gateway: string | null;
  type: string;
}

/** What leads to the other hosts. */
export interface PeerEntries {
  routes: ShareRoute[];
  neighbours: { address: string; mac: string }[];
  fdb: { mac: string; destination: string }[];
}

export const NO_ENTRIES: PeerEntries = { routes: [], neighbours: [], fdb: [] };

/** The metric of the routes of pools: any other route to the same addresses comes first. */
export const POOL_METRIC = 0xffff_0000;

const baseOf = (subnet: string): string => subnet.slice(0, subnet.indexOf('/'));
const prefixOf = (subnet: string): number => Number(subnet.slice(subnet.indexOf('/') + 1));

/** Returns the addresses of the link to other hosts: the first of each share, which no container has. */
export const vtepAddresses = ({ subnets }: Pick<Seen, 'subnets'>): string[] =>
  subnets.map(({ subnet }) => toText(parseSubnet(subnet).first, familyOf(subnet)));

/** Returns the peers that may have entries, each with those of its shares that may. */
export function usablePeers({ overlay, peers = [], subnets }: OverlaySeen): Peer[] {
  const pools = overlay.pools.map(parseSubnet);
  const own = subnets.map(({ subnet }) => parseSubnet(subnet));
  return peers
    .filter(
      ({ address, mac, public_key: key }) =>
        familyOf(address) === familyOf(overlay.address) &&
        address !== overlay.address &&
        mac !== overlay.mac &&
        (overlay.backend !== 'wireguard' || (key !== undefined && key !== overlay.public_key)),
    )
    .map((peer) => ({
      ...peer,
      subnets: peer.subnets.filter((text) => {
        const share = parseSubnet(text);
        const inPool = pools.some((pool) => overlaps(pool, share) && pool.prefix < share.prefix);
        return inPool && !own.some((mine) => overlaps(mine, share));
      }),
    }))
    .filter((peer) => peer.subnets.length > 0);
}

export function peerEntries(definition: OverlaySeen): PeerEntries {
  const { backend } = definition.overlay;
  const tunnel = backend === 'vxlan';
  const routes = new Map<string, ShareRoute>(
    definition.overlay.pools.map((pool) => [
      pool,
      { destination: baseOf(pool), prefix: prefixOf(pool), gateway: null, type: 'unreachable' },
    ]),
  );
  const neighbours = new Map<string, string>();
  const fdb = new Map<string, string>();
  for (const { address, mac, subnets } of usablePeers(definition)) {
    for (const subnet of subnets) {
      const base = baseOf(subnet);
      // With host-gw the other host's address is the gateway, which is none for the other family.
      if (backend === 'host-gw' && familyOf(subnet) !== familyOf(address)) continue;
      const gateway = { vxlan: base, 'host-gw': address, wireguard: null }[backend];
      routes.set(subnet, { destination: base, prefix: prefixOf(subnet), gateway, type: 'unicast' });
      if (tunnel) neighbours.set(base, mac);
    }
    if (tunnel) fdb.set(mac, address);
  }
  return {
    routes: [...routes.values()],
    neighbours: [...neighbours].map(([address, mac]) => ({ address, mac })),
    fdb: [...fdb].map(([mac, destination]) => ({ mac, destination })),
  };
}

/** What a look at the kernel has found. */
export interface VxlanSeen extends LinkSeen {
  vxlan: { vni: number; local: string; port: number; learning: boolean } | null;
}
type ShareRouteSeen = RouteSeen & { protocol: number; type: string };
type PeerNeighbourSeen = NeighbourSeen & { protocol: number };
type FdbSeen = PeerEntries['fdb'][number];
export interface OverlayDump {
  links: readonly VxlanSeen[];
  addresses: readonly AddressSeen[];
  routes: readonly ShareRouteSeen[];
  neighbours: readonly PeerNeighbourSeen[];
  /** The forwarding table of the VXLAN link. */
  fdb: readonly FdbSeen[];
  /** Holds what the link of WireGuard says of itself; null if it is not there, or does not answer. */
  wireguard: WireguardSeen | null;
}

/** True if a link is the VXLAN that the overlay needs: nothing of this can be changed while it exists. */
export const isVxlanOf = ({ overlay }: OverlaySeen, { vxlan }: Pick<VxlanSeen, 'vxlan'>): boolean =>
  vxlan !== null &&
  vxlan.vni === overlay.vni &&
  vxlan.port === overlay.port &&
  vxlan.local === overlay.address &&
  !vxlan.learning;

/** Returns the differences of the link and of everything that leads to other hosts. */
export function compareOverlay(
  definition: OverlaySeen,
  alias: string,
  { links, addresses, routes, neighbours, fdb, wireguard }: OverlayDump,
): Difference[] {
  const { name: network, overlay } = definition;
  const wanted = peerEntries(definition);
  const report = (kind: Difference['kind'], object: string, problem: Difference['problem']): Difference => ({
    kind,
    object,
    network,
    problem,
  });
  const name = tunnelName(definition);
  if (name === null) return compareRoutes(wanted.routes, null, routes, overlay, report);
  const link = links.find((one) => one.name === name);
  if (link === undefined) return [report('link', name, 'missing')];
  if (link.alias !== alias) return [report('link', `alias ${alias} on ${name}`, 'changed')];
  const found: Difference[] = [];
  const isVxlan = overlay.backend === 'vxlan';
  if (isVxlan && !isVxlanOf(definition, link)) {
    found.push(report('link', `vni ${overlay.vni} at ${overlay.address} port ${overlay.port} on ${name}`, 'changed'));
  }
  const mtu = Number(definition.options.mtu ?? ETHERNET_MTU);
  if (isVxlan && link.mac !== overlay.mac) found.push(report('link', `mac ${overlay.mac} on ${name}`, 'changed'));
  if (link.mtu !== mtu) found.push(report('link', `mtu ${mtu} on ${name}`, 'changed'));
  if (!link.up) return [...found, report('link', `up on ${name}`, 'changed')];
  for (const address of vtepAddresses(definition)) {
    if (!hasAddress(addresses, link, address)) found.push(report('address', `${address} on ${name}`, 'missing'));
  }
  return [
    ...found,
    ...compareRoutes(wanted.routes, link, routes, overlay, report),
    ...compareNeighbourEntries(wanted.neighbours, link, neighbours, report),
    ...compareFdb(wanted.fdb, name, fdb, report),
    ...(isVxlan ? [] : compareWireguard(definition, usablePeers(definition), name, wireguard, report)),
  ];
}

/** True if a route is one of ours to another host of this overlay. */
export function isShareRoute(
  { link, protocol, destination, prefix, table }: ShareRouteSeen,
  vxlan: { index: number } | null,
  { pools }: Pick<Overlay, 'pools'>,
): boolean {
  if (protocol !== OVERLAY_PROTOCOL || table !== MAIN_TABLE) return false;
  if (vxlan !== null && link === vxlan.index) return true;
  return pools.some((pool) => overlaps(parseSubnet(pool), parseSubnet(`${destination}/${prefix}`)));
}

export const shareRouteText = ({ destination, prefix, gateway, type }: ShareRoute): string =>
  (type === 'unicast' ? '' : `${type} `) + `${destination}/${prefix}` + (gateway === null ? '' : ` via ${gateway}`);

function compareRoutes(
  wanted: readonly ShareRoute[],
  link: LinkSeen | null,
  seen: readonly ShareRouteSeen[],
  overlay: Overlay,
  report: Report,
): Difference[] {
  const ours = new Set(seen.filter((route) => isShareRoute(route, link, overlay)).map(shareRouteText));
  const asked = new Set(wanted.map(shareRouteText));
  return [
    ...[...asked].filter((text) => !ours.has(text)).map((text) => report('route', text, 'missing')),
    ...[...ours].filter((text) => !asked.has(text)).map((text) => report('route', `no ${text}`, 'changed')),
  ];
}

function compareNeighbourEntries(
  wanted: PeerEntries['neighbours'],
  { index, name }: LinkSeen,
  seen: readonly PeerNeighbourSeen[],
  report: Report,
): Difference[] {
  const there = new Map(seen.filter(({ link }) => link === index).map((one) => [one.address, one]));
  const asked = new Set(wanted.map(({ address }) => address));
  return [
    ...wanted.flatMap(({ address, mac }) => {
      const is = there.get(address);
      if (is?.mac === mac && is.state === PERMANENT && is.protocol === OVERLAY_PROTOCOL) return [];
      return [report('neighbour', `${address} at ${mac} on ${name}`, is === undefined ? 'missing' : 'changed')];
    }),
    ...[...there.values()]
      .filter(({ address, protocol }) => protocol === OVERLAY_PROTOCOL && !asked.has(address))
      .map(({ address }) => report('neighbour', `no ${address} on ${name}`, 'changed')),
  ];
}

function compareFdb(wanted: PeerEntries['fdb'], name: string, seen: readonly FdbSeen[], report: Report): Difference[] {
  const text = ({ mac, destination }: FdbSeen) => `${mac} at ${destination}`;
  const there = new Set(seen.map(text));
  const asked = new Set(wanted.map(text));
  return [
    ...[...asked].filter((one) => !there.has(one)).map((one) => report('neighbour', `${one} on ${name}`, 'missing')),
    ...[...there].filter((one) => !asked.has(one)).map((one) => report('neighbour', `no ${one} on ${name}`, 'changed')),
  ];
}

function hasAddress(addresses: readonly AddressSeen[], link: LinkSeen, address: string): boolean {
  const prefix = familyOf(address) === 4 ? 32 : 128;
  return addresses.some((seen) => seen.link === link.index && seen.address === address && seen.prefix === prefix);
}

/** True if one of these addresses, or destinations with prefix, is what an overlay has in the kernel. */
export function leadsTo(definition: Seen, gone: ReadonlySet<string>): boolean {
  if (!isOverlay(definition)) return false;
  const { pools } = definition.overlay;
  return [...vtepAddresses(definition), ...pools, ...usablePeers(definition).flatMap(({ subnets }) => subnets)].some(
    (one) => gone.has(one),
  );
}
