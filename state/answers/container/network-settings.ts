/**
 * A container's network in the shape of `docker inspect` and `podman inspect`: NetworkSettings.
 *
 * Guarantees: every field is there, each in the type that Docker's and Podman's clients decode.
 */
import { z } from 'zod';

const Address = z.object({ Addr: z.string(), PrefixLength: z.int() });

/** Podman's InspectBasicNetworkConfig: the container has these fields, and so does each of its networks. */
export const BasicConfig = z.object({
  EndpointID: z.string(),
  Gateway: z.string(),
  IPAddress: z.string(),
  IPPrefixLen: z.int(),
  SecondaryIPAddresses: z.array(Address),
  IPv6Gateway: z.string(),
  GlobalIPv6Address: z.string(),
  GlobalIPv6PrefixLen: z.int(),
  SecondaryIPv6Addresses: z.array(Address),
  MacAddress: z.string(),
  /** Podman's JSON spells it like this. */
  AdditionalMACAddresses: z.array(z.string()),
});
export type BasicConfig = z.infer<typeof BasicConfig>;

export const NetworkEntry = BasicConfig.extend({
  NetworkID: z.string(),
  DriverOpts: z.null(),
  IPAMConfig: z
    .object({ IPv4Address: z.string().optional(), IPv6Address: z.string().optional() })
    .nullable()
    .describe('What was asked for, one address per family, as Docker has it'),
  Links: z.null(),
  Aliases: z.array(z.string()),
});
export type NetworkEntry = z.infer<typeof NetworkEntry>;

export const NetworkSettings = BasicConfig.extend({
  Bridge: z.string(),
  SandboxID: z.string(),
  HairpinMode: z.boolean(),
  LinkLocalIPv6Address: z.string(),
  LinkLocalIPv6PrefixLen: z.int(),
  Ports: z.record(z.string(), z.array(z.object({ HostIp: z.string(), HostPort: z.string() }))),
  SandboxKey: z.string(),
  Networks: z.record(z.string(), NetworkEntry),
});
export type NetworkSettings = z.infer<typeof NetworkSettings>;
