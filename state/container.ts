/**
 * The record of one container: its request, its plan, and the objects that were made for it.
 *
 * Guarantees: everything the kernel may hold for a container is named here before it is made (intent before act), so
 * this alone is enough to finish, undo or audit. Plain JSON; checked by these schemas whenever it is read from disk.
 * Limits: a record names objects; only the kernel shows if they exist.
 */
import { z } from 'zod';
import { PortMapping, AttachmentOptions, NetnsSource } from './event.ts';
import { DRIFT_KINDS } from './drift.ts';
import { External, ExternalTerms } from './external.ts';
import { Fault } from './faults.ts';
import { ContainerId, InterfaceName, IpAddress, NetworkName } from './names.ts';
import { IPVLAN_MODES, MACVLAN_MODES } from './network.ts';
import { PortHandler, Uplink, UplinkRequest } from './uplink.ts';

/** An address given to a container, with the gateway of its subnet (null on internal networks). */
export const LeasedAddress = z.object({
  address: z.string(),
  prefix: z.int(),
  gateway: z.string().nullable(),
});
export type LeasedAddress = z.infer<typeof LeasedAddress>;

/** The link of a container on a network without a bridge: a child of the network's parent (ip-link(8)). */
export const ChildLink = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('macvlan'),
    mode: z.enum(MACVLAN_MODES),
    /** IFLA_MACVLAN_BC_CUTOFF; null: the kernel's default. */
    bclim: z.int().nullable(),
  }),
  z.object({ kind: z.literal('ipvlan'), mode: z.enum(IPVLAN_MODES) }),
  z.object({ kind: z.literal('vlan'), id: z.int() }),
]);
export type ChildLink = z.infer<typeof ChildLink>;

/** The lease that a network grants to one container: the answer to `join`. */
export const Lease = z.object({
  network: NetworkName,
  networkId: z.string(),
  /** The network's link in the outside: its bridge, or the parent of the container's link. Empty for networks of CNI. */
  bridge: z.union([InterfaceName, z.literal('')]),
  addresses: z.array(LeasedAddress),
  /** The MAC that was requested, or that the network chose. No other container on the network has it. */
  mac: z.string(),
  mtu: z.int().nullable(),
  routes: z.array(
    z.object({ destination: z.string(), prefix: z.int(), gateway: z.string(), metric: z.int().nullable() }),
  ),
  /** Metric of the default route, null for none. */
  defaultMetric: z.int().nullable(),
  internal: z.boolean(),
  /** True if the bridge, or the parent, belongs to others: it gets our links and nothing else, and the gateway is not ours. */
  unmanaged: z.boolean().optional(),
  /** Absent for a veth on a bridge. */
  child: ChildLink.optional(),
  /** The tag of the container's port of the bridge; absent for none. */
  vlan: z.int().optional(),
  /**
   * `listen`: the addresses that answer names, which are the gateways (unmanaged: addresses of the bridge). `servers`: the
   * servers for all other names; if empty, the host's. Null: no DNS.
   */
  dns: z.object({ listen: z.array(z.string()), servers: z.array(z.string()) }).nullable(),
  /** The program of others that makes the attachment, and its configuration; absent if cleat makes it. */
  terms: ExternalTerms.optional(),
});
export type Lease = z.infer<typeof Lease>;

/** One network of one container, planned to the last name. */
export const Attachment = Lease.omit({ terms: true }).extend({
  /** Position in the order of attaching: names the host link, never reused within a generation. */
  ordinal: z.int(),
  /** The veth end in the outside namespace. A child link has no such end, and nothing has the name. */
  hostLink: InterfaceName,
  /** The link inside the container: the other veth end, or the child of the parent. */
  link: InterfaceName,
  /** IFLA_IFALIAS of the host link, or of the child link: cleat:<instance>:<owner>:<network>. */
  alias: z.string().max(255),
  /** Names on this network besides the container's own: the requested ones, the hostname, the short id. Each once. */
  aliases: z.array(z.string()),
  /** The attachment with the highest value has the default route and the published ports; among equals, the first attached. */
  gatewayPriority: z.int(),
  /** Absent if cleat makes the attachment. Otherwise nothing has the name of the host link. */
  external: External.optional(),
});
export type Attachment = z.infer<typeof Attachment>;

