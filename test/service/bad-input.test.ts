/**
 * Requests that the daemon refuses by the request alone: bad syntax, names that are paths, things that do not exist or
 * exist already. Each refusal has a stable code, the right status and a hint. After each test no byte in the kernel or
 * on disk has changed.
 *
 * Limits: conflicts.test.ts has what only configure can find; bad-clients.test.ts has clients that break off.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FaultCode } from '../../state/faults.ts';
import { type Answer, on, TestDaemon } from '../harness/daemon.ts';
import { calm, assertComesBackTo, inspect } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const ENDED = spawnSync('true').pid;

/** Checks the status, the code, and that the error is complete. */
async function refused(what: string, send: () => Promise<Answer>, status: number, code: FaultCode): Promise<Answer> {
  const answer = await send();
  const { error } = answer.body;
  assert.is(`${answer.status} ${error?.code}`, `${status} ${code}`, `${what}: ${answer.status} ${answer.text}`);
  assert.ok((error?.hint ?? '') !== '' && (error?.message ?? '') !== '', `${what}: no hint or message: ${answer.text}`);
  return answer;
}

const bad = suite('bad input');

/** A test that must end with no byte changed and a daemon that serves: a container comes and goes. */
function harmless(name: string, body: () => Promise<void>): void {
  bad(name, async () => {
    const before = inspect(daemon);
    try {
      await body();
      await assertComesBackTo(before, () => inspect(daemon));
    } finally {
      await daemon.request('DELETE', '/v1/networks/n'); // containers that were made by mistake
    }
    await daemon.up('witness', { networks: on('web') });
    await daemon.down('witness');
    await assertComesBackTo(before, () => inspect(daemon));
  });
}

bad.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }] });
  await daemon.up('holder', { networks: on('web') });
  await daemon.done({ type: 'create', id: 'onhost', netns: { mode: 'host' } });
  await calm();
});
bad.after(async () => {
  await daemon.stop();
});

const create = (more: object) => ({ type: 'create', id: 'x', ...more });

const NOT_EVENTS: Record<string, unknown> = {
  'JSON cut short': '{"type":"create","id":',
  'no body': '',
  'a list': [],
  nothing: 'null',
  text: '"create"',
  'a number': '7',
  'JSON nested 200,000 deep': `${'['.repeat(200_000)}${']'.repeat(200_000)}`,
  'an attack on prototypes': '{"type":"create","id":"x","__proto__":{"outside":"/x"}}',
  'no type': { id: 'x' },
  'an unknown type': { type: 'destroy', id: 'x' },
  'no id': { type: 'create' },
  'an unknown field': create({ privileged: true }),
  'an unknown field in an option': create({ networks: { web: { ip: '10.70.0.9' } } }),
  'an unknown namespace mode': create({ netns: { mode: 'slirp' } }),
  'a mode without what it needs': create({ netns: { mode: 'path' } }),
  'networks as a list': create({ networks: ['web'] }),
  'ports as a number': create({ port_mappings: 80 }),
  'a port as text': create({ port_mappings: [{ container_port: '80' }] }),
  'port 0 in the container': create({ port_mappings: [{ container_port: 0 }] }),
  'port 65536': create({ port_mappings: [{ container_port: 80, host_port: 65_536 }] }),
  'a range past the last port': create({ port_mappings: [{ container_port: 65_000, host_port: 1024, range: 1000 }] }),
  'an unknown protocol': create({ port_mappings: [{ container_port: 80, protocol: 'icmp' }] }),
  'a host IP that is a name': create({ port_mappings: [{ container_port: 80, host_ip: 'localhost' }] }),
  'a host IP that is multicast': create({ port_mappings: [{ container_port: 80, host_ip: 'ff02::1' }] }),
  'a host IP that is link-local': create({ port_mappings: [{ container_port: 80, host_ip: 'fe80::1' }] }),
  'a host IP at the end of the link-local range': create({
    port_mappings: [{ container_port: 80, host_ip: 'febf::1' }],
  }),
  'a host IP with an interface': create({ port_mappings: [{ container_port: 80, host_ip: 'fe80::1%lo' }] }),
  'a pid as text': create({ netns: { mode: 'pid', pid: '1' } }),
  'a negative pid': create({ bound_to: -1 }),
  'an address that is none': create({ networks: { web: { static_ips: ['10.70.0.300'] } } }),
  'a group MAC address': create({ networks: { web: { static_mac: '01:00:5e:00:00:01' } } }),
  'the broadcast MAC address': create({ networks: { web: { static_mac: 'ff:ff:ff:ff:ff:ff' } } }),
  'the zero MAC address': create({ networks: { web: { static_mac: '00:00:00:00:00:00' } } }),
  'a relative namespace path': create({ netns: { mode: 'path', path: 'run/netns/x' } }),
  'a namespace path with ..': create({ netns: { mode: 'path', path: '/run/netns/../../etc/passwd' } }),
  'an outside path with ..': create({ outside: '/run/netns/../x' }),
  'a connect without a network': { type: 'connect', id: 'holder' },
  'a publish of nothing': { type: 'publish', id: 'holder', port_mappings: [] },
  'an alias that is no host name': { type: 'connect', id: 'holder', network: 'web', options: { aliases: ['a b'] } },
  'an alias with a line break': create({ networks: { web: { aliases: ['a\nb'] } } }),
  'an alias that ends in a dot': create({ networks: { web: { aliases: ['a.'] } } }),
  'too many aliases': create({ networks: { web: { aliases: Array.from({ length: 65 }, (_, n) => `a${n}`) } } }),
  'a priority as text': create({ networks: { web: { gateway_priority: '1' } } }),
  'a priority that is no whole number': create({ networks: { web: { gateway_priority: 0.5 } } }),
  'a priority out of bounds': create({ networks: { web: { gateway_priority: 1e9 } } }),
  'a host name with a slash': create({ hostname: '../etc/hosts' }),
  'a host name of 254 letters': create({ hostname: 'a'.repeat(254) }),
  'a pod that is a path': create({ pod: 'a/b' }),
  'files that are not yes or no': create({ files: '/etc' }),
  'a network that is a path': { type: 'connect', id: 'holder', network: '../web' },
  'force as text': { type: 'disconnect', id: 'holder', network: 'web', force: 'yes' },
  'full as a number': { type: 'reload', id: 'holder', full: 1 },
  'reload with an unknown word': { type: 'reload', id: 'holder', hard: true },
  'ports from nobody': { type: 'publish', id: 'holder', port_mappings: [{ container_port: 80 }], from: '' },
  'ports from a path': { type: 'publish', id: 'holder', port_mappings: [{ container_port: 80 }], from: '../x' },
  'ports that lead to two places': create({
    port_mappings: [
      { host_port: 8080, container_port: 80 },
      { host_port: 8080, container_port: 81, host_ip: '127.0.0.1' },
    ],
  }),
  'a range across another': create({
    port_mappings: [
      { host_port: 8000, container_port: 80, range: 10 },
      { host_port: 8009, container_port: 1 },
    ],
  }),
};

