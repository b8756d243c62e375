/**
 * The traffic of a container's interfaces, and its use of the forwarder that carries its published ports.
 *
 * Limits: counters begin anew with each interface.
 */
import { z } from 'zod';
import { ContainerId } from '../../names.ts';

export const InterfaceStats = z.object({
  network: z.string().nullable().describe('Or the program of an uplink. Null: not made by cleat'),
  rx_bytes: z.number(),
  rx_packets: z.number(),
  rx_errors: z.number(),
  rx_dropped: z.number(),
  tx_bytes: z.number(),
  tx_packets: z.number(),
  tx_errors: z.number(),
  tx_dropped: z.number(),
});
export type InterfaceStats = z.infer<typeof InterfaceStats>;

/** The use of published ports that the forwarder carries. */
export const ForwarderStats = z.object({
  connections: z.int().describe('TCP connections'),
  most_connections: z.int().describe('How many it may have'),
  flows: z.int().describe('UDP clients'),
  most_flows: z.int().describe('How many it may have'),
  full: z.array(z.string()).describe('Host ports (8080/tcp) whose new clients wait, because there is no room for more'),
});
export type ForwarderStats = z.infer<typeof ForwarderStats>;

export const ContainerStats = z.object({
  id: ContainerId,
  read: z.iso.datetime(),
  interfaces: z
    .record(z.string(), InterfaceStats)
    .nullable()
    .describe('By name. Null: no namespace of its own, or none that can be read'),
  forwarder: ForwarderStats.nullable().describe('Null: no port is carried by a forwarder that says so'),
});
export type ContainerStats = z.infer<typeof ContainerStats>;
