/**
 * What is kept of one container: its request, its plan, and what has been made of it.
 *
 * Guarantees: everything the kernel may hold for a container is named here before it is made (intent before act), so
 * this alone is enough to finish, undo or audit. Plain JSON; checked by these schemas whenever it is read from disk.
 * Limits: a resource is named, not measured: what the kernel really holds is the kernel's to say.
 */
import { z } from 'zod';
import { PortMapping, AttachmentOptions, NetnsSource } from './event.ts';
import { Fault } from './faults.ts';
import { ContainerId, InterfaceName, NetworkName } from './names.ts';

/** An address given to a container, with the gateway of its subnet (null on internal networks). */
export const LeasedAddress = z.object({
  address: z.string(),
  prefix: z.int(),
  gateway: z.string().nullable(),
});
export type LeasedAddress = z.infer<typeof LeasedAddress>;

/** What a network grants to one container: the answer to `join`. */
export const Lease = z.object({
  network: NetworkName,
  networkId: z.string(),
  bridge: InterfaceName,
  addresses: z.array(LeasedAddress),
  /** The MAC asked for, null to leave it to the attachment plan. */
  mac: z.string().nullable(),
  mtu: z.int().nullable(),
  routes: z.array(
    z.object({ destination: z.string(), prefix: z.int(), gateway: z.string(), metric: z.int().nullable() }),
  ),
  /** Metric of the default route, null for none. */
  defaultMetric: z.int().nullable(),
  internal: z.boolean(),
});
export type Lease = z.infer<typeof Lease>;

/** One network of one container, planned to the last name. */
export const Attachment = Lease.extend({
  mac: z.string(),
  /** Position in the order of attaching: names the host link, never reused within a generation. */
  ordinal: z.int(),
  /** veth end in the outside namespace. */
  hostLink: InterfaceName,
  /** veth end inside the container. */
  link: InterfaceName,
  /** IFLA_IFALIAS of the host link: cleat:<instance>:<owner>:<network>. */
  alias: z.string().max(255),
  aliases: z.array(z.string()),
});
export type Attachment = z.infer<typeof Attachment>;

/** A port mapping with nothing left to choose. */
export const ResolvedPort = z.object({
  protocol: z.enum(['tcp', 'udp', 'sctp']),
  hostIp: z.string(),
  hostPort: z.int(),
  containerPort: z.int(),
  range: z.int(),
});
export type ResolvedPort = z.infer<typeof ResolvedPort>;

export const ProcessIdentity = z.object({ pid: z.int(), startTime: z.number() });
export type ProcessIdentity = z.infer<typeof ProcessIdentity>;

export const ContainerRequest = z.object({
  netns: NetnsSource,
  networks: z.record(NetworkName, AttachmentOptions),
  ports: z.array(PortMapping),
});
export type ContainerRequest = z.infer<typeof ContainerRequest>;

export const ContainerContext = z.object({
  id: ContainerId,
  name: z.string(),
  /** id:generation. The owner of every lease, port and rule: a late teardown cannot touch the next generation. */
  owner: z.string(),
  generation: z.int(),
  /** 32 hex digits chosen at creation; every kernel name of this generation is derived from it. */
  token: z.string().regex(/^[0-9a-f]{32}$/),
  /** Kernel boot this was made in (/proc/sys/kernel/random/boot_id): in another boot nothing of it can exist. */
  bootId: z.string(),
  /** Milliseconds since the epoch. */
  createdAt: z.number(),
  instance: z.string(),
  /** Path of the outside namespace, null for the daemon's own. */
  outside: z.string().nullable(),
  /**
   * Where the namespace is pinned; null for netns host. `owned`: made by us, and it dies with the container.
   * `from`: the path it is joined from (netns path and container).
   */
  netns: z.object({ path: z.string(), owned: z.boolean(), from: z.string().nullable() }).nullable(),
  /** Set once the namespace is known to exist. */
  identity: z.object({ dev: z.number(), ino: z.number() }).nullable(),
  boundTo: ProcessIdentity.nullable(),
  request: ContainerRequest,
  attachments: z.array(Attachment),
  ports: z.array(ResolvedPort),
  nextOrdinal: z.int(),
  /** True once configure has succeeded: where an undone change comes to rest (up, or created). */
  configured: z.boolean(),
  /** What the operation under way adds or takes away, null at rest. */
  change: z
    .object({
      networks: z.record(NetworkName, AttachmentOptions),
      wanted: z.array(PortMapping),
      /** `wanted` once claimed: what is (to be) in the kernel. */
      ports: z.array(ResolvedPort),
      /** Networks of this change still to be attached or detached, in order. */
      todo: z.array(NetworkName),
    })
    .nullable(),
  /** Counts accepted events; the reply to event n waits for the rest state after it. */
  operation: z.object({ n: z.int(), type: z.string() }),
  /** Why the last operation failed, null when it did not. */
  fault: Fault.nullable(),
  /** What a failed undo or teardown could not remove, each with its reason. */
  leftovers: z.array(Fault),
  attempts: z.int(),
});
export type ContainerContext = z.infer<typeof ContainerContext>;
