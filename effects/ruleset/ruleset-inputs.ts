/**
 * The facts that the rules of the table are written from: networks, published ports, and what the host did not forward.
 *
 * Limits: shapes. ruleset.ts and the files beside it write the rules.
 */
import type { Family } from './rule-words.ts';

export interface NetworkRules {
  bridge: string;
  /** Networks in CIDR notation, IPv4 or IPv6, and the address of the bridge in each. */
  subnets: { cidr: string; gateway: string }[];
  /** A name server of ours listens on the gateways. */
  dns: boolean;
  internal: boolean;
  /** The networks whose packets may enter. strict: none. isolated: open ones. open: open and isolated ones. */
  isolate: 'strict' | 'isolated' | 'open';
  /** True if packets that leave get an address of the host as their source. */
  masquerade: boolean;
  /** The source addresses, at most one per family. A family without one gets the address of the outgoing interface. */
  outbound: readonly string[];
  /** A network on several hosts has its other hosts here; any other network has none. */
  overlay?: OverlayRules;
}

export interface OverlayRules {
  /** The link to the other hosts; null: packets go to them as they are. */
  link: string | null;
  /** All of the overlay's addresses, in CIDR notation. `subnets` are those of this host. */
  pools: readonly string[];
  /**
   * Packets of VXLAN are known by these: the address that they come to, their network number and port, and the addresses that the other
   * hosts send them from. null: packets of the tunnel prove themselves who sent them, or there is no tunnel.
   */
  vxlan: { local: string; vni: number; port: number; peers: readonly string[] } | null;
}

export interface PublishedPort {
  protocol: 'tcp' | 'udp' | 'sctp';
  /** '', '0.0.0.0' and '::' are every address of the host, in the family of the container's address. */
  hostIp: string;
  hostPort: number;
  /** The container's address. */
  address: string;
  containerPort: number;
  owner: string;
}

/**
 * The families that this host did not forward before cleat, and the interfaces that it forwarded from even so
 * (net.ipv4.conf.NAME.forwarding). Absent families are forwarded as the host's other rules say.
 */
export type Closed = ReadonlyMap<Family, readonly string[]>;
