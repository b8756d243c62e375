/**
 * The rules of a network that is on several hosts: what is added to those of its bridge (ruleset.ts).
 *
 * Guarantees: pure. A packet that has a source in the overlay's pools came from its bridge, or from another host by the way that
 * leads there; with VXLAN that is the overlay's own link, whose packets come from the addresses of its other hosts. Such packets go to
 * the bridge and nowhere else. All other networks are as apart from the other hosts' containers as from those here (`isolate`).
 *
 *     input        vtep-<bridge>     the tunnel's packets (port and network number of VXLAN) come from other hosts of the overlay
 *     raw          tunnel-<bridge>   by the VXLAN link come sources in the pools alone
 *                  remote-<bridge>   sources in the pools, but in no share of this host, come by the way that leads back to them
 *     forward      peers-<bridge>    what came from another host goes to the bridge, or is an answer
 *
 * Limits: whoever can send with the address of another host reaches the network: VXLAN has no secret. Without VXLAN (host-gw) a
 * source counts as genuine if its route leads out by the link that the packet came in by.
 */
import type { NftElement, NftExpression, NftOperation, NftType } from '../../native/nftables/nft-types.ts';
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
  fromTunnelPeer,
  inNetwork,
  interfaceIs,
  toTunnel,
  tunnelDispatch,
  tunnelKey,
  verdict,
  type Family,
} from './rule-words.ts';
import type { NetworkRules, OverlayRules } from './ruleset-inputs.ts';

export const peerSet = (family: Family): string => `peers${family}`;

export const OVERLAY_SETS: { name: string; key: NftType[]; verdicts: boolean }[] = [
  { name: 'tunnels', key: ['inet_service', 'mark'], verdicts: true },
  ...FAMILIES.map((family) => ({
    name: peerSet(family),
    key: ['mark', addressType(family)] as NftType[],
    verdicts: false,
  })),
];

/** The chains of such a network, besides those of its bridge. */
export const OVERLAY_CHAINS = ['vtep', 'tunnel', 'remote', 'peers'];

/** Returns the rule of the hook `input` that calls vtep-<bridge>. Requires the set and the hook. */
export const overlayBase = (table: string): NftOperation[] => [
  rule(table, 'input', [toTunnel(), tunnelDispatch('tunnels')]),
];

/** Returns the rules of the overlay's own chains. Requires these chains, empty. */
export function overlayRules(table: string, { bridge, overlay }: NetworkRules): NftOperation[] {
  if (overlay === undefined) return [];
  const add = (prefix: string, ...words: Parameters<typeof rule>[2]) => rule(table, `${prefix}-${bridge}`, words);
  const { link, pools } = overlay;
  if (link === null) return [add('remote', cameByAnotherWay(), verdict('drop'))];
  return [
    ...FAMILIES.map((family) => add('vtep', fromTunnelPeer(family, peerSet(family)), verdict('return'))),
    add('vtep', verdict('drop')),
    ...pools.map((pool) => add('tunnel', inNetwork('saddr', pool), verdict('return'))),
    add('tunnel', verdict('drop')),
    add('remote', interfaceIs('from', link), verdict('return')),
    add('remote', verdict('drop')),
    add('peers', connection('state', ESTABLISHED_RELATED), verdict('return')),
    add('peers', interfaceIs('to', bridge, 'neq'), verdict('drop')),
  ];
}

/** Returns the elements that lead to these chains, and the addresses of the other hosts. */
export function overlayWays({ bridge, subnets, overlay }: NetworkRules): { set: string; elements: NftElement[] }[] {
  if (overlay === undefined) return [];
  const { link, pools, vni, port, peers } = overlay;
  const jump = (prefix: string) => ({ verdict: 'jump', chain: `${prefix}-${bridge}` }) as const;
  const ways = FAMILIES.map((family) => ({
    set: `saddr${family}`,
    elements: without(
      pools.filter((pool) => familyOf(pool) === family),
      subnets.map(({ cidr }) => cidr),
    ).flatMap((range) => rangeOf(range, jump('remote'))),
  }));
  if (link === null) return ways.filter(({ elements }) => elements.length > 0);
  const byLink = (set: string, chain: string) => ({ set, elements: [{ key: [{ ifname: link }], data: jump(chain) }] });
  return [
    ...ways,
    byLink('arrivals', 'tunnel'),
    byLink('forward_from', 'peers'),
    byLink('forward_to', 'to'),
    { set: 'tunnels', elements: [{ key: [{ port }, tunnelKey(vni)], data: jump('vtep') }] },
    ...FAMILIES.map((family) => ({
      set: peerSet(family),
      elements: [...new Set(peers)]
        .filter((peer) => familyOf(peer) === family)
        .map((peer): NftElement => ({ key: [tunnelKey(vni), address(peer)], comment: bridge })),
    })),
  ].filter(({ elements }) => elements.length > 0);
}

/** Returns the operations that add the addresses of the other hosts. */
export const peerElements = (table: string, network: NetworkRules) =>
  overlayWays(network)
    .filter(({ set }) => FAMILIES.some((family) => set === peerSet(family)))
    .map(({ set, elements }) => ({ op: 'element.add' as const, table, set, elements }));

/** The packet goes to another host of the overlay. */
export const toOtherHosts = ({ link, pools }: OverlayRules): NftExpression[][] =>
  link === null ? pools.map((pool) => inNetwork('daddr', pool)) : [interfaceIs('to', link)];

/** The packet has a source in the overlay. `raw` has made sure that it came from there. */
export const fromOverlay = (overlay: OverlayRules | undefined): NftExpression[][] =>
  (overlay?.pools ?? []).map((pool) => inNetwork('saddr', pool));

/** The packet stays in the overlay. */
export const withinOverlay = (overlay: OverlayRules | undefined): NftExpression[][] =>
  (overlay?.pools ?? []).map((pool) => inNetwork('daddr', pool));
