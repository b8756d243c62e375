/**
 * The plan of networks and attachments: a choice overlaps nothing, fits the kernel's limits, and is refused with a
 * reason when it does not. Over 400 lines because each kind of refusal has a case of its own.
 */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { contains, hostRange, overlaps, parseSubnet, toNumber, toText } from '../../plan/addresses/address.ts';
import { linkAlias, netnsName, planAttachments, publishAddresses } from '../../plan/containers/attachment.ts';
import { grantLease, NO_LEASES } from '../../plan/networks/lease.ts';
import { planNetwork, type Surroundings } from '../../plan/networks/network.ts';
import { planUpdate } from '../../plan/networks/network-update.ts';
import { SPECIAL } from '../../plan/addresses/special-addresses.ts';
import { Attachment, type ContainerContext } from '../../state/container.ts';
import { ContainerId, InterfaceName, NetworkName } from '../../state/names.ts';
import { NetworkDefinition, NetworkRequest, subnetPools } from '../../state/network.ts';
import { containerInput, definition, leaseOf } from '../harness/fixtures.ts';

const v4 = fc.ipV4();
const v6 = fc.ipV6().filter((text) => !text.includes('.'));
const canonical = (text: string) => ipaddr.parse(text).toString();

/** The subnet of a prefix that holds an address, by ipaddr.js. */
function subnetOf(address: string, prefix: number): string {
  const cidr = `${address}/${prefix}`;
  const kind = address.includes(':') ? ipaddr.IPv6 : ipaddr.IPv4;
  return `${kind.networkAddressFromCIDR(cidr).toString()}/${prefix}`;
}

const anySubnet = fc.oneof(
  fc.tuple(v4, fc.integer({ min: 1, max: 32 })).map(([address, prefix]) => subnetOf(address, prefix)),
  fc.tuple(v6, fc.integer({ min: 1, max: 128 })).map(([address, prefix]) => subnetOf(address, prefix)),
);

const plan = suite('plan of networks');

plan('addresses convert from text to number and back', () => {
  fc.assert(
    fc.property(fc.oneof(v4, v6), (text) => {
      const family = text.includes(':') ? 6 : 4;
      assert.is(toText(toNumber(text), family), canonical(text));
    }),
  );
});

plan('subnets contain the same addresses as in ipaddr.js', () => {
  fc.assert(
    fc.property(anySubnet, fc.oneof(v4, v6), fc.boolean(), (cidr, stray, near) => {
      const subnet = parseSubnet(cidr);
      const address = near ? toText(subnet.last, subnet.family) : canonical(stray);
      const parsed = ipaddr.parse(address);
      const range = ipaddr.parseCIDR(cidr);
      const same = parsed.kind() === range[0].kind();
      assert.is(contains(subnet, address), same && (parsed.match as (r: unknown) => boolean)(range));
    }),
  );
});

plan('subnets overlap if one contains the beginning of the other', () => {
  fc.assert(
    fc.property(anySubnet, anySubnet, (a, b) => {
      const [x, y] = [parseSubnet(a), parseSubnet(b)];
      const inside = contains(x, toText(y.first, y.family)) || contains(y, toText(x.first, x.family));
      assert.is(overlaps(x, y), inside);
      assert.is(overlaps(y, x), inside);
    }),
  );
});

plan('the host range of a subnet has its first and last usable address', () => {
  const cases: [cidr: string, first: string, last: string][] = [
    ['10.89.0.0/24', '10.89.0.1', '10.89.0.254'],
    ['10.89.0.0/30', '10.89.0.1', '10.89.0.2'],
    ['10.89.0.0/31', '10.89.0.0', '10.89.0.1'],
    ['10.89.0.4/32', '10.89.0.4', '10.89.0.4'],
    ['fd00::/64', 'fd00::1', 'fd00::ffff:ffff:ffff:ffff'],
    ['fd00::/127', 'fd00::', 'fd00::1'],
    ['fd00::8/128', 'fd00::8', 'fd00::8'],
  ];
  for (const [cidr, first, last] of cases) {
    const subnet = parseSubnet(cidr);
    const range = hostRange(subnet);
    assert.equal([toText(range.first, subnet.family), toText(range.last, subnet.family)], [first, last], cidr);
  }
});

const around = (more: Partial<Surroundings> = {}): Surroundings => ({
  routes: [],
  pools: [],
  links: [],
  defaultLink: null,
  networks: [],
  bridgePrefix: 'cleat',
  resolver: false,
  id: 'ab'.repeat(32),
  now: '2025-01-01T00:00:00.000Z',
  ...more,
});

