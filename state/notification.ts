/**
 * What the daemon tells those who follow it (GET /v1/events).
 *
 * Guarantees: types alone. One notification is about one container or one network.
 */
import type { Drift } from './container.ts';
import type { Fault } from './faults.ts';

/** An operation is requested, then done or failed, and each state on the way is told; others' changes and repairs too. */
export type Notification =
  | { type: 'requested' | 'done'; t: number; id: string; event: string; network: string | null }
  | { type: 'failed'; t: number; id: string; event: string; network: string | null; fault: Fault }
  | { type: 'state'; t: number; id: string; from: string; to: string }
  | DriftNotification
  | RepairedNotification
  | LimitedNotification;

export interface DriftNotification {
  type: 'drift';
  t: number;
  /** null: something that containers share. */
  id: string | null;
  network: string | null;
  drift: Drift[];
  action: 'repair' | 'alert';
  /** Who did it, where the kernel says so: "nft (pid 4242)". */
  by: string | null;
}

export interface RepairedNotification {
  type: 'repaired';
  t: number;
  id: string | null;
  network: string | null;
  drift: Drift[];
}

/** Somebody had more of what all share than one may have, and has lost what was too much. */
export interface LimitedNotification {
  type: 'limited';
  t: number;
  /** The container. null: addresses of the network that no container was given; and of no network: link-local ones. */
  id: string | null;
  network: string | null;
  what: 'connections' | 'neighbours';
  /** How many it had, how many it may have, and how many were taken from it since this was said last. */
  entries: number;
  limit: number;
  forgotten: number;
}
