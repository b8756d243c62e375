/**
 * The notifications that the daemon sends to its followers (GET /v1/events).
 *
 * Guarantees: one notification is about one container or one network. An operation is requested, then done or failed. Each
 * state on the way is a notification, and so are changes by others and repairs.
 */
import { z } from 'zod';
import { Drift } from '../container.ts';
import { Fault } from '../faults.ts';

const t = z.number().describe('Milliseconds since the epoch');
const operation = { t, id: z.string(), event: z.string(), network: z.string().nullable() };
/** id is null if containers share the object. */
const subject = { t, id: z.string().nullable(), network: z.string().nullable() };

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

export const Notification = z.discriminatedUnion('type', [
  z.object({ type: z.enum(['requested', 'done']), ...operation }),
  z.object({ type: z.literal('failed'), ...operation, fault: Fault }),
  z.object({ type: z.literal('state'), t, id: z.string(), from: z.string(), to: z.string() }),
  DriftNotification,
  RepairedNotification,
  LimitedNotification,
]);
export type Notification = z.infer<typeof Notification>;
