/**
 * Ethernet frames that no kernel would send: forged sources, loopback destinations, router advertisements.
 *
 * Guarantees: checksums are right, so a dropped frame is dropped for its content. `arrived` counts the datagrams that
 * have reached the UDP layer of a namespace, with or without a listener.
 * Limits: one frame, one datagram: no fragments, no options. Sent with python3, because Node has no packet(7) sockets.
 */
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import ipaddr from 'ipaddr.js';
import { inside, ipJson } from './picture.ts';

const ICMP = 1;
const UDP = 17;
const ICMPV6 = 58;
/** The all-nodes address of the link (RFC 4291, 2.7.1), and its Ethernet address (RFC 2464, 7). */
const ALL_NODES = { address: 'ff02::1', mac: '33:33:00:00:00:01' };

export interface Datagram {
  from: string;
  to: string;
  port: number;
}

export function macOf(netns: string | undefined, link: string): string {
  return ipJson<{ address: string }[]>(netns, 'link', 'show', 'dev', link)[0]?.address ?? '';
}

/** A UDP datagram (RFC 768) in IPv4 or IPv6, according to the addresses. */
export function udp({ from, to, port }: Datagram): Buffer {
  const payload = Buffer.from('forged');
  const head = Buffer.alloc(8);
  head.writeUInt16BE(40_000, 0);
  head.writeUInt16BE(port, 2);
  head.writeUInt16BE(8 + payload.length, 4);
  return packet(from, to, UDP, Buffer.concat([head, payload]), 6, 64);
}

/** A router advertisement with a prefix (RFC 4861, 4.2 and 4.6.2), from a link-local address. */
export function routerAdvertisement(from: string, prefix: string): Buffer {
  const head = Buffer.from([134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0]);
  const option = Buffer.alloc(32);
  option.set([3, 4, 64, 0xc0]); // prefix information: on link, autonomous
  option.writeUInt32BE(3600, 4);
  option.writeUInt32BE(1800, 8);
  option.set(ipaddr.parse(prefix).toByteArray(), 16);
  return packet(from, ALL_NODES.address, ICMPV6, Buffer.concat([head, option]), 2, 255);
}

/**
 * A redirect (ICMP type 5 code 1, RFC 792), sent by `from` about an echo reply of `to`: about any other packet the
 * kernel accepts one only while it has a socket for it (icmp_err in net/ipv4/icmp.c).
 */
export function redirect({
  from,
  to,
  via,
  destination,
}: Record<'from' | 'to' | 'via' | 'destination', string>): Buffer {
  const about = packet(to, destination, ICMP, Buffer.from([0, 0, 0xff, 0xff, 0, 0, 0, 0]), null, 64);
  const message = Buffer.concat([Buffer.from([5, 1, 0, 0, ...ipaddr.parse(via).toByteArray()]), about]);
  message.writeUInt16BE(checksum(message), 2);
  return packet(from, to, ICMP, message, null, 64);
}

/** Sends out of a link of a namespace, to one MAC address. */
export function send(netns: string, link: string, to: string, ...packets: Buffer[]): void {
  const source = macOf(netns, link);
  const frames = packets.map((bytes) => {
    const type = bytes[0]! >> 4 === 4 ? '0800' : '86dd';
    return `${`${to}${source}`.replaceAll(':', '')}${type}${bytes.toString('hex')}`;
  });
  const program = `import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
for frame in sys.argv[2:]: s.send(bytes.fromhex(frame))`;
  execFileSync('nsenter', [`--net=${netns}`, '--', 'python3', '-c', program, link, ...frames]);
}

export function advertise(netns: string, link: string, from: string, prefix: string): void {
  send(netns, link, ALL_NODES.mac, routerAdvertisement(from, prefix));
}

/**
 * The number of datagrams that have come to the UDP layer of a namespace (our own unless given), with or without a
 * listener.
 */
export function arrived(netns?: string): number {
  const read = (path: string) =>
    netns === undefined ? execFileSync('cat', [path], { encoding: 'utf8' }) : inside(netns, 'cat', path);
  const [names = '', values = ''] = read('/proc/net/snmp')
    .split('\n')
    .filter((line) => line.startsWith('Udp:'));
  const of = (name: string) => Number(values.split(' ')[names.split(' ').indexOf(name)]);
  const of6 = (name: string) => Number(new RegExp(`^${name}\\s+(\\d+)$`, 'm').exec(read('/proc/net/snmp6'))?.[1]);
  return of('InDatagrams') + of('NoPorts') + of6('Udp6InDatagrams') + of6('Udp6NoPorts');
}

/** Resolves to true as soon as this many have arrived in all; to false when they have not after 2 s. */
export async function arrives(count: number, netns?: string): Promise<boolean> {
  for (let n = 0; n < 100; n++) {
    if (arrived(netns) >= count) return true;
    await sleep(20);
  }
  return false;
}

/** `checksumAt`: the offset of the checksum over the pseudo header; null for data that has none. */
function packet(
  from: string,
  to: string,
  protocol: number,
  data: Buffer,
  checksumAt: number | null,
  hops: number,
): Buffer {
  const [source, target] = [from, to].map((address) => Buffer.from(ipaddr.parse(address).toByteArray()));
  if (source === undefined || target === undefined) throw new Error('no address');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  // The pseudo header of both families (RFC 768, RFC 8200 8.1) has these parts; zeros do not matter to the sum.
  const sum = checksum(Buffer.concat([source, target, length, Buffer.from([0, protocol]), data]));
  if (checksumAt !== null) data.writeUInt16BE(sum === 0 ? 0xffff : sum, checksumAt);
  if (source.length === 16) {
    const head = Buffer.alloc(8);
    head.writeUInt8(0x60, 0);
    head.writeUInt16BE(data.length, 4);
    head.set([protocol, hops], 6);
    return Buffer.concat([head, source, target, data]);
  }
  const head = Buffer.alloc(12);
  head.writeUInt8(0x45, 0);
  head.writeUInt16BE(20 + data.length, 2);
  head.set([hops, protocol], 8);
  const whole = Buffer.concat([head, source, target, data]);
  whole.writeUInt16BE(checksum(whole.subarray(0, 20)), 10);
  return whole;
}

/** The Internet checksum (RFC 1071). */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += i % 2 === 0 ? bytes[i]! << 8 : bytes[i]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
