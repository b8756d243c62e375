/**
 * The rules of a network that is on several hosts: what is added to those of its bridge (ruleset.ts).
 *
 * Guarantees: pure. A packet that has a source in the overlay's pools came from its bridge, or from another host by the way that
 * leads there: with a tunnel that is the overlay's own link. Packets of VXLAN come from the addresses of the other hosts; those of
 * WireGuard prove who has sent them, and come in by the link only with sources that are that host's. Such packets go to the bridge and
 * nowhere else. All other networks are as apart from the other hosts' containers as from those here (`isolate`).
 *
 *     received-<bridge>  prerouting -300: the tunnel's packets (address, port and network number of the VXLAN link) come from other hosts
 *                        of the overlay
 *     sent-<bridge>      output -300: those that this host sends
 *     raw          tunnel-<bridge>   by the link to other hosts come sources of their shares alone
 *                  remote-<bridge>   sources in the pools, but in no share of this host, come by the way that leads back to them
 *     forward      peers-<bridge>    what came from another host goes to the bridge, or is an answer
 *
 * VXLAN's packets are no connections (`notrack`): there is one way each, and each port that a sender chooses for a flow
 * would take an entry of the host's table.
 *
 * Limits: whoever can send with the address of another host reaches the network by VXLAN, which has no secret. Without a link (host-gw) a
 * source counts as genuine if its route leads out by the link that the packet came in by.
 */
import type { NftElement, NftExpression, NftHook, NftOperation, NftType } from '../../native/nftables/nft-types.ts';
import { familyOf } from '../../plan/addresses/address.ts';
import { without } from '../../plan/addresses/ranges.ts';
import { rangeOf, rule } from './rule-operations.ts';
import {
  address,
  addressType,
  cameByAnotherWay,
  connection,
  ESTABLISHED_RELATED,
  FAMILIES,
  fromAddressIn,
  goto,
  inNetwork,
  interfaceIs,
  networkOfOne,
  notrack,
  ofTunnel,
  verdict,
  type Family,
} from './rule-words.ts';
import type { NetworkRules, OverlayRules } from './ruleset-inputs.ts';

/** The set with the addresses of the other hosts of one overlay. */
export const peerSet = (family: Family, bridge: string): string => `peers${family}-${bridge}`;

/** The sets that such a network has of its own. */
export const peerSets = ({ bridge, overlay }: NetworkRules): { set: string; key: NftType[] }[] =>
  overlay === undefined || overlay.vxlan === null
    ? []
    : FAMILIES.map((family) => ({ set: peerSet(family, bridge), key: [addressType(family)] }));

/** Returns the bridge of the overlay that a set belongs to; undefined if it is another set. */
export const bridgeOfSet = (set: string): string | undefined => /^peers[46]-(.+)$/.exec(set)?.[1];

/** The chains of such a network, besides those of its bridge. */
const OF_ALL = ['tunnel', 'remote', 'peers'];
const OF_VXLAN = ['received', 'sent'];
export const OVERLAY_CHAINS = [...OF_VXLAN, ...OF_ALL];
export const overlayChains = (overlay: OverlayRules | undefined): string[] =>
  overlay === undefined ? [] : overlay.vxlan === null ? OF_ALL : OVERLAY_CHAINS;
/** These hooks call the chains of VXLAN before connections are tracked (NF_IP_PRI_RAW of netfilter_ipv4.h). */
export const TUNNEL_HOOKS: Record<string, NftHook> = {
  received: { type: 'filter', hook: 'prerouting', priority: -300, policy: 'accept' },
  sent: { type: 'filter', hook: 'output', priority: -300, policy: 'accept' },
};

