// slow: 30 s, each attachment is a chain of four programs
/**
 * Networks of the reference CNI plugins, driven by cleat: containers reach each other and their ports are reached, beside networks
 * of cleat; what others take away is made again; and nothing is left: no lease, no rule, no link.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Plan } from '../../state/answers/container/plan.ts';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import type { Why } from '../../state/answers/container/why.ts';
import { addressOf, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { cniGround, rules } from '../harness/conflist.ts';
import { withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const ground = cniGround(daemon.directory);
const cni = suite('networks of CNI plugins');
const ip = (...words: string[]): string => execFileSync('ip', words, { encoding: 'utf8' });
/** The ports of a bridge. */
const portsOf = (bridge: string): string[] =>
  (JSON.parse(ip('-json', 'link', 'show', 'master', bridge)) as { ifname: string }[]).map(({ ifname }) => ifname);
const linksIn = (path: string): string[] =>
  (
    JSON.parse(execFileSync('nsenter', [`--net=${path}`, 'ip', '-json', 'link'], { encoding: 'utf8' })) as {
      ifname: string;
    }[]
  ).map(({ ifname }) => ifname);

cni.before(async () => {
  await daemon.start();
  const pods = ground.conflist('pods', [
    ground.bridge('10.81.0.0/24', { capabilities: { ips: true, mac: true } }),
    { type: 'portmap', capabilities: { portMappings: true } },
    { type: 'firewall', backend: 'iptables' },
    { type: 'tuning', sysctl: { 'net.core.somaxconn': '500' } },
  ]);
  const plain = ground.conflist('plain', [
    { type: 'ptp', ipMasq: false, ipam: { ...ground.ipam('10.82.0.0/24'), routes: [] } },
  ]);
  await daemon.network({ name: 'x', driver: 'cni', options: { conflist: pods } });
  await daemon.network({ name: 'plain', driver: 'cni', options: { conflist: plain } });
  await daemon.network({ name: 'web' });
});
cni.after(async () => void (await daemon.stop()));
/** A test whose containers have all gone at its end, with everything that was made for them. */
const check = (what: string, body: () => Promise<void>): void => {
  cni(what, async () => {
    await body();
    await daemon.clean();
    assert.equal(ground.leases('pods'), []);
    assert.equal(ground.leases('plain'), []);
    assert.equal(
      rules().filter((line) => line.includes('CNI-DN-') || line.includes('10.81.0.')),
      [],
    );
  });
};

check('two containers reach each other, and a published port is reached', async () => {
  const a = await daemon.up('a', { networks: on('x'), port_mappings: [port(8080, 80), port(8090, 90, { range: 2 })] });
  const b = await daemon.up('b', { networks: { x: { static_ips: ['10.81.0.77'], static_mac: '02:00:00:00:00:77' } } });
  assert.is(addressOf(b, 'x'), '10.81.0.77');
  assert.is(Object.values(b.networks['x']!.interfaces)[0]!.mac_address, '02:00:00:00:00:77');
  await withAgents([pathOf(a), pathOf(b)], async (inA, inB) => {
    await inA.serve('a', 'tcp', 80);
    await inA.serve('a', 'tcp', 91);
    assert.match(await inB.dial('tcp', addressOf(a, 'x'), 80), /^a /);
    assert.match(await inB.dial('tcp', '10.81.0.1', 8080), /^a /);
    assert.match(await inB.dial('tcp', '10.81.0.1', 8091), /^a /);
  });
  // A host port has one owner, whoever carries it.
  const { status, body } = await daemon.event({
    type: 'create',
    id: 'c',
    networks: on('web'),
    port_mappings: [port(8080, 80)],
  });
  assert.is(status, 200);
  const refused = await daemon.event({ type: 'configure', id: 'c' });
  assert.is(refused.body.error?.code, 'PORT_TAKEN', JSON.stringify(body));
  await daemon.down('c');
  const { body: shown } = await daemon.get<Inspection>('/v1/containers/a');
  assert.equal(shown.drift, []);
  const { result } = shown.external!['x']!;
  assert.equal((result as { routes: { dst: string }[] }).routes[0]!.dst, '0.0.0.0/0');
  assert.is(shown.NetworkSettings.Networks['x']!.IPAddress, addressOf(a, 'x'));
  assert.is(shown.NetworkSettings.Networks['x']!.Gateway, '10.81.0.1');
  const { body: why } = await daemon.get<Why>('/v1/containers/a/why');
  assert.is(why.well, true, JSON.stringify(why));
  const texts = why.parts.map(({ part, text }) => `${part} ${text}`);
  assert.ok(
    texts.some((text) => text.includes('is made by the plugins of conflist pods')),
    texts.join('\n'),
  );
  assert.ok(
    texts.some((text) => /8080.*published by the program of network x/.test(text)),
    texts.join('\n'),
  );
  await daemon.down('a', 'b');
  assert.equal(portsOf('cni0'), []);
});

