/**
 * A container in a list, and in the answer to an event. inspection.ts has a single container in full.
 *
 * Guarantees: attach results have libnetwork's StatusBlock shape.
 * Limits: this is the intended state. The audit (audit.ts) reports the actual one.
 */
import { z } from 'zod';
import { Drift, LeasedAddress } from '../../container.ts';
import { AttachmentOptions } from '../../event.ts';
import { EXTERNAL_DRIVERS } from '../../external.ts';
import { Fault } from '../../faults.ts';
import { ContainerId, NetworkName, Pid } from '../../names.ts';
import { PastaSettings, PortHandler, SlirpSettings } from '../../uplink.ts';

/** The StatusBlock of libnetwork (types.StatusBlock). */
export const StatusBlock = z.object({
  interfaces: z.record(
    z.string(),
    z.object({
      mac_address: z.string(),
      subnets: z.array(z.object({ ipnet: z.string(), gateway: z.string().optional() })),
    }),
  ),
  dns_server_ips: z.array(z.string()).optional(),
  dns_search_domains: z.array(z.string()).optional(),
});
export type StatusBlock = z.infer<typeof StatusBlock>;

const namespace = {
  path: z.string().nullable().describe('Where it is pinned; null for the namespace of the host'),
  dev: z.number().optional(),
  ino: z.number().optional().describe('Device and inode, once it is known to exist'),
};

const NetnsView = z.discriminatedUnion('mode', [
  z.object({ mode: z.literal('new'), ...namespace }),
  z.object({ mode: z.literal('host'), ...namespace }),
  z.object({ mode: z.literal('container'), id: ContainerId, ...namespace }),
  z.object({ mode: z.literal('path'), ...namespace }),
  z.object({ mode: z.literal('pid'), pid: Pid, ...namespace }),
]);

const made = {
  missing: z.array(z.string()).describe('Hardening that was asked for and that the executable does not know'),
  interface: z.string().nullable().describe('Null: not started yet, or not any more'),
  mac: z.string().nullable(),
  addresses: z.array(LeasedAddress),
  dns: z.array(z.string()),
};

/** The settings of slirp4netns, and the link that it has made. */
export const SlirpView = SlirpSettings.omit({ hostLoopback: true, outboundAddr: true, outboundAddr6: true }).extend({
  host_loopback: z.boolean(),
  outbound_addr: z.string().nullable(),
  outbound_addr6: z.string().nullable(),
  ...made,
});
/** The settings of pasta, and the link that it has made. */
export const PastaView = PastaSettings.extend(made);
const UplinkView = z.discriminatedUnion('program', [SlirpView, PastaView]);
export type UplinkView = z.infer<typeof UplinkView>;

export const PublishedPort = z.object({
  host_ip: z.string(),
  host_port: z.int(),
  container_port: z.int(),
  protocol: z.enum(['tcp', 'udp', 'sctp']),
  range: z.int(),
});
export type PublishedPort = z.infer<typeof PublishedPort>;

/** What a program of others has answered: addresses, routes, name servers, interfaces on both sides. */
const ExternalView = z.object({
  driver: z.enum(EXTERNAL_DRIVERS),
  container_id: z.string().describe('Its id, as the program knows it'),
  result: z.record(z.string(), z.unknown()).nullable().describe('Word for word; null until there is an answer'),
});
export type ExternalView = z.infer<typeof ExternalView>;

export const ContainerView = z.object({
  id: ContainerId,
  name: z.string(),
  hostname: z.string().nullable(),
  pod: z.string().nullable(),
  state: z.string().describe('"up", "created", "configuring.leasing", ...'),
  legal: z.array(z.string()).describe('Events that it accepts now'),
  generation: z.int(),
  created: z.iso.datetime(),
  netns: NetnsView,
  outside: z.string().nullable(),
  bound_to: z.int().nullable(),
  exit_fd: z
    .object({ pid: z.int(), fd: z.int() })
    .nullable()
    .describe('The descriptor that it ends with, as it was named'),
  networks: z.record(NetworkName, StatusBlock),
  requested_networks: z.record(NetworkName, AttachmentOptions),
  external: z
    .record(NetworkName, ExternalView)
    .optional()
    .describe('The networks that programs of others have made for it; absent if there are none'),
  uplink: UplinkView.nullable().describe('The program that leads out instead of networks'),
  port_handler: PortHandler,
  ports: z.array(PublishedPort),
  files: z
    .object({ resolv_conf: z.string(), hosts: z.string() })
    .nullable()
    .describe('Paths of the files kept for it; null when none were asked for'),
  drift: z.array(Drift),
  owner_gone: z.boolean().describe('Torn down, but others still use its namespace'),
  fault: Fault.nullable().describe('Why it is not up'),
  last_operation: z
    .object({ type: z.string(), network: z.string().nullable(), fault: Fault.nullable() })
    .describe('What was asked of it last, or what it did last by itself, and why that failed'),
  leftovers: z.array(Fault),
});
export type ContainerView = z.infer<typeof ContainerView>;

/** A container that is gone: nothing of it is left. */
export const Gone = z.object({ id: ContainerId, state: z.literal('gone') });
export type Gone = z.infer<typeof Gone>;
