/**
 * The arguments of Outside.conntrackForget and Outside.conntrackLimit (index.ts).
 *
 * Guarantees: types alone.
 */

/** The present rules as far as they are known; entries that they do not concern are left alone. */
export interface ConntrackRules {
  /** Addresses that have no owner any more. */
  addresses: string[];
  ports: ConntrackPort[];
  /** All of the outside, or none when they are not to be judged by. */
  networks: {
    /** In CIDR notation. */
    subnets: string[];
    internal: boolean;
    isolate: 'strict' | 'isolated' | 'open';
    masquerade: boolean;
    /** The source addresses of what leaves, where they were chosen. */
    outbound: string[];
  }[];
}

/** A port of the host, on one address of it or (`''`) on all of them, and where it leads; without `address` it is closed. */
export interface ConntrackPort {
  protocol: 'tcp' | 'udp' | 'sctp';
  family: 4 | 6;
  hostIp: string;
  hostPort: number;
  address?: string;
  containerPort?: number;
}

/** How many entries each owner may have. */
export interface ConntrackLimits {
  /** 1 or more. */
  limit: number;
  /** The addresses and subnets of each owner, in CIDR notation. */
  owners: string[][];
  /** Nobody's addresses, also where they are in an owner's subnet. */
  exempt: string[];
}
