/**
 * The nf_tables operations that the ruleset's files share: a rule that carries a fingerprint, and elements that are added and
 * removed.
 *
 * Guarantees: pure. Every operation can be sent twice.
 */
import ipaddr from 'ipaddr.js';
import type { NftElement, NftExpression, NftOperation, NftVerdict } from '../../native/nftables/nft-types.ts';
import { familyOf } from '../../plan/addresses/address.ts';
import type { Range } from '../../plan/addresses/ranges.ts';
import { address } from './rule-words.ts';

/** Appends a rule. Its comment carries a fingerprint, so that a dump of the table shows if the rule was changed. */
export function rule(table: string, chain: string, words: NftExpression[][]): NftOperation {
  const expressions = words.flat();
  return { op: 'rule.add', table, chain, expressions, comment: `cleat ${fingerprint(JSON.stringify(expressions))}` };
}

/** FNV-1a, 32 bits. It distinguishes rules and has no cryptographic use. */
function fingerprint(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}

export function putIn(table: string, set: string, elements: NftElement[]): NftOperation {
  return { op: 'element.add', table, set, elements };
}

/** Removes elements; absent ones are no error. An element with other data than ours fails the transaction with EEXIST. */
export function takeOut(table: string, set: string, elements: NftElement[]): NftOperation[] {
  return [putIn(table, set, elements), { op: 'element.del', table, set, elements }];
}

/** Returns the interval of a network in CIDR notation, as the kernel keeps it: its start and its end. */
export function intervalOf(cidr: string, data: NftVerdict): NftElement[] {
  const [first = ''] = cidr.split('/');
  return rangeOf({ first, behind: addressBehind(cidr) }, data);
}

/** Returns the interval of a range, as the kernel keeps it. */
export function rangeOf({ first, behind }: Range, data: NftVerdict): NftElement[] {
  const start: NftElement = { key: [address(first)], data };
  return behind === null ? [start] : [start, { key: [address(behind)], intervalEnd: true }];
}

/** Returns the address after the last one of a network; null if the network ends with its family. */
function addressBehind(cidr: string): string | null {
  const family = familyOf(cidr) === 4 ? ipaddr.IPv4 : ipaddr.IPv6;
  const bytes = family.broadcastAddressFromCIDR(cidr).toByteArray();
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = ((bytes[i] ?? 0) + 1) & 0xff;
    if (bytes[i] !== 0) return ipaddr.fromByteArray(bytes).toString();
  }
  return null;
}
