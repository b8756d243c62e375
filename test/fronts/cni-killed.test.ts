// slow: 25 s, the daemon starts again after each kill
/**
 * The plugin or the daemon is killed in the middle of a command: what a runtime does then (DEL, and ADD again) always works, and
 * nothing is left.
 */
// proving: 1800
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CniRuntime } from '../harness/cni.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { addNetns } from '../harness/inside.ts';
import { built } from '../harness/native.ts';
import { ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const runtime = new CniRuntime(daemon.socket);
const killed = suite('cni killed');

const config = {
  cniVersion: '1.0.0',
  name: 'kept',
  type: 'cleat',
  ipam: { type: 'host-local', subnet: '10.78.0.0/24' },
  runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] },
};
const cycles = effort('cycles', 3, 300);
let netns = '';

killed.before(async () => {
  netns = addNetns('c1');
  await daemon.start();
});
killed.after(async () => {
  await daemon.clean();
  await daemon.stop();
});

/** Starts a command and kills the plugin after that many milliseconds, if it still runs then. */
async function cut(command: string, ms: number): Promise<void> {
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: 'c1',
    CNI_NETNS: netns,
    CNI_IFNAME: 'eth0',
    CLEAT_SOCKET: daemon.socket,
  };
  const child = spawn(built('cleat-cni'), [], { env, stdio: ['pipe', 'ignore', 'ignore'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.stdin.on('error', () => {});
  child.stdin.end(JSON.stringify(config));
  await sleep(ms);
  child.kill('SIGKILL');
  await ended;
}

async function assertNothingLeft(): Promise<void> {
  assert.is((await daemon.get('/v1/containers/c1')).status, 404);
  assert.equal(ipJson(netns, 'link', 'show', 'type', 'veth'), []);
}

killed('the plugin, at any moment of ADD and DEL', async () => {
  for (let ms = 0; ms < cycles; ms++) {
    await cut('ADD', ms);
    await runtime.done('DEL', { id: 'c1', netns }, config);
    await assertNothingLeft();
    await runtime.added({ id: 'c1', netns }, config);
    await cut('DEL', ms);
    await runtime.done('DEL', { id: 'c1', netns }, config);
    await assertNothingLeft();
  }
  proved('plugins killed in ADD and DEL', 2 * cycles);
});

killed('the daemon, at any moment of ADD and DEL', async () => {
  for (let ms = 0; ms < cycles; ms++) {
    for (const command of ['ADD', 'DEL']) {
      const running = runtime.cleat(command, { id: 'c1', netns }, config);
      await sleep(2 * ms);
      await daemon.kill();
      const { code, stdout } = await running;
      if (code !== 0) assert.is((JSON.parse(stdout) as { code: number }).code, 11, stdout);
      await daemon.start();
    }
    await runtime.done('DEL', { id: 'c1', netns }, config);
    await assertNothingLeft();
    await daemon.clean();
  }
  proved('daemons killed in ADD and DEL', 2 * cycles);
});
killed.run();
