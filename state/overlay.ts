/**
 * Overlay networks (docs/overlay.md): what all hosts agree on, and what each says of itself, as they are in the store and in
 * definitions.
 *
 * Guarantees: what others have written is read with these schemas, one key at a time: a value that does not fit is refused alone,
 * and unknown members are left out, so that a later version may add some.
 * Limits: shapes only. plan/overlay/ says which shares fit into a pool.
 */
import { z } from 'zod';
import { Cidr, ContainerId, DnsName, IpAddress, MacAddress, NetworkName, PortNumber } from './names.ts';

/** The largest network number of VXLAN has 24 bits (RFC 7348). */
export const MAX_VNI = 0xff_ffff;
/** IANA's port of VXLAN. */
export const VXLAN_PORT = 4789;

export const BACKENDS = ['vxlan', 'host-gw', 'wireguard'] as const;

/** 32 hex digits, random. */
export const HostId = z.string().regex(/^[0-9a-f]{32}$/, 'a host id is 32 hex digits');

/** One of IPv4, one of IPv6, or both. */
const onePerFamily = z
  .array(Cidr)
  .min(1)
  .max(2)
  .refine((all) => new Set(all.map((one) => one.includes(':'))).size === all.length, 'two subnets of one family');

/** A key of Curve25519, as wg(8) writes them: 32 bytes in base64. The last digit has two bits that are no part of them. */
export const WireguardKey = z.string().regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/, 'a key is 32 bytes in base64');

/** A host of an overlay as the others see it. */
export const Peer = z.object({
  /** Random id of the host's daemon (32 hex digits), kept on its disk. */
  host: HostId,
  /** The address that its VTEP is reached at. */
  address: IpAddress,
  /** The MAC of its VXLAN link. */
  mac: MacAddress,
  /** Its shares of the pool: one of IPv4, one of IPv6, or both; canonical CIDR. */
  subnets: onePerFamily,
  /** Its public key, if the backend is WireGuard. */
  public_key: WireguardKey.optional(),
});
export type Peer = z.infer<typeof Peer>;

/** What all hosts agree on about an overlay: in the store, under networks/NAME. */
export const OverlayShared = z.object({
  name: NetworkName,
  id: z.string().regex(/^[0-9a-f]{64}$/),
  pools: onePerFamily,
  host_prefix: z.int().min(8).max(30),
  host_prefix6: z.int().min(16).max(126).optional(),
  backend: z.enum(BACKENDS),
  vni: z.int().min(1).max(MAX_VNI),
  port: PortNumber,
});
export type OverlayShared = z.infer<typeof OverlayShared>;

/** An overlay in the definition of a network: with the VTEP of this host. */
export const Overlay = OverlayShared.extend({
  /** The MAC of this host's VXLAN link. */
  mac: MacAddress,
  /** The address at which the other hosts reach it. */
  address: IpAddress,
  /** The public key of this host, if the backend is WireGuard. */
  public_key: WireguardKey.optional(),
});
export type Overlay = z.infer<typeof Overlay>;

/** What a caller may say of a new overlay; `pools` are the subnets of the request if they are absent. */
export const OverlayRequest = z.strictObject({
  ...OverlayShared.partial().shape,
  mac: z.string().optional(),
  address: z.string().optional(),
  public_key: z.string().optional(),
});
export type OverlayRequest = z.infer<typeof OverlayRequest>;

/** The value of a host's claim to a share: the key is the share. */
export const Claim = Peer.omit({ subnets: true }).extend({
  /** How many times the host has written the claim. */
  generation: z.int().min(1),
  /** Where the daemon runs: two daemons with one host id and different places are a host and its copy. */
  place: z.string().max(200),
});
export type Claim = z.infer<typeof Claim>;

/** The names of one container, as the other hosts answer them. */
export const RemoteNames = z.object({
  id: ContainerId,
  addresses: z.array(IpAddress).min(1).max(16),
  names: z.array(DnsName).min(1).max(64),
});
export type RemoteNames = z.infer<typeof RemoteNames>;
