/** Input from outside, field by field: what is accepted and in which form, what is refused and about which field. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { z } from 'zod';
import { PortRequest } from '../../state/container.ts';
import { AttachmentOptions, LifecycleEvent, PortMapping } from '../../state/event.ts';
import { Fault, FAULTS } from '../../state/faults.ts';
import {
  Cidr,
  ContainerId,
  InterfaceName,
  IpAddress,
  MacAddress,
  Mtu,
  NamespacePath,
  NetworkName,
  Pid,
  PortNumber,
  PublisherUrl,
} from '../../state/names.ts';
import { NetworkDefinition, NetworkOptions, NetworkRequest } from '../../state/network.ts';
import { definition } from '../harness/fixtures.ts';

const schemas = suite('schemas');

function good(title: string, schema: z.ZodType, cases: readonly (readonly [input: unknown, output?: unknown])[]): void {
  schemas(`${title}: taken`, () => {
    for (const [input, output = input] of cases) {
      const { data, error } = schema.safeParse(input);
      assert.is(error, undefined, `${JSON.stringify(input)}: ${error?.message}`);
      assert.equal(data, output, JSON.stringify(input));
    }
  });
}

function bad(title: string, schema: z.ZodType, cases: readonly unknown[]): void {
  schemas(`${title}: refused`, () => {
    for (const input of cases) assert.not(schema.safeParse(input).success, `${JSON.stringify(input)} is taken`);
  });
}

const NOT_NAMES = ['', '.', '..', '../x', 'a/b', '/a', '-a', '_a', 'a b', 'a\n', 'a\0', 'ä', 'a:b', 'a$b', 7, null];

good('container ids', ContainerId, [['a'], ['0'], ['A.b-c_d'], ['x'.repeat(100)], ['a..b']]);
bad('container ids', ContainerId, [...NOT_NAMES, 'x'.repeat(101)]);
good('network names', NetworkName, [['web'], ['n'.repeat(64)]]);
bad('network names', NetworkName, [...NOT_NAMES, 'n'.repeat(65)]);
good('interface names', InterfaceName, [['eth0'], ['e'.repeat(15)], ['a.100']]);
bad('interface names', InterfaceName, [...NOT_NAMES, 'e'.repeat(16)]);

good('addresses', IpAddress, [
  ['10.0.0.1'],
  ['FD00:0:0::1', 'fd00::1'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['::ffff:a00:1', '10.0.0.1'],
  ['::'],
]);
bad('addresses', IpAddress, [
  '',
  '10.0.0',
  '10.0.0.256',
  '010.0.0.1',
  '1',
  '0x7f.1',
  'fe80::1%eth0',
  '10.0.0.1/24',
  ' ::1',
  1,
]);

good('subnets', Cidr, [
  ['10.89.0.0/24'],
  ['10.89.0.7/24', '10.89.0.0/24'],
  ['10.89.0.7/32'],
  ['0.0.0.0/0'],
  ['FD00:0::5/64', 'fd00::/64'],
]);
bad('subnets', Cidr, [
  '10.89.0.0',
  '10.89.0.0/33',
  '10.89.0.0/-1',
  '10.89.0.0/',
  'fd00::/129',
  '10.89/16',
  '10.0.0.0/024',
  '/24',
]);

good('MAC addresses', MacAddress, [['02:00:5E:10:00:01', '02:00:5e:10:00:01'], ['fe:ff:ff:ff:ff:ff']]);
bad('MAC addresses', MacAddress, [
  '01:00:5e:00:00:01',
  'ff:ff:ff:ff:ff:ff',
  '03:00:00:00:00:00',
  '00:00:00:00:00:00',
  '02:00:5e:10:00',
  '02-00-5e-10-00-01',
  '02:00:5e:10:00:01:02',
  '02:00:5e:10:00:0g',
  ' 02:00:5e:10:00:01',
  '02:00:5e:10:00:01\n',
]);

good('namespace paths', NamespacePath, [['/run/netns/x'], ['/proc/1/ns/net'], ['/a/..b']]);
bad('namespace paths', NamespacePath, ['run/netns/x', '', '/run/../etc', '/run/..', '/a\0b', `/${'x'.repeat(1024)}`]);

good('numbers', PortNumber, [[1], [65_535]]);
bad('ports', PortNumber, [0, -1, 65_536, 1.5, '80', Number.NaN]);
bad('pids', Pid, [0, -1, 4_194_305, 1.5, '1']);
bad('MTUs', Mtu, [67, 65_536, 1500.5]);

good('port mappings', PortMapping, [
  [{ container_port: 80 }],
  [{ host_ip: '', host_port: 0, container_port: 80, protocol: 'sctp', range: 1 }],
  [
    { host_ip: '::FFFF:127.0.0.1', container_port: 80 },
    { host_ip: '127.0.0.1', container_port: 80 },
  ],
  [{ host_port: 65_535, container_port: 1 }],
  [{ host_port: 1, container_port: 1, range: 65_535 }],
]);
bad('port mappings', PortMapping, [
  {},
  { container_port: 0 },
  { container_port: 80, range: 0 },
  { container_port: 65_535, range: 2 },
  { container_port: 1, host_port: 65_535, range: 2 },
  { container_port: 80, protocol: 'TCP' },
  { container_port: 80, host_ip: 'localhost' },
  { container_port: 80, hostPort: 80 },
]);

good('wishes', PortRequest, [
  [{ container_port: 80 }],
  [{ host_ip: '', container_port: 80, outer_ip: '' }],
  [
    { container_port: 80, outer_ip: 'FD00::1' },
    { container_port: 80, outer_ip: 'fd00::1' },
  ],
]);
bad('wishes', PortRequest, [
  { container_port: 80, outer_ip: 'localhost' },
  { container_port: 80, outer: '' },
  { container_port: 65_535, range: 2, outer_ip: '' },
]);

good('publishers', PublisherUrl, [
  ['http://192.168.127.1:80'],
  ['http://gateway.containers.internal'],
  ['http://[fd00::1]:8080'],
  ['http://localhost:80/', 'http://localhost:80'],
  ['unix:///run/gvproxy.sock'],
  [`unix:///${'x'.repeat(106)}`],
]);
bad('publishers', PublisherUrl, [
  '',
  'gateway',
  'https://192.168.127.1',
  'http://',
  'http://a:65536',
  'http://a:0',
  'http://a:b',
  'http://a/services',
  'http://a?b',
  'http://a#b',
  'http://user:word@a',
  'http://a b',
  'http://[fd00::1',
  'http://[::g]',
  'unix://run/gvproxy.sock',
  'unix:///',
  'unix:///a b',
  'unix:///a\n',
  `unix:///${'x'.repeat(107)}`,
]);

good('attachment options', AttachmentOptions, [[{}], [{ static_ips: ['FD00::1'] }, { static_ips: ['fd00::1'] }]]);
bad('attachment options', AttachmentOptions, [
  { static_ips: Array.from({ length: 17 }, () => '10.0.0.1') },
  { static_mac: '01:00:00:00:00:00' },
  { interface_name: 'a/b' },
  { aliases: ['x'.repeat(256)] },
  { unknown: 1 },
]);

good('events', LifecycleEvent, [
  [{ type: 'create', id: 'a' }],
  [
    {
      type: 'create',
      id: 'a',
      netns: { mode: 'pid', pid: 7 },
      networks: { web: {} },
      port_mappings: [],
      outside: '/run/netns/o',
    },
  ],
  [{ type: 'connect', id: 'a', network: 'web' }],
  [{ type: 'teardown', id: 'a' }],
]);
bad('events', LifecycleEvent, [
  {},
  { type: 'create' },
  { type: 'create', id: '../../etc' },
  { type: 'destroy', id: 'a' },
  { type: 'teardown', id: 'a', force: true },
  { type: 'create', id: 'a', networks: { '../web': {} } },
  { type: 'create', id: 'a', networks: { web: { ip: '10.0.0.1' } } },
  { type: 'create', id: 'a', netns: { mode: 'path', path: '../x' } },
  { type: 'create', id: 'a', netns: { mode: 'host', path: '/x' } },
  { type: 'publish', id: 'a', port_mappings: [] },
  { type: 'publish', id: 'a', port_mappings: Array.from({ length: 4097 }, () => ({ container_port: 1 })) },
]);

good('networks', NetworkRequest, [
  [{ name: 'web' }],
  [
    { name: 'web', subnets: [{ subnet: '10.5.0.9/16' }] },
    { name: 'web', subnets: [{ subnet: '10.5.0.0/16' }] },
  ],
]);
bad('networks', NetworkRequest, [{ name: 'web', driver: 'weave' }, { name: 'web', ipam: {} }, { name: '..' }]);
bad('network options', NetworkOptions, [
  { mtu: 1500 },
  { mtu: '67' },
  { mtu: '65536' },
  { mtu: '1e3' },
  { isolate: 'yes' },
  { vlan: '4095' },
  { vlan: 'x' },
  { bclim: '1.5' },
  { mode: 'router' },
  { parent: 'eth0' },
]);
/** As `podman network inspect` prints it (4.3): what is empty is left out, and an internal one has no gateway. */
const PODMANS = {
  name: 'lan',
  id: 'b'.repeat(64),
  driver: 'macvlan',
  network_interface: 'eth0',
  created: '2025-01-01T00:00:00.123456789Z',
  subnets: [{ subnet: '192.0.2.0/24', gateway: '192.0.2.1' }],
  ipv6_enabled: false,
  internal: false,
  dns_enabled: false,
  options: { bclim: '-1', mode: 'bridge', metric: '200', no_default_route: '1' },
  ipam_options: { driver: 'host-local' },
};
const EMPTY = { labels: {}, routes: [], network_dns_servers: [] };
good('definitions', NetworkDefinition, [
  [definition('web', '10.89.0.0/24', '10.89.0.1')],
  [PODMANS, { ...EMPTY, ...PODMANS }],
  [
    { ...PODMANS, internal: true, subnets: [{ subnet: '192.0.2.0/24' }] },
    { ...EMPTY, ...PODMANS, internal: true, subnets: [{ subnet: '192.0.2.0/24' }] },
  ],
  // Without -o parent.
  [
    { ...PODMANS, dns_enabled: true, network_interface: undefined },
    { ...EMPTY, ...PODMANS, dns_enabled: true, network_interface: '' },
  ],
  [
    { ...PODMANS, subnets: undefined, ipam_options: { driver: 'none' } },
    { ...EMPTY, ...PODMANS, subnets: [], ipam_options: { driver: 'none' } },
  ],
]);
bad('definitions', NetworkDefinition, [
  { ...definition('web', '10.89.0.0/24', '10.89.0.1'), id: 'short' },
  { ...definition('web', '10.89.0.0/24', '10.89.0.1'), subnets: [] },
  { ...definition('web', '10.89.0.0/24', '10.89.0.1'), subnets: [{ subnet: '10.89.0.0/24' }] },
  { ...PODMANS, subnets: [] },
  { ...definition('web', '10.89.0.0/24', '10.89.0.1'), network_interface: undefined },
  { ...PODMANS, ipam_options: { driver: 'none' } },
  { ...PODMANS, ipam_options: { driver: 'dhcp' } },
]);

schemas('the error names an unknown field', () => {
  const { error } = LifecycleEvent.safeParse({ type: 'create', id: 'a', networks: { web: { static_ip: '10.0.0.1' } } });
  assert.match(JSON.stringify(error?.issues), /static_ip/);
});

schemas('input cannot pollute a prototype', () => {
  const event = JSON.parse('{"type":"create","id":"a","networks":{"__proto__":{"aliases":["x"]}}}') as unknown;
  const { data } = LifecycleEvent.safeParse(event);
  assert.is(({} as { aliases?: unknown }).aliases, undefined);
  const networks = data?.type === 'create' ? data.networks : {};
  assert.is((networks as { aliases?: unknown }).aliases, undefined);
});

schemas('every fault has a code of the table, a status and a hint', () => {
  for (const [code, [status, hint]] of Object.entries(FAULTS)) {
    assert.ok(Fault.safeParse({ code, message: '' }).success);
    assert.ok(status >= 400 && status < 600 && hint.endsWith('.'), code);
  }
  assert.not(Fault.safeParse({ code: 'NEW', message: '' }).success);
});

schemas.run();
