/**
 * The words that ruleset.ts writes rules with: each is the expressions behind one phrase of `nft`.
 *
 * Guarantees: pure. A word begins at register 0 and passes no register on, so words can stand in any order. A word about
 * addresses checks the family itself (the table is `inet`).
 * Limits: only the expressions that ruleset.ts needs.
 */
import type { NftDatum, NftExpression, NftType } from '../../native/nftables/nft-types.ts';
import { familyOf } from '../../plan/addresses/address.ts';

export type Family = 4 | 6;
export type Way = 'from' | 'to';

export const FAMILIES: readonly Family[] = [4, 6];

/** Numbers of IP protocols (IANA). */
export const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;
export const DNS_PORT = 53;

const NFPROTO = { 4: 2, 6: 10 };
/** ct state bits: NF_CT_STATE_BIT of nf_conntrack_common.h. ct status: IPS_DST_NAT. fib type: RTN_LOCAL. */
export const ESTABLISHED_RELATED = 2 | 4;
export const INVALID = 1;
export const DST_NAT = 1 << 5;
const RTN_UNICAST = 1;
const RTN_LOCAL = 2;
/** The two highest bits of IFLA_GROUP: 01 for every link of cleat. */
export const LINK_GROUP = 0x4000_0000;
const GROUP_MASK = 0xc000_0000;

export function verdict(word: 'accept' | 'drop' | 'return'): NftExpression[] {
  return [{ expr: 'verdict', verdict: word }];
}

export function jump(chain: string): NftExpression[] {
  return [{ expr: 'verdict', verdict: 'jump', chain }];
}

/** Like jump, but packets without a verdict there return to the chain that jumped here. */
export function goto(chain: string): NftExpression[] {
  return [{ expr: 'verdict', verdict: 'goto', chain }];
}

export function masquerade(): NftExpression[] {
  return [{ expr: 'masquerade' }];
}

