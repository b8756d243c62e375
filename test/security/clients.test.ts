/**
 * Clients that may use the socket but have bad intent: more connections than there are descriptors, requests that never
 * end, answers that nobody reads. The daemon goes on with its own work, and its memory and descriptors stay bounded.
 *
 * Limits: bodies and shares are in limits.test.ts.
 */
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { connectTo } from '../harness/raw-client.ts';

requirePrivateNamespace();

/** The constants of state/limits.ts and service/http/api.ts. */
const MAX_CONNECTIONS = 1024;
const HEADERS_MS = 5000;
const MIB = 1024 * 1024;
const NDJSON = 'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n';

const daemon = new TestDaemon();
const clients = suite('clients');
/** Two clients that are slower than any honest one: one sends nothing, the other a header every second. */
const slow: { socket: Socket; since: number; ended: number; text: string }[] = [];
let dripping: NodeJS.Timeout;

clients.before(async () => {
  await daemon.start();
  for (const first of ['', 'GET /v1/version HTTP/1.1\r\nhost: x\r\n']) {
    const socket = await connectTo(daemon.socket);
    const one = { socket, since: performance.now(), ended: 0, text: '' };
    socket.on('close', () => (one.ended = performance.now()));
    socket.setEncoding('utf8').on('data', (more: string) => (one.text += more));
    socket.write(first);
    slow.push(one);
  }
  dripping = setInterval(() => slow[1]?.socket.write('x: y\r\n'), 1000);
});
clients.after(async () => {
  clearInterval(dripping);
  for (const { socket } of slow) socket.destroy();
  await daemon.stop();
});

const descriptors = (): number => readdirSync(`/proc/${daemon.pid}/fd`).length;
const residentBytes = (): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]) * 1024;

async function serves(): Promise<void> {
  await daemon.up('witness', { networks: on('cleat') });
  await daemon.down('witness');
}

clients('connections above the limit are closed at once, and the others work on', async () => {
  await serves();
  const before = descriptors();
  // One stream that was open before, as an engine keeps it.
  const stream = request({
    socketPath: daemon.socket,
    method: 'POST',
    path: '/v1/events',
    headers: { 'content-type': 'application/x-ndjson' },
  });
  let answers = '';
  stream.on('response', (answer) => answer.setEncoding('utf8').on('data', (more: string) => (answers += more)));
  const say = async (line: number, event: object) => {
    stream.write(`${JSON.stringify(event)}\n`);
    await until(`answer ${line}`, () => answers.split('\n').length > line);
  };
  await say(1, { type: 'create', id: 'a', networks: on('cleat') });
  const idle: Socket[] = [];
  while (idle.length < 2 * MAX_CONNECTIONS) {
    try {
      idle.push((await connectTo(daemon.socket)).resume());
    } catch {
      await sleep(10); // the queue of the socket is full (EAGAIN, unix(7)): the daemon does not accept that fast
    }
  }
  await until(
    'the rest to be closed',
    () => idle.filter(({ readyState }) => readyState !== 'open').length >= MAX_CONNECTIONS,
  );
  // Refused connections are read for a second, a few at a time (LINGERING in service/requests/connections.ts).
  assert.ok(descriptors() < before + MAX_CONNECTIONS + 64 + 20, `${descriptors()} descriptors`);
  await say(2, { type: 'configure', id: 'a' });
  await say(3, { type: 'teardown', id: 'a' });
  assert.equal(
    [...answers.matchAll(/"status":(\d+)/g)].map(([, status]) => status),
    ['200', '200', '200'],
  );
  for (const socket of idle) socket.destroy();
  stream.end();
  await until('its descriptors back', () => descriptors() <= before + 2);
  await daemon.gone('a');
  await serves();
});

clients('a client that sends events and reads no answer uses no memory of the daemon', async () => {
  await serves();
  const lines = `${JSON.stringify({ type: 'configure', id: 'nobody'.repeat(10) })}\n`.repeat(1000);
  const before = residentBytes();
  const silent = await connectTo(daemon.socket);
  silent.pause();
  silent.write(`${NDJSON}transfer-encoding: chunked\r\n\r\n`);
  // 40 MB of events and about 200 MB of answers, if the daemon accepted them.
  const chunk = `${lines.length.toString(16)}\r\n${lines}\r\n`;
  for (let n = 0; n < 500; n++) {
    if (silent.write(chunk)) continue;
    const taken = await Promise.race([once(silent, 'drain').then(() => true), sleep(1000, false)]);
    if (!taken) break; // the daemon accepts no more
  }
  await sleep(300);
  const more = residentBytes() - before;
  assert.ok(more < 60 * MIB, `${(more / MIB).toFixed()} MiB more`);
  silent.destroy();
  await serves();
});

clients(
  'what a stream of events has kept is free again when its connection ends, also behind an endless answer',
  async () => {
    const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
    const long = 'x'.repeat(900_000);
    // More than root may have kept at a time (ROOT_BYTES of service/requests/connections.ts), if nothing were given back.
    for (let n = 0; n < 80; n++) {
      const socket = await connectTo(daemon.socket);
      socket.write('GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n');
      await once(socket, 'data');
      socket.write(`${NDJSON}transfer-encoding: chunked\r\n\r\n${chunk(long)}`);
      await new Promise<void>((resolve) => socket.write(chunk(`\n${'[]\n'.repeat(2000)}`), () => resolve()));
      socket.destroy();
    }
    await serves();
    const stream = await connectTo(daemon.socket);
    stream.write(`${NDJSON}content-length: ${long.length + 1}\r\n\r\n${long}\n`);
    assert.match(String(await once(stream, 'data')), /^HTTP\/1\.1 200 [^]*BAD_REQUEST/);
    stream.destroy();
  },
);

clients('a body in single bytes costs as much as its length, and the next request is answered', async () => {
  const body = JSON.stringify({ type: 'create', id: 'x', networks: {} }).padEnd(200_000);
  const chunked = body.replace(/./g, '1\r\n$&\r\n');
  const socket = await connectTo(daemon.socket);
  socket.write(
    `POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`,
  );
  socket.write(`${chunked}0\r\n\r\n`);
  let text = '';
  socket.setEncoding('utf8').on('data', (more: string) => (text += more));
  await until('the answer', () => text.startsWith('HTTP/1.1 200 '), 20_000);
  socket.write('GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n');
  await until('the next answer', () => text.includes('"boot_id"'));
  socket.destroy();
  await daemon.down('x');
});

clients('missing or slow headers are waited for no longer than the limit', async () => {
  for (const one of slow) {
    await until('it to be closed', () => one.ended > 0, 3 * HEADERS_MS);
    const ms = one.ended - one.since;
    assert.ok(ms >= HEADERS_MS - 1000, `closed after ${ms} ms`);
    assert.match(one.text, /^(|HTTP\/1\.1 400 [^]*"code":"BAD_REQUEST")/);
  }
});

clients.run();
