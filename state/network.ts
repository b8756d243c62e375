/**
 * Network definitions in libnetwork's JSON shape: this file parses the output of `podman network inspect`, and Podman parses
 * ours (go.podman.io/common/libnetwork/types, Network).
 *
 * Guarantees: a valid definition is complete: name, id, interface, and at least one subnet unless its containers get no
 * addresses (ipam driver none). Each subnet of a bridge has its gateway; on a parent the gateway is somebody else's.
 * Limits: plan/networks/ says which options a driver has.
 */
import { z } from 'zod';
import { EXTERNAL_DRIVERS } from './external.ts';
import { FaultError } from './faults.ts';
import { Cidr, InterfaceName, IpAddress, Ipv4, Ipv6, NetworkName } from './names.ts';
import { Overlay, OverlayRequest } from './overlay.ts';

export const Subnet = z.strictObject({
  subnet: Cidr,
  gateway: IpAddress.optional(),
  /** Addresses that no request names are chosen in this range (inclusive). */
  lease_range: z.strictObject({ start_ip: IpAddress.optional(), end_ip: IpAddress.optional() }).optional(),
});
export type Subnet = z.infer<typeof Subnet>;

/** A block for subnets that nobody chooses: `base` is cut into pieces with a prefix of `size`. */
export interface SubnetPool {
  base: string;
  size: number;
}

/** Parses "172.20.0.0/14,24" or "fd00:1::/48,64", ...: BASE,SIZE as in containers.conf (default_subnet_pools). */
export function subnetPools(words: readonly string[]): SubnetPool[] {
  return words.map((word) => {
    const [base, size, ...more] = word.split(',');
    const pool = z.tuple([Cidr, z.coerce.number().int()]).safeParse([base, size]);
    const fail = (why: string) => new FaultError('BAD_REQUEST', `default subnet pool ${word}: ${why}`);
    if (!pool.success || more.length > 0) throw fail('it is BASE,SIZE, such as 172.20.0.0/14,24');
    const [canonical, length] = pool.data;
    const prefix = Number(canonical.split('/')[1]);
    // A smaller subnet has no room for a gateway and a container.
    const longest = canonical.includes(':') ? 126 : 30;
    if (length < prefix || length > longest) throw fail(`the size is a prefix between ${prefix} and ${longest}`);
    return { base: canonical, size: length };
  });
}

export const Route = z
  .strictObject({
    destination: Cidr,
    gateway: IpAddress,
    metric: z.int().min(0).max(0xffff_ffff).optional(),
  })
  .refine(
    ({ destination, gateway }) => destination.includes(':') === gateway.includes(':'),
    'destination and gateway are of different families',
  );
export type Route = z.infer<typeof Route>;

/**
 * bridge: each container has a veth on a bridge. overlay: so it has, and the bridges of several hosts are one network
 * (docs/overlay.md). macvlan, ipvlan, vlan: each has a link of that kind on the parent. cni, netavark:
 * a program of others makes whatever there is (docs/external-networks.md).
 */
export const DRIVERS = ['bridge', 'overlay', 'macvlan', 'ipvlan', 'vlan', ...EXTERNAL_DRIVERS] as const;

/** The kernel's modes of both kinds of link (ip-link(8)). */
export const MACVLAN_MODES = ['bridge', 'private', 'vepa', 'passthru'] as const;
export const IPVLAN_MODES = ['l2', 'l3', 'l3s'] as const;

/**
 * Options are text in libnetwork. isolate: "strict" (default: nothing but published ports crosses between networks),
 * "true" (only networks with isolate=false reach it), "false" (networks that are not strict reach it).
 */
export const NetworkOptions = z.strictObject({
  /**
   * bridge: unmanaged if the bridge belongs to others (netavark's option). It must exist, and gets nothing but our ports.
   * macvlan and ipvlan: the kernel's modes (ip-link(8)); the defaults are bridge and l2.
   */
  mode: z.enum(['managed', 'unmanaged', ...MACVLAN_MODES, ...IPVLAN_MODES]).optional(),
  /** macvlan: broadcasts of multicast groups with more members than this are queued, never if negative (netavark's option). */
  bclim: z
    .string()
    .regex(/^-?\d{1,9}$/, 'bclim is a number')
    .optional(),
  /** The tag of the driver vlan's links; on a bridge, the tag of each container's port (netavark's option). */
  vlan: z
    .string()
    .regex(/^\d{1,4}$/, 'vlan is a number')
    .refine((text) => Number(text) >= 1 && Number(text) <= 4094, 'vlan is between 1 and 4094')
    .optional(),
  mtu: z
    .string()
    .regex(/^\d{2,5}$/, 'mtu is a number of bytes')
    .refine((text) => Number(text) >= 68 && Number(text) <= 65_535, 'mtu is between 68 and 65535')
    .optional(),
  isolate: z.enum(['strict', 'true', 'false']).optional(),
  /** Metric of the default route of containers on this network; the default is 100. */
  metric: z
    .string()
    .regex(/^\d{1,9}$/, 'metric is a number')
    .optional(),
  no_default_route: z.enum(['true', 'false', '1', '0']).optional(),
  /**
   * The source address of this network's packets that leave the host (netavark's option); by default the outgoing interface's.
   */
  outbound_addr4: Ipv4.optional(),
  outbound_addr6: Ipv6.refine((address) => address.includes(':'), 'not an IPv6 address').optional(),
  /** false: packets that leave keep the container's address, which must be routed (Docker's option). */
  'com.docker.network.bridge.enable_ip_masquerade': z.enum(['true', 'false', '1', '0']).optional(),
  /** cni: the file with the network configuration list. It is read again for each container. */
  conflist: z
    .string()
    .max(1024)
    .regex(/^\/[^\0]*$/, 'a conflist is named by its absolute path')
    .optional(),
});
export type NetworkOptions = z.infer<typeof NetworkOptions>;

