/**
 * Compares an attachment with the kernel, for inspect, audit and the watch on drift.
 *
 * Guarantees: pure; the terms are those of native's dumps, so a dump shows objects as they were requested. There is one
 * difference per object: if a link is missing, its addresses and routes are not listed too. The order is the same each time.
 * Limits: compares what was requested, with the route that the kernel makes for each address, and nothing else: additions of
 * others are left alone. The dumps do not have a bridge port's flags (hairpin).
 */
import ipaddr from 'ipaddr.js';
import type { Attachment, Difference, Drift } from '../../state/container.ts';
import { ofCleat } from '../external/external.ts';
import { ETHERNET_MTU } from '../networks/mtu.ts';
import { hasParentsMac } from '../networks/parent.ts';
import { missingInside } from './expected-external.ts';
import { compareNeighbours, knownInside, type NeighbourSeen } from '../addresses/neighbours.ts';

/** The compared fields of native's Link, Address and Route. */
export interface LinkSeen {
  index: number;
  name: string;
  mac: string;
  mtu: number;
  up: boolean;
  master: number;
  alias: string;
}
export interface AddressSeen {
  link: number;
  address: string;
  prefix: number;
}
export interface RouteSeen {
  destination: string;
  prefix: number;
  gateway: string | null;
  link: number;
  metric: number;
  table: number;
  type: string;
}
/** The dump of a namespace. */
export interface Dump {
  links: readonly LinkSeen[];
  addresses: readonly AddressSeen[];
  routes: readonly RouteSeen[];
  neighbours: readonly NeighbourSeen[];
}

export interface ExpectedRoute {
  /** "0.0.0.0" or "::" with prefix 0 is the default route. */
  destination: string;
  prefix: number;
  gateway: string;
  metric: number;
}
export interface ExpectedInside {
  link: string;
  mac: string;
  mtu: number;
  addresses: { address: string; prefix: number }[];
  routes: ExpectedRoute[];
}
export interface ExpectedOutside {
  link: string;
  alias: string;
  /** The bridge that the link is a port of. */
  master: string;
  mtu: number;
}

export const MAIN_TABLE = 254;
/** The metric that IPv6 uses for metric 0 (IP6_RT_PRIO_USER). */
const IPV6_METRIC = 1024;
/** The metric of a route that has none configured (effects/links/address.ts). */
const ROUTE_METRIC = 100;

/** Returns the route that the kernel makes for each address, to its subnet. Its metrics are 0 and IP6_RT_PRIO_ADDRCONF. */
function connectedSubnets(addresses: Attachment['addresses']): Pick<RouteSeen, 'destination' | 'prefix' | 'metric'>[] {
  return addresses.flatMap(({ address, prefix }) => {
    const v6 = address.includes(':');
    if (prefix === (v6 ? 128 : 32)) return [];
    return {
      destination: (v6 ? ipaddr.IPv6 : ipaddr.IPv4).networkAddressFromCIDR(`${address}/${prefix}`).toString(),
      prefix,
      metric: v6 ? 256 : 0,
    };
  });
}

export function expectedInside(attachment: Attachment): ExpectedInside {
  const { link, mac, mtu, addresses, routes, defaultMetric } = attachment;
  const wanted: ExpectedRoute[] = [];
  for (const { gateway } of addresses) {
    if (gateway === null || defaultMetric === null) continue;
    const destination = gateway.includes(':') ? '::' : '0.0.0.0';
    wanted.push({ destination, prefix: 0, gateway, metric: metricOf(gateway, defaultMetric) });
  }
  for (const { destination, prefix, gateway, metric } of routes) {
    wanted.push({ destination, prefix, gateway, metric: metricOf(gateway, metric ?? ROUTE_METRIC) });
  }
  return {
    link,
    mac,
    mtu: mtu ?? ETHERNET_MTU,
    addresses: addresses.map(({ address, prefix }) => ({ address, prefix })),
    routes: withoutRivals(wanted, new Set()),
  };
}

export function expectedOutside({ hostLink, alias, bridge, mtu }: Attachment): ExpectedOutside {
  return { link: hostLink, alias, master: bridge, mtu: mtu ?? ETHERNET_MTU };
}

/** Returns the missing and the changed objects of these attachments of one container, in the container's namespace. */
export function compareInside(attachments: readonly Attachment[], dump: Dump): Difference[] {
  return [...compareOurs(ofCleat(attachments), dump), ...missingInside(attachments, dump)];
}

