/**
 * The forms that users may write, and their meaning to the API; the forms that are refused, and the word that the error
 * names. Every accepted form is also checked by the schema of the API.
 *
 * Over 400 lines because it is tables of forms and meanings, one row a form.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { usage, explain, Failure } from '../../cli/failure.ts';
import { networkRequest, pairs, parseRoute } from '../../cli/request/network-options.ts';
import { attachmentOptions, parseNetwork, parsePort, parseWiring } from '../../cli/request/options.ts';
import { socketPath } from '../../cli/places.ts';
import { table } from '../../cli/table.ts';
import { ageText, eventText, notificationText, portText, sizeText, stateText, whyText } from '../../cli/text.ts';
import { LifecycleEvent, PortMapping } from '../../state/event.ts';
import { NetworkRequest } from '../../state/network.ts';

/** The message of the usage error that this ends with. */
function blamed(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof Failure && error.exitCode === 2) return error.message;
    throw error;
  }
  throw new Error('it was accepted');
}

const ports = suite('ports');

ports('each form of docker and podman is understood', () => {
  const forms: [string, ...PortMapping[]][] = [
    ['80', { container_port: 80 }],
    ['8080:80', { host_port: 8080, container_port: 80 }],
    [':80', { container_port: 80 }],
    ['8080:80/udp', { host_port: 8080, container_port: 80, protocol: 'udp' }],
    ['8080:80/TCP', { host_port: 8080, container_port: 80, protocol: 'tcp' }],
    ['80/sctp', { container_port: 80, protocol: 'sctp' }],
    ['127.0.0.1:8080:80', { host_ip: '127.0.0.1', host_port: 8080, container_port: 80 }],
    ['127.0.0.1::80', { host_ip: '127.0.0.1', container_port: 80 }],
    ['[::1]:8080:80', { host_ip: '::1', host_port: 8080, container_port: 80 }],
    ['[fd00::7]::53/udp', { host_ip: 'fd00::7', container_port: 53, protocol: 'udp' }],
    ['[::]:80', { host_ip: '::', container_port: 80 }],
    ['9000-9010', { container_port: 9000, range: 11 }],
    ['8000-8010:9000-9010/udp', { host_port: 8000, container_port: 9000, range: 11, protocol: 'udp' }],
    ['0.0.0.0:8000-8001:9000-9001', { host_ip: '0.0.0.0', host_port: 8000, container_port: 9000, range: 2 }],
    ['80-80', { container_port: 80 }],
    ['1-65535:1-65535', { host_port: 1, container_port: 1, range: 65_535 }],
    [
      '53:53/tcp,udp',
      { host_port: 53, container_port: 53, protocol: 'tcp' },
      { host_port: 53, container_port: 53, protocol: 'udp' },
    ],
    ['53/UDP,udp', { container_port: 53, protocol: 'udp' }],
  ];
  for (const [text, ...mappings] of forms) {
    assert.equal(parsePort(text), mappings, text);
    for (const mapping of mappings) assert.ok(PortMapping.safeParse(mapping).success, text);
  }
});

ports('what is wrong is named', () => {
  const wrong: [string, RegExp][] = [
    ['', /a port is missing/],
    ['web', /"web" is not between/],
    ['0', /"0" is not between 1 and 65535/],
    ['65536:80', /"65536" is not between/],
    ['80:', /a port is missing/],
    ['80/', /the protocol "" is none of/],
    ['80/icmp', /the protocol "icmp"/],
    ['80/tcp,icmp', /the protocol "icmp"/],
    ['80/tcp,', /the protocol ""/],
    ['80/tcp/udp', /more than one/],
    ['8000-8010:80', /11 on the host for 1 in the container/],
    ['90-80', /ends before it begins/],
    ['1-2-3', /not a port or a range/],
    ['-80', /a port is missing/],
    ['::1:8080:80', /put an IPv6 address in brackets/],
    ['::1', /put an IPv6 address in brackets/],
    ['[::1]8080:80', /after the address in brackets/],
    ['[127.0.0.1]:80:80', /not an IPv6 address/],
    ['localhost:8080:80', /"localhost" is not an IP address/],
    ['1.2.3:8080:80', /"1.2.3" is not an IP address/],
    ['+80', /"\+80"/],
    ['0x50', /"0x50"/],
  ];
  for (const [text, message] of wrong)
    assert.match(
      blamed(() => parsePort(text)),
      message,
      text,
    );
});

