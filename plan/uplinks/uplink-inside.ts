/**
 * The uplink as seen in the container: the name servers behind it, and a comparison of its link with the kernel.
 *
 * Guarantees: pure; the terms are those of native's dumps (expected.ts). There is one difference per object.
 * Limits: does not check that the program runs, because that is a process.
 */
import type { Difference } from '../../state/container.ts';
import type { SlirpSettings, UplinkLink, UplinkSettings } from '../../state/uplink.ts';
import { MAIN_TABLE, type Dump } from '../kernel/expected.ts';
import { mapsGateway, pastaServers } from './pasta.ts';
import { SLIRP_IPV6, uplinkAddresses } from './slirp4netns.ts';

/**
 * Returns the servers that come before all others. The program forwards queries to the first server of the same family in the
 * host's resolv.conf, wherever that is (B74). If `host` has no server of a family, that family's address is left out.
 */
export function uplinkServers(settings: UplinkSettings, host: readonly string[] | null): string[] {
  const servers = settings.program === 'pasta' ? pastaServers(settings) : slirpServers(settings);
  // pasta does not parse a scope (fe80::1%eth0); libslirp does.
  const read = host?.filter((one) => settings.program === 'slirp4netns' || !one.includes('%')) ?? servers;
  return servers.filter((server) => read.some((one) => isV6(one) === isV6(server)));
}

function slirpServers({ cidr, ipv6 }: SlirpSettings): string[] {
  const addresses = uplinkAddresses(cidr);
  return 'fault' in addresses ? [] : [addresses.dns, ...(ipv6 ? [SLIRP_IPV6.dns] : [])];
}

/**
 * Returns true if the gateway's address leads to the host, more exactly to its loopback. Otherwise it is a router, or leads
 * nowhere.
 */
export const gatewayIsHost = (settings: UplinkSettings): boolean =>
  settings.program === 'slirp4netns' ? settings.hostLoopback : mapsGateway(settings);

const isV6 = (address: string): boolean => address.includes(':');

/** Returns the missing parts of the link: the link itself, an address, a default route per family. */
export function compareUplink({ name, addresses }: UplinkLink, dump: Dump): Difference[] {
  const missing = (kind: Difference['kind'], object: string): Difference => ({
    kind,
    object,
    network: null,
    problem: 'missing',
  });
  const link = dump.links.find((seen) => seen.name === name);
  if (link === undefined) return [missing('link', name)];
  const lost = addresses
    .filter(({ address }) => !dump.addresses.some((seen) => seen.link === link.index && seen.address === address))
    .map(({ address, prefix }) => missing('address', `${address}/${prefix} on ${name}`));
  const ways = [...new Set(addresses.flatMap(({ gateway }) => gateway ?? []))].filter(
    (gateway) =>
      !dump.routes.some((route) => route.table === MAIN_TABLE && route.prefix === 0 && route.gateway === gateway),
  );
  return [...lost, ...ways.map((gateway) => missing('route', `default via ${gateway} on ${name}`))];
}
