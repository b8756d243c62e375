/**
 * Chooses subnets for networks without a configured one: blocks of addresses, cut into pieces of one size.
 *
 * Guarantees: pure; the result is the first piece that overlaps nothing, with the pools in their order. The time does not grow
 * with the size of a pool.
 */
import type { SubnetPool } from '../../state/network.ts';
import { parseSubnet, toText, type ParsedSubnet } from './address.ts';

/**
 * Podman's pools (containers.conf, default_subnet_pools): all /24 from 10.89.0.0 to 10.255.255.0. Then the other private blocks
 * (RFC 1918), for hosts with 10.0.0.0/8 behind a VPN.
 */
export const DEFAULT_POOLS: readonly SubnetPool[] = [
  { base: '10.89.0.0/16', size: 24 },
  { base: '10.90.0.0/15', size: 24 },
  { base: '10.92.0.0/14', size: 24 },
  { base: '10.96.0.0/11', size: 24 },
  { base: '10.128.0.0/9', size: 24 },
  { base: '172.16.0.0/12', size: 24 },
  { base: '192.168.0.0/16', size: 24 },
];

/** Returns the pools of one family: the given ones, else the defaults. IPv6 has no default pools: see uniqueLocals. */
export function poolsOf(family: 4 | 6, given: readonly SubnetPool[]): readonly SubnetPool[] {
  const mine = (pools: readonly SubnetPool[]) => pools.filter(({ base }) => base.includes(':') === (family === 6));
  return mine(given).length > 0 ? mine(given) : mine(DEFAULT_POOLS);
}

export function firstFree(pools: readonly SubnetPool[], used: readonly ParsedSubnet[]): string | null {
  const sorted = used.toSorted((a, b) => (a.first < b.first ? -1 : 1));
  for (const { base, size } of pools) {
    const pool = parseSubnet(base);
    const step = 1n << BigInt((pool.family === 4 ? 32 : 128) - size);
    let first = pool.first;
    for (const other of sorted) {
      if (other.family !== pool.family || other.last < first) continue;
      if (other.first >= first + step) break;
      first = (other.last / step + 1n) * step;
    }
    if (first + step - 1n <= pool.last) return `${toText(first, pool.family)}/${size}`;
  }
  return null;
}

/** The block of unique local addresses (RFC 4193, 3.2: locally assigned). */
export const ULA = 'fd00::/8';
/** The number of unique local subnets that one id yields: if one is in use, the next is tried. */
const ULA_TRIES = 6;
/** The number of hexadecimal digits of a global id: 40 bits. */
const ULA_DIGITS = 10;

/** Returns subnets of fd, 40 random bits and subnet 0 (RFC 4193, 3.1). `id` has 64 random hexadecimal digits. */
export function uniqueLocals(id: string): string[] {
  return Array.from({ length: ULA_TRIES }, (_, i) => {
    const first = BigInt(`0xfd${id.slice(i * ULA_DIGITS, (i + 1) * ULA_DIGITS)}`) << 80n;
    return `${toText(first, 6)}/64`;
  });
}
