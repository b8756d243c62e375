/**
 * What Podman asks for, translated: the meaning of each field and option, what is left open, and what is refused; and the
 * answer in netavark's shape. No daemon.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { toAnswer, toAttachment } from '../../service/fronts/netavark.ts';
import { parse } from '../../service/requests/parse.ts';
import { FaultError } from '../../state/faults.ts';
import { NetavarkSetup, NetavarkTeardown, type NetworkInfo } from '../../state/fronts/netavark.ts';
import { dual, id64, mapping, network, request } from '../harness/netavark.ts';

const translation = suite('translation of netavark');
const NETNS = '/run/netns/netns-1';

/** As it arrives: JSON. */
const translate = (setup: unknown) => toAttachment(NETNS, parse(NetavarkSetup, JSON.parse(JSON.stringify(setup))));
const described = (info: NetworkInfo) => translate(request('c', 5, [info])).described[0]?.request;
const options = (asked: Record<string, string>, more: Partial<NetworkInfo> = {}) =>
  described(network('web', 1, { options: asked, ...more }))?.options;

function refused(setup: unknown, message: RegExp): void {
  assert.throws(
    () => translate(setup),
    (error: unknown) =>
      error instanceof FaultError && error.fault.code === 'BAD_REQUEST' && message.test(error.message),
    `${message}`,
  );
}

translation('what Podman 4.3 sends', () => {
  const { described: networks, ...attachment } = translate(
    request('web1', 5, [dual('web', 1, { dns_enabled: true })], { port_mappings: [mapping(8080, 80)] }),
  );
  assert.equal(attachment, {
    id: id64('web1'),
    name: 'web1',
    netns: NETNS,
    networks: {
      web: {
        interface_name: 'eth0',
        static_ips: ['10.89.1.5', 'fd00:89:1::5'],
        aliases: ['web1', id64('web1').slice(0, 12)],
      },
    },
    ports: [{ host_ip: '', host_port: 8080, container_port: 80, protocol: 'tcp', range: 1 }],
    portsReserved: true,
    numberedHostLinks: true,
  });
  assert.equal(networks, [
    {
      engine: 'netavark',
      id: id64('web'),
      created: '2023-01-09T12:14:51.123456789Z',
      request: {
        name: 'web',
        driver: 'bridge',
        network_interface: 'podman1',
        subnets: [
          { subnet: '10.89.1.0/24', gateway: '10.89.1.1' },
          { subnet: 'fd00:89:1::/64', gateway: 'fd00:89:1::1' },
        ],
        internal: false,
        labels: {},
        options: { isolate: 'false' },
        routes: [],
        network_dns_servers: [],
        ipam_options: { driver: 'host-local' },
      },
    },
  ]);
});

translation('fields of later versions are passed over, and null is nothing', () => {
  const setup = request('c', 5, [network('web', 1, { options: null, routes: null, network_dns_servers: null })], {
    port_mappings: null,
    dns_servers: null,
  });
  const newer = { ...setup, container_hostname: 'h', something: { new: true } };
  assert.equal(translate(newer).ports, []);
  assert.equal(Object.keys(translate(newer)), Object.keys(translate(setup)));
});

translation('a list of networks keeps its order, a map has that of the interfaces', () => {
  const infos = [network('a', 1), network('b', 2), network('c', 3)];
  const setup = request('c', 5, infos);
  const names = { a: 'eth10', b: 'eth9', c: 'eth1' };
  const map = Object.fromEntries(
    Object.entries(names).map(([name, interface_name]) => [name, { interface_name, static_ips: [] }]),
  );
  assert.equal(Object.keys(translate({ ...setup, networks: map }).networks), ['c', 'b', 'a']);
  const list = Object.entries(map).map(([name, wish]) => ({ name, ...wish }));
  assert.equal(Object.keys(translate({ ...setup, networks: list }).networks), ['a', 'b', 'c']);
});

translation('isolate is off with netavark 1, strict with netavark 2, and as it is asked for with both', () => {
  const isolated = (asked: Record<string, string>, list: boolean) => {
    const setup = request('c', 5, [network('web', 1, { options: asked })]);
    const { web } = setup.networks as Record<string, object>;
    return translate(list ? { ...setup, networks: [{ name: 'web', ...web }] } : setup).described[0]?.request.options
      ?.isolate;
  };
  assert.is(isolated({}, false), 'false');
  assert.is(isolated({}, true), 'strict');
  for (const list of [false, true])
    for (const isolate of ['true', 'false', 'strict']) assert.is(isolated({ isolate }, list), isolate);
});

