/**
 * The events that drive a container, as they arrive on the socket: the six lifecycle words and publish/unpublish.
 *
 * Guarantees: strict (an unknown field is an error naming it), bounded, canonical. Attachment options and port
 * mappings have libnetwork's field names (types.PerNetworkOptions, types.PortMapping).
 */
import { z } from 'zod';
import {
  ContainerId,
  InterfaceName,
  IpAddress,
  MacAddress,
  NamespacePath,
  NetworkName,
  Pid,
  PortNumber,
} from './names.ts';

export const AttachmentOptions = z.strictObject({
  static_ips: z.array(IpAddress).max(16).optional(),
  static_mac: MacAddress.optional(),
  interface_name: InterfaceName.optional(),
  aliases: z.array(z.string().max(255)).max(64).optional(),
});
export type AttachmentOptions = z.infer<typeof AttachmentOptions>;

export const PortMapping = z
  .strictObject({
    /** "" or absent: every address of the host, in the families the container has. */
    host_ip: z.union([z.literal(''), IpAddress]).optional(),
    /** 0 or absent: cleat chooses a free one. */
    host_port: z.union([z.literal(0), PortNumber]).optional(),
    container_port: PortNumber,
    protocol: z.enum(['tcp', 'udp', 'sctp']).optional(),
    /** How many consecutive ports, 1 unless given. */
    range: z.int().min(1).max(65_535).optional(),
  })
  .refine((port) => port.container_port + (port.range ?? 1) - 1 <= 65_535, 'the range ends above port 65535')
  .refine((port) => (port.host_port ?? 0) + (port.range ?? 1) - 1 <= 65_535, 'the range ends above port 65535');
export type PortMapping = z.infer<typeof PortMapping>;

/** Where the container's network namespace comes from. */
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

export const LifecycleEvent = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('create'),
    id,
    name: ContainerId.optional(),
    netns: NetnsSource.optional(),
    /** Absent: the default network (for netns new and pid), none otherwise. {}: none. */
    networks: networks.optional(),
    port_mappings: ports.optional(),
    /** Tear down when this process ends; for netns pid it is that process. */
    bound_to: Pid.optional(),
    /** The network namespace that holds the bridge and the rules; the daemon's own unless given. */
    outside: NamespacePath.optional(),
  }),
  z.strictObject({ type: z.literal('configure'), id }),
  z.strictObject({ type: z.literal('connect'), id, network: NetworkName, options: AttachmentOptions.optional() }),
  z.strictObject({ type: z.literal('disconnect'), id, network: NetworkName }),
  z.strictObject({ type: z.literal('reload'), id }),
  z.strictObject({ type: z.literal('publish'), id, port_mappings: ports.min(1) }),
  z.strictObject({ type: z.literal('unpublish'), id, port_mappings: ports.min(1) }),
  z.strictObject({ type: z.literal('teardown'), id }),
]);
export type LifecycleEvent = z.infer<typeof LifecycleEvent>;
export type CreateEvent = Extract<LifecycleEvent, { type: 'create' }>;
