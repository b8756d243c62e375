/**
 * The planning of a change under containers: the definition that follows from what is asked for, and each one's lease
 * under it. Going there and back again gives everybody what they had.
 */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { contains, parseSubnet } from '../../machines/plan/address.ts';
import { follows, grantLease, reviseLease, reviseLeases, type Leases } from '../../machines/plan/lease.ts';
import { planUpdate } from '../../machines/plan/network-update.ts';
import type { Lease } from '../../state/container.ts';
import { NetworkDefinition, type NetworkUpdate } from '../../state/network.ts';
import { definition } from '../harness/fixtures.ts';

const WEB = definition('web', '10.89.0.0/24', '10.89.0.1');
const BACK = definition('back', '10.90.0.0/24', '10.90.0.1');
const AROUND = { routes: ['192.168.0.0/16', '0.0.0.0/0'], networks: [WEB, BACK] };

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

plan('what is not named stays as it is', () => {
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

plan('IPv6 comes with a subnet of the network’s own, or the one given, and once', () => {
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

plan('what changes nothing is the same object', () => {
  assert.is(planned({}), WEB);
  assert.is(planned({ routes: [], network_dns_servers: [] }), WEB);
  assert.is(planned({ subnets: [{ subnet: '10.89.0.0/24' }] }), WEB);
  assert.is.not(planned({ options: { mtu: '1400' } }), WEB);
});

plan('what is not possible is refused', () => {
  assert.is(refused({ subnets: [{ subnet: '10.90.0.128/25' }] }), 'SUBNET_OVERLAPS');
  assert.is(refused({ subnets: [{ subnet: '10.89.0.0/24', gateway: '10.89.0.7' }] }), 'SUBNET_OVERLAPS');
  assert.is(refused({ subnets: [{ subnet: '192.168.7.0/24' }] }), 'SUBNET_OVERLAPS');
  assert.is(refused({ subnets: [{ subnet: '10.91.0.0/24' }, { subnet: '10.91.0.0/25' }] }), 'SUBNET_OVERLAPS');
  assert.is(refused({ subnets: [{ subnet: '10.91.0.0/31' }] }), 'BAD_REQUEST');
  assert.is(refused({ subnets: [{ subnet: '10.91.0.0/24', gateway: '10.92.0.1' }] }), 'ADDRESS_OUTSIDE_SUBNET');
  assert.is(refused({ options: { mtu: '1000' }, ipv6_enabled: true }), 'BAD_REQUEST');
  assert.is(refused({ options: { mtu: '1000' } }), 'planned');
});

/** Containers of WEB, some with addresses that they asked for. */
function leasesOf(n: number): Leases {
  let leases: Record<string, Lease> = {};
  let cursors = {};
  for (let i = 0; i < n; i++) {
    const options = i % 3 === 0 ? { static_ips: [`10.89.0.${200 - i}`] } : {};
    const grant = grantLease(WEB, leases, cursors, `c${i}:1`, options);
    if ('fault' in grant) throw new Error(grant.fault.message);
    leases = { ...leases, [`c${i}:1`]: grant.lease };
    ({ cursors } = grant);
  }
  return leases;
}

plan('there: everybody keeps what they have, and has one address more in each subnet more; and back', () => {
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
      const all = Object.values(there.leases).flatMap(({ addresses }) => addresses.map(({ address }) => address));
      assert.is(new Set(all).size, all.length);
      for (const [owner, { addresses, mtu }] of Object.entries(there.leases)) {
        assert.is(addresses[0]?.address, leases[owner]?.addresses[0]?.address);
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

plan('a lease follows when nothing that can change is different', () => {
  const lease = Object.values(leasesOf(1))[0] as Lease;
  const under = (update: NetworkUpdate): Lease => {
    const grant = reviseLease(planned(update), lease, {});
    if ('fault' in grant) throw new Error(grant.fault.message);
    return grant.lease;
  };
  assert.ok(follows({ ...lease, mac: '02:00:00:00:00:01', defaultMetric: 101 }, lease));
  assert.ok(follows(lease, under({ options: { isolate: 'false' } })));
  assert.not(follows(lease, under({ options: { mtu: '1400' } })));
  assert.not(follows(lease, under({ ipv6_enabled: true })));
  assert.not(follows(lease, under({ routes: [{ destination: '192.0.2.0/24', gateway: '10.89.0.9' }] })));
});

plan('a subnet that is too small for all of them is refused', () => {
  const small = planned({ subnets: [{ subnet: '10.91.0.0/30' }] });
  assert.is('leases' in reviseLeases(small, leasesOf(1), {}), true);
  const full = reviseLeases(small, leasesOf(2), {});
  assert.is('fault' in full && full.fault.code, 'SUBNET_FULL');
});

plan.run();
