/**
 * How much has gone through the interfaces of a container, and what it has of the forwarder: an answer of GET /v1/stats and /v1/containers/ID/stats.
 */
export interface InterfaceStats {
  /** Or the program of an uplink. Null: not made by cleat. */
  network: string | null;
  rx_bytes: number;
  rx_packets: number;
  rx_errors: number;
  rx_dropped: number;
  tx_bytes: number;
  tx_packets: number;
  tx_errors: number;
  tx_dropped: number;
}

/** Published ports that the forwarder carries. */
export interface ForwarderStats {
  /** TCP connections and UDP clients, and how many of each it may have. */
  connections: number;
  most_connections: number;
  flows: number;
  most_flows: number;
  /** Host ports (8080/tcp) whose new clients wait, because there is no room for more. */
  full: string[];
}

export interface ContainerStats {
  id: string;
  /** RFC 3339. */
  read: string;
  /** Null: no namespace of its own, or none that can be read. */
  interfaces: Record<string, InterfaceStats> | null;
  /** Null: no port is carried by a forwarder that says so. */
  forwarder: ForwarderStats | null;
}
