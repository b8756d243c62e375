/**
 * The pause of a machine before its next attempt, which grows with each failure.
 *
 * Guarantees: pure. 1 s, 2 s, 4 s ... up to a minute.
 */
import type { ContainerContext } from '../state/container.ts';

const FIRST_MS = 1000;
const LONGEST_MS = 60_000;

/** Returns the milliseconds before the next attempt, after this number of failures in a row. */
export const pauseAfter = (failures: number): number => Math.min(FIRST_MS * 2 ** (failures - 1), LONGEST_MS);

/** An uplink that ends soon after each start counts from its third end on, as if each were a failure. */
export const failuresOf = ({ attempts, uplink }: Pick<ContainerContext, 'attempts' | 'uplink'>): number =>
  attempts + Math.max(0, (uplink?.endedSoon ?? 0) - 2);
