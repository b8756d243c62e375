/**
 * The hooks raw and input of the table (ruleset.ts): they drop forged packets before connection tracking sees them.
 *
 * Guarantees: pure. A packet with a forged source address is dropped untracked. So no entry of connection tracking has a
 * container's address on the wrong side, and no entry that somebody else's packet made can pass for the answer to one of the
 * container's connections. The checks, for both families:
 *
 *     raw          prerouting -300   packets of lo are not checked
 *       arrivals                     by the interface a packet came in by: from a bridge, source-<bridge>
 *       saddr4/6                     by its source: loopback and IPv4-mapped addresses are dropped (moby#45610,
 *                                    CVE-2020-8558, RFC 4291 2.5.3, RFC 6890), addresses of a network came in by its bridge
 *                                    (inside-<bridge>)
 *       daddr4/6                     by its destination: the same addresses are dropped, addresses of a network go
 *                                    to door-<bridge>
 *     source-<bridge>                sources that a container may have: those of its network, and those that IPv6 and DHCP need
 *     door-<bridge>                  its own network, other networks as `isolate` says; addresses of this host, where
 *                                    published ports are looked up
 *     input        filter 0          dns-<bridge>: the network's name server answers the network and this host alone, over
 *                                    UDP alone: aardvark-dns 1.14 has TCP too, and a client that opens enough connections
 *                                    silences it for everybody (docs/decisions/0038)
 *
 * The cost of a packet does not depend on the number of networks: a map finds each by interface name or by interval of
 * addresses.
 * Limits: containers of one network can use each other's addresses. Packets that a container forwards for others (a router in a
 * network) stay in the network: beyond the bridge they are dropped for their foreign source.
 */
import type { NftElement, NftOperation, NftType, NftVerdict } from '../../native/nftables/nft-types.ts';
import { familyOf } from '../../plan/addresses/address.ts';
import { intervalOf, rule } from './rule-operations.ts';
import {
  DNS_PORT,
  FAMILIES,
  LINK_LOCAL,
  PROTOCOLS,
  address,
  addressDispatch,
  addressType,
  backThroughItsBridge,
  dispatch,
  fromOneOf,
  goto,
  inNetwork,
  interfaceIs,
  jump,
  networkOfOne,
  ofAnyDaemon,
  reject,
  toAnotherHost,
  toPort,
  toPortOfAny,
  toThisHost,
  verdict,
} from './rule-words.ts';
import type { Closed, NetworkRules } from './ruleset-inputs.ts';
import { fromOverlay } from './ruleset-overlay.ts';

/** Only packets of lo may have these as source or destination. */
const NOT_ON_A_WIRE = { 4: ['127.0.0.0/8'], 6: ['::1/128', '::ffff:0.0.0.0/96'] };

/** A host sends these before it has an address: DHCP (RFC 2131, 4.1), duplicate address detection of IPv6 (RFC 4862). */
const WITHOUT_AN_ADDRESS = [
  { from: '0.0.0.0/32', to: '255.255.255.255/32' },
  { from: '::/128', to: 'ff02::/16' },
];

export const SOURCE_SETS: { name: string; key: NftType[]; interval: boolean }[] = [
  { name: 'arrivals', key: ['ifname'], interval: false },
  ...FAMILIES.flatMap((family) => [
    { name: `saddr${family}`, key: [addressType(family)], interval: true },
    { name: `daddr${family}`, key: [addressType(family)], interval: true },
    { name: `dns${family}`, key: [addressType(family)], interval: false },
  ]),
];

/** Returns the rules of the hooks, and the elements for addresses that no host has. Requires the sets and hooks. */
export function sourceBase(table: string): NftOperation[] {
  const drop: NftVerdict = { verdict: 'drop' };
  return [
    ...FAMILIES.flatMap((family) =>
      ['saddr', 'daddr'].map((which): NftOperation => ({
        op: 'element.add',
        table,
        set: `${which}${family}`,
        elements: NOT_ON_A_WIRE[family].flatMap((cidr) => intervalOf(cidr, drop)),
      })),
    ),
    // A packet that this host sends to itself has passed no wire.
    { op: 'element.add', table, set: 'arrivals', elements: [{ key: [{ ifname: 'lo' }], data: { verdict: 'accept' } }] },
    rule(table, 'raw', [dispatch('from', 'arrivals')]),
    ...FAMILIES.map((family) => rule(table, 'raw', [addressDispatch(family, 'saddr', `saddr${family}`)])),
    rule(table, 'raw', [goto('doors')]),
    ...FAMILIES.map((family) => rule(table, 'doors', [addressDispatch(family, 'daddr', `daddr${family}`)])),
    // One comparison for all packets, which are seldom queries.
    rule(table, 'input', [toPortOfAny(DNS_PORT), jump('queries')]),
    ...[PROTOCOLS.udp, PROTOCOLS.tcp].flatMap((protocol) =>
      FAMILIES.map((family) =>
        rule(table, 'queries', [toPort(protocol, DNS_PORT), addressDispatch(family, 'daddr', `dns${family}`)]),
      ),
    ),
  ];
}

