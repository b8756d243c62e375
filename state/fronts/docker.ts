/**
 * What clients of Docker's Engine API send about networks (moby, api/types/network, up to version 1.50).
 *
 * Guarantees: strict: a field that Docker's API does not have is an error naming it. Clients written in Go send null for what is
 * empty, which is as good as absent. Values are text here; service/fronts/docker/ translates them, and cleat's own schemas check them.
 * Limits: EndpointSettings has fields that Docker answers and never reads (IPAddress, Gateway, ...); clients send them back, so they
 * are accepted and not read here either.
 */
import { z } from 'zod';

const text = z.string().nullish();
const flag = z.boolean().nullish();
const texts = z.array(z.string()).nullish();
const pairs = z.record(z.string(), z.string()).nullish();

export const DockerSubnet = z.strictObject({ Subnet: text, IPRange: text, Gateway: text, AuxiliaryAddresses: pairs });
export type DockerSubnet = z.infer<typeof DockerSubnet>;

export const DockerCreate = z.strictObject({
  Name: z.string(),
  /** Older clients say it; names are always unique. */
  CheckDuplicate: flag,
  Driver: text,
  Scope: text,
  EnableIPv4: flag,
  EnableIPv6: flag,
  IPAM: z.strictObject({ Driver: text, Options: pairs, Config: z.array(DockerSubnet).max(16).nullish() }).nullish(),
  Internal: flag,
  Attachable: flag,
  Ingress: flag,
  ConfigOnly: flag,
  ConfigFrom: z.strictObject({ Network: text }).nullish(),
  Options: pairs,
  Labels: pairs,
});
export type DockerCreate = z.infer<typeof DockerCreate>;

const answered = z.unknown().optional();

export const DockerEndpoint = z.strictObject({
  IPAMConfig: z.strictObject({ IPv4Address: text, IPv6Address: text, LinkLocalIPs: texts }).nullish(),
  Links: texts,
  Aliases: texts,
  MacAddress: text,
  DriverOpts: pairs,
  GwPriority: z.int().nullish(),
  NetworkID: answered,
  EndpointID: answered,
  Gateway: answered,
  IPAddress: answered,
  IPPrefixLen: answered,
  IPv6Gateway: answered,
  GlobalIPv6Address: answered,
  GlobalIPv6PrefixLen: answered,
  DNSNames: answered,
});
export type DockerEndpoint = z.infer<typeof DockerEndpoint>;

export const DockerConnect = z.strictObject({ Container: z.string(), EndpointConfig: DockerEndpoint.nullish() });
export const DockerDisconnect = z.strictObject({ Container: z.string(), Force: flag });
