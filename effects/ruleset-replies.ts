/**
 * The hook replies of the table (ruleset.ts): answers from published ports leave by the way that the host itself would
 * answer by.
 *
 * The kernel chooses the route of an answer while it still has the container's address; only behind that does connection
 * tracking give it the address that the client asked. Where the host's routing goes by the source (`ip rule from ADDRESS lookup
 * TABLE`), the answer leaves by another uplink than it should, and is lost. So the source is written into the packet
 * earlier, behind the other hooks of prerouting: the route is chosen as for any packet of the host with that address, by
 * whatever rules there are. Connection tracking writes the same address again later.
 *
 *     rpfilter     prerouting -299   what a strict rp_filter would drop, of interfaces whose own was loosened: it would judge
 *                                    the question by the container's address, and this does by the one that was asked
 *     replies      prerouting 200    answers of translated connections that come in by a bridge: jump sources
 *     sources                        by the address that was asked, and the interface that the answer would leave by
 *
 * It stands behind filters of others in the same hook, which would take the host's own address on a bridge for a forged one
 * (firewalld's IPv6_rpfilter, at filter + 10).
 *
 * Guarantees: pure. Without routes there are no rules. Only answers are changed that would leave by one of these interfaces,
 * and are not for a neighbour there: what clients on other links of the host get does not change.
 * Limits: IPv4 drops a packet that comes in by a link with an address of the host itself, unless the link is told otherwise
 * (effects/replies.ts). Rules of the routing policy that select by the incoming interface are not seen by the hook.
 */
import type { NftOperation } from '../native/nft-types.ts';
import { rule } from './rule-operations.ts';
import {
  cameByAnotherWay,
  connection,
  DST_NAT,
  fromOneOf,
  inNetwork,
  interfaceIs,
  isAnswer,
  jump,
  leadsOutBy,
  ofFamily,
  setSource,
  verdict,
  wasAddressedTo,
} from './rule-words.ts';

export interface Replies {
  /** An address of the host, and the interface by which answers from a container would leave; null: no route leads there. */
  routes: readonly { address: string; link: string | null }[];
  /** Subnets in CIDR notation that the host is in itself, by these interfaces. */
  near: readonly string[];
  /** Interfaces of IPv4 clients that had a strict rp_filter: effects/replies.ts loosens it. */
  strict: readonly string[];
}

export const NO_REPLIES: Replies = { routes: [], near: [], strict: [] };

/** Makes the chains, or replaces their rules. Needs the set `bridges` to be there. */
export function replyRules(table: string, { routes, near, strict }: Replies): NftOperation[] {
  const hook = { type: 'filter', hook: 'prerouting', policy: 'accept' } as const;
  const chains: NftOperation[] = [
    { op: 'chain.add', table, chain: 'sources' },
    { op: 'chain.add', table, chain: 'rpfilter', hook: { ...hook, priority: -299 } },
    { op: 'chain.add', table, chain: 'replies', hook: { ...hook, priority: 200 } },
    { op: 'chain.flush', table, chain: 'rpfilter' },
    { op: 'chain.flush', table, chain: 'replies' },
    { op: 'chain.flush', table, chain: 'sources' },
  ];
  if (routes.length === 0) return chains;
  return [
    ...chains,
    ...strict.map((link) =>
      rule(table, 'rpfilter', [interfaceIs('from', link), ofFamily(4), cameByAnotherWay(), verdict('drop')]),
    ),
    rule(table, 'replies', [fromOneOf('bridges'), isAnswer(), connection('status', DST_NAT), jump('sources')]),
    ...near.map((cidr) => rule(table, 'sources', [inNetwork('daddr', cidr), verdict('return')])),
    ...routes.map(({ address, link }) =>
      rule(table, 'sources', [wasAddressedTo(address), leadsOutBy(link), setSource(address)]),
    ),
  ];
}