translation('options', () => {
  const all = { mtu: '1400', metric: '50', no_default_route: 'true', outbound_addr4: '192.0.2.1', vlan: '7' };
  assert.equal(options(all), { ...all, isolate: 'false' });
  assert.equal(options({ mtu: '0', mode: '', 'com.docker.network.bridge.name': 'x' }), { isolate: 'false' });
  assert.equal(options({ mode: 'managed' }), { mode: 'managed', isolate: 'false' });
  assert.equal(options({ mode: 'unmanaged', isolate: 'true' }), { mode: 'unmanaged' }, 'no rules on bridges of others');
  refused(request('c', 5, [network('web', 1, { options: { vrf: 'blue' } })]), /^network web: the option vrf \(blue\)/);
  refused(request('c', 5, [network('web', 1, { options: { mtu: 'big' } })]), /^network web: options.mtu: /);
  refused(request('c', 5, [network('web', 1, { options: { isolate: 'maybe' } })]), /^network web: options.isolate: /);
  refused(request('c', 5, [network('web', 1, { options: { mode: 'routed' } })]), /^network web: options.mode: /);
});

translation('drivers', () => {
  const lan = (driver: string, asked: Record<string, string>) =>
    network('lan', 1, { driver, network_interface: 'lan0', options: asked });
  assert.equal(described(lan('macvlan', { mode: 'vepa', bclim: '1', metric: '7' }))?.options, {
    mode: 'vepa',
    bclim: '1',
    metric: '7',
  });
  assert.equal(described(lan('ipvlan', { mode: 'l3', parent: 'lan0' }))?.options, { mode: 'l3', parent: 'lan0' });
  assert.is(described(network('lan', 1, { driver: 'macvlan', network_interface: null }))?.network_interface, undefined);
  refused(request('c', 5, [lan('overlay', {})]), /^network lan: unknown network driver overlay/);
  refused(request('c', 5, [network('web', 1, { network_interface: '' })]), /no bridge interface name given/);
  assert.equal(described(lan('macvlan', {}))?.subnets, [{ subnet: '10.89.1.0/24', gateway: '10.89.1.1' }]);
  assert.equal(
    described({ ...lan('macvlan', {}), subnets: [{ subnet: '10.89.1.0/24' }] })?.subnets,
    [{ subnet: '10.89.1.0/24' }],
    'no gateway is needed on a LAN',
  );
});

translation('a bridge without a gateway leads nowhere, and leaves the first address to the first container', () => {
  const bare = network('in', 1, { internal: true, subnets: [{ subnet: '10.89.1.7/24' }, { subnet: 'fd00:1::/64' }] });
  const request_ = described(bare);
  assert.equal(request_?.subnets, [
    { subnet: '10.89.1.0/24', gateway: '10.89.1.254' },
    { subnet: 'fd00:1::/64', gateway: 'fd00:1::ffff:ffff:ffff:ffff' },
  ]);
  assert.is(request_?.options?.no_default_route, 'true');
});

translation('an id that is not of 64 hex digits stands for one, the same each time', () => {
  const [one, same, other] = ['one', 'one', 'two'].map(
    (id) => translate(request('c', 5, [network('web', 1, { id })])).described[0]?.id,
  );
  assert.match(one ?? '', /^[0-9a-f]{64}$/);
  assert.is(one, same);
  assert.is.not(one, other);
});

translation('ports: several protocols, ranges, and only for networks that lead out', () => {
  const ports = [
    mapping(8053, 53, { protocol: 'tcp,udp', range: 3, host_ip: '192.0.2.1' }),
    mapping(80, 80, { range: 0, protocol: '' }),
  ];
  const asked = (...infos: NetworkInfo[]) => translate(request('c', 5, infos, { port_mappings: ports })).ports;
  assert.equal(asked(network('web', 1)), [
    { host_ip: '192.0.2.1', host_port: 8053, container_port: 53, range: 3, protocol: 'tcp' },
    { host_ip: '192.0.2.1', host_port: 8053, container_port: 53, range: 3, protocol: 'udp' },
    { host_ip: '', host_port: 80, container_port: 80, range: 1, protocol: 'tcp' },
  ]);
  const inner = network('in', 2, { internal: true });
  assert.equal(asked(inner), []);
  assert.equal(asked(network('br', 2, { options: { mode: 'unmanaged' } })), []);
  assert.equal(asked(network('lan', 2, { driver: 'macvlan' })), []);
  assert.is(asked(inner, network('web', 1)).length, 3);
  refused(
    request('c', 5, [network('web', 1)], { port_mappings: [mapping(1, 2, { protocol: 'icmp' })] }),
    /port mapping: protocol/,
  );
  refused(request('c', 5, [network('web', 1)], { port_mappings: [mapping(1, 65_535, { range: 2 })] }), /65535/);
});

