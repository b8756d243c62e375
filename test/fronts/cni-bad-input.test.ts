/**
 * Bad input to cleat as a CNI plugin: the error of the specification, with its code, exit code 1, nothing on stderr; and nothing
 * has changed.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CniError } from '../../state/answers/cni.ts';
import { CniRuntime, plugin, type Ran, type Variables } from '../harness/cni.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { addNetns } from '../harness/inside.ts';
import { assertComesBackTo, inspect, type Picture } from '../harness/picture.ts';
import { asUser, sayAs } from '../harness/peer.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const runtime = new CniRuntime(daemon.socket);
const NOWHERE = '/run/no-daemon.sock';
const bad = suite('cni bad input');

const VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];
const config = { cniVersion: '1.1.0', name: 'podnet', type: 'cleat', network: 'web' };
let netns = '';
let before: Picture;

bad.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }] });
  netns = addNetns('c1');
  before = inspect(daemon);
});
bad.after(async () => {
  await assertComesBackTo(before, () => inspect(daemon));
  await daemon.clean();
  await daemon.stop();
});

function errorOf({ code, stdout, stderr }: Ran): CniError {
  assert.is(stderr, '');
  assert.is(code, 1, stdout);
  assert.match(stdout, /^[^\n]+\n$/, 'one line');
  return CniError.parse(JSON.parse(stdout));
}

const add = (more: Variables = {}): Variables => ({
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'c1',
  CNI_NETNS: netns,
  CNI_IFNAME: 'eth0',
  ...more,
});

/** Refused by the executable alone: without a daemon it is the same. */
async function refused(env: Variables, input: unknown, code: number, msg: RegExp): Promise<void> {
  for (const socket of [daemon.socket, NOWHERE]) {
    const error = errorOf(await plugin('cleat', socket, env, input));
    assert.is(error.code, code, error.msg);
    assert.match(error.msg, msg);
  }
}

bad('variables that are missing are named', async () => {
  await refused({}, config, 4, /^required env variables \[CNI_COMMAND\] missing$/);
  await refused({ CNI_COMMAND: '' }, config, 4, /CNI_COMMAND/);
  await refused({ CNI_COMMAND: 'add' }, config, 4, /^unknown CNI_COMMAND: "add"$/);
  await refused({ CNI_COMMAND: 'ADD' }, config, 4, /\[CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME\] missing/);
  await refused({ CNI_COMMAND: 'CHECK' }, config, 4, /\[CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME\] missing/);
  await refused({ CNI_COMMAND: 'DEL' }, config, 4, /\[CNI_CONTAINERID,CNI_IFNAME\] missing/);
  await refused(add({ CNI_NETNS: '' }), config, 4, /\[CNI_NETNS\] missing/);
});

bad('stdin that is no configuration', async () => {
  for (const input of [
    '',
    ' ',
    '{',
    'null',
    '[]',
    '"text"',
    '{"name":"a"} x',
    '{"a":1,"a":2}',
    Buffer.from([0x7b, 0xff, 0x7d]),
  ]) {
    await refused(add(), input, 6, /not one JSON object/);
  }
  await refused(add(), { ...config, cniVersion: 1 }, 6, /"cniVersion" that is not a string/);
  await refused(add(), `{"deep":${'['.repeat(100)}${']'.repeat(100)}}`, 6, /not one JSON object/);
  await refused(add(), `{"name":"${'x'.repeat(2 << 20)}"}`, 5, /larger than 1 MiB/);
});

bad('a megabyte, to the last byte', async () => {
  const frame = JSON.stringify({ ...config, args: { pad: '' } });
  const input = frame.replace('""', `"${'x'.repeat((1 << 20) - frame.length)}"`);
  const error = errorOf(await plugin('cleat', daemon.socket, add(), input));
  assert.is(error.code, 7);
  assert.match(error.details ?? '', /BODY_TOO_LARGE/);
});

bad('versions that are not spoken, and commands that a version has not', async () => {
  for (const cniVersion of ['0.1.0', '0.2.0', '2.0.0', '', '1.0', 'latest']) {
    await refused(add(), { ...config, cniVersion }, 1, /incompatible CNI versions/);
  }
  const { cniVersion: _none, ...without } = config;
  await refused(add(), without, 1, /incompatible/);
  await refused(add({ CNI_COMMAND: 'CHECK' }), { ...config, cniVersion: '0.3.1' }, 1, /does not allow CHECK/);
  await refused({ CNI_COMMAND: 'GC' }, { ...config, cniVersion: '1.0.0' }, 1, /does not allow GC/);
  await refused({ CNI_COMMAND: 'STATUS' }, { ...config, cniVersion: '1.0.0' }, 1, /does not allow STATUS/);
});