const common = {
  name: NetworkName,
  driver: z.enum(DRIVERS),
  internal: z.boolean(),
  dns_enabled: z.boolean(),
  labels: z.record(z.string(), z.string()),
  options: NetworkOptions,
  routes: z.array(Route),
  /** The servers for names that are not ours; if empty, those of the host's resolv.conf. */
  network_dns_servers: z.array(IpAddress).max(8),
};

/** The protocol by which an engine hands over its networks. */
export const Engine = z.enum(['netavark', 'cni']);
export type Engine = z.infer<typeof Engine>;

/** A caller's request to make a network: everything but the name has a default. */
export const NetworkRequest = z.strictObject({
  name: common.name,
  /** Is what GET answers, as `created` is, so that an answer can be sent again. Both are made anew. */
  id: z.string().optional(),
  created: z.string().optional(),
  driver: common.driver.optional(),
  /** The bridge, or the parent of the containers' links. */
  network_interface: InterfaceName.optional(),
  subnets: z.array(Subnet).max(16).optional(),
  /** true: an IPv4 subnet is chosen beside IPv6 ones that are named. false: none is, if none is named at all. */
  ipv4_enabled: z.boolean().optional(),
  ipv6_enabled: z.boolean().optional(),
  internal: common.internal.optional(),
  dns_enabled: common.dns_enabled.optional(),
  labels: common.labels.optional(),
  /** `parent` is another word for network_interface, which Docker and Podman's command have. */
  options: NetworkOptions.extend({ parent: InterfaceName.optional() }).optional(),
  routes: common.routes.optional(),
  network_dns_servers: common.network_dns_servers.optional(),
  /** overlay: the subnets of the request are the pools, of which each host gets a share. */
  overlay: OverlayRequest.optional(),
  /** none: containers get no addresses. dhcp is refused: there is no DHCP client. */
  ipam_options: z.strictObject({ driver: z.enum(['host-local', 'dhcp', 'none']).optional() }).optional(),
});
export type NetworkRequest = z.infer<typeof NetworkRequest>;

const isBridged = (driver: string): boolean => driver === 'bridge' || driver === 'overlay';

export const NetworkDefinition = z
  .object({
    ...common,
    // libnetwork leaves out what is empty.
    network_dns_servers: common.network_dns_servers.default([]),
    labels: common.labels.default({}),
    options: common.options.default({}),
    routes: common.routes.default([]),
    /** 64 hex digits. */
    id: z.string().regex(/^[0-9a-f]{64}$/),
    /**
     * The bridge, or the parent of the containers' links. "" for cni, whose plugins know, and until a parent is chosen: Podman writes
     * none for the default.
     */
    network_interface: InterfaceName.or(z.literal('')).default(''),
    /** RFC 3339. */
    created: z.string(),
    subnets: z.array(Subnet).default([]),
    ipv6_enabled: z.boolean(),
    ipam_options: z.object({ driver: z.enum(['host-local', 'none']) }),
    /**
     * The engine that keeps this definition and hands it over with each request, so that cleat forgets it with its last
     * container. Absent for a network of cleat's own.
     */
    engine: Engine.optional(),
    /** overlay: what all hosts agree on, and the VTEP of this one. `subnets` are the shares of this host. */
    overlay: Overlay.optional(),
  })
  .refine(
    ({ subnets, ipam_options: { driver } }) => (driver === 'none') === (subnets.length === 0),
    'a network has subnets if its ipam driver is host-local, and none if it is none',
  )
  .refine(({ driver, overlay }) => (driver === 'overlay') === (overlay !== undefined), 'an overlay says which it is')
  .refine(({ driver, network_interface: link }) => !isBridged(driver) || link !== '', 'a bridge has a name')
  .refine(
    ({ driver, subnets }) => !isBridged(driver) || subnets.every(({ gateway }) => gateway !== undefined),
    'each subnet of a bridge has a gateway',
  );
export type NetworkDefinition = z.infer<typeof NetworkDefinition>;

/**
 * The changes that a network in use supports. An absent field stays as it is; an option that is null gets its default again.
 * `routes` and `network_dns_servers` replace the whole list. An entry of `subnets` that the network has already gets the given
 * gateway and range (null: no range); any other one is added.
 */
export const NetworkUpdate = z.strictObject({
  options: z
    .strictObject({
      mtu: NetworkOptions.shape.mtu.nullable(),
      isolate: NetworkOptions.shape.isolate.nullable(),
      metric: NetworkOptions.shape.metric.nullable(),
      no_default_route: NetworkOptions.shape.no_default_route.nullable(),
      outbound_addr4: NetworkOptions.shape.outbound_addr4.nullable(),
      outbound_addr6: NetworkOptions.shape.outbound_addr6.nullable(),
      'com.docker.network.bridge.enable_ip_masquerade':
        NetworkOptions.shape['com.docker.network.bridge.enable_ip_masquerade'].nullable(),
    })
    .optional(),
  network_dns_servers: common.network_dns_servers.optional(),
  routes: common.routes.optional(),
  subnets: z
    .array(Subnet.extend({ lease_range: Subnet.shape.lease_range.nullable() }))
    .max(8)
    .optional(),
  remove_subnets: z.array(Cidr).max(16).optional(),
  /** true: adds an IPv6 subnet if there is none. false: removes all of them. */
  ipv6_enabled: z.boolean().optional(),
});
export type NetworkUpdate = z.infer<typeof NetworkUpdate>;

/** The network of a container that names none. */
export const DEFAULT_NETWORK = 'cleat';
