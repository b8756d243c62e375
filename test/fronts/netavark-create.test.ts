/**
 * `netavark create`: definitions are completed from what Podman says is in use, and what cannot be carried out is refused. No
 * daemon.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createNetwork } from '../../service/fronts/netavark-create.ts';
import { toAttachment } from '../../service/fronts/netavark.ts';
import { parse } from '../../service/requests/parse.ts';
import { FaultError } from '../../state/faults.ts';
import { NetavarkCreate, NetavarkSetup } from '../../state/fronts/netavark.ts';
import { id64 } from '../harness/netavark.ts';

const tests = suite('netavark create');
const NOW = '2026-01-01T00:00:00.000Z';
const id = id64('web');

const create = (network: object, used: object = {}, options: object = {}) =>
  createNetwork(
    parse(NetavarkCreate, {
      network: { name: 'web', id, driver: 'bridge', ...network },
      used: { interfaces: null, names: {}, subnets: [], ...used },
      options: {
        subnet_pools: [{ base: '10.89.0.0/16', size: 24 }],
        default_interface_name: 'podman',
        check_used_subnets: true,
        ...options,
      },
    }),
    { now: NOW, defaultLink: 'eth0' },
  );
const refused = (message: RegExp, ...words: Parameters<typeof create>): void =>
  assert.throws(
    () => create(...words),
    (error: unknown) => error instanceof FaultError && message.test(error.message),
  );

tests('a name and an id are enough', () => {
  assert.equal(create({}), {
    name: 'web',
    id,
    driver: 'bridge',
    network_interface: 'podman1',
    created: NOW,
    subnets: [{ subnet: '10.89.0.0/24', gateway: '10.89.0.1' }],
    ipv6_enabled: false,
    internal: false,
    dns_enabled: false,
    labels: {},
    options: {},
    routes: [],
    ipam_options: { driver: 'host-local' },
  });
});

tests('what is in use is not chosen', () => {
  const used = {
    interfaces: ['podman1', 'podman3'],
    names: { podman2: id },
    subnets: ['10.89.0.0/24', '10.89.1.7/24'],
  };
  const { network_interface, subnets } = create({}, used);
  assert.is(network_interface, 'podman4');
  assert.equal(subnets, [{ subnet: '10.89.2.0/24', gateway: '10.89.2.1' }]);
  assert.is(create({}, used, { check_used_subnets: false }).subnets[0]?.subnet, '10.89.0.0/24');
  refused(/^network already exists web$/, {}, { names: { web: id } });
  refused(/podman1 is used by/, { network_interface: 'podman1' }, used);
  refused(/^subnet 10\.89\.0\.128\/25 is already used on the host/, { subnets: [{ subnet: '10.89.0.128/25' }] }, used);
});

tests('both families, where IPv6 is asked for', () => {
  const families = (network: object) => create(network).subnets.map(({ subnet }) => (subnet.includes(':') ? 6 : 4));
  assert.equal(families({ ipv6_enabled: true }), [4, 6]);
  assert.equal(families({ ipv6_enabled: true, subnets: [{ subnet: 'fd00:1::/64' }] }), [6, 4]);
  assert.equal(families({ ipv6_enabled: true, subnets: [{ subnet: '10.1.0.0/24' }] }), [4, 6]);
  assert.equal(families({ subnets: [{ subnet: 'fd00:1::/64' }] }), [6]);
  assert.ok(create({ subnets: [{ subnet: 'fd00:1::/64' }] }).ipv6_enabled);
});

tests('gateways: named ones are kept, and an internal network without DNS needs none', () => {
  const gateways = (network: object) => create(network).subnets.map(({ gateway }) => gateway);
  assert.equal(gateways({ internal: true }), [undefined]);
  assert.equal(gateways({ internal: true, dns_enabled: true }), ['10.89.0.1']);
  assert.equal(gateways({ internal: true, subnets: [{ subnet: '10.1.0.0/24', gateway: '10.1.0.9' }] }), ['10.1.0.9']);
  refused(/10\.2\.0\.1 is not in subnet 10\.1\.0\.0\/24/, {
    subnets: [{ subnet: '10.1.0.0/24', gateway: '10.2.0.1' }],
  });
});

tests('options, servers, drivers', () => {
  assert.equal(create({ options: { mtu: '1400', isolate: 'strict' }, labels: { a: 'b' } }).options, {
    mtu: '1400',
    isolate: 'strict',
  });
  refused(/options/, { options: { colour: 'red' } });
  refused(/mtu/, { options: { mtu: 'big' } });
  assert.equal(create({ dns_enabled: true, network_dns_servers: ['192.0.2.1'] }).network_dns_servers, ['192.0.2.1']);
  refused(/DNS is not enabled/, { network_dns_servers: ['192.0.2.1'] });
  assert.not.ok(create({ dns_enabled: true, ipam_options: { driver: 'none' } }).dns_enabled);
  const lan = create({
    driver: 'macvlan',
    dns_enabled: true,
    subnets: [{ subnet: '192.0.2.0/24' }],
    options: { mode: 'vepa' },
  });
  assert.equal([lan.network_interface, lan.dns_enabled, lan.options], ['eth0', false, { mode: 'vepa' }]);
  refused(/dhcp/, { driver: 'macvlan' });
  refused(/driver/, { driver: 'overlay' });
  refused(/blackhole is not supported/, { routes: [{ destination: '10.9.0.0/16', route_type: 'blackhole' }] });
});

tests('what is created can be set up', () => {
  const network = JSON.parse(JSON.stringify(create({ ipv6_enabled: true, dns_enabled: true }))) as object;
  const setup = parse(NetavarkSetup, {
    container_id: 'c',
    container_name: 'c',
    networks: [{ name: 'web', interface_name: 'eth0', static_ips: ['10.89.0.2'] }],
    network_info: { web: network },
  });
  assert.is(toAttachment('/run/netns/c', setup).described[0]?.id, id);
});

tests.run();