function compareOurs(attachments: readonly Attachment[], dump: Dump): Difference[] {
  const links = new Map(dump.links.map((link) => [link.name, link]));
  const main = dump.routes.filter(({ table }) => table === MAIN_TABLE);
  const taken = new Set<string>();
  // Every difference is reported under a network. One that belongs to no network is reported under the first.
  const lost = links.get('lo')?.up === false ? attachments.slice(0, 1) : [];
  const found = attachments.flatMap((attachment) => {
    const { network, child } = attachment;
    const expected = expectedInside(attachment);
    const routes = withoutRivals(expected.routes, taken);
    const link = links.get(expected.link);
    const on = (what: string) => `${what} on ${expected.link}`;
    const found: Difference[] = [];
    if (link === undefined) return [missing('link', expected.link, network)];
    // The link is not ours, so nothing else of it is compared. A veth has its alias in the outside.
    if (child !== undefined && link.alias !== attachment.alias)
      return [changed('link', on(`alias ${attachment.alias}`), network)];
    // The kernel changes it with that of the parent.
    const follows = child !== undefined && hasParentsMac(child);
    if (link.mac !== expected.mac && !follows) found.push(changed('link', on(`mac ${expected.mac}`), network));
    if (link.mtu !== expected.mtu) found.push(changed('link', on(`mtu ${expected.mtu}`), network));
    if (!link.up) found.push(changed('link', on('up'), network));
    const there = attachment.addresses.filter(({ address }) =>
      dump.addresses.some((seen) => seen.link === link.index && seen.address === address),
    );
    for (const { address, prefix } of expected.addresses) {
      const same = dump.addresses.filter((seen) => seen.link === link.index && seen.address === address);
      if (same.some((seen) => seen.prefix === prefix)) continue;
      const object = on(`${address}/${prefix}`);
      found.push(same.length > 0 ? changed('address', object, network) : missing('address', object, network));
    }
    // A link that is down has no such routes, nor has one without the address.
    const whole = there.filter(({ address, prefix }) =>
      dump.addresses.some((seen) => seen.link === link.index && seen.address === address && seen.prefix === prefix),
    );
    for (const route of link.up ? connectedSubnets(whole) : []) {
      const is = main.some((seen) => rivalry(seen) === rivalry(route) && seen.link === link.index);
      if (!is) found.push(missing('route', on(destinationText(route)), network));
    }
    for (const route of routes) {
      const rivals = main.filter((seen) => rivalry(seen) === rivalry(route));
      const there = rivals.some(
        (seen) => seen.gateway === route.gateway && seen.link === link.index && seen.type === 'unicast',
      );
      if (there) continue;
      const object = on(`${destinationText(route)} via ${route.gateway}`);
      found.push(rivals.length > 0 ? changed('route', object, network) : missing('route', object, network));
    }
    // A link that is down has forgotten its neighbours; a link without an address has forgotten those of its family.
    const known = link.up ? knownInside({ ...attachment, addresses: there }) : [];
    found.push(...compareNeighbours(known, link, dump.neighbours, network));
    return found;
  });
  return [...lost.map(({ network }) => changed('link', 'up on lo', network)), ...found];
}

/**
 * Returns the missing and the changed objects of these attachments in their outside. `links` has at least the links of these
 * names and their bridges.
 */
export function compareOutside(attachments: readonly Attachment[], links: readonly LinkSeen[]): Difference[] {
  const byName = new Map(links.map((link) => [link.name, link]));
  // A link on a parent has no end here.
  return ofCleat(attachments)
    .filter(({ child }) => child === undefined)
    .flatMap((attachment) => {
      const { network } = attachment;
      const expected = expectedOutside(attachment);
      const link = byName.get(expected.link);
      const on = (what: string) => `${what} on ${expected.link}`;
      if (link === undefined) return [missing('link', expected.link, network)];
      // The link is not ours, so nothing else of it is compared.
      if (link.alias !== expected.alias) return [changed('link', on(`alias ${expected.alias}`), network)];
      const found: Difference[] = [];
      const master = byName.get(expected.master);
      if (master === undefined || link.master !== master.index) {
        found.push(changed('link', on(`master ${expected.master}`), network));
      }
      if (link.mtu !== expected.mtu) found.push(changed('link', on(`mtu ${expected.mtu}`), network));
      if (!link.up) found.push(changed('link', on('up'), network));
      return found;
    });
}

const missing = (kind: Drift['kind'], object: string, network: string): Difference => ({
  kind,
  object,
  network,
  problem: 'missing',
});
const changed = (kind: Drift['kind'], object: string, network: string): Difference => ({
  kind,
  object,
  network,
  problem: 'changed',
});

const metricOf = (gateway: string, metric: number): number =>
  metric === 0 && gateway.includes(':') ? IPV6_METRIC : metric;

/** The kernel accepts only the first of the routes that agree in this key (NLM_F_EXCL). */
const rivalry = ({ destination, prefix, metric }: Pick<RouteSeen, 'destination' | 'prefix' | 'metric'>): string =>
  `${destination}/${prefix} ${metric}`;

/** Returns the routes that are the first with their key. `taken` has the keys of earlier routes, and afterwards all keys. */
function withoutRivals(routes: readonly ExpectedRoute[], taken: Set<string>): ExpectedRoute[] {
  return routes.filter((route) => {
    const key = rivalry(route);
    if (taken.has(key)) return false;
    taken.add(key);
    return true;
  });
}

/** Writes the destination as ip-route(8) does. */
function destinationText({ destination, prefix }: Pick<RouteSeen, 'destination' | 'prefix'>): string {
  return prefix === 0 ? 'default' : `${destination}/${prefix}`;
}
