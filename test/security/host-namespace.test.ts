/**
 * A namespace of the host is given as a container's: by pid or by any path, for networks and for uplink programs. The
 * host's own links and routes stay what they were.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { CreateEvent } from '../../state/event.ts';
import { on, pathOf, TestDaemon } from '../harness/daemon.ts';
import { addNetns, endSleepers, sleeper } from '../harness/inside.ts';
import { assertComesBackTo, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const tests = suite('namespaces of the host');
const SLIRP = { uplink: { program: 'slirp4netns' } } as const;
const PASTA = { uplink: { program: 'pasta' } } as const;

tests.before(async () => {
  await daemon.start();
});
tests.after(async () => {
  endSleepers();
  await daemon.stop();
});

function bind(source: string, name: string): string {
  mkdirSync('/run/ways', { recursive: true });
  const path = `/run/ways/${name}`;
  writeFileSync(path, '');
  execFileSync('mount', ['--bind', source, path]);
  return path;
}

async function refused(create: Omit<CreateEvent, 'type' | 'id'>): Promise<void> {
  const what = JSON.stringify(create);
  const { status, body } = await daemon.event({ type: 'create', id: 'a', ...create });
  assert.is(`${status} ${body.error?.code}`, '400 NOT_A_NAMESPACE', what);
  assert.is((await daemon.get('/v1/containers/a')).status, 404, what);
}

tests('a namespace of the host is refused at create by pid, path, link and bind mount, and not touched', async () => {
  const holder = addNetns('holder');
  const child = await sleeper();
  const own = bind('/proc/self/ns/net', 'own');
  symlinkSync(own, '/run/ways/link');
  mkdirSync('/run/ways/deep');
  symlinkSync('/run/ways', '/run/ways/deep/up');
  const init = bind('/proc/1/ns/net', 'init');
  const before = inspectKernel();
  const paths = ['/proc/self/ns/net', '/proc/thread-self/ns/net', '/proc/1/ns/net', `/proc/${daemon.pid}/ns/net`];
  const ways = [own, '/run/ways/link', '/run/ways/deep/up/own', init];
  for (const way of [SLIRP, PASTA, { networks: on('cleat') }, {}]) {
    for (const path of [...paths, ...ways]) await refused({ netns: { mode: 'path', path }, ...way });
    for (const pid of [1, daemon.pid, process.pid]) await refused({ netns: { mode: 'pid', pid }, ...way });
    // The namespace of an outside that the request names.
    await refused({ netns: { mode: 'path', path: holder }, outside: holder, ...way });
    await refused({ netns: { mode: 'pid', pid: child.pid! }, outside: `/proc/${child.pid}/ns/net`, ...way });
    await refused({ netns: { mode: 'path', path: '/proc/self/ns/net' }, outside: holder, ...way });
  }
  assert.equal(inspectKernel(), before);
});

tests('a pin that leads to the host at configure is refused then', async () => {
  const before = inspectKernel();
  for (const way of [SLIRP, PASTA, { networks: on('cleat') }]) {
    const path = addNetns('theirs');
    const made = await daemon.done({ type: 'create', id: 'a', netns: { mode: 'path', path }, ...way });
    execFileSync('mount', ['--bind', '/proc/1/ns/net', pathOf(made)]);
    const { status, body } = await daemon.event({ type: 'configure', id: 'a' });
    assert.is(`${status} ${body.error?.code}`, '400 NOT_A_NAMESPACE', JSON.stringify(way));
    execFileSync('umount', [pathOf(made)]);
    await daemon.down('a');
    execFileSync('ip', ['netns', 'del', 'theirs']);
    await assertComesBackTo(before, () => inspectKernel());
  }
});

tests.run();
