// slow: 30 s, each daemon that is started on demand is a process of its own, and each leaves again
/**
 * native/client/daemon.h: which daemon serves the caller's network namespace, and how one is started on demand. A front
 * is played by find-daemon.cc, which finds the daemon, may ask it something, and ends.
 */
// proving: 1800
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Version } from '../../state/answers/version.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';
import { ROOT } from '../harness/sanitized.ts';

requirePrivateNamespace();

const ROUNDS = effort('rounds', 5, 2000);
/** Of a machine with a lot of other work. */
const PATIENCE_MS = 60_000;
const UID = 1000;
const RUNTIME = `/run/user/${UID}`;
/** The tree where every user may pass, whatever is above it. */
const TREE = '/run/tree';
const FIND = join(TREE, 'build/Release/find-daemon');
const MACHINE = '/run/cleat/cleat.sock';

const finding = suite('finding the daemon');

finding.before(() => {
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/var/lib']); // the machine's own state stays as it is
  mkdirSync(TREE);
  execFileSync('mount', ['--bind', ROOT, TREE]);
});

interface Called {
  code: number | null;
  stdout: string;
}

/** Runs a front to its end: the end of all that holds its output, not of the process alone. */
function call(args: string[] = [], env: Record<string, string> = {}, prefix: string[] = []): Promise<Called> {
  const [program = '', ...rest] = [...prefix, FIND, ...args];
  // 5: a descriptor that nobody knows, as engines leave some open.
  const child = spawn(program, rest, { env, stdio: ['ignore', 'pipe', 'pipe', 'ignore', 'ignore', 'pipe'] });
  let stdout = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout }));
  });
}

const pids = new Set<number>();

/** Finds the daemon, and asks it who it is. */
async function find(...how: [env?: Record<string, string>, prefix?: string[]]) {
  const { code, stdout } = await call(['--ask', '/v1/version'], ...how);
  assert.is(code, 0, stdout);
  const [first = '', json = ''] = stdout.split('\n', 2);
  const [how_, socket = ''] = first.split(' ');
  const version = JSON.parse(json) as Version;
  pids.add(version.pid);
  return { started: how_ === 'started', socket, directory: socket.slice(0, socket.lastIndexOf('/')), version };
}

const runs = (pid: number): boolean => existsSync(`/proc/${pid}`);

finding.after.each(async () => {
  for (const pid of pids) if (runs(pid)) process.kill(pid, 'SIGKILL');
  await until('the daemons have ended', () => [...pids].every((pid) => !runs(pid)), PATIENCE_MS);
  pids.clear();
  for (const path of ['/run/cleat', '/var/lib/cleat', RUNTIME]) rmSync(path, { recursive: true, force: true });
});

/** A script that becomes the daemon after a change to its command line. */
function scriptOf(name: string, before: string): string {
  const path = `/run/${name}.mjs`;
  writeFileSync(path, `${before}\nawait import(${JSON.stringify(join(TREE, 'dist/bundle/cleat.cjs'))});\n`);
  return path;
}

const impatient = (seconds: number): Record<string, string> => ({
  CLEAT_DAEMON: scriptOf(
    `idle-${seconds}`,
    `process.argv = process.argv.map((word) => (word === '--exit-when-idle' ? '--exit-when-idle=${seconds}' : word));`,
  ),
});

finding('ten callers at once, with a bare environment, start one daemon and are served by it', async () => {
  // As a tmpfs has it whose mount does not say otherwise; the sticky bit keeps what is ours.
  chmodSync('/run', 0o1777);
  const all = await Promise.all(Array.from({ length: 10 }, () => find()));
  assert.is(all.filter(({ started }) => started).length, 1);
  assert.is(new Set(all.map(({ version }) => version.pid)).size, 1);
  assert.equal([...new Set(all.map(({ socket }) => socket))], [MACHINE]);
  assert.ok(existsSync('/var/lib/cleat/networks'));
  assert.not((await find()).started);
});

finding('the daemon has nothing of who started it', async () => {
  const { version } = await find({ NODE_OPTIONS: '--no-such-option', LD_PRELOAD: '', CLEAT_RUN_DIR: '/run/elsewhere' });
  const { pid } = version; // find() has seen the end of the front's output
  assert.ok(runs(pid));
  const [, parent, group, session, terminal] = (/\) \S (\d+) (\d+) (\d+) (-?\d+)/.exec(
    readFileSync(`/proc/${pid}/stat`, 'utf8'),
  ) ?? []) as string[];
  assert.is(parent, '1');
  assert.is(terminal, '0');
  assert.is(group, session);
  assert.not.equal(session, /\) \S \d+ \d+ (\d+)/.exec(readFileSync('/proc/self/stat', 'utf8'))?.[1]);
  assert.is(readlinkSync(`/proc/${pid}/cwd`), '/');
  assert.match(readFileSync(`/proc/${pid}/environ`, 'utf8'), /^PATH=[^\0]*\0$/);
  assert.is(readlinkSync(`/proc/${pid}/fd/0`), '/dev/null');
  for (const fd of [1, 2]) assert.is(readlinkSync(`/proc/${pid}/fd/${fd}`), '/run/cleat/daemon.log');
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  assert.match(status, /^SigBlk:\s0+$/m);
});

