/**
 * Says what Podman sends to netavark on stdin, from netavark 1.4 to 2.x. What it expects on stdout is in state/answers/netavark.ts.
 *
 * Guarantees: a request that netavark understands is understood. Fields that only newer versions know are passed over, as
 * netavark does. A teardown reads nothing but what it needs, so that a definition that is broken keeps nobody from leaving.
 * Limits: shapes alone. service/fronts/netavark.ts says what they mean, and has the values checked by the schemas of the socket.
 */
import { z } from 'zod';
import { ContainerId, NetworkName } from '../names.ts';

const Options = z.record(z.string(), z.string()).nullish();

/** types.PerNetworkOptions of libnetwork: what a container wishes of one network. */
const PerNetwork = z.object({
  interface_name: z.string().min(1, 'no container interface name given'),
  static_ips: z.array(z.string()).nullish(),
  static_mac: z.string().nullish(),
  aliases: z.array(z.string()).nullish(),
  options: Options,
});
export type PerNetwork = z.infer<typeof PerNetwork>;

const Subnet = z.object({
  subnet: z.string(),
  gateway: z.string().nullish(),
  lease_range: z.object({ start_ip: z.string().nullish(), end_ip: z.string().nullish() }).nullish(),
});

const Route = z.object({
  destination: z.string(),
  gateway: z.string().nullish(),
  metric: z.int().nullish(),
  route_type: z.string().nullish(),
});

/** types.Network of libnetwork: a network as Podman keeps it. */
export const NetworkInfo = z.object({
  name: NetworkName,
  id: z.string(),
  driver: z.string(),
  network_interface: z.string().nullish(),
  created: z.string().nullish(),
  subnets: z.array(Subnet).nullish(),
  routes: z.array(Route).nullish(),
  ipv6_enabled: z.boolean(),
  internal: z.boolean(),
  dns_enabled: z.boolean(),
  network_dns_servers: z.array(z.string()).nullish(),
  labels: z.record(z.string(), z.string()).nullish(),
  options: Options,
  ipam_options: Options,
});
export type NetworkInfo = z.infer<typeof NetworkInfo>;

const port = z.int().min(0).max(65_535);
const Mapping = z.object({
  container_port: port,
  host_port: port,
  host_ip: z.string(),
  /** "tcp", "udp", "sctp", or several of them with commas; "" is tcp. */
  protocol: z.string(),
  range: port,
});
export type Mapping = z.infer<typeof Mapping>;

/** Says what is wrong in the form that was meant: a list, or an object. */
const whyNeither = ({ input, errors = [] }: { input?: unknown; errors?: z.core.$ZodIssue[][] }): string => {
  const [issue] = errors[Array.isArray(input) ? 1 : 0] ?? [];
  const where = (issue?.path ?? []).join('.');
  return `${where}${where === '' ? '' : ': '}${issue?.message ?? 'not understood'}`;
};
const neither = { error: (issue: object) => whyNeither(issue) };

const named = { name: NetworkName };

export const NetavarkSetup = z.object({
  container_id: ContainerId,
  container_name: z.string(),
  /** Holds them by name, or since netavark 2 as a list: then in the order in which they were asked for. */
  networks: z.union([z.record(NetworkName, PerNetwork), z.array(PerNetwork.extend(named))], neither),
  network_info: z.record(NetworkName, NetworkInfo),
  port_mappings: z.array(Mapping).max(4096).nullish(),
  /** Servers that this container's queries are forwarded to. */
  dns_servers: z.array(z.string()).nullish(),
});
export type NetavarkSetup = z.infer<typeof NetavarkSetup>;

export const NetavarkTeardown = z.object({
  container_id: ContainerId,
  networks: z.union([z.record(NetworkName, z.object({})), z.array(z.object(named))], neither),
});
export type NetavarkTeardown = z.infer<typeof NetavarkTeardown>;

/** Is not sent by Podman but given on the command line: `update NAME --network-dns-servers LIST`. */
export const NetavarkUpdate = z.object({ network_dns_servers: z.array(z.string()) });

/** Is a network as it is asked for: what is open is chosen. */
const NetworkWish = NetworkInfo.extend({
  ipv6_enabled: z.boolean().nullish(),
  internal: z.boolean().nullish(),
  dns_enabled: z.boolean().nullish(),
});

/** netavark 2 completes and checks definitions for Podman, which knows what is in use. */
export const NetavarkCreate = z.object({
  network: NetworkWish,
  used: z.object({
    interfaces: z.array(z.string()).nullish(),
    /** Ids by name. */
    names: z.record(z.string(), z.string()).nullish(),
    subnets: z.array(z.string()).nullish(),
  }),
  options: z.object({
    subnet_pools: z.array(z.object({ base: z.string(), size: z.int() })).nullish(),
    default_interface_name: z.string().nullish(),
    check_used_subnets: z.boolean(),
  }),
});
export type NetavarkCreate = z.infer<typeof NetavarkCreate>;
