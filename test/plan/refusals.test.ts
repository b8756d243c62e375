/**
 * The refusals of the plans, word by word: the code for programs, the text for people, and the owner concerned.
 *
 * Over 400 lines because each refusal has a case of its own, and they are read as one list.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { planAttachments } from '../../plan/containers/attachment.ts';
import { displaced, grantLease, type Leases } from '../../plan/networks/lease.ts';
import { planUpdate } from '../../plan/networks/network-update.ts';
import { planNetwork, type Surroundings } from '../../plan/networks/network.ts';
import { claimPorts, type Claims } from '../../plan/ports/ports.ts';
import { notPublishable, reservedNetwork, uselessAddresses } from '../../plan/addresses/special-addresses.ts';
import { onBridge } from '../../plan/networks/unmanaged.ts';
import type { ContainerContext, PortRequest } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition, NetworkRequest, NetworkUpdate } from '../../state/network.ts';
import { containerInput, definition, leaseOf, resolve } from '../harness/fixtures.ts';

const WEB = definition('web', '10.89.0.0/24', '10.89.0.1');
const LAN = definition('lan', '192.0.2.0/24', '192.0.2.1', {
  network_interface: 'br0',
  options: { mode: 'unmanaged' },
});
const AROUND: Surroundings = {
  routes: [],
  pools: [],
  links: ['eth0'],
  defaultLink: null,
  networks: [WEB],
  bridgePrefix: 'cleat',
  resolver: false,
  id: 'a'.repeat(64),
  now: '2025-01-01T00:00:00.000Z',
};

/** "CODE: message", and the owner, if there is one. */
const textOf = ({ code, message, owner }: Fault): string =>
  `${code}: ${message}${owner === undefined ? '' : ` [${owner}]`}`;
const refusal = (answer: object): string => ('fault' in answer ? textOf(answer.fault as Fault) : 'planned');

const create = (request: Partial<NetworkRequest>, around: Partial<Surroundings> = {}): string =>
  refusal(planNetwork({ name: 'new', ...request }, { ...AROUND, ...around }));
const update = (change: NetworkUpdate, of = WEB): string =>
  refusal(planUpdate(of, change, { networks: [WEB, LAN], routes: [], pools: [] }));

const refusals = suite('refusals of plans');

refusals('a network with an impossible name, bridge or DNS is refused', () => {
  assert.is(create({ name: 'web' }), 'NETWORK_EXISTS: network name web already used');
  assert.is(
    create({ dns_enabled: true }),
    'DNS_UNAVAILABLE: network new is to have DNS, and aardvark-dns is not installed',
  );
  assert.is(create({ dns_enabled: true }, { resolver: true }), 'planned');
  assert.is(create({ dns_enabled: false }), 'planned');
  assert.is(
    create({ network_interface: 'cl-web' }),
    'INTERFACE_TAKEN: interface name cl-web is used by network web [network web]',
  );
  assert.is(
    create({ network_interface: 'eth0' }),
    'INTERFACE_TAKEN: interface name eth0 is used by a link of the host [a link of the host]',
  );
});