ports('ports are shown as they were written', () => {
  const port = { host_ip: '', host_port: 8080, container_port: 80, protocol: 'tcp' as const, range: 1 };
  assert.is(portText(port), '*:8080->80/tcp');
  assert.is(portText({ ...port, host_ip: '::1', range: 3, protocol: 'udp' }), '[::1]:8080-8082->80-82/udp');
});

ports.run();

const networks = suite('networks');

networks('a network is a name, with options after the first colon', () => {
  assert.equal(parseNetwork('web'), ['web', {}]);
  assert.equal(parseNetwork('web:'), ['web', {}]);
  assert.equal(parseNetwork('web:ip=10.0.0.5,ip6=fd00::5,mac=02:00:00:00:00:01,interface_name=eth7,alias=a,alias=b'), [
    'web',
    {
      static_ips: ['10.0.0.5', 'fd00::5'],
      static_mac: '02:00:00:00:00:01',
      interface_name: 'eth7',
      aliases: ['a', 'b'],
    },
  ]);
  assert.equal(attachmentOptions({ ip: ['fd00::1'] }), { static_ips: ['fd00::1'] });
});

networks('what is wrong is named', () => {
  assert.match(
    blamed(() => parseNetwork('')),
    /has no name/,
  );
  assert.match(
    blamed(() => parseNetwork('web:ipv4=1.2.3.4')),
    /^unknown bridge network option: ipv4$/,
  );
  assert.match(
    blamed(() => parseNetwork('web:ip')),
    /^invalid ip address ""$/,
  );
  assert.match(
    blamed(() => parseNetwork('web:ip=')),
    /^invalid ip address ""$/,
  );
  assert.match(
    blamed(() => parseNetwork('web:toString=1')),
    /^unknown bridge network option: toString$/,
  );
  for (const [bare, message] of [
    ['alias', 'alias cannot be empty'],
    ['alias=', 'alias cannot be empty'],
    ['interface_name', 'interface_name cannot be empty'],
    ['mac', 'mac cannot be empty'],
    ['ip6', 'invalid ip address ""'],
    ['internal', 'unknown bridge network option: internal'],
  ] as const) {
    assert.ok(blamed(() => parseNetwork(`web:${bare}`)).startsWith(message), bare);
  }
  assert.match(
    blamed(() => parseNetwork('web:ip=10.0.0')),
    /^invalid ip address "10.0.0"$/,
  );
  assert.match(
    blamed(() => parseNetwork('web:ip6=10.0.0.1')),
    /not an IPv6 address/,
  );
  assert.match(
    blamed(() => parseNetwork('web:mac=02:00:00:00:00:01,mac=02:00:00:00:00:02')),
    /mac is given twice/,
  );
});

const events = (wiring: object) => LifecycleEvent.safeParse({ type: 'create', id: 'x', ...wiring }).success;

networks("the options of create make a container's request", () => {
  const cases: [Parameters<typeof parseWiring>[0], object][] = [
    [{}, {}],
    [{ network: ['none'] }, { networks: {} }],
    [{ network: ['host'] }, { netns: { mode: 'host' } }],
    [{ network: ['container:web'] }, { netns: { mode: 'container', id: 'web' } }],
    [{ network: ['ns:/run/netns/a:b'] }, { netns: { mode: 'path', path: '/run/netns/a:b' } }],
    [{ network: ['ns:/run/netns/a', 'web'] }, { netns: { mode: 'path', path: '/run/netns/a' }, networks: { web: {} } }],
    [
      { network: ['a', 'b:alias=c'], publish: ['80'] },
      { networks: { a: {}, b: { aliases: ['c'] } }, port_mappings: [{ container_port: 80 }] },
    ],
    [
      { pid: 42, network: ['none'] },
      { netns: { mode: 'pid', pid: 42 }, networks: {} },
    ],
    [{ pid: 42 }, { netns: { mode: 'pid', pid: 42 } }],
    [{ network: ['slirp4netns'] }, { uplink: { program: 'slirp4netns' } }],
    [
      { network: ['slirp4netns:mtu=1500,cidr=10.0.3.0/24'], pid: 42, publish: ['80'] },
      {
        netns: { mode: 'pid', pid: 42 },
        uplink: { program: 'slirp4netns', options: ['mtu=1500', 'cidr=10.0.3.0/24'] },
        port_mappings: [{ container_port: 80 }],
      },
    ],
    [{ network: ['pasta:--mtu,1500'] }, { uplink: { program: 'pasta', options: ['--mtu', '1500'] } }],
  ];
  for (const [options, wiring] of cases) {
    assert.equal(parseWiring(options), wiring);
    assert.ok(events(wiring), JSON.stringify(wiring));
  }
});

