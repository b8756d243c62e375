// slow: 40 s, each case is a start of the daemon, or two, and the daemon looks at switches every ten seconds
/**
 * Namespaces that the daemon makes in advance: containers get them, they are like any other, and nothing is left of them, not even
 * by `kill -9` between any two steps.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { auditDescriptors } from '../../service/audit/audit-descriptors.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { on, TestDaemon } from '../harness/daemon.ts';
import { Faults } from '../harness/faults.ts';
import { testKernel } from '../harness/kernel.ts';
import { endWithReport, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const prepared = suite('prepared namespaces');
const SIZE = 3;

async function started(size: number): Promise<TestDaemon> {
  const daemon = new TestDaemon();
  daemon.preparedNamespaces = String(size);
  await daemon.start();
  await daemon.network({ name: 'net' });
  return daemon;
}

/** Returns the inodes of the namespaces that descriptors of the daemon keep, but for the one that it is in. */
function held(daemon: TestDaemon): number[] {
  const own = statSync(`/proc/${daemon.pid}/ns/net`).ino;
  const links = readdirSync(`/proc/${daemon.pid}/fd`).flatMap((number) => {
    try {
      return readlinkSync(`/proc/${daemon.pid}/fd/${number}`);
    } catch {
      return []; // closed meanwhile
    }
  });
  const found = links.flatMap((link) => /^net:\[(\d+)\]$/.exec(link)?.[1] ?? []).map(Number);
  return found.filter((ino) => ino !== own);
}

const full = (daemon: TestDaemon, size = SIZE) => until(`${size} are ready`, () => held(daemon).length === size);

const pinOf = ({ netns }: ContainerView): string => netns?.path ?? '';

/** What is in a namespace, and its switches. */
const inside = (path: string): string =>
  execFileSync('nsenter', [
    `--net=${path}`,
    'sh',
    '-c',
    'ip -o link show lo | tr -s " " | cut -d" " -f2-8; cd /proc/sys/net; grep -r . ipv4/conf ipv6/conf 2>/dev/null | grep -v stable_secret | sort',
  ]).toString();

prepared('a container gets one that was ready, and another is made for it', async () => {
  const daemon = await started(SIZE);
  await full(daemon);
  const before = held(daemon);
  const made = statSync(pinOf(await daemon.up('one', { networks: on('net') }))).ino;
  assert.ok(before.includes(made), 'it was ready');
  await full(daemon);
  assert.not(held(daemon).includes(made), 'the mount alone keeps it');
  await daemon.clean();
  await daemon.down('one');
  await full(daemon);
  await daemon.clean();
  await daemon.stop();
});

prepared('more containers than there are ready get one each, and it cannot be told from another', async () => {
  const warm = await started(SIZE);
  await full(warm);
  const ids = Array.from({ length: SIZE + 3 }, (_, n) => `c${n}`);
  const made = await Promise.all(ids.map((id) => warm.done({ type: 'create', id })));
  const paths = made.map(pinOf);
  assert.is(new Set(paths.map((path) => statSync(path).ino)).size, ids.length);
  assert.is(new Set(paths.map(inside)).size, 1);
  await full(warm);
  await warm.clean();
  await warm.down(...ids);
  await warm.stop();
});

prepared('a size of 0 makes none', async () => {
  const daemon = await started(0);
  await daemon.up('one', { networks: on('net') });
  assert.equal(held(daemon), []);
  await daemon.clean();
  await daemon.down('one');
  await daemon.stop();
});

prepared('what keeps one from being made is a fault with its code, in the log and the metrics', async () => {
  const daemon = new TestDaemon();
  const faults = new Faults(daemon);
  daemon.preparedNamespaces = String(SIZE);
  await daemon.start();
  await full(daemon);
  faults.order({ kind: 'namespace', action: 'fail', errno: 'ENOSPC', about: 'unshare', lasting: true }, 1);
  await daemon.up('one', { networks: {} });
  const counted = async () => (await daemon.get('/metrics')).text;
  await until('it is counted', async () =>
    (await counted()).includes('cleat_faults_total{where="prepareNamespace",code="KERNEL"}'),
  );
  assert.match(daemon.log(), /"errno":"ENOSPC".*"msg":"preparing namespaces: /);
  faults.revoke();
  await full(daemon);
  assert.match(await counted(), /cleat_effect_duration_seconds_count\{effect="prepareNamespace"\} [4-9]/);
  await daemon.down('one');
  await daemon.stop();
});

prepared('when the switches that IPv4 hands on have changed, those that were made before are discarded', async () => {
  const daemon = await started(SIZE);
  await full(daemon);
  const before = held(daemon);
  const file = '/proc/sys/net/ipv4/conf/default/log_martians';
  const was = readFileSync(file, 'utf8');
  writeFileSync(file, was.startsWith('1') ? '0' : '1');
  await until(
    'others are ready',
    () => held(daemon).length === SIZE && !held(daemon).some((ino) => before.includes(ino)),
    20_000,
  );
  writeFileSync(file, was);
  await daemon.up('one', { networks: on('net') });
  await daemon.clean();
  await daemon.down('one');
  await daemon.stop();
});

for (const point of ['before', 'durable', 'after']) {
  prepared(`killed at ensureNamespace:${point}, the container gets a namespace, and nothing else is left`, async () => {
    const daemon = new TestDaemon();
    const failpoints = mkdtempSync('/run/failpoints-');
    daemon.environment = { CLEAT_FAILPOINTS: failpoints };
    daemon.preparedNamespaces = String(SIZE);
    await daemon.start();
    await daemon.network({ name: 'net' });
    await full(daemon);
    writeFileSync(`${failpoints}/order`, `SIGKILL ensureNamespace:${point}#1`);
    await daemon.event({ type: 'create', id: 'one', networks: on('net') }).catch(() => {});
    await daemon.kill();
    writeFileSync(`${failpoints}/order`, '');
    await daemon.start();
    await full(daemon);
    await daemon.clean();
    const { status } = await daemon.get('/v1/containers/one?wait=created');
    assert.is(status, point === 'before' ? 404 : 200);
    if (status === 200) await daemon.down('one');
    assert.equal(readdirSync(daemon.netnsDir), []);
    assert.not.match(readFileSync('/proc/self/mountinfo', 'utf8'), daemon.netnsDir);
    await daemon.stop();
  });
}

prepared('the audit finds a descriptor that keeps a namespace for nobody', async () => {
  const kernel = testKernel();
  const { kernel: native } = kernel.outside(null);
  const number = await native.netnsPrepare({});
  const identity = statSync(`/proc/self/fd/${number}`);
  assert.equal(await auditDescriptors(kernel, () => [identity]), []);
  const [found, ...others] = await auditDescriptors(kernel, () => []);
  assert.equal(found, { kind: 'namespace', object: `net:[${identity.ino}]`, problem: 'leaked' });
  assert.equal(others, []);
});

endWithReport();
prepared.run();
