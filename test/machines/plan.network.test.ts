/**
 * The planning of networks and attachments: what is chosen overlaps nothing, fits the kernel's limits, and is refused
 * with a reason when it does not.
 */
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { contains, hostRange, overlaps, parseSubnet, toNumber, toText } from '../../machines/plan/address.ts';
import { linkAlias, netnsName, planAttachments, publishAddresses } from '../../machines/plan/attachment.ts';
import { planNetwork, type Surroundings } from '../../machines/plan/network.ts';
import { Attachment, type ContainerContext } from '../../state/container.ts';
import { ContainerId, InterfaceName, NetworkName } from '../../state/names.ts';
import { NetworkDefinition, type NetworkRequest } from '../../state/network.ts';
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

plan('addresses: text to number and back', () => {
  fc.assert(
    fc.property(fc.oneof(v4, v6), (text) => {
      const family = text.includes(':') ? 6 : 4;
      assert.is(toText(toNumber(text), family), canonical(text));
    }),
  );
});

plan('subnets: what is inside agrees with ipaddr.js', () => {
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

plan('subnets: overlap is having an end in common', () => {
  fc.assert(
    fc.property(anySubnet, anySubnet, (a, b) => {
      const [x, y] = [parseSubnet(a), parseSubnet(b)];
      const inside = contains(x, toText(y.first, y.family)) || contains(y, toText(x.first, x.family));
      assert.is(overlaps(x, y), inside);
      assert.is(overlaps(y, x), inside);
    }),
  );
});

plan('hosts of a subnet', () => {
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
  links: [],
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

const refusal = (request: NetworkRequest, more: Partial<Surroundings> = {}): string => {
  const answer = planNetwork(request, around(more));
  return 'fault' in answer ? answer.fault.code : `made ${JSON.stringify(answer.definition.subnets)}`;
};

plan('a chosen subnet overlaps no route and no other network', () => {
  const route = fc.tuple(v4, fc.integer({ min: 0, max: 32 })).map(([address, prefix]) =>
    // Most of them where the pools are.
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
            around({ routes, networks, id: n.toString(16).padStart(4, '0').repeat(16) }),
          );
          if ('fault' in answer) {
            assert.is(answer.fault.code, 'NO_FREE_SUBNET');
            assert.ok(routes.some((cidr) => cidr.startsWith('0.') || Number(cidr.split('/')[1]) < 9));
            return;
          }
          networks.push(NetworkDefinition.parse(answer.definition));
        }
        const subnets = networks.flatMap((network) => network.subnets.map(({ subnet }) => parseSubnet(subnet)));
        subnets.forEach((subnet, i) => {
          for (const other of subnets.slice(i + 1)) assert.not(overlaps(subnet, other));
          for (const cidr of routes.filter((text) => !text.endsWith('/0')))
            assert.not(overlaps(subnet, parseSubnet(cidr)));
        });
        assert.is(new Set(networks.map((network) => network.network_interface)).size, count);
      },
    ),
    { numRuns: 60 },
  );
});

plan('the default route is not in the way, the pools can be full', () => {
  assert.is(made({ name: 'a' }, { routes: ['0.0.0.0/0', '::/0'] }).subnets[0]?.subnet, '10.89.0.0/24');
  assert.is(refusal({ name: 'a' }, { routes: ['10.0.0.0/8'] }), 'NO_FREE_SUBNET');
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

plan('what cannot be is refused', () => {
  const web = definition('web', '10.5.0.0/16', '10.5.0.1');
  const cases: [request: NetworkRequest, code: string, more?: Partial<Surroundings>][] = [
    [{ name: 'web' }, 'NETWORK_EXISTS', { networks: [web] }],
    [{ name: 'a', subnets: [{ subnet: '10.5.9.0/24' }] }, 'SUBNET_OVERLAPS', { networks: [web] }],
    [{ name: 'a', subnets: [{ subnet: '10.6.0.0/24' }] }, 'SUBNET_OVERLAPS', { routes: ['10.0.0.0/8'] }],
    [{ name: 'a', subnets: [{ subnet: '10.6.0.0/24' }, { subnet: '10.6.0.128/25' }] }, 'SUBNET_OVERLAPS'],
    [{ name: 'a', subnets: [{ subnet: '10.6.0.0/31' }] }, 'BAD_REQUEST'],
    [{ name: 'a', subnets: [{ subnet: 'fd00::/127' }] }, 'BAD_REQUEST'],
    [{ name: 'a', subnets: [{ subnet: '10.6.0.0/24', gateway: '10.7.0.1' }] }, 'ADDRESS_OUTSIDE_SUBNET'],
    [{ name: 'a', network_interface: 'cl-web' }, 'INTERFACE_TAKEN', { networks: [web] }],
    [{ name: 'a', network_interface: 'eth0' }, 'INTERFACE_TAKEN', { links: ['eth0'] }],
  ];
  for (const [request, code, more] of cases) assert.is(refusal(request, more), code, JSON.stringify(request));
});

plan('a gateway that no host may have, or a lease range that is none, is refused', () => {
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
  held: false,
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
      for (const key of ['link', 'hostLink', 'mac', 'alias'] as const) {
        assert.is(new Set(answer.attachments.map((attachment) => attachment[key])).size, wishes.length, key);
      }
      assert.ok(answer.attachments.every(({ mac }) => mac.startsWith('02:')));
    }),
  );
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