networks('options that exclude each other are refused', () => {
  assert.match(
    blamed(() => parseWiring({ network: ['a', 'a'] })),
    /network a is given twice/,
  );
  assert.match(
    blamed(() => parseWiring({ network: ['none', 'a'] })),
    /none and --network a/,
  );
  assert.match(
    blamed(() => parseWiring({ network: ['none', 'host'] })),
    /none and --network host/,
  );
  assert.match(
    blamed(() => parseWiring({ network: ['host', 'container:a'] })),
    /host and --network container:a/,
  );
  assert.match(
    blamed(() => parseWiring({ network: ['host'], pid: 1 })),
    /--pid and --network host/,
  );
  assert.match(
    blamed(() => parseWiring({ network: ['host', 'a'] })),
    /no network a of its own/,
  );
  assert.match(
    blamed(() => parseWiring({ network: ['container:a'], publish: ['80'] })),
    /no port 80 of its own/,
  );
  for (const [options, what] of [
    [{ hostname: 'h' }, 'hostname h'],
    [{ pod: 'p' }, 'pod p'],
    [{ outside: '/run/netns/o' }, 'outside /run/netns/o'],
    [{ portHandler: 'forwarder' as const }, 'port handler forwarder'],
  ] as const)
    assert.match(
      blamed(() => parseWiring({ network: ['host'], ...options })),
      new RegExp(`no ${what} of its own`),
    );
  assert.match(
    blamed(() => parseWiring({ expose: ['80'] })),
    /--expose names what -P publishes/,
  );
  assert.match(
    blamed(() => parseWiring({ network: ['container:'] })),
    /lacks an id/,
  );
  assert.match(
    blamed(() => parseWiring({ network: ['ns:'] })),
    /lacks a path/,
  );
});

networks('the options of network create make a definition', () => {
  const request = networkRequest('web', {
    subnet: ['10.90.0.0/24', 'fd00:90::/64'],
    gateway: ['fd00:90::1', '10.90.0.1'],
    ipRange: ['10.90.0.128/25', 'fd00:90::10-fd00:90::20'],
    ipv6: true,
    internal: true,
    disableDns: true,
    interfaceName: 'br7',
    opt: ['mtu=1400'],
    route: ['10.1.0.0/16,10.90.0.254', 'fd01::/16,fd00:90::2,50'],
    label: ['a=b=c', 'd'],
  });
  assert.equal(request, {
    name: 'web',
    subnets: [
      {
        subnet: '10.90.0.0/24',
        gateway: '10.90.0.1',
        lease_range: { start_ip: '10.90.0.128', end_ip: '10.90.0.254' },
      },
      {
        subnet: 'fd00:90::/64',
        gateway: 'fd00:90::1',
        lease_range: { start_ip: 'fd00:90::10', end_ip: 'fd00:90::20' },
      },
    ],
    ipv6_enabled: true,
    internal: true,
    dns_enabled: false,
    network_interface: 'br7',
    options: { mtu: '1400' },
    routes: [
      { destination: '10.1.0.0/16', gateway: '10.90.0.254' },
      { destination: 'fd01::/16', gateway: 'fd00:90::2', metric: 50 },
    ],
    labels: { a: 'b=c', d: '' },
  });
  assert.ok(NetworkRequest.safeParse(request).success);
  assert.equal(networkRequest('web', {}), { name: 'web' });
  const overlay = (flags: Parameters<typeof networkRequest>[1]) =>
    networkRequest('all', { driver: 'overlay', ...flags });
  assert.equal(overlay({}), { name: 'all', driver: 'overlay' });
  assert.equal(overlay({ backend: 'wireguard', tunnelPort: '65535' }), {
    name: 'all',
    driver: 'overlay',
    overlay: { backend: 'wireguard', port: 65_535 },
  });
  for (const tunnelPort of ['', '0', '65536', '-1', '1e3', '051820', '51820 '])
    assert.match(
      blamed(() => overlay({ tunnelPort })),
      /invalid --tunnel-port/,
      tunnelPort,
    );
  assert.match(
    blamed(() => networkRequest('web', { tunnelPort: '51820' })),
    /--tunnel-port are for --driver overlay/,
  );
  const onParent = networkRequest('lan', { driver: 'macvlan', opt: ['parent=eth0', 'mode=vepa'], ipamDriver: 'none' });
  assert.equal(onParent, {
    name: 'lan',
    driver: 'macvlan',
    ipam_options: { driver: 'none' },
    options: { parent: 'eth0', mode: 'vepa' },
  });
  assert.ok(NetworkRequest.safeParse(onParent).success);
});

