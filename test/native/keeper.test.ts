/**
 * cleat-keeper: it owns the program's life, whichever of the two ends first, and however.
 *
 * Limits: the programs are small scripts. test/effects/uplink.slirp4netns.test.ts and test/effects/uplink.pasta.test.ts
 * have the real ones.
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isAlive, watch } from '../../effects/processes/process.ts';
import { findUplink, statusOf } from '../../effects/uplinks/uplink-keeper.ts';
import { processStartTime, signalProcess, spawn, takeDescriptor, type Child } from '../../native/index.ts';
import { endExitEnds, ExitEnds } from '../harness/exit-ends.ts';
import { endSleepers, sleeper } from '../harness/inside.ts';
import { built, propagationOf, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { Uplinks } from '../harness/uplink.ts';

requirePrivateNamespace();

/** A number that no user has. */
const USER = 96_499;
const KEEPER = built('cleat-keeper');
const uplinks = new Uplinks();
const directory = uplinks.at('one');

interface More {
  ready?: number | null;
  readyMs?: number;
  exit?: boolean;
  enters?: boolean;
  bound?: Child;
  /** A descriptor of ours, which becomes this number in the keeper. */
  boundFd?: { fd: number; as: number };
}

function keep(
  program: string[],
  { ready = 4, readyMs = 2000, exit = false, enters = false, bound, boundFd }: More = {},
): Child {
  const args = [
    '--directory',
    directory,
    '--user',
    `${USER}:${USER}`,
    ...(enters ? [] : ['--netns-fd', '5']),
    ...(ready === null ? [] : ['--ready-fd', `${ready}`, '--ready-ms', `${readyMs}`]),
    ...(exit ? ['--exit-fd', '3'] : []),
    ...(bound === undefined ? [] : ['--bound-pid', `${bound.pid}`, '--bound-start', `${bound.startTime}`]),
    ...(boundFd === undefined ? [] : ['--bound-fd', `${boundFd.as}`]),
    '--',
    ...program,
  ];
  const fds = [-1, -1, -1, ...(boundFd === undefined ? [] : [boundFd.fd])];
  return spawn({ file: KEEPER, args, env: {}, fds, ownSession: true });
}

const ended = (process: Child) => new Promise<void>((resolve) => void watch(process, resolve));
const state = () => statusOf(directory)?.state;
const script = (...lines: string[]) => uplinks.broken('program', ...lines);

const keeper = suite('cleat-keeper');

keeper.before.each(() => {
  mkdirSync(directory, { recursive: true });
});
keeper.after.each(async () => {
  await endExitEnds();
  await until('all has ended', () => uplinks.running().length === 0);
  rmSync(directory, { recursive: true, force: true });
  uplinks.assertNothingLeft();
});
keeper.after(() => {
  endSleepers();
  uplinks.end();
});

keeper('the keeper reports that the program is ready, its identity, and how it ended', async () => {
  const process = keep([script('echo hello; echo "a \\"b\\" \\001" >&2; echo 1 >&4; read _; exit 3'), 'word']);
  await ended(process); // its stdin is /dev/null: read fails at once
  const status = statusOf(directory);
  assert.is(status?.state, 'ended');
  assert.equal(status?.keeper, process);
  assert.is(status?.code, 3);
  assert.is(status?.signal, null);
  assert.is(status?.cause, '');
  assert.is(status?.output, 'hello\na "b" ?\n');
  assert.ok(status?.readyMs !== null);
});

keeper('the program gets its descriptors, its directory, and nothing else', async () => {
  const process = keep([script('ls /proc/self/fd; pwd; echo 1 >&4; exec sleep 60')], { exit: true });
  await until('it is ready', () => state() === 'ready');
  // One more is the directory that ls reads.
  assert.is(findUplink(directory)?.output, `0\n1\n2\n3\n4\n5\n6\n${directory}/program\n`);
  const { child } = statusOf(directory) ?? {};
  assert.is(readFileSync(`/proc/${child?.pid}/stat`, 'utf8').split(' ')[5], `${child?.pid}`, 'a session of its own');
  signalProcess(process.pid, process.startTime, 15);
  await ended(process);
  assert.is(statusOf(directory)?.cause, 'told');
  assert.is(statusOf(directory)?.signal, 15);
});

