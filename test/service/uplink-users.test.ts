// slow: 20 s, uplinks are started by several daemons, one after another
/**
 * The users of slirp4netns and pasta: their numbers, a daemon that may not have these numbers, and a program that an
 * earlier version has started as root.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { claimOf, commandOf, findUplink } from '../../effects/uplinks/uplink-keeper.ts';
import { spawn } from '../../native/index.ts';
import type { ContainerContext } from '../../state/container.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { SLIRP, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const passwd = readFileSync('/etc/passwd', 'utf8');

const users = suite('users of uplinks');
const { daemon, shown } = await wayOut(users);
users.after.each(() => writeFileSync('/etc/passwd', passwd));

/** "" while there is no program. */
const userOf = async (id: string): Promise<string> => {
  const pid = (await shown(id)).uplink?.process?.pid ?? 0;
  if (pid === 0) return '';
  return /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
};

users("a number that is somebody's keeps the daemon from starting, with the name", async () => {
  for (const [line, reason] of [
    ['alice:x:65523:65523::/:/bin/sh', 'cleat-uplink cannot run as uid 65523: that is alice'],
    ['cleat-uplink:x:0:0::/:/bin/sh', 'cleat-uplink cannot run as root'],
    ['cleat-uplink:x:65524:65524::/:/bin/sh', 'uid 65524: that is what cleat-uplink-loopback would have'],
  ] as const) {
    await daemon.stop();
    writeFileSync('/etc/passwd', `${passwd}${line}\n`);
    const child = daemon.spawn();
    const status = await new Promise((resolve) => child.on('exit', resolve));
    assert.is(status, 1);
    assert.ok(daemon.log().includes(reason), daemon.log());
    writeFileSync('/etc/passwd', passwd);
    await daemon.start();
  }
});

users('system users of these names are used', async () => {
  await daemon.stop();
  appendFileSync('/etc/passwd', 'cleat-uplink:x:901:903::/:/bin/sh\ncleat-uplink-loopback:x:902:902::/:/bin/sh\n');
  await daemon.start();
  await daemon.up('a', { uplink: SLIRP });
  await daemon.up('b', { uplink: { ...SLIRP, options: ['allow_host_loopback=true'] } });
  assert.equal([await userOf('a'), await userOf('b')], ['901', '902']);
  await daemon.down('a', 'b');
  await daemon.stop();
  writeFileSync('/etc/passwd', passwd);
  await daemon.start();
});

users('a program that an earlier version started as root is started again as its user at a start', async () => {
  await daemon.up('a', { uplink: SLIRP });
  assert.is(await userOf('a'), '65523');
  const snapshot = JSON.parse(readFileSync(`${daemon.runDir}/containers/a.json`, 'utf8')) as {
    snapshot: { context: ContainerContext };
  };
  const { token, netns } = snapshot.snapshot.context;
  const directory = join(daemon.runDir, 'uplinks', token);
  const old = commandOf(claimOf(directory)!) ?? [];
  await daemon.kill();
  process.kill(claimOf(directory)?.pid ?? 0, 'SIGTERM');
  await until('it has ended', () => findUplink(directory)?.state === 'ended');
  execFileSync('rm', ['-r', directory]);
  execFileSync('mkdir', ['-m', '700', directory]);
  // The present keeper cannot start one as root; another user of the machine stands for root.
  const words = old.slice(1).map((word, i, all) => (all[i - 1] === '--user' ? '96402:96402' : word));
  spawn({ file: old[0] ?? '', args: words, env: {}, fds: [-1, -1, -1], ownSession: true });
  await until('it runs', () => findUplink(directory)?.state === 'ready');
  const before = findUplink(directory)?.child?.pid;
  execFileSync('nsenter', [
    `--net=/proc/${before}/fd/5`,
    '--',
    'ip',
    'link',
    'set',
    'tap0',
    'netns',
    netns?.path ?? '',
  ]);
  await daemon.start();
  await until(
    'another runs',
    async () => (await shown('a')).uplink?.process?.pid !== before && (await userOf('a')) === '65523',
  );
  await daemon.down('a');
});

users.run();
