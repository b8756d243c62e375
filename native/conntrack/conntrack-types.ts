/**
 * The arguments of Outside.conntrackForget and Outside.conntrackLimit (index.ts).
 *
 * Guarantees: types alone.
 */

/** The present rules as far as they are known. Entries that they do not concern are left alone. */
export interface ConntrackRules {
  /** Addresses that no longer have an owner. */
  addresses: string[];
  ports: ConntrackPort[];
  /** All networks of the outside, or none if entries are not to be judged by networks. */
  networks: {
    /** Subnets in CIDR notation. */
    subnets: string[];
    internal: boolean;
    isolate: 'strict' | 'isolated' | 'open';
    masquerade: boolean;
    /** The configured source addresses of outgoing packets, if any. */
    outbound: string[];
  }[];
}

/** A port of the host, on one of its addresses or (`''`) on all, with its target; a port without `address` is closed. */
export interface ConntrackPort {
  protocol: 'tcp' | 'udp' | 'sctp';
  family: 4 | 6;
  hostIp: string;
  hostPort: number;
  address?: string;
  containerPort?: number;
}

/** The maximum number of entries for each owner. */
export interface ConntrackLimits {
  /** 1 or more. */
  limit: number;
  /** The addresses and subnets of each owner, in CIDR notation. */
  owners: string[][];
  /** Addresses that belong to no owner, even if they are in an owner's subnet. */
  exempt: string[];
}
