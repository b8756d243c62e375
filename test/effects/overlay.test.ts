// slow: 60 s, each test makes hosts, and packets that must not come are waited for
/**
 * An overlay on real kernels, with peers that the test hands out: the hosts reach each other's containers and nobody else does, what
 * others remove is found and put back, and lowering leaves nothing.
 *
 * Limits: no store and no daemon. One machine: the Ethernet between the hosts is a bridge.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { peerEntries, isOverlay } from '../../plan/kernel/expected-overlay.ts';
import type { Seen } from '../../plan/networks/unmanaged.ts';
import type { Peer } from '../../state/overlay.ts';
import { faultOf } from '../harness/effects.ts';
import { definition } from '../harness/fixtures.ts';
import { endWithReport } from '../harness/native.ts';
import {
  addressOfHost,
  containerAddress,
  keyedPeer,
  macOfHost,
  OverlayHost,
  overlayOf,
  peerOf,
  pings,
  run,
  sharesOf,
} from '../harness/overlay-hosts.ts';
import { assertComesBackTo, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { openTun } from '../harness/tun.ts';

requirePrivateNamespace();
openTun();

const overlay = suite('an overlay in the kernel');
const VXLAN = 'vx-6f76000000';

let hosts: OverlayHost[] = [];
const SOON = 0.3;
/** True if no answer comes. */
const isSilent = (netns: string, to: string, source = ''): boolean => !pings(netns, to, 60, source, SOON);

const start = async (n: number): Promise<OverlayHost> => {
  const host = await OverlayHost.start(n);
  hosts.push(host);
  return host;
};
overlay.after.each(() => {
  for (const host of hosts) host.stop();
  hosts = [];
});

/** The kernel of a host, without the mounts of the test. */
const pictureOf = ({ path }: OverlayHost) => ({ ...inspectKernel(path), mounts: [] });

/** Two hosts with a container each. */
async function pair(more: Parameters<typeof overlayOf>[2] = {}) {
  const [one, two] = [await start(1), await start(2)];
  const [here, there] = [overlayOf(1, [peerOf(2)], more), overlayOf(2, [peerOf(1)], more)];
  await one.raise(here);
  await two.raise(there);
  one.container(here);
  two.container(there);
  return { one, two, here, there };
}

for (const backend of ['vxlan', 'host-gw', 'wireguard'] as const) {
  overlay(`containers of two hosts reach each other by ${backend}, and lowering leaves nothing`, async () => {
    const [one, two] = [await start(1), await start(2)];
    const [here, there] = [overlayOf(1, [keyedPeer(2)], { backend }), overlayOf(2, [keyedPeer(1)], { backend })];
    const before = pictureOf(one);
    await one.raise(here);
    await two.raise(there);
    one.container(here);
    two.container(there);
    assert.ok(pings('c1', containerAddress(2)), 'IPv4');
    // With host-gw an IPv4 address of a host is no gateway for IPv6.
    assert.is(pings('c1', containerAddress(2, 6)), backend !== 'host-gw', 'IPv6');
    const mtu = Number(here.options.mtu);
    assert.ok(pings('c1', containerAddress(2), mtu), `${mtu} bytes in one piece`);
    if (backend !== 'host-gw')
      assert.ok(pings('host1', containerAddress(2)), 'the host itself, by its address in the overlay');
    assert.equal(await one.look(here), []);
    await one.lower(here);
    await one.lower(here);
    await one.lowerTable();
    run('host1', 'ip', 'link', 'del', 'v-c1');
    await assertComesBackTo(before, () => pictureOf(one));
  });
}

