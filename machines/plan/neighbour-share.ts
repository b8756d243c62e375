/**
 * Which neighbours count towards a container's share of the kernel's neighbour tables, and which it has to give up.
 *
 * Guarantees: pure. Only those count that keep others out: permanent ones have no limit (neigh_alloc in
 * net/core/neighbour.c), and those that failed or need no asking give way as soon as somebody wants their place
 * (neigh_forced_gc). Those that nobody has answered yet are given up first, then those that were not used lately.
 */
import type { Attachment } from '../../state/container.ts';
import { knownInside, knownOutside, PERMANENT, type NeighbourSeen } from './neighbours.ts';

/** NUD_* (linux/neighbour.h). */
const REACHABLE = 0x02;
const STALE = 0x04;
const FAILED = 0x20;
const NOARP = 0x40;

const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);

const takesRoom = ({ state }: NeighbourSeen): boolean => (state & (PERMANENT | FAILED | NOARP)) === 0;

/** The permanent ones that were made for these: so many of the table's entries are within no limit. */
export const permanentOnes = (attachments: readonly Attachment[], family: 4 | 6): number =>
  attachments
    .flatMap((attachment) => [...knownOutside(attachment), ...knownInside(attachment)])
    .filter(({ address }) => familyOf(address) === family).length;

/**
 * Whether anybody can have more than one may have. `last`: what the one had who had most when all were looked at, and how many
 * the kernel had ever made by then; nobody has got more since than it has made since.
 */
export const mayBeAboveShare = (
  entries: number,
  limit: number,
  last: { most: number; allocated: number } | undefined,
  allocated: number,
): boolean => entries > limit && (last === undefined || last.most + allocated - last.allocated > limit);

/** Of one owner's neighbours: how many of a family take room, and which of them are above the limit. */
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
