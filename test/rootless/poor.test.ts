// slow: 40 s, a daemon for each of the surroundings
/**
 * Surroundings of an ordinary user's daemon that are poor rather than wrong: what the kernel refuses, a resolv.conf that is not there, a
 * home without locks, without space or read-only, a runtime directory that is another one by now. Each is said with what helps, or does
 * not matter; nothing is left.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { built } from '../../native/index.ts';
import { on, TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { killed, RootlessDaemon, TestUser } from '../harness/rootless.ts';
import { ROOT } from '../harness/sanitized.ts';

const poor = suite('poor rootless surroundings');

execFileSync('ip', ['-batch', '-'], {
  input:
    'link add world type bridge\naddr add 10.99.1.2/24 dev world\nlink set world up\nroute add default via 10.99.1.1\n',
});

const ann = new TestUser('ann', 1801);
// Root may map every user into a namespace.
for (const file of ['subuid', 'subgid']) appendFileSync(`/etc/${file}`, 'root:0:400000000\n');
const CLEAT = join(ROOT, 'dist/bundle/cleat.cjs');
const REFUSING = join(ROOT, 'test/harness/refusing.py');
const launcher = [built('cleat-rootless'), '--', 'true'];
const daemon = [process.execPath, CLEAT, 'daemon'];

const daemons: RootlessDaemon[] = [];
function made(): RootlessDaemon {
  const one = new RootlessDaemon(ann);
  daemons.push(one);
  return one;
}

/** Runs a command as the user, behind one that changes its surroundings. */
function behind(surroundings: string[], command: string[], environment: Record<string, string> = {}) {
  const [file = '', ...args] = [...surroundings, ...ann.prefix, ...command];
  const env = { ...process.env, ...ann.environment, ...environment };
  return spawnSync(file, args, { encoding: 'utf8', env, cwd: '/', timeout: 60_000 });
}

function isRefused(what: string, said: ReturnType<typeof behind>, message: RegExp, hint: RegExp): void {
  // A daemon that was refused leaves it to the next one.
  const [only, ...others] = ann.processes().map(Number.parseFloat);
  if (only !== undefined && others.length === 0 && only === ann.holder) killed(only);
  assert.is(said.status, 1, `${what}: ${said.stdout}${said.stderr}`);
  const [first = '', second = ''] = said.stderr.split('\n').filter((line) => !line.startsWith('{'));
  assert.match(first, new RegExp(`^Error: .*${message.source}`), `${what}: ${said.stderr}`);
  assert.match(second, new RegExp(`^Hint: .*${hint.source}`), `${what}: ${said.stderr}`);
  assert.not.match(said.stderr, /^\s+at /m, what);
}

const shell = (script: string) => ['sh', '-c', `set -e; ${script}; exec "$@"`, 'sh'];
const mounted = (script: string) => ['unshare', '--mount', ...shell(script)];

poor('the kernel refuses a namespace: said with the sysctl', () => {
  const off = (sysctl: string) => [
    'unshare',
    '--user',
    '--map-users=0,0,400000000',
    '--map-groups=0,0,400000000',
    ...shell(`echo 0 >/proc/sys/user/${sysctl}`),
  ];
  isRefused(
    'off',
    behind(off('max_user_namespaces'), launcher),
    /may not make a user namespace: No space/,
    /user.max_user_namespaces=15000/,
  );
  isRefused(
    'no other',
    behind(off('max_net_namespaces'), launcher),
    /and no other one in it: No space/,
    /user.max_net_namespaces=15000/,
  );
  // Debian's kernel.unprivileged_userns_clone=0, and what AppArmor leaves of a user namespace.
  const refusing = (flag: string) => ['python3', REFUSING, 'unshare', '0', `has:${flag}`, 'EPERM'];
  isRefused(
    'EPERM',
    behind(refusing('0x10000000'), launcher),
    /may not make a user namespace: Operation/,
    /kernel.unprivileged_userns_clone=1/,
  );
  isRefused(
    'AppArmor',
    behind(refusing('0x00020000'), launcher),
    /and no other one in it: Operation/,
    /apparmor_restrict_unprivileged_userns=0/,
  );
  assert.equal(ann.processes(), []);
  assert.not.ok(existsSync(ann.record));
});

poor('newuidmap without its rights, and a path too long for a socket', () => {
  const copy = 'cp /usr/bin/newuidmap /run/plain; chmod 755 /run/plain; mount --bind /run/plain /usr/bin/newuidmap';
  isRefused(
    'newuidmap',
    behind(mounted(copy), launcher),
    /newuidmap refuses to map the ids of 1801: .*not permitted/,
    /setuid root/,
  );
  const long = join(ann.runtime, 'x'.repeat(90));
  mkdirSync(long, { mode: 0o700 });
  chownSync(long, ann.uid, ann.uid);
  isRefused(
    'long',
    behind([], launcher, { XDG_RUNTIME_DIR: long }),
    /too long: a socket .* 12\d bytes, and 107 are/,
    /XDG_RUNTIME_DIR/,
  );
  assert.equal(ann.processes(), []);
});