for (const backend of ['vxlan', 'wireguard'] as const) {
  overlay(
    `hosts that know each other by IPv6 addresses reach each other by ${backend}, and nobody else is let in`,
    async () => {
      const over6 = (n: number): string => `2001:db8::${n}`;
      const [one, two] = [await start(1), await start(2)];
      for (const { n, netns } of [one, two])
        run(netns, 'ip', 'address', 'add', `${over6(n)}/64`, 'dev', 'eth0', 'nodad');
      const of = (n: number, other: number) =>
        overlayOf(
          n,
          [{ ...keyedPeer(other), address: over6(other) }],
          { backend, address: over6(n) },
          backend === 'vxlan' ? '1430' : '1420',
        );
      await one.raise(of(1, 2));
      await two.raise(of(2, 1));
      one.container(of(1, 2));
      two.container(of(2, 1));
      run('host2', 'nft', 'add table ip6 seen; add chain ip6 seen in { type filter hook input priority 5; }');
      run('host2', 'nft', `add rule ip6 seen in ip6 saddr ${over6(1)} udp dport { 4789, 51820 } counter`);
      const mtu = Number(of(1, 2).options.mtu);
      assert.ok(pings('c1', containerAddress(2), mtu, '', 3), `${mtu} bytes in one piece`);
      assert.ok(pings('c1', containerAddress(2, 6)));
      assert.match(run('host2', 'nft', 'list table ip6 seen'), /counter packets [1-9]/);
      assert.equal(await one.look(of(1, 2)), []);
      await two.program({ ...of(2, 1), peers: [] });
      assert.ok(isSilent('c1', containerAddress(2)), 'a host that is no peer');
    },
  );
}

overlay('addresses of containers are kept between hosts, and only there', async () => {
  const { two } = await pair();
  // A container whose network is masqueraded would come as its host; so it does to another address of the host.
  run('host2', 'nft', 'add table ip seen; add chain ip seen in { type filter hook forward priority 5; }');
  run('host2', 'nft', `add rule ip seen in ip saddr ${containerAddress(1)} ip daddr ${containerAddress(2)} counter`);
  assert.ok(pings('c1', containerAddress(2)));
  assert.match(run('host2', 'nft', 'list table ip seen'), /counter packets [1-9]/);
  run('host2', 'nft', 'delete table ip seen');
  assert.ok(two.n === 2 && pings('c1', addressOfHost(2)), 'and the world beyond is reached as from any bridge');
});

overlay('an internal overlay leads to its other hosts and nowhere else', async () => {
  await pair({ internal: true });
  assert.ok(pings('c1', containerAddress(2)), 'the other host');
  assert.ok(isSilent('c1', addressOfHost(2)), 'the world');
});

overlay('other networks of the hosts stay apart from it, in both directions', async () => {
  const { one, two } = await pair();
  const [lan1, lan2] = [1, 2].map((n) => definition('lan', `10.20.${n}.0/24`, `10.20.${n}.1`)) as [Seen, Seen];
  await one.raise(lan1);
  await two.raise(lan2);
  one.attach('d1', 'cl-lan', ['10.20.1.1'], ['10.20.1.2']);
  two.attach('d2', 'cl-lan', ['10.20.2.1'], ['10.20.2.2']);
  assert.ok(isSilent('d1', containerAddress(1)), 'a network of this host to a container here');
  assert.ok(isSilent('d1', containerAddress(2)), 'a network of this host to a container of another');
  run('host1', 'ip', 'route', 'add', '10.20.2.0/24', 'via', addressOfHost(2));
  run('host1', 'ip', 'route', 'replace', '10.20.2.0/24', 'via', '10.128.2.0', 'dev', VXLAN, 'onlink');
  assert.ok(isSilent('c1', '10.20.2.2'), 'through the tunnel to another network of the other host');
  run('host1', 'ip', 'route', 'del', '10.20.2.0/24');
  run('host1', 'ip', 'route', 'add', '10.128.3.0/24', 'via', '10.128.2.0', 'dev', VXLAN, 'onlink');
  run('host2', 'ip', 'route', 'add', '10.128.3.0/24', 'via', '10.128.1.0', 'dev', VXLAN, 'onlink');
  run('host2', 'nft', 'add table ip seen; add chain ip seen out { type filter hook postrouting priority 300; }');
  run('host2', 'nft', `add rule ip seen out oifname ${VXLAN} ip daddr 10.128.3.2 counter`);
  assert.ok(isSilent('c1', '10.128.3.2'));
  assert.match(
    run('host2', 'nft', 'list table ip seen'),
    /counter packets 0 /,
    'no host passes packets between two others',
  );
});

