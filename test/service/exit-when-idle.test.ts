// slow: 25 s, a daemon is started for each, and a second one to wait for
/**
 * `--exit-when-idle`: when a daemon ends by itself, what it leaves behind, and what it does not take with it. How clients
 * find the next one is in test/native/find-daemon.test.ts.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Shell } from '../cli/shell.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

/** Of a machine with a lot of other work. */
const PATIENCE_MS = 60_000;

const idle = suite('exit when idle');

interface Begun {
  daemon: TestDaemon;
  end: Promise<unknown>;
  runs: () => boolean;
  /** Until then it cannot leave, however fast it is: somebody has the lock on its directory. */
  free: () => void;
}

/** Starts a daemon whose directories are all below its run directory, as on demand. */
async function begin(seconds = 0.2): Promise<Begun> {
  const daemon = new TestDaemon();
  const { runDir } = daemon;
  mkdirSync(runDir, { mode: 0o751 });
  const holder = spawn('flock', ['--exclusive', runDir, 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  holder.stdin.write('locked'); // as native/client/daemon.cc locks it
  await once(holder.stdout, 'data');
  daemon.exitWhenIdle = String(seconds);
  const child = daemon.spawn({ stateDir: `${runDir}/state`, netnsDir: `${runDir}/netns` });
  const end = once(child, 'exit');
  // The socket is there before it listens.
  const answers = () => daemon.get('/v1/version').then(Boolean, () => false);
  await until('it answers', answers, PATIENCE_MS);
  return {
    daemon,
    end,
    runs: () => child.exitCode === null && child.signalCode === null,
    free: () => holder.stdin.end(),
  };
}

/** Waits as long as a daemon needs to leave: until another one has, which began later and has nothing to do. */
async function another(): Promise<void> {
  const { end, free } = await begin();
  free();
  assert.equal(await end, [0, null]);
}

idle('it ends with 0, and removes what it has made', async () => {
  const { daemon, end, free } = await begin();
  mkdirSync(`${daemon.runDir}/rootless`); // as the way out of a plain user's daemon leaves it
  mkdirSync(`${daemon.runDir}/netavark/own`, { recursive: true }); // where netavark, run by us, keeps its files
  free();
  assert.equal(await end, [0, null]);
  assert.equal(readdirSync(daemon.directory), ['log']);
});

idle('a connection keeps it', async () => {
  const { daemon, end, runs, free } = await begin();
  const listener = connect(daemon.socket);
  listener.write('GET /v1/events HTTP/1.1\r\nHost: cleat\r\n\r\n');
  await once(listener, 'data');
  free();
  await another();
  assert.ok(runs());
  listener.destroy();
  assert.equal(await end, [0, null]);
});

idle('a container keeps it', async () => {
  const { daemon, end, runs, free } = await begin();
  await daemon.done({ type: 'create', id: 'web' });
  free();
  await another();
  assert.ok(runs());
  await daemon.down('web');
  assert.equal(await end, [0, null]);
  assert.equal(readdirSync(daemon.directory), ['log']);
});

idle('while somebody is about to start a daemon there, it stays', async () => {
  const { end, runs, free } = await begin();
  await another();
  assert.ok(runs());
  free();
  assert.equal(await end, [0, null]);
});

idle('networks that users have made stay', async () => {
  const { daemon, end, free } = await begin();
  await daemon.network({ name: 'mine' });
  free();
  assert.equal(await end, [0, null]);
  assert.equal(readdirSync(daemon.runDir), ['state']);
  assert.equal(readdirSync(`${daemon.runDir}/state/networks`).sort(), ['cleat.json', 'mine.json']);
});

idle('what was set aside stays', async () => {
  const { daemon, end, free } = await begin();
  writeFileSync(`${daemon.runDir}/containers/x.json.unreadable`, '{');
  free();
  assert.equal(await end, [0, null]);
  assert.equal(readdirSync(`${daemon.runDir}/containers`), ['x.json.unreadable']);
});

idle('a daemon that nobody can reach any more ends, and leaves everything as it is', async () => {
  const { daemon, end, free } = await begin(3600);
  await daemon.done({ type: 'create', id: 'web' });
  renameSync(daemon.socket, `${daemon.socket}.old`);
  assert.equal(await end, [0, null]);
  free();
  assert.equal(readdirSync(`${daemon.runDir}/containers`), ['web.json']);
  assert.is(readdirSync(`${daemon.runDir}/netns`).length, 1);
});

idle('a daemon whose socket was replaced leaves the socket of who came after it', async () => {
  const { daemon, end, free } = await begin(3600);
  const successor = createServer().unref();
  await once(successor.listen(`${daemon.socket}.new`), 'listening');
  const { ino } = statSync(`${daemon.socket}.new`);
  renameSync(`${daemon.socket}.new`, daemon.socket);
  assert.equal(await end, [0, null]);
  free();
  assert.is(statSync(daemon.socket).ino, ino);
  successor.close();
});

idle('a number that is none is refused', async () => {
  const shell = new Shell();
  for (const text of ['0', 'soon', '86401']) {
    const { code, stderr } = await shell.cleat('daemon', `--exit-when-idle=${text}`);
    assert.is(code, 1);
    assert.match(stderr, `Error: --exit-when-idle takes seconds, up to 86400, not ${text}`);
  }
  shell.environment.CLEAT_EXIT_WHEN_IDLE = '0.2';
  assert.is((await shell.cleat('daemon')).code, 0);
});

idle.run();
