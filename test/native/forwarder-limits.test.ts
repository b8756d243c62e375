/**
 * The share of one container in the forwarder that all of them use, on the real kernel: descriptors and connections, so
 * that no container is starved and no connection reset for want of them; and the lifetime of half-closed and silent
 * connections.
 */
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { dial } from '../harness/agent.ts';
import { container, endChildren, Forwarder, keyOf, outside, rule } from '../harness/forward-world.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const [a, b] = await Promise.all([container('a', 1), container('b', 2)]);
const rules = [rule(a, 8080, 80), rule(a, 8081, 80), rule(b, 8090, 80)];
const MEBIBYTE = 1 << 20;

/** A client that sends nothing, its greeting, and how it ended. */
class Idle {
  readonly socket: Socket;
  greeting = '';
  end = '';

  constructor(port: number) {
    this.socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    this.socket.on('data', (text) => (this.greeting += text.toString()));
    this.socket.on('error', (error: NodeJS.ErrnoException) => (this.end = error.code ?? 'error'));
    this.socket.on('end', () => (this.end ||= 'end'));
  }
}

const crowd = (port: number, count: number): Idle[] => Array.from({ length: count }, () => new Idle(port));
const greeted = (all: Idle[]): number => all.filter(({ greeting }) => greeting !== '').length;
const leave = (all: Idle[]): void => all.forEach(({ socket }) => socket.destroy());

/** Returns how many of them are served when no more are. */
async function served(all: Idle[], forwarder: Forwarder): Promise<number> {
  await until('some wait', async () => (await forwarder.rules()).some(({ full }) => full));
  await until('the connections are greeted', async () => {
    const held = (await forwarder.has('a:1')).connections;
    return greeted(all) === held;
  });
  return greeted(all);
}

/** Each of the crowd is served in the end, when earlier ones leave; none was reset. */
async function serveInTurn(all: Idle[]): Promise<void> {
  const waiting = new Set(all);
  while (waiting.size > 0) {
    await until('the next are served', () => [...waiting].some(({ greeting }) => greeting !== ''));
    for (const one of waiting) {
      if (one.greeting === '') continue;
      one.socket.destroy();
      waiting.delete(one);
    }
  }
  assert.equal([...new Set(all.map(({ greeting, end }) => `${greeting.slice(0, 2)}${end}`))], ['a ']);
}

const ticks = (pid: number | undefined): number =>
  Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[13]) +
  Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[14]);

let running: Forwarder | undefined;

/** A forwarder that carries these ports, until the test is over. */
async function begin(args: string[], rules: object[], inherited = 0): Promise<Forwarder> {
  running = await new Forwarder(args, undefined, undefined, inherited).started();
  const { ok, error } = await running.change(rules);
  assert.ok(ok, JSON.stringify(error));
  return running;
}

const limits = suite('limits of cleat-forwarder');
limits.before.each(() => running?.stop());
limits.after(endChildren);

limits('idle clients of one container leave descriptors to the others, and to its other ports', async () => {
  const forwarder = await begin([], rules);
  forwarder.limitDescriptors(400);
  const all = crowd(8080, 200);
  const held = await served(all, forwarder);
  assert.ok(held > 10 && held < 40, `${held} connections`);
  const before = ticks(forwarder.child.pid);
  for (let i = 0; i < 20; i++) assert.match(await dial('tcp', '127.0.0.1', 8090, 3000), /^b /);
  const others = crowd(8090, 100);
  await until('those of the other container are served too', () => greeted(others) >= 10);
  await new Promise((later) => setTimeout(later, 500));
  assert.ok(ticks(forwarder.child.pid) - before <= 20, 'it does not spin while they wait');
  leave(others);
  await serveInTurn(all);
  await until('nothing is held any more', async () => (await forwarder.has('a:1')).connections === 0);
});

