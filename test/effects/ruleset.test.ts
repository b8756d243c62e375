/**
 * The ruleset on a real kernel: what `nft` reads back, and what happens to packets. One host (the namespace of this
 * process), a neighbour on its LAN, and containers on three networks: a and b, and the internal i.
 *
 * Limits: containers are processes with a namespace, made with `ip`; effects and machines are not involved.
 * Over 400 lines because listing and traffic share one set of namespaces.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Closed, NetworkRules, PublishedPort } from '../../effects/ruleset/ruleset-inputs.ts';
import {
  baseRules,
  MAPS,
  networkRules,
  portElements,
  removeNetworkRules,
  removeTable,
} from '../../effects/ruleset/ruleset.ts';
import { isKernelError, openOutside, type NftOperation, type Outside } from '../../native/index.ts';
import { dial, startAgent, type Agent } from '../harness/agent.ts';
import type { Protocol } from '../harness/host.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const TABLE = 'cleat-test';
const GUARD = { users: { plain: 96_400, loopback: 96_401 }, nameservers: [] };
const A: NetworkRules = {
  bridge: 'cl-a',
  subnets: [
    { cidr: '10.89.0.0/24', gateway: '10.89.0.1' },
    { cidr: 'fd00:89::/64', gateway: 'fd00:89::1' },
  ],
  dns: true,
  internal: false,
  isolate: 'strict',
  masquerade: true,
  outbound: [],
};
const B: NetworkRules = {
  ...A,
  bridge: 'cl-b',
  subnets: [
    { cidr: '10.89.1.0/24', gateway: '10.89.1.1' },
    { cidr: 'fd00:90::/64', gateway: 'fd00:90::1' },
  ],
};
const I: NetworkRules = {
  ...A,
  bridge: 'cl-i',
  subnets: [{ cidr: '10.89.2.0/24', gateway: '10.89.2.1' }],
  internal: true,
  masquerade: false,
};
/** On several hosts. */
const O: NetworkRules = {
  ...A,
  bridge: 'cl-o',
  subnets: [{ cidr: '10.128.3.0/24', gateway: '10.128.3.1' }],
  overlay: {
    link: 'vx-o',
    pools: ['10.128.0.0/10'],
    vxlan: { local: '192.0.2.6', vni: 0xab_cd_ef, port: 4789, peers: ['192.0.2.7', '2001:db8::7'] },
  },
};
/** A host that forwarded everything before cleat. */
const OPEN: Closed = new Map();
const HOST = '192.0.2.1';
const NEIGHBOUR = '192.0.2.2';
/** A second address of the host. */
const OTHER = '198.51.100.1';
const OTHER6 = '2001:db8:51::1';

const port = (protocol: 'tcp' | 'udp', hostIp: string, hostPort: number, address: string): PublishedPort => ({
  protocol,
  hostIp,
  hostPort,
  address,
  containerPort: 80,
  owner: 'a1/1',
});
const PORTS = [
  port('tcp', '', 8080, '10.89.0.2'),
  port('udp', '', 8080, '10.89.0.2'),
  port('tcp', '', 8080, 'fd00:89::2'),
  port('udp', '', 8080, 'fd00:89::2'),
  port('tcp', '127.0.0.1', 8081, '10.89.0.2'),
  port('tcp', OTHER, 8082, '10.89.0.2'),
  port('tcp', '::1', 8083, 'fd00:89::2'),
];

let outside: Outside;
const nft = (operations: NftOperation[]) => outside.nft(operations);
const listing = () => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' });
const codeOf = async (work: Promise<unknown>) => {
  try {
    await work;
    return 'done';
  } catch (error) {
    return isKernelError(error) ? error.code : String(error);
  }
};

// --- What nft sees ----------------------------------------------------------------------------------------------

const rules = suite('ruleset');
rules.before(() => {
  outside = openOutside();
});
rules.before.each(async () => nft([...removeTable(TABLE), ...baseRules(TABLE, OPEN, GUARD)]));
rules.after(async () => nft(removeTable(TABLE)));

