/**
 * What is kept of one container: its request, its plan, and what has been made of it.
 *
 * Guarantees: everything the kernel may hold for a container is named here before it is made (intent before act), so
 * this alone is enough to finish, undo or audit. Plain JSON; checked by these schemas whenever it is read from disk.
 * Limits: a resource is named, not measured: what the kernel really holds is the kernel's to say.
 */
import { z } from 'zod';
import { PortMapping, AttachmentOptions, NetnsSource } from './event.ts';
import { DRIFT_KINDS } from './drift.ts';
import { Fault } from './faults.ts';
import { ContainerId, InterfaceName, IpAddress, NetworkName } from './names.ts';
import { PortHandler, Uplink, UplinkRequest } from './uplink.ts';

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
  /** The MAC that was asked for, or that the network chose. Nobody else on the network has it. */
  mac: z.string(),
  mtu: z.int().nullable(),
  routes: z.array(
    z.object({ destination: z.string(), prefix: z.int(), gateway: z.string(), metric: z.int().nullable() }),
  ),
  /** Metric of the default route, null for none. */
  defaultMetric: z.int().nullable(),
  internal: z.boolean(),
  /** The bridge is others': it gets our ports and nothing else, and the gateway is somebody else. */
  unmanaged: z.boolean().optional(),
  /** Where names are answered: the gateways (unmanaged: addresses of the bridge), and who is asked about the rest of the world (none: the host's). Null: no DNS. */
  dns: z.object({ listen: z.array(z.string()), servers: z.array(z.string()) }).nullable(),
});
export type Lease = z.infer<typeof Lease>;

/** One network of one container, planned to the last name. */
export const Attachment = Lease.extend({
  /** Position in the order of attaching: names the host link, never reused within a generation. */
  ordinal: z.int(),
  /** veth end in the outside namespace. */
  hostLink: InterfaceName,
  /** veth end inside the container. */
  link: InterfaceName,
  /** IFLA_IFALIAS of the host link: cleat:<instance>:<owner>:<network>. */
  alias: z.string().max(255),
  /** Names on this network besides the container's own: those asked for, the hostname, the short id. Each once. */
  aliases: z.array(z.string()),
  /** The highest leads out, and has the published ports; of equals the first attached. */
  gatewayPriority: z.int(),
});
export type Attachment = z.infer<typeof Attachment>;

/**
 * A port mapping as the machines have it. With an outer publisher the address asked for is `outer_ip`, where the publisher
 * listens, and `host_ip` is "": inside, what the publisher passes on may come to any address.
 */
export const PortRequest = PortMapping.safeExtend({ outer_ip: z.union([z.literal(''), IpAddress]).optional() });
export type PortRequest = z.infer<typeof PortRequest>;

/** A port mapping with nothing left to choose. */
export const ResolvedPort = z.object({
  protocol: z.enum(['tcp', 'udp', 'sctp']),
  hostIp: z.string(),
  hostPort: z.int(),
  containerPort: z.int(),
  range: z.int(),
  /** The host address asked for, when an outer publisher listens there; `hostIp` is then "". Null without one. */
  outerIp: z.string().nullable(),
});
export type ResolvedPort = z.infer<typeof ResolvedPort>;

/** One port in the firewall: one entry per single port and address of the container it leads to. */
export const PortTarget = z.object({
  protocol: z.enum(['tcp', 'udp', 'sctp']),
  hostIp: z.string(),
  hostPort: z.int(),
  address: z.string(),
  containerPort: z.int(),
});
export type PortTarget = z.infer<typeof PortTarget>;

export const ProcessIdentity = z.object({ pid: z.int(), startTime: z.number() });
export type ProcessIdentity = z.infer<typeof ProcessIdentity>;

/** Something of a container that is not as it should be, and that the policy says to leave alone. */
export const Drift = z.object({
  kind: z.enum(DRIFT_KINDS),
  /** What is missing or changed, as the kernel names it: "10.89.0.2/24 on eth0". */
  object: z.string(),
  network: NetworkName.nullable(),
});
export type Drift = z.infer<typeof Drift>;
/** In what way the kernel is not as it should be. Of what is unreadable nothing is known: it may be as good as ever. */
export type Difference = Drift & { problem: 'missing' | 'changed' | 'unreadable' };

