/**
 * Arithmetic on IP addresses, both families alike: an address is a number of 32 or 128 bits.
 *
 * Guarantees: pure; text in and out is canonical (ipaddr.js). Limits: no scopes (fe80::1%eth0).
 */
import ipaddr from 'ipaddr.js';

export interface ParsedSubnet {
  family: 4 | 6;
  prefix: number;
  /** Network address, and the highest address of the subnet. */
  first: bigint;
  last: bigint;
}

export function toNumber(address: string): bigint {
  let value = 0n;
  for (const byte of ipaddr.parse(address).toByteArray()) value = (value << 8n) | BigInt(byte);
  return value;
}

export function toText(value: bigint, family: 4 | 6): string {
  const bytes: number[] = [];
  for (let shift = family === 4 ? 24n : 120n; shift >= 0n; shift -= 8n) bytes.push(Number((value >> shift) & 0xffn));
  return ipaddr.fromByteArray(bytes).toString();
}

export function familyOf(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4;
}

/** `cidr` must be canonical (its host bits are clear), as in every definition. */
export function parseSubnet(cidr: string): ParsedSubnet {
  const slash = cidr.indexOf('/');
  const address = cidr.slice(0, slash);
  const prefix = Number(cidr.slice(slash + 1));
  const family = familyOf(address);
  const first = toNumber(address);
  const last = first + (1n << BigInt((family === 4 ? 32 : 128) - prefix)) - 1n;
  return { family, prefix, first, last };
}

export function contains(subnet: ParsedSubnet, address: string): boolean {
  if (familyOf(address) !== subnet.family) return false;
  const value = toNumber(address);
  return value >= subnet.first && value <= subnet.last;
}

export function overlaps(a: ParsedSubnet, b: ParsedSubnet): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

/**
 * Returns the addresses of a subnet that a host may have. Leaves out the network address, and for IPv4 the broadcast address,
 * except in /31 and /32 (RFC 3021) and the corresponding IPv6 subnets, which have neither (RFC 6164). IPv6 keeps its all-ones
 * address and leaves out the first, the subnet-router anycast address (RFC 4291, 2.6.1).
 */
export function hostRange(subnet: ParsedSubnet): { first: bigint; last: bigint } {
  if (subnet.last - subnet.first < 2n) return { first: subnet.first, last: subnet.last };
  return { first: subnet.first + 1n, last: subnet.family === 4 ? subnet.last - 1n : subnet.last };
}

/** True for a subnet in the one spelling that every definition has: its host bits clear, the address canonical. */
export function isCanonical(cidr: string): boolean {
  if (!/^[0-9a-f.:]+\/\d{1,3}$/.test(cidr) || !ipaddr.isValidCIDR(cidr)) return false;
  const { first, family, prefix } = parseSubnet(cidr);
  const step = 1n << BigInt((family === 4 ? 32 : 128) - prefix);
  return first % step === 0n && `${toText(first, family)}/${prefix}` === cidr;
}