networks('a range given as a block ends where container addresses do', () => {
  const rangeOf = (subnet: string, ipRange: string) =>
    networkRequest('n', { subnet: [subnet], ipRange: [ipRange] }).subnets?.[0]?.lease_range;
  assert.equal(rangeOf('10.90.0.0/24', '10.90.0.0/24'), { start_ip: '10.90.0.1', end_ip: '10.90.0.254' });
  assert.equal(rangeOf('10.90.0.0/16', '10.90.4.7/22'), { start_ip: '10.90.4.0', end_ip: '10.90.7.255' });
  assert.equal(rangeOf('fd00::/64', 'fd00::/120'), { start_ip: 'fd00::1', end_ip: 'fd00::ff' });
  assert.equal(rangeOf('fd00::/64', 'fd00::ff00/120'), { start_ip: 'fd00::ff00', end_ip: 'fd00::ffff' });
  assert.equal(rangeOf('fd00::/16', 'fd00:1:2:3:4:5:6:0/112'), {
    start_ip: 'fd00:1:2:3:4:5:6:0',
    end_ip: 'fd00:1:2:3:4:5:6:ffff',
  });
});

networks('an impossible definition is refused', () => {
  const request = (flags: Parameters<typeof networkRequest>[1]) => () => networkRequest('n', flags);
  const subnet = ['10.90.0.0/24'];
  assert.match(blamed(request({ subnet: ['10.90.0.0'] })), /invalid --subnet "10.90.0.0"/);
  assert.match(blamed(request({ subnet: ['10.90.0.0/33'] })), /invalid --subnet/);
  assert.match(blamed(request({ subnet, gateway: ['10.91.0.1'] })), /in none of the subnets/);
  assert.match(blamed(request({ gateway: ['10.91.0.1'] })), /in none of the subnets/);
  assert.match(blamed(request({ subnet, gateway: ['10.90.0.1', '10.90.0.2'] })), /two gateways/);
  assert.match(blamed(request({ subnet, ipRange: ['10.90.0.9'] })), /invalid --ip-range/);
  assert.match(blamed(request({ subnet, ipRange: ['10.90.0.9-10.90.0.8'] })), /ends before it begins/);
  assert.match(blamed(request({ subnet, ipRange: ['10.90.0.0/16'] })), /in none of the subnets/);
  assert.match(
    blamed(() => pairs(['mtu'], '--opt')),
    /it is key=value/,
  );
  assert.match(
    blamed(() => pairs(['=1'], '--label')),
    /it is key=value/,
  );
  assert.match(
    blamed(() => parseRoute('10.0.0.0/8')),
    /a destination, a gateway/,
  );
  assert.match(
    blamed(() => parseRoute('10.0.0.0/8,gw')),
    /"gw" is not an IP address/,
  );
  assert.match(
    blamed(() => parseRoute('10.0.0.0/8,10.0.0.1,x')),
    /"x" is not a metric/,
  );
});

networks.run();

const words = suite('words');

words('the socket comes from the flag, then the environment, then the default', () => {
  const env = { CLEAT_SOCKET: '/e/s', CLEAT_RUN_DIR: '/e/run' };
  assert.is(socketPath('/flag', env), '/flag');
  assert.is(socketPath(undefined, env), '/e/s');
  assert.is(socketPath(undefined, { ...env, CLEAT_SOCKET: '' }), '/e/run/cleat.sock');
  assert.is(socketPath(undefined, {}), '/run/cleat/cleat.sock');
});