bad('VERSION answers without a daemon, in the version that it is asked in', async () => {
  for (const [input, cniVersion] of [
    ['', '1.1.0'],
    ['{', '1.1.0'],
    ['{"cniVersion":"9.9.9"}', '1.1.0'],
    ...VERSIONS.map((one) => [JSON.stringify({ cniVersion: one }), one] as const),
  ] as const) {
    const { code, stdout, stderr } = await plugin('cleat', NOWHERE, { CNI_COMMAND: 'VERSION' }, input);
    assert.equal([code, stderr], [0, '']);
    assert.equal(JSON.parse(stdout), { cniVersion, supportedVersions: VERSIONS });
  }
});

bad('without a daemon: try again later, and STATUS says that it is not available', async () => {
  for (const [CNI_COMMAND, code] of [
    ['ADD', 11],
    ['DEL', 11],
    ['CHECK', 11],
    ['GC', 11],
    ['STATUS', 50],
  ] as const) {
    const error = errorOf(await plugin('cleat', NOWHERE, add({ CNI_COMMAND }), config));
    assert.is(error.code, code);
    assert.is(error.cniVersion, '1.1.0');
    assert.match(error.details ?? '', /no daemon at \/run\/no-daemon\.sock/);
  }
});

bad('ids, interfaces and namespaces that are none', async () => {
  const cases: [Variables, RegExp][] = [
    [{ CNI_CONTAINERID: '../etc' }, /CNI_CONTAINERID/],
    [{ CNI_CONTAINERID: '/c1' }, /CNI_CONTAINERID/],
    [{ CNI_CONTAINERID: '.c1' }, /CNI_CONTAINERID/],
    [{ CNI_CONTAINERID: 'a b' }, /CNI_CONTAINERID/],
    [{ CNI_CONTAINERID: 'a\nb' }, /CNI_CONTAINERID/],
    [{ CNI_IFNAME: '..' }, /CNI_IFNAME/],
    [{ CNI_IFNAME: 'a/b' }, /CNI_IFNAME/],
    [{ CNI_IFNAME: 'a:b' }, /CNI_IFNAME/],
    [{ CNI_IFNAME: 'sixteen-letters-' }, /CNI_IFNAME/],
    [{ CNI_IFNAME: 'eth 0' }, /CNI_IFNAME/],
    [{ CNI_NETNS: 'c1' }, /CNI_NETNS/],
    [{ CNI_NETNS: '/run/netns/../netns/c1' }, /CNI_NETNS/],
    [{ CNI_NETNS: '/run/netns/none' }, /NOT_A_NAMESPACE/],
    [{ CNI_NETNS: '/etc/passwd' }, /NOT_A_NAMESPACE/],
    [{ CNI_NETNS: '/dev/zero' }, /NOT_A_NAMESPACE/],
    [{ CNI_NETNS: '/proc/self/ns/mnt' }, /NOT_A_NAMESPACE/],
    [{ CNI_ARGS: 'IP' }, /CNI_ARGS/],
    [{ CNI_ARGS: 'IP=nonsense' }, /CNI_ARGS/],
    [{ CNI_ARGS: 'MAC=01:00:00:00:00:01' }, /CNI_ARGS/],
    [{ CNI_ARGS: 'FOO=1' }, /CNI_ARGS: unknown FOO/],
    [{ CNI_ARGS: 'IgnoreUnknown=0;FOO=1' }, /CNI_ARGS: unknown FOO/],
  ];
  for (const [more, reason] of cases) {
    const error = errorOf(await plugin('cleat', daemon.socket, add(more), config));
    assert.is(error.code, 4, `${JSON.stringify(more)}: ${error.msg}`);
    assert.match(error.msg, reason);
  }
});

bad("the plugin's own namespace is no container's", async () => {
  for (const CNI_NETNS of ['/proc/self/ns/net', '/proc/thread-self/ns/net', `/proc/${process.pid}/ns/net`]) {
    const error = errorOf(await plugin('cleat', daemon.socket, add({ CNI_NETNS }), config));
    assert.match(error.msg, /namespace/);
  }
});