refusals('a subnet that is too small, contradicts itself, or belongs to another network is refused', () => {
  const subnet = (more: object, ...others: object[]) => create({ subnets: [more, ...others] as never });
  const in91 = (more: object) => subnet({ subnet: '10.91.0.0/24', ...more });
  const cases: [said: string, refused: string][] = [
    [subnet({ subnet: '10.91.0.0/31' }), 'BAD_REQUEST: subnet 10.91.0.0/31 has no room for a gateway and a container'],
    [subnet({ subnet: 'fd00:1::/127' }), 'BAD_REQUEST: subnet fd00:1::/127 has no room for a gateway and a container'],
    [in91({ gateway: '10.92.0.1' }), 'ADDRESS_OUTSIDE_SUBNET: address 10.92.0.1 is not in subnet 10.91.0.0/24'],
    [
      in91({ lease_range: { start_ip: '10.92.0.1' } }),
      'ADDRESS_OUTSIDE_SUBNET: address 10.92.0.1 is not in subnet 10.91.0.0/24',
    ],
    [
      in91({ gateway: '10.91.0.255' }),
      'BAD_REQUEST: address 10.91.0.255 is the network or broadcast address of 10.91.0.0/24',
    ],
    [
      in91({ gateway: '10.91.0.0' }),
      'BAD_REQUEST: address 10.91.0.0 is the network or broadcast address of 10.91.0.0/24',
    ],
    [
      in91({ lease_range: { start_ip: '10.91.0.9', end_ip: '10.91.0.8' } }),
      'BAD_REQUEST: lease range 10.91.0.9-10.91.0.8 of 10.91.0.0/24 ends before it begins',
    ],
    [
      in91({ lease_range: { start_ip: '10.91.0.1', end_ip: '10.91.0.1' } }),
      "BAD_REQUEST: lease range 10.91.0.1-10.91.0.1 of 10.91.0.0/24 has no address but the gateway's",
    ],
    [in91({ lease_range: { start_ip: '10.91.0.1', end_ip: '10.91.0.2' } }), 'planned'],
    [in91({ gateway: '10.91.0.2', lease_range: { start_ip: '10.91.0.1', end_ip: '10.91.0.2' } }), 'planned'],
    [in91({ lease_range: { start_ip: '10.91.0.9' } }), 'planned'],
    [in91({ lease_range: { end_ip: '10.91.0.9' } }), 'planned'],
    [
      subnet({ subnet: '10.89.0.128/25' }),
      'SUBNET_OVERLAPS: subnet 10.89.0.128/25 overlaps with network web [network web]',
    ],
    [
      subnet({ subnet: '10.91.0.0/24' }, { subnet: '10.91.0.0/25' }),
      'SUBNET_OVERLAPS: subnet 10.91.0.0/25 overlaps with this network [this network]',
    ],
  ];
  for (const [said, refused] of cases) assert.is(said, refused);
});

refusals('a network is refused when no subnet is left', () => {
  const blocks = [
    '10.89.0.0/16',
    '10.90.0.0/15',
    '10.92.0.0/14',
    '10.96.0.0/11',
    '10.128.0.0/9',
    '172.16.0.0/12',
    '192.168.0.0/16',
  ];
  const used = (count: number) => ({
    routes: blocks.slice(0, count).map((subnet) => ({ subnet, of: 'the host' })),
    networks: [],
  });
  blocks.forEach((block, i) => {
    const plan = planNetwork({ name: 'new' }, { ...AROUND, ...used(i) });
    assert.is('fault' in plan ? '' : plan.definition.subnets[0]?.subnet, block.replace(/\/\d+$/, '/24'));
  });
  const all = { networks: [definition('all', '10.0.0.0/8', '10.0.0.1')] };
  const pools = [
    { base: '10.1.0.0/24', size: 24 },
    { base: '10.2.0.0/24', size: 24 },
    { base: 'fd00:1::/64', size: 64 },
  ];
  const left = 'routes of the host and other networks have them all';
  assert.is(
    create({}, used(blocks.length)),
    `NO_FREE_SUBNET: no free IPv4 subnet is left in ${blocks.join(', ')}: ${left}`,
  );
  assert.is(
    create({}, { ...all, pools }),
    `NO_FREE_SUBNET: no free IPv4 subnet is left in 10.1.0.0/24, 10.2.0.0/24: ${left}`,
  );
  const routes = [{ subnet: 'fd00::/8', of: 'the host' }];
  assert.is(
    create({ ipv6_enabled: true }, { pools: [], routes }),
    `NO_FREE_SUBNET: no free IPv6 subnet is left in fd00::/8: ${left}`,
  );
});

refusals('options that exclude other settings of the network are refused', () => {
  const subnets = [{ subnet: '10.91.0.0/24' }, { subnet: 'fd00:1::/64' }];
  assert.is(
    create({ subnets, options: { mtu: '1279' } }),
    'BAD_REQUEST: an MTU of 1279 is too small for IPv6, which needs 1280',
  );
  assert.is(create({ subnets, options: { mtu: '1280' } }), 'planned');
  assert.is(create({ options: { mtu: '1000' } }), 'planned');
  for (const [key, address] of [
    ['outbound_addr4', '192.0.2.9'],
    ['outbound_addr6', '2001:db8::9'],
  ] as const) {
    const leaving = (masquerade: string) =>
      create({ options: { [key]: address, 'com.docker.network.bridge.enable_ip_masquerade': masquerade } as never });
    const refused = `BAD_REQUEST: nothing leaves from ${address} on a network that is not masqueraded`;
    assert.equal([leaving('false'), leaving('true'), leaving('1')], [refused, 'planned', 'planned']);
    assert.is(create({ options: { [key]: address } }), 'planned');
  }
  assert.is(create({ options: { 'com.docker.network.bridge.enable_ip_masquerade': 'false' } }), 'planned');
});