/**
 * A port mapping as the machines have it. With an outer publisher, `outer_ip` is the requested address, where the publisher
 * listens. `host_ip` is then "", because the publisher's connections may arrive at any address inside.
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
  /** The requested host address, if an outer publisher listens there; `hostIp` is then "". Null without one. */
  outerIp: z.string().nullable(),
});
export type ResolvedPort = z.infer<typeof ResolvedPort>;

/** One port in the firewall: one entry per single port and address of the container that it leads to. */
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

/**
 * A descriptor whose other end is the end of a container (docs/decisions/0059): where it was taken from, and how to recognise it.
 * `process`: the one that a pidfd refers to.
 */
export const ExitDescriptor = z.object({
  holder: ProcessIdentity,
  fd: z.int(),
  kind: z.enum(['pipe', 'socket', 'process']),
  dev: z.number(),
  ino: z.number(),
  process: ProcessIdentity.nullable(),
});
export type ExitDescriptor = z.infer<typeof ExitDescriptor>;

/** What a container ends with: the first of these. One of them is there. */
export interface Tie {
  process: ProcessIdentity | null;
  exit: ExitDescriptor | null;
}

/** Holds what a plan has named and its operation must be granted: exactly that, or nothing (docs/decisions/0054). */
export const Promised = z.object({ leases: z.array(Lease), ports: z.array(ResolvedPort) });
export type Promised = z.infer<typeof Promised>;

/** A part of a container that is missing or changed, and that the policy leaves so. */
export const Drift = z.object({
  kind: z.enum(DRIFT_KINDS),
  /** The missing or changed object, in the kernel's terms: "10.89.0.2/24 on eth0". */
  object: z.string(),
  network: NetworkName.nullable(),
});
export type Drift = z.infer<typeof Drift>;
/** A difference between the kernel and the plan. An unreadable object may exist unchanged: nothing is known about it. */
export const Difference = Drift.extend({ problem: z.enum(['missing', 'changed', 'unreadable']) });
export type Difference = z.infer<typeof Difference>;

export const ContainerRequest = z.object({
  netns: NetnsSource,
  networks: z.record(NetworkName, AttachmentOptions),
  /** Used instead of networks. */
  uplink: UplinkRequest.optional(),
  ports: z.array(PortRequest),
});
export type ContainerRequest = z.infer<typeof ContainerRequest>;

/** The part that all changes have in common. */
const AnyChange = z.object({
  /** Networks that come or go, each with the options that it was requested with. */
  networks: z.record(NetworkName, AttachmentOptions),
  /** Host ports that come or go, or that the operation makes sure of. */
  ports: z.array(ResolvedPort),
  /** Networks of this change that are still to be attached, detached or remade, in order. */
  todo: z.array(NetworkName),
  /** The addresses that published ports led to when the change began. */
  led: z.array(z.string()),
});

/** The ports as they were requested. `ports` has them once they are claimed. */
const wanted = z.array(PortRequest);
/** Attachments as they were, where the change has put others in their place. */
const before = z.array(Attachment);

/** The change that the operation under way makes. `kind` is the operation, also while it is undone or tried again. */
export const Change = z.discriminatedUnion('kind', [
  AnyChange.extend({ kind: z.literal('configure'), wanted }),
  AnyChange.extend({ kind: z.literal('connect') }),
  AnyChange.extend({
    kind: z.literal('publish'),
    wanted,
    /** Ports that another container gives away in the transaction that makes them ours, and where they lead there. */
    taking: z.object({ owner: z.string(), ports: z.array(ResolvedPort), targets: z.array(PortTarget) }).nullable(),
  }),
  /** `force`: the operation goes on when something cannot be taken away. */
  AnyChange.extend({ kind: z.literal('disconnect'), force: z.boolean() }),
  AnyChange.extend({ kind: z.literal('unpublish') }),
  AnyChange.extend({ kind: z.literal('reload') }),
  AnyChange.extend({ kind: z.literal('rebuild'), before }),
  AnyChange.extend({ kind: z.literal('adjust'), before }),
  /** `uplink`: the uplink is repaired, too. */
  AnyChange.extend({ kind: z.literal('repair'), uplink: z.boolean() }),
  /** The uplink is started anew. */
  AnyChange.extend({ kind: z.literal('restart') }),
  /** `taker`: the owner that takes the ports over. */
  AnyChange.extend({ kind: z.literal('yield'), taker: z.string() }),
  AnyChange.extend({ kind: z.literal('teardown'), before }),
]);
export type Change = z.infer<typeof Change>;

