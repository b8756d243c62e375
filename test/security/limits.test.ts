// slow: 30 s, limits are reached with real connections and slow bodies
/**
 * Clients that may use the socket but have bad intent, part two: bodies that do not come, connections and containers
 * without end. Root gets in whatever others hold; what they took is released; streams that idle stay.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { agentIn } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { connectTo, said } from '../harness/raw-client.ts';

requirePrivateNamespace();

/** The constants of service/requests/connections.ts. */
const BODY_MS = 10_000;
const MIB = 1024 * 1024;
const [USER, OTHER] = [65_534, 65_533];
const POST = 'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n';
const NDJSON =
  'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n';

const daemon = new TestDaemon();
const limits = suite('limits');
const holders: ChildProcess[] = [];

limits.before(async () => {
  daemon.preparedNamespaces = '0'; // each is a descriptor, and these are counted
  daemon.limits = ['connections=200', 'connections-per-uid=100', 'containers-per-uid=3', 'ports-per-container=20'];
  await daemon.start();
  chmodSync(daemon.socket, 0o666);
});
limits.after(async () => {
  for (const child of holders) child.kill('SIGKILL');
  await daemon.stop();
});

const descriptors = (): number => readdirSync(`/proc/${daemon.pid}/fd`).length;
const residentBytes = (): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]) * 1024;

/** A user who keeps as many connections as it gets, each with these bytes sent. Resolves when all have been tried. */
async function hold(uid: number, count: number, bytes: string, more = 0): Promise<ChildProcess> {
  const script = `
    const { createConnection } = require('node:net');
    let left = ${count};
    const next = () => {
      if (left-- === 0) return console.log('tried');
      const socket = createConnection(process.argv[1], () => { socket.write(process.argv[2] + 'x'.repeat(${more})); next(); });
      socket.on('error', (error) => { if (error.code === 'EAGAIN') { left++; setTimeout(next, 5); } }).resume();
    };
    next();
    setInterval(() => {}, 1000);`;
  const child = spawn(
    'setpriv',
    [`--reuid=${uid}`, '--clear-groups', process.execPath, '-e', script, daemon.socket, bytes],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  holders.push(child);
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more: string) => (text += more));
  await until('all to be tried', () => text.includes('tried'), 20_000);
  return child;
}

/** Sends one request with curl, as a program of another user. */
function sayAs(uid: number, event: object): string {
  const script = `
    const { request } = require('node:http');
    const asked = request({ socketPath: process.argv[1], method: 'POST', path: '/v1/events', agent: false,
      headers: { 'content-type': 'application/json' } }, async (answer) => {
      let text = '';
      for await (const chunk of answer) text += chunk;
      console.log(answer.statusCode, JSON.parse(text).error?.code ?? 'done');
    });
    asked.on('error', (error) => console.log(error.code));
    asked.end(process.argv[2]);`;
  const words = [`--reuid=${uid}`, '--clear-groups', process.execPath, '-e', script, daemon.socket];
  return execFileSync('setpriv', [...words, JSON.stringify(event)], { encoding: 'utf8' }).trim();
}

limits('users who hold every connection they can get never keep root out, and leave nothing behind', async () => {
  const before = descriptors();
  const all = [await hold(USER, 300, POST), await hold(OTHER, 300, NDJSON)];
  // 200 in all, 100 for one, and 25 for root alone.
  await until('connections', () => descriptors() >= before + 170);
  assert.ok(descriptors() <= before + 175 + 64 + 2, `${descriptors() - before}`);
  await daemon.up('witness', { networks: on('cleat') });
  await daemon.down('witness');
  assert.match(sayAs(USER, { type: 'teardown', id: 'x' }), /^(429 LIMIT_REACHED|EPIPE|ECONNRESET)$/);
  const refused = await Promise.all(Array.from({ length: 20 }, async () => (await daemon.get('/v1/version')).status));
  assert.equal([...new Set(refused)], [200]);
  for (const child of all) child.kill('SIGKILL');
  await until('its descriptors back', () => descriptors() <= before + 2, 10_000);
  assert.is(sayAs(USER, { type: 'teardown', id: 'x' }), '404 NO_SUCH_CONTAINER');
});

limits('a client that is refused learns why', async () => {
  const child = await hold(USER, 100, POST);
  let told = '';
  await until('an answer', () => (told = sayAs(USER, { type: 'teardown', id: 'x' })) === '429 LIMIT_REACHED', 10_000);
  assert.is(told, '429 LIMIT_REACHED');
  child.kill('SIGKILL');
  await until('it to be let in', () => sayAs(USER, { type: 'teardown', id: 'x' }) === '404 NO_SUCH_CONTAINER', 10_000);
});

limits('a missing or slow body ends with its connection, and a stream that idles stays', async () => {
  const begins = {
    nothing: POST,
    drips: POST,
    chunked: POST.replace('content-length: 1000000', 'transfer-encoding: chunked'),
    'of a GET': POST.replace('POST /v1/events', 'GET /v1/version'),
    'of no route': POST.replace('/v1/events', '/v1/nothing'),
    'of another type': POST.replace('application/json', 'text/x-other'),
    'of a stream where none can be': NDJSON.replace('/v1/events', '/v1/networks'),
  };
  const since = performance.now();
  const open = await Promise.all(
    Object.entries(begins).map(async ([what, head]) => {
      const socket = await connectTo(daemon.socket);
      const one = { what, socket, text: '', ended: 0 };
      socket.on('close', () => (one.ended = performance.now() - since));
      socket.setEncoding('utf8').on('data', (more: string) => (one.text += more));
      socket.write(head);
      return one;
    }),
  );
  const dripping = setInterval(() => open[1]?.socket.write('{'), 500);
  const stream = await connectTo(daemon.socket);
  stream.write(NDJSON);
  const events = await connectTo(daemon.socket);
  events.write('GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n');
  for (const one of open) {
    await until(`${one.what}: closed`, () => one.ended > 0, 2 * BODY_MS);
    assert.ok(one.ended < BODY_MS + 5000, `${one.what} after ${one.ended} ms`);
  }
  clearInterval(dripping);
  for (const { what, text } of open.slice(0, 3)) assert.match(text, /^HTTP\/1\.1 408 [^]*"code":"BODY_TOO_SLOW"/, what);
  const line = JSON.stringify({ type: 'configure', id: 'absent' });
  stream.write(`${(line.length + 1).toString(16)}\r\n${line}\n\r\n`);
  assert.match(await said(stream, 1000), /NO_SUCH_CONTAINER/);
  assert.is(events.readyState, 'open');
  events.destroy();
  stream.destroy();
});

