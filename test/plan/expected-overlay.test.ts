/**
 * What an overlay has in the kernel of a host, how a look is compared with it, which hosts get entries at all; the MTU in the tunnel;
 * and ranges of addresses without others.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { without } from '../../plan/addresses/ranges.ts';
import {
  compareOverlay,
  isOverlay,
  isShareRoute,
  isVxlanOf,
  leadsTo,
  NO_ENTRIES,
  OVERLAY_PROTOCOL,
  peerEntries,
  POOL_METRIC,
  shareRouteText,
  usablePeers,
  vtepAddresses,
  tunnelAlias,
  tunnelName,
  type OverlayDump,
  type OverlaySeen,
} from '../../plan/kernel/expected-overlay.ts';
import { spaceOf } from '../../plan/networks/driver.ts';
import { asFound, narrowest, NO_WAY_OUT, tooWide, type WayOut } from '../../plan/networks/way-out.ts';
import type { Peer } from '../../state/overlay.ts';
import { definition } from '../harness/fixtures.ts';
import { addressOfHost, macOfHost, overlayOf, peerOf, sharesOf } from '../harness/overlay-hosts.ts';

const expected = suite('what an overlay has in the kernel');
const ALIAS = 'cleat:main:overlay:ov';
const NAME = 'vx-6f76000000';

/** The network of host 1. */
function network(peers: readonly Peer[] = [peerOf(2)], more: Parameters<typeof overlayOf>[2] = {}): OverlaySeen {
  const seen = overlayOf(1, peers, more);
  assert.ok(isOverlay(seen));
  return seen;
}

expected('names and addresses come from the network and its shares', () => {
  assert.is(tunnelName(network()), NAME);
  assert.is(tunnelName(network([], { backend: 'host-gw' })), null);
  assert.is(tunnelName(definition('web', '10.89.0.0/24', '10.89.0.1')), null);
  assert.is(tunnelAlias('main', 'ov'), ALIAS);
  assert.equal([OVERLAY_PROTOCOL, POOL_METRIC], [207, 0xffff_0000], 'documented: `ip route show proto 207`');
  assert.equal(NO_ENTRIES, { routes: [], neighbours: [], fdb: [] });
  assert.equal(vtepAddresses(network()), ['10.128.1.0', 'fd00:128:0:1::']);
  assert.equal(spaceOf(network()), [...sharesOf(1), '10.128.0.0/10', 'fd00:128::/48']);
  assert.equal(spaceOf(definition('web', '10.89.0.0/24', '10.89.0.1')), ['10.89.0.0/24']);
});

expected('each peer has a route and a neighbour for each share, and one forwarding entry', () => {
  assert.equal(peerEntries(network()), {
    routes: [
      { destination: '10.128.0.0', prefix: 10, gateway: null, type: 'unreachable' },
      { destination: 'fd00:128::', prefix: 48, gateway: null, type: 'unreachable' },
      { destination: '10.128.2.0', prefix: 24, gateway: '10.128.2.0', type: 'unicast' },
      { destination: 'fd00:128:0:2::', prefix: 64, gateway: 'fd00:128:0:2::', type: 'unicast' },
    ],
    neighbours: [
      { address: '10.128.2.0', mac: macOfHost(2) },
      { address: 'fd00:128:0:2::', mac: macOfHost(2) },
    ],
    fdb: [{ mac: macOfHost(2), destination: addressOfHost(2) }],
  });
});

expected('without a tunnel there are routes alone, of the family that the hosts are reached by', () => {
  assert.equal(peerEntries(network([peerOf(2)], { backend: 'host-gw' })), {
    routes: [
      { destination: '10.128.0.0', prefix: 10, gateway: null, type: 'unreachable' },
      { destination: 'fd00:128::', prefix: 48, gateway: null, type: 'unreachable' },
      { destination: '10.128.2.0', prefix: 24, gateway: addressOfHost(2), type: 'unicast' },
    ],
    neighbours: [],
    fdb: [],
  });
});

