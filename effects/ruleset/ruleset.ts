/**
 * The firewall as a value: the nf_tables operations behind the table `inet <table>` of one outside.
 *
 * Guarantees: pure, no I/O. Every list is one transaction and can be sent twice. The operations of a `remove` function fail
 * with ENOENT only if there is no table, so ENOENT means that all is gone already.
 * Limits: subnets are written as networks ("10.89.0.0/24", host bits zero). Packets from a container to the host itself are
 * left to the host's own firewall, except for queries to the name servers of networks.
 *
 *     raw          prerouting -300   } forged sources, and destinations that a packet may not reach by its interface:
 *     input        filter 0          } ruleset-sources.ts
 *     uplinks      output -150       packets of slirp4netns and pasta for their containers: ruleset-uplinks.ts
 *     prerouting   nat -100          } to an address of this host (fib: CVE-2025-67499, nothing that merely passes
 *     output       nat -100          } through is caught): jump publish
 *     publish                        dnat through hostports4/6 (host IP . protocol . port), then ports4/6 (protocol . port);
 *                                    link-local packets are left to the host (docs/decisions/0031)
 *     forward      filter 0          from-<bridge>: packets that may leave; to-<bridge>: packets that may enter;
 *                                    others4, others6: all other packets, if this host forwarded nothing before us
 *     replies      prerouting 200    answers from published ports, if routes depend on the source: ruleset-replies.ts
 *     postrouting  nat 100           hairpin-<bridge>, leave-<bridge>: masquerading, or a configured source address
 *
 * A network that is on several hosts has more: ruleset-overlay.ts.
 *
 * Ports are elements of hash maps and networks are elements of maps from interface name to chain, so the cost of a packet and
 * of a change does not depend on their number. The policy of every hook is accept, and only packets of our bridges are judged:
 * a table that drops by default would break everybody else's forwarding. `accept` here is not final, because other tables still
 * judge the packet.
 *
 * Only these packets reach a container's address: those from its own bridge; answers; those to a published port (ct status
 * dnat); those from other networks as `isolate` says. So a routed address is closed to the outside even if the host forwards
 * everything (the lesson of Docker 28). Packets of internal networks stay in their network.
 */
import type {
  NftDatum,
  NftElement,
  NftExpression,
  NftHook,
  NftOperation,
  NftType,
} from '../../native/nftables/nft-types.ts';
import { familyOf } from '../../plan/addresses/address.ts';
import { putIn, rule, takeOut } from './rule-operations.ts';
import {
  address,
  addressType,
  clampSegments,
  connection,
  dispatch,
  dnatByHostAddress,
  dnatByPort,
  DST_NAT,
  ESTABLISHED_RELATED,
  FAMILIES,
  fromOneOf,
  inNetwork,
  interfaceIs,
  INVALID,
  jump,
  LINK_LOCAL,
  masquerade,
  ofFamily,
  portMap,
  PROTOCOLS,
  sourceNat,
  toThisHost,
  verdict,
} from './rule-words.ts';
import type { Closed, NetworkRules, PublishedPort } from './ruleset-inputs.ts';
import { otherForwarding, SOURCE_SETS, sourceBase, sourceRules, sourceWays } from './ruleset-sources.ts';
import {
  fromOtherHosts,
  OVERLAY_CHAINS,
  overlayChains,
  overlayRules,
  overlayWays,
  peerElements,
  peerSets,
  toOtherHosts,
  TUNNEL_HOOKS,
  withinOverlay,
} from './ruleset-overlay.ts';
import { NO_REPLIES, replyRules, type Replies } from './ruleset-replies.ts';
import { UPLINK_SETS, uplinkElements, uplinkRules, type UplinkGuard } from './ruleset-uplinks.ts';

const BRIDGE_SETS = ['open', 'isolated'] as const;

/** The maps that published ports are elements of. */
export const PORT_MAPS = (['port', 'address'] as const).flatMap((by) => FAMILIES.map((family) => portMap(family, by)));

/** The chains of a network that a map calls by the name of its bridge, each with that map. */
const DISPATCH = [
  { prefix: 'from', map: 'forward_from' },
  { prefix: 'to', map: 'forward_to' },
  { prefix: 'hairpin', map: 'nat_to' },
  { prefix: 'leave', map: 'nat_from' },
] as const;
/** The chains that every network has. */
const BRIDGE_CHAINS = [...DISPATCH.map(({ prefix }) => prefix), 'source', 'inside', 'door', 'dns'];
/** All chains that a network may have. */
export const CHAINS = [...BRIDGE_CHAINS, ...OVERLAY_CHAINS];

