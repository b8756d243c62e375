/**
 * Chooses the neighbours that count towards a container's share of the kernel's neighbour tables, and those that it must give
 * up.
 *
 * Guarantees: pure. Only entries that keep others out count. Permanent ones have no limit (neigh_alloc in
 * net/core/neighbour.c); failed ones, and those that need no resolution, are evicted when another entry needs the place
 * (neigh_forced_gc). Unanswered entries are given up first, then those that were not used lately.
 */
import type { Attachment } from '../../state/container.ts';
import { familyOf } from '../addresses/address.ts';
import { knownInside, knownOutside, PERMANENT, type NeighbourSeen } from '../addresses/neighbours.ts';

/** NUD_* (linux/neighbour.h). */
const REACHABLE = 0x02;
const STALE = 0x04;
const FAILED = 0x20;
const NOARP = 0x40;

const takesRoom = ({ state }: NeighbourSeen): boolean => (state & (PERMANENT | FAILED | NOARP)) === 0;

/** Returns the number of permanent entries for these attachments, which count towards no limit. */
export const permanentOnes = (attachments: readonly Attachment[], family: 4 | 6): number =>
  attachments
    .flatMap((attachment) => [...knownOutside(attachment), ...knownInside(attachment)])
    .filter(({ address }) => familyOf(address) === family).length;

/**
 * Returns true if an owner may be above the limit. `last` has the largest share at the last count, and the number of entries
 * that the kernel had ever allocated by then: no share can have grown by more than the allocations since.
 */
export const mayBeAboveShare = (
  entries: number,
  limit: number,
  last: { most: number; allocated: number } | undefined,
  allocated: number,
): boolean => entries > limit && (last === undefined || last.most + allocated - last.allocated > limit);

/** Counts one owner's neighbours of a family that take room, and returns those above the limit. */
export function aboveShare<Seen extends NeighbourSeen>(
  seen: readonly Seen[],
  family: 4 | 6,
  limit: number,
): { entries: number; surplus: Seen[] } {
  const own = seen.filter((one) => familyOf(one.address) === family && takesRoom(one));
  const worth = ({ state }: NeighbourSeen): number => (state === STALE ? 1 : state < REACHABLE ? 0 : 2);
  const tooMany = Math.max(0, own.length - limit);
  return { entries: own.length, surplus: own.sort((a, b) => worth(a) - worth(b)).slice(0, tooMany) };
}
