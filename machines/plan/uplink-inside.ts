/**
 * What an uplink means inside the container: where names are asked, and where the kernel differs from what was made.
 *
 * Guarantees: pure; the terms are those of native's dumps (expected.ts). One difference per thing.
 * Limits: whether the program runs is not seen here: it is a process.
 */
import type { Difference } from '../../state/container.ts';
import type { UplinkLink, UplinkSettings } from '../../state/uplink.ts';
import { MAIN_TABLE, type Dump } from './expected.ts';
import { SLIRP_IPV6, uplinkAddresses } from './slirp4netns.ts';

/** Whom to ask for names before anybody else: slirp4netns passes questions on to the host's own server (B74). */
export function uplinkServers(settings: UplinkSettings): string[] {
  if (settings.program !== 'slirp4netns') return [];
  const addresses = uplinkAddresses(settings.cidr);
  return 'fault' in addresses ? [] : [addresses.dns, ...(settings.ipv6 ? [SLIRP_IPV6.dns] : [])];
}

/** What of the link is not there: itself, an address, a way out per family. */
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
