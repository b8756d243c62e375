/**
 * How this host takes part in an overlay network (GET /v1/networks/NAME/overlay).
 *
 * Limits: what this daemon knows; what other hosts know may be a moment younger or older.
 */
import { z } from 'zod';
import { Fault } from '../faults.ts';
import { Peer } from '../overlay.ts';

/** Milliseconds since the epoch. */
const Time = z.int();

export const OverlayView = z.object({
  state: z.string().describe('The state of its machine: claiming, holding.leased, fenced, ...'),
  host: z.string().describe('The id of this host'),
  shares: z.array(z.string()).describe('The shares that it holds in the store'),
  peers: z.array(Peer).describe('The other hosts'),
  agreed_ms: z.int().nullable().describe('Milliseconds since all shares were last listed; null: never yet'),
  refused: z.record(z.string(), z.string()).describe('Keys in the store that are left out, with the reason'),
  fault: Fault.nullable().describe('Why it is not as it should be'),
  closed_since: Time.nullable().describe('Since when no container can be attached; null: one can'),
  lease_ends: Time.nullable().describe(
    'When the lease of the shares may end, unless it is renewed; null: none is held',
  ),
  outage: z
    .object({ since: Time, why: z.string().describe('What each member of etcd has answered') })
    .nullable()
    .describe('Since when etcd does not answer as it should: what is known of it may be old'),
  renumbered: z
    .object({ at: Time, from: z.array(z.string()), to: z.array(z.string()) })
    .nullable()
    .describe('When its network was given other shares, since the daemon was started'),
});
export type OverlayView = z.infer<typeof OverlayView>;
