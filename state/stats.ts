/**
 * How much has gone through the interfaces of a container: an answer of GET /v1/stats and /v1/containers/ID/stats.
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

export interface ContainerStats {
  id: string;
  /** RFC 3339. */
  read: string;
  /** Null: no namespace of its own, or none that can be read. */
  interfaces: Record<string, InterfaceStats> | null;
}
