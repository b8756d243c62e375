/**
 * Says what a CNI runtime asks a plugin for: the CNI_ variables, and the network configuration with `"type": "cleat"`.
 *
 * The protocol is the CNI specification 0.3.0 to 1.1.0 (containernetworking/cni, SPEC.md) with its CONVENTIONS.md. The names of
 * fields are those of the specification, of the plugin `bridge` and of its `ipam` host-local.
 *
 * Guarantees: a field of the configuration that is not known is refused, so that none is ignored which its author relies on;
 * extra fields are taken only where the conventions say that others put them: in `args` and in results of other plugins.
 * Limits: syntax only. service/fronts/cni/ says what goes together.
 */
import { z } from 'zod';
import { Cidr, DnsName, InterfaceName, IpAddress, MacAddress, NamespacePath, NetworkName } from '../names.ts';
import { NetworkOptions, Subnet } from '../network.ts';

/** Lists the versions of the specification, ascending; native/cni/call.cc has the same. */
export const CNI_VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export const CniVersion = z.enum(CNI_VERSIONS);
export type CniVersion = z.infer<typeof CniVersion>;

/** The specification has no longest id. A longer one than containers have here is given another one (cni-names.ts). */
const RuntimeId = z
  .string()
  .max(4096)
  .regex(
    /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/,
    'a container id is letters, digits, "_", "." and "-", beginning with a letter or digit',
  );

/** Holds the variables of ADD and CHECK. */
export const CniAttachmentVariables = z.object({
  CNI_CONTAINERID: RuntimeId,
  CNI_NETNS: NamespacePath,
  CNI_IFNAME: InterfaceName,
  CNI_ARGS: z.string().max(65_536).optional(),
});
export type CniAttachmentVariables = z.infer<typeof CniAttachmentVariables>;

/** Holds the variables of DEL: the namespace may be gone, and another one may have its path by now. */
export const CniDelVariables = z.object({ CNI_CONTAINERID: RuntimeId, CNI_IFNAME: InterfaceName });

const Dns = z.strictObject({
  nameservers: z.array(IpAddress).max(8).optional(),
  domain: z.string().max(253).optional(),
  search: z.array(z.string().max(253)).max(32).optional(),
  options: z.array(z.string().max(64)).max(32).optional(),
});
export type CniDns = z.infer<typeof Dns>;

const range = {
  subnet: Cidr,
  rangeStart: IpAddress.optional(),
  rangeEnd: IpAddress.optional(),
  gateway: IpAddress.optional(),
};
export const CniRange = z.strictObject(range);
export type CniRange = z.infer<typeof CniRange>;

const Ipam = z.strictObject({
  type: z.string(),
  /** Sets of ranges: a container gets one address of each set. */
  ranges: z.array(z.array(CniRange).min(1)).min(1).max(16).optional(),
  // One range may stand for itself.
  ...range,
  subnet: Cidr.optional(),
  routes: z
    .array(z.strictObject({ dst: Cidr, gw: IpAddress.optional() }))
    .max(256)
    .optional(),
  /** Says where host-local keeps its leases. Those of cleat are in the containers' snapshots. */
  dataDir: z.string().optional(),
});
export type CniIpam = z.infer<typeof Ipam>;

/** Is an address, maybe with the length of its prefix, which is that of the subnet here. */
const AddressText = z
  .string()
  .transform((text) => text.split('/')[0] ?? '')
  .pipe(IpAddress);

export const CniPortMapping = z.object({
  hostPort: z.int().min(1).max(65_535),
  containerPort: z.int().min(1).max(65_535),
  protocol: z
    .string()
    .toLowerCase()
    .pipe(z.enum(['tcp', 'udp', 'sctp']))
    .optional(),
  hostIP: z.union([z.literal(''), IpAddress]).optional(),
});

const Aliases = z.array(DnsName).max(64);