harmless('an invalid event is a bad request', async () => {
  for (const [what, body] of Object.entries(NOT_EVENTS)) {
    await refused(what, () => daemon.event(body as object), 400, 'BAD_REQUEST');
  }
});

harmless('the answer names the field and says why', async () => {
  const unknown = await daemon.event(create({ privileged: true }));
  assert.match(unknown.body.error?.message ?? '', /privileged/);
  const wrong = await daemon.event(create({ networks: { web: { static_ips: ['10.70.0.300'] } } }));
  assert.is(wrong.body.error?.issues?.[0]?.path, 'networks.web.static_ips.0');
});

harmless('ids, network and interface names that are paths or no names are bad requests', async () => {
  const paths = ['../x', '/etc/passwd', 'a/b', '..', '.', '', 'a b', 'a\0b', 'a\nb', '-a', 'ä', 'a'.repeat(101)];
  for (const name of paths) {
    await refused(`id ${name}`, () => daemon.event({ type: 'create', id: name }), 400, 'BAD_REQUEST');
    await refused(`network ${name}`, () => daemon.event(create({ networks: { [name]: {} } })), 400, 'BAD_REQUEST');
    const network = { name, subnets: [{ subnet: '10.99.0.0/24' }] };
    await refused(`definition ${name}`, () => daemon.request('POST', '/v1/networks', network), 400, 'BAD_REQUEST');
  }
  for (const interface_name of [...paths, 'sixteen-letters-', 'all', 'default']) {
    const event = create({ networks: { web: { interface_name } } });
    await refused(`interface ${interface_name}`, () => daemon.event(event), 400, 'BAD_REQUEST');
  }
  for (const path of ['..%2f..%2fetc%2fpasswd', '%2e%2e', 'a%00b']) {
    const { status } = await daemon.get(`/v1/containers/${path}`);
    assert.ok([400, 404].includes(status), `${path}: ${status}`);
    assert.is((await daemon.get(`/v1/networks/${path}`)).status, 404);
    assert.is((await daemon.request('DELETE', `/v1/networks/${path}`)).status, 404);
  }
});