/** A host that knows the network number, with a VXLAN link of its own making. */
function intrude(host: OverlayHost, victim: number): void {
  const link = ['type', 'vxlan', 'id', String(0x12_34_56), 'dstport', '4789', 'remote', addressOfHost(victim)];
  run(host.netns, 'ip', 'link', 'add', 'vx', 'address', macOfHost(host.n), ...link);
  run(host.netns, 'ip', 'link', 'set', 'vx', 'up');
  run(host.netns, 'ip', 'address', 'add', containerAddress(host.n), 'dev', 'vx');
  run(host.netns, 'ip', 'route', 'add', `10.128.${victim}.0/24`, 'dev', 'vx');
  run(host.netns, 'ip', 'neigh', 'add', containerAddress(victim), 'lladdr', macOfHost(victim), 'dev', 'vx');
}

overlay('packets of a tunnel are taken from peers alone, and a host that has left is one no more', async () => {
  const { one, here } = await pair();
  const three = await start(3);
  intrude(three, 1);
  // That no answer comes says little: there is no route for it.
  run('c1', 'nft', 'add table ip seen; add chain ip seen in { type filter hook input priority 0; }');
  run('c1', 'nft', `add rule ip seen in ip saddr ${containerAddress(3)} counter`);
  const came = () => Number(/packets (\d+)/.exec(run('c1', 'nft', 'list table ip seen'))?.[1]);
  assert.ok(isSilent('host3', containerAddress(1)), 'before it is a peer');
  assert.is(came(), 0, 'nothing comes before it is a peer');
  const joined = { ...here, peers: [peerOf(2), peerOf(3)] };
  await one.program(joined);
  assert.ok(pings('host3', containerAddress(1)), 'as a peer');
  assert.equal(await one.look(joined), []);
  await one.program(here);
  const before = came();
  assert.ok(before > 0);
  assert.ok(isSilent('host3', containerAddress(1)), 'after it has left');
  assert.is(came(), before, 'nothing comes after it has left');
  assert.equal(await one.look(here), []);
});

overlay('packets of a tunnel take no entry in the table of connections of either host', async () => {
  await pair();
  run('host1', 'nft', 'add table ip seen; add chain ip seen out { type filter hook output priority 5; }');
  run('host1', 'nft', 'add rule ip seen out udp dport 4789 ct state != untracked counter');
  run('host2', 'nft', 'add table ip seen; add chain ip seen in { type filter hook input priority 5; }');
  run('host2', 'nft', 'add rule ip seen in udp dport 4789 ct state untracked counter');
  run('host2', 'nft', 'add rule ip seen in udp dport 4789 counter');
  assert.ok(pings('c1', containerAddress(2)));
  assert.match(run('host1', 'nft', 'list table ip seen'), /counter packets 0 /);
  const [untracked, all] = [...run('host2', 'nft', 'list table ip seen').matchAll(/packets (\d+)/g)].map(([, n]) => n);
  assert.ok(Number(all) > 0);
  assert.is(untracked, all);
});

overlay('a source of the pool is believed on the way that leads there alone', async () => {
  const { one, here } = await pair();
  const three = await start(3);
  await one.program({ ...here, peers: [peerOf(2), peerOf(3)] });
  // A packet from the wire, past the tunnel, with the address of a container of host 3.
  run('host3', 'ip', 'address', 'add', '10.128.3.2/32', 'dev', 'lo');
  run('host3', 'ip', 'route', 'add', '10.128.1.0/24', 'via', addressOfHost(1), 'metric', '7');
  run('c1', 'nft', 'add table ip seen; add chain ip seen in { type filter hook input priority 0; }');
  run('c1', 'nft', 'add rule ip seen in ip saddr { 10.128.0.0/10, 192.0.2.0/24 } icmp type echo-request counter');
  assert.ok(isSilent('host3', containerAddress(1), '10.128.3.2'));
  assert.match(run('c1', 'nft', 'list table ip seen'), /counter packets 0 /, 'past the tunnel');
  // Through the tunnel, with the address of a container of host 1 itself, and with one of no overlay.
  intrude(three, 1);
  run('host3', 'ip', 'address', 'add', '10.128.1.9/32', 'dev', 'lo');
  for (const forged of ['10.128.1.9', addressOfHost(3)]) {
    assert.ok(isSilent('host3', containerAddress(1), forged), forged);
    assert.match(run('c1', 'nft', 'list table ip seen'), /counter packets 0 /, `${forged} through the tunnel`);
  }
  assert.ok(pings('host3', containerAddress(1), 60, containerAddress(3)), 'its own address comes through');
});

