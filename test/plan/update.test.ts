/**
 * The plan of a change under containers: the definition that follows from the request, and each container's lease under
 * it. A change and its rollback give every container what it had.
 */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { contains, parseSubnet } from '../../plan/addresses/address.ts';
import { hasLease, planAttachments, revised } from '../../plan/containers/attachment.ts';
import { externalOf } from '../../plan/external/external.ts';
import {
  displaced,
  follows,
  grantLease,
  NO_LEASES,
  reviseLease,
  reviseLeases,
  type Leases,
} from '../../plan/networks/lease.ts';
import { planUpdate } from '../../plan/networks/network-update.ts';
import type { Attachment, ContainerContext, Lease } from '../../state/container.ts';
import { NetworkDefinition, type NetworkUpdate } from '../../state/network.ts';
import { containerInput, definition, externalLease } from '../harness/fixtures.ts';

const WEB = definition('web', '10.89.0.0/24', '10.89.0.1');
const BACK = definition('back', '10.90.0.0/24', '10.90.0.1');
const LAN = { subnet: '192.168.0.0/16', of: 'the LAN' };
const AROUND = { routes: [LAN], networks: [WEB, BACK], pools: [] };

const planned = (update: NetworkUpdate, from = WEB): NetworkDefinition => {
  const plan = planUpdate(from, update, AROUND);
  if ('fault' in plan) throw new Error(plan.fault.message);
  return plan.definition;
};
const refused = (update: NetworkUpdate, from = WEB): string => {
  const plan = planUpdate(from, update, AROUND);
  return 'fault' in plan ? plan.fault.code : 'planned';
};

const plan = suite('plan of updates');

plan('everything that is not named stays as it is', () => {
  const named = {
    ...WEB,
    options: { mtu: '1400', metric: '7' },
    routes: [{ destination: '192.0.2.0/24', gateway: '10.89.0.9' }],
  };
  const next = planned({ options: { isolate: 'false' } }, named);
  assert.equal(next, { ...named, options: { mtu: '1400', metric: '7', isolate: 'false' } });
});

plan('lists are replaced, subnets are added', () => {
  const next = planned({ network_dns_servers: ['192.0.2.53'], routes: [], subnets: [{ subnet: '10.91.0.0/24' }] });
  assert.equal(next.network_dns_servers, ['192.0.2.53']);
  assert.equal(next.routes, []);
  assert.equal(next.subnets, [...WEB.subnets, { subnet: '10.91.0.0/24', gateway: '10.91.0.1' }]);
  assert.is(next.ipv6_enabled, false);
  NetworkDefinition.parse(next);
});

plan('IPv6 comes with a generated subnet, or the one given, and once', () => {
  const next = planned({ ipv6_enabled: true });
  assert.is(next.ipv6_enabled, true);
  assert.match(next.subnets[1]?.subnet ?? '', /^fd.*\/64$/);
  assert.is(planned({ ipv6_enabled: true }, next), next);
  const given = planned({ ipv6_enabled: true, subnets: [{ subnet: 'fd00:9::/64' }] });
  assert.equal(
    given.subnets.map(({ subnet }) => subnet),
    ['10.89.0.0/24', 'fd00:9::/64'],
  );
});

plan('an update that changes nothing returns the same object', () => {
  assert.is(planned({}), WEB);
  assert.is(planned({ routes: [], network_dns_servers: [] }), WEB);
  assert.is(planned({ subnets: [{ subnet: '10.89.0.0/24' }] }), WEB);
  assert.is.not(planned({ options: { mtu: '1400' } }), WEB);
});

plan('an impossible update is refused', () => {
  assert.is(refused({ subnets: [{ subnet: '10.90.0.128/25' }] }), 'SUBNET_OVERLAPS');
  assert.is(refused({ subnets: [{ subnet: '10.91.0.0/24' }, { subnet: '10.91.0.0/25' }] }), 'SUBNET_OVERLAPS');
  assert.is(refused({ subnets: [{ subnet: '10.91.0.0/31' }] }), 'BAD_REQUEST');
  assert.is(refused({ subnets: [{ subnet: '10.91.0.0/24', gateway: '10.92.0.1' }] }), 'ADDRESS_OUTSIDE_SUBNET');
  assert.is(refused({ options: { mtu: '1000' }, ipv6_enabled: true }), 'BAD_REQUEST');
  assert.is(refused({ options: { mtu: '1000' } }), 'planned');
});

