/**
 * The life of cleat-forwarder: one process for a socket, for as long as there are ports; its costs; and any input on
 * its control socket, or an end at any moment.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { dial } from '../harness/agent.ts';
import { container, endChildren, EXECUTABLE, Forwarder, keyOf, rule } from '../harness/forward-world.ts';
import { scratch, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const PORTS = 1000;
/** The memory that the forwarder may use for a port: half of what is promised for user space and kernel together. */
const MOST = 5 * 1024;

const a = await container('a', 1);
const life = suite('life of cleat-forwarder');
life.after(endChildren);

life('a socket has one forwarder: a second one ends at once, and a stale socket is replaced', async () => {
  const first = await new Forwarder().started();
  await first.change([rule(a, 8080, 80)]);
  const second = new Forwarder([], first.socket);
  assert.is(await second.ended(), 0);
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^a /);
  assert.is(statSync(first.socket).mode & 0o777, 0o600);
  first.child.kill('SIGKILL');
  await first.ended();
  assert.ok(existsSync(first.socket), 'stale');
  const third = await new Forwarder(['--idle', '30'], first.socket).started();
  assert.equal(await third.rules(), []);
  await third.stop();
  assert.is(existsSync(third.socket), false);
  assert.is(await third.ended(), 0);
});

life('the forwarder ends when it has had no port for a while, and not before', async () => {
  const forwarder = await new Forwarder(['--idle', '1']).started();
  await forwarder.change([rule(a, 8080, 80)]);
  forwarder.child.kill('SIGHUP');
  await new Promise((later) => setTimeout(later, 2500));
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^a /);
  const held = await forwarder.connect(); // a client that is still connected does not keep it alive
  const since = performance.now();
  await forwarder.change([], [keyOf(rule(a, 8080, 80))]);
  assert.is(await forwarder.ended(), 0);
  assert.ok(performance.now() - since >= 900);
  assert.is(existsSync(forwarder.socket), false);
  held.destroy();
});

life('a path longer than a socket address is refused', async () => {
  const directory = join(scratch(), 'x'.repeat(120));
  mkdirSync(directory);
  const forwarder = await new Forwarder([], join(directory, 'socket')).started();
  assert.is((await forwarder.ask({ op: 'who' })).pid, forwarder.child.pid);
  await forwarder.stop();
});

life('a wrong command line is refused', () => {
  const limits = ['flows', 'flows=', 'flows=0', 'flows=1x', 'flow=1', 'flows=1000001', 'flow_idle=604801', '=1'];
  const badLimits = limits.map((limit) => ['--socket', 'x', '--limit', limit]);
  const bad = [[], ['--socket'], ['--socket', ''], ['--idle', '0', '--socket', 'x'], ['--idle', 'x'], ['x']];
  for (const args of [...bad, ...badLimits]) {
    assert.is(spawnSync(EXECUTABLE, args).status, 2, args.join(' '));
  }
  assert.is(spawnSync(EXECUTABLE, ['--socket', '/absent/socket']).status, 1);
});

life('a thousand ports need no further process, and little memory', async () => {
  const forwarder = await new Forwarder().started();
  await forwarder.change([rule(a, 9000, 80)]);
  const threads = () => readdirSync(`/proc/${forwarder.child.pid}/task`).length;
  const [before, kernel, working] = [forwarder.resident(), slab(), threads()];
  const rules = Array.from({ length: PORTS }, (_, i) => rule(a, 10_000 + i, 80));
  const begun = performance.now();
  assert.ok((await forwarder.change(rules)).ok);
  const took = performance.now() - begun;
  const each = (forwarder.resident() - before) / PORTS;
  const inKernel = (slab() - kernel) / PORTS;
  console.log(`${each} bytes a port, ~${Math.round(inKernel)} in the kernel; ${PORTS} in ${took.toFixed(0)} ms`);
  assert.is(threads(), working, 'no thread of their own either');
  assert.match(await dial('tcp', '127.0.0.1', 10_999), /^a /);
  await forwarder.change([], rules.map(keyOf));
  assert.is((await forwarder.rules()).length, 1);
  await forwarder.stop();
  assert.ok(each < MOST, `${each} bytes a port`);
});

