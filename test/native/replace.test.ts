/** A link replaces another in one batch, while a connection runs over its name. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside, type RtnlRequest } from '../../native/index.ts';
import { codes, scratch } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const outside = openOutside();
const inside = join(scratch(), 'inside');
const MAC = '02:00:00:00:00:02';
const ECHO = `require('net').createServer((s) => s.pipe(s)).listen(7000, '::', () => console.log('ready'))`;

let echo: ChildProcess;
const all = async (requests: RtnlRequest[], netns?: string): Promise<void> => {
  assert.equal(
    codes(await outside.rtnl(requests, netns)),
    requests.map(() => 'ok'),
  );
};

test.before(async () => {
  await outside.netnsCreate(inside, { 'net/ipv6/conf/all/accept_ra': '0' });
  const end = (name: string, peer: object): RtnlRequest[] => [
    { op: 'link.add', kind: 'veth', name, master: 'br0', up: true, peer: { name: 'x', netns: inside, ...peer } },
  ];
  await all([
    { op: 'link.add', kind: 'bridge', name: 'br0', up: true },
    { op: 'address.add', link: 'br0', address: '10.0.0.1', prefix: 24 },
    { op: 'address.add', link: 'br0', address: 'fd00::1', prefix: 64 },
    ...end('first', { name: 'eth0', mac: MAC, up: true }),
    ...end('second', { name: 'spare', mac: '02:00:00:00:00:03' }),
  ]);
  await all(
    [
      { op: 'address.add', link: 'eth0', address: '10.0.0.2', prefix: 24 },
      { op: 'address.add', link: 'eth0', address: 'fd00::2', prefix: 64 },
      { op: 'route.add', destination: '0.0.0.0', prefix: 0, gateway: '10.0.0.1' },
    ],
    inside,
  );
  echo = spawn('nsenter', [`--net=${inside}`, '--', process.execPath, '-e', ECHO], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  assert.ok(echo.stdout);
  await once(echo.stdout, 'data');
});

test.after(async () => {
  const ended = once(echo, 'exit');
  echo.kill('SIGKILL');
  await ended;
  await outside.netnsRemove(inside);
  await outside.rtnl(['first', 'second', 'br0'].map((name) => ({ op: 'link.del', name })));
});

async function connected(host: string): Promise<Socket> {
  const socket = connect(7000, host);
  await once(socket, 'connect');
  return socket;
}

async function say(socket: Socket, word: string): Promise<void> {
  socket.write(word);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  assert.is(answer.toString(), word);
}

test('a link is replaced by another with the same name, MAC and address within one batch', async () => {
  const sockets = await Promise.all([connected('10.0.0.2'), connected('fd00::2')]);
  for (const socket of sockets) await say(socket, 'before');
  const before = await outside.link('eth0', inside);
  const spare = await outside.link('spare', inside);

  const started = performance.now();
  await all(
    [
      { op: 'address.del', link: 'eth0', address: '10.0.0.2', prefix: 24 },
      { op: 'address.del', link: 'eth0', address: 'fd00::2', prefix: 64 },
      { op: 'link.set', name: 'eth0', up: false },
      { op: 'link.set', name: 'eth0', rename: 'old' },
      { op: 'link.set', name: 'spare', rename: 'eth0', mac: MAC },
      { op: 'link.set', name: 'old', rename: 'spare', mac: spare?.mac ?? '' },
      { op: 'address.add', link: 'eth0', address: '10.0.0.2', prefix: 24 },
      { op: 'address.add', link: 'eth0', address: 'fd00::2', prefix: 64 },
      { op: 'link.set', name: 'eth0', up: true },
      { op: 'route.add', destination: '0.0.0.0', prefix: 0, gateway: '10.0.0.1', link: 'eth0' },
    ],
    inside,
  );
  console.log(`  the batch took ${(performance.now() - started).toFixed(2)} ms`);

  const after = await outside.link('eth0', inside);
  assert.equal([after?.index, after?.mac, after?.up], [spare?.index, MAC, true]);
  const old = await outside.link('spare', inside);
  assert.equal([old?.index, old?.mac, old?.up], [before?.index, spare?.mac, false]);
  const addresses = (await outside.addresses(inside)).filter(({ prefix, scope }) => scope === 0 && prefix < 128);
  assert.equal(
    addresses.map(({ link, address }) => [link, address]),
    [
      [spare?.index, '10.0.0.2'],
      [spare?.index, 'fd00::2'],
    ],
  );
  for (const socket of sockets) {
    await say(socket, 'after');
    socket.destroy();
  }
});

test.run();