plan('a subnet, its gateway and its range can be added, changed and removed', () => {
  const ranged = planned({ subnets: [{ subnet: '10.89.0.0/24', lease_range: { start_ip: '10.89.0.9' } }] });
  assert.equal(ranged.subnets, [
    { subnet: '10.89.0.0/24', gateway: '10.89.0.1', lease_range: { start_ip: '10.89.0.9' } },
  ]);
  const moved = planned({ subnets: [{ subnet: '10.89.0.0/24', gateway: '10.89.0.254' }] }, ranged);
  assert.equal(moved.subnets, [
    { subnet: '10.89.0.0/24', gateway: '10.89.0.254', lease_range: { start_ip: '10.89.0.9' } },
  ]);
  const free = planned({ subnets: [{ subnet: '10.89.0.0/24', lease_range: null }] }, moved);
  assert.equal(free.subnets, [{ subnet: '10.89.0.0/24', gateway: '10.89.0.254' }]);
  const larger = planned({ remove_subnets: ['10.89.0.0/24'], subnets: [{ subnet: '10.88.0.0/15' }] });
  assert.equal(larger.subnets, [{ subnet: '10.88.0.0/15', gateway: '10.88.0.1' }]);
  const six = planned({ ipv6_enabled: true });
  assert.equal(planned({ ipv6_enabled: false }, six), WEB);
  assert.is(planned({ ipv6_enabled: false }), WEB);
});

plan('every option that can be set can be removed', () => {
  const set = {
    mtu: '1400',
    isolate: 'true',
    metric: '7',
    no_default_route: 'true',
    outbound_addr4: '192.0.2.9',
    outbound_addr6: '2001:db8::9',
    'com.docker.network.bridge.enable_ip_masquerade': 'true',
  } as const;
  const all = planned({ options: set });
  assert.equal(all.options, set);
  for (const key of Object.keys(set)) {
    const { [key as keyof typeof set]: _gone, ...left } = set;
    assert.equal(planned({ options: { [key]: null } }, all).options, left, key);
  }
  assert.is(planned({ options: { mtu: null } }), WEB);
});

plan('an impossible change of a subnet is refused', () => {
  const web = '10.89.0.0/24';
  const cases: [update: NetworkUpdate, code: string][] = [
    [{ remove_subnets: [web] }, 'BAD_REQUEST'],
    [{ remove_subnets: ['10.1.0.0/24'] }, 'BAD_REQUEST'],
    [{ options: { outbound_addr4: '127.0.0.1' } }, 'BAD_REQUEST'],
    [
      { options: { outbound_addr4: '192.0.2.9', 'com.docker.network.bridge.enable_ip_masquerade': '0' } },
      'BAD_REQUEST',
    ],
    [{ ipv6_enabled: false, subnets: [{ subnet: 'fd00:9::/64' }] }, 'BAD_REQUEST'],
    [{ subnets: [{ subnet: web, gateway: '10.90.0.1' }] }, 'ADDRESS_OUTSIDE_SUBNET'],
    [{ subnets: [{ subnet: web, gateway: 'fd00::1' }] }, 'ADDRESS_OUTSIDE_SUBNET'],
    [
      { subnets: [{ subnet: web, lease_range: { start_ip: '10.89.0.9', end_ip: '10.89.1.9' } }] },
      'ADDRESS_OUTSIDE_SUBNET',
    ],
    [{ subnets: [{ subnet: web, lease_range: { start_ip: '10.89.0.1', end_ip: '10.89.0.1' } }] }, 'BAD_REQUEST'],
    [{ subnets: [{ subnet: '10.89.0.0/23' }] }, 'SUBNET_OVERLAPS'],
    // An error in the subnet itself comes before its present owner.
    [{ subnets: [{ subnet: '10.90.0.0/24', gateway: '10.91.0.1' }] }, 'ADDRESS_OUTSIDE_SUBNET'],
  ];
  for (const [update, code] of cases) assert.is(refused(update), code, JSON.stringify(update));
});

