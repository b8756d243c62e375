/**
 * The kinds of packets of which attacks consist, by name, and the order in which one answers another.
 *
 * Limits: each has only what a protocol needs to recognise the packet.
 */
import * as packets from './packets.ts';
import type { Ends, IpOptions } from './packets.ts';

export type Protocol = 'tcp' | 'udp' | 'icmp' | 'sctp';

/** Every kind of packet that an attack consists of, and its row in the table. */
export const KINDS = {
  'tcp SYN': 'tcp',
  'tcp SYN-ACK': 'tcp',
  'tcp data': 'tcp',
  'tcp RST': 'tcp',
  udp: 'udp',
  'icmp request': 'icmp',
  'icmp reply': 'icmp',
  'icmp unreachable': 'icmp',
  'icmp tooBig': 'icmp',
  'icmp redirect': 'icmp',
  'sctp init': 'sctp',
  'sctp data': 'sctp',
} as const;
export type Kind = keyof typeof KINDS;
const FLAGS = { 'tcp SYN': 'S', 'tcp SYN-ACK': 'SA', 'tcp data': 'PA', 'tcp RST': 'R' } as const;
const ERRORS = { 'icmp unreachable': 'unreachable', 'icmp tooBig': 'tooBig', 'icmp redirect': 'redirect' } as const;

/** The kinds that begin a request, one of each protocol. */
export const OPENERS: readonly Kind[] = ['tcp SYN', 'udp', 'icmp request', 'sctp init'];
export const ALL = Object.keys(KINDS) as Kind[];
/** First a packet in the victim's name, then an apparent answer to it; the last one is the attack. */
export const ANSWERS: readonly (readonly [Kind, ...Kind[]])[] = [
  ['udp', 'udp'],
  ['tcp SYN', 'tcp SYN'],
  ['tcp data', 'tcp data'],
  ['icmp request', 'icmp reply'],
  ['udp', 'icmp unreachable'],
  ['tcp SYN', 'tcp SYN-ACK'],
  ['tcp SYN', 'tcp SYN-ACK', 'tcp data', 'tcp data'],
  ['tcp data', 'tcp RST'],
  ['tcp SYN', 'icmp tooBig'],
  ['udp', 'icmp tooBig'],
  ['udp', 'icmp redirect'],
  ['sctp init', 'sctp init'],
  ['sctp data', 'sctp data'],
];

/**
 * One IP packet of a kind, from port to port. An echo request has the sender's port as its id, a reply the receiver's;
 * an error quotes `about`, or a datagram that went the other way.
 */
export function packet(
  kind: Kind,
  ends: Ends,
  from: number,
  to: number,
  payload: Buffer,
  { about, ...more }: IpOptions & { about?: Buffer | undefined } = {},
): Buffer {
  const { protocol, data } = carried(kind, ends, from, to, payload, about);
  return packets.ipPacket(ends, protocol, data, more);
}

export function carried(
  kind: Kind,
  ends: Ends,
  from: number,
  to: number,
  payload: Buffer,
  about?: Buffer,
): { protocol: number; data: Buffer } {
  const { tcp, udp, icmp, icmpv6, sctp } = packets.PROTOCOL;
  const icmpOf = packets.familyOf(ends.from) === 4 ? icmp : icmpv6;
  switch (kind) {
    case 'tcp SYN':
    case 'tcp SYN-ACK':
    case 'tcp data':
    case 'tcp RST':
      return { protocol: tcp, data: packets.tcpData(ends, from, to, FLAGS[kind], payload) };
    case 'udp':
      return { protocol: udp, data: packets.udpData(ends, from, to, payload) };
    case 'icmp request':
      return { protocol: icmpOf, data: packets.echoData(ends, 'request', from, payload) };
    case 'icmp reply':
      return { protocol: icmpOf, data: packets.echoData(ends, 'reply', to, payload) };
    case 'sctp init':
    case 'sctp data':
      return { protocol: sctp, data: packets.sctpData(from, to, kind === 'sctp init' ? 'init' : 'data', payload) };
    case 'icmp unreachable':
    case 'icmp tooBig':
    case 'icmp redirect': {
      const quoted = about ?? packet('udp', { from: ends.to, to: ends.from }, to, from, Buffer.alloc(0));
      return { protocol: icmpOf, data: packets.errorData(ends, ERRORS[kind], quoted, payload) };
    }
  }
}