function made(request: NetworkRequest, more: Partial<Surroundings> = {}): NetworkDefinition {
  const answer = planNetwork(request, around(more));
  if ('fault' in answer) throw new Error(answer.fault.message);
  return NetworkDefinition.parse(answer.definition);
}

/** Routes of the host, as the plan gets them. */
const hosts = (...cidrs: string[]) => cidrs.map((subnet) => ({ subnet, of: `route ${subnet}` }));

const refusal = (request: NetworkRequest, more: Partial<Surroundings> = {}): string => {
  const answer = planNetwork(request, around(more));
  return 'fault' in answer ? answer.fault.code : `made ${JSON.stringify(answer.definition.subnets)}`;
};

plan('a chosen subnet overlaps no route and no other network', () => {
  const route = fc.tuple(v4, fc.integer({ min: 8, max: 32 })).map(([address, prefix]) =>
    // Most of them lie in the pools.
    subnetOf(address.replace(/^\d+\.\d+/, `10.${89 + (prefix % 3)}`), prefix),
  );
  fc.assert(
    fc.property(
      fc.array(route, { maxLength: 12 }),
      fc.integer({ min: 1, max: 4 }),
      fc.boolean(),
      (routes, count, six) => {
        const networks: NetworkDefinition[] = [];
        for (let n = 0; n < count; n++) {
          const answer = planNetwork(
            { name: `n${n}`, ipv6_enabled: six },
            around({ routes: hosts(...routes), networks, id: n.toString(16).padStart(4, '0').repeat(16) }),
          );
          // Not even 10.0.0.0/8 leaves nothing.
          if ('fault' in answer) throw new Error(answer.fault.message);
          networks.push(NetworkDefinition.parse(answer.definition));
        }
        const subnets = networks.flatMap((network) => network.subnets.map(({ subnet }) => parseSubnet(subnet)));
        subnets.forEach((subnet, i) => {
          for (const other of subnets.slice(i + 1)) assert.not(overlaps(subnet, other));
          for (const cidr of routes) assert.not(overlaps(subnet, parseSubnet(cidr)));
        });
        assert.is(new Set(networks.map((network) => network.network_interface)).size, count);
      },
    ),
    { numRuns: 60 },
  );
});

plan('pools: the next block is used when a route covers the one before', () => {
  const chosen = (more: Partial<Surroundings>, request: Partial<NetworkRequest> = {}) => {
    const answer = planNetwork({ name: 'a', ...request }, around(more));
    return 'fault' in answer ? answer.fault.code : answer.definition.subnets.map(({ subnet }) => subnet).join(' ');
  };
  assert.is(chosen({}), '10.89.0.0/24');
  assert.is(chosen({ routes: hosts('10.0.0.0/8') }), '172.16.0.0/24');
  assert.is(chosen({ routes: hosts('10.0.0.0/8', '172.16.0.0/12') }), '192.168.0.0/24');
  assert.is(chosen({ routes: hosts('10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16') }), 'NO_FREE_SUBNET');
  // The given pools replace the default ones; a family that is not named keeps its defaults.
  const pools = [
    { base: '100.64.0.0/30', size: 30 },
    { base: '100.65.0.0/16', size: 20 },
  ];
  assert.is(chosen({ pools }), '100.64.0.0/30');
  assert.is(chosen({ pools, routes: hosts('100.64.0.1/32', '100.65.0.0/18') }), '100.65.64.0/20');
  assert.is(chosen({ pools, routes: hosts('100.64.0.0/10') }), 'NO_FREE_SUBNET');
  assert.match(chosen({ pools }, { ipv6_enabled: true }), /^100\.64\.0\.0\/30 fd.*\/64$/);
  // A pool of 2^56 subnets takes no longer.
  const six = [{ base: 'fd00::/8', size: 64 }];
  assert.is(chosen({ pools: six, routes: hosts('fd00::/9') }, { ipv6_enabled: true }), '10.89.0.0/24 fd80::/64');
});

plan('IPv6: another unique local subnet is chosen if the first is routed, and a reason given if all are', () => {
  const six = (...routes: string[]) => {
    const id = Array.from({ length: 64 }, (_, i) => (i % 16).toString(16)).join('');
    const answer = planNetwork({ name: 'a', ipv6_enabled: true }, around({ routes: hosts(...routes), id }));
    return 'fault' in answer ? answer.fault.code : answer.definition.subnets[1]?.subnet;
  };
  assert.is(six(), 'fd01:2345:6789::/64');
  assert.is(six('fd01::/16'), 'fdab:cdef:123::/64');
  assert.is(six('fc00::/7'), 'NO_FREE_SUBNET');
});

