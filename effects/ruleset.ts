/**
 * The firewall as a value: the nf_tables operations behind the table `inet <table>` of one outside.
 *
 * Guarantees: pure, no I/O. Every list is one transaction and can be sent twice. What is returned by a `remove` function
 * fails with ENOENT only when the table is not there, so for those ENOENT means: gone already.
 * Limits: subnets are written as networks ("10.89.0.0/24", host bits zero). What a container sends to the host itself is
 * the host's own firewall's business (hook input); who forges addresses inside a subnet is not detected.
 *
 *     raw          prerouting -300   127/8 and ::1 only from lo: a neighbour's frame for 127.0.0.1 must not reach a port
 *                                    published there (moby#45610, CVE-2020-8558; ::1 matters where br_netfilter shows
 *                                    bridged frames to us before ip6_rcv can refuse them). Neither to it nor from it:
 *                                    route_localnet (bridge.ts) also takes away the kernel's own refusal of sources in
 *                                    127/8, and a service of the host may believe who comes from there
 *     prerouting   nat -100          } to an address of this host (fib: CVE-2025-67499, nothing that merely passes
 *     output       nat -100          } through is caught): jump publish
 *     publish                        dnat through hostports4/6 (host IP . protocol . port), then ports4/6 (protocol . port)
 *     forward      filter 0          from-<bridge>: what may leave; to-<bridge>: what may come in, all else is dropped
 *     postrouting  nat 100           hairpin-<bridge>, leave-<bridge>: masquerading
 *
 * Ports are elements of hash maps and networks are elements of maps from interface name to chain, so that a packet's and
 * a change's cost does not depend on how many there are. The policy of every hook is accept and only packets of our
 * bridges are judged: a table that drops by default would break everybody else's forwarding. `accept` here is not the
 * last word, other tables are still asked.
 *
 * Who may send to a container's address: its own bridge; answers; whoever came by a published port (ct status dnat);
 * other networks as `isolate` says. Nobody else, so an address routed to from outside is closed even when the host
 * forwards everything (the lesson of Docker 28). Internal networks speak to themselves only.
 */
import type { NftDatum, NftElement, NftExpression, NftOperation, NftType } from '../native/nft-types.ts';
import {
  type Family,
  DST_NAT,
  ESTABLISHED_RELATED,
  INVALID,
  verdict,
  jump,
  masquerade,
  interfaceIs,
  fromOneOf,
  dispatch,
  toThisHost,
  connection,
  inNetwork,
  dnatByHostAddress,
  dnatByPort,
  familyOf,
  addressType,
  address,
} from './rule-words.ts';

export interface NetworkRules {
  bridge: string;
  /** Networks in CIDR notation, IPv4 or IPv6. */
  subnets: { cidr: string }[];
  internal: boolean;
  /** strict: no other network. isolated: open ones only. open: open and isolated ones. */
  isolate: 'strict' | 'isolated' | 'open';
  masquerade: boolean;
}

export interface PublishedPort {
  protocol: 'tcp' | 'udp' | 'sctp';
  /** '', '0.0.0.0' and '::' are every address of the host, in the family of the container's address. */
  hostIp: string;
  hostPort: number;
  /** The container's. */
  address: string;
  containerPort: number;
  owner: string;
}

type Hook = NonNullable<Extract<NftOperation, { op: 'chain.add' }>['hook']>;

const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 };
const FAMILIES: Family[] = [4, 6];
const BRIDGE_SETS = ['open', 'isolated'] as const;

/** The maps that published ports are elements of. */
export const PORT_MAPS = ['ports4', 'ports6', 'hostports4', 'hostports6'];

/** Chains of one network, with the dispatch map that leads to each. */
const CHAINS = [
  { prefix: 'from', map: 'forward_from' },
  { prefix: 'to', map: 'forward_to' },
  { prefix: 'hairpin', map: 'nat_to' },
  { prefix: 'leave', map: 'nat_from' },
] as const;

// --- What is shared by all networks of an outside ---------------------------------------------------------------