rules('the ruleset reads as intended, as nft prints it', async () => {
  await nft([...networkRules(TABLE, { ...A, isolate: 'open' }), ...portElements(TABLE, PORTS).add]);
  const text = listing();
  for (const line of [
    '"lo" : accept',
    'th dport 53 jump queries',
    'iifname vmap @arrivals',
    'ip saddr vmap @saddr4',
    'ip6 daddr vmap @daddr6',
    'elements = { 10.89.0.0/24 : jump door-cl-a, 127.0.0.0/8 : drop }',
    'udp dport 53 ip daddr vmap @dns4',
    'iifname "cl-a" udp dport 53 return',
    'iifname "cl-a" reject',
    'iifname "lo" reject',
    'ip6 saddr :: ip6 daddr ff02::/16 goto doors',
    'fib daddr type local jump publish',
    'dnat ip to ip daddr . meta l4proto . th dport map @hostports4',
    'dnat ip6 to ip6 daddr . meta l4proto . th dport map @hostports6',
    'meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports4',
    'meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ports6',
    'iifname vmap @forward_from',
    'oifname vmap @forward_to',
    'oifname != "cl-a" ct state invalid drop',
    'iifname "cl-a" accept',
    'ct state established,related accept',
    'ct status dnat accept',
    'iifname @open accept',
    'iifname @isolated accept',
    'ct status dnat ip saddr 10.89.0.0/24 masquerade',
    'ip saddr 10.89.0.0/24 masquerade',
    'ip6 saddr fd00:89::/64 masquerade',
    'elements = { "cl-a" : jump to-cl-a }',
    'elements = { 127.0.0.1 . tcp . 8081 comment "a1/1" : 10.89.0.2 . 80',
  ]) {
    assert.ok(text.includes(line), `missing: ${line}\n${text}`);
  }
});

rules('nft can load what it lists', async () => {
  await nft([...networkRules(TABLE, A), ...networkRules(TABLE, O), ...portElements(TABLE, PORTS).add]);
  const text = listing();
  execFileSync('nft', ['-f', '-'], { input: `flush ruleset\n${text}` });
  // Beside an address nft writes and loads the port-unreachable of that family: our two forms are equal there.
  const plain = (rules: string) => sorted(rules.replaceAll(/ with icmp(v6)? port-unreachable/g, ''));
  assert.is(plain(listing()), plain(text));
});

rules('everything can be applied twice, and removed twice', async () => {
  const empty = listing();
  const full = [A, I, O].flatMap((one) => networkRules(TABLE, one));
  full.push(...portElements(TABLE, PORTS).add);
  await nft(full);
  const once = listing();
  await nft([...baseRules(TABLE, OPEN, GUARD), ...full]);
  assert.is(listing(), once);
  const gone = [...portElements(TABLE, PORTS).remove];
  for (const one of [A, I, O]) gone.push(...removeNetworkRules(TABLE, one));
  await nft(gone);
  assert.is(listing(), empty);
  await nft(gone);
  assert.is(listing(), empty);
  await nft(removeTable(TABLE));
  await nft(removeTable(TABLE));
  assert.is(listing(), '');
});

rules('removal from a missing table is ENOENT, and makes no table', async () => {
  await nft(removeTable(TABLE));
  assert.is(await codeOf(nft(removeNetworkRules(TABLE, A))), 'ENOENT');
  assert.is(await codeOf(nft(portElements(TABLE, PORTS).remove)), 'ENOENT');
  assert.is(listing(), '');
});