plan('a named subnet that the host has a route to is added, with a warning', () => {
  const answer = planUpdate(WEB, { subnets: [{ subnet: '192.168.7.0/24' }] }, AROUND);
  assert.match(('warnings' in answer && answer.warnings[0]) || '', /^subnet 192\.168\.7\.0\/24 overlaps with the LAN/);
  const again = planUpdate(planned({ subnets: [{ subnet: '192.168.7.0/24' }] }), { options: { mtu: '1400' } }, AROUND);
  assert.equal('warnings' in again && again.warnings, []);
});

/** Containers of WEB, some with requested addresses. */
function leasesOf(n: number): Leases {
  const leases = new Map<string, Lease>();
  let cursors = {};
  for (let i = 0; i < n; i++) {
    const options = i % 3 === 0 ? { static_ips: [`10.89.0.${200 - i}`] } : {};
    const grant = grantLease(WEB, leases, cursors, `c${i}:1`, options);
    if ('fault' in grant) throw new Error(grant.fault.message);
    leases.set(`c${i}:1`, grant.lease);
    ({ cursors } = grant);
  }
  return leases;
}

plan('each container keeps its addresses, gets one in each new subnet, and loses it on rollback', () => {
  const updates: fc.Arbitrary<NetworkUpdate> = fc.record(
    {
      options: fc.constantFrom({ mtu: '1400' }, { isolate: 'true' as const }),
      network_dns_servers: fc.constantFrom([], ['192.0.2.53']),
      routes: fc.constantFrom([{ destination: '198.51.100.0/24', gateway: '10.89.0.9' }]),
      subnets: fc.constantFrom([{ subnet: '10.91.0.0/24' }], [{ subnet: '10.91.0.0/24' }, { subnet: 'fd00:91::/64' }]),
      ipv6_enabled: fc.constant(true as const),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(updates, fc.integer({ min: 1, max: 40 }), (update, n) => {
      const leases = leasesOf(n);
      const next = planned(update);
      const there = reviseLeases(next, leases, {});
      if ('fault' in there) throw new Error(there.fault.message);
      const all = [...there.leases.values()].flatMap(({ addresses }) => addresses.map(({ address }) => address));
      assert.is(new Set(all).size, all.length);
      for (const [owner, { addresses, mtu }] of there.leases) {
        assert.is(addresses[0]?.address, leases.get(owner)?.addresses[0]?.address);
        assert.is(mtu, next.options.mtu === undefined ? null : Number(next.options.mtu));
        next.subnets.forEach(({ subnet, gateway }, i) => {
          assert.ok(contains(parseSubnet(subnet), addresses[i]?.address ?? ''));
          assert.is.not(addresses[i]?.address, gateway);
        });
      }
      const again = reviseLeases(WEB, there.leases, there.cursors);
      if ('fault' in again) throw new Error(again.fault.message);
      assert.equal(again.leases, leases);
    }),
    { numRuns: 50 },
  );
});

plan('a container that would lose an address is named, one that keeps it under another prefix is not', () => {
  const leases = leasesOf(7);
  const why = (update: NetworkUpdate) => displaced(planned(update), leases);
  const swapped = why({ remove_subnets: ['10.89.0.0/24'], subnets: [{ subnet: '10.91.0.0/24' }] });
  assert.is(swapped?.code, 'NETWORK_UPDATE_FAILED');
  assert.match(swapped?.message ?? '', /from c0 \(10\.89\.0\.200\), c1 \(10\.89\.0\.2\), .* and 2 more$/);
  const taken = why({ subnets: [{ subnet: '10.89.0.0/24', gateway: '10.89.0.3' }] });
  assert.match(taken?.message ?? '', /from c2 \(10\.89\.0\.3\)$/);
  assert.is(why({ subnets: [{ subnet: '10.89.0.0/24', gateway: '10.89.0.254' }] }), null);
  assert.is(why({ remove_subnets: ['10.89.0.0/24'], subnets: [{ subnet: '10.89.0.0/16' }] }), null);
  // 10.89.0.200 is outside, 10.89.0.127 would be the broadcast address.
  assert.match(
    why({ remove_subnets: ['10.89.0.0/24'], subnets: [{ subnet: '10.89.0.0/25' }] })?.message ?? '',
    /from c0 \(10\.89\.0\.200\), c3 /,
  );
  const one = new Map([
    [
      'x:1',
      { ...(leases.get('c1:1') as Lease), addresses: [{ address: '10.89.0.127', prefix: 24, gateway: '10.89.0.1' }] },
    ],
  ]);
  assert.match(
    displaced(planned({ remove_subnets: ['10.89.0.0/24'], subnets: [{ subnet: '10.89.0.0/25' }] }), one)?.message ?? '',
    /x \(/,
  );
});

plan('an address that has become the gateway is not kept on rollback', () => {
  const moved = planned({ subnets: [{ subnet: '10.89.0.0/24', gateway: '10.89.0.254' }] });
  const grant = grantLease(moved, NO_LEASES, {}, 'x:1', { static_ips: ['10.89.0.1'] });
  if ('fault' in grant) throw new Error(grant.fault.message);
  const back = reviseLease(WEB, grant.lease, new Map([['x:1', grant.lease]]));
  assert.is('lease' in back && back.lease.addresses[0]?.address, '10.89.0.2');
});

plan('metric: it is chosen again when the network has another, else left alone', () => {
  const attach = (network: NetworkDefinition, before: Attachment[], metric = 100): Attachment[] => {
    const grant = grantLease({ ...network, options: { metric: String(metric) } }, NO_LEASES, {}, 'c:1', {});
    if ('fault' in grant) throw new Error(grant.fault.message);
    const container = { ...containerInput(), attachments: before, nextOrdinal: before.length };
    const answer = planAttachments(container as unknown as ContainerContext, [grant.lease], {}, []);
    if ('fault' in answer) throw new Error(answer.fault.message);
    return answer.attachments;
  };
  const two = attach(BACK, attach(WEB, []));
  const metrics = (all: readonly Attachment[]) => all.map(({ defaultMetric }) => defaultMetric);
  assert.equal(metrics(two), [100, 101]);
  const lease = (options: NetworkDefinition['options'], network = WEB): Lease => {
    const grant = grantLease({ ...network, options }, NO_LEASES, {}, 'c:1', {});
    if ('fault' in grant) throw new Error(grant.fault.message);
    return grant.lease;
  };
  const there = revised(two, lease({ metric: '500' }), true);
  assert.equal(metrics(there), [500, 101]);
  assert.not(hasLease(two, lease({ metric: '500' }), true));
  assert.ok(hasLease(there, lease({ metric: '500' }), true));
  assert.equal(metrics(revised(there, lease({}), true)), [100, 101]);
  assert.equal(metrics(revised(two, lease({ no_default_route: 'true' }), true)), [null, 101]);
  // 101 was chosen beside another network: it stays although 100 is free now.
  const alone = two.slice(1);
  assert.equal(metrics(revised(alone, lease({ mtu: '1400' }, BACK), false)), [101]);
  assert.ok(hasLease(alone, lease({}, BACK), false));
});

plan('metric: that which a program of others was asked for stays, also when a lower one is free', () => {
  const { terms, ...lease } = externalLease('web');
  const container = containerInput();
  const external = externalOf(container, terms!, {});
  const attachment = { ...lease, external, gatewayPriority: 0, defaultMetric: 101 } as Attachment;
  assert.equal(revised([attachment], { ...lease, defaultMetric: 100 }, true), [attachment]);
  assert.ok(hasLease([attachment], { ...lease, defaultMetric: 100 }, true));
});

plan('metric: the order of gateway priorities holds under another metric, or the metric stays', () => {
  const grant = grantLease({ ...WEB, options: { metric: '500' } }, NO_LEASES, {}, 'c:1', {});
  if ('fault' in grant) throw new Error(grant.fault.message);
  const beside = (network: string, gatewayPriority: number, defaultMetric: number) =>
    ({ ...grant.lease, network, gatewayPriority, defaultMetric }) as Attachment;
  const metrics = (...all: Attachment[]) => revised(all, grant.lease, true).map(({ defaultMetric }) => defaultMetric);
  assert.equal(metrics(beside('web', 10, 90), beside('back', 0, 100)), [90, 100]);
  assert.equal(metrics(beside('web', -10, 110), beside('back', 0, 100)), [500, 100]);
  // 2 is the last one free between 1 and 5.
  const crowd = [beside('a', 2, 1), beside('web', 1, 2), beside('c', 1, 3), beside('d', 1, 4), beside('e', 0, 5)];
  assert.equal(metrics(...crowd), [1, 2, 3, 4, 5]);
});

plan('an address that is kept keeps the length of its subnet, in both families', () => {
  const lengths = (definition: NetworkDefinition, lease: Lease) => {
    const grant = reviseLease(definition, lease, new Map([['c:1', lease]]));
    if ('fault' in grant) throw new Error(grant.fault.message);
    return grant.lease.addresses.map(({ address, prefix }) => `${address}/${prefix}`);
  };
  const network = { ...WEB, subnets: [...WEB.subnets, { subnet: 'fd00:9::/80', gateway: 'fd00:9::1' }] };
  const grant = grantLease(network, NO_LEASES, {}, 'c:1', {});
  if ('fault' in grant) throw new Error(grant.fault.message);
  assert.equal(lengths(network, grant.lease), ['10.89.0.2/24', 'fd00:9::2/80']);
  // Without the subnets, and back: new addresses have the length of their subnet too.
  const none = { ...grant.lease, addresses: [] };
  assert.equal(lengths(network, none), ['10.89.0.2/24', 'fd00:9::2/80']);
});

plan('a lease follows when nothing that can change is different', () => {
  const lease = [...leasesOf(1).values()][0] as Lease;
  const under = (update: NetworkUpdate): Lease => {
    const grant = reviseLease(planned(update), lease, NO_LEASES);
    if ('fault' in grant) throw new Error(grant.fault.message);
    return grant.lease;
  };
  assert.ok(follows({ ...lease, mac: '02:00:00:00:00:01', defaultMetric: 101 }, lease));
  assert.ok(follows(lease, under({ options: { isolate: 'false' } })));
  assert.not(follows(lease, under({ options: { mtu: '1400' } })));
  assert.not(follows(lease, under({ ipv6_enabled: true })));
  assert.not(follows(lease, under({ routes: [{ destination: '192.0.2.0/24', gateway: '10.89.0.9' }] })));
});

plan('a refused address has the true reason first, a full range last', () => {
  const small = planned({
    subnets: [{ subnet: '10.89.0.0/24', lease_range: { start_ip: '10.89.0.5', end_ip: '10.89.0.5' } }],
  });
  const full = grantLease(small, NO_LEASES, {}, 'c:1', {});
  if ('fault' in full) throw new Error(full.fault.message);
  const leases = new Map([['c:1', { ...full.lease, mac: '02:00:00:00:00:01' }]]);
  const why = (static_ips: string[], static_mac?: string) => {
    const options = { static_ips, ...(static_mac === undefined ? {} : { static_mac }) };
    const grant = grantLease(small, leases, full.cursors, 'd:1', options);
    return 'fault' in grant ? `${grant.fault.code}: ${grant.fault.message}` : 'granted';
  };
  assert.match(why([]), /^SUBNET_FULL: no free address in the range 10\.89\.0\.5-10\.89\.0\.5 of 10\.89\.0\.0\/24/);
  assert.match(why(['10.90.0.5']), /^ADDRESS_OUTSIDE_SUBNET: .*10\.90\.0\.5.*\(10\.89\.0\.0\/24\)/);
  assert.match(why(['fd00::5']), /^ADDRESS_OUTSIDE_SUBNET: .*fd00::5/);
  assert.match(why(['10.89.0.5', '10.90.0.5']), /^ADDRESS_OUTSIDE_SUBNET: .*10\.90\.0\.5/);
  assert.match(why(['10.90.0.5'], '02:00:00:00:00:01'), /^ADDRESS_OUTSIDE_SUBNET/);
  assert.match(why(['10.89.0.1']), /^ADDRESS_TAKEN: .* is the gateway address of/);
  assert.match(why(['10.89.0.0']), /^ADDRESS_TAKEN: .* is the network address of/);
  assert.match(why(['10.89.0.255']), /^ADDRESS_TAKEN: .* is the broadcast address of/);
  assert.match(why(['10.89.0.5']), /^ADDRESS_TAKEN: .* in use by c on web/);
  assert.is(why(['10.89.0.6']), 'granted');
});

plan('a subnet that is too small for all of them is refused', () => {
  const small = planned({ subnets: [{ subnet: '10.91.0.0/30' }] });
  assert.is('leases' in reviseLeases(small, leasesOf(1), {}), true);
  const full = reviseLeases(small, leasesOf(2), {});
  assert.is('fault' in full && full.fault.code, 'SUBNET_FULL');
});

plan.run();