/** Returns the rules of source-, inside-, door- and dns-<bridge>. Requires these chains, empty. */
export function sourceRules(table: string, network: NetworkRules): NftOperation[] {
  const { bridge, subnets, internal, masquerade, isolate, overlay } = network;
  const add = (prefix: string, ...words: Parameters<typeof rule>[2]) => rule(table, `${prefix}-${bridge}`, words);
  const own = interfaceIs('from', bridge);
  const rules = [
    // Only this host has the addresses of the bridge.
    ...subnets.map(({ gateway }) => add('source', inNetwork('saddr', networkOfOne(gateway)), verdict('drop'))),
    ...subnets.map(({ cidr }) => add('source', inNetwork('saddr', cidr), goto('doors'))),
    add('source', inNetwork('saddr', LINK_LOCAL), goto('doors')),
    ...WITHOUT_AN_ADDRESS.map(({ from, to }) =>
      add('source', inNetwork('saddr', from), inNetwork('daddr', to), goto('doors')),
    ),
    // br_netfilter passes frames between two containers through here. One of the containers may be a router.
    ...subnets.map(({ cidr }) => add('source', inNetwork('daddr', cidr), toAnotherHost(), verdict('accept'))),
    add('source', verdict('drop')),

    add('inside', own, verdict('return')),
    add('inside', verdict('drop')),

    ...[own, interfaceIs('from', 'lo')].flatMap((ours) => [
      add('dns', ours, toPort(PROTOCOLS.udp, DNS_PORT), verdict('return')),
      add('dns', ours, reject()),
    ]),
    add('dns', verdict('drop')),
  ];
  // Without masquerading, answers are addressed to the container itself. Only connection tracking knows which packets are
  // answers, so the forward hook decides (to-<bridge>).
  if (!masquerade && !internal) return rules;
  rules.push(add('door', own, verdict('return')));
  rules.push(...fromOverlay(overlay).map((source) => add('door', source, verdict('return'))));
  rules.push(add('door', toThisHost(), verdict('return')));
  if (!internal && isolate !== 'strict') rules.push(add('door', fromOneOf('open'), verdict('return')));
  if (!internal && isolate === 'open') rules.push(add('door', fromOneOf('isolated'), verdict('return')));
  rules.push(add('door', verdict('drop')));
  return rules;
}

/** Returns the elements that lead to the chains of a network. */
export function sourceWays({ bridge, subnets, dns }: NetworkRules): { set: string; elements: NftElement[] }[] {
  const ways = [
    {
      set: 'arrivals',
      elements: [{ key: [{ ifname: bridge }], data: lead('goto', 'source', bridge) }] as NftElement[],
    },
  ];
  for (const family of FAMILIES) {
    const mine = subnets.filter(({ cidr }) => familyOf(cidr) === family);
    if (mine.length === 0) continue;
    const intervals = (prefix: string) => mine.flatMap(({ cidr }) => intervalOf(cidr, lead('jump', prefix, bridge)));
    ways.push({ set: `saddr${family}`, elements: intervals('inside') });
    ways.push({ set: `daddr${family}`, elements: intervals('door') });
    if (!dns) continue;
    const data = lead('jump', 'dns', bridge);
    ways.push({ set: `dns${family}`, elements: mine.map(({ gateway }) => ({ key: [address(gateway)], data })) });
  }
  return ways;
}

const lead = (how: 'jump' | 'goto', prefix: string, bridge: string): NftVerdict => ({
  verdict: how,
  chain: `${prefix}-${bridge}`,
});

/**
 * Returns the rules of the chains `others4` and `others6`. If this host forwarded nothing before cleat, it still forwards only
 * packets from a bridge of cleat or to one. Bridges of another daemon are judged by its own table. `routers` are interfaces
 * that forwarded even so.
 *
 * With br_netfilter, frames that pass a bridge of somebody else come through here too. They are recognised by their route,
 * which leads back to the very bridge that they came in by. Limit: a bridge that this host has no route through is not
 * recognised.
 */
export function otherForwarding(table: string, closed: Closed): NftOperation[] {
  return [...closed].flatMap(([family, routers]) => {
    const chain = `others${family}`;
    const add = (...words: Parameters<typeof rule>[2]) => rule(table, chain, words);
    return [
      add(ofAnyDaemon('from'), verdict('return')),
      add(ofAnyDaemon('to'), verdict('return')),
      add(backThroughItsBridge(), verdict('return')),
      ...routers.map((name) => add(interfaceIs('from', name), verdict('return'))),
      add(verdict('drop')),
    ];
  });
}