refusals('an update that contradicts itself, or the network, is refused', () => {
  assert.is(update({ remove_subnets: ['10.9.0.0/24'] }), 'BAD_REQUEST: network web has no subnet 10.9.0.0/24');
  assert.is(
    update({ remove_subnets: ['10.9.0.0/24', '10.8.0.0/24'] }),
    'BAD_REQUEST: network web has no subnet 10.9.0.0/24',
  );
  assert.is(
    update({ remove_subnets: ['10.89.0.0/24'], subnets: [{ subnet: '10.89.0.0/24', lease_range: null }] }),
    'BAD_REQUEST: subnet 10.89.0.0/24 is to be changed, and to be removed',
  );
  assert.is(
    update({ ipv6_enabled: false, subnets: [{ subnet: 'fd00:1::/64' }] }),
    'BAD_REQUEST: an IPv6 subnet is to be added, and IPv6 to be off',
  );
  assert.is(
    update({ ipv6_enabled: false, subnets: [{ subnet: '10.91.0.0/24' }, { subnet: 'fd00:1::/64' }] }),
    'BAD_REQUEST: an IPv6 subnet is to be added, and IPv6 to be off',
  );
  assert.is(update({ remove_subnets: ['10.89.0.0/24'] }), 'BAD_REQUEST: network web would be left without a subnet');
  assert.is(
    update({ ipv6_enabled: true }, LAN),
    'BAD_REQUEST: network lan is unmanaged: say which IPv6 subnet is behind its bridge',
  );
  assert.is(
    update({ options: { mtu: '1400' } }, LAN),
    'BAD_REQUEST: mtu means nothing with mode=unmanaged: rules and settings of that bridge are not ours',
  );
});

refusals('a network without any family, or with a subnet of one that is off', () => {
  assert.is(create({ ipv4_enabled: false }), 'BAD_REQUEST: a network has IPv4 or IPv6');
  assert.is(
    create({ ipv4_enabled: false, ipv6_enabled: true, subnets: [{ subnet: '10.91.0.0/24' }] }),
    'BAD_REQUEST: an IPv4 subnet is named, and ipv4_enabled is false',
  );
  assert.is(
    create({ driver: 'cni', ipv4_enabled: true, options: { conflist: '/f' } }),
    'BAD_REQUEST: ipv4_enabled means nothing to driver cni: the conflist decides that',
  );
});

refusals('a network on a bridge of others needs some options, and refuses others', () => {
  const unmanaged = (request: Partial<NetworkRequest>) => create({ options: { mode: 'unmanaged' }, ...request });
  const whole = { network_interface: 'br1', subnets: [{ subnet: '10.91.0.0/24' }] };
  assert.is(unmanaged(whole), 'planned');
  assert.is(
    unmanaged({ subnets: whole.subnets }),
    'BAD_REQUEST: network new is unmanaged: say the name of the bridge that it is on',
  );
  for (const subnets of [undefined, []]) {
    assert.is(
      unmanaged({ network_interface: 'br1', ...(subnets && { subnets }) }),
      'BAD_REQUEST: network new is unmanaged: say which subnet is behind its bridge',
    );
  }
  assert.is(
    unmanaged({ ...whole, ipv6_enabled: true }),
    'BAD_REQUEST: network new is unmanaged: say which IPv6 subnet is behind its bridge',
  );
  assert.is(
    unmanaged({ network_interface: 'br1', subnets: [{ subnet: 'fd00:1::/64' }], ipv4_enabled: true }),
    'BAD_REQUEST: network new is unmanaged: say which subnet is behind its bridge',
  );
  assert.is(unmanaged({ ...whole, ipv4_enabled: true }), 'planned');
  const both = [...whole.subnets, { subnet: 'fd00:1::/64' }];
  assert.is(unmanaged({ ...whole, subnets: both, ipv6_enabled: true }), 'planned');
  assert.is(unmanaged({ ...whole, subnets: both }), 'planned');
  assert.is(
    unmanaged({ ...whole, internal: true }),
    'BAD_REQUEST: network new is unmanaged: there are no rules on br1 that would keep it internal',
  );
  const masquerade = 'com.docker.network.bridge.enable_ip_masquerade';
  const options = {
    mtu: '1400',
    isolate: 'true',
    outbound_addr4: '192.0.2.9',
    outbound_addr6: '2001:db8::9',
    [masquerade]: 'true',
  };
  for (const [key, value] of Object.entries(options)) {
    assert.is(
      unmanaged({ ...whole, options: { mode: 'unmanaged', [key]: value } }),
      `BAD_REQUEST: ${key} means nothing with mode=unmanaged: rules and settings of that bridge are not ours`,
    );
    assert.is(create({ options: { [key]: value } }), 'planned');
  }
  assert.is(unmanaged({ ...whole, options: { mode: 'unmanaged', metric: '7' } }), 'planned');
  // The bridge exists, and may have other unmanaged networks on it; not a managed one.
  const beside = { networks: [WEB, LAN], links: ['br0', 'cl-web'] };
  const on = (network_interface: string) =>
    create({ ...whole, network_interface, options: { mode: 'unmanaged' } }, beside);
  assert.is(on('br0'), 'planned');
  assert.is(on('cl-web'), 'INTERFACE_TAKEN: interface name cl-web is used by network web [network web]');
});