finding('a daemon that was killed is started again, and has its containers', async () => {
  const first = await find();
  const daemon = new TestDaemon(undefined, first.socket);
  await daemon.done({ type: 'create', id: 'web' });
  await daemon.done({ type: 'configure', id: 'web' });
  process.kill(first.version.pid, 'SIGKILL');
  await until('it has ended', () => !runs(first.version.pid));
  const all = await Promise.all(Array.from({ length: 4 }, () => find()));
  assert.is(new Set(all.map(({ version }) => version.pid)).size, 1);
  assert.is(all.filter(({ started }) => started).length, 1);
  // It answers before the containers have been looked at again.
  await until('it is up', async () => (await daemon.get('/v1/containers/web')).body.state === 'up');
  await daemon.down('web');
});

finding('a caller in another namespace gets a daemon of that namespace, and each finds its own again', async () => {
  const machine = await find();
  const other = ['unshare', '--net', 'sh', '-c', '"$@" && "$@"', 'sh'];
  const { code, stdout } = await call(['--ask', '/v1/version'], {}, other);
  assert.is(code, 0, stdout);
  const [started = '', first = '', found = '', second = ''] = stdout.replaceAll('}found', '}\nfound').split('\n');
  const version = JSON.parse(first) as Version;
  pids.add(version.pid);
  assert.match(started, /^started \/run\/cleat\/netns-\d+(-\d+)?\/cleat\.sock$/);
  assert.is(found, started.replace('started', 'found'));
  assert.equal(JSON.parse(second), version);
  assert.not.equal(version.netns, machine.version.netns);
  assert.match(started, `netns-${version.netns.ino}`);
  assert.is((await find()).version.pid, machine.version.pid);
  assert.ok(existsSync(`/run/cleat/netns-${/netns-([\d-]+)/.exec(started)?.[1]}/state/networks`));
});

/** Makes what pam_systemd makes, and returns the beginning of a command of root of a user namespace of this user. */
function rootless(): string[] {
  mkdirSync(RUNTIME, { recursive: true });
  chmodSync(RUNTIME, 0o700);
  chownSync(RUNTIME, UID, UID);
  return ['setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--', 'unshare', '-Urnm'];
}

