/** Other processes through the addon: starting, watching, signalling, telling apart. */
import { execFileSync, spawn as nodeSpawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
} from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  openOutside,
  openPipe,
  openProcessNetns,
  peerCredentials,
  processStartTime,
  signalProcess,
  spawn,
  watchProcess,
  type Child,
  type SpawnOptions,
} from '../../native/index.ts';
import {
  kernelFailure,
  mountsAt,
  openDescriptors,
  processState,
  propagationOf,
  scratch,
  until,
} from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const outside = openOutside();
const directory = scratch();
let outputs = 0;

const options = (file: string, args: string[], rest: Partial<SpawnOptions> = {}): SpawnOptions => {
  return { file, args, env: { PATH: '/usr/bin:/bin' }, fds: [-1, -1, -1], ...rest };
};
const sleeper = (rest: Partial<SpawnOptions> = {}): Child => spawn(options('/bin/sleep', ['1000'], rest));
const reaped = (pid: number): Promise<void> => until(`${pid} reaped`, () => processState(pid) === null);
const ended = (child: Child): Promise<void> => {
  return new Promise((resolve) => void watchProcess(child.pid, child.startTime, resolve));
};

/** The output of a shell command. */
async function shell(script: string, rest: Partial<SpawnOptions> = {}): Promise<string> {
  const path = join(directory, `output${outputs++}`);
  const fd = openSync(path, 'w+');
  const child = spawn(options('/bin/sh', ['-c', script], { fds: [-1, fd, 2], ...rest }));
  closeSync(fd);
  await reaped(child.pid);
  return readFileSync(path, 'utf8').trim();
}

test('a program gets its arguments, its environment and nothing else', async () => {
  const env = { ONE: '1', EMPTY: '', SPACE: 'a b=c' };
  const script = 'echo "$0|$1|$ONE|$EMPTY|$SPACE|$PATH"';
  const path = join(directory, 'arguments');
  const fd = openSync(path, 'w+');
  const child = spawn(options('/bin/sh', ['-c', script, 'zero', 'o n e'], { env, fds: [-1, fd, fd] }));
  closeSync(fd);
  await reaped(child.pid);
  assert.match(readFileSync(path, 'utf8'), /^zero\|o n e\|1\|\|a b=c\|/);
});

test('the end of a program is told once, with its status or its signal', async () => {
  const endOf = (script: string) =>
    new Promise<[number | null, number | null]>((resolve) => {
      const child = spawn(options('/bin/sh', ['-c', script]), (status, signal) => {
        assert.is(processState(child.pid), null, 'it has been reaped');
        resolve([status, signal]);
      });
    });
  assert.equal(await Promise.all(['exit 0', 'exit 3', 'kill -9 $$'].map(endOf)), [
    [0, null],
    [3, null],
    [null, 9],
  ]);
});

test('a pipe leads from the program to us, and ends with it', async () => {
  const descriptors = openDescriptors();
  // Some of them may be of earlier tests, and about to be closed: a leak has to be larger than those.
  for (let time = 0; time < 10; time++) {
    const { reading, writing } = openPipe();
    const child = spawn(options('/bin/echo', ['word'], { fds: [-1, writing, -1] }));
    closeSync(writing);
    assert.is(readFileSync(reading, 'utf8'), 'word\n');
    closeSync(reading);
    await reaped(child.pid);
  }
  assert.ok(openDescriptors() <= descriptors, `${openDescriptors()} in place of ${descriptors}`);
});

test('descriptors are the requested ones, wherever they were', async () => {
  const one = openSync(join(directory, 'one'), 'w+');
  const two = openSync(join(directory, 'two'), 'w+');
  // The numbers cross: the child's 0 and 1 come from each other's places too.
  const child = spawn(
    options('/bin/sh', ['-c', '(ls -l /proc/$$/fd >&3); echo >&4'], { fds: [1, -1, 2, two, one, two] }),
  );
  await reaped(child.pid);
  const listing = readFileSync(join(directory, 'two'), 'utf8');
  assert.equal(
    [...listing.matchAll(/ (\d+) -> (\S+)/g)].map(([, fd, target]) => `${fd} ${target}`),
    [
      `0 ${readlinkSync('/proc/self/fd/1')}`,
      '1 /dev/null',
      `2 ${readlinkSync('/proc/self/fd/2')}`,
      `3 ${join(directory, 'two')}`,
      `4 ${join(directory, 'one')}`,
      `5 ${join(directory, 'two')}`,
    ],
  );
  assert.is(fstatSync(one).size, 1);
  closeSync(one);
  closeSync(two);
});