/** Bytes of kernel memory for objects, of the whole machine: for information only. */
function slab(): number {
  return 1024 * Number(/^Slab:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
}

life('thousands of ports fit in one request', async () => {
  const forwarder = await new Forwarder().started();
  const rules = Array.from({ length: 15_000 }, (_, i) => rule(a, 10_000 + i, 80, { owner: `a:${'9'.repeat(100)}` }));
  assert.ok(JSON.stringify(rules).length > 4 << 20, 'more than any socket buffer');
  const { ok, error, source_kept } = await forwarder.change(rules);
  assert.ok(ok, JSON.stringify(error));
  assert.is(source_kept.length, rules.length);
  assert.is((await forwarder.rules()).length, rules.length);
  assert.match(await dial('tcp', '127.0.0.1', 24_999), /^a /);
  await forwarder.stop();
});

life('an invalid request changes nothing, and is refused', async () => {
  const forwarder = await new Forwarder().started();
  await forwarder.change([rule(a, 8080, 80)]);
  const census = forwarder.descriptors();
  const good = rule(a, 8081, 80);
  const change = (add: object[]) => JSON.stringify({ op: 'change', remove: [], add });
  const wrong = [
    '',
    'x',
    '{}',
    '[]',
    '{"op":"who"',
    '{"op":"who","more":1}',
    '{"op":"who","op":"who"}',
    '{"op":"change"}',
    '{"op":"change","add":[],"remove":{}}',
    '{"op":"limits","flows":0}',
    '{"op":"limits","flows":"1"}',
    '{"op":"limits","flow_idle":604801}',
    '{"op":"limits","sessions":1}',
    change([{ ...good, more: 1 }]),
    change([good, good]),
    ...[
      {},
      [{}],
      [{ owner: 'a:1' }],
      [{ owner: '', to: [] }],
      [{ owner: 'a:1', to: [], more: 1 }],
      [
        { owner: 'a:1', to: [] },
        { owner: 'a:1', to: [] },
      ],
      ...[
        null,
        {},
        { pid: 1 },
        { pid: 0, start_time: 1 },
        { pid: 1, start_time: -1 },
        { pid: 2 ** 31, start_time: 1 },
      ].map((one) => [{ owner: 'a:1', to: [one] }]),
      [{ owner: 'a:1', to: [{ pid: 1, start_time: 1, more: 1 }] }],
    ].map((bound) => JSON.stringify({ op: 'change', remove: [], add: [], bound })),
    ...Object.entries({
      owner: '',
      protocol: 'sctp',
      host_ip: '',
      host_port: 0,
      netns: 'relative',
      dev: -1,
      ino: 1.5,
      address: '127.0.0.1',
      container_port: 65_536,
    }).flatMap(([name, value]) => [
      change([{ ...good, [name]: value }]),
      change([{ ...good, [name]: null }]),
      change([{ ...good, [name]: 'x'.repeat(5000) }]),
    ]),
    ...[
      '::',
      '0.0.0.0',
      '::1',
      '::ffff:127.0.0.1',
      '::ffff:10.0.1.2',
      'fe80::1',
      '224.0.0.1',
      'localhost',
      '10.0.0.1/24',
    ].map((address) => change([{ ...good, address }])),
    '['.repeat(100_000),
    '\0'.repeat(100),
  ];
  for (const text of wrong) {
    const answer = JSON.parse(await forwarder.send(`${text}\n{"op":"who"}\n`));
    assert.is(answer.ok, false, text.slice(0, 200));
    assert.match(answer.error.message, /^not a request: /);
  }
  const endless = Buffer.alloc(17 << 20, 120);
  assert.match(await forwarder.send(endless), /bytes at most/);
  // A client that keeps writing, and reads only then, gets all the answers.
  const writer = await forwarder.connect();
  let answers = '';
  writer.setEncoding('utf8').pause();
  writer.write('{"op":"who"}\n{}\n');
  for (let i = 0; i < 20; i++) {
    await new Promise((next) => setTimeout(next, 5));
    writer.write('{"op":"who"}\n');
  }
  writer
    .on('data', (more: string) => (answers += more))
    .resume()
    .end();
  await once(writer, 'close');
  assert.equal(
    answers.split('\n').map((line) => line && JSON.parse(line).ok),
    [true, false, ''],
  );

  // Halves, and more at once than it keeps.
  const halves = await Promise.all(Array.from({ length: 40 }, () => forwarder.connect()));
  for (const half of halves) half.on('error', () => {}).write('{"op":');
  assert.equal((await forwarder.rules()).map(keyOf), [keyOf(rule(a, 8080, 80))]);
  for (const half of halves) half.destroy();
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^a /);
  await until('every descriptor is given back', () => forwarder.descriptors() <= census);
  // Several in a row, and a byte at a time.
  const socket = await forwarder.connect();
  let said = '';
  socket.setEncoding('utf8').on('data', (text: string) => (said += text));
  for (const byte of '{"op":"who"}\n{"op":"who"}\n') socket.write(byte);
  await until('both are answered', () => said.split('\n').length === 3);
  socket.destroy();
  await forwarder.stop();
});