translation('names: only those that can be in DNS, none without DNS, and none that hides a public one', () => {
  const aliases = (name: string, given: string[], dns_enabled = true) => {
    const setup = request(name, 5, [network('web', 1, { dns_enabled })]);
    (setup.networks as Record<string, { aliases: string[] }>).web!.aliases = given;
    return translate(setup).networks.web?.aliases;
  };
  assert.equal(aliases('web1', ['DB', 'db', 'not a name', '-x', 'localhost', '']), ['web1', 'db']);
  assert.equal(aliases('example.org', ['api.example.org']), ['api.example.org'], 'what was asked for may have dots');
  assert.is(aliases('web1', ['db'], false), undefined);
});

translation('what is missing or not one of its kind is named', () => {
  const setup = request('c', 5, [network('web', 1)]);
  const { web } = setup.networks as Record<string, object>;
  refused({}, /^container_id: /);
  refused({ ...setup, container_id: '../c' }, /^container_id: an id is letters/);
  refused({ ...setup, network_info: {} }, /^network info for network web not found/);
  refused({ ...setup, network_info: { web: network('db', 1) } }, /network web is that of db/);
  refused({ ...setup, networks: { web: { ...web, static_ips: null } } }, /^network web: no static ips provided/);
  refused(
    { ...setup, networks: { web: { ...web, interface_name: '' } } },
    /^networks.web.interface_name: no container/,
  );
  refused({ ...setup, networks: [web] }, /^networks: 0.name: /);
  refused({ ...setup, networks: { web: { ...web, static_mac: '01:00:5e:00:00:01' } } }, /^network web: static_mac: /);
  refused(
    { ...setup, networks: { web: { ...web, options: { host_interface_name: 'a/b' } } } },
    /host_interface_name: an/,
  );
  refused(
    { ...setup, network_info: { web: { ...network('web', 1), subnets: [{ subnet: '10.89.1.0' }] } } },
    /^network web: subnets/,
  );
  refused(
    {
      ...setup,
      network_info: { web: { ...network('web', 1), routes: [{ destination: '10.0.0.0/8', route_type: 'blackhole' }] } },
    },
    /blackhole is not supported/,
  );
  assert.is(
    translate({ ...setup, networks: { web: { ...web, static_mac: '92-11-22-33-44-55' } } }).networks.web?.static_mac,
    '92:11:22:33:44:55',
  );
  assert.throws(() => toAttachment('netns', parse(NetavarkSetup, setup)), /a namespace path is absolute/);
});

translation('a teardown needs no more than the id and the names', () => {
  const { container_id, networks } = parse(NetavarkTeardown, {
    container_id: 'c',
    networks: { web: { static_ips: 1 } },
    network_info: 3,
  });
  assert.equal([container_id, Object.keys(networks)], ['c', ['web']]);
});

translation('the answer has the gateways that Podman named, and its servers where there is no DNS', () => {
  const attachment = {
    network: 'web',
    link: 'eth0',
    mac: '02:00:00:00:00:01',
    addresses: [{ address: '10.89.1.5', prefix: 24, gateway: '10.89.1.1' }],
    dns: null,
  };
  const answer = (info: NetworkInfo, dns: { listen: string[]; servers: string[] } | null) =>
    toAnswer(parse(NetavarkSetup, request('c', 5, [info, network('gone', 9)], { dns_servers: ['9.9.9.9'] })), {
      attachments: [{ ...attachment, dns }],
    } as never);
  const interfaces = (gateway: string | null) => ({
    eth0: { mac_address: '02:00:00:00:00:01', subnets: [{ gateway, ipnet: '10.89.1.5/24' }] },
  });
  assert.equal(answer(network('web', 1), { listen: ['10.89.1.1'], servers: [] }), {
    web: { dns_search_domains: ['dns.podman'], dns_server_ips: ['10.89.1.1'], interfaces: interfaces('10.89.1.1') },
  });
  assert.equal(answer(network('web', 1, { subnets: [{ subnet: '10.89.1.0/24' }] }), null), {
    web: { dns_search_domains: [], dns_server_ips: ['9.9.9.9'], interfaces: interfaces(null) },
  });
});

translation.run();
