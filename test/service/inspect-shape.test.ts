// as user: proving
/** NetworkSettings as a pure function: of plans, and of the objects that are found in a joined namespace. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { LinkSeen, RouteSeen } from '../../plan/kernel/expected.ts';
import { interfacesIn } from '../../service/views/joined-interfaces.ts';
import { networkSettings, type Settled } from '../../service/views/network-settings.ts';
import type { NetworkSettings } from '../../state/answers/container/network-settings.ts';
import type { Attachment, LeasedAddress, ResolvedPort } from '../../state/container.ts';
import type { AttachmentOptions, PortMapping } from '../../state/event.ts';
import { leaseOf } from '../harness/fixtures.ts';

const PATH = '/run/cleat/netns-1';
const V4: LeasedAddress = { address: '10.89.0.2', prefix: 24, gateway: '10.89.0.1' };
const V6: LeasedAddress = { address: 'fd00::2', prefix: 64, gateway: 'fd00::1' };

const attachment = (network: string, addresses: LeasedAddress[], more: Partial<Attachment> = {}): Attachment => ({
  ...leaseOf('web'),
  network,
  networkId: `id-of-${network}`,
  addresses,
  mac: '02:00:00:00:00:01',
  ordinal: 0,
  hostLink: 've0',
  link: 'eth0',
  alias: `cleat:main:c1:7:${network}`,
  aliases: ['c1'],
  gatewayPriority: 0,
  ...more,
});

function settled(
  attachments: Attachment[],
  more: { networks?: Record<string, AttachmentOptions>; ask?: PortMapping[]; ports?: ResolvedPort[] } = {},
): Settled {
  return {
    attachments,
    request: { netns: { mode: 'new' }, networks: more.networks ?? {}, ports: more.ask ?? [] },
    ports: more.ports ?? [],
    configured: attachments.length > 0 || more.ports !== undefined,
    netns: { path: PATH, owned: true, from: null, of: null },
    identity: { dev: 4, ino: 5 },
  };
}

const settings = (container: Settled, seen: Parameters<typeof networkSettings>[2] = null): NetworkSettings =>
  networkSettings(container, (network) => `asked-${network}`, seen);

/** Returns the fields that are not empty, which the test is about. */
const told = (object: object): object =>
  Object.fromEntries(
    Object.entries(object).filter(
      ([, value]) =>
        !(value === '' || value === 0 || value === null || value === false) &&
        !(typeof value === 'object' && Object.keys(value as object).length === 0),
    ),
  );

// --- Shape ------------------------------------------------------------------------------------------------------

const shape = suite('shape');

shape('every field is there, even without a value', () => {
  const empty = settings({ ...settled([]), identity: null });
  const basic = {
    EndpointID: '',
    Gateway: '',
    IPAddress: '',
    IPPrefixLen: 0,
    SecondaryIPAddresses: [],
    IPv6Gateway: '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    SecondaryIPv6Addresses: [],
    MacAddress: '',
    AdditionalMACAddresses: [],
  };
  assert.equal(empty, {
    ...basic,
    Bridge: '',
    SandboxID: '',
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    Ports: {},
    SandboxKey: '',
    Networks: {},
  });
  assert.equal(settings(settled([], { networks: { web: {} } })).Networks.web, {
    ...basic,
    NetworkID: 'asked-web',
    DriverOpts: null,
    IPAMConfig: null,
    Links: null,
    Aliases: [],
  });
});

shape('addresses: per family the first one is the address, the others are secondary', () => {
  const mac = { MacAddress: '02:00:00:00:00:01' };
  const four = { IPAddress: '10.89.0.2', IPPrefixLen: 24, Gateway: '10.89.0.1' };
  const six = { GlobalIPv6Address: 'fd00::2', GlobalIPv6PrefixLen: 64, IPv6Gateway: 'fd00::1' };
  const cases: [LeasedAddress[], object][] = [
    [[V4], { ...four, ...mac }],
    [[V6], { ...six, ...mac }],
    [[V4, V6], { ...four, ...six, ...mac }],
    [[V6, V4], { ...four, ...six, ...mac }],
    [[{ ...V4, gateway: null }, V6], { IPAddress: '10.89.0.2', IPPrefixLen: 24, ...six, ...mac }],
    [[{ ...V6, gateway: null }], { GlobalIPv6Address: 'fd00::2', GlobalIPv6PrefixLen: 64, ...mac }],
    [
      [V6, { ...V6, address: 'fd00::3' }, V4, { ...V4, address: '10.89.0.3' }],
      {
        ...four,
        ...six,
        ...mac,
        SecondaryIPAddresses: [{ Addr: '10.89.0.3', PrefixLength: 24 }],
        SecondaryIPv6Addresses: [{ Addr: 'fd00::3', PrefixLength: 64 }],
      },
    ],
  ];
  const label = { NetworkID: 'id-of-web', Aliases: ['c1'] };
  for (const [addresses, expected] of cases) {
    const { Networks, ...rest } = settings(settled([attachment('web', addresses)]));
    assert.equal(told(Networks.web!), told({ ...expected, ...label }), JSON.stringify(addresses));
    assert.equal(told(rest), { SandboxKey: PATH });
    assert.not.match(JSON.stringify(Networks), /nil|undefined/);
  }
});