test('a program that cannot be started is reported with the reason, and leaves nothing', async () => {
  const descriptors = openDescriptors();
  const children = readFileSync('/proc/thread-self/children', 'utf8');
  const attempts: [SpawnOptions, string, string, string][] = [
    [options('/absent/program', []), 'ENOENT', 'execve', '/absent/program'],
    [options('/etc/passwd', []), 'EACCES', 'execve', '/etc/passwd'],
    [options('relative', []), 'EINVAL', 'execve', 'relative'],
    [options('/bin/true', [], { fds: [-1, 900] }), 'EBADF', 'fcntl(F_DUPFD)', 'fds[1]'],
    [options('/bin/true', [], { netns: '/absent' }), 'ENOENT', 'open', '/absent'],
    [options('/bin/true', [], { netns: '/proc/self/ns/mnt' }), 'EINVAL', 'ioctl(NS_GET_NSTYPE)', '/proc/self/ns/mnt'],
    [options('/bin/true', [], { env: { 'A=B': 'c' } }), 'EINVAL', 'execve', 'A=B'],
  ];
  for (const [attempt, ...expected] of attempts) {
    const { code, syscall, object } = await kernelFailure(() => spawn(attempt));
    assert.equal([code, syscall, object], expected);
  }
  const wrong: unknown[] = [
    null,
    {},
    options('/bin/true', [1 as never]),
    options('/bin/true', [], { fds: ['0' as never] }),
  ];
  for (const attempt of wrong) assert.throws(() => spawn(attempt as SpawnOptions), TypeError);
  assert.ok(openDescriptors() <= descriptors);
  assert.is(readFileSync('/proc/thread-self/children', 'utf8'), children);
});

test('signals have their defaults', async () => {
  const status = await shell('grep -E "^Sig(Blk|Ign)" /proc/self/status');
  assert.equal(status.split(/\s+/), ['SigBlk:', '0000000000000000', 'SigIgn:', '0000000000000000']);
});

test('a program may have a session, mounts and a network of its own', async () => {
  const script = 'echo $$ $(cut -d" " -f6 /proc/$$/stat)';
  const [pid, session] = (await shell(script, { ownSession: true })).split(' ');
  assert.is(session, pid);
  assert.not.equal(...((await shell(script)).split(' ') as [string, string]));

  const mounting = `mkdir -p ${directory}/mnt && mount -t tmpfs none ${directory}/mnt && readlink /proc/self/ns/mnt`;
  assert.not.equal(await shell(mounting, { ownMounts: true }), readlinkSync('/proc/self/ns/mnt'));
  assert.is(mountsAt(`${directory}/mnt`), 0);

  const common = join(directory, 'common');
  mkdirSync(common);
  execFileSync('mount', ['-t', 'tmpfs', 'common', common]);
  execFileSync('mount', ['--make-shared', common]);
  assert.match(propagationOf(process.pid, common), /^shared:\d+$/);
  const child = sleeper({ ownMounts: true });
  assert.match(propagationOf(child.pid, common), /^master:\d+$/, 'ours reach it, its own do not reach us');
  signalProcess(child.pid, child.startTime, 9);
  await reaped(child.pid);
  execFileSync('umount', [common]);

  const netns = join(directory, 'netns');
  const { ino } = await outside.netnsCreate(netns, {});
  assert.is(await shell('readlink /proc/self/ns/net', { netns, ownMounts: true }), `net:[${ino}]`);
  assert.is(readlinkSync('/proc/self/ns/net'), `net:[${outside.identity().ino}]`);
  await outside.netnsRemove(netns);
});

test('an unwatched child does not stay a zombie', async () => {
  const children = Array.from({ length: 50 }, () => spawn(options('/bin/true', [])));
  for (const { pid } of children) await reaped(pid);
});

test('the end of a process is reported once, and only for that process', async () => {
  const child = sleeper();
  const other = sleeper();
  assert.is(processStartTime(child.pid), child.startTime);
  let ends = 0;
  let wrong = 0;
  watchProcess(child.pid, child.startTime, () => ends++);
  const stop = watchProcess(child.pid, child.startTime, () => wrong++);
  const stopOther = watchProcess(other.pid, other.startTime, () => wrong++);
  stop();
  stop();
  signalProcess(child.pid, child.startTime, 15);
  await until('end', () => ends > 0);
  assert.is(processState(child.pid), null, 'reaped by the time it is told');
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal([ends, wrong], [1, 0]);
  stopOther();
  signalProcess(other.pid, other.startTime, 9);
  await reaped(other.pid);
});

