/**
 * Ranges of addresses: subnets without others that are in them.
 *
 * Guarantees: pure; the ranges of a subnet are in ascending order, and have no address twice.
 */
import { overlaps, parseSubnet, toText, type ParsedSubnet } from './address.ts';

/** From the first address to the one behind the last; null: the range ends with its family. */
export interface Range {
  first: string;
  behind: string | null;
}

/** Returns the ranges of `subnets`, without what is in `others`. All are canonical CIDR; subnets of one list do not overlap. */
export function without(subnets: readonly string[], others: readonly string[]): Range[] {
  const holes = others.map(parseSubnet);
  return subnets.map(parseSubnet).flatMap((subnet) =>
    partsOf(
      subnet,
      holes.filter((hole) => overlaps(hole, subnet)).sort((a, b) => Number(a.first - b.first)),
    ),
  );
}

function partsOf({ family, first, last }: ParsedSubnet, holes: readonly ParsedSubnet[]): Range[] {
  const end = 1n << BigInt(family === 4 ? 32 : 128);
  const ranges: Range[] = [];
  let next = first;
  const until = (behind: bigint) => {
    if (behind > next) {
      ranges.push({ first: toText(next, family), behind: behind === end ? null : toText(behind, family) });
    }
  };
  for (const hole of holes) {
    until(hole.first);
    next = hole.last + 1n;
  }
  until(last + 1n);
  return ranges;
}