export function baseRules(table: string): NftOperation[] {
  const chain = (name: string, type: 'filter' | 'nat', hook: Hook['hook'], priority: number): NftOperation => ({
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
        { op: 'set.add', table, set: `hostports${family}`, key: [addressType(family), ...port], data: target },
        { op: 'set.add', table, set: `ports${family}`, key: port, data: target },
      ];
    }),
    ...CHAINS.map(({ map }): NftOperation => ({ op: 'set.add', table, set: map, key: ['ifname'], data: 'verdict' })),
    ...BRIDGE_SETS.map((set): NftOperation => ({ op: 'set.add', table, set, key: ['ifname'] })),

    { op: 'chain.add', table, chain: 'publish' },
    chain('raw', 'filter', 'prerouting', -300),
    chain('prerouting', 'nat', 'prerouting', -100),
    chain('output', 'nat', 'output', -100),
    chain('forward', 'filter', 'forward', 0),
    chain('postrouting', 'nat', 'postrouting', 100),
    ...['publish', 'raw', 'prerouting', 'output', 'forward', 'postrouting'].map((name): NftOperation => ({
      op: 'chain.flush',
      table,
      chain: name,
    })),

    ...['127.0.0.0/8', '::1/128'].flatMap((loopback) =>
      (['daddr', 'saddr'] as const).map((which) =>
        add('raw', interfaceIs('from', 'lo', 'neq'), inNetwork(which, loopback), verdict('drop')),
      ),
    ),
    add('prerouting', toThisHost(), jump('publish')),
    add('output', toThisHost(), jump('publish')),
    ...FAMILIES.map((family) => add('publish', dnatByHostAddress(family))),
    ...FAMILIES.map((family) => add('publish', dnatByPort(family))),
    add('forward', dispatch('from', 'forward_from')),
    add('forward', dispatch('to', 'forward_to')),
    add('postrouting', dispatch('to', 'nat_to')),
    add('postrouting', dispatch('from', 'nat_from')),
  ];
}

/** Absent is fine: added first, and then removed with all that is in it. */
export function removeTable(table: string): NftOperation[] {
  return [
    { op: 'table.add', table },
    { op: 'table.del', table },
  ];
}

/** A rule of ours says which one it is, so that a look at the table tells it from any other, and from one that is changed. */
function rule(table: string, chain: string, words: NftExpression[][]): NftOperation {
  const expressions = words.flat();
  return { op: 'rule.add', table, chain, expressions, comment: `cleat ${fingerprint(JSON.stringify(expressions))}` };
}

/** FNV-1a, 32 bits: for telling rules apart, not for keeping anything from anybody. */
function fingerprint(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}

// --- One network ------------------------------------------------------------------------------------------------

/** Needs baseRules to be there. Replaces what an earlier call for the same bridge made. */
export function networkRules(table: string, network: NetworkRules): NftOperation[] {
  const { bridge } = network;
  const member = network.internal ? 'strict' : network.isolate;
  return [
    ...networkChains(table, bridge),
    ...BRIDGE_SETS.filter((set) => set !== member).flatMap((set) =>
      takeOut(table, set, [{ key: [{ ifname: bridge }] }]),
    ),
    ...BRIDGE_SETS.filter((set) => set === member).map((set) => putIn(table, set, [{ key: [{ ifname: bridge }] }])),
    ...fromRules(table, network),
    ...toRules(table, network),
    ...hairpinRules(table, network),
    ...leaveRules(table, network),
    ...CHAINS.map(({ prefix, map }) => putIn(table, map, [dispatchElement(prefix, bridge)])),
  ];
}

export function removeNetworkRules(table: string, { bridge }: Pick<NetworkRules, 'bridge'>): NftOperation[] {
  return [
    // A chain can go only when it exists and nothing leads to it.
    ...networkChains(table, bridge),
    ...BRIDGE_SETS.flatMap((set) => takeOut(table, set, [{ key: [{ ifname: bridge }] }])),
    ...CHAINS.flatMap(({ prefix, map }) => takeOut(table, map, [dispatchElement(prefix, bridge)])),
    ...CHAINS.map(({ prefix }): NftOperation => ({ op: 'chain.del', table, chain: `${prefix}-${bridge}` })),
  ];
}

function networkChains(table: string, bridge: string): NftOperation[] {
  return CHAINS.flatMap(({ prefix }): NftOperation[] => [
    { op: 'chain.add', table, chain: `${prefix}-${bridge}` },
    { op: 'chain.flush', table, chain: `${prefix}-${bridge}` },
  ]);
}