/** What others can do, with the kind of the drift that is found. */
const DAMAGES: [string, string, ...string[]][] = [
  ['the link', 'link', 'ip', 'link', 'del', VXLAN],
  ['the link is down', 'link', 'ip', 'link', 'set', VXLAN, 'down'],
  ['the MTU', 'link', 'ip', 'link', 'set', VXLAN, 'mtu', '1300'],
  ['the MAC', 'link', 'ip', 'link', 'set', VXLAN, 'address', '02:00:00:00:00:99'],
  ['an address', 'address', 'ip', 'address', 'flush', 'dev', VXLAN],
  ['a route', 'route', 'ip', 'route', 'del', '10.128.2.0/24'],
  ['the route of the pool', 'route', 'ip', 'route', 'del', 'unreachable', '10.128.0.0/10'],
  ['a route of IPv6', 'route', 'ip', '-6', 'route', 'del', 'fd00:128:0:2::/64'],
  ['a route of ours too many', 'route', 'ip', 'route', 'add', '10.128.9.0/24', 'via', '192.0.2.9', 'proto', '207'],
  ['a neighbour', 'neighbour', 'ip', 'neigh', 'del', '10.128.2.0', 'dev', VXLAN],
  [
    'the MAC of a neighbour',
    'neighbour',
    'ip',
    'neigh',
    'replace',
    '10.128.2.0',
    'lladdr',
    '02:00:00:00:00:99',
    'dev',
    VXLAN,
  ],
  ['a forwarding entry', 'neighbour', 'bridge', 'fdb', 'del', macOfHost(2), 'dev', VXLAN],
  [
    'where a forwarding entry leads',
    'neighbour',
    'bridge',
    'fdb',
    'replace',
    macOfHost(2),
    'dev',
    VXLAN,
    'dst',
    '192.0.2.9',
  ],
  [
    'a forwarding entry too many',
    'neighbour',
    'bridge',
    'fdb',
    'add',
    '02:00:00:00:00:99',
    'dev',
    VXLAN,
    'dst',
    '192.0.2.9',
  ],
  ['a switch', 'switch', 'sysctl', '-qw', `net.ipv4.conf.${VXLAN}.accept_source_route=1`],
];

overlay('whatever others take away is found, and put back', async () => {
  const { one, here } = await pair();
  for (const [what, kind, ...command] of DAMAGES) {
    run('host1', ...command);
    const found = await one.look(here);
    assert.ok(found.length > 0 && found.every((one) => one.network === 'ov'), what);
    assert.ok(
      found.some((one) => one.kind === kind),
      `${what}: ${JSON.stringify(found)}`,
    );
    await one.repair(here);
    assert.equal(await one.look(here), [], what);
    assert.ok(pings('c1', containerAddress(2)), what);
  }
});

overlay('routes and neighbours of others stay, and one in the way is named', async () => {
  const { one, here } = await pair();
  run('host1', 'ip', 'route', 'add', '10.128.2.7/32', 'via', addressOfHost(2));
  run('host1', 'ip', 'neigh', 'add', '10.128.2.7', 'lladdr', '02:00:00:00:00:07', 'dev', VXLAN);
  await one.program({ ...here, peers: [] });
  assert.match(run('host1', 'ip', 'route'), /^10\.128\.2\.7 via 192\.0\.2\.2/m);
  assert.match(run('host1', 'ip', 'neigh'), /^10\.128\.2\.7 .*PERMANENT/m);
  assert.not.match(run('host1', 'ip', 'route'), /10\.128\.2\.0\/24/);
  run('host1', 'ip', 'route', 'add', '10.128.2.0/24', 'via', addressOfHost(2));
  const fault = await faultOf(one.program(here));
  assert.is(fault.code, 'ROUTE_IN_THE_WAY');
  assert.match(fault.message, /10\.128\.2\.0\/24/);
  assert.match(run('host1', 'ip', 'route'), /^10\.128\.2\.0\/24 via 192\.0\.2\.2/m);
});

