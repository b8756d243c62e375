/**
 * The hook replies of the table (ruleset.ts): answers from published ports leave by the route that the host's own answers take.
 *
 * The kernel chooses the route of an answer while its source is still the container's address. Connection tracking translates
 * it to the address that the client called only after that. If the host routes by source (`ip rule from ADDRESS lookup TABLE`),
 * the answer leaves by the wrong uplink and is lost. So the rules write the source into the packet earlier, after the other
 * hooks of prerouting. The route is then chosen as for any packet of the host with that address, by whatever policy rules there
 * are. Connection tracking writes the same address again later.
 *
 *     rpfilter     prerouting -299   drops what a strict rp_filter would drop, for interfaces whose own was loosened: that
 *                                    checks the request by the container's address, and this chain by the address that was
 *                                    called
 *     replies      prerouting 200    answers of translated connections that come in by a bridge: jump sources
 *     sources                        by the address that was called, and the interface that the answer would leave by
 *
 * The chain replies comes after filters of others in the same hook, because those would drop the host's own address on a bridge
 * as forged (firewalld's IPv6_rpfilter, at filter + 10).
 *
 * Guarantees: pure. Without routes there are no rules. The rules change only answers that would leave by one of these
 * interfaces and do not go to a neighbour there. Answers to clients on other links of the host do not change.
 * Limits: IPv4 drops an incoming packet whose source is an address of the host itself, unless switches of the link allow it
 * (effects/firewall/replies.ts). The hook ignores policy rules that select by the incoming interface.
 */
import type { NftOperation } from '../../native/nftables/nft-types.ts';
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
  /** An address of the host, and the interface by which answers from a container would leave; null if no route leads there. */
  routes: readonly { address: string; link: string | null }[];
  /** Subnets in CIDR notation that the host is connected to by these interfaces. */
  near: readonly string[];
  /** Interfaces of IPv4 clients that had a strict rp_filter; effects/firewall/replies.ts loosens it. */
  strict: readonly string[];
}

export const NO_REPLIES: Replies = { routes: [], near: [], strict: [] };

/** Makes the chains, or replaces their rules. Requires the set `bridges`. */
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