words('ages are readable', () => {
  const age = (seconds: number) => ageText('2030-01-01T00:00:00.000Z', Date.parse('2030-01-01') + seconds * 1000);
  assert.equal([-5, 0, 59, 60, 3599, 3600, 172_799, 172_800].map(age), [
    '0s',
    '0s',
    '59s',
    '1m',
    '59m',
    '1h',
    '47h',
    '2d',
  ]);
});

words('sizes are readable', () => {
  const cases: [number, string][] = [
    [0, '0B'],
    [999, '999B'],
    [1000, '1kB'],
    [1234, '1.23kB'],
    [99_960, '100kB'],
    [999_499, '999kB'],
    [999_500, '1MB'],
    [12_345_678, '12.3MB'],
    [1.5e12, '1.5TB'],
    [2e18, '2000PB'],
  ];
  for (const [bytes, text] of cases) assert.is(sizeText(bytes), text);
});

words('states and notifications are readable', () => {
  const fault = { code: 'ADDRESS_TAKEN' as const, message: 'taken' };
  const well = { fault: null, leftovers: [], drift: [], owner_gone: false };
  const drift = [{ kind: 'link' as const, object: 'eth0', network: 'web' }];
  assert.is(stateText({ ...well, state: 'configuring.leasing' }), 'configuring');
  assert.is(stateText({ ...well, state: 'created', fault }), 'created (ADDRESS_TAKEN)');
  assert.is(stateText({ ...well, state: 'up', fault }), 'up');
  assert.is(stateText({ ...well, state: 'up', drift }), 'up (drift)');
  assert.is(stateText({ ...well, state: 'created', drift }), 'created');
  assert.is(stateText({ ...well, state: 'up', owner_gone: true }), 'up (owner gone)');
  assert.is(stateText({ ...well, state: 'teardownFailed', leftovers: [fault] }), 'teardownFailed (ADDRESS_TAKEN)');
  const t = Date.parse('2030-01-01');
  assert.is(
    notificationText({ type: 'failed', t, id: 'web', event: 'configure', network: null, fault }),
    '2030-01-01T00:00:00.000Z  web  configure failed: taken (ADDRESS_TAKEN)',
  );
  assert.is(
    notificationText({ type: 'done', t, id: 'web', event: 'connect', network: 'back' }),
    '2030-01-01T00:00:00.000Z  web  connect back done',
  );
  assert.is(
    notificationText({ type: 'state', t, id: 'web', from: '', to: 'creating' }),
    '2030-01-01T00:00:00.000Z  web  creating',
  );
  assert.is(eventText('xstate.done.actor.ensureLink'), 'ensureLink done');
  assert.is(eventText('xstate.error.actor.ensureLink'), 'ensureLink failed');
  assert.is(eventText('connect'), 'connect');
  const lost = [{ kind: 'port', object: '8080/tcp', network: null } as const];
  assert.is(whyText({ drift: lost, by: 'nft (pid 7)' }), 'port 8080/tcp, by nft (pid 7)');
  assert.is(whyText({ drift: lost }), 'port 8080/tcp');
  assert.is(whyText({ fault: { code: 'KERNEL', message: 'no' } }), 'no (KERNEL)');
  assert.is(whyText({}), '');
});

words('errors are readable', () => {
  const issues = [
    { path: 'id', message: 'too long' },
    { path: 'networks', message: 'unknown' },
  ];
  const text = explain({ code: 'BAD_REQUEST', message: 'id: too long', issues, hint: 'Mend it.' });
  assert.equal(text, ['Error: id: too long', '  networks: unknown', 'Hint: Mend it.']);
  const kernel = explain({ code: 'KERNEL', message: 'no', step: 'ensureLink', errno: 'EBUSY', legal: ['teardown'] });
  assert.equal(kernel, ['Error: no', '  (step ensureLink, errno EBUSY)', '  Possible now: teardown']);
  assert.is(usage('x', 'y').exitCode, 2);
});

words('a table has no lines, no colour, and no space at the end', async () => {
  assert.equal(
    await table(
      ['ID', 'STATE'],
      [
        ['web', 'up'],
        ['longer', ''],
      ],
    ),
    ['ID       STATE', 'web      up', 'longer'],
  );
  assert.equal(await table(['ID'], []), ['ID']);
});

words.run();