/** Chains of the whole table that no hook calls. */
const INNER = ['publish', 'doors', 'queries', 'others4', 'others6'];

// --- Shared by all networks of an outside -----------------------------------------------------------------------

export function baseRules(
  table: string,
  closed: Closed,
  guard: UplinkGuard,
  replies: Replies = NO_REPLIES,
): NftOperation[] {
  const chain = (name: string, type: 'filter' | 'nat', hook: NftHook['hook'], priority: number): NftOperation => ({
    op: 'chain.add',
    table,
    chain: name,
    hook: { type, hook, priority, policy: 'accept' },
  });
  const add = (chain: string, ...words: NftExpression[][]) => rule(table, chain, words);
  return [
    { op: 'table.add', table },
    ...FAMILIES.flatMap((family): NftOperation[] => {
      const target: NftType[] = [addressType(family), 'inet_service'];
      const port: NftType[] = ['inet_proto', 'inet_service'];
      return [
        { op: 'set.add', table, set: portMap(family, 'address'), key: [addressType(family), ...port], data: target },
        { op: 'set.add', table, set: portMap(family, 'port'), key: port, data: target },
      ];
    }),
    ...DISPATCH.map(({ map }): NftOperation => ({ op: 'set.add', table, set: map, key: ['ifname'], data: 'verdict' })),
    ...SOURCE_SETS.map(({ name, key, interval }): NftOperation => ({
      op: 'set.add',
      table,
      set: name,
      key,
      data: 'verdict',
      ...(interval ? { interval } : {}),
    })),
    ...['bridges', ...BRIDGE_SETS].map((set): NftOperation => ({ op: 'set.add', table, set, key: ['ifname'] })),
    ...UPLINK_SETS.map(({ name, key }): NftOperation => ({ op: 'set.add', table, set: name, key })),

    ...INNER.map((name): NftOperation => ({ op: 'chain.add', table, chain: name })),
    chain('raw', 'filter', 'prerouting', -300),
    chain('prerouting', 'nat', 'prerouting', -100),
    chain('output', 'nat', 'output', -100),
    chain('input', 'filter', 'input', 0),
    chain('forward', 'filter', 'forward', 0),
    chain('postrouting', 'nat', 'postrouting', 100),
    ...[...INNER, 'raw', 'prerouting', 'output', 'input', 'forward', 'postrouting'].map((name): NftOperation => ({
      op: 'chain.flush',
      table,
      chain: name,
    })),

    ...sourceBase(table),
    ...uplinkRules(table, guard),
    ...replyRules(table, replies),
    add('prerouting', toThisHost(), jump('publish')),
    add('output', toThisHost(), jump('publish')),
    // Translated to a container, these would be dropped (ip6_forward), or answered to an address on another link.
    ...(['daddr', 'saddr'] as const).map((which) => add('publish', inNetwork(which, LINK_LOCAL), verdict('return'))),
    ...FAMILIES.map((family) => add('publish', dnatByHostAddress(family))),
    ...FAMILIES.map((family) => add('publish', dnatByPort(family))),
    add('forward', dispatch('from', 'forward_from')),
    add('forward', dispatch('to', 'forward_to')),
    ...FAMILIES.map((family) => add('forward', ofFamily(family), jump(`others${family}`))),
    ...otherForwarding(table, closed),
    add('postrouting', dispatch('to', 'nat_to')),
    add('postrouting', dispatch('from', 'nat_from')),
  ];
}

/** Removes the table. An absent one is no error: it is added first, and then removed with its content. */
export function removeTable(table: string): NftOperation[] {
  return [
    { op: 'table.add', table },
    { op: 'table.del', table },
  ];
}

// --- One network ------------------------------------------------------------------------------------------------

/**
 * Returns the rules of a network; they replace those of an earlier call for the same bridge. Requires baseRules.
 * ruleset-stale.ts removes elements that only the earlier call made.
 */
