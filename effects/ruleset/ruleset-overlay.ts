/**
 * The rules of a network that is on several hosts: what is added to those of its bridge (ruleset.ts).
 *
 * Guarantees: pure. A packet that has a source in the overlay's pools came from its bridge, or from another host by the way that
 * leads there: with a tunnel that is the overlay's own link. Packets of VXLAN come from the addresses of the other hosts; those of
 * WireGuard prove who has sent them, and come in by the link only with sources that are that host's. Such packets go to the bridge and
 * nowhere else. All other networks are as apart from the other hosts' containers as from those here (`isolate`).
 *
 *     vtep-<bridge> filter 0         hook input: the tunnel's packets (port and network number of VXLAN) come from other hosts of the overlay
 *     raw          tunnel-<bridge>   by the link to other hosts come sources in the pools alone
 *                  remote-<bridge>   sources in the pools, but in no share of this host, come by the way that leads back to them
 *     forward      peers-<bridge>    what came from another host goes to the bridge, or is an answer
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
  inNetwork,
  interfaceIs,
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

/** The chains of such a network, besides those of its bridge. The hook `input` calls the first. */
export const OVERLAY_CHAINS = ['vtep', 'tunnel', 'remote', 'peers'];
export const VTEP_HOOK: NftHook = { type: 'filter', hook: 'input', priority: 0, policy: 'accept' };

/** Returns the rules of the overlay's own chains. Requires these chains, empty. */
export function overlayRules(table: string, { bridge, overlay }: NetworkRules): NftOperation[] {
  if (overlay === undefined) return [];
  const add = (prefix: string, ...words: Parameters<typeof rule>[2]) => rule(table, `${prefix}-${bridge}`, words);
  const { link, pools, vxlan } = overlay;
  if (link === null) return [add('remote', cameByAnotherWay(), verdict('drop'))];
  const strangers = ({ port, vni }: NonNullable<OverlayRules['vxlan']>) => [
    ...FAMILIES.map((family) =>
      add('vtep', ofTunnel(port, vni), fromAddressIn(family, peerSet(family, bridge)), verdict('return')),
    ),
    add('vtep', ofTunnel(port, vni), verdict('drop')),
  ];
  return [
    ...(vxlan === null ? [] : strangers(vxlan)),
    ...pools.map((pool) => add('tunnel', inNetwork('saddr', pool), verdict('return'))),
    add('tunnel', verdict('drop')),
    add('remote', interfaceIs('from', link), verdict('return')),
    add('remote', verdict('drop')),
    add('peers', connection('state', ESTABLISHED_RELATED), verdict('return')),
    add('peers', interfaceIs('to', bridge, 'neq'), verdict('drop')),
  ];
}

/** Returns the elements that lead to these chains. */
export function overlayWays({ bridge, subnets, overlay }: NetworkRules): { set: string; elements: NftElement[] }[] {
  if (overlay === undefined) return [];
  const { link, pools } = overlay;
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
  return [...ways, byLink('arrivals', 'tunnel'), byLink('forward_from', 'peers'), byLink('forward_to', 'to')].filter(
    ({ elements }) => elements.length > 0,
  );
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

/** The packet stays in the overlay. */
export const withinOverlay = (overlay: OverlayRules | undefined): NftExpression[][] =>
  (overlay?.pools ?? []).map((pool) => inNetwork('daddr', pool));
