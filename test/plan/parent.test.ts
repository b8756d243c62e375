/**
 * Networks of the drivers macvlan, ipvlan and vlan, and of the ipam driver none: their definitions, the leases that they grant,
 * and what is refused.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { grantLease, NO_LEASES } from '../../plan/networks/lease.ts';
import { planUpdate } from '../../plan/networks/network-update.ts';
import { planNetwork, type Surroundings } from '../../plan/networks/network.ts';
import { onBridge, rememberedBridge, type BridgeSeen } from '../../plan/networks/unmanaged.ts';
import { asFound, NO_WAY_OUT } from '../../plan/networks/way-out.ts';
import { NetworkDefinition, NetworkRequest } from '../../state/network.ts';
import { definition } from '../harness/fixtures.ts';

const AROUND: Surroundings = {
  routes: [],
  pools: [],
  links: ['lo', 'eth0'],
  defaultLink: 'eth0',
  networks: [],
  bridgePrefix: 'cleat',
  resolver: true,
  id: 'a'.repeat(64),
  now: '2025-01-01T00:00:00.000Z',
};
const LAN = { subnets: [{ subnet: '192.0.2.0/24' }] };
const SEEN: BridgeSeen = { mtu: 1400, addresses: ['192.0.2.2', '198.51.100.1'], mac: '02:00:00:00:00:01' };

const planned = (request: object, around: Partial<Surroundings> = {}) =>
  planNetwork(NetworkRequest.parse({ name: 'lan', driver: 'macvlan', ...LAN, ...request }), { ...AROUND, ...around });
const made = (request: object = {}, around: Partial<Surroundings> = {}) => {
  const answer = planned(request, around);
  if ('fault' in answer) throw new Error(answer.fault.message);
  return { ...answer, definition: NetworkDefinition.parse(answer.definition) };
};
const refusal = (request: object, around: Partial<Surroundings> = {}): string => {
  const answer = planned(request, around);
  return 'fault' in answer ? `${answer.fault.code} ${answer.fault.message}` : 'made';
};
const granted = (network: NetworkDefinition, options = {}, leases = NO_LEASES) => {
  const grant = grantLease(onBridge(network, SEEN), leases, {}, 'a:1', options);
  return 'fault' in grant ? grant.fault : grant.lease;
};

const plan = suite('plan of networks on a parent');

plan('a definition names its parent, and has no name server', () => {
  assert.equal(made({ network_interface: 'eth0', options: { mode: 'private', bclim: '-1' } }), {
    definition: {
      ...definition('lan', '192.0.2.0/24', '192.0.2.1'),
      id: AROUND.id,
      created: AROUND.now,
      driver: 'macvlan',
      network_interface: 'eth0',
      dns_enabled: false,
      options: { mode: 'private', bclim: '-1' },
    },
    warnings: [],
  });
});

plan('the parent is named in either way, and otherwise that of the default route', () => {
  const parent = (request: object, around = {}) => made(request, around).definition.network_interface;
  assert.is(parent({ network_interface: 'eth1' }, { links: ['eth1'] }), 'eth1');
  assert.is(parent({ options: { parent: 'eth1' } }, { links: ['eth1'] }), 'eth1');
  assert.equal(made({ options: { parent: 'eth1', mtu: '1300' } }).definition.options, { mtu: '1300' });
  assert.is(parent({}), 'eth0');
  assert.match(refusal({}, { defaultLink: null }), /^PARENT_MISSING .*failed to get default route interface/);
  assert.match(refusal({ network_interface: 'a', options: { parent: 'b' } }), /^BAD_REQUEST .*two parents: a and b/);
});

plan('a parent that is missing, and DNS that was asked for, are warnings', () => {
  assert.match(made({ network_interface: 'eth7' }).warnings.join(), /^there is no link eth7 now/);
  assert.match(made({ dns_enabled: true }).warnings.join(), /^there is no DNS on networks of driver macvlan/);
});

plan('several networks may share a parent, and its subnet, but not that of a bridge', () => {
  const { definition: first } = made();
  const networks = [first];
  // Podman accepts it, too: one LAN in two modes, for example.
  assert.match(made({ name: 'b' }, { networks }).warnings.join(), /^lan on eth0 has addresses of the same subnet/);
  assert.equal(made({ name: 'b', network_interface: 'eth1' }, { networks, links: ['eth1'] }).warnings, []);
  const { definition: dual } = made({ name: 'dual', subnets: [...LAN.subnets, { subnet: 'fd00:2::/64' }] });
  assert.match(made({ name: 'b' }, { networks: [dual] }).warnings.join(), /^dual on eth0 has addresses/);
  const web = definition('web', '192.0.2.0/25', '192.0.2.1');
  assert.match(refusal({}, { networks: [web] }), /^SUBNET_OVERLAPS .*network web/);
  assert.is(made({}, { networks: [{ ...web, options: { mode: 'unmanaged' } }] }).definition.name, 'lan');
  const other = { name: 'b', subnets: [{ subnet: '198.51.100.0/24' }] };
  assert.is(made(other, { networks }).definition.network_interface, 'eth0');
  assert.match(refusal({ name: 'b', driver: 'bridge' }, { networks }), /^SUBNET_OVERLAPS/);
});

plan('no gateway is made up for an internal network', () => {
  assert.equal(made({ internal: true }).definition.subnets, LAN.subnets);
  const lease = granted(made({ internal: true }).definition);
  assert.equal('addresses' in lease && [lease.addresses[0]?.gateway, lease.defaultMetric], [null, null]);
  // An address that no gateway has is free for a container.
  assert.equal('addresses' in lease && lease.addresses[0]?.address, '192.0.2.1');
});

plan('each driver has its own options', () => {
  assert.match(refusal({ options: { isolate: 'true' } }), /unsupported macvlan network option isolate/);
  assert.match(refusal({ options: { vlan: '7' } }), /unsupported macvlan network option vlan/);
  assert.match(refusal({ options: { mode: 'l2' } }), /unknown macvlan mode "l2"/);
  assert.match(refusal({ driver: 'ipvlan', options: { mode: 'vepa' } }), /unknown ipvlan mode "vepa"/);
  assert.match(refusal({ driver: 'ipvlan', options: { bclim: '1' } }), /unsupported ipvlan network option bclim/);
  assert.match(refusal({ driver: 'vlan' }), /driver vlan needs a tag/);
  assert.match(refusal({ driver: 'vlan', options: { vlan: '7', mode: 'l2' } }), /unsupported vlan network option mode/);
  assert.match(refusal({ driver: 'bridge', options: { bclim: '7' } }), /unsupported bridge network option bclim/);
  assert.match(refusal({ driver: 'bridge', options: { mode: 'vepa' } }), /unknown bridge mode "vepa"/);
  const change = planUpdate(made().definition, { options: { isolate: 'true' } }, AROUND);
  assert.match('fault' in change ? change.fault.message : '', /unsupported macvlan network option isolate/);
});

plan('addresses come from subnets, from nobody, and not from DHCP', () => {
  assert.match(refusal({ subnets: [] }), /^IPAM_UNSUPPORTED network lan names no subnet, so DHCP .* not yet supported/);
  assert.match(
    refusal({ ipam_options: { driver: 'dhcp' } }),
    /^IPAM_UNSUPPORTED dhcp ipam driver is not yet supported/,
  );
  assert.match(refusal({ subnets: [], ipam_options: { driver: 'host-local' } }), /^BAD_REQUEST macvlan driver needs/);
  assert.match(refusal({ ipam_options: { driver: 'none' } }), /^BAD_REQUEST none ipam driver is set but subnets/);
  assert.match(refusal({ ipv6_enabled: true }), /^BAD_REQUEST say which IPv6 subnet/);
  const six = { subnets: [{ subnet: 'fd00:1::/64' }], ipv4_enabled: true };
  assert.match(refusal(six), /^BAD_REQUEST say which IPv4 subnet/);
  for (const driver of ['bridge', 'macvlan']) {
    const none = made({ driver, subnets: [], ipam_options: { driver: 'none' } }).definition;
    assert.equal([none.subnets, none.dns_enabled, none.ipam_options], [[], false, { driver: 'none' }]);
    const lease = granted(none);
    assert.equal('addresses' in lease && [lease.addresses, lease.dns], [[], null]);
    const change = planUpdate(none, { subnets: [{ subnet: '10.5.0.0/24' }] }, AROUND);
    assert.match('fault' in change ? change.fault.message : '', /has no subnets: its ipam driver is none/);
  }
});

plan('a lease says what kind of link it is, on which parent', () => {
  const lease = (request: object) => granted(made(request).definition);
  const { bridge, child, unmanaged, mtu, dns } = lease({ options: { bclim: '5' } }) as ReturnType<typeof granted> & {
    [key: string]: unknown;
  };
  assert.equal(
    [bridge, child, unmanaged, mtu, dns],
    ['eth0', { kind: 'macvlan', mode: 'bridge', bclim: 5 }, true, 1400, null],
  );
  const of = (request: object) => (lease(request) as { child?: unknown }).child;
  assert.equal(of({ driver: 'ipvlan' }), { kind: 'ipvlan', mode: 'l2' });
  assert.equal(of({ driver: 'ipvlan', options: { mode: 'l3s' } }), { kind: 'ipvlan', mode: 'l3s' });
  assert.equal(of({ driver: 'vlan', options: { vlan: '7' } }), { kind: 'vlan', id: 7 });
  assert.is((lease({ options: { mtu: '1300' } }) as { mtu?: unknown }).mtu, 1300);
});

plan('a definition of Podman that says it has DNS has none', () => {
  const lease = granted({ ...made().definition, dns_enabled: true });
  assert.is('dns' in lease && lease.dns, null);
});

plan('no container gets the addresses or the MAC of the parent', () => {
  const { definition: lan } = made();
  const lease = granted(lan) as { addresses: { address: string }[] };
  assert.is(lease.addresses[0]?.address, '192.0.2.3');
  assert.match((granted(lan, { static_mac: SEEN.mac }) as { message: string }).message, /in use by link eth0/);
});

plan('some children have the MAC of their parent, and no other', () => {
  for (const request of [{ driver: 'ipvlan' }, { options: { mode: 'passthru' } }]) {
    const { definition: lan } = made(request);
    const lease = grantLease(onBridge(lan, SEEN), NO_LEASES, {}, 'a:1', {});
    assert.is('lease' in lease && lease.lease.mac, SEEN.mac);
    assert.match(
      (granted(lan, { static_mac: '02:00:00:00:00:09' }) as { message: string }).message,
      /MAC address of its/,
    );
    // A daemon that starts while the parent is missing remembers it from what was granted.
    const held = 'lease' in lease ? new Map([['a:1', lease.lease]]) : NO_LEASES;
    assert.is(asFound(lan, NO_WAY_OUT, rememberedBridge(held)).parentMac, SEEN.mac);
  }
});

plan('a parent has one link of some kinds', () => {
  for (const request of [{ driver: 'vlan', options: { vlan: '7' } }, { options: { mode: 'passthru' } }]) {
    const { definition: lan } = made(request);
    const first = granted(lan);
    const second = grantLease(onBridge(lan, SEEN), new Map([['a:1', first as never]]), {}, 'b:1', {});
    assert.equal('fault' in second && [second.fault.code, second.fault.owner], ['NETWORK_IN_USE', 'a']);
  }
});

plan('a parent has many links of other kinds', () => {
  const { definition: lan } = made();
  const second = grantLease(onBridge(lan, SEEN), new Map([['a:1', granted(lan) as never]]), {}, 'b:1', {});
  assert.ok('lease' in second);
});

plan.run();
