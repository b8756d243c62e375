/**
 * The events that drive a container, as they arrive on the socket: the six lifecycle events and publish/unpublish.
 *
 * Guarantees: strict (an unknown field is an error naming it), bounded, canonical. Attachment options and port
 * mappings have libnetwork's field names (types.PerNetworkOptions, types.PortMapping).
 */
import { z } from 'zod';
import {
  ContainerId,
  DnsName,
  InterfaceName,
  IpAddress,
  MacAddress,
  NamespacePath,
  NetworkName,
  Pid,
  PortNumber,
} from './names.ts';
import { PortHandler, UplinkRequest } from './uplink.ts';

export const PortMapping = z
  .strictObject({
    /** "" or absent: every address of the host, in the families the container has. */
    host_ip: z.union([z.literal(''), IpAddress]).optional(),
    /** 0 or absent: cleat chooses a free one. */
    host_port: z.union([z.literal(0), PortNumber]).optional(),
    container_port: PortNumber,
    protocol: z.enum(['tcp', 'udp', 'sctp']).optional(),
    /** The number of consecutive ports; the default is 1. */
    range: z.int().min(1).max(65_535).optional(),
  })
  .refine((port) => port.container_port + (port.range ?? 1) - 1 <= 65_535, 'the range ends above port 65535')
  .refine((port) => (port.host_port ?? 0) + (port.range ?? 1) - 1 <= 65_535, 'the range ends above port 65535');
export type PortMapping = z.infer<typeof PortMapping>;

export const AttachmentOptions = z.strictObject({
  static_ips: z.array(IpAddress).max(16).optional(),
  static_mac: MacAddress.optional(),
  interface_name: InterfaceName.optional(),
  /** The name of the host's end, on a bridge; by default one that is derived from the container (netavark's option). */
  host_interface_name: InterfaceName.optional(),
  aliases: z.array(DnsName).max(64).optional(),
  /**
   * The network with the highest priority has the default route and the published ports. The default is 0; negative values are
   * below it.
   */
  gateway_priority: z.int().min(-1_000_000).max(1_000_000).optional(),
  /**
   * The CNI configuration by whose ADD the attachment was made, and the host ports that this ADD asked for. Its DEL and GC take
   * away that and nothing else.
   */
  cni: z.strictObject({ configuration: NetworkName, port_mappings: z.array(PortMapping).max(4096) }).optional(),
});
export type AttachmentOptions = z.infer<typeof AttachmentOptions>;

export const ExtraHost = z.strictObject({ host: DnsName, ip: IpAddress });

/** The source of the container's network namespace. */
export const NetnsSource = z.discriminatedUnion('mode', [
  z.strictObject({ mode: z.literal('new') }),
  z.strictObject({ mode: z.literal('host') }),
  z.strictObject({ mode: z.literal('container'), id: ContainerId }),
  z.strictObject({ mode: z.literal('path'), path: NamespacePath }),
  z.strictObject({ mode: z.literal('pid'), pid: Pid }),
]);
export type NetnsSource = z.infer<typeof NetnsSource>;

const id = ContainerId;
const networks = z.record(NetworkName, AttachmentOptions);
const ports = z.array(PortMapping).max(4096);

/**
 * W3C Trace Context: the caller's span, if it is not that of the request's headers. One that is not as the specification asks is
 * ignored, not refused.
 */
const caller = { traceparent: z.string().optional(), tracestate: z.string().optional() };

export const LifecycleEvent = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('create'),
    id,
    name: ContainerId.optional(),
    hostname: DnsName.optional(),
    /**
     * The pod whose namespace this container holds for others (netns container:ID): the container's name in DNS is the pod's.
     */
    pod: ContainerId.optional(),
    /** Keeps resolv.conf and hosts for this container in <run-dir>/etc/ID, to be bind-mounted into it. */
    files: z.boolean().optional(),
    /** The servers that this container's names are asked of, instead of the host's; container names on a network come first. */
    dns_servers: z.array(IpAddress).max(8).optional(),
    /** More lines of its hosts file. */
    extra_hosts: z.array(ExtraHost).max(64).optional(),
    netns: NetnsSource.optional(),
    /** Absent: the default network (for netns new and pid), none otherwise. {}: none. */
    networks: networks.optional(),
    /** A user-mode program instead of networks: slirp4netns or pasta. */
    uplink: UplinkRequest.optional(),
    port_mappings: ports.optional(),
    /** The handler of published ports: the firewall on networks, the forwarder or the program itself on an uplink. */
    port_handler: PortHandler.optional(),
    /**
     * The caller holds the container's host ports open itself while the container lives, as Podman's conmon does, and has found
     * out that way whether they are free: that something listens there is no conflict.
     */
    ports_reserved: z.boolean().optional(),
    /** The container is torn down when this process ends; for netns pid it is that process. */
    bound_to: Pid.optional(),
    /**
     * A descriptor of a process: the read end of a pipe, a connected socket, or a pidfd. The container is torn down when the other
     * end is closed, or the process of the pidfd ends (docs/decisions/0059).
     */
    exit_fd: z.strictObject({ pid: Pid, fd: z.int().min(0).max(1_073_741_823) }).optional(),
    /** The network namespace that holds the bridge and the rules; by default the daemon's own. */
    outside: NamespacePath.optional(),
    ...caller,
  }),
  z.strictObject({ type: z.literal('configure'), id, ...caller }),
  /** `network` is a name, an id, or the unambiguous beginning of an id. */
  z.strictObject({
    type: z.literal('connect'),
    id,
    network: NetworkName,
    options: AttachmentOptions.optional(),
    ...caller,
  }),
  /** force: disconnects even if the link cannot be removed, or the network is gone already. */
  z.strictObject({ type: z.literal('disconnect'), id, network: NetworkName, force: z.boolean().optional(), ...caller }),
  /** Restores rules only; with `full` also the links, which keep their addresses, MACs and names. */
  z.strictObject({ type: z.literal('reload'), id, full: z.boolean().optional(), ...caller }),
  /** from: the container that has these host ports now, and gives them away in the same transaction. */
  z.strictObject({ type: z.literal('publish'), id, port_mappings: ports.min(1), from: id.optional(), ...caller }),
  z.strictObject({ type: z.literal('unpublish'), id, port_mappings: ports.min(1), ...caller }),
  z.strictObject({ type: z.literal('teardown'), id, ...caller }),
]);
export type LifecycleEvent = z.infer<typeof LifecycleEvent>;
export type CreateEvent = Extract<LifecycleEvent, { type: 'create' }>;