/** Keeps the namespaces of a rootless engine, in which its helpers are called. */
async function namespaces(): Promise<{ inside: string[]; close: () => void }> {
  const [program = '', ...rest] = rootless();
  const holder = spawn(program, [...rest, 'sh', '-c', 'ip link set lo up; echo ready; exec sleep 1000'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  const inside = ['nsenter', '-t', String(holder.pid), '-U', '-n', '-m', '--preserve-credentials', '--'];
  return {
    inside: ['setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--', ...inside],
    close: () => void holder.kill('SIGKILL'),
  };
}

finding('a rootless engine gets a daemon in its own namespaces, which makes a container with a port', async () => {
  const outside = await find(); // of root, which has no rights there, nor the caller at its socket
  const { inside, close } = await namespaces();
  try {
    const { started, socket, version } = await find({}, inside);
    assert.ok(started);
    assert.match(socket, new RegExp(`^${RUNTIME}/cleat/netns-${version.netns.ino}(-\\d+)?/cleat\\.sock$`));
    assert.not.equal(version.pid, outside.version.pid);
    const again = await find({ XDG_RUNTIME_DIR: RUNTIME, CLEAT_SOCKET: '' }, inside);
    assert.not(again.started);
    assert.is(again.socket, socket);
    const daemon = new TestDaemon(undefined, socket);
    await daemon.done({ type: 'create', id: 'web', port_mappings: [{ host_port: 8080, container_port: 80 }] });
    const { state, ports } = await daemon.done({ type: 'configure', id: 'web' });
    assert.is(state, 'up');
    assert.is(ports[0]?.host_port, 8080);
    const rules = execFileSync(inside[0] ?? '', [...inside.slice(1), 'nft', 'list', 'ruleset'], { encoding: 'utf8' });
    assert.match(rules, '8080');
    await daemon.down('web');
  } finally {
    close();
  }
});

finding('a daemon that leaves takes with it what it has made', async () => {
  const { inside, close } = await namespaces();
  try {
    const { directory, version } = await find(impatient(0.3), inside);
    await until('it has left', () => !runs(version.pid), PATIENCE_MS);
    assert.not(existsSync(directory));
    assert.equal(readdirSync(RUNTIME), []);
  } finally {
    close();
  }
});

finding('who comes while a daemon leaves is served all the same', async () => {
  const env = impatient(0.05);
  let started = 0;
  const met = new Set<number>();
  for (let at = 0; at < ROUNDS; at++) {
    await sleep(40 + ((at * 5) % 70)); // before, while and after it leaves
    const all = await Promise.all(Array.from({ length: 4 }, () => find(env)));
    started += all.filter((found) => found.started).length;
    for (const { version } of all) met.add(version.pid);
  }
  // A front that was served by another's daemon has not started one; nobody was served by a daemon that nobody started.
  assert.is(met.size, started);
  proved('times that four fronts came while a daemon left', ROUNDS);
});

finding('a socket that was chosen is taken as it is, and nothing is started there', async () => {
  const { socket } = await find();
  for (const [args, env] of [
    [['--socket', '/run/none'], { CLEAT_SOCKET: socket }],
    [[], { CLEAT_SOCKET: '/run/none' }],
  ] as const) {
    const { code, stdout } = await call([...args], env);
    assert.is(code, 1);
    assert.match(stdout, /^no daemon at \/run\/none: No such file or directory; start it/);
  }
  assert.is((await call(['--socket', socket], { CLEAT_SOCKET: '/run/none' })).code, 0);
  assert.not(existsSync('/run/none'));
});

finding('what keeps a daemon from starting is said in one line', async () => {
  const failing: [env: Record<string, string>, says: RegExp][] = [
    [{ CLEAT_DAEMON: '/run/none.js' }, /^the daemon was started, and ended at once: .*Cannot find module/],
    [
      { CLEAT_NODE: '/run/none' },
      /^the daemon is not running and cannot be started: execve of \/run\/none: No such file or directory$/,
    ],
    [{ CLEAT_NODE: 'node' }, /CLEAT_NODE is an absolute path, not node$/],
    [{ CLEAT_DAEMON: 'cleat' }, /CLEAT_DAEMON is an absolute path, not cleat$/],
    [
      { CLEAT_DAEMON: scriptOf('wrong', `process.argv.push('--limit', 'x=1');`) },
      /^the daemon was started, and ended at once: Error: .*x=1.* Hint: /,
    ],
    [{ CLEAT_DAEMON: scriptOf('silent', 'process.exit(1);') }, /ended at once: it said nothing$/],
  ];
  for (const [env, says] of failing) {
    const { code, stdout } = await call([], env);
    assert.is(code, 1, stdout);
    assert.match(stdout, /^[^\n]+\n$/);
    assert.match(stdout.trimEnd(), says);
    assert.not(existsSync('/run/cleat'));
  }
});

finding("a daemon that does not get ready ends no wait too late, and is the next caller's", async () => {
  const gate = '/run/gate';
  const waits = `import { existsSync } from 'node:fs';\nwhile (!existsSync('${gate}')) await new Promise((go) => setTimeout(go, 5));`;
  const env = { CLEAT_DAEMON: scriptOf('late', waits) };
  const { code, stdout } = await call(['300'], env);
  assert.is(code, 1);
  assert.is(stdout, 'the daemon of this network namespace did not get ready in time\n');
  writeFileSync(gate, '');
  await until('it is there', () => existsSync(MACHINE), PATIENCE_MS);
  assert.not((await find(env)).started);
});

finding('a directory of others is no place, and a plain user starts nothing', async () => {
  const { inside, close } = await namespaces();
  try {
    const open = `${RUNTIME}/open`;
    mkdirSync(open);
    chownSync(open, UID, UID);
    chmodSync(open, 0o777);
    const { socket } = await find({ XDG_RUNTIME_DIR: open }, inside);
    assert.match(socket, new RegExp(`^${RUNTIME}/cleat/`));
    assert.equal(readdirSync(open), []);
    chmodSync(RUNTIME, 0o755);
    const user = ['setpriv', '--reuid=1001', '--regid=1001', '--clear-groups', '--'];
    const refused = await call([], { XDG_RUNTIME_DIR: RUNTIME }, user);
    assert.match(refused.stdout, /^the daemon is not running: there is no directory for a daemon of this user/);
    const plain = ['setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--'];
    const { code, stdout } = await call([], {}, plain);
    assert.is(code, 1);
    assert.match(stdout, /^the daemon is not running, and only root can start it/);
  } finally {
    close();
  }
});

finding("a daemon that somebody else starts in a user's namespace is found", async () => {
  const { inside, close } = await namespaces();
  try {
    mkdirSync(`${RUNTIME}/cleat`);
    chownSync(`${RUNTIME}/cleat`, UID, UID);
    const own = [
      '--run-dir',
      `${RUNTIME}/cleat`,
      '--state-dir',
      `${RUNTIME}/cleat/state`,
      '--netns-dir',
      `${RUNTIME}/cleat/netns`,
    ];
    const script = join(TREE, 'dist/bundle/cleat.cjs');
    const child = spawn(inside[0] ?? '', [...inside.slice(1), process.execPath, script, 'daemon', ...own], {
      stdio: 'ignore',
    });
    // The socket is there before it listens.
    const listens = () => {
      const client = connect(`${RUNTIME}/cleat/cleat.sock`);
      const connected = once(client, 'connect').then(Boolean, () => false);
      return connected.finally(() => client.destroy());
    };
    await until('it listens', listens, PATIENCE_MS);
    const { started, socket } = await find({}, inside);
    assert.not(started);
    assert.is(socket, `${RUNTIME}/cleat/cleat.sock`);
    child.kill('SIGKILL');
  } finally {
    close();
  }
});

finding.run();