check('ports of an external network are its own from its beginning', async () => {
  await daemon.up('a', { networks: on('x'), port_mappings: [port(8080, 80)] });
  for (const type of ['publish', 'unpublish'] as const) {
    const { body } = await daemon.event({ type, id: 'a', port_mappings: [port(8080, 80)] });
    assert.is(body.error?.code, 'MODE_NOT_SUPPORTED');
    assert.match(body.error?.message ?? '', /the program of network x/);
  }
  await daemon.down('a');
  // No plugin of this conflist can publish.
  await daemon.done({ type: 'create', id: 'b', networks: on('plain'), port_mappings: [port(8080, 80)] });
  const { body } = await daemon.event({ type: 'configure', id: 'b' });
  assert.is(body.error?.code, 'PORTS_NEED_NETWORK');
  assert.match(body.error?.message ?? '', /the program of network plain publishes none/);
  await daemon.down('b');
});

check('a container has networks of cleat and of others side by side', async () => {
  const a = await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  const b = await daemon.up('b', { networks: on('x') });
  const both = await daemon.done({ type: 'connect', id: 'a', network: 'x' });
  assert.equal(linksIn(pathOf(a)).sort(), ['eth0', 'eth1', 'lo']);
  await withAgents([pathOf(a), pathOf(b)], async (inA, inB) => {
    await inA.serve('a', 'tcp', 80);
    assert.match(await inB.dial('tcp', addressOf(both, 'x'), 80), /^a /);
  });
  const { body } = await daemon.get<Inspection>('/v1/containers/a');
  assert.equal(body.drift, []);
  // The firewall of cleat carries the ports: the container has a network of cleat that can have them.
  assert.ok(rules().every((line) => !line.includes('CNI-DN-')));
  await daemon.done({ type: 'disconnect', id: 'a', network: 'x' });
  assert.equal(linksIn(pathOf(a)).sort(), ['eth0', 'lo']);
  // The other way round: without a network of cleat, the ports are those of the plugins.
  await daemon.done({ type: 'disconnect', id: 'a', network: 'web' });
  await daemon.done({ type: 'connect', id: 'a', network: 'x' });
  assert.ok(rules().some((line) => line.includes('CNI-DN-')));
  await daemon.done({ type: 'connect', id: 'a', network: 'web' });
  await daemon.done({ type: 'disconnect', id: 'a', network: 'x' });
  assert.ok(rules().every((line) => !line.includes('CNI-DN-')));
  const { body: again } = await daemon.get<Inspection>('/v1/containers/a');
  assert.equal([again.state, again.drift], ['up', []]);
  await daemon.down('a', 'b');
});

