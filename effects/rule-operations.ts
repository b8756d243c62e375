/**
 * The nf_tables operations that the files of the ruleset are written with: a rule that can be told from any other, and
 * elements that come and go.
 *
 * Guarantees: pure. Every operation can be sent twice.
 */
import ipaddr from 'ipaddr.js';
import type { NftElement, NftExpression, NftOperation, NftVerdict } from '../native/nft-types.ts';
import { address, familyOf } from './rule-words.ts';

/** Appends a rule. Its comment carries a fingerprint, so that a look at the table tells it from one that was changed. */
export function rule(table: string, chain: string, words: NftExpression[][]): NftOperation {
  const expressions = words.flat();
  return { op: 'rule.add', table, chain, expressions, comment: `cleat ${fingerprint(JSON.stringify(expressions))}` };
}

/** FNV-1a, 32 bits: for telling rules apart, not for keeping anything from anybody. */
function fingerprint(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}

export function putIn(table: string, set: string, elements: NftElement[]): NftOperation {
  return { op: 'element.add', table, set, elements };
}

/** An absent element is fine; one that has other data than ours fails the transaction with EEXIST. */
export function takeOut(table: string, set: string, elements: NftElement[]): NftOperation[] {
  return [putIn(table, set, elements), { op: 'element.del', table, set, elements }];
}

/** The interval of all addresses of a network in CIDR notation, as the kernel keeps it: where it begins, where it ends. */
export function intervalOf(cidr: string, data: NftVerdict): NftElement[] {
  const [first = ''] = cidr.split('/');
  const start: NftElement = { key: [address(first)], data };
  const behind = addressBehind(cidr);
  return behind === null ? [start] : [start, { key: [address(behind)], intervalEnd: true }];
}

/** The address that follows the last one of a network; null when the network ends with its family. */
function addressBehind(cidr: string): string | null {
  const family = familyOf(cidr) === 4 ? ipaddr.IPv4 : ipaddr.IPv6;
  const bytes = family.broadcastAddressFromCIDR(cidr).toByteArray();
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = ((bytes[i] ?? 0) + 1) & 0xff;
    if (bytes[i] !== 0) return ipaddr.fromByteArray(bytes).toString();
  }
  return null;
}
