/**
 * The shares of an overlay: which pieces of its pools exist, which are free, and which one a host takes.
 *
 * Guarantees: pure. A share overlaps no claim, no share at rest and nothing else that the caller names, whatever size these have.
 * Hosts begin their search at places that their ids scatter, so that two of them seldom want the same share, and a share that
 * somebody gave up is seldom the next one. Where those are taken, a host takes any other by chance: hosts that all took the first free
 * one of a pool that is nearly full would all want the same.
 * Limits: a search looks at NEARBY pieces and what lies between the used ones, and does not grow with the pool.
 */
import type { OverlayShared } from '../../state/overlay.ts';
import { overlaps, parseSubnet, toText, type ParsedSubnet } from '../addresses/address.ts';

type Pools = Pick<OverlayShared, 'pools' | 'host_prefix' | 'host_prefix6'>;

/** Pieces that are tried from the host's own place on, before any other free one of the pool is taken. */
const NEARBY = 8;

const sizeOf = (pool: string, { host_prefix, host_prefix6 = 64 }: Pools): number =>
  pool.includes(':') ? host_prefix6 : host_prefix;

/** Returns the shares where a host begins its search, of each pool. `host`: hex digits, which scatter them. */
export const nearbyShares = (shared: Pools, host: string): string[] =>
  shared.pools.flatMap((base) => nearby(base, sizeOf(base, shared), host).map(textOf));

/** Returns one free share of each pool of those where a host begins its search; null if they are taken in one of the pools. */
export function chooseNearby(shared: Pools, used: readonly string[], host: string): string[] | null {
  const taken = used.map(parseSubnet);
  return onePerPool(shared, (base, size) => nearby(base, size, host).find((share) => isFree(share, taken)));
}

/**
 * Returns one free share of each pool; null if a pool has none. `chance`: from 0 to 1, which of those that are free if those where the
 * host begins its search are taken.
 */
export function chooseShares(shared: Pools, used: readonly string[], host: string, chance = 0): string[] | null {
  const taken = used.map(parseSubnet);
  return onePerPool(
    shared,
    (base, size) =>
      nearby(base, size, host).find((share) => isFree(share, taken)) ?? anyFree(parseSubnet(base), size, taken, chance),
  );
}

function onePerPool(shared: Pools, choose: (base: string, size: number) => ParsedSubnet | undefined): string[] | null {
  const shares = shared.pools.map((base) => choose(base, sizeOf(base, shared)));
  return shares.every((share) => share !== undefined) ? shares.map(textOf) : null;
}

const textOf = ({ first, family, prefix }: ParsedSubnet): string => `${toText(first, family)}/${prefix}`;
const isFree = (share: ParsedSubnet, taken: readonly ParsedSubnet[]): boolean =>
  !taken.some((other) => overlaps(other, share));

const stepOf = ({ family }: ParsedSubnet, size: number): bigint => 1n << BigInt((family === 4 ? 32 : 128) - size);

function nearby(base: string, size: number, host: string): ParsedSubnet[] {
  const pool = parseSubnet(base);
  const count = 1n << BigInt(size - pool.prefix);
  const step = stepOf(pool, size);
  const start = BigInt(`0x${host.slice(0, 16)}`);
  const pieces = Math.min(NEARBY, Number(count));
  return Array.from({ length: pieces }, (_, n) => {
    const first = pool.first + ((start + BigInt(n)) % count) * step;
    return { family: pool.family, prefix: size, first, last: first + step - 1n };
  });
}

/** Enough for a part of any pool, and exact as a number. */
const CHANCES = 2n ** 48n;

/** Returns one of the free pieces, which are counted between the used ones. */
function anyFree(
  pool: ParsedSubnet,
  size: number,
  taken: readonly ParsedSubnet[],
  chance: number,
): ParsedSubnet | undefined {
  const step = stepOf(pool, size);
  const count = (pool.last - pool.first + 1n) / step;
  const pieceOf = (address: bigint): bigint => (address - pool.first) / step;
  const gaps: { from: bigint; pieces: bigint }[] = [];
  let [from, free] = [0n, 0n];
  const leave = (until: bigint) => {
    if (until > from) gaps.push({ from, pieces: until - from });
    free += until > from ? until - from : 0n;
  };
  const inside = taken.filter((other) => overlaps(other, pool)).toSorted((a, b) => (a.first < b.first ? -1 : 1));
  for (const { first, last } of inside) {
    leave(first <= pool.first ? 0n : pieceOf(first));
    const after = last >= pool.last ? count : pieceOf(last) + 1n;
    if (after > from) from = after;
  }
  leave(count);
  let left = (free * BigInt(Math.floor(chance * Number(CHANCES)))) / CHANCES;
  for (const gap of gaps) {
    if (left < gap.pieces) {
      const first = pool.first + (gap.from + left) * step;
      return { family: pool.family, prefix: size, first, last: first + step - 1n };
    }
    left -= gap.pieces;
  }
  return undefined;
}

/** Returns true if these are shares that a host may have: one piece of each pool. */
export function areShares(shared: Pools, subnets: readonly string[]): boolean {
  return (
    subnets.length === shared.pools.length &&
    shared.pools.every((pool) => subnets.some((subnet) => isShareOf(pool, sizeOf(pool, shared), subnet)))
  );
}

function isShareOf(pool: string, size: number, subnet: string): boolean {
  const [whole, piece] = [parseSubnet(pool), parseSubnet(subnet)];
  return overlaps(whole, piece) && piece.prefix === size;
}

/** Returns how many shares the pools have for hosts: those of the smaller pool. */
export const shareCount = (shared: Pools): number =>
  Math.min(...shared.pools.map((pool) => 2 ** Math.min(52, sizeOf(pool, shared) - parseSubnet(pool).prefix)));