/** Holds what a runtime adds for each container: the capabilities of CONVENTIONS.md that the configuration declares. */
const RuntimeConfig = z.strictObject({
  portMappings: z.array(CniPortMapping).max(4096).nullish(),
  ips: z.array(AddressText).max(16).nullish(),
  mac: MacAddress.nullish(),
  /** Lists them for this network, or by the name of the network (Podman). */
  aliases: z.union([Aliases, z.record(z.string(), Aliases)]).nullish(),
  dns: z
    .strictObject({
      servers: z.array(IpAddress).max(8).nullish(),
      searches: z.array(z.string().max(253)).max(32).nullish(),
      options: z.array(z.string().max(64)).max(32).nullish(),
    })
    .nullish(),
});

/** Each reader of `args` takes what it knows. */
const Args = z.looseObject({
  cni: z.looseObject({ ips: z.array(AddressText).max(16).nullish(), mac: MacAddress.nullish() }).nullish(),
});

/** Is the result of the plugins before this one, or of the ADD that is checked. */
export const CniPrevious = z.looseObject({
  interfaces: z
    .array(z.looseObject({ name: z.string(), mac: z.string().optional(), sandbox: z.string().optional() }))
    .nullish(),
  ips: z.array(z.looseObject({ address: z.string(), interface: z.int().nullish() })).nullish(),
  routes: z.array(z.looseObject({ dst: z.string() })).nullish(),
  dns: z
    .looseObject({
      nameservers: z.array(z.string()).nullish(),
      domain: z.string().nullish(),
      search: z.array(z.string()).nullish(),
      options: z.array(z.string()).nullish(),
    })
    .nullish(),
});
export type CniPrevious = z.infer<typeof CniPrevious>;

const ValidAttachments = z.array(z.looseObject({ containerID: z.string(), ifname: z.string() }));

/** Holds what every command needs of a configuration. DEL needs no more, so that it undoes what an earlier configuration made. */
export const CniNamed = z.looseObject({ cniVersion: CniVersion, name: NetworkName });

export const CniConfiguration = z.strictObject({
  cniVersion: CniVersion,
  /** Lists the versions that a list of plugins can be read in (1.1). */
  cniVersions: z.array(z.string()).optional(),
  name: NetworkName,
  type: z.string(),
  /** Names a network of cleat's own. Without one, and without subnets, it is that which is called like the configuration. */
  network: NetworkName.optional(),
  /** Or the network itself: its subnets as in a network definition, or as for host-local. */
  subnets: z.array(Subnet).min(1).max(16).optional(),
  ipam: Ipam.optional(),
  bridge: InterfaceName.optional(),
  /** 0: that of the route to the outside. */
  mtu: z.int().min(0).max(65_535).optional(),
  internal: z.boolean().optional(),
  isolate: z.union([NetworkOptions.shape.isolate.unwrap(), z.boolean()]).optional(),
  /** Names are answered by cleat. */
  dnsEnabled: z.boolean().optional(),
  ipMasq: z.boolean().optional(),
  // Of the plugin `bridge`: the gateway is always the bridge's, and frames may return by the port that they came from.
  isGateway: z.literal(true).optional(),
  isDefaultGateway: z.boolean().optional(),
  hairpinMode: z.literal(true).optional(),
  dns: Dns.optional(),
  capabilities: z.record(z.string(), z.boolean()).optional(),
  runtimeConfig: RuntimeConfig.optional(),
  args: Args.nullish(),
  prevResult: CniPrevious.nullish(),
  // Only for GC; libcni sends it by two names.
  'cni.dev/valid-attachments': ValidAttachments.nullish(),
  'cni.dev/attachments': ValidAttachments.nullish(),
});
export type CniConfiguration = z.infer<typeof CniConfiguration>;

/** Is the configuration as GC gets it. */
export const CniCollection = CniNamed.extend({ 'cni.dev/valid-attachments': ValidAttachments });

/** Is the body of a request: the variables and the configuration as the runtime gave them. */
export const CniRequest = z.strictObject({
  env: z.record(z.string(), z.string()),
  config: z.record(z.string(), z.unknown()),
});