limits('a container has connections up to its limit, a port alone half of them, and the limit can change', async () => {
  const forwarder = await begin(['--limit', 'connections=8'], rules);
  const all = crowd(8080, 12);
  assert.is(await served(all, forwarder), 4);
  assert.match(await dial('tcp', '127.0.0.1', 8081, 3000), /^a /, 'another port of it');
  assert.match(await dial('tcp', '127.0.0.1', 8090, 3000), /^b /, 'another container');
  const more = crowd(8081, 12);
  await until('a port may have what the first one leaves', () => greeted(more) === 2);
  const seen = (await forwarder.rules()).map(({ host_port, connections, full }) => [host_port, connections, full]);
  assert.equal(seen.slice(0, 2), [
    [8080, 4, true],
    [8081, 2, true],
  ]);
  assert.is(seen[2]?.[2], false);
  leave(more);
  assert.equal(await forwarder.ask({ op: 'limits', connections: 20 }), { ok: true });
  await until('those that waited are served', () => greeted(all) === 10);
  assert.equal(await forwarder.ask({ op: 'limits' }), { ok: true });
  await until('by default there is room for all of them', () => greeted(all) === 12);
  assert.equal((await forwarder.ask({ op: 'list' })).limits, {
    connections: 16_384,
    flows: 8192,
    flow_idle: 120,
    half_closed: 240,
  });
  leave(all);
});

limits('connections of a former owner of a port do not count against the next one', async () => {
  const forwarder = await begin(['--limit', 'connections=8'], [rule(a, 8080, 80)]);
  const all = crowd(8080, 4);
  await until('they are served', () => greeted(all) === 4);
  await forwarder.change([rule(b, 8080, 80)], [keyOf(rule(a, 8080, 80))]);
  const next = crowd(8080, 4);
  await until('as many again', () => greeted(next) === 4);
  assert.equal(
    [await forwarder.has('a:1'), await forwarder.has('b:1')].map(({ connections }) => connections),
    [4, 4],
  );
  leave([...all, ...next]);
});

limits('when the process has no descriptor left, clients wait and are served later; none is reset', async () => {
  // The process does not know the descriptors that it was started with: by its own count there is room.
  const forwarder = await begin([], rules, 200);
  await new Promise((later) => setTimeout(later, 50)); // the requests' descriptors are closed
  const idle = forwarder.descriptors();
  // One more each time: for a client, for the namespace that the connection is made in, for the socket there.
  for (const spare of [0, 1, 2, 3]) {
    forwarder.leaveDescriptors(spare);
    const all = crowd(8080, 20);
    const full = spare === 3 ? 1 : 0;
    await until('they wait', () => forwarder.descriptors() >= idle + Math.min(spare, 2) - 1);
    const before = ticks(forwarder.child.pid);
    // Every two seconds it checks whether the namespaces still exist, for which it has no descriptor either.
    await new Promise((later) => setTimeout(later, spare === 3 ? 2200 : 200));
    assert.ok(ticks(forwarder.child.pid) - before <= 5, 'it does not spin');
    assert.is(greeted(all), full);
    forwarder.limitDescriptors(1000);
    await serveInTurn(all);
    await until('nothing is held any more', () => forwarder.descriptors() === idle);
  }
});

/** Sends so many bytes, closes its direction, and reads. Node would report a reset as an end. */
const CLOSER = `
import socket, sys, threading
client = socket.create_connection(("127.0.0.1", 8081))
def say():
    try:
        client.sendall(b"x" * int(sys.argv[1]))
        client.shutdown(socket.SHUT_WR)
    except OSError: pass
threading.Thread(target=say).start()
try: print("data" if client.recv(1) else "end")
except ConnectionResetError: print("reset")`;