shape('the fields at the top are those of the default network, if that is the only one', () => {
  const alone = settings(settled([attachment('cleat', [V4, V6])], { networks: { cleat: {} } }));
  assert.is(alone.IPAddress, '10.89.0.2');
  assert.is(alone.GlobalIPv6Address, 'fd00::2');
  assert.is(alone.MacAddress, '02:00:00:00:00:01');
  assert.is(alone.Networks.cleat?.IPAddress, '10.89.0.2');
  const another = settings(settled([attachment('web', [V4])]));
  const two = settings(settled([attachment('cleat', [V4]), attachment('web', [V4])]));
  const asked = settings(settled([attachment('cleat', [V4])], { networks: { cleat: {}, web: {} } }));
  const planned = settings(settled([], { networks: { cleat: {} } }));
  for (const { IPAddress, MacAddress, Gateway } of [another, two, asked, planned]) {
    assert.equal([IPAddress, MacAddress, Gateway], ['', '', '']);
  }
});

shape('networks: they are in order, attached or requested, each with its id and names', () => {
  const networks = { web: {}, late: { aliases: ['db'], static_ips: ['10.89.0.9', 'fd00::9', '10.89.0.8'] }, back: {} };
  const { Networks } = settings(settled([attachment('web', [V4]), attachment('back', [V4])], { networks }));
  assert.equal(
    Object.entries(Networks).map(([name, { NetworkID, IPAddress, Aliases }]) => [name, NetworkID, IPAddress, Aliases]),
    [
      ['back', 'id-of-back', '10.89.0.2', ['c1']],
      ['late', 'asked-late', '', ['db']],
      ['web', 'id-of-web', '10.89.0.2', ['c1']],
    ],
  );
  assert.equal(Networks.late?.IPAMConfig, { IPv4Address: '10.89.0.9', IPv6Address: 'fd00::9' });
  assert.is(Networks.web?.IPAMConfig, null);
  // More attached networks than requested ones, and the opposite: neither is an error.
  assert.equal(Object.keys(settings(settled([attachment('web', [V4])])).Networks), ['web']);
  assert.equal(Object.keys(settings(settled([], { networks })).Networks), ['back', 'late', 'web']);
});

shape('ports: each is text, with the requested host address', () => {
  const port = (more: Partial<ResolvedPort>): ResolvedPort => ({
    protocol: 'tcp',
    hostIp: '',
    hostPort: 8080,
    containerPort: 80,
    range: 1,
    outerIp: null,
    ...more,
  });
  const ports = [
    port({ hostPort: 9000, containerPort: 1000, range: 3 }),
    port({}),
    port({ hostIp: '127.0.0.1', hostPort: 8081 }),
    port({ hostIp: '::1', hostPort: 5353, containerPort: 53, protocol: 'udp' }),
    port({ hostPort: 5353, containerPort: 53 }),
    port({ hostPort: 1, containerPort: 9, outerIp: '192.0.2.1' }),
  ];
  const { Ports } = settings(settled([attachment('web', [V4])], { ports, ask: [{ container_port: 7 }] }));
  assert.equal(Object.entries(Ports), [
    ['9/tcp', [{ HostIp: '192.0.2.1', HostPort: '1' }]],
    ['53/tcp', [{ HostIp: '0.0.0.0', HostPort: '5353' }]],
    ['53/udp', [{ HostIp: '::1', HostPort: '5353' }]],
    [
      '80/tcp',
      [
        { HostIp: '0.0.0.0', HostPort: '8080' },
        { HostIp: '127.0.0.1', HostPort: '8081' },
      ],
    ],
    ['1000/tcp', [{ HostIp: '0.0.0.0', HostPort: '9000' }]],
    ['1001/tcp', [{ HostIp: '0.0.0.0', HostPort: '9001' }]],
    ['1002/tcp', [{ HostIp: '0.0.0.0', HostPort: '9002' }]],
  ]);
});

shape('ports before configure: they are the requested ones, and 0 if one is still to be chosen', () => {
  const ask = [{ container_port: 80 }, { container_port: 53, host_port: 5353, protocol: 'udp' as const, range: 2 }];
  assert.equal(Object.entries(settings(settled([], { ask })).Ports), [
    ['53/udp', [{ HostIp: '0.0.0.0', HostPort: '5353' }]],
    ['54/udp', [{ HostIp: '0.0.0.0', HostPort: '5354' }]],
    ['80/tcp', [{ HostIp: '0.0.0.0', HostPort: '0' }]],
  ]);
});

// --- Found in a joined namespace ----------------------------------------------------------------------------------