bad('configurations that cannot be carried out are refused, none is carried out by half', async () => {
  const ipam = (more: object) => ({
    ...config,
    network: undefined,
    ipam: { type: 'host-local', subnet: '10.71.0.0/24', ...more },
  });
  const cases: [object, number, RegExp][] = [
    [{ ...config, name: undefined }, 7, /name/],
    [{ ...config, name: '../x' }, 7, /name/],
    [{ ...config, network: 'none' }, 7, /NO_SUCH_NETWORK/],
    [{ ...config, network: '../x' }, 7, /network/],
    [{ ...config, mtu: 1400 }, 7, /mtu is for a network that the configuration describes/],
    [{ ...config, ipam: { type: 'host-local', subnet: '10.71.0.0/24' } }, 7, /one of network, subnets and ipam/],
    [{ ...config, vlan: 7 }, 2, /vlan: 7 is not supported/],
    [
      { ...config, runtimeConfig: { bandwidth: { ingressRate: 1 } } },
      2,
      /runtimeConfig\.bandwidth: \{"ingressRate":1\}/,
    ],
    [{ ...config, runtimeConfig: { portMappings: [{ hostPort: 0, containerPort: 80 }] } }, 7, /hostPort/],
    [
      { ...config, runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 80, protocol: 'icmp' }] } },
      7,
      /protocol/,
    ],
    [{ ...config, runtimeConfig: { ips: ['10.99.0.1/24'] } }, 7, /ADDRESS_OUTSIDE_SUBNET/],
    [{ ...config, runtimeConfig: { ips: ['x'] } }, 7, /ips/],
    [{ ...config, runtimeConfig: { mac: 'x' } }, 7, /mac/],
    [{ ...config, prevResult: { ips: [{}] } }, 7, /prevResult/],
    [ipam({ type: 'dhcp' }), 2, /ipam\.type "dhcp"/],
    [ipam({ subnet: 'x' }), 7, /ipam\.subnet/],
    [ipam({ subnet: undefined }), 7, /neither subnet nor ranges/],
    [ipam({ rangeStart: '10.99.0.1' }), 7, /10\.99\.0\.1 is not in subnet/],
    [ipam({ resolvConf: '/etc/resolv.conf' }), 2, /ipam\.resolvConf: "\/etc\/resolv\.conf"/],
    [
      ipam({ subnet: undefined, ranges: [[{ subnet: '10.1.0.0/24' }, { subnet: '10.2.0.0/24' }]] }),
      2,
      /a set of several ranges/,
    ],
    [ipam({ routes: [{ dst: '0.0.0.0/0', gw: '10.71.0.200' }] }), 2, /default route/],
    [ipam({ routes: [{ dst: 'fd00::/64' }] }), 7, /family/],
    [ipam({ subnet: '10.70.0.0/16' }), 7, /SUBNET_OVERLAPS/],
    [ipam({ subnet: '127.0.0.0/24' }), 7, /SUBNET_RESERVED/],
    [{ ...ipam({}), name: 'web' }, 7, /NETWORK_EXISTS/],
    [{ ...ipam({}), bridge: 'a/b' }, 7, /bridge/],
    [{ ...ipam({}), isGateway: false }, 7, /isGateway/],
  ];
  for (const [input, code, reason] of cases) {
    const error = await runtime.refused('ADD', { id: 'c1', netns }, input);
    assert.is(error.code, code, `${JSON.stringify(input)}: ${error.msg}`);
    assert.match(error.msg, reason);
  }
});

bad('over the socket: bodies that are no requests, and users that are not trusted', async () => {
  for (const body of [{}, [], { env: {} }, { env: 1, config }, { env: {}, config: [] }, { env: {}, config, more: 1 }]) {
    const answer = await daemon.request<CniError>('POST', '/v1/cni/add', body);
    assert.is(answer.status, 400);
    assert.ok([2, 4, 7].includes(CniError.parse(answer.body).code), answer.text);
  }
  for (const word of ['add', 'del', 'check', 'gc', 'status']) {
    const said = sayAs(daemon, asUser(1000, 0), { env: add(), config }, `/v1/cni/${word}`);
    assert.match(said, /403/);
  }
});
bad.run();
