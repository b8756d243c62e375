/**
 * Planning of overlays: what hosts agree on, shares, the times of a lease, keys in the store, the peers that claims make, and the names
 * of other hosts in zones.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { askedOf, disagreement, newShared, portConflict } from '../../plan/overlay/agree.ts';
import { givenBackTtl, restTtl, timesOf } from '../../plan/overlay/fence.ts';
import { claimKey, namesKey, placeOf, restKey, rootOf, sharedKey } from '../../plan/overlay/keys.ts';
import { peersOf, type Seen } from '../../plan/overlay/peers.ts';
import { occupied, poolInTheWay } from '../../plan/overlay/pools.ts';
import { areShares, chooseNearby, chooseShares, nearbyShares, shareCount } from '../../plan/overlay/shares.ts';
import { zonesOf, type NameEntry } from '../../plan/names/names.ts';
import { isCanonical } from '../../plan/addresses/address.ts';
import { vtepMac } from '../../plan/addresses/mac.ts';
import { remoteNames } from '../../service/overlay/names.ts';
import type { NetworkDefinition, NetworkRequest } from '../../state/network.ts';
import type { Claim, OverlayShared } from '../../state/overlay.ts';

const overlay = suite('overlay');
const ID = `00001000${'a'.repeat(56)}`;
const HOST = '1'.repeat(32);

const sharedOf = (asked: Partial<OverlayShared>, more = {}): OverlayShared => {
  const made = newShared('web', asked, { id: ID, ...more });
  if ('fault' in made) throw new Error(made.fault.message);
  return made.shared;
};
const messageOf = (result: object | null): string =>
  result !== null && 'fault' in result ? (result.fault as { code: string; message: string }).message : 'accepted';
const asked = (request: Partial<NetworkRequest>) => askedOf({ name: 'web', driver: 'overlay', ...request });

overlay('the first host chooses what it does not say', () => {
  assert.equal(sharedOf({}), {
    name: 'web',
    id: ID,
    pools: ['10.128.0.0/10'],
    host_prefix: 24,
    backend: 'vxlan',
    vni: 4096 + 0x1000,
    port: 4789,
  });
  const both = sharedOf({}, { ipv6: true });
  assert.equal(both.pools, ['10.128.0.0/10', 'fd00:10:aa::/48']);
  assert.is(both.host_prefix6, 64);
  assert.equal(sharedOf({}, { ipv4: false, ipv6: true }).pools, ['fd00:10:aa::/48']);
  assert.equal(sharedOf({ pools: ['fd00:5::/48'] }).pools, ['fd00:5::/48']);
  assert.equal(sharedOf({ pools: ['fd00:5::/48'] }, { ipv6: true }).pools, ['fd00:5::/48']);
  assert.equal(sharedOf({ pools: ['10.7.0.0/16'] }, { ipv6: true }).pools, ['10.7.0.0/16', 'fd00:10:aa::/48']);
  const named = sharedOf({ vni: 7, port: 8472, backend: 'host-gw', host_prefix: 26, host_prefix6: 80 });
  assert.equal([named.vni, named.port, named.backend, named.host_prefix], [7, 8472, 'host-gw', 26]);
  assert.is(named.host_prefix6, undefined, 'there is no pool of IPv6');
});

overlay('what cannot be is refused', () => {
  const refused = (more: Partial<OverlayShared>, of = {}) => messageOf(newShared('web', more, { id: ID, ...of }));
  assert.match(refused({ pools: ['10.7.0.0/24'] }), /pool 10.7.0.0\/24 has no shares of \/24/);
  assert.match(refused({ pools: ['fd00::/64'] }), /no shares of \/64/);
  assert.is(refused({ pools: ['10.7.0.0/23'] }), 'accepted');
  assert.match(refused({}, { ipv4: false }), /IPv4 or IPv6/);
  assert.match(messageOf(asked({ subnets: [{ subnet: '10.7.0.0/16', gateway: '10.7.0.1' }] })), /is a pool of shares/);
  const range = { start_ip: '10.7.0.5' };
  assert.match(messageOf(asked({ subnets: [{ subnet: '10.7.0.0/16', lease_range: range }] })), /is a pool of shares/);
  const twice = [{ subnet: '10.7.0.0/16' }, { subnet: '10.8.0.0/16' }];
  assert.match(messageOf(asked({ subnets: twice })), /one pool of IPv4/);
});

overlay('each WireGuard overlay of a host has a UDP port of its own', () => {
  const portOf = (asking: Partial<OverlayShared>, taken: number[] = []) => sharedOf(asking, { taken }).port;
  assert.is(portOf({ backend: 'wireguard' }), 51_820);
  assert.is(portOf({ backend: 'wireguard' }, [51_820, 4789, 51_821]), 51_822);
  assert.is(portOf({ backend: 'wireguard', port: 7000 }, [7000]), 7000, 'whoever names one is told that it is taken');
  assert.is(portOf({}, [4789]), 4789, 'VXLANs share theirs');
  const named = (name: string, more: Partial<OverlayShared>) => ({ ...sharedOf(more), name });
  const web = named('web', { backend: 'wireguard' });
  const conflict = (...others: OverlayShared[]) => messageOf(portConflict(web, others));
  assert.is(conflict(), 'accepted');
  assert.is(conflict(web), 'accepted', 'itself');
  assert.match(
    conflict(named('back', { backend: 'wireguard' })),
    /UDP port 51820 of overlay web is that of overlay back/,
  );
  assert.match(conflict(named('back', { port: 51_820 })), /that of overlay back/, 'a VXLAN');
  assert.is(conflict(named('back', { backend: 'host-gw', port: 51_820 })), 'accepted', 'routes alone have no port');
  assert.is(conflict(named('back', { backend: 'wireguard', port: 51_821 })), 'accepted');
  const vxlan = named('back', { port: 51_820 });
  assert.match(messageOf(portConflict(vxlan, [web])), /that of overlay web/, 'the other way around');
  assert.is(messageOf(portConflict(vxlan, [named('more', { port: 51_820 })])), 'accepted', 'two VXLANs');
  assert.is(messageOf(portConflict(named('back', { backend: 'host-gw', port: 51_820 }), [web])), 'accepted');
});

overlay('a request says what it names, and an answer can be sent again', () => {
  assert.equal(asked({ subnets: [{ subnet: '10.7.0.0/16' }] }), { asked: { pools: ['10.7.0.0/16'] } });
  assert.equal(asked({}), { asked: {} });
  const answer = { ...sharedOf({}), mac: '02:00:00:00:00:01', address: '192.0.2.1' };
  const again = asked({ subnets: [{ subnet: '10.128.3.0/24', gateway: '10.128.3.1' }], overlay: answer });
  const { name: _name, id: _id, ...said } = sharedOf({});
  assert.equal(again, { asked: said });
  assert.is('asked' in again && disagreement(sharedOf({}), again.asked, undefined), null);
});

overlay('another host agrees, or is told what differs', () => {
  const shared = sharedOf({ pools: ['10.7.0.0/16'] });
  const differs = (mine: Partial<OverlayShared>, ipv6?: boolean) => messageOf(disagreement(shared, mine, ipv6));
  assert.is(differs({}), 'accepted');
  assert.is(differs({ pools: ['10.7.0.0/16'], host_prefix: 24 }), 'accepted');
  assert.match(differs({ pools: ['10.8.0.0/16'] }), /pools 10.7.0.0\/16, not 10.8.0.0\/16/);
  assert.match(differs({ host_prefix: 25 }), /host prefix 24, not 25/);
  assert.match(differs({ host_prefix6: 80 }), /host prefix for IPv6 none, not 80/);
  assert.match(differs({ backend: 'host-gw' }), /backend vxlan, not host-gw/);
  assert.match(differs({ vni: 1 }), /VNI \d+, not 1/);
  assert.match(differs({ port: 1 }), /UDP port 4789, not 1/);
  assert.match(differs({}, true), /not one of IPv6/);
  assert.is(differs({}, false), 'accepted');
});

overlay('a share is free, of each pool, and where the host’s id puts it', () => {
  const pools = { pools: ['10.7.0.0/22', 'fd00:5::/48'], host_prefix: 24, host_prefix6: 64 };
  const first = chooseShares(pools, [], '0'.repeat(32));
  assert.equal(first, ['10.7.0.0/24', 'fd00:5::/64']);
  assert.equal(chooseShares(pools, [], `${'0'.repeat(15)}6${'0'.repeat(16)}`), ['10.7.2.0/24', 'fd00:5:0:6::/64']);
  assert.equal(chooseShares(pools, first ?? [], '0'.repeat(32)), ['10.7.1.0/24', 'fd00:5:0:1::/64']);
  assert.equal(chooseShares(pools, ['10.7.0.0/23', '10.7.3.128/25'], '0'.repeat(32))?.[0], '10.7.2.0/24');
  assert.is(chooseShares(pools, ['10.7.0.0/22'], HOST), null);
  const many = Array.from({ length: 20 }, (_, n) => `10.7.${n}.0/24`);
  assert.equal(chooseShares({ pools: ['10.7.0.0/16'], host_prefix: 24 }, many, '0'.repeat(32)), ['10.7.20.0/24']);
  assert.equal(nearbyShares(pools, `${'0'.repeat(15)}6${'0'.repeat(16)}`).slice(0, 5), [
    '10.7.2.0/24',
    '10.7.3.0/24',
    '10.7.0.0/24',
    '10.7.1.0/24',
    'fd00:5:0:6::/64',
  ]);
  assert.is(nearbyShares(pools, HOST).length, 4 + 8, 'a small pool has no more');
  const wide = { pools: ['10.7.0.0/16'], host_prefix: 24 };
  assert.is(chooseNearby(wide, many, '0'.repeat(32)), null);
  assert.equal(chooseNearby(wide, many.slice(0, 7), '0'.repeat(32)), ['10.7.7.0/24']);
  assert.is(areShares(pools, ['10.7.3.0/24', 'fd00:5:0:1::/64']), true);
  assert.is(areShares(pools, ['10.7.3.0/24']), false);
  assert.is(areShares(pools, ['10.7.3.0/25', 'fd00:5:0:1::/64']), false);
  assert.is(areShares(pools, ['10.8.3.0/24', 'fd00:5:0:1::/64']), false);
  assert.is(shareCount(pools), 4);
  assert.is(shareCount({ pools: ['fd00:5::/56'], host_prefix: 24 }), 256);
});

overlay('where its search begins all is taken: then any free share, each with the same chance', () => {
  const pool = { pools: ['10.7.0.0/20'], host_prefix: 24 };
  const zero = '0'.repeat(32);
  // Free are 9, 10 and 15: the used ones have other sizes, overlap each other, and reach out of the pool.
  const used = [
    '10.7.0.0/21',
    '10.7.8.0/25',
    '10.7.11.0/24',
    '10.7.12.0/23',
    '10.7.13.0/24',
    '10.7.14.7/32',
    '10.6.0.0/16',
  ];
  const chosen = (chance: number) => chooseShares(pool, used, zero, chance)?.[0];
  assert.equal(
    [0, 0.33, 0.34, 0.66, 0.67, 1 - Number.EPSILON].map(chosen),
    [9, 9, 10, 10, 15, 15].map((n) => `10.7.${n}.0/24`),
  );
  assert.is(chooseShares(pool, ['10.0.0.0/8'], zero, 0.5), null);
  assert.is(chooseShares(pool, [...used, '10.7.9.0/24', '10.7.10.0/24', '10.7.15.0/24'], zero, 0), null);
  const six = { pools: ['fd00:5::/32'], host_prefix: 24, host_prefix6: 120 };
  const far = chooseShares(six, ['fd00:5::/116'], zero, 0.5)?.[0] ?? '';
  assert.match(far, /^fd00:5:8000::\d?.*\/120$/, 'a pool of 2^88');
});

overlay('the times of a lease count from when its renewal was sent', () => {
  assert.equal(timesOf({ ttl: 30, provenAt: 100 }), { renewAt: 110, fenceAt: 125, expiresAt: 130 });
  assert.is(timesOf({ ttl: 5, provenAt: 0 }).fenceAt, 4, 'a second at least');
  assert.is(restTtl(30), 90);
  assert.is(givenBackTtl(30), 60);
});

overlay('keys are found again, and others are foreign', () => {
  assert.equal(placeOf('web', sharedKey('web')), { kind: 'shared' });
  assert.equal(placeOf('web', claimKey('web', '10.7.3.0/24')), { kind: 'claim', subnet: '10.7.3.0/24' });
  assert.equal(placeOf('web', restKey('web', 'fd00:5::/64')), { kind: 'rest', subnet: 'fd00:5::/64' });
  assert.equal(placeOf('web', namesKey('web', HOST, 'c1')), { kind: 'names', host: HOST, id: 'c1' });
  assert.is(claimKey('web', '10.7.3.0/24'), '/cleat/v1/networks/web/subnets/10.7.3.0-24');
  for (const rest of [
    'x',
    'shared/x',
    'subnets/10.7.3.5-24',
    'subnets/x',
    'subnets/10.7.3.0-24/x',
    'names/x/c1',
    `names/${HOST}`,
  ])
    assert.equal(placeOf('web', rootOf('web') + rest), { kind: 'foreign' }, rest);
  assert.equal(placeOf('web', `/other/${'x'.repeat(18)}shared`), { kind: 'foreign' });
  for (const [text, is] of [
    ['10.7.0.0/16', true],
    ['fd00:5::/64', true],
    ['10.7.0.1/16', false],
    ['10.07.0.0/16', false],
    ['fd00:5:0::/64', false],
    ['10.7.0.0/99', false],
    ['10.7.0.0', false],
  ] as const)
    assert.is(isCanonical(text), is, text);
});

const claim = (n: number, more: Partial<Claim> = {}): Claim => ({
  host: String(n).repeat(32),
  address: `192.0.2.${n}`,
  mac: `02:00:00:00:00:0${n}`,
  generation: 1,
  place: 'x',
  ...more,
});
const seen = (...claims: [string, Claim | null][]): Seen => ({
  claims: claims.map(([subnet, one]) => ({ subnet, claim: one, modified: 1, lease: '1' })),
  rests: [],
  names: new Map(),
  refused: new Map(),
});

overlay('claims make peers: one per host, but none of what would be in the way', () => {
  const own = { pools: ['10.7.0.0/16', 'fd00:5::/48'], mine: ['10.7.1.0/24'], host: HOST };
  const { peers, refused } = peersOf(
    seen(
      ['10.7.1.0/24', claim(1)],
      ['10.7.2.0/24', claim(2)],
      ['fd00:5:0:2::/64', claim(2)],
      ['10.7.9.0/24', claim(2)],
      ['10.7.3.0/24', null],
      ['10.7.4.0/24', claim(4)],
      ['10.7.4.128/25', claim(5)],
      ['10.7.1.128/25', claim(6)],
      ['10.9.0.0/24', claim(7)],
      ['10.7.0.0/16', claim(8)],
      ['10.7.8.0/24', claim(9, { mac: claim(4).mac })],
    ),
    own,
  );
  const peer = (n: number, ...subnets: string[]) => {
    const { host, address, mac } = claim(n);
    return { host, address, mac, subnets };
  };
  assert.equal(peers, [peer(2, '10.7.2.0/24', 'fd00:5:0:2::/64'), peer(2, '10.7.9.0/24'), peer(4, '10.7.4.0/24')]);
  assert.equal(Object.fromEntries(refused), {
    '10.7.0.0/16': 'is in no pool of this network',
    '10.7.1.128/25': 'overlaps 10.7.1.0/24',
    '10.7.4.128/25': 'overlaps 10.7.4.0/24',
    '10.7.8.0/24': 'has the MAC 02:00:00:00:00:04 of 192.0.2.4',
    '10.9.0.0/24': 'is in no pool of this network',
  });
});

overlay('a pool is in the way of other networks as a whole', () => {
  const other = { name: 'a', subnets: [{ subnet: '10.7.1.0/24' }], overlay: sharedOf({ pools: ['10.7.0.0/16'] }) };
  const networks = [other] as unknown as NetworkDefinition[];
  assert.equal(occupied(networks[0]!), ['10.7.1.0/24', '10.7.0.0/16']);
  assert.is(
    messageOf(poolInTheWay({ name: 'b', pools: ['10.7.200.0/22'] }, networks)),
    'pool 10.7.200.0/22 overlaps with 10.7.0.0/16 of network a',
  );
  assert.is(poolInTheWay({ name: 'b', pools: ['10.8.0.0/16'] }, networks), null);
  assert.is(poolInTheWay({ name: 'a', pools: ['10.7.0.0/16'] }, networks), null);
});

overlay('names of other hosts are in the zones that this host has, with addresses of their shares', () => {
  const entry: NameEntry = {
    network: 'web',
    internal: false,
    listen: ['10.7.1.1'],
    servers: [],
    addresses: ['10.7.1.2'],
    names: ['one'],
    netns: '/n',
  };
  const all = seen(['10.7.2.0/24', claim(2)], ['10.7.1.0/24', claim(1)]);
  const put = (n: number, id: string, addresses: string[]) =>
    all.names.set(`${n}/${id}`, { host: String(n).repeat(32), names: { id, addresses, names: [id] } });
  put(2, 'two', ['10.7.2.5', '10.7.9.9']);
  put(2, 'bad', ['10.7.9.9']);
  put(1, 'own', ['10.7.1.7']);
  put(3, 'gone', ['10.7.3.7']);
  const remote = remoteNames(all, HOST);
  assert.equal(remote, [{ owner: `two@${'2'.repeat(12)}`, addresses: ['10.7.2.5'], names: ['two'] }]);
  const [zone, ...more] = zonesOf({ 'one:1': [entry] }, { web: remote, other: remote });
  assert.equal(more, []);
  assert.equal(
    zone?.entries.map(({ owner }) => owner),
    ['one:1', `two@${'2'.repeat(12)}`],
  );
  assert.equal(zonesOf({}, { web: remote }), []);
});

overlay('the MAC of a VTEP is the same as long as network and host are', () => {
  assert.is(vtepMac(ID, HOST), vtepMac(ID, HOST));
  assert.is.not(vtepMac(ID, HOST), vtepMac(ID, '2'.repeat(32)));
  assert.match(vtepMac(ID, HOST), /^02(:[0-9a-f]{2}){5}$/);
});

overlay.run();