/** Returns the rules of the overlay's own chains. Requires these chains, empty. */
export function overlayRules(table: string, { bridge, subnets, overlay }: NetworkRules): NftOperation[] {
  if (overlay === undefined) return [];
  const add = (prefix: string, ...words: Parameters<typeof rule>[2]) => rule(table, `${prefix}-${bridge}`, words);
  const { link, pools, vxlan } = overlay;
  if (link === null) return [add('remote', cameByAnotherWay(), verdict('drop'))];
  const ofVxlan = ({ local, port, vni }: NonNullable<OverlayRules['vxlan']>) => {
    // With br_netfilter, frames between others come through here as well, so the address counts.
    const arrived = [...inNetwork('daddr', networkOfOne(local)), ...ofTunnel(port, vni)];
    const family = familyOf(local);
    return [
      add('received', arrived, fromAddressIn(family, peerSet(family, bridge)), notrack(), verdict('return')),
      add('received', arrived, verdict('drop')),
      add('sent', ofTunnel(port, vni), notrack()),
    ];
  };
  return [
    ...(vxlan === null ? [] : ofVxlan(vxlan)),
    ...subnets.map(({ cidr }) => add('tunnel', inNetwork('saddr', cidr), verdict('drop'))),
    ...pools.map((pool) => add('tunnel', inNetwork('saddr', pool), goto('doors'))),
    add('tunnel', verdict('drop')),
    add('remote', verdict('drop')),
    add('peers', connection('state', ESTABLISHED_RELATED), verdict('return')),
    add('peers', interfaceIs('to', bridge, 'neq'), verdict('drop')),
  ];
}

/** Returns the elements that lead to these chains. */
export function overlayWays({ bridge, subnets, overlay }: NetworkRules): { set: string; elements: NftElement[] }[] {
  if (overlay === undefined) return [];
  const { link, pools } = overlay;
  const jump = (prefix: string, how: 'jump' | 'goto' = 'jump') =>
    ({ verdict: how, chain: `${prefix}-${bridge}` }) as const;
  const ways = FAMILIES.map((family) => ({
    set: `saddr${family}`,
    elements: without(
      pools.filter((pool) => familyOf(pool) === family),
      subnets.map(({ cidr }) => cidr),
    ).flatMap((range) => rangeOf(range, jump('remote'))),
  }));
  if (link === null) return ways.filter(({ elements }) => elements.length > 0);
  const byLink = (set: string, ...chain: Parameters<typeof jump>) => ({
    set,
    elements: [{ key: [{ ifname: link }], data: jump(...chain) }],
  });
  return [
    ...ways,
    byLink('arrivals', 'tunnel', 'goto'),
    byLink('forward_from', 'peers'),
    byLink('forward_to', 'to'),
  ].filter(({ elements }) => elements.length > 0);
}

/** Returns the operations that add the addresses of the other hosts. */
export const peerElements = (table: string, { bridge, overlay }: NetworkRules) =>
  overlay === undefined || overlay.vxlan === null
    ? []
    : FAMILIES.flatMap((family) => {
        const mine = [...new Set(overlay.vxlan?.peers)].filter((peer) => familyOf(peer) === family);
        if (mine.length === 0) return [];
        const elements = mine.map((peer): NftElement => ({ key: [address(peer)], comment: bridge }));
        return [{ op: 'element.add' as const, table, set: peerSet(family, bridge), elements }];
      });

/** The packet goes to another host of the overlay. */
export const toOtherHosts = ({ link, pools }: OverlayRules): NftExpression[][] =>
  link === null ? pools.map((pool) => inNetwork('daddr', pool)) : [interfaceIs('to', link)];

/** The packet has a source in the overlay. `raw` has made sure that it came from there. */
export const fromOverlay = (overlay: OverlayRules | undefined): NftExpression[][] =>
  (overlay?.pools ?? []).map((pool) => inNetwork('saddr', pool));

/** The packet came from another host of the overlay. */
export const fromOtherHosts = (overlay: OverlayRules | undefined): NftExpression[][] =>
  overlay === undefined || overlay.link === null ? fromOverlay(overlay) : [interfaceIs('from', overlay.link)];

/** The packet stays in the overlay. */
export const withinOverlay = (overlay: OverlayRules | undefined): NftExpression[][] =>
  (overlay?.pools ?? []).map((pool) => inNetwork('daddr', pool));