test('a process that is no child is watched too, and left to its parent', async () => {
  const theirs = nodeSpawn('/bin/sleep', ['1000']);
  const exit = once(theirs, 'exit');
  const pid = theirs.pid ?? 0;
  const end = ended({ pid, startTime: processStartTime(pid) });
  theirs.kill('SIGTERM');
  await end;
  assert.equal(await exit, [null, 'SIGTERM']);
});

test('an ended process, a zombie and a reused pid are all ESRCH', async () => {
  const child = sleeper();
  const later = child.startTime + 1;
  assert.is((await kernelFailure(() => signalProcess(child.pid, later, 9))).code, 'ESRCH');
  assert.is((await kernelFailure(() => watchProcess(child.pid, later, () => {}))).code, 'ESRCH');
  signalProcess(child.pid, child.startTime, 0);

  // It stays a zombie as long as the event loop does not turn.
  signalProcess(child.pid, child.startTime, 9);
  const deadline = performance.now() + 2000;
  while (processState(child.pid) !== 'Z' && performance.now() < deadline);
  assert.is(processState(child.pid), 'Z');
  const gone = [
    () => processStartTime(child.pid),
    () => signalProcess(child.pid, child.startTime, 0),
    () => watchProcess(child.pid, child.startTime, () => {}),
    () => openProcessNetns(child.pid),
  ];
  for (const attempt of gone) assert.is((await kernelFailure(attempt)).code, 'ESRCH');
  await reaped(child.pid);
  for (const attempt of gone) {
    const { code, object } = await kernelFailure(attempt);
    assert.equal([code, object], ['ESRCH', `process ${child.pid}`]);
  }
  const wrong: (() => unknown)[] = [
    () => processStartTime(0),
    () => processStartTime(-1),
    () => signalProcess(1, 1, 65),
    () => watchProcess(1, 1, null as never),
  ];
  for (const attempt of wrong) assert.throws(attempt, TypeError);
});

test("a process's network is opened by pid", async () => {
  const netns = join(directory, 'netns');
  const made = await outside.netnsCreate(netns, {});
  const child = sleeper({ netns });
  const { fd, startTime } = openProcessNetns(child.pid);
  assert.is(startTime, child.startTime);
  signalProcess(child.pid, child.startTime, 9);
  await reaped(child.pid);
  await outside.netnsRemove(netns);
  assert.equal(await outside.netnsPin(fd, netns), made);
  closeSync(fd);
  await outside.netnsRemove(netns);
});

test('peer credentials are those of the connecting process', async () => {
  const path = join(directory, 'socket');
  const server = createServer().listen(path);
  await once(server, 'listening');
  const client = connect(path);
  const [socket] = (await once(server, 'connection')) as [Socket];
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  const mine = { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() };
  assert.equal(peerCredentials(fd), mine);
  client.destroy();
  socket.destroy();
  server.close();
  await once(server, 'close');
  assert.is(existsSync(path), false);
  const file = openSync('/dev/null', 'r');
  assert.is((await kernelFailure(() => peerCredentials(file))).code, 'ENOTSOCK');
  closeSync(file);
  assert.is((await kernelFailure(() => peerCredentials(file))).code, 'EBADF');
});

test('an exception in a listener is uncaught, as anywhere else', async () => {
  const child = sleeper();
  const thrown = once(process, 'uncaughtException');
  watchProcess(child.pid, child.startTime, () => {
    throw new RangeError('from the listener');
  });
  signalProcess(child.pid, child.startTime, 9);
  assert.instance((await thrown)[0], RangeError);
});

test('many children leave no descriptor and no memory behind', async () => {
  const cycle = async (): Promise<void> => {
    const child = spawn(options('/bin/true', []));
    await reaped(child.pid);
    await kernelFailure(() => spawn(options('/absent', [])));
  };
  for (let i = 0; i < 100; i++) await cycle();
  const descriptors = openDescriptors();
  const resident = process.memoryUsage().rss;
  for (let i = 0; i < 400; i++) await cycle();
  assert.ok(openDescriptors() <= descriptors);
  const grown = (process.memoryUsage().rss - resident) / 400;
  assert.ok(grown < 20_000, `${grown} bytes a cycle`);
});

test('the descriptor of an ended watch is closed, also while somebody could still stop it', async () => {
  const pidfds = () =>
    readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[pidfd]';
      } catch {
        return false; // the one of the directory itself
      }
    }).length;
  const child = nodeSpawn('sleep', ['60']);
  await once(child, 'spawn');
  const pid = child.pid ?? 0;
  const before = pidfds();
  let ended = false;
  const stop = watchProcess(pid, processStartTime(pid), () => (ended = true));
  assert.is(pidfds(), before + 1);
  child.kill('SIGKILL');
  await until('it is closed', () => ended && pidfds() === before);
  stop();
});

test.run();