plan('a named subnet is accepted over a route of the host, with a warning, never over another network', () => {
  const answer = planNetwork(
    { name: 'a', subnets: [{ subnet: '10.6.0.0/24' }] },
    around({ routes: hosts('10.0.0.0/8') }),
  );
  assert.ok('definition' in answer);
  if ('definition' in answer) {
    assert.is(answer.warnings.length, 1);
    assert.match(answer.warnings[0] ?? '', /^subnet 10\.6\.0\.0\/24 overlaps with route 10\.0\.0\.0\/8: /);
  }
  // The narrowest is named, because it is the relevant one.
  const several = planNetwork(
    { name: 'a', subnets: [{ subnet: '10.6.0.0/24' }] },
    around({ routes: hosts('10.0.0.0/8', '10.6.0.128/25', '192.168.0.0/16') }),
  );
  assert.match(('warnings' in several && several.warnings[0]) || '', /route 10\.6\.0\.128\/25 and 1 more: /);
});

plan('pools are read as they are written', () => {
  assert.equal(subnetPools(['172.20.0.0/14,24', 'fd00:1::/48,64']), [
    { base: '172.20.0.0/14', size: 24 },
    { base: 'fd00:1::/48', size: 64 },
  ]);
  for (const wrong of [
    '172.20.0.0/14',
    '172.20.0.0/14,13',
    '172.20.0.0/14,31',
    'fd00::/64,127',
    'x,24',
    '10.0.0.0/8,24,1',
    '10.0.0.0/8,',
  ]) {
    assert.throws(() => subnetPools([wrong]), /default subnet pool/, wrong);
  }
});

plan('a definition is complete, and names its gateway', () => {
  const network = made({
    name: 'a',
    subnets: [{ subnet: '10.5.0.0/16' }, { subnet: 'fd05::/64', gateway: 'fd05::fe' }],
  });
  assert.equal(
    network.subnets.map(({ gateway }) => gateway),
    ['10.5.0.1', 'fd05::fe'],
  );
  assert.ok(network.ipv6_enabled);
  assert.is(made({ name: 'a', ipv6_enabled: true }).subnets[1]?.subnet, 'fdab:abab:abab::/64');
});

plan('an impossible definition is refused', () => {
  const web = definition('web', '10.5.0.0/16', '10.5.0.1');
  const cases: [request: NetworkRequest, code: string, more?: Partial<Surroundings>][] = [
    [{ name: 'web' }, 'NETWORK_EXISTS', { networks: [web] }],
    [{ name: 'a', subnets: [{ subnet: '10.5.9.0/24' }] }, 'SUBNET_OVERLAPS', { networks: [web] }],
    [{ name: 'a', subnets: [{ subnet: '10.6.0.0/24' }, { subnet: '10.6.0.128/25' }] }, 'SUBNET_OVERLAPS'],
    [{ name: 'a', subnets: [{ subnet: '10.6.0.0/31' }] }, 'BAD_REQUEST'],
    [{ name: 'a', subnets: [{ subnet: 'fd00::/127' }] }, 'BAD_REQUEST'],
    [{ name: 'a', subnets: [{ subnet: '10.6.0.0/24', gateway: '10.7.0.1' }] }, 'ADDRESS_OUTSIDE_SUBNET'],
    ...(['127.0.0.1', '0.0.0.0', '224.0.0.1', '169.254.0.1'] as const).map(
      (outbound_addr4): [NetworkRequest, string] => [{ name: 'a', options: { outbound_addr4 } }, 'BAD_REQUEST'],
    ),
    [{ name: 'a', options: { outbound_addr6: 'fe80::1' } }, 'BAD_REQUEST'],
    [
      {
        name: 'a',
        options: { outbound_addr6: 'fd00::1', 'com.docker.network.bridge.enable_ip_masquerade': 'false' },
      },
      'BAD_REQUEST',
    ],
    [{ name: 'a', network_interface: 'cl-web' }, 'INTERFACE_TAKEN', { networks: [web] }],
    [{ name: 'a', network_interface: 'eth0' }, 'INTERFACE_TAKEN', { links: ['eth0'] }],
  ];
  for (const [request, code, more] of cases) assert.is(refusal(request, more), code, JSON.stringify(request));
});