harmless('an id that exists is refused, and its owner named', async () => {
  const answer = await refused('id', () => daemon.event({ type: 'create', id: 'holder' }), 409, 'CONTAINER_EXISTS');
  assert.is(answer.body.error?.owner, 'holder');
});

harmless('events and requests about an unknown container are 404', async () => {
  const events = [
    ...['configure', 'reload', 'teardown'].map((type) => ({ type })),
    ...['connect', 'disconnect'].map((type) => ({ type, network: 'web' })),
    ...['publish', 'unpublish'].map((type) => ({ type, port_mappings: [{ container_port: 80 }] })),
  ];
  for (const event of events) {
    await refused(event.type, () => daemon.event({ ...event, id: 'nobody' }), 404, 'NO_SUCH_CONTAINER');
  }
  for (const path of ['', '/history', '?wait=up&timeout=10']) {
    await refused(path, () => daemon.get(`/v1/containers/nobody${path}`), 404, 'NO_SUCH_CONTAINER');
  }
  const joins = create({ netns: { mode: 'container', id: 'nobody' } });
  await refused('container:nobody', () => daemon.event(joins), 404, 'NO_SUCH_CONTAINER');
});

harmless('an illegal event is refused with the legal ones', async () => {
  const answer = await refused('reload', () => daemon.event({ type: 'reload', id: 'onhost' }), 409, 'ILLEGAL_EVENT');
  const { error } = answer.body;
  assert.equal(error?.legal, ['configure', 'connect', 'disconnect', 'publish', 'unpublish', 'teardown']);
  assert.match(error?.message ?? '', /onhost is created/);
});

harmless('a namespace that cannot be shared is refused', async () => {
  const self = create({ netns: { mode: 'container', id: 'x' } });
  const answers = ['BAD_REQUEST', 'NO_SUCH_CONTAINER'];
  const own = await daemon.event(self);
  assert.ok(answers.includes(own.body.error?.code ?? ''), own.text);
  const host = create({ netns: { mode: 'container', id: 'onhost' } });
  await refused('container in the host namespace', () => daemon.event(host), 400, 'BAD_REQUEST');
  const networks = create({ netns: { mode: 'container', id: 'holder' }, networks: on('web') });
  await refused('shared, with networks of its own', () => daemon.event(networks), 400, 'BAD_REQUEST');
  const ports = create({ netns: { mode: 'host' }, port_mappings: [{ container_port: 80 }] });
  await refused('host, with ports', () => daemon.event(ports), 400, 'BAD_REQUEST');
});

harmless('a pid that is gone is refused', async () => {
  await refused('netns', () => daemon.event(create({ netns: { mode: 'pid', pid: ENDED } })), 409, 'NO_SUCH_PROCESS');
  await refused('bound_to', () => daemon.event(create({ bound_to: ENDED })), 409, 'NO_SUCH_PROCESS');
});

harmless('a path that is not a network namespace is refused, as namespace and as outside', async () => {
  execFileSync('mkfifo', ['/run/fifo']);
  const paths = [
    '/run/no/such/path',
    '/etc/passwd',
    '/run',
    '/dev/null',
    '/proc/self/ns/mnt',
    '/run/fifo',
    `${daemon.directory}/cleat.sock`,
  ];
  for (const path of paths) {
    const joins = create({ netns: { mode: 'path', path } });
    await refused(`netns ${path}`, () => daemon.event(joins), 400, 'NOT_A_NAMESPACE');
    await refused(`outside ${path}`, () => daemon.event(create({ outside: path })), 400, 'NOT_A_NAMESPACE');
  }
});

const network = (more: object) => () => daemon.request('POST', '/v1/networks', { name: 'n', ...more });
const subnets = (...list: object[]) => network({ subnets: list });

harmless('definitions that are no networks are bad requests', async () => {
  const answers: Record<string, () => Promise<Answer>> = {
    'an unknown field': network({ plugin: 'x' }),
    'an unknown driver': network({ driver: 'weave' }),
    'an unknown option': network({ options: { vlan: '4095' } }),
    'an mtu that is none': network({ options: { mtu: '12' } }),
    'an interface name that is a path': network({ network_interface: '../x' }),
    'a subnet that is none': subnets({ subnet: '10.99.0.0' }),
    'a subnet without room': subnets({ subnet: '10.99.0.0/31' }),
  };
  for (const [what, send] of Object.entries(answers)) await refused(what, send, 400, 'BAD_REQUEST');
  const outside = subnets({ subnet: '10.99.0.0/24', gateway: '10.98.0.1' });
  await refused('a gateway outside', outside, 400, 'ADDRESS_OUTSIDE_SUBNET');
});