function dispatchElement(prefix: string, bridge: string): NftElement {
  return { key: [{ ifname: bridge }], data: { verdict: 'jump', chain: `${prefix}-${bridge}` } };
}

/** What may leave through another interface. Packets that get past are judged by to-<bridge> when they go to one. */
function fromRules(table: string, { bridge, internal, masquerade }: NetworkRules): NftOperation[] {
  const add = (...words: NftExpression[][]) => rule(table, `from-${bridge}`, words);
  const elsewhere = interfaceIs('to', bridge, 'neq');
  if (internal) return [add(elsewhere, verdict('drop'))];
  // Packets that belong to no connection are not masqueraded and would show the container's address to the world
  // (kubernetes#74839). Where addresses are routed, they may be half of a connection that goes another way.
  return masquerade ? [add(elsewhere, connection('state', INVALID), verdict('drop'))] : [];
}

function toRules(table: string, { bridge, internal, isolate }: NetworkRules): NftOperation[] {
  const add = (...words: NftExpression[][]) => rule(table, `to-${bridge}`, words);
  // First, and whatever its state: with br_netfilter loaded, frames between ports of the bridge come by here as well.
  const rules = [add(interfaceIs('from', bridge), verdict('accept'))];
  if (!internal) {
    rules.push(add(connection('state', ESTABLISHED_RELATED), verdict('accept')));
    rules.push(add(connection('status', DST_NAT), verdict('accept')));
    if (isolate !== 'strict') rules.push(add(fromOneOf('open'), verdict('accept')));
    if (isolate === 'open') rules.push(add(fromOneOf('isolated'), verdict('accept')));
  }
  rules.push(add(verdict('drop')));
  return rules;
}

/**
 * Published ports reached from this host's loopback or from the network itself: the container would answer past us (or to
 * its own loopback), so it must see the bridge's address.
 */
function hairpinRules(table: string, { bridge, subnets }: NetworkRules): NftOperation[] {
  const add = (...words: NftExpression[][]) => rule(table, `hairpin-${bridge}`, words);
  return ['127.0.0.0/8', '::1/128', ...subnets.map(({ cidr }) => cidr)].map((cidr) =>
    add(connection('status', DST_NAT), inNetwork('saddr', cidr), masquerade()),
  );
}

function leaveRules(table: string, { bridge, subnets, masquerade: wanted }: NetworkRules): NftOperation[] {
  if (!wanted) return [];
  const add = (...words: NftExpression[][]) => rule(table, `leave-${bridge}`, words);
  return [
    add(interfaceIs('to', bridge), verdict('return')),
    add(inNetwork('daddr', '224.0.0.0/4'), verdict('return')),
    add(inNetwork('daddr', 'ff00::/8'), verdict('return')),
    ...subnets.map(({ cidr }) => add(inNetwork('saddr', cidr), masquerade())),
  ];
}

// --- Published ports --------------------------------------------------------------------------------------------

/**
 * One element per port. `add` fails with EEXIST when somebody else has one of the ports (the kernel compares the data).
 *
 * `remove` adds the elements before it deletes them, in one transaction: absent ones are then there to be deleted, ours
 * are left as they are, and an element of somebody else (other data) makes the kernel refuse the whole with EEXIST. Never
 * is a stranger's element deleted. After EEXIST remove port by port: one refused then is not ours, which is as good as
 * gone.
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
    map: `${anyAddress ? 'ports' : 'hostports'}${family}`,
    element: {
      key: [...(anyAddress ? [] : [address(port.hostIp)]), { byte: PROTOCOLS[port.protocol] }, { port: port.hostPort }],
      data: [address(port.address), { port: port.containerPort }],
      comment: port.owner,
    },
  };
}

/** The maps that ports are in, and one of their elements as text: "tcp 127.0.0.1:8080 -> 10.89.0.2:80 (owner)". */
export const MAPS = FAMILIES.flatMap((family) => [`ports${family}`, `hostports${family}`]).map((name) => ({
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

function putIn(table: string, set: string, elements: NftElement[]): NftOperation {
  return { op: 'element.add', table, set, elements };
}

/** Fine when an element is absent; EEXIST when it has other data than ours. */
function takeOut(table: string, set: string, elements: NftElement[]): NftOperation[] {
  return [putIn(table, set, elements), { op: 'element.del', table, set, elements }];
}
