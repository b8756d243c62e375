/**
 * Network definitions, in the libnetwork JSON shape: what `podman network inspect` prints can be read here, and the
 * other way round (go.podman.io/common/libnetwork/types, Network).
 *
 * Guarantees: a definition that passes is complete: name, id, interface, at least one subnet with its gateway.
 * Limits: driver bridge.
 */
import { z } from 'zod';
import { Cidr, InterfaceName, IpAddress, NetworkName } from './names.ts';

export const Subnet = z.strictObject({
  subnet: Cidr,
  gateway: IpAddress.optional(),
  /** Addresses given out without being asked for lie in here (inclusive). */
  lease_range: z.strictObject({ start_ip: IpAddress.optional(), end_ip: IpAddress.optional() }).optional(),
});
export type Subnet = z.infer<typeof Subnet>;

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
 * Options are text in libnetwork. isolate: "strict" (default: nothing but published ports crosses between networks),
 * "true" (only networks with isolate=false reach it), "false" (networks that are not strict reach it).
 */
export const NetworkOptions = z.strictObject({
  mtu: z
    .string()
    .regex(/^\d{2,5}$/, 'mtu is a number of bytes')
    .refine((text) => Number(text) >= 68 && Number(text) <= 65_535, 'mtu is between 68 and 65535')
    .optional(),
  isolate: z.enum(['strict', 'true', 'false']).optional(),
  /** Metric of the default route of containers on this network; 100 unless given. */
  metric: z
    .string()
    .regex(/^\d{1,9}$/, 'metric is a number')
    .optional(),
  no_default_route: z.enum(['true', 'false', '1', '0']).optional(),
});
export type NetworkOptions = z.infer<typeof NetworkOptions>;

const common = {
  name: NetworkName,
  driver: z.literal('bridge'),
  internal: z.boolean(),
  dns_enabled: z.boolean(),
  labels: z.record(z.string(), z.string()),
  options: NetworkOptions,
  routes: z.array(Route),
  /** Who is asked about names that are not ours; none: the host's resolv.conf says. */
  network_dns_servers: z.array(IpAddress).max(8),
};

/** What a caller gives to make a network: everything but the name has a default. */
export const NetworkRequest = z.strictObject({
  name: common.name,
  driver: common.driver.optional(),
  network_interface: InterfaceName.optional(),
  subnets: z.array(Subnet).max(16).optional(),
  ipv6_enabled: z.boolean().optional(),
  internal: common.internal.optional(),
  dns_enabled: common.dns_enabled.optional(),
  labels: common.labels.optional(),
  options: common.options.optional(),
  routes: common.routes.optional(),
  network_dns_servers: common.network_dns_servers.optional(),
});
export type NetworkRequest = z.infer<typeof NetworkRequest>;

export const NetworkDefinition = z.object({
  ...common,
  // Absent in definitions of before it was known.
  network_dns_servers: common.network_dns_servers.default([]),
  /** 64 hex digits. */
  id: z.string().regex(/^[0-9a-f]{64}$/),
  network_interface: InterfaceName,
  /** RFC 3339. */
  created: z.string(),
  subnets: z.array(Subnet.extend({ gateway: IpAddress })).min(1),
  ipv6_enabled: z.boolean(),
  ipam_options: z.object({ driver: z.literal('host-local') }),
});
export type NetworkDefinition = z.infer<typeof NetworkDefinition>;

/**
 * What may change on a network that is in use. Absent: as it is. `subnets` are added to those there are; `routes` and
 * `network_dns_servers` replace the whole list.
 */
export const NetworkUpdate = z.strictObject({
  options: NetworkOptions.pick({ mtu: true, isolate: true }).optional(),
  network_dns_servers: common.network_dns_servers.optional(),
  routes: common.routes.optional(),
  subnets: z.array(Subnet).max(8).optional(),
  /** true: add an IPv6 subnet, if there is none. */
  ipv6_enabled: z.literal(true).optional(),
});
export type NetworkUpdate = z.infer<typeof NetworkUpdate>;

/** The network that a container gets when it does not say which. */
export const DEFAULT_NETWORK = 'cleat';
