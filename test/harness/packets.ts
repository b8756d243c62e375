/**
 * IP packets and Ethernet frames that no kernel would send, made byte by byte.
 *
 * Guarantees: lengths and checksums are right, so a dropped packet is dropped for its content.
 * Limits: no answers are generated: a test that plays a TCP handshake sends each segment.
 */
import ipaddr from 'ipaddr.js';

export type Family = 4 | 6;

/** IANA protocol numbers. */
export const PROTOCOL = { icmp: 1, ipip: 4, tcp: 6, udp: 17, ipv6: 41, gre: 47, icmpv6: 58, sctp: 132 };

const IPV6_FRAGMENT = 44;
/** IPv6 extension headers (RFC 8200, 4). */
const IPV6_ROUTING = 43;
const IPV6_DESTINATION_OPTIONS = 60;
const MORE_FRAGMENTS = 0x2000;
/** A fragment's offset counts in units of eight bytes (RFC 791, 3.1). */
const FRAGMENT_UNIT = 8;

export interface Ends {
  from: string;
  to: string;
}

export interface IpOptions {
  /** IPv4 only: header options, a multiple of 4 bytes. */
  options?: Buffer;
  /** IPv6 only: an extension header, a multiple of 8 bytes, without its first byte (next header). */
  extension?: { type: number; rest: Buffer };
  hops?: number;
}

export const familyOf = (address: string): Family => (address.includes(':') ? 6 : 4);

export function bytesOf(address: string): Buffer {
  return Buffer.from(ipaddr.parse(address).toByteArray());
}

/** The Internet checksum (RFC 1071). */
export function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += i % 2 === 0 ? bytes[i]! << 8 : bytes[i]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** CRC32c (RFC 9260, appendix A), the checksum of SCTP. */
function crc32c(bytes: Buffer): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f6_3b78 : 0);
  }
  return ~crc >>> 0;
}

// --- What an IP packet carries ------------------------------------------------------------------------------------

/** Writes the checksum over the pseudo header (RFC 768; RFC 8200, 8.1) into `data`. */
function seal(data: Buffer, protocol: number, { from, to }: Ends, at: number): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const sum = checksum(Buffer.concat([bytesOf(from), bytesOf(to), length, Buffer.from([0, protocol]), data]));
  data.writeUInt16BE(sum === 0 ? 0xffff : sum, at);
  return data;
}

/** A UDP datagram (RFC 768). */
export function udpData(ends: Ends, from: number, to: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(from, 0);
  head.writeUInt16BE(to, 2);
  head.writeUInt16BE(8 + payload.length, 4);
  return seal(Buffer.concat([head, payload]), PROTOCOL.udp, ends, 6);
}

/** SYN, SYN and ACK, PSH and ACK, RST. */
const TCP_FLAGS = { S: 0x02, SA: 0x12, PA: 0x18, R: 0x04 };

/** A TCP segment (RFC 9293, 3.1), in the middle of no connection: its numbers are always the same. */
export function tcpData(ends: Ends, from: number, to: number, flags: keyof typeof TCP_FLAGS, payload: Buffer): Buffer {
  const head = Buffer.alloc(20);
  head.writeUInt16BE(from, 0);
  head.writeUInt16BE(to, 2);
  head.writeUInt32BE(1000, 4);
  head.writeUInt32BE(flags.includes('A') ? 1001 : 0, 8);
  head[12] = 5 << 4;
  head[13] = TCP_FLAGS[flags];
  head.writeUInt16BE(0xffff, 14);
  return seal(Buffer.concat([head, payload]), PROTOCOL.tcp, ends, 16);
}

const SCTP_DATA = 0;
const SCTP_INIT = 1;

