/**
 * How much one owner may have of a table of the kernel that all share, and when it is worth counting.
 *
 * Guarantees: pure. Nobody can have too many while all together have no more than one may have, so a table that is hardly
 * used is never walked through.
 * Limits: the number of all entries is what the kernel says at once; who has them is known at a count alone.
 */
const SHARE = 1 / 4;
/** Where the table is always fuller than one share, it is walked through this often for certain. */
const RECOUNT_MS = 10_000;

/** `asked` is what the operator says, null for nothing. At least 1, also of a table that is nearly nothing. */
export function shareLimit(asked: number | null, maximum: number): number {
  return asked ?? Math.max(1, Math.floor(maximum * SHARE));
}

/** The result of the last count of owners. */
export interface Counted {
  t: number;
  /** The fewest in the whole table since then. */
  entries: number;
  /** The entries of the owner who had most, after the surplus was deleted. */
  most: number;
}

/** The last count as far as it still holds with this many entries; null once nobody can have too many. */
export function countedSince(last: Counted | null, entries: number, limit: number): Counted | null {
  if (last === null || entries <= limit) return null;
  return { ...last, entries: Math.min(last.entries, entries) };
}

/** Nobody can have more than the limit as long as all together have not, nor before the table has grown accordingly. */
export function isWorthCounting(entries: number, limit: number, last: Counted | null, t: number): boolean {
  if (entries <= limit) return false;
  if (last === null || t - last.t >= RECOUNT_MS) return true;
  return entries - last.entries > limit - last.most;
}
