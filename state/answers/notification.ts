/**
 * The notifications that the daemon sends to its followers (GET /v1/events).
 *
 * Guarantees: one notification is about one container (`id`), one network, or the daemon and what containers share. An operation on a
 * container or on the definition of a network is requested, then done or failed. Each state of a container on the way is a
 * notification, and so are changes by others and repairs.
 * Limits: other machines are told of at rest alone; what each of them passes through is for the inspector.
 */
import { z } from 'zod';
import { Drift } from '../container.ts';
import { Fault } from '../faults.ts';

const told = {
  t: z.number().describe('Milliseconds since the epoch'),
  event_id: z
    .string()
    .optional()
    .describe('In lines of NDJSON: the Last-Event-ID of a reader who goes on after it. In SSE, the message has it.'),
};
/** Is about a network's definition if id is null: network.create, network.update, network.remove. */
const operation = { ...told, id: z.string().nullable(), event: z.string(), network: z.string().nullable() };
/** id is null if containers share the object. */
const subject = { ...told, id: z.string().nullable(), network: z.string().nullable() };

const DriftNotification = z.object({
  type: z.literal('drift'),
  ...subject,
  drift: z.array(Drift),
  action: z.enum(['repair', 'alert']),
  by: z.string().nullable().describe('Who did it, where the kernel says so: "nft (pid 4242)"'),
});
export type DriftNotification = z.infer<typeof DriftNotification>;

const RepairedNotification = z.object({ type: z.literal('repaired'), ...subject, drift: z.array(Drift) });
export type RepairedNotification = z.infer<typeof RepairedNotification>;

/**
 * A container used more than its share of a kernel table, and has lost the excess. id is null for addresses of the network
 * that no container has; the network is null, too, for link-local addresses.
 */
const LimitedNotification = z.object({
  type: z.literal('limited'),
  ...subject,
  what: z.enum(['connections', 'neighbours']),
  entries: z.int().describe('How many it had'),
  limit: z.int().describe('How many it may have'),
  forgotten: z.int().describe('How many were taken from it since this was said last'),
});
export type LimitedNotification = z.infer<typeof LimitedNotification>;

/** A machine that containers share, or the uplink of one, has come to rest in another state. */
const MachineNotification = z.object({
  type: z.literal('machine'),
  ...subject,
  outside: z
    .string()
    .nullable()
    .describe("The namespace that it works in; null: the daemon's own, or that of its container"),
  machine: z.enum(['network', 'firewall', 'firewalld', 'resolver', 'rootless', 'uplink', 'overlay']),
  from: z.string().describe('"": it has just begun'),
  to: z.string(),
  fault: Fault.nullable().describe('Why it is not as it should be'),
});
export type MachineNotification = z.infer<typeof MachineNotification>;

/** The process that carries published ports in an outside. */
const ForwarderNotification = z.object({
  type: z.literal('forwarder'),
  ...told,
  id: z.null(),
  outside: z.string().nullable(),
  action: z.enum(['running', 'ended']).describe('It ends by itself when it has no port left'),
  pid: z.int(),
});
export type ForwarderNotification = z.infer<typeof ForwarderNotification>;

/** Settings are read at the start alone: a daemon with others is another one, which has started. */
const Configuration = z.object({
  run_dir: z.string(),
  state_dir: z.string(),
  netns_dir: z.string(),
  socket: z.string(),
  docker_socket: z.string().nullable(),
  drift: z.record(z.string(), z.string()).describe('The policy for each kind'),
  limits: z.record(z.string(), z.number().nullable()).describe('null: a part of what the kernel has'),
  forward_others: z.boolean(),
  prepared_namespaces: z.int(),
  exit_when_idle: z.number().nullable().describe('Seconds'),
});

const daemon = { type: z.literal('daemon'), ...told, id: z.null(), pid: z.int(), version: z.string() };
const DaemonNotification = z.discriminatedUnion('action', [
  z.object({
    ...daemon,
    action: z.literal('started'),
    containers: z.int().describe('How many it has found'),
    configuration: Configuration,
  }),
  z.object({ ...daemon, action: z.literal('stopping'), why: z.string().describe('A signal, "idle" or "unreachable"') }),
]);
export type DaemonNotification = z.infer<typeof DaemonNotification>;

/** Comes first to a reader that goes on after an id, if what came after that id is not kept. What is kept follows. */
const MissedNotification = z.object({
  type: z.literal('missed'),
  ...told,
  id: z.null(),
  after: z.string().describe('The id that the reader named'),
  why: z.enum(['restarted', 'too old']).describe('restarted: the id is of another run of the daemon'),
});

export const Notification = z.discriminatedUnion('type', [
  z.object({ type: z.enum(['requested', 'done']), ...operation }),
  z.object({ type: z.literal('failed'), ...operation, fault: Fault }),
  z.object({ type: z.literal('state'), ...told, id: z.string(), from: z.string(), to: z.string() }),
  DriftNotification,
  RepairedNotification,
  LimitedNotification,
  MachineNotification,
  ForwarderNotification,
  DaemonNotification,
  MissedNotification,
]);
export type Notification = z.infer<typeof Notification>;
