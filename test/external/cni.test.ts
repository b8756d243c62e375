/**
 * Networks of the reference CNI plugins, driven by cleat: attached, checked, reloaded, and gone without a trace.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addressOf, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { cniGround } from '../harness/conflist.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const ground = cniGround(daemon.directory);
const cni = suite('networks of CNI plugins');
cni.before(async () => {
  await daemon.start();
});
cni.after(async () => void (await daemon.stop()));

cni('try', async () => {
  const path = ground.conflist('pods', [
    ground.bridge('10.81.0.0/24', { capabilities: { ips: true, mac: true } }),
    { type: 'portmap', capabilities: { portMappings: true } },
    { type: 'firewall', backend: 'iptables' },
  ]);
  await daemon.network({ name: 'x', driver: 'cni', options: { conflist: path } });
  const a = await daemon.up('a', { networks: on('x'), port_mappings: [port(8080, 80)] });
  console.log(JSON.stringify(a));
  const b = await daemon.up('b', { networks: { x: { static_ips: ['10.81.0.77'], static_mac: '02:00:00:00:00:77' } } });
  console.log(JSON.stringify(b.networks));
  console.log(execFileSync('nsenter', [`--net=${pathOf(a)}`, 'ping', '-c1', '-W2', addressOf(b, 'x')], { encoding: 'utf8' }));
  console.log(execFileSync('iptables-save', { encoding: 'utf8' }).split('\n').length, ground.leases('pods'));
  console.log((await daemon.get('/v1/containers/a')).text);
  console.log((await daemon.get('/v1/containers/a/why')).text);
  console.log((await daemon.event({ type: 'reload', id: 'a' })).text);
  console.log((await daemon.event({ type: 'reload', id: 'a', full: true })).text);
  console.log((await daemon.get('/v1/audit')).text);
  await daemon.down('a', 'b');
  console.log(execFileSync('iptables-save', { encoding: 'utf8' }), ground.leases('pods'));
  console.log(execFileSync('ip', ['-br', 'link'], { encoding: 'utf8' }));
  assert.ok(readFileSync(path));
});
cni.run();
