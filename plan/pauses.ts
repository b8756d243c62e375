/**
 * Says how long a machine pauses before its next attempt: longer after each failure.
 *
 * Guarantees: pure. 1 s, 2 s, 4 s ... up to a minute.
 */
import type { ContainerContext } from '../state/container.ts';

const FIRST_MS = 1000;
const LONGEST_MS = 60_000;

/** Returns the milliseconds before the next attempt, after this number of failures in a row. */
export const pauseAfter = (failures: number): number => Math.min(FIRST_MS * 2 ** (failures - 1), LONGEST_MS);

/** Returns the number of failures. The ends of an uplink soon after its start count, too, from the third on. */
export const failuresOf = ({ attempts, uplink }: Pick<ContainerContext, 'attempts' | 'uplink'>): number =>
  attempts + Math.max(0, (uplink?.endedSoon ?? 0) - 2);
