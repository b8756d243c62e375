/**
 * Cleat in chains with the plugins of containernetworking: before tuning, portmap, firewall and bandwidth, and after others.
 *
 * Limits: firewall and portmap drive iptables; that of containernetworking-plugins 1.1 speaks 0.4.0 and 1.0.0 alone.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CniRuntime, type List } from '../harness/cni.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { addNetns, removeNetns, withAgents } from '../harness/inside.ts';
import { inside, ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const runtime = new CniRuntime(daemon.socket);
const chains = suite('cni chains');
chains.before(() => daemon.start());
let [netns, second] = ['', ''];
chains.before.each(() => {
  [netns, second] = [addNetns('c1'), addNetns('c2')];
});
chains.after.each(() => {
  for (const name of ['c1', 'c2']) removeNetns(name);
});
chains.after(async () => {
  await daemon.clean();
  await daemon.stop();
});

const cleat = (...subnets: string[]) => ({ type: 'cleat', subnets: subnets.map((subnet) => ({ subnet })) });
const rate = 8_000_000;
const LIMITS = { ingressRate: rate, ingressBurst: rate, egressRate: rate, egressBurst: rate };

for (const cniVersion of ['0.4.0', '1.0.0']) {
  chains(`tuning, portmap, firewall and bandwidth work after it (${cniVersion})`, async () => {
    const list: List = {
      cniVersion,
      name: 'chain',
      plugins: [
        cleat('10.74.0.0/24', 'fd00:74::/64'),
        { type: 'tuning', sysctl: { 'net.core.somaxconn': '500' }, promisc: true },
        { type: 'portmap', capabilities: { portMappings: true } },
        { type: 'firewall' },
        { type: 'bandwidth', ...LIMITS },
      ],
    };
    const ports = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }];
    const at = { id: 'c1', netns, capabilities: { portMappings: ports } };
    const result = await runtime.addList(at, list);
    const client = await runtime.added(
      { id: 'c2', netns: second },
      { cniVersion, name: 'other', ...cleat('10.75.0.0/24') },
    );
    const host = result.interfaces[1]?.name ?? '';
    const own = (result.ips[0]?.address ?? '').split('/')[0] ?? '';
    const assertWorks = async () => {
      // CHECK of portmap 1.1 looks for its rules of one family in the other, after `bridge` too.
      const checked = list.plugins.filter(({ type }) => type !== 'portmap');
      await runtime.checkList(at, { ...list, plugins: checked }, result);
      assert.is(inside(netns, 'sysctl', '-n', 'net.core.somaxconn').trim(), '500');
      const [link] = ipJson<{ flags: string[] }[]>(netns, 'link', 'show', 'eth0');
      assert.ok(link?.flags.includes('PROMISC'));
      assert.match(execFileSync('tc', ['qdisc', 'show', 'dev', host], { encoding: 'utf8' }), /tbf .*rate 8Mbit/);
      await withAgents([netns, second, null], async (inC, other, onHost) => {
        await inC.serve('c1', 'tcp', 80);
        assert.match(await onHost.dial('tcp', own, 80), /^c1 /);
        // By the rule of portmap, and across the isolation of networks, as a published port is.
        assert.match(await other.dial('tcp', client.ips[0]?.gateway ?? '', 8080), /^c1 /);
      });
    };
    await assertWorks();
    await daemon.kill();
    await daemon.start();
    await assertWorks();
    await runtime.delList(at, list, result);
    await runtime.delList(at, list, result);
    await runtime.done('DEL', { id: 'c2', netns: second }, { cniVersion, name: 'other', type: 'cleat' });
    for (const id of ['c1', 'c2']) assert.is((await daemon.get(`/v1/containers/${id}`)).status, 404);
    assert.equal(ipJson(netns, 'link', 'show', 'type', 'veth'), []);
    assert.equal(ipJson(undefined, 'link', 'show', 'type', 'ifb'), []);
  });
}

chains('after another network plugin, the result has what both have made', async () => {
  const list: List = {
    cniVersion: '1.0.0',
    name: 'after',
    plugins: [
      { type: 'loopback' },
      { ...cleat('10.76.0.0/24'), dns: { nameservers: ['192.0.2.53'], search: ['example.org'] } },
      { type: 'tuning', sysctl: {} },
    ],
  };
  const at = { id: 'c1', netns };
  const result = await runtime.addList(at, list);
  assert.equal(
    result.interfaces.map(({ name, sandbox = '' }) => [name.replace(/^(cni-|ve).*/, '$1'), sandbox]),
    [
      ['lo', netns],
      ['cni-', ''],
      ['ve', ''],
      ['eth0', netns],
    ],
  );
  assert.equal(result.ips.at(-1), { address: '10.76.0.2/24', interface: 3, gateway: '10.76.0.1' });
  assert.ok(result.ips.some((ip) => ip.address === '127.0.0.1/8' && ip.interface === 0));
  assert.equal(result.dns, { nameservers: ['192.0.2.53'], search: ['example.org'] });
  await runtime.checkList(at, { ...list, plugins: list.plugins.slice(1) }, result);
  await runtime.delList(at, list, result);
  assert.is((await daemon.get('/v1/containers/c1')).status, 404);
});

chains('an interface that another plugin has made is not taken over', async () => {
  execFileSync('ip', ['-n', 'c1', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'p']);
  const config = { cniVersion: '1.0.0', name: 'taken', ...cleat('10.77.0.0/24') };
  const error = await runtime.refused('ADD', { id: 'c1', netns }, config);
  assert.is(error.code, 100);
  assert.match(error.msg, /interface eth0 exists already in the namespace of container c1/);
  assert.is((await daemon.get('/v1/containers/c1')).status, 404);
  await runtime.done('DEL', { id: 'c1', netns }, config);
  assert.is(ipJson<unknown[]>(netns, 'link', 'show', 'eth0').length, 1);
});
chains.run();