plan('a gateway that no host may have, or an invalid lease range, is refused', () => {
  const subnet = '10.6.0.0/24';
  const range = (start_ip: string, end_ip: string) => ({ subnet, lease_range: { start_ip, end_ip } });
  const bad = [
    { subnet, gateway: '10.6.0.0' },
    { subnet, gateway: '10.6.0.255' },
    range('10.6.0.20', '10.6.0.10'),
    range('10.7.0.1', '10.7.0.9'),
    { subnet: 'fd00::/64', gateway: 'fd00::' },
  ];
  for (const one of bad) {
    assert.match(refusal({ name: 'a', subnets: [one] }), /^(BAD_REQUEST|ADDRESS_OUTSIDE_SUBNET)$/, JSON.stringify(one));
  }
});

plan('a bridge has the lowest free name, which fits', () => {
  const links = ['cleat0', 'cleat1', 'cleat3'];
  assert.is(made({ name: 'a' }, { links }).network_interface, 'cleat2');
  const many = Array.from({ length: 10_000 }, (_, n) => `cleatabcd-${n}`);
  assert.ok(
    InterfaceName.safeParse(made({ name: 'a' }, { links: many, bridgePrefix: 'cleatabcd-' }).network_interface).success,
  );
});

const context = (more: Partial<ContainerContext> = {}): ContainerContext => ({
  ...containerInput(),
  identity: null,
  attachments: [],
  ports: [],
  nextOrdinal: 0,
  configured: false,
  ownerGone: false,
  change: null,
  operation: { n: 1, type: 'create', network: null },
  fault: null,
  drift: [],
  leftovers: [],
  attempts: 0,
  ...more,
});

plan('attachments: names are unique, fit, and are the same each time', () => {
  const wish = fc.constantFrom(undefined, 'eth0', 'eth1', 'net0');
  fc.assert(
    fc.property(fc.array(wish, { minLength: 1, maxLength: 6 }), fc.nat(60_000), (wishes, nextOrdinal) => {
      const leases = wishes.map((_, n) => ({ ...leaseOf('web'), network: `n${n}` }));
      const options = Object.fromEntries(
        wishes.map((interface_name, n) => [`n${n}`, interface_name === undefined ? {} : { interface_name }]),
      );
      const answer = planAttachments(context({ nextOrdinal }), leases, options, []);
      assert.equal(planAttachments(context({ nextOrdinal }), leases, options, []), answer);
      const named = wishes.filter((name) => name !== undefined);
      if ('fault' in answer) {
        assert.is(answer.fault.code, 'INTERFACE_TAKEN');
        assert.ok(new Set(named).size < named.length, 'refused without need');
        return;
      }
      for (const attachment of answer.attachments) Attachment.parse(attachment);
      for (const key of ['link', 'hostLink', 'alias'] as const) {
        assert.is(new Set(answer.attachments.map((attachment) => attachment[key])).size, wishes.length, key);
      }
    }),
  );
});

plan('a subnet that touches a special range is refused with the reason, and one beside it is not', () => {
  const reserved: [subnet: string, range: string][] = [
    ['127.0.0.0/24', '127.0.0.0/8'],
    ['0.0.0.0/24', '0.0.0.0/8'],
    ['0.0.0.0/0', '0.0.0.0/8'],
    ['0.0.0.0/1', '0.0.0.0/8'],
    ['126.0.0.0/7', '127.0.0.0/8'],
    ['169.254.169.0/24', '169.254.0.0/16'],
    ['168.0.0.0/6', '169.254.0.0/16'],
    ['224.0.0.0/24', '224.0.0.0/4'],
    ['239.255.255.0/24', '224.0.0.0/4'],
    ['240.0.0.0/24', '240.0.0.0/4'],
    ['255.255.255.0/24', '240.0.0.0/4'],
    ['192.0.0.0/2', '224.0.0.0/4'],
    ['::/0', '::/128'],
    ['::/64', '::/128'],
    ['::/1', '::/128'],
    ['::ffff:127.0.0.0/120', '::ffff:0:0/96'],
    ['::ffff:a00:0/112', '::ffff:0:0/96'],
    ['::fffe:0:0/95', '::ffff:0:0/96'],
    ['::a00:0/112', '::/8'],
    ['64:ff9b::/96', '64:ff9b::/96'],
    ['64:ff9b:1::/64', '64:ff9b:1::/48'],
    ['100::/64', '100::/64'],
    ['fe80::/64', 'fe80::/10'],
    ['febf::/64', 'fe80::/10'],
    ['ff02::/64', 'ff00::/8'],
    ['8000::/1', 'fe80::/10'],
  ];
  for (const [subnet, range] of reserved) {
    const request = NetworkRequest.parse({ name: 'x', subnets: [{ subnet }] });
    const answer = planNetwork(request, around());
    assert.ok('fault' in answer, subnet);
    assert.is(answer.fault.code, 'SUBNET_RESERVED', subnet);
    assert.ok(answer.fault.message.includes(` ${range} is `), answer.fault.message);
    const network = definition('web', '10.89.0.0/24', '10.89.0.1');
    const changed = planUpdate(network, { subnets: request.subnets }, { pools: [], networks: [network], routes: [] });
    assert.ok('fault' in changed && changed.fault.code === 'SUBNET_RESERVED', subnet);
  }
  const free = [
    '1.0.0.0/24',
    '126.255.255.0/24',
    '128.0.0.0/24',
    '169.253.0.0/16',
    '169.255.0.0/16',
    '223.255.255.0/24',
  ];
  const free6 = ['100:0:0:1::/64', 'fe00::/64', 'fec0::/64', '2001:db8::/64', 'fd00::/64'];
  for (const subnet of [...free, '100.64.0.0/24', '198.18.0.0/24', '192.0.2.0/24', ...free6]) {
    const answer = planNetwork(NetworkRequest.parse({ name: 'x', subnets: [{ subnet }] }), around());
    assert.ok('definition' in answer, `${subnet}: ${JSON.stringify(answer)}`);
  }
});

