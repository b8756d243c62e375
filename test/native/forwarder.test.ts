/**
 * cleat-forwarder on the real kernel: the data that passes through it, in both directions and to the end; the client
 * address that the server sees; changes under traffic, complete or not at all; and that it leaves nothing behind.
 */
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pattern } from '../harness/forward-server.ts';
import { container, endChildren, Forwarder, keyOf, LAN, neighbour, outside, rule } from '../harness/forward-world.ts';
import { dial } from '../harness/agent.ts';
import type { Protocol } from '../harness/host.ts';
import { withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { calm as settled } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

/** Starts a program as on a kernel without IPv6 (ipv6.disable=1): there are no sockets of AF_INET6. */
const REFUSING = resolve(import.meta.dirname, '../../../test/harness/refusing.py');
const WITHOUT_IPV6 = ['python3', REFUSING, 'socket', '0', 'is:10', 'EAFNOSUPPORT'];
const MEBIBYTE = 1 << 20;
const lan = await neighbour();
const [a, b] = await Promise.all([container('a', 1), container('b', 2)]);
const forwarder = await new Forwarder().started();
const census = forwarder.descriptors();

async function open(host: string, port: number): Promise<Socket> {
  const socket = connect({ host, port, allowHalfOpen: true });
  await once(socket, 'connect');
  return socket;
}

/** Everything that arrives until the end, and how it ended. */
async function drain(socket: Socket): Promise<{ data: Buffer; end: string }> {
  const chunks: Buffer[] = [];
  const end = await new Promise<string>((resolve) => {
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => resolve('end'));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
  socket.destroy();
  return { data: Buffer.concat(chunks), end };
}

async function greeting(host: string, port: number): Promise<string> {
  const socket = await open(host, port);
  socket.end();
  return (await drain(socket)).data.toString().trim();
}

/** Reads after the other side has reset already. Node would drop received data then. */
const LATE_READER = `
import hashlib, socket, sys, time
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client.sendall(sys.argv[2].encode())
time.sleep(0.6)
data, how = b"", "end"
try:
    while more := client.recv(1 << 16):
        data += more
except OSError as error:
    how = type(error).__name__
print(how, len(data), hashlib.sha256(data).hexdigest())
`;

const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
const calm = () => until('every descriptor is given back', () => forwarder.descriptors() === census);

const forwarding = suite('cleat-forwarder');

forwarding.after.each(async () => {
  await forwarder.clear();
  await calm();
});

forwarding.after(async () => {
  await forwarder.stop();
  endChildren();
});

forwarding('on a kernel without IPv6, IPv4 is published, and IPv6 as far as possible', async () => {
  const old = new Forwarder(undefined, undefined, undefined, 0, WITHOUT_IPV6);
  try {
    await old.started();
    const all = [rule(a, 8090, 80), rule(a, 8090, 80, { host_ip: '::' })];
    for (const protocol of ['tcp', 'udp']) {
      const rules = all.map((one) => ({ ...one, protocol, container_port: protocol === 'tcp' ? 80 : 53 }));
      assert.equal(await old.change(rules), { ok: true, source_kept: [protocol === 'tcp', false] });
      assert.match(await dial(protocol as Protocol, '127.0.0.1', 8090), /^a 10\.0\.1\.2 /);
    }
    assert.is((await old.rules()).length, 4);
    // Such a port is moved and removed as any other.
    const moved = all.map((one) => ({ ...one, container_port: 83 }));
    assert.ok((await old.change(moved)).ok);
    const { error } = await old.change([rule(a, 8091, 80, { host_ip: LAN.host6 })]);
    assert.is(error.errno, 'EAFNOSUPPORT', 'an address that the host cannot have');
    await old.clear();
    assert.equal(await old.rules(), []);
    assert.is(await dial('tcp', '127.0.0.1', 8090), 'ECONNREFUSED');
  } finally {
    await old.stop();
  }
});

forwarding(
  'a client that asks a link-local address is served, and is seen as an address of the container',
  async () => {
    await forwarder.change(
      ['tcp', 'udp'].map((protocol) =>
        rule(a, 8080, protocol === 'tcp' ? 80 : 53, { protocol, host_ip: '::', address: a.v6 }),
      ),
    );
    // Link-local addresses come with the carrier, and may be tentative at first.
    for (const netns of [undefined, lan]) await settled(netns);
    const shown = execFileSync('ip', ['-6', '-o', 'address', 'show', 'dev', 'lan0', 'scope', 'link'], {
      encoding: 'utf8',
    });
    const address = /inet6 (fe80:\S+)\/64/.exec(shown)?.[1] ?? '';
    await withAgents([lan], async (far) => {
      assert.match(await far.dial('tcp', `${address}%eth0`, 8080, 3000), /^a fd00:1::2 /);
      assert.is(await far.dial('udp', `${address}%eth0`, 8080, 3000), 'a fd00:1::2 ?');
    });
  },
);

forwarding('clients keep their addresses where the container has the family', async () => {
  const udp = { protocol: 'udp', host_ip: '0.0.0.0' };
  const { ok, source_kept } = await forwarder.change([
    rule(a, 8080, 80),
    rule(a, 8080, 80, { host_ip: '::', address: a.v6 }),
    rule(a, 8081, 80, { host_ip: '::' }),
    rule(a, 8082, 80, { host_ip: '0.0.0.0', address: a.v6 }),
    rule(a, 5353, 53, udp),
    rule(a, 5353, 53, { ...udp, host_ip: '::', address: a.v6 }),
  ]);
  assert.ok(ok);
  assert.equal(source_kept, [true, true, false, false, false, false]);
  await withAgents([lan], async (far) => {
    assert.match(await far.dial('tcp', LAN.host, 8080), /^a 192\.0\.2\.9 /);
    assert.match(await far.dial('tcp', LAN.host6, 8080), /^a fd99::9 /);
    assert.match(await far.dial('tcp', LAN.host6, 8081), /^a 10\.0\.1\.2 /, 'from IPv6 to IPv4');
    assert.match(await far.dial('tcp', LAN.host, 8082), /^a fd00:1::2 /, 'from IPv4 to IPv6');
    assert.is(await far.dial('udp', LAN.host, 5353), 'a 10.0.1.2 ?');
    assert.is(await far.dial('udp', LAN.host6, 5353), 'a fd00:1::2 ?');
  });
  // Never as the loopback: neither the client's nor the container's.
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^a 10\.0\.1\.2 /);
  assert.match(await dial('tcp', '::1', 8080), /^a fd00:1::2 /);
  assert.is(await dial('udp', '127.0.0.1', 5353), 'a 10.0.1.2 ?');
  assert.is(await dial('tcp', '127.0.0.1', 8081), 'ECONNREFUSED', ':: is IPv6 alone');

  // The port is kept too, unless it is taken in there.
  const socket = await open(LAN.host, 8080);
  const [first] = (await once(socket, 'data')) as [Buffer];
  assert.is(first.toString(), `a ${LAN.host} ${socket.localPort}\n`);
  const again = connect({ host: LAN.host6, port: 8080, localPort: 80, localAddress: LAN.host6 });
  const [second] = (await once(again, 'data')) as [Buffer];
  assert.match(second.toString(), /^a fd99::1 \d+\n$/);
  assert.is.not(second.toString(), 'a fd99::1 80\n');
  socket.destroy();
  again.destroy();

  assert.is((await forwarder.rules()).length, 6);
  // Counted after they have gone, because the receiver may be faster.
  await until('counted', async () => (await forwarder.rules()).every(({ bytes_out }) => bytes_out > 0));
});

forwarding('the settings of a namespace for that are made once, and go with the last port', async () => {
  const inside = async () => (await outside.routes(a.netns.path)).filter(({ table }) => table === 0x636c6561).length;
  await forwarder.change([rule(a, 8080, 80), rule(a, 8081, 80)]);
  await forwarder.change([rule(a, 8080, 80), rule(a, 8082, 80)]);
  assert.is(await inside(), 2, 'IPv4 and IPv6');
  await forwarder.change([], [keyOf(rule(a, 8080, 80)), keyOf(rule(a, 8081, 80))]);
  assert.is(await inside(), 2);
  await forwarder.change([], [keyOf(rule(a, 8082, 80))]);
  assert.is(await inside(), 0);
});

forwarding('the end of one direction is passed on, and the other direction goes on', async () => {
  await forwarder.change([rule(a, 8082, 82)]);
  const body = pattern(3 * MEBIBYTE);
  const socket = await open('127.0.0.1', 8082);
  socket.end(body);
  const { data, end } = await drain(socket);
  assert.equal([data.toString(), end], [`${body.length} ${sha256(body)}`, 'end']);
});

forwarding('much data, both ways at once, arrives as it was sent', async () => {
  await forwarder.change([rule(a, 8080, 80), rule(a, 8083, 83)]);
  const body = pattern(96 * MEBIBYTE);
  const socket = await open(LAN.host, 8080);
  socket.end(body);
  const { data, end } = await drain(socket);
  assert.is(end, 'end');
  assert.is(sha256(data.subarray(data.indexOf(10) + 1)), sha256(body));
  const loads = Array.from({ length: 20 }, async () => {
    const one = await open('127.0.0.1', 8083);
    one.write(String(4 * MEBIBYTE));
    return sha256((await drain(one)).data);
  });
  assert.equal([...new Set(await Promise.all(loads))], [sha256(pattern(4 * MEBIBYTE))]);
});

forwarding('a client that does not read delays no other', async () => {
  await forwarder.change([rule(a, 8080, 80), rule(a, 8081, 81), rule(a, 8083, 83)]);
  const stuck: Socket[] = [];
  for (let i = 0; i < 40; i++) {
    const writer = await open('127.0.0.1', 8081);
    writer.write(pattern(16 * MEBIBYTE));
    const reader = await open('127.0.0.1', 8083);
    reader.write(String(16 * MEBIBYTE));
    reader.pause();
    stuck.push(writer, reader);
  }
  for (let i = 0; i < 20; i++) assert.match(await greeting('127.0.0.1', 8080), /^a /);
  for (const socket of stuck) socket.destroy();
});

forwarding('a reset is passed on after the data that was sent before it', async () => {
  await forwarder.change([rule(a, 8084, 84), rule(a, 8085, 85), rule(a, 8086, 86)]);
  for (const count of [10, 2 * MEBIBYTE]) {
    const { stdout } = await promisify(execFile)('python3', ['-c', LATE_READER, '8084', String(count)]);
    assert.is(stdout.trim(), `ConnectionResetError ${count} ${sha256(pattern(count))}`);
  }
  const before = a.said();
  (await open('127.0.0.1', 8085)).resetAndDestroy();
  await until('the server sees the end', () => a.said() === `${before}a ended\n`);
  const refused = connect({ host: '127.0.0.1', port: 8086 });
  assert.is((await drain(refused)).end, 'ECONNRESET', 'nobody listens there');
  await withAgents([lan], async (far) => {
    assert.is(await far.dial('tcp', LAN.host, 8086), 'ECONNRESET', 'the same for one who keeps the address');
  });
});

forwarding('datagrams: answers come from the address that the client used, and clients are kept apart', async () => {
  await forwarder.change([rule(a, 5353, 53, { protocol: 'udp' })]);
  const ask = async (address: string, text: string): Promise<string> => {
    const socket = createSocket('udp4');
    socket.connect(5353, address); // listens on this address alone
    await once(socket, 'connect');
    socket.send(text);
    const [answer] = (await once(socket, 'message', { signal: AbortSignal.timeout(3000) })) as [Buffer];
    socket.close();
    return answer.toString();
  };
  for (const address of ['127.0.0.1', '127.0.0.2', LAN.host]) {
    assert.is(await ask(address, address), `a 10.0.1.2 ${address}`);
  }
  const large = 'x'.repeat(60_000);
  assert.is(await ask('127.0.0.1', large), `a 10.0.1.2 ${large}`);
  const all = Array.from({ length: 200 }, (_, i) => ask('127.0.0.1', `client ${i}`));
  assert.equal(
    await Promise.all(all),
    all.map((_, i) => `a 10.0.1.2 client ${i}`),
  );
});

forwarding('a port that moves refuses nobody, and connections stay where they are', async () => {
  const [here, there] = [rule(a, 8080, 80), rule(b, 8080, 80, { owner: 'a:1' })];
  await forwarder.change([here, rule(a, 5353, 53, { protocol: 'udp' })]);
  const old = await open('127.0.0.1', 8080);
  assert.match(String((await once(old, 'data')) as [Buffer]), /^a /);
  let changing = true;
  const seen: string[] = [];
  const dialling = Array.from({ length: 4 }, async () => {
    while (changing) seen.push((await dial('tcp', '127.0.0.1', 8080)).split(' ')[0] ?? '');
  });
  for (let i = 0; i < 100; i++) {
    const { ok } = await forwarder.change([i % 2 === 0 ? there : here]);
    assert.ok(ok);
    await new Promise((turn) => setTimeout(turn, 2));
  }
  changing = false;
  await Promise.all(dialling);
  assert.equal([...new Set(seen)].sort(), ['a', 'b']);
  old.write('still there');
  assert.is(String((await once(old, 'data')) as [Buffer]), 'still there');
  old.destroy();

  assert.match(await dial('udp', '127.0.0.1', 5353), /^a /);
  await forwarder.change([rule(b, 5353, 53, { protocol: 'udp', owner: 'a:1' })]);
  assert.match(await dial('udp', '127.0.0.1', 5353), /^b /);
});

forwarding('a change is made completely, or not at all', async () => {
  const server = createServer().listen(8083, '127.0.0.1');
  await once(server, 'listening');
  await forwarder.change([rule(a, 8080, 80)]);
  const before = (await forwarder.rules()).map(keyOf);
  const wrong: [object, string, string][] = [
    [rule(b, 8083, 80), 'EADDRINUSE', 'bind'],
    [rule(b, 8084, 80, { host_ip: '198.51.100.1' }), 'EADDRNOTAVAIL', 'bind'],
    [rule(b, 8084, 80, { netns: '/absent' }), 'ENOENT', 'open'],
    [rule(b, 8084, 80, { netns: '/proc/self/ns/mnt' }), 'EINVAL', 'ioctl(NS_GET_NSTYPE)'],
    [rule(b, 8084, 80, { ino: b.netns.ino + 1 }), 'ESTALE', 'fstat'],
  ];
  for (const [bad, errno, syscall] of wrong) {
    const change = [[rule(b, 8081, 80), bad, rule(b, 8082, 80)], [keyOf(rule(a, 8080, 80))]] as const;
    const { ok, error } = await forwarder.change([...change[0]], [...change[1]]);
    assert.is(ok, false);
    assert.equal([error.errno, error.syscall], [errno, syscall], JSON.stringify(error));
    const { host_ip, host_port } = bad as { host_ip: string; host_port: number };
    assert.equal([error.protocol, error.host_ip, error.host_port], ['tcp', host_ip, host_port]);
    assert.equal((await forwarder.rules()).map(keyOf), before);
    assert.is(await dial('tcp', '127.0.0.1', 8081), 'ECONNREFUSED');
    assert.match(await dial('tcp', '127.0.0.1', 8080), /^a /);
  }
  server.close();
});

forwarding('a port has one owner, and changes it only with consent', async () => {
  const [ofA, ofB] = [rule(a, 8080, 80), rule(b, 8080, 80)];
  await forwarder.change([ofA]);
  assert.ok((await forwarder.change([ofA])).ok, 'twice the same');
  const { ok, error } = await forwarder.change([ofB]);
  assert.equal([ok, error.errno, error.owner], [false, 'EADDRINUSE', 'a:1']);
  assert.ok((await forwarder.change([], [keyOf(ofB)])).ok, 'what is not theirs');
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^a /);

  const old = await open('127.0.0.1', 8080);
  await once(old, 'data');
  for (let again = 0; again < 2; again++) assert.ok((await forwarder.change([ofB], [keyOf(ofA)])).ok);
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^b /);
  old.write('on');
  assert.is(String((await once(old, 'data')) as [Buffer]), 'on');
  // When the former owner goes, the connections of its time go too.
  const ended = drain(old);
  await forwarder.change([], [keyOf(ofA)]);
  assert.is((await ended).end, 'ECONNRESET');
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^b /);
});

