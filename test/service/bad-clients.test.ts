/**
 * Clients that send too much, or break off, and a second daemon. An incomplete request changes nothing, a complete one
 * is executed, and the daemon goes on serving.
 */
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, TestDaemon } from '../harness/daemon.ts';
import { calm, assertComesBackTo, inspect } from '../harness/picture.ts';
import { connectTo, said } from '../harness/raw-client.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const MIB = 1024 * 1024;
const NDJSON = { 'content-type': 'application/x-ndjson' };

const connect = () => connectTo(daemon.socket);

/** The bytes of a request that announces `length` bytes of body. */
function head(length: number, type = 'application/json'): string {
  return `POST /v1/events HTTP/1.1\r\nhost: cleat\r\ncontent-type: ${type}\r\ncontent-length: ${length}\r\n\r\n`;
}

const clients = suite('bad clients');

/** A test that must end with no byte changed and a daemon that serves: a container comes and goes. */
function harmless(name: string, body: () => Promise<void>): void {
  clients(name, async () => {
    const before = inspect(daemon);
    await body();
    await assertComesBackTo(before, () => inspect(daemon));
    await daemon.up('witness', { networks: on('cleat') });
    await daemon.down('witness');
    await assertComesBackTo(before, () => inspect(daemon));
  });
}

clients.before(async () => {
  await daemon.start();
  await daemon.up('holder');
  await calm();
});
clients.after(async () => {
  await daemon.stop();
});

harmless('a body of 1 MiB is read, and one byte more is refused before it is', async () => {
  const event = '{"type":"create","id":"x","networks":{}}';
  assert.is((await daemon.request('POST', '/v1/events', event.padEnd(MIB))).status, 200);
  await daemon.down('x');
  for (const length of [MIB + 1, 100 * MIB]) {
    const socket = await connect();
    socket.write(head(length));
    const text = await said(socket);
    assert.match(text, /^HTTP\/1.1 413 [^]*"code":"BODY_TOO_LARGE"[^]*"hint":"/);
    socket.destroy();
  }
});

harmless('a body of many chunks is refused once it is over 1 MiB', async () => {
  const socket = await connect();
  socket.write(
    'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n',
  );
  // The last chunk is too much, and nothing follows it: writing to a peer that has hung up could lose the answer.
  const chunk = `10000\r\n${' '.repeat(0x10000)}\r\n`;
  for (let i = 0; i < 17; i++) socket.write(chunk);
  assert.match(await said(socket), /^HTTP\/1.1 413 [^]*BODY_TOO_LARGE/);
  socket.destroy();
});

harmless('an NDJSON line over 1 MiB ends the stream with an answer, and the lines before it are executed', async () => {
  const good = `${JSON.stringify({ type: 'create', id: 'first', networks: {} })}\n`;
  const { status, text } = await daemon.request(
    'POST',
    '/v1/events',
    `${good}{"type":"${'x'.repeat(2 * MIB)}"}\n`,
    NDJSON,
  );
  assert.is(status, 200);
  const answers = text
    .trim()
    .split('\n')
    .map(
      (line) => JSON.parse(line) as { line: number; status: number; body: { error?: { code: string; hint: string } } },
    );
  assert.equal(
    answers.map(({ line, status: code }) => [line, code]).sort(([a = 0], [b = 0]) => a - b),
    [
      [1, 200],
      [2, 413],
    ],
  );
  const refused = answers.find(({ line }) => line === 2)?.body.error;
  assert.is(refused?.code, 'BODY_TOO_LARGE');
  assert.ok(refused?.hint);
  await daemon.down('first');
});

harmless('bytes that are no HTTP are answered with 400, or not at all', async () => {
  for (const bytes of [
    'hello\r\n\r\n',
    '\0\0\0\0',
    'GET / HTTP/9.9\r\n\r\n',
    `GET / HTTP/1.1\r\nx: ${'a'.repeat(100_000)}\r\n\r\n`,
  ]) {
    const socket = await connect();
    socket.write(bytes);
    const text = await said(socket, 300);
    assert.ok(text === '' || /^HTTP\/1.1 4\d\d /.test(text), text);
    socket.destroy();
  }
});

const EVENT = JSON.stringify({ type: 'create', id: 'halfway', networks: {} });
const BREAKS: Record<string, string> = {
  'in the request line': 'POST /v1/ev',
  'in the headers': 'POST /v1/events HTTP/1.1\r\nhost: cleat\r\ncontent-type: appl',
  'after the headers': head(EVENT.length),
  'in the body': head(EVENT.length) + EVENT.slice(0, -1),
  'in an NDJSON line': head(1000, NDJSON['content-type']) + EVENT.slice(0, -1),
  'at the end of an NDJSON line, before the newline': head(1000, NDJSON['content-type']) + EVENT,
};

for (const [where, bytes] of Object.entries(BREAKS)) {
  for (const [how, hangUp] of [
    ['closes', (socket: Socket) => socket.end()],
    ['resets', (socket: Socket) => socket.destroy()],
  ] as const) {
    harmless(`a client that ${how} ${where} has changed nothing`, async () => {
      const socket = await connect();
      socket.write(bytes);
      await sleep(50);
      hangUp(socket);
      await sleep(50);
      socket.destroy();
      assert.is((await daemon.get('/v1/containers/halfway')).status, 404);
    });
  }
}

harmless('a complete event is executed, whether or not its sender waits for the answer', async () => {
  const event = JSON.stringify({ type: 'create', id: 'sent', networks: { cleat: {} } });
  const socket = await connect();
  socket.write(head(event.length) + event);
  await sleep(1);
  socket.destroy();
  const { body } = await daemon.get('/v1/containers/sent?wait=created&timeout=5000');
  assert.is(body.state, 'created');
  const configure = JSON.stringify({ type: 'configure', id: 'sent' });
  const stream = await connect();
  stream.write(`${head(1000, NDJSON['content-type'])}${configure}\n{"type":"tear`);
  await sleep(1);
  stream.destroy();
  assert.is((await daemon.get('/v1/containers/sent?wait=up&timeout=5000')).body.state, 'up');
  await daemon.down('sent');
});

harmless('fifty clients that connect and say nothing are no obstacle', async () => {
  const idle = await Promise.all(Array.from({ length: 50 }, connect));
  await daemon.up('beside', { networks: on('cleat') });
  await daemon.down('beside');
  for (const socket of idle) socket.destroy();
});

harmless('a second daemon on the same state refuses to start, and says so', async () => {
  const other = '/run/other';
  mkdirSync(other);
  for (const places of [
    {},
    { runDir: `${other}/run`, netnsDir: `${other}/netns`, socket: `${other}/cleat.sock` },
    { stateDir: `${other}/state`, netnsDir: `${other}/netns`, socket: `${other}/cleat.sock` },
  ]) {
    const already = daemon.log().length;
    const [code] = (await once(daemon.spawn(places), 'exit')) as [number | null];
    assert.is(code, 1);
    assert.match(daemon.log().slice(already), /another cleat daemon uses/);
  }
  rmSync(other, { recursive: true });
});

clients.run();
