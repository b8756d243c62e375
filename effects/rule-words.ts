/**
 * The words that ruleset.ts writes rules with: each is the expressions behind one phrase of `nft`.
 *
 * Guarantees: pure. A word starts over at register 0 and leaves nothing for the next one, so words can stand in any order;
 * a word about addresses says the family itself (the table is `inet`).
 * Limits: what ruleset.ts needs.
 */
import type { NftDatum, NftExpression, NftType, NftVerdict } from '../native/nft-types.ts';

export type Family = 4 | 6;
export type Way = 'from' | 'to';

const NFPROTO = { 4: 2, 6: 10 };
/** ct state bits: NF_CT_STATE_BIT of nf_conntrack_common.h. ct status: IPS_DST_NAT. fib type: RTN_LOCAL. */
export const ESTABLISHED_RELATED = 2 | 4;
export const INVALID = 1;
export const DST_NAT = 1 << 5;
const RTN_LOCAL = 2;

export function verdict(word: 'accept' | 'drop' | 'return'): NftExpression[] {
  return [{ expr: 'verdict', verdict: word }];
}

export function jump(chain: string): NftExpression[] {
  const to: NftVerdict = { verdict: 'jump', chain };
  return [{ expr: 'verdict', ...to }];
}

export function masquerade(): NftExpression[] {
  return [{ expr: 'masquerade' }];
}

function equals(data: NftDatum, op: 'eq' | 'neq' = 'eq'): NftExpression {
  return { expr: 'cmp', sreg: 0, op, data };
}

const NAME_OF = { from: 'iifname', to: 'oifname' } as const;

export function interfaceIs(way: Way, name: string, op: 'eq' | 'neq' = 'eq'): NftExpression[] {
  return [{ expr: 'meta', key: NAME_OF[way], dreg: 0 }, equals({ ifname: name }, op)];
}

export function fromOneOf(set: string): NftExpression[] {
  return [
    { expr: 'meta', key: 'iifname', dreg: 0 },
    { expr: 'lookup', set, sreg: 0 },
  ];
}

export function dispatch(way: Way, map: string): NftExpression[] {
  return [
    { expr: 'meta', key: NAME_OF[way], dreg: 0 },
    { expr: 'lookup', set: map, sreg: 0, verdict: true },
  ];
}

export function toThisHost(): NftExpression[] {
  return [{ expr: 'fib', of: 'daddr', result: 'type', dreg: 0 }, equals({ u32: RTN_LOCAL })];
}

/** Any of these bits of ct state or ct status. */
export function connection(key: 'state' | 'status', bits: number): NftExpression[] {
  const mask = new Uint8Array(Uint32Array.of(bits).buffer);
  return [
    { expr: 'ct', key, dreg: 0 },
    { expr: 'bitwise', sreg: 0, dreg: 0, mask, xor: new Uint8Array(4) },
    equals({ u32: 0 }, 'neq'),
  ];
}

function ofFamily(family: Family): NftExpression[] {
  return [{ expr: 'meta', key: 'nfproto', dreg: 0 }, equals({ byte: NFPROTO[family] })];
}

/** Where source and destination are in an IPv4 (RFC 791) and IPv6 header (RFC 8200). */
const ADDRESS_AT = { 4: { saddr: 12, daddr: 16, length: 4 }, 6: { saddr: 8, daddr: 24, length: 16 } };

function loadAddress(family: Family, which: 'saddr' | 'daddr', dreg: number): NftExpression {
  const at = ADDRESS_AT[family];
  return { expr: 'payload', base: 'network', offset: at[which], length: at.length, dreg };
}

export function inNetwork(which: 'saddr' | 'daddr', cidr: string): NftExpression[] {
  const [network = '', prefix = ''] = cidr.split('/');
  const family = familyOf(network);
  const mask = maskOf(Number(prefix), ADDRESS_AT[family].length);
  return [
    ...ofFamily(family),
    loadAddress(family, which, 0),
    ...(mask.some((byte) => byte !== 255)
      ? [{ expr: 'bitwise', sreg: 0, dreg: 0, mask, xor: new Uint8Array(mask.length) } as const]
      : []),
    equals(address(network)),
  ];
}

/** Protocol and destination port into two registers. Protocols without ports have no elements to be found. */
function loadPort(dreg: number): NftExpression[] {
  return [
    { expr: 'meta', key: 'l4proto', dreg },
    { expr: 'payload', base: 'transport', offset: 2, length: 2, dreg: dreg + 1 },
  ];
}

/** The map's data lands where its key was: the address first, then the port. */
function dnatThrough(family: Family, set: string): NftExpression[] {
  return [
    { expr: 'lookup', set, sreg: 0, dreg: 0 },
    { expr: 'nat', kind: 'dnat', family, addressReg: 0, portReg: registers(family) },
  ];
}

export function dnatByHostAddress(family: Family): NftExpression[] {
  return [
    ...ofFamily(family),
    loadAddress(family, 'daddr', 0),
    ...loadPort(registers(family)),
    ...dnatThrough(family, `hostports${family}`),
  ];
}

export function dnatByPort(family: Family): NftExpression[] {
  return [...ofFamily(family), ...loadPort(0), ...dnatThrough(family, `ports${family}`)];
}

/** How many registers an address takes. */
function registers(family: Family): number {
  return ADDRESS_AT[family].length / 4;
}

export function familyOf(text: string): Family {
  return text.includes(':') ? 6 : 4;
}

export function addressType(family: Family): NftType {
  return family === 4 ? 'ipv4_addr' : 'ipv6_addr';
}

export function address(text: string): NftDatum {
  return familyOf(text) === 4 ? { ipv4: text } : { ipv6: text };
}

function maskOf(prefix: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => 256 - 2 ** (8 - Math.min(8, Math.max(0, prefix - i * 8))));
}