keeper('a program that cannot be run is reported at once, and so is one that ends at once', async () => {
  const readyMs = 600_000; // longer than this test may last
  await ended(keep(['/nonexistent/program'], { readyMs }));
  assert.is(statusOf(directory)?.error, 'execve: No such file or directory');
  assert.is(state(), 'ended');
  rmSync(directory, { recursive: true });
  mkdirSync(directory);
  await ended(keep([script('echo it is broken; exit 7')], { readyMs }));
  assert.is(statusOf(directory)?.output, 'it is broken\n');
  assert.is(statusOf(directory)?.code, 7);
  assert.is(statusOf(directory)?.readyMs, null);
  assert.is(statusOf(directory)?.cause, '', 'not of the deadline');
});

keeper('a program that is never ready is ended, and one that ignores it is killed with its children', async () => {
  const stubborn = script("trap '' TERM; sleep 50 & sleep 51 & while :; do wait; sleep 52; done");
  await ended(keep([stubborn]));
  assert.is(statusOf(directory)?.cause, 'deadline');
  assert.is(statusOf(directory)?.signal, 9);
  assert.equal(uplinks.running(), []);
});

keeper('closing the ready pipe without a byte is no readiness', async () => {
  const process = keep([script('exec 4>&-; exec sleep 60')]);
  await ended(process);
  assert.is(statusOf(directory)?.cause, 'deadline');
  assert.is(statusOf(directory)?.readyMs, null);
});

keeper('a killed keeper ends its program, by the pipe or by a signal', async () => {
  for (const exit of [false, true]) {
    const process = keep([script('echo 1 >&4; exec sleep 60')], { exit });
    await until('it is ready', () => state() === 'ready');
    const child = statusOf(directory)?.child ?? null;
    assert.ok(isAlive(child));
    signalProcess(process.pid, process.startTime, 9);
    await ended(child!);
    assert.is(findUplink(directory)?.state, 'ended');
    rmSync(directory, { recursive: true });
    mkdirSync(directory);
  }
});

keeper('the keeper ends the program with the bound process, and starts none for an ended one', async () => {
  const shell = await sleeper();
  const bound = { pid: shell.pid ?? 0, startTime: processStartTime(shell.pid ?? 0) };
  const process = keep([script('echo 1 >&4; exec sleep 60')], { bound });
  await until('it is ready', () => state() === 'ready');
  shell.kill('SIGKILL');
  await ended(process);
  assert.is(statusOf(directory)?.cause, 'bound');
  rmSync(directory, { recursive: true });
  mkdirSync(directory);
  await ended(keep([script('touch ran; exec sleep 60')], { bound: { ...bound, pid: 1 } }));
  assert.is(statusOf(directory)?.error, 'process 1 has ended');
  assert.not.ok(existsSync(join(directory, 'program', 'ran')));
});

for (const kind of ['pipe', 'socket', 'pidfd'] as const) {
  keeper(
    `the keeper ends the program when the other end of a ${kind} is closed, whatever nobody has read`,
    async () => {
      const ends = await ExitEnds.make(kind);
      const { fd } = takeDescriptor(ends.pid, ends.fd);
      const listing = 'ls -l /proc/self/fd > fds';
      const process = keep([script(listing, 'echo 1 >&4; exec sleep 60')], { exit: true, boundFd: { fd, as: 3 } });
      await until('it is ready', () => state() === 'ready');
      await ends.leave();
      const fds = readFileSync(join(directory, 'program', 'fds'), 'utf8');
      assert.not.match(
        fds,
        kind === 'pidfd' ? /pidfd/ : kind === 'socket' ? /socket:/ : new RegExp(`pipe:\\[${fstatSync(fd).ino}\\]`),
      );
      await ends.close();
      await ended(process);
      assert.is(statusOf(directory)?.cause, 'bound');
      rmSync(directory, { recursive: true });
      mkdirSync(directory);
      await ended(keep([script('touch ran; exec sleep 60')], { boundFd: { fd, as: 3 } }));
      assert.is(statusOf(directory)?.error, 'descriptor 3 has ended');
      assert.not.ok(existsSync(join(directory, 'program', 'ran')));
      closeSync(fd);
    },
  );
}