plan('docs/cli.md lists the special ranges, each with its reason', () => {
  const page = readFileSync(new URL('../../../docs/cli.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| `([0-9a-f.:]+\/\d+)` +\| (.*?) +\|$/gm)].map(([, range, why]) => ({
    range,
    why,
  }));
  assert.equal(
    rows,
    SPECIAL.map(({ range, why }) => ({ range, why })),
  );
});

plan('routes and DNS servers that can lead nowhere are refused', () => {
  const asked = (more: object) => {
    const answer = planNetwork(NetworkRequest.parse({ name: 'x', ...more }), around());
    return 'fault' in answer ? answer.fault.code : 'made';
  };
  const route = (destination: string, gateway: string) => asked({ routes: [{ destination, gateway }] });
  for (const server of ['0.0.0.0', '224.0.0.1', '255.255.255.255', '::', 'ff02::1']) {
    assert.is(asked({ network_dns_servers: [server] }), 'BAD_REQUEST', server);
  }
  for (const server of ['127.0.0.53', '::1', '192.0.2.1', '169.254.169.253']) {
    assert.is(asked({ network_dns_servers: [server] }), 'made', server);
  }
  for (const gateway of ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255']) {
    assert.is(route('192.0.2.0/24', gateway), 'BAD_REQUEST', gateway);
  }
  for (const gateway of ['::', '::1', 'ff02::1']) assert.is(route('2001:db8::/64', gateway), 'BAD_REQUEST', gateway);
  assert.is(route('127.0.0.0/8', '10.89.0.2'), 'BAD_REQUEST');
  assert.is(route('::1/128', 'fd00::2'), 'BAD_REQUEST');
  for (const destination of ['0.0.0.0/0', '0.0.0.0/1', '169.254.169.254/32', '224.0.0.0/4']) {
    assert.is(route(destination, '10.89.0.2'), 'made', destination);
  }
  assert.is(route('::/0', 'fd00::2'), 'made');
});

plan('a definition of a reserved subnet, as one on disk may be, is no obstacle and grants nothing', () => {
  const bad = definition('bad', '0.0.0.0/1', '10.89.0.1');
  assert.ok('definition' in planNetwork({ name: 'x' }, around({ networks: [bad] })));
  const grant = grantLease(bad, NO_LEASES, {}, 'a:1', {});
  assert.ok('fault' in grant && grant.fault.code === 'SUBNET_RESERVED');
  // A container that is on it already keeps its addresses.
  const lease = leaseOf('bad');
  assert.equal(grantLease(bad, new Map([['a:1', lease]]), {}, 'a:1', {}), { lease, cursors: {} });
});

plan('attachments: the longest names fit what the kernel takes', () => {
  const id = 'x'.repeat(100);
  const network = 'n'.repeat(64);
  assert.ok(ContainerId.safeParse(id).success && NetworkName.safeParse(network).success);
  const alias = linkAlias('0123abcd', `${id}:9999999999999`, network);
  assert.ok(Buffer.byteLength(alias) <= 255, String(Buffer.byteLength(alias)));
  assert.match(netnsName('0123456789abcdef0123456789abcdef'), /^netns-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
});

plan('published ports lead to the first network that is not internal', () => {
  const answer = planAttachments(context(), [leaseOf('inner'), leaseOf('web'), leaseOf('back')], {}, []);
  assert.ok('attachments' in answer);
  if ('attachments' in answer) assert.equal(publishAddresses(answer.attachments), ['10.89.0.2']);
  assert.equal(publishAddresses([]), []);
});

plan.run();