export function networkRules(table: string, network: NetworkRules): NftOperation[] {
  const { bridge } = network;
  const member = network.internal ? 'strict' : network.isolate;
  return [
    ...addPeerSets(table, network),
    ...networkChains(table, network),
    ...BRIDGE_SETS.filter((set) => set !== member).flatMap((set) =>
      takeOut(table, set, [{ key: [{ ifname: bridge }] }]),
    ),
    ...BRIDGE_SETS.filter((set) => set === member).map((set) => putIn(table, set, [{ key: [{ ifname: bridge }] }])),
    ...fromRules(table, network),
    ...toRules(table, network),
    ...hairpinRules(table, network),
    ...leaveRules(table, network),
    ...sourceRules(table, network),
    ...overlayRules(table, network),
    ...ways(network).map(({ set, elements }) => putIn(table, set, elements)),
    ...peerElements(table, network),
  ];
}

export function removeNetworkRules(table: string, network: NetworkRules): NftOperation[] {
  const { bridge } = network;
  return [
    ...addPeerSets(table, network),
    // A chain can be removed only if it exists and no element leads to it.
    ...networkChains(table, network),
    ...BRIDGE_SETS.flatMap((set) => takeOut(table, set, [{ key: [{ ifname: bridge }] }])),
    ...ways(network).flatMap(({ set, elements }) => takeOut(table, set, elements)),
    ...chainsOf(network).map((chain): NftOperation => ({ op: 'chain.del', table, chain })),
    ...peerSets(network).map(({ set }): NftOperation => ({ op: 'set.del', table, set })),
  ];
}

interface Way {
  set: string;
  elements: NftElement[];
}

/** Returns the elements that lead packets to the chains of a network, or mark its bridge as ours. */
function ways(network: NetworkRules): Way[] {
  const key = [{ ifname: network.bridge }];
  return [
    { set: 'bridges', elements: [{ key }] },
    ...DISPATCH.map(({ prefix, map }) => ({ set: map, elements: [dispatchElement(prefix, network.bridge)] })),
    ...sourceWays(network),
    ...overlayWays(network),
    ...uplinkElements(network),
  ];
}

const addPeerSets = (table: string, network: NetworkRules) =>
  peerSets(network).map(({ set, key }): NftOperation => ({ op: 'set.add', table, set, key }));

function chainsOf({ bridge, overlay }: NetworkRules): string[] {
  return [...BRIDGE_CHAINS, ...overlayChains(overlay)].map((prefix) => `${prefix}-${bridge}`);
}

function networkChains(table: string, network: NetworkRules): NftOperation[] {
  const hooks = new Map(
    Object.entries(TUNNEL_HOOKS).map(([prefix, hook]) => [`${prefix}-${network.bridge}`, { hook }]),
  );
  return chainsOf(network).flatMap((chain): NftOperation[] => [
    { op: 'chain.add', table, chain, ...hooks.get(chain) },
    { op: 'chain.flush', table, chain },
  ]);
}

function dispatchElement(prefix: string, bridge: string): NftElement {
  return { key: [{ ifname: bridge }], data: { verdict: 'jump', chain: `${prefix}-${bridge}` } };
}

/** Returns the rules for packets that leave by another interface. to-<bridge> judges accepted packets that go to a bridge. */
function fromRules(table: string, { bridge, internal, masquerade, overlay }: NetworkRules): NftOperation[] {
  const add = (...words: NftExpression[][]) => rule(table, `from-${bridge}`, words);
  const elsewhere = interfaceIs('to', bridge, 'neq');
  if (internal) {
    const within = overlay === undefined ? [] : toOtherHosts(overlay);
    return [...within.map((there) => add(elsewhere, there, verdict('accept'))), add(elsewhere, verdict('drop'))];
  }
  const clamp = add(elsewhere, clampSegments());
  // Packets without a connection are not masqueraded and would show the container's address outside (kubernetes#74839). If
  // addresses are routed, they may belong to a connection whose other half takes another route.
  return masquerade ? [add(elsewhere, connection('state', INVALID), verdict('drop')), clamp] : [clamp];
}

function toRules(table: string, { bridge, internal, isolate, overlay }: NetworkRules): NftOperation[] {
  const add = (...words: NftExpression[][]) => rule(table, `to-${bridge}`, words);
  // This rule is first and ignores the connection state: with br_netfilter loaded, frames between ports of the bridge come
  // through here as well.
  const rules = [
    add(interfaceIs('from', bridge), verdict('accept')),
    ...fromOtherHosts(overlay).map((from) => add(from, verdict('accept'))),
  ];
  if (!internal) {
    rules.push(add(clampSegments()));
    rules.push(add(connection('state', ESTABLISHED_RELATED), verdict('accept')));
    rules.push(add(connection('status', DST_NAT), verdict('accept')));
    if (isolate !== 'strict') rules.push(add(fromOneOf('open'), verdict('accept')));
    if (isolate === 'open') rules.push(add(fromOneOf('isolated'), verdict('accept')));
  }
  rules.push(add(verdict('drop')));
  return rules;
}