/** An SCTP packet with one chunk (RFC 9260, 3): INIT, which begins an association, or DATA. */
export function sctpData(from: number, to: number, chunk: 'init' | 'data', payload: Buffer): Buffer {
  const fixed = Buffer.alloc(chunk === 'init' ? 16 : 12);
  if (chunk === 'init') {
    fixed.writeUInt32BE(1, 0); // initiate tag
    fixed.writeUInt32BE(0xffff, 4); // window
    fixed.writeUInt16BE(1, 8); // outbound streams
    fixed.writeUInt16BE(1, 10); // inbound streams
  }
  // After the fixed part of an INIT come parameters: a receiver may skip one that it does not know (3.2.1).
  const value = chunk === 'init' ? Buffer.concat([parameter(0xc123, payload)]) : payload;
  const head = Buffer.alloc(16);
  head.writeUInt16BE(from, 0);
  head.writeUInt16BE(to, 2);
  head.writeUInt32BE(chunk === 'init' ? 0 : 1, 4); // verification tag
  head[12] = chunk === 'init' ? SCTP_INIT : SCTP_DATA;
  head[13] = chunk === 'init' ? 0 : 3; // one fragment: begin and end
  head.writeUInt16BE(4 + fixed.length + value.length, 14);
  const whole = Buffer.concat([head, fixed, value]);
  whole.writeUInt32LE(crc32c(whole), 8);
  return whole;
}

function parameter(type: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(4 + value.length, 2);
  return Buffer.concat([head, value]);
}

/** Types of the messages that the attacks use (RFC 792; RFC 4443; RFC 4861), by family: type and code. */
const ICMP_TYPES = {
  4: { request: [8, 0], reply: [0, 0], unreachable: [3, 3], tooBig: [3, 4], redirect: [5, 1] },
  6: { request: [128, 0], reply: [129, 0], unreachable: [1, 4], tooBig: [2, 0], redirect: [137, 0] },
} as const;
export type IcmpKind = keyof (typeof ICMP_TYPES)[4];

function icmpMessage(ends: Ends, kind: IcmpKind, rest: Buffer): Buffer {
  const family = familyOf(ends.from);
  const data = Buffer.concat([Buffer.from([...ICMP_TYPES[family][kind], 0, 0]), rest]);
  if (family === 6) return seal(data, PROTOCOL.icmpv6, ends, 2);
  data.writeUInt16BE(checksum(data), 2);
  return data;
}

export function echoData(ends: Ends, kind: 'request' | 'reply', id: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(id, 0);
  head.writeUInt16BE(1, 2);
  return icmpMessage(ends, kind, Buffer.concat([head, payload]));
}

/** An error about `about`, a whole packet, whose beginning is quoted with `payload` after it. */
export function errorData(ends: Ends, kind: Exclude<IcmpKind, 'request' | 'reply'>, about: Buffer, payload: Buffer) {
  const family = familyOf(ends.from);
  const quoted = about.subarray(0, (family === 4 ? 20 : 40) + 8);
  if (kind === 'redirect') {
    // To the sender itself, as a better first hop; IPv6 names the destination too and quotes in an option (RFC 4861, 4.5).
    const better = bytesOf(ends.from);
    if (family === 4) return icmpMessage(ends, kind, Buffer.concat([better, quoted, payload]));
    const option = Buffer.alloc(8);
    const padding = Buffer.alloc((8 - ((quoted.length + payload.length) % 8)) % 8);
    option.set([4, (8 + quoted.length + payload.length + padding.length) / 8]);
    const body = [Buffer.alloc(4), better, bytesOf(ends.to), option, quoted, payload, padding];
    return icmpMessage(ends, kind, Buffer.concat(body));
  }
  const head = Buffer.alloc(4);
  if (kind === 'tooBig') head.writeUInt32BE(1280, 0); // both families have the next hop's MTU in the low bytes
  return icmpMessage(ends, kind, Buffer.concat([head, quoted, payload]));
}

// --- IP -----------------------------------------------------------------------------------------------------------

export function ipPacket({ from, to }: Ends, protocol: number, data: Buffer, more: IpOptions = {}): Buffer {
  return familyOf(from) === 4 ? ipv4(from, to, protocol, data, more) : ipv6(from, to, protocol, data, more);
}

