/**
 * How a container is shown, in answers and in `ps`; `inspect` adds what it finds (inspect.ts).
 *
 * Guarantees: made from the snapshot alone, so it never fails and never waits. Attach results have the shape of libnetwork's
 * StatusBlock.
 * Limits: shows what should be; `audit` shows what is.
 */
import { stateName } from '../../plan/states.ts';
import { SEARCH_DOMAIN } from '../../plan/containers/resolv-conf.ts';
import { uplinkServers } from '../../plan/uplinks/uplink-inside.ts';
import { serversOf } from '../../plan/external/external.ts';
import type {
  ContainerView,
  ExternalView,
  PublishedPort,
  StatusBlock,
  UplinkView,
} from '../../state/answers/container/container.ts';
import type { Attachment, ResolvedPort } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { Uplink, UplinkSettings } from '../../state/uplink.ts';
import { legalEvents } from '../events/events.ts';
import { defectOf, type ContainerSnapshot } from '../records/snapshot.ts';

export function statusBlock(attachment: Attachment): StatusBlock {
  return {
    interfaces: {
      [attachment.link]: {
        mac_address: attachment.mac,
        subnets: attachment.addresses.map(({ address, prefix, gateway }) => ({
          ipnet: `${address}/${prefix}`,
          ...(gateway === null ? {} : { gateway }),
        })),
      },
    },
    ...dnsOf(attachment),
  };
}

function dnsOf(attachment: Attachment): Pick<StatusBlock, 'dns_server_ips' | 'dns_search_domains'> {
  const { servers, search } = serversOf(attachment);
  if (servers.length > 0) return { dns_server_ips: servers, dns_search_domains: search };
  const { dns } = attachment;
  return dns === null ? {} : { dns_server_ips: dns.listen, dns_search_domains: [SEARCH_DOMAIN] };
}

export const publishedPort = (port: ResolvedPort): PublishedPort => ({
  host_ip: port.outerIp ?? port.hostIp,
  host_port: port.hostPort,
  container_port: port.containerPort,
  protocol: port.protocol,
  range: port.range,
});

/** Returns the requested settings of the program, and the link that it was found to have made. */
function uplinkView({ settings, made, missing }: Uplink): UplinkView {
  return {
    ...settingsView(settings),
    missing,
    interface: made?.name ?? null,
    mac: made?.mac ?? null,
    addresses: made?.addresses ?? [],
    dns: uplinkServers(settings, null),
  };
}

/** The names of the API, which are those of slirp4netns's own options, too. */
function settingsView(settings: UplinkSettings) {
  if (settings.program === 'pasta') return settings;
  const { hostLoopback, outboundAddr, outboundAddr6, ...same } = settings;
  return { ...same, host_loopback: hostLoopback, outbound_addr: outboundAddr, outbound_addr6: outboundAddr6 };
}

/** Returns what programs of others have made for a container; nothing if none have. */
function externalViews(attachments: readonly Attachment[]): Pick<ContainerView, 'external'> {
  const views = attachments.flatMap(({ network, external }): [string, ExternalView][] => {
    if (external === undefined) return [];
    const { terms, container, result } = external;
    return [[network, { driver: terms.driver, container_id: container.id, result }]];
  });
  return views.length === 0 ? {} : { external: Object.fromEntries(views) };
}

/** Returns why the container is not up. In `degraded` the last operation may have succeeded, so the last fault counts. */
function reasonFor(snapshot: ContainerSnapshot): Fault | null {
  const { id, fault, lastFault = null } = snapshot.context;
  const state = stateName(snapshot);
  const defect = defectOf(snapshot, `container ${id}`);
  if (defect !== null || state === 'up') return defect;
  return state === 'degraded' ? (lastFault ?? fault) : fault;
}

/** Returns a container as JSON. `etc`: the directory that has the files of containers. */
export function containerView(snapshot: ContainerSnapshot, etc: string): ContainerView {
  const { context } = snapshot;
  return {
    id: context.id,
    name: context.name,
    hostname: context.hostname,
    pod: context.pod,
    state: stateName(snapshot),
    legal: legalEvents(snapshot),
    generation: context.generation,
    created: new Date(context.createdAt).toISOString(),
    netns: {
      ...context.request.netns,
      path: context.netns?.path ?? null,
      ...context.identity,
    },
    outside: context.outside,
    bound_to: context.boundTo?.pid ?? null,
    exit_fd: context.exit === undefined ? null : { pid: context.exit.holder.pid, fd: context.exit.fd },
    networks: Object.fromEntries(
      context.attachments.map((attachment) => [attachment.network, statusBlock(attachment)]),
    ),
    requested_networks: context.request.networks,
    ...externalViews(context.attachments),
    uplink: context.uplink === undefined ? null : uplinkView(context.uplink),
    port_handler: context.portHandler ?? 'firewall',
    ports: context.ports.map(publishedPort),
    files: context.files
      ? { resolv_conf: `${etc}/${context.id}/resolv.conf`, hosts: `${etc}/${context.id}/hosts` }
      : null,
    drift: context.drift,
    owner_gone: context.ownerGone,
    fault: reasonFor(snapshot),
    last_operation: {
      type: context.operation.type,
      network: context.operation.network,
      fault: context.fault,
    },
    leftovers: context.leftovers,
  };
}