limits('unfinished bodies and lines take no more memory than a user may have, and return it', async () => {
  const before = residentBytes();
  const most = 900_000;
  const chunk = `${most.toString(16)}\r\n`;
  const all = [await hold(USER, 90, POST, most), await hold(OTHER, 80, NDJSON + chunk, most)];
  await sleep(1000);
  const more = residentBytes() - before;
  assert.ok(more < 128 * MIB, `${(more / MIB).toFixed()} MiB more`); // 146 MiB were sent, 32 may be kept
  await daemon.up('witness', { networks: on('cleat') });
  await daemon.down('witness');
  for (const child of all) child.kill('SIGKILL');
  // The released connections no longer count: as many can be opened again.
  await until('it to be let in', () => sayAs(USER, { type: 'teardown', id: 'x' }) === '404 NO_SUCH_CONTAINER', 10_000);
  assert.is(sayAs(USER, { type: 'teardown', id: 'x', pad: 'x'.repeat(100_000) }), '400 BAD_REQUEST');
});

limits('a user has a limited number of containers, root has none, and a restart keeps the count', async () => {
  const create = (id: string) => ({ type: 'create', id, networks: {} });
  for (const id of ['u1', 'u2', 'u3']) assert.is(sayAs(USER, create(id)), '200 done');
  assert.is(sayAs(USER, create('u4')), '429 LIMIT_REACHED');
  assert.is(sayAs(OTHER, create('o1')), '200 done');
  for (const id of ['r1', 'r2', 'r3', 'r4']) await daemon.done({ type: 'create', id, networks: {} });
  await daemon.kill();
  await daemon.start();
  chmodSync(daemon.socket, 0o666);
  assert.is(sayAs(USER, create('u4')), '429 LIMIT_REACHED');
  await daemon.down('u1');
  assert.is(sayAs(USER, create('u4')), '200 done');
  // A container that is torn down no longer counts, although the kernel still reaps its links.
  await daemon.done({ type: 'connect', id: 'u2', network: 'cleat' });
  const inside = await agentIn(pathOf(await daemon.done({ type: 'configure', id: 'u2' })));
  assert.is((await daemon.done({ type: 'teardown', id: 'u2' })).state, 'draining');
  assert.is(sayAs(USER, create('u5')), '200 done');
  inside.stop();
  await daemon.down('u5', 'u3', 'u4', 'o1', 'r1', 'r2', 'r3', 'r4');
});

limits('a container has a limited number of ports, each of a range counted, by create and by publish', async () => {
  const range = (host: number, count: number) => port(host, host, { range: count });
  const asked = async (event: object) => {
    const { status, body } = await daemon.event(event);
    return `${status} ${body.error?.code ?? 'done'}`;
  };
  const create = { type: 'create', id: 'a', networks: on('cleat') };
  assert.is(await asked({ ...create, port_mappings: [range(7000, 21)] }), '429 LIMIT_REACHED');
  assert.is((await daemon.get('/v1/containers/a')).status, 404);
  await daemon.up('a', { networks: on('cleat'), port_mappings: [range(7000, 15)] });
  const publish = (first: number, count: number) =>
    asked({ type: 'publish', id: 'a', port_mappings: [range(first, count)] });
  assert.is(await publish(7100, 6), '429 LIMIT_REACHED');
  assert.is(await publish(7000, 15), '200 done'); // the same request again
  assert.is(await publish(7100, 5), '200 done');
  assert.is(await publish(7200, 1), '429 LIMIT_REACHED');
  await daemon.done({ type: 'unpublish', id: 'a', port_mappings: [range(7100, 5)] });
  assert.is(await publish(7200, 5), '200 done');
  await daemon.down('a');
});

limits('an invalid limit is refused at the start', async () => {
  for (const word of ['connections', 'connections=0', 'connections=x', 'people=7', 'connections=1=2']) {
    const child = new TestDaemon();
    child.limits = [word];
    const process_ = child.spawn();
    await new Promise((ended) => process_.once('exit', ended));
    assert.match(child.log(), new RegExp(`limit ${word}: it is \\(connections\\|`));
  }
});

limits('a stream of many requests is not cut off', async () => {
  const stream = request({
    socketPath: daemon.socket,
    method: 'POST',
    path: '/v1/events',
    headers: { 'content-type': 'application/x-ndjson' },
  });
  let answers = 0;
  stream.on('response', (answer) =>
    answer.setEncoding('utf8').on('data', (more: string) => (answers += more.split('\n').length - 1)),
  );
  // 30 MB in all: each line's memory is released when it is answered.
  const line = `${JSON.stringify({ type: 'configure', id: 'absent', pad: 'x'.repeat(100_000) })}\n`;
  for (let n = 0; n < 300; n++) stream.write(line);
  await until('all answers', () => answers === 300, 20_000);
  stream.end();
});

limits.run();