rules('a changed network replaces its rules and its membership', async () => {
  await nft(networkRules(TABLE, { ...A, isolate: 'open' }));
  await nft(networkRules(TABLE, { ...A, isolate: 'isolated', masquerade: false }));
  const text = listing();
  assert.match(text, /set isolated \{\s+type ifname\s+elements = \{ "cl-a" \}/);
  assert.match(text, /set open \{\s+type ifname\s+\}/);
  assert.match(text, /chain leave-cl-a \{\s+\}/);
});

rules('a port of another owner is neither taken nor removed', async () => {
  const [mine] = PORTS;
  const theirs = { ...mine!, address: '10.89.0.9', owner: 'b/1' };
  await nft(portElements(TABLE, [theirs]).add);
  const before = listing();
  assert.is(await codeOf(nft(portElements(TABLE, PORTS).add)), 'EEXIST');
  assert.is(await codeOf(nft(portElements(TABLE, [mine!]).remove)), 'EEXIST');
  assert.is(listing(), before);
});

rules('ports are read back as text', async () => {
  await nft(portElements(TABLE, PORTS).add);
  const found: string[] = [];
  for (const { name, describe } of MAPS) {
    for (const element of await outside.nftElements('inet', TABLE, name)) found.push(describe(element));
  }
  assert.is(found.length, PORTS.length);
  assert.ok(found.includes('udp *:8080 -> 10.89.0.2:80 (a1/1)'));
  assert.ok(found.includes('tcp ::1:8083 -> fd00:89::2:80 (a1/1)'));
});

rules('host address and container of different families are refused', () => {
  assert.throws(() => portElements(TABLE, [port('tcp', '127.0.0.1', 1, 'fd00::1')]), /different families/);
  assert.throws(() => portElements(TABLE, [port('tcp', '::', 1, '10.0.0.1')]), /different families/);
});

/** nft lists sets of elements in the order of the kernel's hash. */
function sorted(text: string): string {
  return text
    .split('\n')
    .map((line) => line.replace(/^\s*(elements = \{)?|[,}]?\s*$/g, '').trim())
    .sort()
    .join('\n');
}

// --- What packets do ----------------------------------------------------------------------------------------------

const traffic = suite('traffic');
let lan: Agent;
let a1: Agent;
let a2: Agent;
let b1: Agent;
let i1: Agent;

const sysctl = (key: string, value: string) => writeFileSync(`/proc/sys/${key}`, value);
const bridgeFilter = (family: '' | '6', value: '0' | '1') => {
  const key = `net/bridge/bridge-nf-call-ip${family}tables`;
  if (existsSync(`/proc/sys/${key}`)) sysctl(key, value);
};

traffic.before(async () => {
  outside = openOutside();
  [lan, a1, a2, b1, i1] = (await Promise.all([1, 2, 3, 4, 5].map(startAgent))) as [Agent, Agent, Agent, Agent, Agent];
  for (const key of ['ipv4/ip_forward', 'ipv6/conf/all/forwarding']) sysctl(`net/${key}`, '1');
  for (const key of ['all', 'default']) sysctl(`net/ipv6/conf/${key}/accept_dad`, '0');
  const host = ['link set lo up', `address add ${OTHER}/32 dev lo`, `address add ${OTHER6}/128 dev lo`];
  const cable = (agent: Agent, name: string, master?: string) => {
    host.push(`link add ${name} type veth peer name eth0 netns ${agent.pid}`);
    host.push(`link set ${name} up ${master === undefined ? '' : `master ${master}`}`);
  };
  for (const [bridge, v4, v6] of [
    ['cl-a', '10.89.0.1', 'fd00:89::1'],
    ['cl-b', '10.89.1.1', 'fd00:90::1'],
    ['cl-i', '10.89.2.1', 'fd00:91::1'],
  ]) {
    host.push(`link add ${bridge} type bridge`, `link set ${bridge} up`);
    host.push(`address add ${v4}/24 dev ${bridge}`, `address add ${v6}/64 dev ${bridge} nodad`);
  }
  cable(lan, 'lan');
  host.push(`address add ${HOST}/24 dev lan`, 'address add 2001:db8::1/64 dev lan nodad');
  cable(a1, 'a1', 'cl-a');
  // With br_netfilter, a bridge translates addresses without routing, and never sends a packet back by the port it came
  // from.
  host.push('link set a1 type bridge_slave hairpin on');
  cable(a2, 'a2', 'cl-a');
  cable(b1, 'b1', 'cl-b');
  cable(i1, 'i1', 'cl-i');
  host.push('route add local ::1 dev cl-a table local metric 4096');
  execFileSync('ip', ['-batch', '-'], { input: host.join('\n') });
  sysctl('net/ipv4/conf/cl-a/route_localnet', '1');

  for (const [agent, name, v4, v6] of [
    [a1, 'a1', '10.89.0.2', 'fd00:89::2'],
    [a2, 'a2', '10.89.0.3', 'fd00:89::3'],
    [b1, 'b1', '10.89.1.2', 'fd00:90::2'],
    [i1, 'i1', '10.89.2.2', 'fd00:91::2'],
  ] as const) {
    const gateway = (address: string) => address.replace(/\d$/, '1');
    agent.ip(
      `link set lo up\nlink set eth0 up\naddress add ${v4}/24 dev eth0\naddress add ${v6}/64 dev eth0 nodad\n` +
        `route add default via ${gateway(v4)}\nroute add default via ${gateway(v6)}`,
    );
    await agent.serve(name, 'tcp', 80);
    await agent.serve(name, 'udp', 80);
  }
  // lo stays down, so that 127.0.0.1 is an ordinary address, as for a neighbour that forges frames.
  lan.ip(
    `link set eth0 up\naddress add ${NEIGHBOUR}/24 dev eth0\naddress add 2001:db8::2/64 dev eth0 nodad\n` +
      `route add default via ${HOST}\nroute add default via 2001:db8::1`,
  );
  lan.sysctl('net.ipv4.conf.eth0.route_localnet', '1');
  lan.ip(`route add 127.0.0.1/32 via ${HOST} src ${NEIGHBOUR}`);
  await lan.serve('lan', 'tcp', 7);
  await lan.serve('lan', 'udp', 7);
  await nft([
    ...removeTable(TABLE),
    ...baseRules(TABLE, OPEN, GUARD),
    ...[A, B, I].flatMap((network) => networkRules(TABLE, network)),
    ...portElements(TABLE, PORTS).add,
  ]);
});
traffic.after(async () => {
  for (const agent of [lan, a1, a2, b1, i1]) agent.stop();
  await nft(removeTable(TABLE));
});

type Dialler = (protocol: Protocol, address: string, port: number) => Promise<string>;

/** Connects to all of them at once; each line is [who, protocol, address, port, the answer]. */
async function expect(lines: [Agent | null, Protocol, string, number, string | RegExp][]): Promise<void> {
  const outcomes = await Promise.all(
    lines.map(([agent, ...to]) => {
      const call: Dialler = agent === null ? dial : (...args) => agent.dial(...args);
      return call(to[0], to[1], to[2]);
    }),
  );
  const wrong = outcomes.flatMap((outcome, i) => {
    const [agent, protocol, address, number, wanted] = lines[i]!;
    const who = agent === null ? 'host' : ['lan', 'a1', 'a2', 'b1', 'i1'][[lan, a1, a2, b1, i1].indexOf(agent)];
    const right = typeof wanted === 'string' ? outcome === wanted : wanted.test(outcome);
    return right ? [] : [`${who} -> ${protocol} ${address} ${number}: ${outcome}, not ${wanted}`];
  });
  assert.is(wrong.join('\n'), '');
}

const BOTH: Protocol[] = ['tcp', 'udp'];
for (const filter of ['1', '0'] as const) {
  const where = filter === '1' ? 'with br_netfilter' : 'without br_netfilter';

  traffic(`a published port answers on every address of the host, to everybody, ${where}`, async () => {
    bridgeFilter('', filter);
    bridgeFilter('6', filter);
    await expect(
      BOTH.flatMap((protocol) => [
        // From the host itself; the container sees the bridge where it could not answer the true address.
        [null, protocol, '127.0.0.1', 8080, 'a1 10.89.0.1'],
        [null, protocol, '10.89.0.1', 8080, /^a1 /],
        [null, protocol, HOST, 8080, /^a1 /],
        [null, protocol, OTHER, 8080, /^a1 /],
        [null, protocol, 'fd00:89::1', 8080, /^a1 /],
        [null, protocol, '2001:db8::1', 8080, /^a1 /],
        // From outside, with the client's address kept.
        [lan, protocol, HOST, 8080, `a1 ${NEIGHBOUR}`],
        [lan, protocol, OTHER, 8080, `a1 ${NEIGHBOUR}`],
        [lan, protocol, '2001:db8::1', 8080, 'a1 2001:db8::2'],
        // From the same network, and from another.
        [a2, protocol, '10.89.0.1', 8080, 'a1 10.89.0.1'],
        [a2, protocol, HOST, 8080, 'a1 10.89.0.1'],
        [a2, protocol, '2001:db8::1', 8080, 'a1 fd00:89::1'],
        // From the container that publishes it.
        [a1, protocol, '10.89.0.1', 8080, 'a1 10.89.0.1'],
        [a1, protocol, HOST, 8080, 'a1 10.89.0.1'],
        [b1, protocol, '10.89.1.1', 8080, /^a1 /],
        [b1, protocol, HOST, 8080, /^a1 /],
        [b1, protocol, '2001:db8::1', 8080, /^a1 /],
      ]),
    );
  });

  traffic(`a port published on one address answers there only, ${where}`, async () => {
    bridgeFilter('', filter);
    bridgeFilter('6', filter);
    await expect([
      [null, 'tcp', '127.0.0.1', 8081, 'a1 10.89.0.1'],
      [null, 'tcp', HOST, 8081, 'ECONNREFUSED'],
      [lan, 'tcp', HOST, 8081, 'ECONNREFUSED'],
      [lan, 'tcp', OTHER, 8082, `a1 ${NEIGHBOUR}`],
      [lan, 'tcp', HOST, 8082, 'ECONNREFUSED'],
      [null, 'tcp', '127.0.0.1', 8082, 'ECONNREFUSED'],
    ]);
  });

  traffic(`unpublished ports are closed, ${where}`, async () => {
    bridgeFilter('', filter);
    bridgeFilter('6', filter);
    await expect([
      [a2, 'tcp', '10.89.0.2', 80, 'a1 10.89.0.3'],
      [a2, 'udp', 'fd00:89::2', 80, 'a1 fd00:89::3'],
      // Routed to the container's address from outside.
      [lan, 'tcp', '10.89.0.2', 80, 'timeout'],
      [lan, 'udp', '10.89.0.2', 80, 'timeout'],
      [lan, 'tcp', 'fd00:89::2', 80, 'timeout'],
      // From network to network.
      [b1, 'tcp', '10.89.0.2', 80, 'timeout'],
      [b1, 'udp', 'fd00:89::2', 80, 'timeout'],
      [a1, 'tcp', '10.89.1.2', 80, 'timeout'],
      // A port that is published, at an address that is not the host's (CVE-2025-67499).
      [a2, 'tcp', NEIGHBOUR, 8080, 'ECONNREFUSED'],
    ]);
  });
}

traffic('::1 reaches a published port where bridged IPv6 is not filtered', async () => {
  bridgeFilter('6', '0');
  await expect([
    [null, 'tcp', '::1', 8080, 'a1 fd00:89::1'],
    [null, 'udp', '::1', 8080, 'a1 fd00:89::1'],
    [null, 'tcp', '::1', 8083, 'a1 fd00:89::1'],
    [lan, 'tcp', '2001:db8::1', 8083, 'ECONNREFUSED'],
  ]);
});

traffic('a frame for 127.0.0.1 from outside is dropped (moby#45610)', async () => {
  const forged: Parameters<typeof expect>[0] = [
    [lan, 'tcp', '127.0.0.1', 8080, 'timeout'],
    [lan, 'udp', '127.0.0.1', 8080, 'timeout'],
    [lan, 'tcp', '127.0.0.1', 8081, 'timeout'],
  ];
  await expect(forged);
  // The same frames do arrive without the rule: the test can fail.
  await nft([{ op: 'chain.flush', table: TABLE, chain: 'raw' }]);
  await expect([[lan, 'tcp', '127.0.0.1', 8081, `a1 ${NEIGHBOUR}`]]);
  await nft(baseRules(TABLE, OPEN, GUARD));
  await expect(forged);
});

traffic('traffic that leaves is masqueraded, and an internal network has no way out or in', async () => {
  await expect([
    [a1, 'tcp', NEIGHBOUR, 7, `lan ${HOST}`],
    [a1, 'udp', '2001:db8::2', 7, 'lan 2001:db8::1'],
    [i1, 'tcp', NEIGHBOUR, 7, 'timeout'],
    [i1, 'udp', NEIGHBOUR, 7, 'timeout'],
    [i1, 'tcp', '10.89.0.2', 80, 'timeout'],
    [i1, 'tcp', '10.89.2.1', 8080, 'timeout'],
    [a1, 'tcp', '10.89.2.2', 80, 'timeout'],
    [null, 'tcp', '10.89.2.2', 80, 'i1 10.89.2.1'],
  ]);
  await nft(networkRules(TABLE, { ...A, masquerade: false }));
  await expect([[a1, 'tcp', NEIGHBOUR, 7, 'lan 10.89.0.2']]);
  await nft(networkRules(TABLE, A));
});

traffic(
  'traffic that leaves has the chosen source in each family, and ports and neighbours are unchanged',
  async () => {
    await nft(networkRules(TABLE, { ...A, outbound: [OTHER, OTHER6] }));
    await expect(
      BOTH.flatMap((protocol) => [
        [a1, protocol, NEIGHBOUR, 7, `lan ${OTHER}`],
        [a1, protocol, '2001:db8::2', 7, `lan ${OTHER6}`],
        [lan, protocol, HOST, 8080, `a1 ${NEIGHBOUR}`],
        [null, protocol, '127.0.0.1', 8080, 'a1 10.89.0.1'],
        [a2, protocol, HOST, 8080, 'a1 10.89.0.1'],
        [a2, protocol, '10.89.0.2', 80, 'a1 10.89.0.3'],
      ]),
    );
    await nft(networkRules(TABLE, { ...A, outbound: [OTHER] }));
    await expect([
      [a1, 'tcp', NEIGHBOUR, 7, `lan ${OTHER}`],
      [a1, 'tcp', '2001:db8::2', 7, 'lan 2001:db8::1'],
    ]);
    await nft(networkRules(TABLE, A));
    await expect([[a1, 'tcp', NEIGHBOUR, 7, `lan ${HOST}`]]);
  },
);

traffic('networks that are not strict reach each other unless both are isolated', async () => {
  const meet = async (a: NetworkRules['isolate'], b: NetworkRules['isolate'], there: boolean) => {
    await nft([...networkRules(TABLE, { ...A, isolate: a }), ...networkRules(TABLE, { ...B, isolate: b })]);
    const wanted = (name: string) => (there ? new RegExp(`^${name} `) : 'timeout');
    await expect([
      [b1, 'tcp', '10.89.0.2', 80, wanted('a1')],
      [a1, 'tcp', '10.89.1.2', 80, wanted('b1')],
    ]);
  };
  await meet('open', 'open', true);
  await meet('open', 'isolated', true);
  await meet('isolated', 'isolated', false);
  await meet('strict', 'open', false);
  await meet('strict', 'strict', false);
});

traffic('a removed port stops new connections, and its connections can be forgotten', async () => {
  await expect([[lan, 'udp', HOST, 8080, `a1 ${NEIGHBOUR}`]]);
  await nft(portElements(TABLE, PORTS).remove);
  await expect([
    [lan, 'tcp', HOST, 8080, 'ECONNREFUSED'],
    [null, 'tcp', '127.0.0.1', 8081, 'ECONNREFUSED'],
  ]);
  const forget = () => outside.conntrackForget({ addresses: ['10.89.0.2'], ports: [], networks: [] });
  assert.ok((await forget()) > 0);
  assert.is(await forget(), 0);
  await nft(portElements(TABLE, PORTS).add);
});

rules.run();
traffic.run();