export const ContainerRequest = z.object({
  netns: NetnsSource,
  networks: z.record(NetworkName, AttachmentOptions),
  /** Instead of networks. */
  uplink: UplinkRequest.optional(),
  ports: z.array(PortRequest),
});
export type ContainerRequest = z.infer<typeof ContainerRequest>;

export const ContainerContext = z.object({
  id: ContainerId,
  name: z.string(),
  hostname: z.string().nullable(),
  /** The pod whose namespace this container holds: on its networks it goes by the pod's name (B21). */
  pod: z.string().nullable(),
  /** id:generation. The owner of every lease, port and rule: a late teardown cannot touch the next generation. */
  owner: z.string(),
  generation: z.int(),
  /** 32 hex digits chosen at creation; every kernel name of this generation is derived from it. */
  token: z.string().regex(/^[0-9a-f]{32}$/),
  /** Kernel boot this was made in (/proc/sys/kernel/random/boot_id): in another boot nothing of it can exist. */
  bootId: z.string(),
  /** Milliseconds since the epoch. */
  createdAt: z.number(),
  /** The uid of the caller, as the kernel noted it. Absent for root and the daemon's own user, and in older records. */
  uid: z.int().optional(),
  instance: z.string(),
  /** Path of the outside namespace, null for the daemon's own. */
  outside: z.string().nullable(),
  /**
   * Where the namespace is pinned; null for netns host. `owned`: made by us, and it dies with the container.
   * `from`: the path it is joined from (netns path and container). `of`: the owner whose namespace is shared, at the end
   * of the line of sharers.
   */
  netns: z
    .object({ path: z.string(), owned: z.boolean(), from: z.string().nullable(), of: z.string().nullable() })
    .nullable(),
  /** Set once the namespace is known to exist. */
  identity: z.object({ dev: z.number(), ino: z.number() }).nullable(),
  boundTo: ProcessIdentity.nullable(),
  /** Who publishes ports one machine further out (gvproxy's API), null for nobody. */
  publisher: z.string().nullable(),
  /** resolv.conf and hosts are kept for this container in the run directory. */
  files: z.boolean(),
  request: ContainerRequest,
  /** Its way out, where that is a program of its own and not a network. */
  uplink: Uplink.optional(),
  /** Who carries its published ports; absent: the firewall. */
  portHandler: PortHandler.exclude(['firewall']).optional(),
  attachments: z.array(Attachment),
  ports: z.array(ResolvedPort),
  nextOrdinal: z.int(),
  /** True once configure has succeeded: where an undone change comes to rest (up, or created). */
  configured: z.boolean(),
  /** The owner has gone, and others still use its namespace: everything stays until the last of them goes too. */
  ownerGone: z.boolean(),
  /** What the operation under way adds, takes away or replaces, null at rest. */
  change: z
    .object({
      networks: z.record(NetworkName, AttachmentOptions),
      wanted: z.array(PortRequest),
      /** `wanted` once claimed: what is (to be) in the kernel. */
      ports: z.array(ResolvedPort),
      /** Networks of this change still to be attached, detached or remade, in order. */
      todo: z.array(NetworkName),
      /** Attachments as they were, where the change has put others in their place. */
      before: z.array(Attachment),
      /** Where published ports led when the change began. */
      led: z.array(z.string()),
      /** Ports that another container gives away in the transaction that makes them ours, and where they lead there. */
      taking: z.object({ owner: z.string(), ports: z.array(ResolvedPort), targets: z.array(PortTarget) }).nullable(),
      /** Who takes ports away from us. */
      taker: z.string().nullable(),
      /** Goes on when something cannot be taken away. */
      force: z.boolean(),
      /** The uplink is looked at and mended, or started anew. */
      uplink: z.enum(['repair', 'restart']).optional(),
    })
    .nullable(),
  /** Counts accepted events; the reply to event n waits for the rest state after it. `network`: the one it is about. */
  operation: z.object({ n: z.int(), type: z.string(), network: z.string().nullable() }),
  /** What others took away and policy leaves so (`alert`). */
  drift: z.array(Drift),
  /** Why the last operation failed, null when it did not. */
  fault: Fault.nullable(),
  /** What a failed undo or teardown could not remove, each with its reason. */
  leftovers: z.array(Fault),
  /** What failed since all was well: how often, and what last. Absent in records of before it was kept. */
  attempts: z.int(),
  lastFault: Fault.nullable().optional(),
});
export type ContainerContext = z.infer<typeof ContainerContext>;