export const ContainerContext = z.object({
  id: ContainerId,
  name: z.string(),
  hostname: z.string().nullable(),
  /** The pod whose namespace this container holds: its name on its networks is the pod's (B21). */
  pod: z.string().nullable(),
  /** id:generation. The owner of every lease, port and rule: a late teardown cannot touch the next generation. */
  owner: z.string(),
  generation: z.int(),
  /** 32 hex digits chosen at creation; every kernel name of this generation is derived from it. */
  token: z.string().regex(/^[0-9a-f]{32}$/),
  /** The kernel's boot id at creation (/proc/sys/kernel/random/boot_id): after another boot none of its objects can exist. */
  bootId: z.string(),
  /** Milliseconds since the epoch. */
  createdAt: z.number(),
  /** The uid of the caller, as the kernel reported it. Absent for root and the daemon's own user, and in older records. */
  uid: z.int().optional(),
  instance: z.string(),
  /** Path of the outside namespace; null for the daemon's own. */
  outside: z.string().nullable(),
  /**
   * The pin of the namespace; null for netns host. `owned`: made by us, and it ends with the container. `from`: the path that
   * it is joined from (netns path and container). `of`: the owner whose namespace is shared, at the end of the chain of
   * sharers.
   */
  netns: z
    .object({ path: z.string(), owned: z.boolean(), from: z.string().nullable(), of: z.string().nullable() })
    .nullable(),
  /** Set once the namespace is known to exist. */
  identity: z.object({ dev: z.number(), ino: z.number() }).nullable(),
  boundTo: ProcessIdentity.nullable(),
  /** The container also ends when the other end of this is closed. */
  exit: ExitDescriptor.optional(),
  /** The API of the outer publisher (gvproxy), which publishes ports one machine further out; null for none. */
  publisher: z.string().nullable(),
  /** True if resolv.conf and hosts are kept for this container in the run directory. */
  files: z.boolean(),
  /** Absent: the host's servers, and no more hosts. */
  dnsServers: z.array(z.string()).optional(),
  extraHosts: z.array(z.object({ host: z.string(), ip: z.string() })).optional(),
  request: ContainerRequest,
  /** The program (slirp4netns or pasta) that connects the container if no network does. */
  uplink: Uplink.optional(),
  /** The port handler; absent for the firewall. */
  portHandler: PortHandler.exclude(['firewall']).optional(),
  /** True if the caller holds the host ports open itself: listeners of the host are no conflict. Absent if not. */
  portsReserved: z.literal(true).optional(),
  attachments: z.array(Attachment),
  ports: z.array(ResolvedPort),
  nextOrdinal: z.int(),
  /** True once configure has succeeded: it decides the state after an undone change (up, or created). */
  configured: z.boolean(),
  /** True if the owner is gone while others still use its namespace: everything stays until the last of them is gone too. */
  ownerGone: z.boolean(),
  /** The change that the operation under way makes; null at rest. */
  change: Change.nullable(),
  /**
   * Counts accepted events; the reply to event n waits for the rest state after it. `network`: the network of the event.
   * `promised` is there if the event applies a plan.
   */
  operation: z.object({
    n: z.int(),
    type: z.string(),
    network: z.string().nullable(),
    promised: Promised.optional(),
  }),
  /** Objects that others have removed and that the policy (`alert`) leaves so. */
  drift: z.array(Drift),
  /** The reason why the last operation failed; null if it did not. */
  fault: Fault.nullable(),
  /** The objects that a failed undo or teardown could not remove, each with its reason. */
  leftovers: z.array(Fault),
  /** The number of failures since the last success, and the last fault, which is absent in older records. */
  attempts: z.int(),
  lastFault: Fault.nullable().optional(),
});
export type ContainerContext = z.infer<typeof ContainerContext>;