refusals('a warning says that everybody on a bridge of others can query its name server', () => {
  const warnings = (dns_enabled: boolean) => {
    const request = { name: 'new', network_interface: 'br1', subnets: [{ subnet: '10.91.0.0/24' }] };
    const options = { mode: 'unmanaged' as const };
    const plan = planNetwork({ ...request, options, dns_enabled }, { ...AROUND, resolver: true });
    return 'fault' in plan ? [textOf(plan.fault)] : plan.warnings;
  };
  assert.equal(warnings(false), []);
  const ours = planNetwork({ name: 'new', dns_enabled: true }, { ...AROUND, resolver: true });
  assert.equal('fault' in ours ? [] : ours.warnings, []);
  assert.equal(warnings(true), [
    'whoever reaches the addresses of br1 can ask the name server of this network: --disable-dns leaves it out',
  ]);
});

refusals('special addresses are refused for ports, servers, routes and sources', () => {
  const published = (address: string) => {
    const fault = notPublishable(address);
    return fault === null ? 'planned' : textOf(fault);
  };
  for (const address of ['0.0.0.0', '::', '127.0.0.1', '::1', '192.0.2.1', '169.254.1.1', '100::1']) {
    assert.is(published(address), 'planned', address);
  }
  for (const address of [
    '0.1.2.3',
    '224.0.0.1',
    '255.255.255.255',
    'ff02::1',
    '::ffff:10.0.0.1',
    '64:ff9b::1',
    '64:ff9b:1::1',
  ]) {
    assert.is(published(address), `BAD_REQUEST: no host can have the address ${address}`);
  }
  assert.is(published('::2:0:1'), 'BAD_REQUEST: no host can have the address ::2:0:1');
  assert.is(
    published('fe80::1'),
    'BAD_REQUEST: no port can be published on fe80::1: a link-local address means nothing without its interface, ' +
      'and is never forwarded (RFC 4291, 2.5.6)',
  );
  const useless = (asked: Parameters<typeof uselessAddresses>[0]) => refusal(uselessAddresses(asked) ?? {});
  for (const address of ['127.0.0.1', '169.254.1.1', '224.0.0.1', '0.1.2.3']) {
    const refused = `BAD_REQUEST: nothing can leave the host from the address ${address}`;
    assert.is(useless({ options: { outbound_addr4: address } }), refused);
  }
  for (const address of ['::1', 'fe80::1', 'ff02::1']) {
    assert.is(
      useless({ options: { outbound_addr6: address } }),
      `BAD_REQUEST: nothing can leave the host from the address ${address}`,
    );
  }
  assert.is(useless({ options: { outbound_addr4: '192.0.2.1', outbound_addr6: '2001:db8::1' } }), 'planned');
  assert.is(useless({ options: { outbound_addr4: null } }), 'planned');
  assert.is(useless({}), 'planned');
  assert.is(
    useless({ network_dns_servers: ['127.0.0.53', '224.0.0.1', '225.0.0.1'] }),
    'BAD_REQUEST: no DNS server can have the address 224.0.0.1',
  );
  const route = (destination: string, gateway: string) => useless({ routes: [{ destination, gateway }] });
  for (const gateway of ['127.0.0.1', '::1', '224.0.0.1', '0.0.0.0']) {
    assert.is(route('192.0.2.0/24', gateway), `BAD_REQUEST: no gateway can have the address ${gateway}`);
  }
  assert.is(route('192.0.2.0/24', 'fe80::1'), 'planned');
  assert.equal([route('0.0.0.0/0', '192.0.2.1'), route('::/0', '2001:db8::1')], ['planned', 'planned']);
  assert.match(
    route('127.1.0.0/16', '192.0.2.1'),
    /^BAD_REQUEST: nothing can be routed to 127\.1\.0\.0\/16: 127\.0\.0\.0\/8 is loopback \(RFC 1122/,
  );
  assert.match(
    route('0.0.0.0/8', '192.0.2.1'),
    /^BAD_REQUEST: nothing can be routed to 0\.0\.0\.0\/8: 0\.0\.0\.0\/8 is "this host"/,
  );
  assert.match(route('::1/128', '2001:db8::1'), /^BAD_REQUEST: nothing can be routed to ::1\/128/);
  for (const destination of ['126.0.0.0/7', '169.254.1.0/24', '224.0.0.0/4', 'fd00::/8']) {
    assert.is(route(destination, destination.includes(':') ? '2001:db8::1' : '192.0.2.1'), 'planned', destination);
  }
  assert.is(route('::7f00:0/112', '2001:db8::1'), 'planned', 'the same numbers as 127.0.0.0/16 in the other family');
});

refusals('a definition on disk that can be no network any more is named with its reason', () => {
  const subnets = (...all: string[]) => ({ name: 'old', subnets: all.map((subnet) => ({ subnet, gateway: '' })) });
  assert.is(reservedNetwork(subnets('10.0.0.0/24')), null);
  const fault = reservedNetwork(subnets('10.0.0.0/24', '127.1.0.0/16', '224.1.0.0/16'));
  assert.match(
    fault === null ? '' : textOf(fault),
    /^SUBNET_RESERVED: network old is not raised: subnet 127\.1\.0\.0\/16 can be no network: 127\.0\.0\.0\/8 is loopback/,
  );
  // It keeps no subnet from others: nothing of it exists.
  const dead = definition('dead', '224.0.0.0/4', '224.0.0.1', {
    subnets: [
      { subnet: '224.0.0.0/4', gateway: '224.0.0.1' },
      { subnet: '10.91.0.0/16', gateway: '10.91.0.1' },
    ],
  });
  assert.is(create({ subnets: [{ subnet: '10.91.0.0/24' }] }, { networks: [dead] }), 'planned');
});

refusals('addresses and MACs that a container cannot have are refused', () => {
  const leases: Leases = new Map([['c1:7', leaseOf('web')]]);
  const ask = (options: Parameters<typeof grantLease>[4], network: NetworkDefinition = WEB) =>
    refusal(grantLease(network, leases, {}, 'c2:1', options));
  const both = { ...WEB, subnets: [...WEB.subnets, { subnet: 'fd00:9::/64', gateway: 'fd00:9::1' }] };
  const cases: [said: string, refused: string][] = [
    [
      ask({ static_ips: ['10.90.0.1', '10.91.0.1'] }, both),
      'ADDRESS_OUTSIDE_SUBNET: address 10.90.0.1 is not in a subnet of network web (10.89.0.0/24, fd00:9::/64)',
    ],
    [
      ask({ static_ips: ['10.89.0.1'] }),
      'ADDRESS_TAKEN: address 10.89.0.1 is the gateway address of 10.89.0.0/24 [network web]',
    ],
    [
      ask({ static_ips: ['10.89.0.0'] }),
      'ADDRESS_TAKEN: address 10.89.0.0 is the network address of 10.89.0.0/24 [network web]',
    ],
    [
      ask({ static_ips: ['10.89.0.255'] }),
      'ADDRESS_TAKEN: address 10.89.0.255 is the broadcast address of 10.89.0.0/24 [network web]',
    ],
    [ask({ static_ips: ['10.89.0.254'] }), 'planned'],
    [ask({ static_ips: ['10.89.0.2'] }), 'ADDRESS_TAKEN: address 10.89.0.2 is in use by c1 on web [c1]'],
    [ask({ static_mac: '02:00:00:00:00:0a' }), 'MAC_TAKEN: MAC address 02:00:00:00:00:0a is in use by c1 on web [c1]'],
    [
      ask(
        { static_ips: ['192.0.2.2', '192.0.2.3'] },
        onBridge(LAN, { mtu: 1500, addresses: ['192.0.2.2', '192.0.2.3'] }),
      ),
      'ADDRESS_TAKEN: address 192.0.2.2 is in use by br0 of the host [link br0]',
    ],
  ];
  for (const [said, refused] of cases) assert.is(said, refused);
});

refusals('a full subnet is refused, and the error names the requested range', () => {
  const full = (lease_range?: object) =>
    refusal(
      grantLease(
        { ...WEB, subnets: [{ subnet: '10.89.0.0/30', gateway: '10.89.0.1', ...(lease_range && { lease_range }) }] },
        new Map([['c1:7', leaseOf('web')]]),
        {},
        'c2:1',
        {},
      ),
    );
  assert.is(full(), 'SUBNET_FULL: no free address in 10.89.0.0/30 of network web');
  for (const [range, text] of [
    [{ start_ip: '10.89.0.2', end_ip: '10.89.0.2' }, '10.89.0.2-10.89.0.2'],
    [{ start_ip: '10.89.0.2' }, '10.89.0.2-'],
    [{ end_ip: '10.89.0.2' }, '-10.89.0.2'],
  ] as const) {
    assert.is(full(range), `SUBNET_FULL: no free address in the range ${text} of 10.89.0.0/30 of network web`);
  }
});

refusals('an update that would remove addresses names five of their owners, and counts the rest', () => {
  const away = (count: number, network = definition('web', '10.90.0.0/24', '10.90.0.1')) => {
    const owners = Array.from({ length: count }, (_, i) => `c${i}:7`);
    const fault = displaced(network, new Map(owners.map((owner) => [owner, leaseOf('web')])));
    return fault === null ? 'planned' : textOf(fault);
  };
  const begin = 'NETWORK_UPDATE_FAILED: network web was not changed: it would take their addresses from ';
  const named = (count: number) => Array.from({ length: count }, (_, i) => `c${i} (10.89.0.2)`).join(', ');
  assert.is(away(0), 'planned');
  assert.is(away(1), `${begin}${named(1)} [c0]`);
  assert.is(away(5), `${begin}${named(5)} [c0]`);
  assert.is(away(7), `${begin}${named(5)} and 2 more [c0]`);
  assert.is(
    away(1, { ...WEB, subnets: [{ subnet: '10.90.0.0/24', gateway: '10.90.0.1' }, ...WEB.subnets] }),
    'planned',
  );
  // As the gateway of a subnet that had another, it does not fit any more.
  assert.is(away(1, definition('web', '10.89.0.0/24', '10.89.0.2')), `${begin}${named(1)} [c0]`);
});

refusals('interface names that a container cannot have are refused', () => {
  const planned = (asked: Record<string, string | undefined>, inside: string[], before: string[] = []) => {
    const container = { ...containerInput(), attachments: [], nextOrdinal: 0 } as unknown as ContainerContext;
    const options = Object.fromEntries(
      Object.entries(asked).map(([network, name]) => [network, name === undefined ? {} : { interface_name: name }]),
    );
    const first = planAttachments(container, before.map(leaseOf), {}, []);
    if ('fault' in first) throw new Error(first.fault.message);
    const leases = Object.keys(asked).map(leaseOf);
    const plan = planAttachments({ ...container, attachments: first.attachments }, leases, options, inside);
    return 'fault' in plan ? textOf(plan.fault) : plan.attachments.map(({ link }) => link).join(' ');
  };
  assert.is(planned({ web: undefined, back: undefined }, []), 'eth0 eth1');
  assert.is(planned({ web: undefined, back: undefined }, ['eth0', 'eth2']), 'eth1 eth3');
  assert.is(planned({ web: undefined, back: 'eth0' }, []), 'eth1 eth0');
  assert.is(planned({ back: 'lan0' }, [], ['web']), 'eth0 lan0');
  assert.is(
    planned({ web: 'eth0' }, ['eth0']),
    'INTERFACE_TAKEN: interface eth0 exists already in the namespace of container c1 [c1]',
  );
  assert.is(
    planned({ back: 'eth0' }, [], ['web']),
    'INTERFACE_TAKEN: interface name eth0 is used twice in container c1 [c1]',
  );
  assert.is(
    planned({ back: 'eth0' }, [], ['web', 'inner']),
    'INTERFACE_TAKEN: interface name eth0 is used twice in container c1 [c1]',
  );
});

refusals('a refusal names its owner where there is one, and the first of several', () => {
  const fault = (answer: object) => Object.keys('fault' in answer ? (answer.fault as object) : {});
  assert.equal(fault(planNetwork({ name: 'web' }, AROUND)), ['code', 'message']);
  const nested = [WEB, definition('wide', '10.89.0.0/16', '10.89.0.1')];
  assert.match(create({ subnets: [{ subnet: '10.89.0.0/25' }] }, { networks: nested }), /network web \[network web\]$/);
  const useless = { mode: 'unmanaged', isolate: 'true', mtu: '1400' } as const;
  const on = { network_interface: 'br1', subnets: [{ subnet: '10.91.0.0/24' }] };
  assert.match(create({ ...on, options: useless }), /^BAD_REQUEST: mtu means nothing/);
  const pools = [{ base: '10.1.0.0/24', size: 24 }];
  const routes = [{ subnet: '10.1.0.0/24', of: 'the host' }];
  assert.match(create({}, { pools, routes }), /is left in 10\.1\.0\.0\/24: /);
  const lease = {
    ...leaseOf('web'),
    addresses: ['10.89.0.2', '10.89.0.3'].map((address) => ({ address, prefix: 24, gateway: null })),
  };
  const lost = displaced(definition('web', '10.90.0.0/24', '10.90.0.1'), new Map([['c1:7', lease]]));
  assert.match(lost?.message ?? '', /c1 \(10\.89\.0\.2\)$/);
});

refusals('an unchanged part is not judged, and one of several subnets can go', () => {
  const dead = definition('dead', '224.0.0.0/4', '224.0.0.1');
  assert.is(update({ options: { mtu: '1400' } }, dead), 'planned');
  const two = { ...WEB, subnets: [...WEB.subnets, { subnet: '10.91.0.0/24', gateway: '10.91.0.1' }] };
  for (const { subnet } of two.subnets) assert.is(update({ remove_subnets: [subnet] }, two), 'planned');
  const routes = [{ subnet: 'fd00::/8', of: 'the host' }];
  assert.match(
    refusal(planUpdate(WEB, { ipv6_enabled: true }, { networks: [WEB], routes, pools: [] })),
    /^NO_FREE_SUBNET: no free IPv6 subnet/,
  );
});

refusals('a host port that is taken is refused, and its owner named', () => {
  const claims: Claims = { 'c1:7': [resolve({ host_port: 8080, container_port: 80, range: 10 })] };
  const ask = (...wishes: PortRequest[]) => refusal(claimPorts(claims, 65_535, 'c2:1', wishes, []));
  assert.is(ask({ host_port: 8089, container_port: 80 }), 'PORT_TAKEN: port 8089/tcp is already published by c1 [c1]');
  assert.is(ask({ host_port: 8090, container_port: 80 }), 'planned');
  assert.is(
    ask({ host_port: 8070, container_port: 80, range: 11, host_ip: '192.0.2.1' }),
    'PORT_TAKEN: port 192.0.2.1:8070-8080/tcp is already published by c1 [c1]',
  );
  assert.match(ask({ host_port: 8079, container_port: 80, range: 2 }), /^PORT_TAKEN: port 8079-8080\/tcp is already/);
  assert.is(
    ask({ host_port: 8080, container_port: 80, host_ip: '2001:db8::1' }),
    'PORT_TAKEN: port [2001:db8::1]:8080/tcp is already published by c1 [c1]',
  );
  assert.is(
    ask({ host_port: 9000, container_port: 80 }, { host_port: 9000, container_port: 81 }),
    'PORT_TAKEN: port 9000/tcp is asked for twice [c2]',
  );
  assert.is(
    ask({ container_port: 80, range: 40_000, protocol: 'udp' }),
    'NO_FREE_PORT: no free host port for container port 80-40079/udp',
  );
});

refusals.run();