expected('a peer that would take traffic that is not its own has no entries', () => {
  const usable = (peer: Partial<Peer>) =>
    usablePeers(network([{ ...peerOf(2), ...peer }])).flatMap((one) => one.subnets);
  assert.equal(usable({}), sharesOf(2));
  assert.equal(usable({ subnets: ['0.0.0.0/0'] }), [], 'all addresses');
  assert.equal(usable({ subnets: ['10.128.0.0/10'] }), [], 'the pool');
  assert.equal(usable({ subnets: ['192.168.2.0/24'] }), [], 'outside of the pools');
  assert.equal(usable({ subnets: ['10.128.1.128/25', 'fd00:128:0:2::/64'] }), ['fd00:128:0:2::/64'], 'a part of ours');
  assert.equal(usable({ subnets: ['10.128.0.0/16'] }), [], 'what ours is a part of');
  assert.equal(usable({ address: '2001:db8::2' }), [], 'an address of the other family');
  assert.equal(usable({ address: addressOfHost(1) }), [], 'our address');
  assert.equal(usable({ mac: macOfHost(1) }), [], 'our MAC');
  assert.equal(usablePeers(network([{ ...peerOf(2), subnets: sharesOf(1) }])), [], 'it is left out whole');
  const { peers: _none, ...alone } = network();
  assert.equal(usablePeers(alone), []);
  // Where this host has no share, a pool and more than that are no shares either.
  const four = { ...network(), subnets: network().subnets.slice(0, 1) };
  for (const subnet of ['fd00:128::/48', 'fd00::/16'])
    assert.equal(usablePeers({ ...four, peers: [{ ...peerOf(2), subnets: [subnet] }] }), [], subnet);
});

const link = (more: Partial<OverlayDump['links'][number]> = {}) => ({
  index: 7,
  name: NAME,
  mac: macOfHost(1),
  mtu: 1450,
  up: true,
  master: 0,
  alias: ALIAS,
  vxlan: { vni: 0x12_34_56, local: addressOfHost(1), port: 4789, learning: false },
  ...more,
});
const route = (destination: string, prefix: number, gateway: string | null, more: object = {}) => ({
  destination,
  prefix,
  gateway,
  link: gateway === null ? 0 : 7,
  metric: gateway === null ? POOL_METRIC : 0,
  table: 254,
  type: gateway === null ? 'unreachable' : 'unicast',
  protocol: OVERLAY_PROTOCOL,
  ...more,
});
const neighbour = (address: string, more: object = {}) => ({
  link: 7,
  address,
  mac: macOfHost(2),
  state: 0x80,
  protocol: OVERLAY_PROTOCOL,
  ...more,
});
const WHOLE: OverlayDump = {
  links: [link()],
  addresses: [
    { link: 7, address: '10.128.1.0', prefix: 32 },
    { link: 7, address: 'fd00:128:0:1::', prefix: 128 },
  ],
  routes: [
    route('10.128.0.0', 10, null),
    route('fd00:128::', 48, null),
    route('10.128.2.0', 24, '10.128.2.0'),
    route('fd00:128:0:2::', 64, 'fd00:128:0:2::'),
  ],
  neighbours: [neighbour('10.128.2.0'), neighbour('fd00:128:0:2::')],
  fdb: [{ mac: macOfHost(2), destination: addressOfHost(2) }],
  wireguard: null,
};
const differences = (more: Partial<OverlayDump>, of = network()): string[] =>
  compareOverlay(of, ALIAS, { ...WHOLE, ...more }).map((one) => {
    assert.is(one.network, 'ov');
    return `${one.problem} ${one.kind}: ${one.object}`;
  });

expected('nothing differs where all is as it should be', () => {
  assert.equal(differences({}), []);
  const { options: _none, ...plain } = network();
  assert.equal(differences({ links: [link({ mtu: 1500 })] }, { ...plain, options: {} }), []);
});

expected('a link that is missing, or that is not ours, is all that is said', () => {
  assert.equal(differences({ links: [] }), [`missing link: ${NAME}`]);
  assert.equal(differences({ links: [link({ name: 'other' })], routes: [] }), [`missing link: ${NAME}`]);
  assert.equal(differences({ links: [link({ alias: '' })], fdb: [] }), [`changed link: alias ${ALIAS} on ${NAME}`]);
});

expected('whatever of the link differs is named', () => {
  const made = { vni: 0x12_34_56, local: addressOfHost(1), port: 4789, learning: false };
  const other = `changed link: vni 1193046 at 192.0.2.1 port 4789 on ${NAME}`;
  for (const vxlan of [
    null,
    { ...made, vni: 1 },
    { ...made, local: '192.0.2.9' },
    { ...made, port: 8472 },
    { ...made, learning: true },
  ]) {
    assert.equal(differences({ links: [link({ vxlan })] }), [other]);
    assert.is(isVxlanOf(network(), { vxlan }), false);
  }
  assert.is(isVxlanOf(network(), link()), true);
  assert.equal(differences({ links: [link({ mac: '02:00:00:00:00:09' })] }), [
    `changed link: mac ${macOfHost(1)} on ${NAME}`,
  ]);
  assert.equal(differences({ links: [link({ mtu: 1400 })] }), [`changed link: mtu 1450 on ${NAME}`]);
  assert.equal(differences({ links: [link({ up: false, mtu: 1400 })], addresses: [] }), [
    `changed link: mtu 1450 on ${NAME}`,
    `changed link: up on ${NAME}`,
  ]);
});

