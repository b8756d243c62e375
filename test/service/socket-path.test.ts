/**
 * Paths of sockets: the daemon and its clients refuse a path that does not fit in sun_path, and nobody listens on, or
 * connects to, the truncated path.
 */
import { existsSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Shell } from '../cli/shell.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const paths = suite('paths of sockets');

/** A path of so many bytes, with characters of two bytes, because bytes count. */
const pathOf = (directory: string, bytes: number): string => {
  const left = bytes - directory.length - 1;
  return `${directory}/${'s'.repeat(left % 2)}${'ü'.repeat(Math.floor(left / 2))}`;
};

paths('a path of 108 bytes is refused and makes nothing, and one of 107 is served', async () => {
  const daemon = new TestDaemon();
  const path = pathOf(daemon.directory, 108);
  assert.is(Buffer.byteLength(path), 108);
  for (const socket of [path, '']) {
    const child = daemon.spawn({ socket });
    const [code] = (await once(child, 'exit')) as [number];
    assert.is(code, 1);
    assert.match(daemon.log(), new RegExp(`has 1 to 107 bytes, not ${Buffer.byteLength(socket)}: ${socket}`));
    assert.equal(readdirSync(daemon.directory), ['log']);
  }
  const fits = pathOf(daemon.directory, 107);
  const served = new TestDaemon(daemon.directory, fits);
  await served.start();
  assert.ok(existsSync(fits));
  assert.is(await served.stop(), 0);
});

paths('the command refuses a longer path, and does not talk to a listener at its beginning', async () => {
  const shell = new Shell();
  const long = `${shell.directory}/`.padEnd(120, 's');
  const beginning = long.slice(0, 107);
  let asked = 0;
  const server = createServer((socket) => {
    asked++;
    socket.end();
  }).listen(beginning);
  server.unref();
  await once(server, 'listening');
  for (const [words, status] of [
    [['ps'], 2],
    [['run', 'true'], 125],
  ] as const) {
    const { code, stderr } = await shell.cleat('--socket', long, ...words);
    assert.is(code, status);
    assert.match(stderr, /the path of a socket has 1 to 107 bytes, not 120/);
  }
  shell.environment.CLEAT_SOCKET = long;
  assert.is((await shell.cleat('ps')).code, 2);
  const daemon = await shell.cleat('daemon');
  assert.is(daemon.code, 1);
  assert.match(daemon.stderr, /has 1 to 107 bytes/);
  assert.is(asked, 0);
  server.close();
});

paths.run();