keeper('the keeper runs nothing without the descriptor that it is to end with', async () => {
  const { status, stderr } = spawnSync(
    KEEPER,
    ['--directory', directory, '--user', '9:9', '--bound-fd', '7', '--', '/bin/true'],
    { encoding: 'utf8' },
  );
  assert.equal([status, stderr], [1, 'cleat-keeper: descriptor 7: not open\n']);
});

keeper('the keeper locks its directory, so a second one runs nothing, nor one after the name is gone', async () => {
  const process = keep([script('echo 1 >&4; exec sleep 60')]);
  await until('it is ready', () => state() === 'ready');
  const before = statusOf(directory);
  await ended(keep([script('touch ran; exec sleep 60')]));
  assert.equal(statusOf(directory), before);
  assert.not.ok(existsSync(join(directory, 'program', 'ran')));
  renameSync(directory, `${directory}.away`);
  await ended(keep([script('echo 1 >&4; exec sleep 60')]));
  assert.not.ok(existsSync(directory));
  signalProcess(process.pid, process.startTime, 15);
  await ended(process);
  // Its own files were removed with the name.
  assert.equal(readdirSync(`${directory}.away`).sort(), ['keeper', 'program', 'status']);
  rmSync(`${directory}.away`, { recursive: true });
});

keeper('program and keeper have the rights they need, and no way to more', async () => {
  const facts = ['Uid', 'Gid', 'Groups', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs'];
  const factsOf = (pid: number) =>
    facts.map(
      (fact) => new RegExp(`^${fact}:[ \\t]*(.*?)[ \\t]*$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1],
    );
  const common = `${uplinks.scripts}/common`;
  mkdirSync(common);
  spawnSync('mount', ['-t', 'tmpfs', 'common', common]);
  spawnSync('mount', ['--make-shared', common]);
  const [ids, ALL] = [Array.from({ length: 4 }, () => USER).join('\t'), '000001ffffffffff'];
  for (const enters of [false, true]) {
    const process = keep([script('echo 1 >&4; exec sleep 60')], { enters });
    await until('it is ready', () => state() === 'ready');
    const pid = statusOf(directory)?.child?.pid ?? 0;
    // SYS_ADMIN, NET_ADMIN, NET_BIND_SERVICE; or all of its own user namespace, which have no effect elsewhere.
    const mine = enters ? '0000000000201400' : ALL;
    assert.equal(factsOf(pid), [ids, ids, '', mine, mine, mine, enters ? mine : '0000000000000000', '1']);
    const same = (name: string) => readlinkSync(`/proc/self/ns/${name}`) === readlinkSync(`/proc/${pid}/ns/${name}`);
    assert.equal(['user', 'mnt', 'net'].map(same), [enters, false, true], 'it is outside, with mounts of its own');
    assert.match(propagationOf(pid, common), /^master:\d+$/, 'ours reach it, its own do not reach us');
    const limits = readFileSync(`/proc/${pid}/limits`, 'utf8');
    assert.match(limits, /^Max core file size\s+0\s+0 /m);
    const [, most] = /^Max open files\s+\d+\s+(\d+) /m.exec(limits) ?? [];
    assert.ok(Number(most) <= 16_384, limits);
    // CAP_KILL.
    const kill = '0000000000000020';
    assert.equal(factsOf(process.pid).slice(3), [kill, kill, kill, '0000000000000000', '1']);
    signalProcess(process.pid, process.startTime, 15);
    await ended(process);
    rmSync(directory, { recursive: true });
    mkdirSync(directory);
  }
  spawnSync('umount', [common]);
});

keeper('a network namespace of its own belongs to its own user namespace', async () => {
  const process = keep([
    script('nsenter --net=/proc/self/fd/5 ip -br link add tap9 type ifb && echo 1 >&4; exec sleep 60'),
  ]);
  await until('it is ready', () => state() === 'ready');
  signalProcess(process.pid, process.startTime, 15);
  await ended(process);
});

keeper("the program's output never blocks it, and takes limited space", async () => {
  const chatter =
    'i=0; while [ $i -lt 3000 ]; do echo "$i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' +
    'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' +
    'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"; ' +
    'i=$((i+1)); done';
  const process = keep([script(chatter, 'echo last words', 'echo 1 >&4', 'exec sleep 60')]);
  await until('it is ready', () => state() === 'ready');
  const log = (statusOf(directory) as unknown as { log: number }).log;
  const blocks = () =>
    Number(spawnSync('stat', ['-L', '-c', '%b', `/proc/${process.pid}/fd/${log}`], { encoding: 'utf8' }).stdout);
  await until('the beginning is given back', () => blocks() * 512 < 300 * 1024);
  const output = findUplink(directory)?.output ?? '';
  assert.ok(output.length <= 4096 && output.endsWith('last words\n'), output);
  signalProcess(process.pid, process.startTime, 15);
  await ended(process);
  assert.ok(statusOf(directory)?.output.endsWith('last words\n'));
});

keeper('the keeper refuses unknown arguments', () => {
  const cases = [
    [[], '--directory is missing'],
    [['--directory', 'relative', '--', '/bin/true'], 'not understood: --directory relative'],
    [['--directory', directory, '--user', '9:9'], '-- and the path of a program are missing'],
    [['--directory', directory, '--user', '9:9', '--', 'true'], '-- and the path of a program are missing'],
    [['--directory', directory, '--', '/bin/true'], '--user is missing'],
    [['--directory', directory, '--user', '0:9', '--', '/bin/true'], 'not understood: --user 0:9'],
    [['--directory', directory, '--ready-fd', '2', '--', '/bin/true'], 'not understood: --ready-fd 2'],
    [
      ['--directory', directory, '--user', '9:9', '--ready-fd', '4', '--', '/bin/true'],
      '--ready-fd and --ready-ms go together',
    ],
    [
      ['--directory', directory, '--user', '9:9', '--bound-pid', '4', '--', '/bin/true'],
      '--bound-pid and --bound-start go together',
    ],
    [['--directory', directory, '--bound-fd', '2', '--', '/bin/true'], 'not understood: --bound-fd 2'],
    [['--directory', directory, '--bound-pid', '12x', '--', '/bin/true'], 'not understood: --bound-pid 12x'],
    [['--surprise', 'x', '--', '/bin/true'], 'not understood: --surprise x'],
  ] as const;
  for (const [args, message] of cases) {
    const { status, stderr } = spawnSync(KEEPER, [...args], { encoding: 'utf8' });
    assert.is(status, 2);
    assert.is(stderr, `cleat-keeper: ${message}\n`);
  }
});

keeper("the program may write to its own directory, and nowhere in the keeper's", async () => {
  for (const deed of ['echo x > ../status', 'mkfifo ../status.new', 'rm -f ../keeper', 'mv ../program ../away']) {
    await ended(keep([script(`touch mine; ${deed} && exit 4; echo 1 >&4; exit 3`)]));
    assert.equal([state(), statusOf(directory)?.code], ['ended', 3], deed);
    assert.equal(readdirSync(directory).sort(), ['keeper', 'program', 'status'], deed);
    assert.is(statSync(join(directory, 'program', 'mine')).uid, USER);
    rmSync(directory, { recursive: true });
    mkdirSync(directory);
  }
});

keeper('a file where the directory should be is no directory', async () => {
  rmSync(directory, { recursive: true });
  writeFileSync(directory, '');
  await ended(keep([script('exec sleep 60')]));
  assert.is(readFileSync(directory, 'utf8'), '');
  rmSync(directory);
});

keeper.run();