expected('an address counts on the link and with its whole length', () => {
  const [four, six] = WHOLE.addresses as [(typeof WHOLE.addresses)[number], (typeof WHOLE.addresses)[number]];
  assert.equal(differences({ addresses: [four] }), [`missing address: fd00:128:0:1:: on ${NAME}`]);
  assert.equal(differences({ addresses: [{ ...four, prefix: 24 }, six] }), [`missing address: 10.128.1.0 on ${NAME}`]);
  assert.equal(differences({ addresses: [{ ...four, address: '10.128.9.0' }, six] }), [
    `missing address: 10.128.1.0 on ${NAME}`,
  ]);
  assert.equal(differences({ addresses: [{ ...four, link: 3 }, six] }), [`missing address: 10.128.1.0 on ${NAME}`]);
  assert.equal(differences({ addresses: [four, { ...six, prefix: 64 }] }), [
    `missing address: fd00:128:0:1:: on ${NAME}`,
  ]);
});

expected('a route counts if it is ours and leads to the gateway; one too many is named as well', () => {
  const without = (...left: number[]) => WHOLE.routes.filter((_, i) => !left.includes(i));
  assert.equal(differences({ routes: without(0) }), ['missing route: unreachable 10.128.0.0/10']);
  assert.equal(differences({ routes: without(2) }), ['missing route: 10.128.2.0/24 via 10.128.2.0']);
  const gone = 'missing route: 10.128.2.0/24 via 10.128.2.0';
  for (const more of [{ protocol: 4 }, { table: 255 }])
    assert.equal(differences({ routes: [...without(2), route('10.128.2.0', 24, '10.128.2.0', more)] }), [gone]);
  assert.equal(differences({ routes: [...without(2), route('10.128.2.0', 24, '10.128.3.0')] }), [
    gone,
    'changed route: no 10.128.2.0/24 via 10.128.3.0',
  ]);
  assert.equal(differences({ routes: [...WHOLE.routes, route('10.128.9.0', 24, '192.0.2.9', { link: 2 })] }), [
    'changed route: no 10.128.9.0/24 via 192.0.2.9',
  ]);
  // On our link, wherever it leads; elsewhere, only into the pools.
  assert.equal(differences({ routes: [...WHOLE.routes, route('10.9.0.0', 24, '10.128.2.0')] }), [
    'changed route: no 10.9.0.0/24 via 10.128.2.0',
  ]);
  assert.equal(differences({ routes: [...WHOLE.routes, route('10.9.0.0', 24, '192.0.2.9', { link: 2 })] }), []);
  assert.is(shareRouteText(route('10.128.2.0', 24, null)), 'unreachable 10.128.2.0/24');
});

expected('without a tunnel, routes into the pools are compared and nothing else', () => {
  const of = network([peerOf(2)], { backend: 'host-gw' });
  const routes = [
    route('10.128.0.0', 10, null),
    route('fd00:128::', 48, null),
    route('10.128.2.0', 24, addressOfHost(2), { link: 2 }),
  ];
  const bare = { links: [], addresses: [], neighbours: [], fdb: [] };
  assert.equal(differences({ ...bare, routes }, of), []);
  assert.equal(differences({ ...bare, routes: routes.slice(0, 2) }, of), [
    'missing route: 10.128.2.0/24 via 192.0.2.2',
  ]);
  assert.is(isShareRoute(route('10.128.2.0', 24, null), null, of.overlay), true);
  assert.is(isShareRoute(route('10.9.0.0', 24, null), null, of.overlay), false);
});

expected('a neighbour counts if it is permanent, ours and right; one of ours too many is named', () => {
  const [first, second] = WHOLE.neighbours as [(typeof WHOLE.neighbours)[number], (typeof WHOLE.neighbours)[number]];
  const what = `neighbour: 10.128.2.0 at ${macOfHost(2)} on ${NAME}`;
  assert.equal(differences({ neighbours: [second] }), [`missing ${what}`]);
  assert.equal(differences({ neighbours: [{ ...first, link: 3 }, second] }), [`missing ${what}`]);
  for (const more of [{ mac: macOfHost(3) }, { state: 2 }, { protocol: 0 }])
    assert.equal(differences({ neighbours: [{ ...first, ...more }, second] }), [`changed ${what}`]);
  const stray = neighbour('10.128.9.0');
  assert.equal(differences({ neighbours: [first, second, stray] }), [`changed neighbour: no 10.128.9.0 on ${NAME}`]);
  assert.equal(differences({ neighbours: [first, second, { ...stray, protocol: 0 }] }), [], 'another maker');
});

expected('each forwarding entry of the link is ours', () => {
  const there = `${macOfHost(2)} at 192.0.2.2 on ${NAME}`;
  assert.equal(differences({ fdb: [] }), [`missing neighbour: ${there}`]);
  assert.equal(differences({ fdb: [...WHOLE.fdb, { mac: macOfHost(3), destination: '192.0.2.3' }] }), [
    `changed neighbour: no ${macOfHost(3)} at 192.0.2.3 on ${NAME}`,
  ]);
});