harmless('a lease range that ends before it begins is a bad request', async () => {
  const lease_range = { start_ip: '10.99.0.9', end_ip: '10.99.0.3' };
  await refused('range', subnets({ subnet: '10.99.0.0/24', lease_range }), 400, 'BAD_REQUEST');
});

harmless('a route through a gateway of the other family is a bad request', async () => {
  const routes = [{ destination: '192.0.2.0/24', gateway: 'fd00::1' }];
  await refused('route', network({ subnets: [{ subnet: '10.99.0.0/24' }], routes }), 400, 'BAD_REQUEST');
});

harmless('subnets that overlap are refused, and the other network is named', async () => {
  execFileSync('ip', ['link', 'add', 'lan0', 'type', 'bridge']);
  execFileSync('ip', ['link', 'set', 'lan0', 'addrgenmode', 'none']);
  execFileSync('ip', ['link', 'set', 'lan0', 'up']);
  const clashes: Record<string, [send: () => Promise<Answer>, owner: string]> = {
    'inside of another': [subnets({ subnet: '10.70.0.128/25' }), 'network web'],
    'around another': [subnets({ subnet: '10.70.0.0/16' }), 'network web'],
    'the same IPv6': [subnets({ subnet: 'fd00:70::/64' }), 'network web'],
    'each other': [subnets({ subnet: '10.99.0.0/24' }, { subnet: '10.99.0.0/25' }), 'this network'],
  };
  for (const [what, [send, owner]] of Object.entries(clashes)) {
    const answer = await refused(what, send, 409, 'SUBNET_OVERLAPS');
    assert.is(answer.body.error?.owner, owner);
  }
  const name = network({ network_interface: 'lan0' });
  assert.is((await refused('a bridge name', name, 409, 'INTERFACE_TAKEN')).body.error?.owner, 'a link of the host');
  execFileSync('ip', ['link', 'del', 'lan0']);
});

harmless('network names that exist, are in use or unknown are refused', async () => {
  await refused('exists', () => daemon.request('POST', '/v1/networks', { name: 'web' }), 409, 'NETWORK_EXISTS');
  const used = await refused('in use', () => daemon.request('DELETE', '/v1/networks/web'), 409, 'NETWORK_IN_USE');
  assert.is(used.body.error?.owner, 'holder');
  await refused('unknown', () => daemon.request('DELETE', '/v1/networks/nope'), 404, 'NO_SUCH_NETWORK');
  await refused('unknown', () => daemon.get('/v1/networks/nope'), 404, 'NO_SUCH_NETWORK');
});

harmless(
  'unknown routes, methods, parameters and types of content are refused, in the form of every other error',
  async () => {
    for (const path of ['/', '/v2/containers', '/v1/containers/holder/what'])
      await refused(path, () => daemon.get(path), 404, 'NO_SUCH_ROUTE');
    const methods = [
      ['PUT', '/v1/events', 'POST, GET'],
      ['DELETE', '/v1/containers/holder', 'GET'],
      ['PUT', '/v1/networks/web', 'GET, PATCH, DELETE'],
      ['POST', '/v1/audit', 'GET'],
      ['OPTIONS', '/v1/events?id=x', 'POST, GET'],
    ] as const;
    for (const [method, path, allow] of methods) {
      const what = `${method} ${path}`;
      const { headers } = await refused(what, () => daemon.request(method, path), 405, 'METHOD_NOT_ALLOWED');
      assert.is(headers.allow, allow, what);
    }
    for (const path of [
      '/v1/containers?name=holder',
      '/v1/containers/holder?waits=gone',
      '/v1/doctor?x',
      '/v1/networks/web?force=1',
    ])
      await refused(path, () => daemon.get(path), 400, 'BAD_REQUEST');
    await refused('a parameter', () => daemon.request('DELETE', '/v1/networks/spare?force=true'), 400, 'BAD_REQUEST');
    await refused('a long id', () => daemon.get(`/v1/containers/${'a'.repeat(300)}`), 400, 'BAD_REQUEST');
    await refused('a bad escape', () => daemon.get('/v1/containers/%zz'), 400, 'BAD_REQUEST');
    await refused(
      'a timeout that is none',
      () => daemon.get('/v1/containers/holder?wait=gone&timeout=x'),
      400,
      'BAD_REQUEST',
    );
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    await refused(
      'a form',
      () => daemon.request('POST', '/v1/events', 'type=create', form),
      415,
      'UNSUPPORTED_MEDIA_TYPE',
    );
  },
);

bad.run();