/** Gives the packet this source address, and the port it has if that is free. */
export function sourceNat(to: string): NftExpression[] {
  return [
    { expr: 'immediate', dreg: 0, data: address(to) },
    { expr: 'nat', kind: 'snat', family: familyOf(to), addressReg: 0 },
  ];
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

/** The destination is an address of this host. */
export function toThisHost(): NftExpression[] {
  return [{ expr: 'fib', of: 'daddr', result: 'type', dreg: 0 }, equals({ u32: RTN_LOCAL })];
}

/** The destination is neither an address of this host, nor a broadcast or multicast address. */
export function toAnotherHost(): NftExpression[] {
  return [{ expr: 'fib', of: 'daddr', result: 'type', dreg: 0 }, equals({ u32: RTN_UNICAST })];
}

/**
 * The route to the destination leads out by this interface; null: no route leads there. Policy rules that select by the
 * incoming interface are ignored.
 */
export function leadsOutBy(link: string | null): NftExpression[] {
  const of = { expr: 'fib', of: 'daddr', dreg: 0 } as const;
  if (link === null) return [{ ...of, result: 'oif' }, equals({ u32: 0 })];
  return [{ ...of, result: 'oifname' }, equals({ ifname: link })];
}

/** The connection's first packet had this destination address. */
export function wasAddressedTo(to: string): NftExpression[] {
  const family = familyOf(to);
  const key = family === 4 ? 'daddr4' : 'daddr6';
  return [...ofFamily(family), { expr: 'ct', key, original: true, dreg: 0 }, equals(address(to))];
}

/** Writes the source address into the packet, without regard to connection tracking. */
export function setSource(to: string): NftExpression[] {
  return [
    { expr: 'immediate', dreg: 0, data: address(to) },
    { expr: 'source', family: familyOf(to), sreg: 0 },
  ];
}

/** The interface is a link of this daemon or of another one: each gives its links a group of this form (service/daemon.ts). */
export function ofAnyDaemon(way: Way): NftExpression[] {
  const mask = new Uint8Array(Uint32Array.of(GROUP_MASK).buffer);
  return [
    { expr: 'meta', key: way === 'from' ? 'iifgroup' : 'oifgroup', dreg: 0 },
    { expr: 'bitwise', sreg: 0, dreg: 0, mask, xor: new Uint8Array(4) },
    equals({ u32: LINK_GROUP }),
  ];
}

/** No route leads back to the source by the packet's incoming interface: strict reverse path forwarding (RFC 3704, 2.2). */
export function cameByAnotherWay(): NftExpression[] {
  return [{ expr: 'fib', of: 'saddr', iif: true, result: 'oif', dreg: 0 }, equals({ u32: 0 })];
}

/** The packet came in by a bridge, and the route to its destination leads out by it again. */
export function backThroughItsBridge(): NftExpression[] {
  return [
    { expr: 'meta', key: 'iifkind', dreg: 0 },
    equals({ ifname: 'bridge' }),
    { expr: 'fib', of: 'daddr', iif: true, result: 'oif', dreg: 0 },
    equals({ u32: 0 }, 'neq'),
  ];
}

/** Every link has addresses of this network (RFC 4291, 2.5.6). The kernel forwards no packet from one, nor to one. */
export const LINK_LOCAL = 'fe80::/10';

/** The connection has any of these bits of ct state or ct status. */
export function connection(key: 'state' | 'status', bits: number): NftExpression[] {
  const mask = new Uint8Array(Uint32Array.of(bits).buffer);
  return [
    { expr: 'ct', key, dreg: 0 },
    { expr: 'bitwise', sreg: 0, dreg: 0, mask, xor: new Uint8Array(4) },
    equals({ u32: 0 }, 'neq'),
  ];
}

export function ofFamily(family: Family): NftExpression[] {
  return [{ expr: 'meta', key: 'nfproto', dreg: 0 }, equals({ byte: NFPROTO[family] })];
}

/** The offsets of source and destination in an IPv4 (RFC 791) and IPv6 header (RFC 8200). */
const ADDRESS_AT = { 4: { saddr: 12, daddr: 16, length: 4 }, 6: { saddr: 8, daddr: 24, length: 16 } };

function loadAddress(family: Family, which: 'saddr' | 'daddr', dreg: number): NftExpression {
  const at = ADDRESS_AT[family];
  return { expr: 'payload', base: 'network', offset: at[which], length: at.length, dreg };
}

/** The sending socket belongs to this user. A packet that no socket sends (a reset, say) belongs to no user. */
export function sentBy(uid: number): NftExpression[] {
  return [{ expr: 'meta', key: 'skuid', dreg: 0 }, equals({ u32: uid })];
}

/** The packet goes from the called side to the calling side (IP_CT_DIR_REPLY of nf_conntrack_tuple_common.h). */
export function isAnswer(): NftExpression[] {
  return [{ expr: 'ct', key: 'direction', dreg: 0 }, equals({ byte: 1 })];
}

export function toOneOf(set: string): NftExpression[] {
  return [
    { expr: 'meta', key: 'oifname', dreg: 0 },
    { expr: 'lookup', set, sreg: 0 },
  ];
}

export function fromAddressIn(family: Family, set: string): NftExpression[] {
  return [...ofFamily(family), loadAddress(family, 'saddr', 0), { expr: 'lookup', set, sreg: 0 }];
}

export function toAddressIn(family: Family, set: string): NftExpression[] {
  return [...ofFamily(family), loadAddress(family, 'daddr', 0), { expr: 'lookup', set, sreg: 0 }];
}

/** Notifies the sender at once: a connection is refused instead of timing out. */
export function reject(): NftExpression[] {
  return [{ expr: 'reject' }];
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

/** Applies the verdict that a map of addresses or intervals has for the packet's source or destination. */
export function addressDispatch(family: Family, which: 'saddr' | 'daddr', map: string): NftExpression[] {
  return [...ofFamily(family), loadAddress(family, which, 0), { expr: 'lookup', set: map, sreg: 0, verdict: true }];
}

/** Matches the destination port of a protocol whose ports are at the offsets of TCP and UDP. */
export function toPort(protocol: number, port: number): NftExpression[] {
  return [{ expr: 'meta', key: 'l4proto', dreg: 0 }, equals({ byte: protocol }), ...toPortOfAny(port)];
}

/** Matches the destination port of any protocol whose ports are at the offsets of TCP and UDP, and of others what is there. */
export function toPortOfAny(port: number): NftExpression[] {
  return [{ expr: 'payload', base: 'transport', offset: 2, length: 2, dreg: 0 }, equals({ port })];
}

/** The packet belongs to no connection. */
export function notrack(): NftExpression[] {
  return [{ expr: 'notrack' }];
}

/** A UDP packet to this port, with this network number in the header of VXLAN (RFC 7348, 5). */
export function ofTunnel(port: number, vni: number): NftExpression[] {
  return [
    ...toPort(PROTOCOLS.udp, port),
    // Behind the header of UDP (8 bytes) and 4 bytes of flags: the network number, and a byte that is 0.
    { expr: 'payload', base: 'transport', offset: 12, length: 4, dreg: 0 },
    { expr: 'cmp', sreg: 0, op: 'eq', data: { bytes: Uint8Array.of(vni >> 16, (vni >> 8) & 0xff, vni & 0xff, 0) } },
  ];
}

/** A SYN, of either side. */
const SYN = 0x02;
const SYN_RST = 0x06;

/**
 * Limits the segment size of a new TCP connection to the size that fits the packet's route (`tcp flags & (syn | rst) == syn tcp
 * option maxseg size set rt mtu`). The ends announce too much if a hop between them is narrower.
 */
export function clampSegments(): NftExpression[] {
  return [
    { expr: 'meta', key: 'l4proto', dreg: 0 },
    equals({ byte: PROTOCOLS.tcp }),
    { expr: 'payload', base: 'transport', offset: 13, length: 1, dreg: 0 },
    { expr: 'bitwise', sreg: 0, dreg: 0, mask: Uint8Array.of(SYN_RST), xor: Uint8Array.of(0) },
    equals({ byte: SYN }),
    { expr: 'rt', key: 'tcpmss', dreg: 0 },
    { expr: 'byteorder', op: 'hton', sreg: 0, dreg: 0 },
    { expr: 'tcpmss', sreg: 0 },
  ];
}

/** Loads protocol and destination port into two registers. The maps have no elements for protocols without ports. */
function loadPort(dreg: number): NftExpression[] {
  return [
    { expr: 'meta', key: 'l4proto', dreg },
    { expr: 'payload', base: 'transport', offset: 2, length: 2, dreg: dreg + 1 },
  ];
}

/** The map's data replaces its key in the registers: the address first, then the port. */
export const portMap = (family: Family, by: 'address' | 'port'): string =>
  `${by === 'address' ? 'hostports' : 'ports'}${family}`;

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
    ...dnatThrough(family, portMap(family, 'address')),
  ];
}

export function dnatByPort(family: Family): NftExpression[] {
  return [...ofFamily(family), ...loadPort(0), ...dnatThrough(family, portMap(family, 'port'))];
}

/** Returns the number of registers that an address takes. */
function registers(family: Family): number {
  return ADDRESS_AT[family].length / 4;
}

/** The network of this address alone: "10.89.0.1/32". */
export function networkOfOne(address: string): string {
  return `${address}/${familyOf(address) === 4 ? 32 : 128}`;
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
