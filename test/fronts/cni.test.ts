import { suite } from 'uvu';
import { TestDaemon } from '../harness/daemon.ts';
import { addNetns } from '../harness/inside.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { CniRuntime } from '../harness/cni.ts';

requirePrivateNamespace();
const daemon = new TestDaemon();
const runtime = new CniRuntime(daemon.socket);
const cni = suite('cni');
cni.before(async () => { await daemon.start(); await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }] }); });
cni.after(async () => { await daemon.stop(); });
cni('x', async () => {
  const netns = addNetns('c1');
  for (const cniVersion of ['0.3.1','1.1.0']) {
  const config = { cniVersion, name: 'podnet', type: 'cleat', network: 'web' };
  console.log(JSON.stringify(await runtime.added({ id: 'c1', netns }, config), null, 1));
  console.log(await runtime.refused('ADD', { id: 'c1', netns }, config));
  console.log(await runtime.refused('ADD', { id: 'c1', netns, ifname: 'eth1' }, config));
  console.log(JSON.stringify((await daemon.get('/v1/containers/c1')).body, null, 1));
  await runtime.done('DEL', { id: 'c1', netns }, config);
  await runtime.done('DEL', { id: 'c1', netns }, config);
  console.log((await daemon.get('/v1/containers/c1')).status);
  }
  const d = { cniVersion: '1.0.0', name: 'desc', type: 'cleat', ipam: { type: 'host-local', ranges: [[{ subnet: '10.71.0.0/24'}],[{subnet:'fd00:71::/64'}]], routes: [{dst:'0.0.0.0/0'}] } };
  const r = await runtime.added({ id: 'c1', netns }, d);
  console.log(JSON.stringify(r));
  console.log((await daemon.get('/v1/networks')).text);
  await runtime.done('CHECK', { id: 'c1', netns }, {...d, prevResult: r});
  await runtime.done('STATUS', {}, {...d, cniVersion: '1.1.0'});
  await runtime.done('GC', {}, {...d, cniVersion: '1.1.0', 'cni.dev/valid-attachments': [{containerID:'c1', ifname:'eth0'}]});
  console.log((await daemon.get('/v1/containers/c1')).status);
  await runtime.done('GC', {}, {...d, cniVersion: '1.1.0', 'cni.dev/valid-attachments': []});
  console.log((await daemon.get('/v1/containers/c1')).status, (await daemon.get('/v1/networks')).text);
});
cni.run();