poor('the label of SELinux is given where there is SELinux, and without labels everything goes on', () => {
  const labelOf = 'import os; print(os.getxattr("/run", "security.selinux"))';
  const inside = [built('cleat-rootless'), '--', 'python3', '-c', labelOf];
  const with_ = mounted('mount -t tmpfs tmpfs /sys/fs; mkdir /sys/fs/selinux; echo 1 >/sys/fs/selinux/enforce');
  const labelled = behind(with_, inside);
  assert.match(labelled.stdout, /system_u:object_r:iptables_var_run_t:s0/, labelled.stderr);
  killed(ann.holder);
  // setxattr(2) is refused as on a filesystem without labels.
  for (const errno of ['EOPNOTSUPP', 'EINVAL', 'EACCES']) {
    const { status, stderr } = behind([...with_, 'python3', REFUSING, 'setxattr', '0', 'all', errno], launcher);
    assert.is(status, 0, `${errno}: ${stderr}`);
    killed(ann.holder);
  }
  assert.match(behind([], inside).stderr, /No data available/, 'there is no SELinux');
  killed(ann.holder);
});

poor('a home that is read-only, full, or has no locks', () => {
  const home = (options: string, script = 'true') =>
    mounted(`mount -t tmpfs -o ${options} tmpfs ${ann.home}; chown 1801 ${ann.home}; ${script}`);
  isRefused(
    'read-only',
    behind(home('mode=755', `mount -o remount,ro ${ann.home}`), daemon),
    /cannot write: EROFS: read-only file system, mkdir '.*\/.local'/,
    /mend the run and state directories/,
  );
  isRefused(
    'full',
    behind(home('nr_inodes=2'), daemon),
    /cannot write: ENOSPC: no space left on device, mkdir/,
    /Free space/,
  );
  // The launcher waits for its lock, the daemon does not.
  const locks = (which: string) => ['python3', REFUSING, 'flock', '1', which, 'ENOLCK'];
  const message = /cleat\S* cannot be locked \(ENOLCK\): its file system has no locks/;
  isRefused('no locks in the home', behind(locks('has:4'), daemon), message, /mend the run and state directories/);
  isRefused('nor in the runtime directory', behind(locks('all'), daemon), /namespace.lock: No locks/, /on a tmpfs/);
});

poor('without resolv.conf, and with one that leads nowhere, containers come up', async () => {
  cpSync('/etc', '/run/etc', { recursive: true, verbatimSymlinks: true });
  execFileSync('mount', ['--bind', '/run/etc', '/etc']);
  const one = made();
  for (const make of [() => {}, () => symlinkSync('/run/nowhere/resolv.conf', '/etc/resolv.conf')]) {
    rmSync('/etc/resolv.conf', { force: true });
    make();
    await one.start();
    await one.network({ name: 'web', dns_enabled: true });
    await one.up('c', { networks: on('web') });
    await one.down('c');
    await one.clean();
    await one.request('DELETE', '/v1/networks/web');
    assert.is(await one.stop(), 0);
    await until('nothing is left', () => ann.processes().length === 0);
  }
});

poor('neither slirp4netns nor pasta is there', async () => {
  const one = made();
  one.uplinks = { slirp4netns: '/nowhere/slirp4netns', pasta: '/nowhere/pasta' };
  await one.start();
  await one.done({ type: 'create', id: 'c', networks: on('cleat') });
  const { body } = await one.event({ type: 'configure', id: 'c' });
  assert.match(body.error?.message ?? '', /could not find slirp4netns/);
  await one.down('c');
  assert.is(await one.stop(), 0);
  await until('nothing is left', () => ann.processes().length === 0);
});

poor(
  'a runtime directory that is another one by now: the old daemon ends in order, the new one begins anew',
  async () => {
    const old = made();
    await old.start();
    await old.up('c', { networks: on('cleat') });
    // As when the session has ended and another one has begun.
    const before = `${ann.runtime}.before`;
    renameSync(ann.runtime, before);
    mkdirSync(ann.runtime, { mode: 0o700 });
    chmodSync(ann.runtime, 0o700);
    chownSync(ann.runtime, ann.uid, ann.uid);
    isRefused(
      'the old one has the state directory',
      behind([], daemon),
      /another cleat daemon uses .*state/,
      /stop it/,
    );
    const moved = new TestDaemon(undefined, `${before}/cleat/cleat.sock`);
    await moved.down('c');
    assert.is(await old.stop(), 0);
    const next = made();
    await next.start();
    await next.up('c', { networks: on('cleat') });
    await next.clean();
    await next.down('c');
    assert.is(await next.stop(), 0);
    await until('nothing is left', () => ann.processes().length === 0);
  },
);

poor.after(async () => {
  for (const one of daemons) await one.kill();
});

poor.run();