function ipv4(from: string, to: string, protocol: number, data: Buffer, more: IpOptions, fragment = 0): Buffer {
  const options = more.options ?? Buffer.alloc(0);
  const head = Buffer.alloc(20 + options.length);
  head[0] = 0x40 + head.length / 4;
  head.writeUInt16BE(head.length + data.length, 2);
  head.writeUInt16BE(identification, 4);
  head.writeUInt16BE(fragment, 6);
  head.set([more.hops ?? 64, protocol], 8);
  head.set(bytesOf(from), 12);
  head.set(bytesOf(to), 16);
  head.set(options, 20);
  head.writeUInt16BE(checksum(head), 10);
  return Buffer.concat([head, data]);
}

function ipv6(from: string, to: string, protocol: number, data: Buffer, { extension, hops = 64 }: IpOptions): Buffer {
  const between = extension === undefined ? Buffer.alloc(0) : Buffer.concat([Buffer.from([protocol]), extension.rest]);
  const head = Buffer.alloc(40);
  head[0] = 0x60;
  head.writeUInt16BE(between.length + data.length, 4);
  head.set([extension?.type ?? protocol, hops], 6);
  head.set(bytesOf(from), 8);
  head.set(bytesOf(to), 24);
  return Buffer.concat([head, between, data]);
}

let identification = 1;

export interface Piece {
  /** In bytes, a multiple of 8. */
  at: number;
  data: Buffer;
  last: boolean;
}

/** Fragments of one packet (RFC 791, 3.2; RFC 8200, 4.5), in this order, overlapping if the pieces do. */
export function fragments({ from, to }: Ends, protocol: number, pieces: readonly Piece[]): Buffer[] {
  identification = (identification % 0xffff) + 1;
  return pieces.map(({ at, data, last }) => {
    const more = last ? 0 : 1;
    if (familyOf(from) === 4) return ipv4(from, to, protocol, data, {}, at / FRAGMENT_UNIT + more * MORE_FRAGMENTS);
    const head = Buffer.alloc(8);
    head[0] = protocol;
    head.writeUInt16BE(at + more, 2);
    head.writeUInt32BE(identification, 4);
    return ipv6(from, to, IPV6_FRAGMENT, Buffer.concat([head, data]), {});
  });
}

/** IPv4 loose (131) or strict (137) source route (RFC 791, 3.1) with one address still to visit. */
export function sourceRoute(kind: 131 | 137, via: string): Buffer {
  return Buffer.concat([Buffer.from([kind, 7, 4]), bytesOf(via), Buffer.from([0])]);
}

/** One segment left: type 0 (RFC 5095), 2 (RFC 6275) or 4 (RFC 8754). */
export function routingHeader(type: 0 | 2 | 4, via: string): { type: number; rest: Buffer } {
  return { type: IPV6_ROUTING, rest: Buffer.concat([Buffer.from([2, type, 1, 0, 0, 0, 0]), bytesOf(via)]) };
}

/** A header with nothing in it but padding (RFC 8200, 4.2: PadN). */
export const destinationOptions = { type: IPV6_DESTINATION_OPTIONS, rest: Buffer.from([0, 1, 4, 0, 0, 0, 0]) };

// --- Ethernet -----------------------------------------------------------------------------------------------------

export interface EthernetOptions {
  /** Tags from the outermost: EtherType and VLAN id (IEEE 802.1Q: 0x8100, 802.1ad: 0x88a8). */
  tags?: readonly (readonly [number, number])[];
}

export function frame(from: string, to: string, packet: Buffer, { tags = [] }: EthernetOptions = {}): Buffer {
  const type = packet[0]! >> 4 === 4 ? 0x0800 : 0x86dd;
  const words = [...tags.flat(), type];
  const tail = Buffer.alloc(2 * words.length);
  words.forEach((word, i) => tail.writeUInt16BE(word, 2 * i));
  return Buffer.concat([Buffer.from(`${to}${from}`.replaceAll(':', ''), 'hex'), tail, packet]);
}
