/**
 * Cleat as a CNI plugin where no daemon runs: the plugin starts it, and it finds what an earlier one has left.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { CniResult } from '../../state/answers/cni.ts';
import type { Version } from '../../state/answers/version.ts';
import { plugin, type Ran, type Variables } from '../harness/cni.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { addNetns, ended } from '../harness/inside.ts';
import { ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { ROOT } from '../harness/sanitized.ts';

requirePrivateNamespace();

/** The daemon of this machine, as its clients see it. */
const machine = new TestDaemon(undefined, '/run/cleat/cleat.sock');
const onDemand = suite('cni on demand');
const config = { cniVersion: '1.1.0', name: 'pods', type: 'cleat', subnets: [{ subnet: '10.79.0.0/24' }] };
let netns = '';

onDemand.before(() => {
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/var/lib']); // the machine's own state stays as it is
  netns = addNetns('c1');
});

/** Resolves when nothing holds the plugin's output any more. An empty CLEAT_SOCKET is none. */
function run(command: string, more: object = {}): Promise<Ran> {
  const programs = { CLEAT_DAEMON: join(ROOT, 'dist/bundle/cleat.cjs'), CLEAT_NODE: process.execPath };
  const env: Variables = { CNI_COMMAND: command, CNI_CONTAINERID: 'c1', CNI_NETNS: netns, CNI_IFNAME: 'eth0' };
  return plugin('cleat', '', { ...programs, ...env }, { ...config, ...more });
}

async function kill(): Promise<void> {
  const { pid } = (await machine.get<Version>('/v1/version')).body;
  process.kill(pid, 'SIGKILL');
  await ended(pid);
}

onDemand(
  'ADD starts the daemon, and each command after a kill starts another one that knows the container',
  async () => {
    const added = await run('ADD');
    assert.is(added.code, 0, added.stdout);
    const prevResult = JSON.parse(added.stdout) as CniResult;
    assert.is(prevResult.ips[0]?.address, '10.79.0.2/24');
    await kill();
    const checked = await run('CHECK', { prevResult });
    assert.is(checked.code, 0, checked.stdout);
    await kill();
    const deleted = await run('DEL', { prevResult });
    assert.is(deleted.code, 0, deleted.stdout);
    assert.is((await machine.get('/v1/containers/c1')).status, 404);
    assert.equal(ipJson(netns, 'link', 'show', 'type', 'veth'), []);
    await machine.clean();
    await kill();
    for (const command of ['STATUS', 'DEL']) assert.is((await run(command)).code, 0);
    await kill();
  },
);
onDemand.run();