const link = (index: number, name: string, mac = `02:00:00:00:00:0${index}`): LinkSeen => ({
  index,
  name,
  mac,
  mtu: 1500,
  up: true,
  master: 0,
  alias: '',
});
const route = (link: number, gateway: string | null, more: Partial<RouteSeen> = {}): RouteSeen => ({
  destination: gateway?.includes(':') === true ? '::' : '0.0.0.0',
  prefix: 0,
  gateway,
  link,
  metric: 0,
  table: 254,
  type: 'unicast',
  ...more,
});

const joined = suite('joined');

joined('interfaces are by name, the first address is the address, other MACs are additional', () => {
  const dump: Parameters<typeof interfacesIn>[0] = {
    links: [link(1, 'lo', '00:00:00:00:00:00'), link(2, 'tun0', ''), link(4, 'eth1'), link(3, 'eth0')],
    addresses: [
      { link: 1, address: '127.0.0.1', prefix: 8 },
      { link: 4, address: '10.2.0.2', prefix: 16 },
      { link: 3, address: '10.1.0.2', prefix: 16 },
      { link: 3, address: 'fd01::2', prefix: 64 },
      { link: 2, address: '10.3.0.2', prefix: 32 },
    ],
    routes: [route(3, '10.1.0.1'), route(3, 'fd01::1')],
  };
  const found = told(settings(settled([attachment('web', [V4])]), interfacesIn(dump)));
  const { Networks, ...top } = found as NetworkSettings;
  assert.equal(top, {
    IPAddress: '10.1.0.2',
    IPPrefixLen: 16,
    Gateway: '10.1.0.1',
    SecondaryIPAddresses: [
      { Addr: '10.2.0.2', PrefixLength: 16 },
      { Addr: '10.3.0.2', PrefixLength: 32 },
    ],
    GlobalIPv6Address: 'fd01::2',
    GlobalIPv6PrefixLen: 64,
    IPv6Gateway: 'fd01::1',
    MacAddress: '02:00:00:00:00:03',
    AdditionalMACAddresses: ['02:00:00:00:00:04'],
    SandboxKey: PATH,
  });
  assert.is(Networks.web?.IPAddress, '10.89.0.2', 'cleat’s own attachment stays what it is');
});

joined('loopback, link-local and multicast addresses, and interfaces without others, are not shown', () => {
  const dump: Parameters<typeof interfacesIn>[0] = {
    links: [link(1, 'renamed'), link(2, 'eth0'), link(3, 'eth1'), link(4, 'eth2')],
    addresses: [
      { link: 1, address: '10.9.0.1', prefix: 32 },
      { link: 2, address: '169.254.7.7', prefix: 16 },
      { link: 2, address: 'fe80::1', prefix: 64 },
      { link: 3, address: 'fe80::2', prefix: 64 },
      { link: 3, address: '224.0.0.9', prefix: 32 },
      { link: 3, address: 'ff02::9', prefix: 128 },
      { link: 3, address: '10.1.0.2', prefix: 24 },
    ],
    routes: [],
  };
  assert.equal(
    interfacesIn(dump).map(({ name, addresses }) => [name, addresses.map(({ address }) => address)]),
    [
      ['eth1', ['10.1.0.2']],
      ['eth0', []],
    ],
  );
});

joined('a gateway has the family and interface, lies inside the subnet, and has the lowest metric', () => {
  const links = [link(1, 'lo'), link(2, 'eth0'), link(3, 'eth1')];
  const addresses = [
    { link: 2, address: '10.1.0.2', prefix: 24 },
    { link: 2, address: 'fd01::2', prefix: 64 },
  ];
  const cases: [RouteSeen[], (string | null)[]][] = [
    [[], [null, null]],
    [[route(2, '10.1.0.1')], ['10.1.0.1', null]],
    [[route(2, 'fd01::1')], [null, 'fd01::1']],
    [[route(2, '10.2.0.1')], [null, null]],
    [[route(2, 'fe80::1')], [null, null]],
    [[route(3, '10.1.0.1')], [null, null]],
    [[route(2, null)], [null, null]],
    [[route(2, '10.1.0.1', { destination: '10.0.0.0', prefix: 8 })], [null, null]],
    [[route(2, '10.1.0.1', { table: 100 })], [null, null]],
    [[route(2, '10.1.0.1', { type: 'blackhole' })], [null, null]],
    [
      [route(2, '10.1.0.9', { metric: 200 }), route(2, '10.1.0.1', { metric: 100 })],
      ['10.1.0.1', null],
    ],
    [
      [route(2, '10.2.0.1'), route(2, '10.1.0.9', { metric: 200 })],
      ['10.1.0.9', null],
    ],
  ];
  for (const [routes, gateways] of cases) {
    const [eth0] = interfacesIn({ links, addresses, routes });
    assert.equal(
      eth0?.addresses.map(({ gateway }) => gateway),
      gateways,
      JSON.stringify(routes),
    );
  }
});

shape.run();
joined.run();
