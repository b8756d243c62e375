/**
 * `--exit-when-idle`: when a daemon ends by itself, what it leaves behind, and what it does not take with it. How clients
 * find the next one is in test/native/find-daemon.test.ts.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Shell } from '../cli/shell.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const idle = suite('exit when idle');

/** Starts a daemon whose directories are all below its run directory, as on demand. */
async function begin(seconds: number): Promise<{ daemon: TestDaemon; end: Promise<unknown>; runs: () => boolean }> {
  const daemon = new TestDaemon();
  const { runDir } = daemon;
  daemon.exitWhenIdle = String(seconds);
  const child = daemon.spawn({ stateDir: `${runDir}/state`, netnsDir: `${runDir}/netns` });
  const end = once(child, 'exit');
  await until('it listens', () => existsSync(daemon.socket) || child.exitCode !== null);
  return { daemon, end, runs: () => child.exitCode === null && child.signalCode === null };
}

/** Waits as long as a daemon needs to leave: until another one has, which began later and has nothing to do. */
async function another(seconds: number): Promise<void> {
  const { end } = await begin(seconds);
  assert.equal(await end, [0, null]);
}

idle('it ends with 0, and removes what it has made', async () => {
  const { daemon, end } = await begin(0.2);
  assert.equal(await end, [0, null]);
  assert.equal(readdirSync(daemon.directory), ['log']);
});

idle('a connection keeps it, whether it says something or not', async () => {
  const { daemon, end, runs } = await begin(0.3);
  const silent = connect(daemon.socket);
  await once(silent, 'connect');
  await another(0.3);
  assert.ok(runs());
  silent.destroy();
  assert.equal(await end, [0, null]);
});

idle('networks that users have made stay', async () => {
  const { daemon, end } = await begin(0.3);
  await daemon.network({ name: 'mine' });
  assert.equal(await end, [0, null]);
  assert.equal(readdirSync(daemon.runDir), ['state']);
  assert.equal(readdirSync(`${daemon.runDir}/state/networks`).sort(), ['cleat.json', 'mine.json']);
});

idle('what was set aside stays', async () => {
  const { daemon, end } = await begin(0.3);
  writeFileSync(`${daemon.runDir}/containers/x.json.unreadable`, '{');
  assert.equal(await end, [0, null]);
  assert.equal(readdirSync(`${daemon.runDir}/containers`), ['x.json.unreadable']);
});

idle('while somebody is about to start a daemon there, it stays', async () => {
  const { daemon, end, runs } = await begin(0.2);
  const starting = spawn('flock', ['--exclusive', daemon.runDir, 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  starting.stdin.write('locked');
  await once(starting.stdout, 'data'); // as native/client/daemon.cc locks it
  await another(0.2);
  assert.ok(runs());
  starting.stdin.end();
  assert.equal(await end, [0, null]);
});

idle('a daemon that nobody can reach any more ends, and leaves everything as it is', async () => {
  const { daemon, end } = await begin(60);
  await daemon.done({ type: 'create', id: 'web' });
  renameSync(daemon.socket, `${daemon.socket}.old`);
  assert.equal(await end, [0, null]);
  assert.equal(readdirSync(`${daemon.runDir}/containers`), ['web.json']);
  assert.is(readdirSync(`${daemon.runDir}/netns`).length, 1);
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