forwarding('a change from every address to one and back never leaves the port without a listener', async () => {
  const every = [rule(a, 8080, 80), rule(a, 8080, 53, { protocol: 'udp' })];
  const one = every.map((each) => ({ ...each, host_ip: '127.0.0.1' }));
  await forwarder.change(every);
  for (const [from, to] of [
    [every, one],
    [one, every],
  ] as const) {
    const dials = Array.from({ length: 50 }, () => dial('tcp', '127.0.0.1', 8080, 3000));
    const { ok, error } = await forwarder.change([...to], from.map(keyOf));
    assert.ok(ok, JSON.stringify(error));
    // Connections that came through the removed port are reset with it.
    const seen = new Set((await Promise.all(dials)).map((text) => text.split(' ')[0]));
    assert.not.ok(seen.has('ECONNREFUSED') || seen.has('timeout'), [...seen].join(' '));
    assert.match(await dial('tcp', '127.0.0.1', 8080), /^a /);
    assert.match(await dial('udp', '127.0.0.1', 8080), /^a /);
    assert.match(await dial('tcp', LAN.host, 8080), to === one ? /^ECONNREFUSED$/ : /^a /);
  }
});

forwarding('connections end with their port', async () => {
  const rules = [rule(a, 8080, 80), rule(a, 5353, 53, { protocol: 'udp' })];
  await forwarder.change(rules);
  const socket = await open('127.0.0.1', 8080);
  await once(socket, 'data');
  await dial('udp', '127.0.0.1', 5353);
  const ended = drain(socket);
  await forwarder.change([], rules.map(keyOf));
  assert.is((await ended).end, 'ECONNRESET');
  assert.is(await dial('tcp', '127.0.0.1', 8080), 'ECONNREFUSED');
});

forwarding('a namespace that is gone ends its connections, and refuses new ones', async () => {
  const c = await container('c', 3);
  await forwarder.change([rule(c, 8090, 80)]);
  const socket = await open('127.0.0.1', 8090);
  await once(socket, 'data');
  const ended = drain(socket);
  await outside.netnsRemove(c.netns.path);
  assert.is((await ended).end, 'ECONNRESET', 'though its server lives on');
  assert.is(await dial('tcp', '127.0.0.1', 8090), 'ECONNRESET');
  c.server.kill('SIGKILL');
});

forwarding.run();