/**
 * Returns the rules for published ports that are reached from this host's loopback or from the network itself. The container
 * would answer the client directly (or its own loopback), so it must see the bridge's address.
 */
function hairpinRules(table: string, { bridge, subnets }: NetworkRules): NftOperation[] {
  const add = (...words: NftExpression[][]) => rule(table, `hairpin-${bridge}`, words);
  return ['127.0.0.0/8', '::1/128', ...subnets.map(({ cidr }) => cidr)].map((cidr) =>
    add(connection('status', DST_NAT), inNetwork('saddr', cidr), masquerade()),
  );
}

function leaveRules(
  table: string,
  { bridge, subnets, masquerade: wanted, outbound, overlay }: NetworkRules,
): NftOperation[] {
  if (!wanted) return [];
  const translated = (cidr: string) => {
    const source = outbound.find((one) => familyOf(one) === familyOf(cidr));
    return source === undefined ? masquerade() : sourceNat(source);
  };
  const add = (...words: NftExpression[][]) => rule(table, `leave-${bridge}`, words);
  return [
    add(interfaceIs('to', bridge), verdict('return')),
    add(inNetwork('daddr', '224.0.0.0/4'), verdict('return')),
    add(inNetwork('daddr', 'ff00::/8'), verdict('return')),
    ...withinOverlay(overlay).map((there) => add(there, verdict('return'))),
    ...subnets.map(({ cidr }) => add(inNetwork('saddr', cidr), translated(cidr))),
  ];
}

// --- Published ports --------------------------------------------------------------------------------------------

/**
 * Returns one element per port. `add` fails with EEXIST if somebody else has one of the ports (the kernel compares the data).
 *
 * `remove` adds the elements before it deletes them, in one transaction. So absent ones exist when they are deleted, adding
 * ours changes nothing, and an element of somebody else (other data) makes the kernel refuse the whole with EEXIST. Somebody
 * else's element is never deleted. After EEXIST the caller removes port by port; a port that is refused then is not ours, which
 * counts as gone.
 */
export function portElements(table: string, ports: PublishedPort[]): { add: NftOperation[]; remove: NftOperation[] } {
  const maps = new Map<string, NftElement[]>();
  for (const port of ports) {
    const { map, element } = portElement(port);
    const elements = maps.get(map);
    if (elements === undefined) maps.set(map, [element]);
    else elements.push(element);
  }
  const lists = [...maps];
  return {
    add: lists.map(([map, elements]) => putIn(table, map, elements)),
    remove: lists.flatMap(([map, elements]) => takeOut(table, map, elements)),
  };
}

function portElement(port: PublishedPort): { map: string; element: NftElement } {
  const family = familyOf(port.address);
  const anyAddress = ['', '0.0.0.0', '::'].includes(port.hostIp);
  if (port.hostIp !== '' && familyOf(port.hostIp) !== family) {
    throw new TypeError(`port ${port.hostPort}: ${port.hostIp} and ${port.address} are of different families`);
  }
  return {
    map: portMap(family, anyAddress ? 'port' : 'address'),
    element: {
      key: [...(anyAddress ? [] : [address(port.hostIp)]), { byte: PROTOCOLS[port.protocol] }, { port: port.hostPort }],
      data: [address(port.address), { port: port.containerPort }],
      comment: port.owner,
    },
  };
}

/** The maps of ports, each with a function that returns an element as text: "tcp 127.0.0.1:8080 -> 10.89.0.2:80 (owner)". */
export const MAPS = PORT_MAPS.map((name) => ({
  name,
  describe: ({ key, data, comment }: NftElement): string => {
    const [protocol, hostPort] = key.slice(-2).map(textOf);
    const host = key.length === 3 ? key.slice(0, 1).map(textOf) : ['*'];
    const word = Object.entries(PROTOCOLS).find(([, number]) => String(number) === protocol)?.[0] ?? protocol;
    const to = Array.isArray(data) ? data.map(textOf).join(':') : '';
    return `${word} ${host.join('')}:${hostPort} -> ${to} (${comment ?? ''})`;
  },
}));

function textOf(datum: NftDatum): string {
  return String(Object.values(datum)[0]);
}
