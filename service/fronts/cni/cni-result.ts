/**
 * Makes the result of an ADD: what earlier plugins of the chain have made, and the attachment after it.
 *
 * Guarantees: pure; in the form of the version asked for. The interfaces are those that the plugin `bridge` lists, in its order:
 * the bridge, the host's end, and the container's end with the path of its namespace. Later plugins (portmap, firewall, bandwidth,
 * tuning) find theirs by that.
 */
import { SEARCH_DOMAIN } from '../../../plan/containers/resolv-conf.ts';
import type { CniResult } from '../../../state/answers/cni.ts';
import type { Attachment } from '../../../state/container.ts';
import { CNI_VERSIONS, type CniConfiguration, type CniPrevious, type CniVersion } from '../../../state/fronts/cni.ts';

/** Returns true if the version is this one or a later one. */
export const isSince = (version: CniVersion, first: CniVersion): boolean =>
  CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(first);

/** Holds MAC and MTU of a link of the host; null where it could not be read. */
export type HostLink = { mac: string; mtu: number } | null;

export interface Made {
  attachment: Attachment;
  /** Leads to the namespace, as the runtime names it. */
  sandbox: string;
  bridge: HostLink;
  host: HostLink;
}

export function resultOf(config: CniConfiguration, made: Made): CniResult {
  const { cniVersion, prevResult: before } = config;
  const { attachment } = made;
  const interfaces = before?.interfaces ?? [];
  const own = ownInterfaces(made, isSince(cniVersion, '1.1.0'));
  const inside = interfaces.length + own.length - 1;
  const family = (address: string) => (address.includes(':') ? '6' : '4');
  const inForm = <T extends { address: string }>({ address, ...rest }: T) =>
    isSince(cniVersion, '1.0.0') ? { address, ...rest } : { version: family(address), address, ...rest };
  const ips = attachment.addresses.map(({ address, prefix, gateway }) => ({
    interface: inside,
    address: `${address}/${prefix}`,
    ...(gateway === null ? {} : { gateway }),
  }));
  return {
    cniVersion,
    interfaces: [...interfaces, ...own],
    ips: [...(before?.ips ?? []), ...ips].map(inForm) as CniResult['ips'],
    routes: [...((before?.routes ?? []) as CniResult['routes']), ...routesOf(attachment)],
    dns: dnsOf(config, attachment),
  };
}

function ownInterfaces({ attachment, sandbox, bridge, host }: Made, withMtu: boolean): CniResult['interfaces'] {
  const seen = (link: HostLink) => (link === null ? {} : { mac: link.mac, ...(withMtu ? { mtu: link.mtu } : {}) });
  const mtu = attachment.mtu ?? host?.mtu;
  return [
    { name: attachment.bridge, ...seen(bridge) },
    { name: attachment.hostLink, ...seen(host) },
    { name: attachment.link, mac: attachment.mac, ...(withMtu && mtu !== undefined ? { mtu } : {}), sandbox },
  ];
}

function routesOf({ addresses, routes, defaultMetric }: Attachment): CniResult['routes'] {
  const ways = defaultMetric === null ? [] : addresses.flatMap(({ gateway }) => gateway ?? []);
  return [
    ...[...new Set(ways)].map((gw) => ({ dst: gw.includes(':') ? '::/0' : '0.0.0.0/0', gw })),
    ...routes.map(({ destination, prefix, gateway }) => ({ dst: `${destination}/${prefix}`, gw: gateway })),
  ];
}

/** What the runtime says for this container counts before what answers names, and that before the configuration. */
function dnsOf({ dns = {}, runtimeConfig, prevResult }: CniConfiguration, attachment: Attachment): CniResult['dns'] {
  const asked = runtimeConfig?.dns ?? {};
  const before: NonNullable<CniPrevious['dns']> = prevResult?.dns ?? {};
  const named = attachment.dns === null ? [] : [SEARCH_DOMAIN];
  const listen = attachment.dns?.listen ?? [];
  type List = readonly string[] | null | undefined;
  const first = (...lists: List[]) => lists.find((list) => (list?.length ?? 0) > 0) ?? [];
  const nameservers = first(asked.servers, listen, dns.nameservers, before.nameservers);
  const search = first(asked.searches, [...new Set([...named, ...(dns.search ?? before.search ?? [])])]);
  const options = first(asked.options, dns.options, before.options);
  const domain = dns.domain ?? before.domain ?? null;
  return {
    ...(nameservers.length === 0 ? {} : { nameservers: [...nameservers] }),
    ...(domain === null ? {} : { domain }),
    ...(search.length === 0 ? {} : { search: [...search] }),
    ...(options.length === 0 ? {} : { options: [...options] }),
  };
}
