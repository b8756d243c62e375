/**
 * Serialises work that reads the table of an outside and writes what follows from it.
 *
 * Guarantees: no other such work writes in between. So an element that was read can still be removed (nf_tables answers ENOENT
 * to a missing one, and refuses the whole transaction), and a missing element is not added twice.
 * Limits: transactions that depend on no read (published ports, the table as a whole) need no turn and wait for none.
 */
import type { Outside } from '../../native/index.ts';
import { inTurn } from '../turns.ts';

const turns = new WeakMap<Outside, Promise<unknown>>();

/** Runs the work after all earlier work. The work must not call byLook itself. */
export const byLook = <T>(native: Outside, work: () => Promise<T>): Promise<T> => inTurn(turns, native, work);
