// slow: 25 s, each case is a start of the daemon, by the command
/**
 * Socket activation: a supervisor (activator.py) binds the socket and starts the daemon when somebody connects. The
 * executables find that socket where they always do.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HOOK } from '../hook/run.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { ROOT } from '../harness/sanitized.ts';

requirePrivateNamespace();

const ACTIVATOR = join(ROOT, 'test/service/activator.py');
/** Of a machine with a lot of other work. */
const PATIENCE_MS = 60_000;
const CLEAT = join(ROOT, 'dist/bundle/cleat.cjs');

const activation = suite('socket activation');

class Supervisor {
  readonly directory = mkdtempSync('/run/activated-');
  readonly socket = `${this.directory}/cleat.sock`;
  readonly pids: number[] = [];
  readonly child: ChildProcess;
  output = '';

  constructor(kind: string, ...args: string[]) {
    const places = ['run', 'state', 'netns'].flatMap((name) => [`--${name}-dir`, `${this.directory}/${name}`]);
    const command = [process.execPath, CLEAT, 'daemon', ...places, ...args];
    this.child = spawn('python3', [ACTIVATOR, this.socket, kind, ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'] },
    });
    this.child.stdout
      ?.setEncoding('utf8')
      .on('data', (text: string) => this.pids.push(...text.trim().split('\n').map(Number)));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.output += text));
  }

  async listening(): Promise<TestDaemon> {
    await until('it is bound', () => existsSync(this.socket), PATIENCE_MS);
    return new TestDaemon(this.directory, this.socket);
  }

  get pid(): number {
    return this.pids.at(-1) ?? 0;
  }

  async end(): Promise<void> {
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
    if (existsSync(`/proc/${this.pid}`)) process.kill(this.pid, 'SIGKILL');
  }
}

activation('who connects first starts it, and is served; the socket stays when it leaves', async () => {
  const supervisor = new Supervisor('stream', '--exit-when-idle', '1');
  const daemon = await supervisor.listening();
  const { ino, mode } = statSync(supervisor.socket);
  assert.equal(supervisor.pids, []);
  const answers = await Promise.all(Array.from({ length: 5 }, () => daemon.get<{ pid: number }>('/v1/version')));
  for (const { body } of answers) assert.ok(supervisor.pids.includes(body.pid));
  const first = supervisor.pid;
  await until('it has left', () => !existsSync(`/proc/${first}`), PATIENCE_MS);
  assert.is(statSync(supervisor.socket).ino, ino);
  assert.is(statSync(supervisor.socket).mode, mode);
  // Again, with something to keep.
  await daemon.done({ type: 'create', id: 'web' });
  assert.is((await daemon.done({ type: 'configure', id: 'web' })).state, 'up');
  const { pid } = supervisor;
  process.kill(pid, 'SIGTERM');
  await until('it has stopped', () => !existsSync(`/proc/${pid}`), PATIENCE_MS);
  const { body } = await daemon.get('/v1/containers/web');
  assert.is(body.state, 'up');
  assert.not.equal(supervisor.pid, pid);
  await daemon.down('web');
  await supervisor.end();
});

activation('the OCI hook starts it by connecting', async () => {
  const supervisor = new Supervisor('stream');
  await supervisor.listening();
  const state = JSON.stringify({ ociVersion: '1.0.2', id: 'none', status: 'stopped', pid: 0, bundle: '/b' });
  execFileSync(HOOK, ['--socket', supervisor.socket, 'poststop'], { input: state });
  await until('it was started', () => supervisor.pids.length === 1);
  await supervisor.end();
});

activation('a socket that cannot be served is refused', async () => {
  const kinds = {
    datagram: 'descriptor 3 is no',
    quiet: 'descriptor 3 is no',
    internet: 'descriptor 3 is no',
    abstract: 'the socket that was passed has no path',
  };
  const refused = async ([kind, says]: [string, string]): Promise<void> => {
    const supervisor = new Supervisor(kind);
    assert.equal(await once(supervisor.child, 'close'), [1, null], kind);
    assert.match(supervisor.output, `Error: ${says}`, kind);
    assert.match(supervisor.output, /Hint: Pass the daemon one listening Unix stream socket/);
    assert.not(existsSync(`${supervisor.directory}/run`));
  };
  await Promise.all(Object.entries(kinds).map(refused));
});

activation('another socket in the settings is refused', async () => {
  const supervisor = new Supervisor('stream', '--socket', '/run/other.sock');
  const daemon = await supervisor.listening();
  const refused = daemon.get('/v1/version').catch(() => null); // nobody ever accepts it
  await until('it says why', () => supervisor.output.includes('the settings say /run/other.sock'), PATIENCE_MS);
  await supervisor.end();
  assert.is(await refused, null);
});

/** Starts the daemon with these variables and descriptor 3; PID stands for its own pid. */
function started(variables: string, descriptor = ''): { code: number | null; stderr: string } {
  const directory = mkdtempSync('/run/variables-');
  const places = ['run', 'state', 'netns'].flatMap((name) => [`--${name}-dir`, `${directory}/${name}`]);
  const shell = `${variables.replace('=PID', () => '=$$')} exec "$@" ${descriptor}`;
  const command = [process.execPath, CLEAT, 'daemon', '--exit-when-idle', '0.2', ...places];
  const { status, stderr } = spawnSync('sh', ['-c', shell, 'sh', ...command], { encoding: 'utf8' });
  return { code: status, stderr };
}

activation('what was passed wrongly is said, and what was passed to another process is ignored', () => {
  const two = started('LISTEN_PID=PID LISTEN_FDS=2');
  assert.is(two.code, 1);
  assert.match(two.stderr, /^Error: LISTEN_FDS is "2": the daemon takes one socket$/m);
  const none = started('LISTEN_PID=PID LISTEN_FDS=1', '3<&-');
  assert.match(none.stderr, /^Error: descriptor 3 /m);
  const file = started('LISTEN_PID=PID LISTEN_FDS=1', '3</dev/null');
  assert.match(file.stderr, /^Error: descriptor 3 is no listening Unix stream socket$/m);
  assert.is(started('LISTEN_PID=1 LISTEN_FDS=7').code, 0);
  assert.is(started('LISTEN_FDS=1').code, 0);
});

activation.run();