expected('a removed address or route leads to the overlay that had it', () => {
  for (const one of ['10.128.1.0', 'fd00:128:0:1::', '10.128.0.0/10', '10.128.2.0/24', 'fd00:128:0:2::/64'])
    assert.is(leadsTo(network(), new Set([one])), true, one);
  for (const one of ['10.128.3.0/24', '10.128.2.0', '192.0.2.1'])
    assert.is(leadsTo(network(), new Set([one])), false, one);
  assert.is(leadsTo(definition('web', '10.89.0.0/24', '10.89.0.1'), new Set(['10.128.2.0/24'])), false);
});

expected('the MTU in the tunnel is that of the way to the other hosts, without its headers', () => {
  const [four, six] = [network(), network([], { address: '2001:db8::1' })];
  assert.is(narrowest(four, { 4: 1500, 6: 1400 }), 1450);
  assert.is(narrowest(six, { 4: 1500, 6: 1400 }), 1330);
  assert.is(narrowest(network([], { backend: 'host-gw' }), { 4: 1500, 6: 1400 }), 1500);
  assert.is(narrowest(network([], { internal: true }), { 4: 9000, 6: null }), 8950, 'an internal one has a way, too');
  assert.is(narrowest(four, NO_WAY_OUT), 1450, 'an unknown way is taken for Ethernet');
  assert.is(narrowest(six, { 4: 9000, 6: null }), 1430);
});

expected('an MTU that does not fit into the tunnel is refused, if the way is known', () => {
  const wide = (mtu: string, wayOut: WayOut, more: Parameters<typeof overlayOf>[2] = {}) =>
    tooWide({ ...network([], more), options: { mtu } }, wayOut)?.message ?? null;
  const way = { 4: 1500, 6: 1280 };
  assert.is(wide('1450', way), null);
  assert.is(wide('1451', way), 'network ov: an MTU of 1451 does not fit, packets to other hosts have room for 1450');
  assert.is(tooWide({ ...network(), options: { mtu: '1451' } }, way)?.code, 'BAD_REQUEST');
  assert.is(wide('1451', way, { backend: 'host-gw' }), null);
  assert.is(wide('1451', { 4: null, 6: 1280 }), null);
  assert.is(tooWide({ ...network(), options: {} }, way), null);
  const web = definition('web', '10.89.0.0/24', '10.89.0.1', { options: { mtu: '9000' } });
  assert.is(tooWide(web, way), null, 'packets of other networks are fragmented, or their senders told');
});

expected('an overlay is found with its other hosts, any other network without', () => {
  const { peers: _none, options: _mtu, ...bare } = network();
  const peers = [peerOf(2)];
  assert.equal(asFound({ ...bare, options: {} }, { 4: 1400, 6: null }, null, peers), {
    ...bare,
    options: { mtu: '1350' },
    peers,
  });
  assert.equal(asFound(network(), NO_WAY_OUT, null).peers, []);
  const web = definition('web', '10.89.0.0/24', '10.89.0.1');
  assert.is(asFound(web, NO_WAY_OUT, null, peers), web);
});

expected('ranges are what is left of subnets without others, in order', () => {
  const text = (subnets: string[], others: string[]) =>
    without(subnets, others).map(({ first, behind }) => `${first}-${behind ?? ''}`);
  assert.equal(text(['10.0.0.0/24'], []), ['10.0.0.0-10.0.1.0']);
  assert.equal(text(['10.0.0.0/24'], ['10.0.0.64/26']), ['10.0.0.0-10.0.0.64', '10.0.0.128-10.0.1.0']);
  assert.equal(text(['10.0.0.0/24'], ['10.0.0.0/25']), ['10.0.0.128-10.0.1.0']);
  assert.equal(text(['10.0.0.0/24'], ['10.0.0.128/25']), ['10.0.0.0-10.0.0.128']);
  assert.equal(text(['10.0.0.0/24'], ['10.0.0.0/24']), []);
  assert.equal(text(['10.0.0.0/24'], ['10.0.0.192/26', '10.0.0.64/26', '10.9.0.0/24']), [
    '10.0.0.0-10.0.0.64',
    '10.0.0.128-10.0.0.192',
  ]);
  assert.equal(text(['10.1.0.0/24', '10.0.0.0/24'], []), ['10.1.0.0-10.1.1.0', '10.0.0.0-10.0.1.0']);
  assert.equal(text(['255.0.0.0/8'], []), ['255.0.0.0-'], 'to the end of the family');
  assert.equal(text(['ff00::/8'], ['fff0::/12']), ['ff00::-fff0::']);
  assert.equal(text(['ff00::/8'], []), ['ff00::-']);
});

expected.run();