life('a client that sends much and reads late gets an answer to each request, in order', async () => {
  const forwarder = await new Forwarder().started();
  await forwarder.change(Array.from({ length: 500 }, (_, i) => rule(a, 10_000 + i, 80)));
  // Answers fill the socket's buffer while requests keep coming in: two lists, or seven requests of this size.
  const requests = Array.from({ length: 60 }, (_, i) => (i % 2 === 0 ? '{"op":"list"}' : '{"op":"who"}'));
  const socket = await forwarder.connect();
  for (const request of requests) socket.write(`${request.padEnd(30_000)}\n`);
  let said = '';
  socket.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    socket.pause();
    setTimeout(() => socket.resume(), 2);
  });
  await until('each has its answer', () => said.split('\n').length > requests.length);
  const answers = said.trimEnd().split('\n');
  assert.is(answers.length, requests.length);
  for (const [i, answer] of answers.entries()) {
    const { ok, rules } = JSON.parse(answer);
    assert.ok(ok);
    assert.is(Array.isArray(rules) ? rules.length : rules, 500, `of request ${i}`);
    assert.is(Array.isArray(rules), i % 2 === 0, `of request ${i}`);
  }
  socket.destroy();
  await forwarder.stop();
});

life('requests of other users are ignored', async () => {
  const forwarder = await new Forwarder().started();
  const ask = (uid: number) => {
    const program = `const s = require('net').connect(${JSON.stringify(forwarder.socket)});
      s.on('error', (e) => console.log(e.code)).on('data', (d) => (console.log(String(d)), s.destroy()));
      s.on('close', () => console.log('closed')); s.write('{"op":"who"}\\n');`;
    const argv = [`--reuid=${uid}`, '--clear-groups', process.execPath, '-e', program];
    return spawnSync('setpriv', argv, { encoding: 'utf8' }).stdout;
  };
  chmodSync(forwarder.directory, 0o755);
  assert.match(ask(12_345), /^EACCES/);
  chmodSync(forwarder.socket, 0o666);
  assert.match(ask(0), /"ok":true/);
  assert.not.match(ask(12_345), /ok/);
  await forwarder.stop();
});

life('a client that is killed takes its connection along, and nothing else', async () => {
  const forwarder = await new Forwarder().started();
  await forwarder.change([rule(a, 8080, 80), rule(a, 8085, 85)]);
  const census = forwarder.descriptors();
  const program = `const s = require('net').connect(8085, '127.0.0.1', () => console.log('there'));
    setInterval(() => s.writableLength === 0 && s.write(Buffer.alloc(1 << 20)), 5);`;
  const clients = await Promise.all(
    Array.from({ length: 5 }, async () => {
      const client = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'ignore'] });
      await once(client.stdout, 'data');
      return client;
    }),
  );
  for (const client of clients) client.kill('SIGKILL');
  await until('the server sees all of them end', () => a.said().match(/a ended/g)?.length === clients.length);
  await until('every descriptor is given back', () => forwarder.descriptors() <= census);
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^a /);
  await forwarder.stop();
});

life.run();
