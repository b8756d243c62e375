/**
 * The shares of an overlay: which pieces of its pools exist, which are free, and which one a host takes.
 *
 * Guarantees: pure. A share overlaps no claim, no share at rest and nothing else that the caller names, whatever size these have.
 * Hosts begin their search at places that their ids scatter, so that two of them seldom want the same share, and a share that
 * somebody gave up is seldom the next one.
 * Limits: a search looks at LOOKED pieces and what lies between the used ones, and does not grow with the pool.
 */
import type { OverlayShared } from '../../state/overlay.ts';
import { overlaps, parseSubnet, toText, type ParsedSubnet } from '../addresses/address.ts';
import { firstFree } from '../addresses/subnet-pools.ts';

type Pools = Pick<OverlayShared, 'pools' | 'host_prefix' | 'host_prefix6'>;

/** Pieces that are tried from the host's own place on, before the first free one of the pool is taken. */
const LOOKED = 8;

const sizeOf = (pool: string, { host_prefix, host_prefix6 = 64 }: Pools): number =>
  pool.includes(':') ? host_prefix6 : host_prefix;

/** Returns one free share of each pool; null if a pool has none. `host`: hex digits, which scatter the choice. */
export function chooseShares(shared: Pools, used: readonly string[], host: string): string[] | null {
  const taken = used.map(parseSubnet);
  const shares = shared.pools.map((pool) => chooseShare(pool, sizeOf(pool, shared), taken, host));
  return shares.every((share) => share !== null) ? shares : null;
}

function chooseShare(base: string, size: number, taken: readonly ParsedSubnet[], host: string): string | null {
  const pool = parseSubnet(base);
  const count = 1n << BigInt(size - pool.prefix);
  const step = 1n << BigInt((pool.family === 4 ? 32 : 128) - size);
  const start = BigInt(`0x${host.slice(0, 16)}`);
  for (let n = 0n; n < LOOKED; n++) {
    const first = pool.first + ((start + n) % count) * step;
    const share = { family: pool.family, prefix: size, first, last: first + step - 1n };
    if (!taken.some((other) => overlaps(other, share))) return `${toText(first, pool.family)}/${size}`;
  }
  return firstFree([{ base, size }], taken);
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
