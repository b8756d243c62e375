/**
 * What happens, as it is told to whoever follows (GET /v1/events).
 *
 * Guarantees: types alone. One happening speaks of one container or one network.
 */
import type { Drift } from './container.ts';
import type { Fault } from './faults.ts';

/** What happens, as it happens: requested, then done or failed; and every state passed on the way. */
export type Happening =
  | { type: 'requested' | 'done'; t: number; id: string; event: string; network: string | null }
  | { type: 'failed'; t: number; id: string; event: string; network: string | null; fault: Fault }
  | { type: 'state'; t: number; id: string; from: string; to: string }
  | DriftHappening
  | RepairedHappening
  | LimitedHappening;

export interface DriftHappening {
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

export interface RepairedHappening {
  type: 'repaired';
  t: number;
  id: string | null;
  network: string | null;
  drift: Drift[];
}

/** Somebody had more of what all share than one may have, and has lost what was too much. */
export interface LimitedHappening {
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
