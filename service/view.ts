/**
 * How a container is shown: in answers, in `ps` and in `inspect`.
 *
 * Guarantees: made from the snapshot alone, so it never fails and never waits; attach results have libnetwork's
 * StatusBlock shape.
 * Limits: says what should be; `audit` says what is.
 */
import type { Attachment } from '../state/container.ts';
import { legalEvents } from './events.ts';
import { stateName, type ContainerSnapshot } from './snapshot.ts';

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
  };
}

export function containerView(snapshot: ContainerSnapshot) {
  const { context } = snapshot;
  return {
    id: context.id,
    name: context.name,
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
    ports: context.ports.map((port) => ({
      host_ip: port.hostIp,
      host_port: port.hostPort,
      container_port: port.containerPort,
      protocol: port.protocol,
      range: port.range,
    })),
    fault: context.fault,
    leftovers: context.leftovers,
  };
}
export type ContainerView = ReturnType<typeof containerView>;