check('what others take away is made again', async () => {
  const a = await daemon.up('a', { networks: on('x'), port_mappings: [port(8080, 80)] });
  const whole = () => linksIn(pathOf(a)).includes('eth0');
  execFileSync('nsenter', [`--net=${pathOf(a)}`, 'ip', 'link', 'del', 'eth0']);
  await until('the link is back', async () => {
    const { body } = await daemon.get<Inspection>('/v1/containers/a');
    return whole() && body.state === 'up' && body.drift.length === 0;
  });
  // Nobody is told of rules that go: CHECK of portmap finds it.
  const chain = /-N (CNI-DN-\w+)/.exec(execFileSync('iptables', ['-t', 'nat', '-S'], { encoding: 'utf8' }))?.[1] ?? '';
  execFileSync('iptables', ['-t', 'nat', '-F', chain]);
  await daemon.done({ type: 'reload', id: 'a' });
  assert.ok(execFileSync('iptables', ['-t', 'nat', '-S', chain], { encoding: 'utf8' }).includes('DNAT'));
  const { networks } = await daemon.done({ type: 'reload', id: 'a', full: true });
  assert.ok(whole());
  assert.is(Object.keys(networks).length, 1);
  await daemon.down('a');
});

check('a plan says what would run, and runs nothing', async () => {
  const { body, status, text } = await daemon.request<Plan>('POST', '/v1/events?dry_run=true', {
    type: 'create',
    id: 'a',
    networks: on('x'),
  });
  assert.is(status, 200, text);
  assert.is(body.to, 'created');
  await daemon.done({ type: 'create', id: 'a', networks: on('x') });
  const plan = await daemon.request<Plan>('POST', '/v1/events?dry_run=true', { type: 'configure', id: 'a' });
  assert.is(plan.body.to, 'up', plan.text);
  assert.ok(plan.body.steps.some(({ effect }) => effect === 'addExternal'));
  assert.equal(ground.leases('pods'), []);
  const applied = await daemon.request('POST', `/v1/plans/${plan.body.hash}/apply`);
  assert.is(applied.status, 200, applied.text);
  assert.is(ground.leases('pods').length, 1);
  await daemon.down('a');
});

check('a conflist that nobody could use is refused when the network is made', async () => {
  const make = (options: object, more: object = {}) =>
    daemon.request('POST', '/v1/networks', { name: 'bad', driver: 'cni', options, ...more });
  const path = (text: object) => ground.conflist('bad', [], text);
  const cases: [string, object, RegExp][] = [
    ['BAD_REQUEST', {}, /names no conflist/],
    ['BAD_REQUEST', { conflist: 'relative.conflist' }, /absolute path/],
    ['CONFLIST_UNUSABLE', { conflist: '/absent.conflist' }, /ENOENT/],
    ['CONFLIST_UNUSABLE', { conflist: '/etc' }, /not a regular file/],
    ['CONFLIST_UNUSABLE', { conflist: '/etc/passwd' }, /not JSON/],
    ['CONFLIST_UNUSABLE', { conflist: path({ plugins: [] }) }, /at least one plugin/],
  ];
  for (const [code, options, message] of cases) {
    const { body } = await make(options);
    assert.is(body.error?.code, code, JSON.stringify(body));
    assert.match(JSON.stringify(body), message);
  }
  const strange = async (text: object, message: RegExp) => {
    const { body } = await make({ conflist: path(text) });
    assert.is(body.error?.code, 'CONFLIST_UNUSABLE');
    assert.match(body.error?.message ?? '', message);
  };
  await strange({ plugins: [{ type: '../../bin/sh' }] }, /name of its executable/);
  await strange({ cniVersion: '9.0.0', plugins: [{ type: 'bridge' }] }, /cniVersion is one of/);
  await strange({ name: '../up', plugins: [{ type: 'bridge' }] }, /name of a network/);
  const { body } = await make(
    { conflist: path({ plugins: [{ type: 'bridge' }] }) },
    { subnets: [{ subnet: '10.0.0.0/24' }] },
  );
  assert.match(JSON.stringify(body), /subnets means nothing to driver cni/);
});

cni.run();
