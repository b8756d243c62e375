/** UDP sockets made in another namespace, used by node's dgram from here. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside } from '../../native/index.ts';
import { codes, kernelFailure, openDescriptors, scratch } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const outside = openOutside();
const inside = join(scratch(), 'inside');

test.before(async () => {
  await outside.netnsCreate(inside, { 'net/ipv6/conf/all/accept_ra': '0' });
  const ends = await outside.rtnl([
    { op: 'link.add', kind: 'veth', name: 'outer', up: true, peer: { name: 'eth0', up: true, netns: inside } },
    { op: 'address.add', link: 'outer', address: '10.0.0.1', prefix: 24 },
    { op: 'address.add', link: 'outer', address: 'fd00::1', prefix: 64 },
  ]);
  const inner = await outside.rtnl(
    [
      { op: 'address.add', link: 'eth0', address: '10.0.0.2', prefix: 24 },
      { op: 'address.add', link: 'eth0', address: 'fd00::2', prefix: 64 },
    ],
    inside,
  );
  assert.equal(codes([...ends, ...inner]), ['ok', 'ok', 'ok', 'ok', 'ok']);
});

test.after(async () => {
  await outside.netnsRemove(inside);
  await outside.rtnl([{ op: 'link.del', name: 'outer' }]);
});

/** The source of a datagram that the first socket receives, and the answer that the sender gets. */
async function exchange(server: Socket, address: string, client: Socket): Promise<[string, string]> {
  server.once('message', (text, from: RemoteInfo) => server.send(`${text.toString()} back`, from.port, from.address));
  const asked = once(server, 'message') as Promise<[Buffer, RemoteInfo]>;
  const answered = once(client, 'message') as Promise<[Buffer, RemoteInfo]>;
  client.send('there', server.address().port, address);
  const [[, from], [answer]] = await Promise.all([asked, answered]);
  return [from.address, answer.toString()];
}

for (const [family, type, here, there] of [
  [4, 'udp4', '10.0.0.1', '10.0.0.2'],
  [6, 'udp6', 'fd00::1', 'fd00::2'],
] as const) {
  test(`dgram asks from inside, IPv${family}`, async () => {
    const server = createSocket(type).bind(0, here);
    await once(server, 'listening');
    const before = openDescriptors();
    const fd = await outside.udpSocket(family, inside);
    const flags = Number.parseInt(/flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '', 8);
    assert.is(flags & 0o2004000, 0o2004000, 'O_CLOEXEC and O_NONBLOCK');
    const client = createSocket(type);
    client.bind({ fd });
    assert.equal(await exchange(server, here, client), [there, 'there back']);
    // Again, now that it has a port.
    assert.equal(await exchange(server, here, client), [there, 'there back']);
    client.close();
    await once(client, 'close');
    assert.is(openDescriptors(), before);
    server.close();
  });
}

test('a socket can be in the outside itself, but not in a file that is no namespace', async () => {
  const fd = await outside.udpSocket(4);
  const server = createSocket('udp4').bind(0, '10.0.0.1');
  await once(server, 'listening');
  const client = createSocket('udp4');
  client.bind({ fd });
  assert.equal(await exchange(server, '10.0.0.1', client), ['10.0.0.1', 'there back']);
  client.close();
  server.close();
  assert.is((await kernelFailure(outside.udpSocket(4, '/absent'))).object, '/absent');
  assert.is((await kernelFailure(outside.udpSocket(6, '/proc/self/ns/mnt'))).code, 'EINVAL');
});

test('the socket belongs to the caller alone', async () => {
  const fds = await Promise.all(Array.from({ length: 50 }, () => outside.udpSocket(4, inside)));
  assert.is(new Set(fds).size, 50);
  const held = openDescriptors();
  for (const fd of fds) closeSync(fd);
  assert.is(openDescriptors(), held - 50);
});

test.run();
