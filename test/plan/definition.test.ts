/**
 * A whole definition as it is made and as it is changed, the lease under a changed definition, and what counts as a
 * change at all.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { hostRange, overlaps, parseSubnet } from '../../plan/addresses/address.ts';
import { follows, grantLease, NO_LEASES, reviseLease, reviseLeases, type Grant } from '../../plan/networks/lease.ts';
import { automaticMac } from '../../plan/addresses/mac.ts';
import { knownInside, knownOutside, PERMANENT } from '../../plan/addresses/neighbours.ts';
import { planUpdate } from '../../plan/networks/network-update.ts';
import { planNetwork } from '../../plan/networks/network.ts';
import { countedSince, isWorthCounting, shareLimit } from '../../plan/kernel/share.ts';
import { firstFree, uniqueLocals } from '../../plan/addresses/subnet-pools.ts';
import { onBridge, rememberedBridge } from '../../plan/networks/unmanaged.ts';
import type { Lease } from '../../state/container.ts';
import type { NetworkDefinition, NetworkRequest, NetworkUpdate } from '../../state/network.ts';
import { definition, leaseOf } from '../harness/fixtures.ts';

const AROUND = {
  routes: [],
  pools: [],
  links: [],
  defaultLink: null,
  networks: [],
  bridgePrefix: 'cleat',
  resolver: true,
  id: 'a'.repeat(64),
  now: '2025-01-01T00:00:00.000Z',
};
const WEB = definition('web', '10.89.0.0/24', '10.89.0.1');
const plan = suite('plan of definitions');

plan('a new definition has everything that was requested, and defaults for the rest', () => {
  const made = (request: Partial<NetworkRequest>, around = AROUND) => {
    const answer = planNetwork({ name: 'new', ...request }, around);
    if ('fault' in answer) throw new Error(answer.fault.message);
    return answer.definition;
  };
  const usual: NetworkDefinition = {
    name: 'new',
    id: AROUND.id,
    driver: 'bridge',
    network_interface: 'cleat0',
    created: AROUND.now,
    subnets: [{ subnet: '10.89.0.0/24', gateway: '10.89.0.1' }],
    routes: [],
    network_dns_servers: [],
    ipv6_enabled: false,
    internal: false,
    dns_enabled: true,
    labels: {},
    options: {},
    ipam_options: { driver: 'host-local' },
  };
  assert.equal(made({}), usual);
  const subnets = [
    { subnet: '10.5.0.0/16', gateway: '10.5.0.9', lease_range: { start_ip: '10.5.1.0', end_ip: '10.5.1.9' } },
    { subnet: 'fd05::/64', gateway: 'fd05::9' },
  ];
  const asked: Partial<NetworkRequest> = {
    network_interface: 'br7',
    subnets,
    routes: [{ destination: '192.0.2.0/24', gateway: '10.5.0.7' }],
    network_dns_servers: ['192.0.2.53'],
    ipv6_enabled: true,
    internal: true,
    dns_enabled: false,
    labels: { a: 'b' },
    options: { mtu: '1400' },
  };
  assert.equal(made(asked), { ...usual, ...asked });
  assert.is(made({}, { ...AROUND, resolver: false }).dns_enabled, false);
  assert.equal(made({ ipv6_enabled: true }).subnets.length, 2);
  // A choice for one family is no reason to choose for it again.
  const six = { ipv6_enabled: true, subnets: [{ subnet: 'fd05::/64' }] };
  assert.equal(made(six).subnets, [{ subnet: 'fd05::/64', gateway: 'fd05::1' }]);
  const families = (request: Partial<NetworkRequest>) =>
    made(request).subnets.map(({ subnet }) => (subnet.includes(':') ? 6 : 4));
  assert.equal(families({ ...six, ipv4_enabled: true }), [6, 4]);
  assert.equal(families({ ...six, ipv4_enabled: false }), [6]);
  assert.equal(families({ ipv4_enabled: false, ipv6_enabled: true }), [6]);
  assert.equal(families({ ipv4_enabled: true, subnets: [{ subnet: '10.5.0.0/24' }] }), [4]);
});

const updated = (update: NetworkUpdate, from = WEB) => {
  const answer = planUpdate(from, update, {
    networks: [from],
    routes: [{ subnet: '10.91.0.0/16', of: 'the LAN' }],
    pools: [],
  });
  if ('fault' in answer) throw new Error(answer.fault.message);
  return answer;
};

plan('a change in anything that can change makes a new definition, otherwise the object stays the same', () => {
  const full: NetworkDefinition = {
    ...WEB,
    subnets: [{ ...WEB.subnets[0]!, lease_range: { start_ip: '10.89.0.8', end_ip: '10.89.0.9' } }],
    options: { mtu: '1400', metric: '7' },
    network_dns_servers: ['192.0.2.53'],
    routes: [{ destination: '192.0.2.0/24', gateway: '10.89.0.9' }],
  };
  const range = (start_ip: string, end_ip: string) => ({
    subnets: [{ subnet: '10.89.0.0/24', lease_range: { start_ip, end_ip } }],
  });
  const same: NetworkUpdate[] = [
    {},
    { options: { metric: '7', mtu: '1400' } },
    { options: { metric: '7' } },
    range('10.89.0.8', '10.89.0.9'),
    { network_dns_servers: ['192.0.2.53'] },
    { ipv6_enabled: false },
  ];
  for (const update of same) assert.is(updated(update, full).definition, full, JSON.stringify(update));
  const different: NetworkUpdate[] = [
    { options: { metric: '8' } },
    { options: { metric: null } },
    range('10.89.0.7', '10.89.0.9'),
    range('10.89.0.8', '10.89.0.10'),
    { network_dns_servers: ['192.0.2.54'] },
    { network_dns_servers: [] },
    { routes: [] },
    { subnets: [{ subnet: '10.89.0.0/24', gateway: '10.89.0.2' }] },
  ];
  for (const update of different) assert.is.not(updated(update, full).definition, full, JSON.stringify(update));
  // An option that is named without a value does not count as named.
  assert.is(updated({ options: { mtu: undefined } }, full).definition, full);
});

plan('a changed definition keeps the order of subnets, and new ones give a warning', () => {
  const two = updated({ subnets: [{ subnet: '10.91.0.0/24' }, { subnet: '10.92.0.0/24' }] });
  assert.equal(
    two.definition.subnets.map(({ subnet }) => subnet),
    ['10.89.0.0/24', '10.91.0.0/24', '10.92.0.0/24'],
  );
  assert.is(two.warnings.length, 1);
  const again = updated({ subnets: [{ subnet: '10.91.0.0/24', gateway: '10.91.0.9' }] }, two.definition);
  assert.equal(
    again.definition.subnets.map(({ gateway }) => gateway),
    ['10.89.0.1', '10.91.0.9', '10.92.0.1'],
  );
  assert.equal(again.warnings, []);
  const both = updated({ ipv6_enabled: true }).definition;
  assert.equal(updated({ ipv6_enabled: false, remove_subnets: [] }, both).definition.subnets, WEB.subnets);
  assert.is(updated({ ipv6_enabled: true, subnets: [] }, both).definition, both);
  const more = updated({ subnets: [{ subnet: '10.93.0.0/24' }] }, both).definition;
  assert.is(more.subnets.length, 3);
});

const leased = (grant: Grant): Lease => {
  if ('fault' in grant) throw new Error(grant.fault.message);
  return grant.lease;
};
const TWO: NetworkDefinition = { ...WEB, subnets: [...WEB.subnets, { subnet: 'fd00:9::/80', gateway: 'fd00:9::1' }] };

plan('under a changed definition, fitting addresses stay, others are chosen in turn, gateways follow', () => {
  const lease = leased(grantLease(WEB, NO_LEASES, {}, 'c:1', { static_ips: ['10.89.0.7'] }));
  const cursors = { 'fd00:9::/80': 'fd00:9::5', other: '192.0.2.1' };
  const grant = reviseLease(TWO, lease, new Map([['c:1', lease]]), cursors);
  assert.equal('cursors' in grant && grant.cursors, { 'fd00:9::/80': 'fd00:9::6', other: '192.0.2.1' });
  assert.equal(leased(grant).addresses, [
    { address: '10.89.0.7', prefix: 24, gateway: '10.89.0.1' },
    { address: 'fd00:9::6', prefix: 80, gateway: 'fd00:9::1' },
  ]);
  assert.equal(leased(reviseLease(TWO, lease, NO_LEASES)).addresses[1]?.address, 'fd00:9::2');
  const inner = leased(reviseLease({ ...TWO, internal: true }, lease, NO_LEASES));
  assert.equal(
    inner.addresses.map(({ gateway }) => gateway),
    [null, null],
  );
  // As network, gateway or broadcast address of the new subnet it cannot stay.
  for (const [subnet, gateway] of [
    ['10.89.0.7/32', '10.89.0.7'],
    ['10.89.0.0/29', '10.89.0.1'],
    ['10.89.0.0/24', '10.89.0.7'],
  ] as const) {
    const kept = reviseLease(definition('web', subnet, gateway), lease, NO_LEASES);
    assert.not('lease' in kept && kept.lease.addresses.some(({ address }) => address === '10.89.0.7'), subnet);
  }
});

plan('under a changed definition each lease gets its own addresses in turn, and cursors advance', () => {
  const leases = new Map([
    ['a:1', leased(grantLease(WEB, NO_LEASES, {}, 'a:1', {}))],
    ['b:1', { ...leaseOf('web'), addresses: [] }],
  ]);
  const answer = reviseLeases(TWO, leases, { other: '192.0.2.1' });
  if ('fault' in answer) throw new Error(answer.fault.message);
  const later = reviseLeases(
    WEB,
    new Map([
      ['a:1', { ...leaseOf('web'), addresses: [] }],
      ['b:1', leases.get('a:1')!],
    ]),
    {},
  );
  assert.equal(
    'leases' in later && later.leases.get('a:1')?.addresses[0]?.address,
    '10.89.0.3',
    'what is held is not given',
  );
  const of = (owner: string) => answer.leases.get(owner)?.addresses.map(({ address }) => address);
  assert.equal(
    [of('a:1'), of('b:1')],
    [
      ['10.89.0.2', 'fd00:9::2'],
      ['10.89.0.3', 'fd00:9::3'],
    ],
  );
  assert.equal(answer.cursors, { other: '192.0.2.1', '10.89.0.0/24': '10.89.0.3', 'fd00:9::/80': 'fd00:9::3' });
});

plan('a lease follows another one in everything but MAC and metric', () => {
  const lease: Lease = {
    ...leaseOf('web'),
    routes: [{ destination: '192.0.2.0', prefix: 24, gateway: '10.89.0.9', metric: null }],
    dns: { listen: ['10.89.0.1'], servers: [] },
  };
  const [address, route] = [lease.addresses[0]!, lease.routes[0]!];
  assert.ok(follows(lease, { ...lease, mac: '02:00:00:00:00:ff', defaultMetric: 7 }));
  assert.ok(follows({ ...lease, dns: null }, { ...lease, dns: null }));
  const others: Partial<Lease>[] = [
    { mtu: 1400 },
    { addresses: [] },
    { addresses: [{ ...address, address: '10.89.0.3' }] },
    { addresses: [{ ...address, prefix: 25 }] },
    { addresses: [{ ...address, gateway: null }] },
    { routes: [] },
    { routes: [{ ...route, destination: '192.0.3.0' }] },
    { routes: [{ ...route, prefix: 25 }] },
    { routes: [{ ...route, gateway: '10.89.0.8' }] },
    { routes: [{ ...route, metric: 7 }] },
    { dns: null },
    { dns: { listen: ['10.89.0.2'], servers: [] } },
    { dns: { listen: ['10.89.0.1'], servers: ['192.0.2.53'] } },
  ];
  for (const more of others) {
    assert.not(follows(lease, { ...lease, ...more }), JSON.stringify(more));
    assert.not(follows({ ...lease, ...more }, lease), JSON.stringify(more));
  }
});

plan('free addresses are found in a range as wide as the subnet, past its end and past taken ones', () => {
  const free = (cursor: string | undefined, taken: string[], lease_range?: object, own: string[] = []) => {
    const network = {
      ...WEB,
      subnets: [{ subnet: '10.89.0.0/29', gateway: '10.89.0.1', ...(lease_range && { lease_range }) }],
      own,
    };
    const leases = new Map(
      taken.map((address, i) => [
        `t${i}:1`,
        { ...leaseOf('web'), addresses: [{ address, prefix: 29, gateway: null }] },
      ]),
    );
    const cursors: Record<string, string> = cursor === undefined ? {} : { '10.89.0.0/29': cursor };
    const grant = grantLease(network, leases, cursors, 'c:1', {});
    return 'fault' in grant ? grant.fault.code : grant.lease.addresses[0]?.address;
  };
  const all = [2, 3, 4, 5, 6].map((n) => `10.89.0.${n}`);
  assert.is(free(undefined, []), '10.89.0.2');
  assert.is(free('10.89.0.3', []), '10.89.0.4');
  assert.is(free('10.89.0.6', []), '10.89.0.2', 'round the end');
  assert.is(free('10.89.0.5', ['10.89.0.6']), '10.89.0.2');
  for (const last of all) {
    const others = all.filter((address) => address !== last);
    for (const cursor of [undefined, ...all]) assert.is(free(cursor, others), last, `${last} after ${cursor}`);
  }
  assert.is(free(undefined, all), 'SUBNET_FULL');
  assert.is(free(undefined, [], undefined, all), 'SUBNET_FULL');
  assert.is(free(undefined, [], undefined, all.slice(0, -1)), '10.89.0.6');
  const range = { start_ip: '10.89.0.4', end_ip: '10.89.0.5' };
  assert.equal(
    [free(undefined, [], range), free('10.89.0.4', [], range), free('10.89.0.5', [], range)],
    ['10.89.0.4', '10.89.0.5', '10.89.0.4'],
  );
  assert.equal(
    [free('10.89.0.2', [], range), free('10.89.0.6', [], range)],
    ['10.89.0.4', '10.89.0.4'],
    'a cursor of before the range',
  );
  const whole = { start_ip: '10.89.0.0', end_ip: '10.89.0.7' };
  assert.equal([free(undefined, [], whole), free('10.89.0.6', [], whole)], ['10.89.0.2', '10.89.0.2']);
  assert.is(free(undefined, ['10.89.0.4', '10.89.0.5'], range), 'SUBNET_FULL');
  const elsewhere = { ...WEB, subnets: [{ subnet: '10.89.0.0/29', gateway: '10.89.0.6' }] };
  assert.is(leased(grantLease(elsewhere, NO_LEASES, {}, 'c:1', {})).addresses[0]?.address, '10.89.0.1');
});

plan('automatic MACs are made of owner and network, and a MAC in use is replaced by the next', () => {
  // The values must never change, or a container would have another MAC after an upgrade. FNV-1a of 64 bits is
  // cbf29ce484222325 of nothing, af63dc4c8601ec8c of "a" and af63df4c8601f1a5 of "b" (draft-eastlake-fnv, test
  // vectors).
  const known = {
    b: '02:4c:29:62:2e:e9',
    '': '02:e4:4f:d0:bf:c1',
    a: '02:4c:29:62:30:c0',
    'web:1/id': '02:bd:c8:35:3b:d5',
  };
  for (const [seed, mac] of Object.entries(known)) {
    const first = automaticMac(seed, new Set());
    assert.is(first, mac);
    const next = automaticMac(seed, new Set([first]));
    const number = (mac: string) => BigInt(`0x${mac.replaceAll(':', '').slice(2)}`);
    assert.is(number(next), (number(first) + 1n) & 0xff_ffff_ffffn, seed);
  }
});

plan('the automatic MAC of a container depends on its owner and its network', () => {
  const mac = (owner: string, network: NetworkDefinition) => leased(grantLease(network, NO_LEASES, {}, owner, {})).mac;
  assert.is(mac('c:1', WEB), automaticMac(`c:1/${WEB.id}`, new Set()));
  const macs = [mac('c:1', WEB), mac('d:1', WEB), mac('c:1', { ...WEB, id: 'f'.repeat(64) })];
  assert.is(new Set(macs).size, 3);
});

plan('subnets are cut from pools without a gap, and in their own family', () => {
  const used = (...cidrs: string[]) => cidrs.map(parseSubnet);
  const pool = [{ base: '10.0.0.0/22', size: 24 }];
  assert.is(firstFree(pool, []), '10.0.0.0/24');
  assert.is(firstFree(pool, used('10.0.0.0/24')), '10.0.1.0/24');
  assert.is(firstFree(pool, used('10.0.1.0/24')), '10.0.0.0/24');
  assert.is(firstFree(pool, used('10.0.0.255/32')), '10.0.1.0/24');
  assert.is(firstFree(pool, used('10.0.1.0/32', '10.0.0.0/32')), '10.0.2.0/24');
  assert.is(firstFree(pool, used('9.0.0.0/8', '10.0.0.0/23', '10.0.3.0/24')), '10.0.2.0/24');
  assert.is(firstFree(pool, used('10.0.0.0/23', '10.0.2.0/23')), null);
  assert.is(firstFree(pool, used('10.0.0.0/24', '10.0.1.0/24', '10.0.2.0/24')), '10.0.3.0/24');
  assert.is(firstFree(pool, used('::a00:0/112')), '10.0.0.0/24', 'the same number in the other family');
  assert.is(firstFree([{ base: 'fd00::/126', size: 127 }], used('fd00::/127')), 'fd00::2/127');
  assert.is(firstFree([...pool, { base: '10.1.0.0/24', size: 24 }], used('10.0.0.0/22')), '10.1.0.0/24');
  const id = '0123456789abcdef'.repeat(4);
  assert.equal(uniqueLocals(id), [
    'fd01:2345:6789::/64',
    'fdab:cdef:123::/64',
    'fd45:6789:abcd::/64',
    'fdef:123:4567::/64',
    'fd89:abcd:ef01::/64',
    'fd23:4567:89ab::/64',
  ]);
});

plan('subnets that touch in one address overlap; a subnet of four has two hosts', () => {
  const of = (cidr: string) => parseSubnet(cidr);
  assert.ok(overlaps(of('10.0.0.0/24'), of('10.0.0.255/32')) && overlaps(of('10.0.0.255/32'), of('10.0.0.0/24')));
  assert.not(overlaps(of('10.0.0.0/24'), of('10.0.1.0/24')));
  const hosts = (cidr: string) => hostRange(of(cidr)).last - hostRange(of(cidr)).first + 1n;
  assert.equal(['10.0.0.0/30', '10.0.0.0/31', '10.0.0.0/32', 'fd00::/126', 'fd00::/127'].map(hosts), [
    2n,
    2n,
    1n,
    3n,
    2n,
  ]);
});

plan('known MACs are permanent neighbours, but not on a bridge of others', () => {
  const attachment = { ...leaseOf('web'), networkId: 'f'.repeat(64), mac: '02:00:00:00:00:0a', unmanaged: false };
  assert.is(PERMANENT, 0x80); // NUD_PERMANENT, linux/neighbour.h
  assert.is(knownOutside(attachment).length, 1);
  assert.is(knownInside(attachment).length, 1);
  assert.equal(knownInside({ ...attachment, addresses: [{ address: '10.89.0.2', prefix: 24, gateway: null }] }), []);
  assert.equal(
    [knownOutside({ ...attachment, unmanaged: true }), knownInside({ ...attachment, unmanaged: true })],
    [[], []],
  );
});

plan('a lease remembers a bridge of others, and addresses count in the subnet that contains them', () => {
  assert.equal(rememberedBridge(NO_LEASES), null);
  assert.equal(rememberedBridge(new Map([['a:1', leaseOf('web')]])), { mtu: 1500, addresses: [] });
  const dns = { listen: ['10.89.0.7'], servers: [] };
  assert.equal(rememberedBridge(new Map([['a:1', { ...leaseOf('web'), mtu: 1400, dns }]])), {
    mtu: 1400,
    addresses: ['10.89.0.7'],
  });
  const lan = { ...TWO, options: { mode: 'unmanaged' as const } };
  assert.equal(onBridge(lan, { mtu: 1500, addresses: ['10.89.0.7', 'fd00:9::7', '192.0.2.1'] }).own, [
    '10.89.0.7',
    'fd00:9::7',
  ]);
  assert.equal(onBridge(lan, null).options, lan.options);
  const named = { ...lan, dns_enabled: true };
  assert.is(leased(grantLease(onBridge(named, { mtu: 1500, addresses: [] }), NO_LEASES, {}, 'c:1', {})).dns, null);
});

plan('shares of connection tracking are rounded down, and there is no count without a first one', () => {
  assert.equal([shareLimit(null, 7), shareLimit(null, 0)], [1, 1]);
  assert.is(shareLimit(null, 11), 2);
  assert.is(countedSince(null, 200, 100), null);
  assert.not(isWorthCounting(1000, 100, { t: 9000, entries: 1000, most: 80 }, 10_000));
});

plan.run();
