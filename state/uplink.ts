/**
 * A user-mode uplink: the program, slirp4netns or pasta, that connects a container without a bridge.
 *
 * Guarantees: shapes alone. A request is the reference's `key=value` list; the settings in a record are complete.
 */
import { z } from 'zod';
import { InterfaceName } from './names.ts';

export const UPLINK_PROGRAMS = ['slirp4netns', 'pasta'] as const;
export type UplinkProgram = (typeof UPLINK_PROGRAMS)[number];

/** The request: options as after `--network slirp4netns:` or `--network pasta:`, in order; the last of equal ones counts. */
export const UplinkRequest = z.strictObject({
  program: z.enum(UPLINK_PROGRAMS),
  options: z.array(z.string().min(1).max(1024)).max(64).optional(),
});
export type UplinkRequest = z.infer<typeof UplinkRequest>;

export const SlirpSettings = z.object({
  program: z.literal('slirp4netns'),
  /** Absolute path of the executable. */
  file: z.string(),
  /** IPv4 network in canonical form: "10.0.2.0/24". Guest +100, gateway +2, DNS +3 (B66). */
  cidr: z.string(),
  mtu: z.int(),
  ipv6: z.boolean(),
  hostLoopback: z.boolean(),
  /** IPv4 address or interface name; null: routing decides. */
  outboundAddr: z.string().nullable(),
  outboundAddr6: z.string().nullable(),
});
export type SlirpSettings = z.infer<typeof SlirpSettings>;

export const PastaSettings = z.object({
  program: z.literal('pasta'),
  file: z.string(),
  /** The caller's own options, each checked, as pasta takes them: ["--mtu", "1500"]. */
  args: z.array(z.string()),
});
export type PastaSettings = z.infer<typeof PastaSettings>;

/** A program with complete settings, which the record keeps. */
export const UplinkSettings = z.discriminatedUnion('program', [SlirpSettings, PastaSettings]);
export type UplinkSettings = z.infer<typeof UplinkSettings>;

/** The link that the program has made in the namespace, as the kernel shows it. */
export const UplinkLink = z.object({
  name: InterfaceName,
  mac: z.string(),
  mtu: z.int(),
  addresses: z.array(z.object({ address: z.string(), prefix: z.int(), gateway: z.string().nullable() })),
});
export type UplinkLink = z.infer<typeof UplinkLink>;

/** The uplink of one container. Its process is found by the container's token, not by anything in here. */
export const Uplink = z.object({
  settings: UplinkSettings,
  /** Null: not started yet, or no longer running. */
  made: UplinkLink.nullable(),
  /** Requested hardening options that the executable does not support. */
  missing: z.array(z.string()),
  /** The number of times in a row that it ended soon after it was ready. */
  endedSoon: z.int(),
});
export type Uplink = z.infer<typeof Uplink>;

/**
 * The port handlers. firewall: nftables, on a bridge. forwarder: our own process. slirp4netns: the uplink itself, over its API
 * socket. pasta: the uplink itself, which gets its ports once, when it starts.
 */
export const PORT_HANDLERS = ['firewall', 'forwarder', 'slirp4netns', 'pasta'] as const;
export const PortHandler = z.enum(PORT_HANDLERS);
export type PortHandler = z.infer<typeof PortHandler>;

/** The features of an executable: the long options that its --help names, sorted. `cut`: the help is incomplete. */
export const UplinkFeatures = z.object({ flags: z.array(z.string()), cut: z.boolean().optional() });
export type UplinkFeatures = z.infer<typeof UplinkFeatures>;

/** The process of an uplink, as its keeper reports it (native/keeper/status.h). */
export interface UplinkStatus {
  state: 'starting' | 'ready' | 'ended';
  keeper: { pid: number; startTime: number };
  /** Null if it was never started. */
  child: { pid: number; startTime: number } | null;
  readyMs: number | null;
  code: number | null;
  signal: number | null;
  /**
   * The reason why the keeper ended it: not ready in time, the bound process ended, a request; '' if it ended by itself, or the
   * keeper died.
   */
  cause: 'deadline' | 'bound' | 'told' | '';
  /** The reason why it was never run. */
  error: string;
  /** The end of its output. */
  output: string;
}
