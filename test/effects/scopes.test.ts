/**
 * Scopes without the real systemd (test/service/scopes.test.ts has that): managers that are silent, refuse, end or talk nonsense; that
 * nothing waits for them, and that a process is asked for again while it lives.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { callOf, messageIn, SIGNAL, Writer } from '../../effects/processes/dbus-message.ts';
import { Scopes } from '../../effects/processes/scopes.ts';
import { startScope, type ScopeAnswer } from '../../effects/processes/systemd.ts';
import { processStartTime } from '../../native/index.ts';
import { scratch } from '../harness/native.ts';

const scopes = suite('scopes without systemd');

const path = join(scratch(), 'private');
const NAME = 'cleat-test-1-2.scope';
const ERROR = 3;

/** A message of the manager: its type, the fields of the header that are strings, and the strings of the body. */
function message(type: number, fields: Record<number, string>, strings: string[]): Buffer {
  const body = new Writer();
  for (const text of strings) body.text(text);
  const writer = new Writer().byte(0x6c).byte(type).byte(0).byte(1).number(body.bytes.length).number(7);
  writer.array(8, () => {
    for (const [code, text] of Object.entries(fields)) writer.align(8).byte(Number(code)).signature('s').text(text);
    writer.align(8).byte(8).signature('g').signature('s'.repeat(strings.length));
  });
  return Buffer.from([...writer.align(8).bytes, ...body.bytes]);
}

const removed = (unit: string, result: string) => message(SIGNAL, { 3: 'JobRemoved' }, ['/job/1', unit, result]);

/** A manager that welcomes everybody, and then does this. */
async function manager(
  react: (socket: Socket, call: Buffer) => void,
  welcome = 'DATA\r\nOK 1234\r\n',
): Promise<Server> {
  rmSync(path, { force: true });
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write(welcome);
      socket.once('data', (call) => react(socket, call));
    });
  });
  await once(server.listen(path), 'listening');
  return server;
}

const ask = (ms = 2000): Promise<ScopeAnswer> =>
  startScope({ socket: path, name: NAME, description: 'd', pids: [process.pid], ms });

scopes('what the manager may do: each has an answer', async () => {
  const refusal = message(ERROR, { 4: 'org.freedesktop.DBus.Error.AccessDenied' }, ['not for you']);
  const exists = message(ERROR, { 4: 'org.freedesktop.systemd1.UnitExists' }, ['it is there']);
  const rows: [what: string, react: (socket: Socket) => void, answer: ScopeAnswer][] = [
    ['done', (socket) => socket.write(removed(NAME, 'done')), { outcome: 'done' }],
    [
      'byte by byte',
      (socket) => [...removed(NAME, 'done')].forEach((byte) => socket.write(Buffer.from([byte]))),
      { outcome: 'done' },
    ],
    [
      'others first',
      (socket) => socket.write(Buffer.concat([removed('x.scope', 'failed'), removed(NAME, 'done')])),
      { outcome: 'done' },
    ],
    [
      'failed',
      (socket) => socket.write(removed(NAME, 'failed')),
      { outcome: 'refused', why: 'the job of the scope: failed' },
    ],
    ['refused', (socket) => socket.write(refusal), { outcome: 'refused', why: 'not for you' }],
    ['exists', (socket) => socket.write(exists), { outcome: 'exists' }],
    ['ended', (socket) => socket.destroy(), { outcome: 'refused', why: 'systemd has closed the connection' }],
    [
      'nonsense',
      (socket) =>
        socket.write(Buffer.from([0x6c, 2, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, ...Array(16).fill(0xff)])),
      { outcome: 'refused', why: 'systemd answers with something else than a message' },
    ],
    [
      'without end',
      (socket) =>
        socket.write(Buffer.concat([Buffer.from([0x6c, 2, 0, 1, 0xff, 0xff, 0xff, 0x7f]), Buffer.alloc(2_000_000)])),
      { outcome: 'silent', why: 'systemd answers without end' },
    ],
  ];
  for (const [what, react, answer] of rows) {
    const server = await manager(react);
    assert.equal(await ask(), answer, what);
    server.close();
  }
  const closed = await manager(() => {}, 'REJECTED EXTERNAL\r\n');
  assert.equal(await ask(), { outcome: 'refused', why: 'systemd does not accept this user' });
  closed.close();
  const silent = await manager(() => {});
  assert.equal(await ask(50), { outcome: 'silent', why: 'systemd has not answered within 50 ms' });
  silent.close();
  assert.equal(await ask(), { outcome: 'absent' });
});

scopes('any bytes are a message, none yet, or refused', () => {
  const call = callOf({ path: '/a', interface: 'i', member: 'm', signature: 's', body: new Writer().text('text') });
  assert.is(messageIn(call)?.member, 'm');
  assert.equal(messageIn(call)?.strings, ['text']);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(call.length - 1), (bytes, at) => {
      const mixed = Buffer.from(call);
      mixed.set(bytes.subarray(0, call.length - at), at);
      for (const one of [Buffer.from(bytes), mixed]) {
        try {
          const found = messageIn(one);
          assert.ok(found === null || found.size >= 16);
        } catch (error) {
          assert.is((error as NodeJS.ErrnoException).code, 'ERR_OUT_OF_RANGE');
        }
      }
    }),
  );
});

scopes('what is refused is reported once, and asked again; nothing is asked for a process that has ended', async () => {
  const child = spawn('sleep', ['infinity'], { stdio: 'ignore' });
  const helper = { pid: child.pid ?? 0, startTime: processStartTime(child.pid ?? 0) };
  const name = `cleat-dns-${helper.pid}-${helper.startTime}.scope`;
  const reported: string[] = [];
  const calls: Buffer[] = [];
  const given = new Scopes(path, (_what, error) => reported.push((error as Error).message));
  const refusing = await manager((socket, call) => {
    calls.push(call);
    socket.write(removed(name, 'failed'));
  });
  for (let n = 0; n < 2; n++) {
    given.own('dns', helper);
    await given.settled();
    assert.is(given.trouble, 'the job of the scope: failed');
  }
  assert.equal(reported, ['the job of the scope: failed']);
  assert.is(calls.length, 2);
  assert.ok(calls[0]?.includes(name) && calls[0].includes('inactive-or-failed'));
  refusing.close();
  const willing = await manager((socket) => socket.write(removed(name, 'done')));
  given.own('dns', helper);
  await given.settled();
  assert.is(given.trouble, null);
  willing.close();
  const end = once(child, 'exit');
  child.kill();
  await end;
  const none = await manager(() => assert.unreachable('it has ended'));
  given.own('dns', helper);
  given.own('uplink', null);
  await given.settled();
  none.close();
  given.close();
});

scopes('without systemd nothing is reported', async () => {
  const given = new Scopes(path, (_what, error) => assert.unreachable(String(error)));
  given.own('daemon', { pid: process.pid, startTime: processStartTime(process.pid) });
  await given.settled();
  assert.is(given.trouble, null);
  new Scopes(null, () => assert.unreachable('there is nobody to ask')).own('daemon', {
    pid: process.pid,
    startTime: 0,
  });
});

scopes.run();
