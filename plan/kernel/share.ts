/**
 * The share that one owner may have of a kernel table common to all, and the check whether counting is worthwhile.
 *
 * Guarantees: pure. No owner can have too many while all together have at most one share, so a table that is hardly used is
 * never walked.
 * Limits: the kernel reports the number of all entries at once; only a count shows their owners.
 */
const SHARE = 1 / 4;
/** If the table always has more than one share, it is counted at least this often. */
const RECOUNT_MS = 10_000;

/** `asked` is the operator's value, null for none. The limit is at least 1, even if the table holds almost nothing. */
export function shareLimit(asked: number | null, maximum: number): number {
  return asked ?? Math.max(1, Math.floor(maximum * SHARE));
}

/** The result of the last count of owners. */
export interface Counted {
  t: number;
  /** The fewest entries in the whole table since then. */
  entries: number;
  /** The entries of the owner that had most, after the surplus was deleted. */
  most: number;
}

/** Returns the last count as far as it still holds with this many entries; null once nobody can have too many. */
export function countedSince(last: Counted | null, entries: number, limit: number): Counted | null {
  if (last === null || entries <= limit) return null;
  return { ...last, entries: Math.min(last.entries, entries) };
}

/**
 * Returns false as long as nobody can be above the limit: while all together are not, or before the table has grown
 * accordingly.
 */
export function isWorthCounting(entries: number, limit: number, last: Counted | null, t: number): boolean {
  if (entries <= limit) return false;
  if (last === null || t - last.t >= RECOUNT_MS) return true;
  return entries - last.entries > limit - last.most;
}