overlay('an address that this host does not have, and a network number that is taken, are refused', async () => {
  const one = await start(1);
  const absent = await faultOf(one.raise(overlayOf(1, [], { address: '192.0.2.77' })));
  assert.is(absent.code, 'VTEP_ADDRESS_MISSING');
  assert.match(absent.message, /192\.0\.2\.77/);
  await one.lower(overlayOf(1, [], { address: '192.0.2.77' }));
  run(
    'host1',
    'ip',
    'link',
    'add',
    'theirs',
    'type',
    'vxlan',
    'id',
    String(0x12_34_56),
    'dstport',
    '4789',
    'local',
    '192.0.2.1',
  );
  const taken = await faultOf(one.raise(overlayOf(1, [])));
  assert.is(taken.code, 'NAME_TAKEN_IN_KERNEL');
  assert.match(taken.message, /1193046/);
});

overlay('peers that would take the traffic of others get nothing', async () => {
  const one = await start(1);
  const bad: Peer[] = [
    { ...peerOf(4), subnets: ['0.0.0.0/0'] },
    { ...peerOf(5), subnets: ['10.0.0.0/8'] },
    { ...peerOf(6), subnets: sharesOf(1) },
    { ...peerOf(7), subnets: ['10.128.1.128/25'] },
    { ...peerOf(8), address: '2001:db8::8' },
    { ...peerOf(9), mac: macOfHost(1) },
    { ...peerOf(10), address: addressOfHost(1) },
  ];
  const network = overlayOf(1, [...bad, peerOf(2)]);
  await one.raise(network);
  const routes = run('host1', 'ip', 'route', 'show', 'proto', '207').trim().split('\n');
  assert.equal(
    routes.map((line) => line.split(' via')[0]),
    ['unreachable 10.128.0.0/10 metric 4294901760 ', '10.128.2.0/24'],
  );
  assert.equal(run('host1', 'bridge', 'fdb', 'show', 'dev', VXLAN).trim().split('\n').length, 1);
});

overlay(
  'a share that was this host’s leads elsewhere when it is just what is left of the pool beside the new one',
  async () => {
    const host = await start(3);
    const four = { pools: ['10.128.0.0/22', 'fd00:128::/48'] };
    const of = (n: number): Seen => ({ ...overlayOf(3, [], four), subnets: overlayOf(n, []).subnets });
    await host.raise(of(3));
    for (const [from, to] of [
      [3, 2],
      [2, 3],
      [3, 1],
    ] as const) {
      await host.revise(of(from), of(to));
      assert.equal(await host.look(of(to)), [], `from ${from} to ${to}`);
    }
    await host.lower(of(1));
  },
);

overlay('a new share takes the place of the old one, on the link too', async () => {
  const { one, here, two, there } = await pair();
  // The old one is another host's by now.
  const peers = [...(here.peers ?? []), { ...peerOf(6), subnets: sharesOf(1) }];
  const moved: Seen = { ...here, peers, subnets: overlayOf(5, []).subnets };
  await one.revise(here, moved);
  assert.equal(await one.look(moved), []);
  assert.match(run('host1', 'ip', 'route', 'show', '10.128.1.0/24'), / dev vx-/);
  assert.not.match(run('host1', 'ip', 'address', 'show', 'dev', VXLAN), /10\.128\.1\.0/);
  await two.program({ ...there, peers: [{ ...peerOf(1), subnets: sharesOf(5) }] });
  one.attach('e1', 'cl-ov', ['10.128.5.1'], ['10.128.5.2']);
  assert.ok(pings('e1', containerAddress(2)));
});

overlay('a thousand peers are programmed, again with nothing to do, and taken away', async () => {
  const one = await start(1);
  const many = Array.from({ length: 1000 }, (_, i): Peer => {
    const n = i + 300;
    const [high, low] = [Math.floor(n / 256), n % 256];
    const mac = `02:12:80:00:${high.toString(16).padStart(2, '0')}:${low.toString(16).padStart(2, '0')}`;
    const subnets = [`10.${128 + high}.${low}.0/24`];
    return { host: n.toString(16).padStart(32, '0'), address: `198.18.${high}.${low}`, mac, subnets };
  });
  const network = overlayOf(1, many);
  assert.ok(isOverlay(network));
  assert.is(peerEntries(network).fdb.length, 1000);
  await one.raise({ ...network, peers: [] });
  for (const [what, now] of [
    ['all of them', network],
    ['the same again', network],
    ['one fewer', { ...network, peers: many.slice(1) }],
    ['none', { ...network, peers: [] }],
  ] as const) {
    await one.program(now);
    assert.equal(await one.look(now), [], what);
  }
});

endWithReport();
overlay.run();
