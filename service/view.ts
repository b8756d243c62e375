/**
 * How a container is shown: in answers and in `ps`; `inspect` adds what it finds (inspect.ts).
 *
 * Guarantees: made from the snapshot alone, so it never fails and never waits; attach results have libnetwork's
 * StatusBlock shape.
 * Limits: says what should be; `audit` says what is.
 */
import { SEARCH_DOMAIN } from '../machines/plan/resolv-conf.ts';
import { uplinkServers } from '../machines/plan/uplink-inside.ts';
import type { Attachment } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import type { Uplink } from '../state/uplink.ts';
import { legalEvents } from './events.ts';
import { defectOf, stateName, type ContainerSnapshot } from './snapshot.ts';

/** libnetwork's StatusBlock (types.StatusBlock). */
function statusBlock(attachment: Attachment) {
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
    ...(attachment.dns === null ? {} : { dns_server_ips: attachment.dns.listen, dns_search_domains: [SEARCH_DOMAIN] }),
  };
}

/** What is asked of the program, and what it was found to have made. */
function uplinkView({ settings, made, missing }: Uplink) {
  return {
    ...settings,
    missing,
    interface: made?.name ?? null,
    mac: made?.mac ?? null,
    addresses: made?.addresses ?? [],
    dns: uplinkServers(settings, null),
  };
}

/** Why it is not up: what was asked of a degraded container since may have gone well. */
function reasonFor(snapshot: ContainerSnapshot): Fault | null {
  const { id, fault, lastFault = null } = snapshot.context;
  const state = stateName(snapshot);
  const defect = defectOf(snapshot, `container ${id}`);
  if (defect !== null || state === 'up') return defect;
  return state === 'degraded' ? (lastFault ?? fault) : fault;
}

/** `etc`: the directory that files of containers are kept in. */
export function containerView(snapshot: ContainerSnapshot, etc: string) {
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
    networks: Object.fromEntries(
      context.attachments.map((attachment) => [attachment.network, statusBlock(attachment)]),
    ),
    requested_networks: context.request.networks,
    uplink: context.uplink === undefined ? null : uplinkView(context.uplink),
    port_handler: context.portHandler ?? 'firewall',
    ports: context.ports.map((port) => ({
      host_ip: port.outerIp ?? port.hostIp,
      host_port: port.hostPort,
      container_port: port.containerPort,
      protocol: port.protocol,
      range: port.range,
    })),
    files: context.files
      ? { resolv_conf: `${etc}/${context.id}/resolv.conf`, hosts: `${etc}/${context.id}/hosts` }
      : null,
    drift: context.drift,
    owner_gone: context.ownerGone,
    /** Why it is not up. */
    fault: reasonFor(snapshot),
    /** What was asked of it last, or what it did last by itself, and why that failed. */
    last_operation: {
      type: context.operation.type,
      network: context.operation.network,
      fault: context.fault,
    },
    leftovers: context.leftovers,
  };
}
export type ContainerView = ReturnType<typeof containerView>;