limits(
  'a half-closed connection that moves nothing is reset, whichever side has closed; an open one is not',
  async () => {
    const forwarder = await begin(
      ['--limit', 'half_closed=1'],
      [rule(a, 8080, 80), rule(a, 8081, 81), rule(a, 8083, 83), rule(a, 8084, 82)],
    );
    const open = new Idle(8080);
    const byServer = new Idle(8083);
    byServer.socket.write('10');
    const begun = performance.now();
    // To a server that does not read: one client has sent little, the other more than the buffers behind the forwarder
    // take (4 MiB).
    const byClient = [10, 5 * MEBIBYTE].map((count) => promisify(execFile)('python3', ['-c', CLOSER, String(count)]));
    assert.equal(
      (await Promise.all(byClient)).map(({ stdout }) => stdout.trim()),
      ['reset', 'reset'],
    );
    await until('that one has ended, too', async () => (await forwarder.has('a:1')).connections === 1);
    assert.ok(performance.now() - begun > 900);
    assert.is(byServer.greeting.length, 10);
    assert.is(open.end, '');
    open.socket.write('still there');
    await until('the open one goes on', () => open.greeting.includes('still there'));
    leave([open]);
    await until('nothing is held any more', async () => (await forwarder.has('a:1')).connections === 0);
  },
);

limits('a half-closed connection lives as long as data moves, also out of buffers alone', async () => {
  await begin(['--limit', 'half_closed=1'], [rule(a, 8083, 83)]);
  // The server has written everything and closed long before the client has read it.
  const program = `
import socket, sys, time
client = socket.socket()
client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
client.connect(("127.0.0.1", 8083))
client.sendall(b"600000")
got = 0
while True:
    time.sleep(0.25)
    more = client.recv(25000)
    if not more: break
    got += len(more)
print(got)`;
  assert.is(execFileSync('python3', ['-c', program], { encoding: 'utf8' }).trim(), '600000');
});

/** The size of each pipe of a process (F_GETPIPE_SZ, fcntl(2)). */
const PIPES = `
import fcntl, os, sys
sizes, home = {}, f"/proc/{sys.argv[1]}/fd/"
for name in os.listdir(home):
    pipe = os.readlink(home + name)
    if not pipe.startswith("pipe:") or pipe in sizes: continue
    fd = os.open(home + name, os.O_RDONLY | os.O_NONBLOCK)
    sizes[pipe] = fcntl.fcntl(fd, 1032)
    os.close(fd)
print(*sizes.values())`;

limits('many connections that nobody reads from pin little memory in pipes', async () => {
  const small = { 'net/ipv4/tcp_rmem': '4096 16384 16384', 'net/ipv4/tcp_wmem': '4096 16384 16384' };
  await outside.sysctlWrite(small, a.netns.path);
  const forwarder = await begin([], [rule(a, 8081, 81)]);
  const stuck = crowd(8081, 200);
  for (const { socket } of stuck) socket.write(Buffer.alloc(MEBIBYTE / 4));
  const sizes = async (): Promise<number[]> => {
    const { stdout } = await promisify(execFile)('python3', ['-c', PIPES, String(forwarder.child.pid)]);
    return stdout.trim().split(' ').map(Number);
  };
  // Each holds a pipe, besides the spare ones of each loop.
  await until('data waits in all of them', async () => (await sizes()).length >= 200, 20_000);
  const loops = Math.min(availableParallelism(), 4);
  const large = (await sizes()).filter((size) => size > 65_536).length;
  assert.ok(large <= loops * (64 + 4) + 4, `${large} large pipes`);
  leave(stuck);
});

limits('both sides of a connection are probed when they are silent', async () => {
  await begin([], [rule(a, 8080, 80)]);
  const [client] = crowd(8080, 1) as [Idle];
  await until('it is served', () => client.greeting !== '');
  /** Lines of established connections with a keepalive timer (Documentation/networking/proc_net_tcp.rst: tr 2). */
  const probed = (text: string, port: number): number => {
    const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
    const lines = text.split('\n').map((line) => line.trim().split(/\s+/));
    return lines.filter(([, at, to, state, , timer]) => {
      return state === '01' && timer?.startsWith('02:') && (at?.endsWith(local) || to?.endsWith(local));
    }).length;
  };
  assert.is(probed(readFileSync('/proc/net/tcp', 'utf8'), 8080), 1, 'the side of the client');
  const inside = execFileSync('nsenter', [`--net=${a.netns.path}`, 'cat', '/proc/net/tcp'], { encoding: 'utf8' });
  assert.is(probed(inside, 80), 1, 'the side of the container');
  leave([client]);
  await once(client.socket, 'close');
});

limits.run();
