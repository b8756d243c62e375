/**
 * The hook uplinks of the table (ruleset.ts): it limits the packets that slirp4netns and pasta may send.
 *
 * Their packets leave as the host's own, whatever the container wrote into its frames, so the rules recognise them by the
 * program's user. They refuse packets to the host's loopback and to our bridges: to containers, and to the addresses of the
 * bridges. Everything else of the host can be reached as from any of its processes. A port published on an address of the host
 * can be reached by that address.
 *
 *     uplinks      output -150       by the sender's user: uplink, or uplink-loopback
 *       uplink-loopback              127.0.0.1 and ::1 are open, all else is as in uplink
 *       uplink                       accepts answers (the programs publish ports) and queries to the host's own name servers,
 *                                    then refuses the above
 *
 * The hook runs after connection tracking (-200), which recognises answers, and before DNAT (-100), so that it sees the
 * original destination. Other traffic of the host costs two comparisons. Packets are refused, not dropped: a connection fails
 * at once (ECONNREFUSED), and does not hold a descriptor of the program for minutes.
 *
 * Guarantees: pure. All daemons of a machine have the same users, and each table refuses packets to its own bridges, so a
 * packet must pass all of them.
 * Limits: a packet that no socket sends has no user: resets, and the rest of connections that their program has closed.
 */
import type { NftElement, NftExpression, NftOperation, NftType } from '../../native/nftables/nft-types.ts';
import { familyOf } from '../../plan/addresses/address.ts';
import { rule } from './rule-operations.ts';
import {
  DNS_PORT,
  FAMILIES,
  PROTOCOLS,
  address,
  addressType,
  inNetwork,
  isAnswer,
  jump,
  networkOfOne,
  reject,
  sentBy,
  toAddressIn,
  toOneOf,
  toPort,
  verdict,
} from './rule-words.ts';
import type { NetworkRules } from './ruleset-inputs.ts';

/** The users of the programs, and the services on the host's loopback that they need. */
export interface UplinkGuard {
  /** The users that the programs run as; `loopback` is for containers that may reach the host's loopback. */
  users: { plain: number; loopback: number };
  /** The host's own name servers on its loopback. The programs forward queries to them. */
  nameservers: readonly string[];
}

/** The addresses of bridges. */
export const UPLINK_SETS: { name: string; key: NftType[] }[] = FAMILIES.map((family) => ({
  name: `gateways${family}`,
  key: [addressType(family)],
}));

/** All addresses that mean this host itself (RFC 6890, RFC 4291); connect(2) takes 0.0.0.0 and :: for it, too. */
const LOOPBACK = ['127.0.0.0/8', '0.0.0.0/8', '::1/128', '::/128', '::ffff:0.0.0.0/96'];
/** The addresses that allow_host_loopback and --map-gw open. */
const OPENED = ['127.0.0.1/32', '::1/128'];

/** Returns the rules. Requires the sets. */
export function uplinkRules(table: string, { users, nameservers }: UplinkGuard): NftOperation[] {
  const chain = (name: string, hook?: Extract<NftOperation, { op: 'chain.add' }>['hook']): NftOperation[] => [
    { op: 'chain.add', table, chain: name, ...(hook === undefined ? {} : { hook }) },
    { op: 'chain.flush', table, chain: name },
  ];
  const add = (name: string, ...words: NftExpression[][]) => rule(table, name, words);
  return [
    ...chain('uplink'),
    ...chain('uplink-loopback'),
    ...chain('uplinks', { type: 'filter', hook: 'output', priority: -150, policy: 'accept' }),
    add('uplinks', sentBy(users.plain), jump('uplink')),
    add('uplinks', sentBy(users.loopback), jump('uplink-loopback')),
    ...OPENED.map((network) => add('uplink-loopback', inNetwork('daddr', network), verdict('accept'))),
    add('uplink-loopback', jump('uplink')),
    add('uplink', isAnswer(), verdict('accept')),
    ...nameservers.flatMap((server) =>
      [PROTOCOLS.tcp, PROTOCOLS.udp].map((protocol) =>
        add('uplink', inNetwork('daddr', networkOfOne(server)), toPort(protocol, DNS_PORT), verdict('accept')),
      ),
    ),
    ...LOOPBACK.map((network) => add('uplink', inNetwork('daddr', network), reject())),
    add('uplink', toOneOf('bridges'), reject()),
    ...FAMILIES.map((family) => add('uplink', toAddressIn(family, `gateways${family}`), reject())),
  ];
}

/** Returns the elements that a network has in the sets. */
export function uplinkElements({ bridge, subnets }: NetworkRules): { set: string; elements: NftElement[] }[] {
  return subnets.map(({ gateway }) => ({
    set: `gateways${familyOf(gateway)}`,
    elements: [{ key: [address(gateway)], comment: bridge }],
  }));
}
