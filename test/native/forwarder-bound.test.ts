/**
 * Ports that are bound to processes and pipes: they end when the last of these has ended, with all their connections and nothing
 * else, and without a request.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { processStartTime, takeDescriptor } from '../../native/index.ts';
import { dial } from '../harness/agent.ts';
import { endExitEnds, ExitEnds } from '../harness/exit-ends.ts';
import { container, endChildren, Forwarder, keyOf, rule } from '../harness/forward-world.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

/** The time from the end of a process to that of the last of its ports, on a machine with much other work. */
const SOON_MS = 2000;
const RACES = 40;

const [a, b] = await Promise.all([container('a', 1), container('b', 2)]);
// With the user and the filter of its service.
const forwarder = await new Forwarder(['--idle', '30', '--user', '4711:4711']).started();
const census = forwarder.descriptors();

interface Living {
  child: ChildProcess;
  process: { pid: number; start_time: number };
}

const alive: ChildProcess[] = [];

/** A process that does nothing until it is killed. */
async function living(): Promise<Living> {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  await once(child, 'spawn');
  alive.push(child);
  return { child, process: { pid: child.pid!, start_time: processStartTime(child.pid!) } };
}

async function kill({ child }: Living): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

const change = (add: object[], bound: object[], remove: object[] = []) =>
  forwarder.ask({ op: 'change', add, remove, bound });
const to = (owner: string, ...all: Living[]) => ({ owner, to: all.map(({ process }) => process) });
const here = (port: number) => dial('tcp', '127.0.0.1', port);
const refused = (port: number) =>
  until(`${port} is closed`, async () => (await here(port)) === 'ECONNREFUSED', SOON_MS);

async function open(port: number): Promise<{ socket: Socket; within: (ms: number) => Promise<string> }> {
  const socket = connect({ host: '127.0.0.1', port });
  const ended = new Promise<string>((done) => {
    socket.on('end', () => done('end')).on('error', (error: NodeJS.ErrnoException) => done(error.code ?? ''));
  });
  await once(socket, 'connect');
  const within = (ms: number) =>
    Promise.race([ended, new Promise<string>((later) => setTimeout(later, ms, 'goes on'))]);
  return { socket, within };
}

const bound = suite('ports that are bound to processes');

bound.after.each(async () => {
  await endExitEnds();
  for (const fd of opened.splice(0)) closeSync(fd);
  for (const child of alive.splice(0)) child.kill('SIGKILL');
  await forwarder.clear();
  await until('every descriptor is given back', () => forwarder.descriptors() === census);
});

bound.after(async () => {
  await forwarder.stop();
  endChildren();
});

bound('bound ports end with the process, with their connections, and ports of others go on', async () => {
  const [its, others] = [await living(), await living()];
  const add = [rule(a, 8080, 85), rule(a, 5353, 53, { protocol: 'udp' }), rule(b, 8090, 80), rule(b, 8091, 85)];
  assert.ok((await change(add, [to('a:1', its), to('b:1', others)])).ok);
  const { owners } = await forwarder.ask({ op: 'list' });
  assert.equal(
    owners.map((one: { owner: string; bound_to: object[] }) => [one.owner, one.bound_to]),
    [
      ['a:1', [its.process]],
      ['b:1', [others.process]],
    ],
  );
  const [ending, lasting] = [await open(8080), await open(8091)];
  assert.is(await dial('udp', '127.0.0.1', 5353), 'a 10.0.1.2 ?');
  await kill(its);
  await refused(8080);
  assert.is(await ending.within(SOON_MS), 'ECONNRESET');
  assert.is.not(await dial('udp', '127.0.0.1', 5353), 'a 10.0.1.2 ?');
  assert.match(await here(8090), /^b /);
  lasting.socket.write('still here');
  assert.is(await lasting.within(200), 'goes on');
  lasting.socket.destroy();
  await until('it is forgotten', async () => {
    const { owners: left } = await forwarder.ask({ op: 'list' });
    return left.map(({ owner }: { owner: string }) => owner).join() === 'b:1';
  });
});

bound('a reused or missing pid is refused, and nothing changes', async () => {
  const [one, ended] = [await living(), await living()];
  await kill(ended);
  await change([rule(b, 8080, 80)], []);
  const { pid, start_time } = one.process;
  const another = { owner: 'a:1', to: [{ pid, start_time: start_time - 1 }] };
  for (const binding of [another, to('a:1', ended), { owner: 'a:1', to: [ended.process, ...another.to] }]) {
    const { ok, error } = await change([rule(a, 8080, 80), rule(a, 8081, 80)], [binding], [keyOf(rule(b, 8080, 80))]);
    assert.is(ok, false);
    assert.equal([error.errno, error.syscall, error.owner], ['ESRCH', 'pidfd_open', 'a:1']);
    assert.match(await here(8080), /^b /);
    assert.is(await here(8081), 'ECONNREFUSED');
  }
});

/** A pipe whose read end we hold, as the daemon does, and whose write end a process has. */
async function pipe(): Promise<{ ends: ExitEnds; exit: object; listed: object }> {
  const ends = await ExitEnds.make('pipe');
  const { fd } = takeDescriptor(ends.pid, ends.fd);
  opened.push(fd);
  await ends.leave();
  const { dev, ino } = fstatSync(fd);
  const own = { pid: process.pid, start_time: processStartTime(process.pid) };
  return { ends, exit: { ...own, fd, dev, ino }, listed: { dev, ino } };
}

const opened: number[] = [];

bound('ports end with a pipe, with another process, or with the first of what a container is tied to', async () => {
  const [its, other, one, two] = [await living(), await living(), await pipe(), await pipe()];
  const ties = [{ exit: one.exit }, { ...its.process, exit: two.exit }, { ...its.process, exit: other.process }];
  const add = ties.map((_, n) => rule(a, 8080 + n, 80, { owner: `a${n}:1` }));
  assert.ok(
    (
      await change(
        add,
        ties.map((tie, n) => ({ owner: `a${n}:1`, to: [tie] })),
      )
    ).ok,
  );
  const { owners } = await forwarder.ask({ op: 'list' });
  assert.equal(
    owners.map((owner: { bound_to: object[] }) => owner.bound_to),
    [[{ exit: one.listed }], [{ ...its.process, exit: two.listed }], [{ ...its.process, exit: other.process }]],
  );
  for (const n of [0, 1, 2]) assert.match(await here(8080 + n), /^a /);
  await one.ends.close();
  await refused(8080);
  for (const n of [1, 2]) assert.match(await here(8080 + n), /^a /);
  await two.ends.close();
  await refused(8081);
  assert.match(await here(8082), /^a /);
  await kill(other);
  await refused(8082);
});

bound('ports of several containers end with the last, though one of them has two ends', async () => {
  const [its, guest, { ends, exit }] = [await living(), await living(), await pipe()];
  const to = [{ ...its.process, exit }, guest.process];
  assert.ok((await change([rule(a, 8080, 80)], [{ owner: 'a:1', to }])).ok);
  await ends.close();
  await kill(its); // the same container, once more
  assert.match(await here(8080), /^a /);
  await kill(guest);
  await refused(8080);
});

bound('what is not the pipe that was named, or has no other end, is refused, and nothing changes', async () => {
  const { ends, exit } = await pipe();
  const socket = await ExitEnds.make('socket');
  const held = takeDescriptor(socket.pid, socket.fd).fd;
  opened.push(held);
  const { dev, ino } = fstatSync(held);
  const wrong = [
    { ...exit, ino: 1 },
    { ...exit, dev: 1 },
    { ...exit, fd: 1_000_000 },
    { ...exit, start_time: 1 },
    { ...exit, fd: held, dev, ino }, // a socket
  ];
  for (const one of wrong) {
    const { ok, error } = await change([rule(a, 8080, 80)], [{ owner: 'a:1', to: [{ exit: one }] }]);
    assert.equal([ok, error.errno], [false, 'ESRCH'], JSON.stringify(one));
    assert.is(await here(8080), 'ECONNREFUSED');
  }
  await ends.close();
  const { ok, error } = await change([rule(a, 8080, 80)], [{ owner: 'a:1', to: [{ exit }] }]);
  assert.equal([ok, error.errno], [false, 'ESRCH']);
  await socket.leave();
});

bound('a process that is not reaped counts as ended', async () => {
  const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 1000'], { stdio: ['ignore', 'pipe', 'ignore'] });
  alive.push(parent);
  const [text] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(text.toString());
  const fields = () => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  await until('it is a zombie', () => fields()[0] === 'Z');
  const start_time = Number(fields()[19]);
  const { error } = await change([rule(a, 8080, 80)], [{ owner: 'a:1', to: [{ pid, start_time }] }]);
  assert.is(error.errno, 'ESRCH');
});

bound('with several processes the last one counts, and those that have ended do not', async () => {
  const [first, second, third] = [await living(), await living(), await living()];
  await kill(first);
  assert.ok((await change([rule(a, 8080, 80)], [to('a:1', first, second, third)])).ok);
  await kill(third);
  await new Promise((later) => setTimeout(later, 200));
  assert.match(await here(8080), /^a /);
  await kill(second);
  await refused(8080);
});

bound('ports can be bound to other processes or to none, and stay bound without a new bond', async () => {
  const [first, second] = [await living(), await living()];
  await change([rule(a, 8080, 80)], [to('a:1', first)]);
  await change([], [to('a:1', second)]);
  await kill(first);
  await forwarder.change([rule(a, 8081, 80)]);
  assert.match(await here(8080), /^a /);
  await kill(second);
  await refused(8080);
  await refused(8081);
  const third = await living();
  await change([rule(a, 8080, 80)], [to('a:1', third)]);
  await change([], [to('a:1')]);
  await kill(third);
  await new Promise((later) => setTimeout(later, 200));
  assert.match(await here(8080), /^a /);
  // An owner without ports is not remembered.
  const fourth = await living();
  const before = forwarder.descriptors();
  assert.ok((await change([], [to('c:1', fourth)])).ok);
  await until('no descriptor of it is kept', () => forwarder.descriptors() <= before);
});

bound("a port that moved stays, and its old connections end with the old owner's process", async () => {
  const [its, others] = [await living(), await living()];
  await change([rule(a, 8080, 85)], [to('a:1', its)]);
  const before = await open(8080);
  await change([rule(b, 8080, 80)], [to('b:1', others)], [keyOf(rule(a, 8080, 85))]);
  assert.match(await here(8080), /^b /);
  await change([rule(a, 8081, 80)], [to('a:1', its)]);
  await kill(its);
  assert.is(await before.within(SOON_MS), 'ECONNRESET');
  await refused(8081);
  assert.match(await here(8080), /^b /);
});

bound('a process that ends during the request has its port refused, or ended soon', async () => {
  let accepted = 0;
  for (let i = 0; i < RACES; i++) {
    const its = await living();
    const asked = change([rule(a, 8080, 80)], [to('a:1', its)]);
    if (i % 2 === 0) await new Promise((later) => setTimeout(later, i / 10));
    await kill(its);
    const { ok, error } = await asked;
    if (ok) accepted++;
    else assert.is(error.errno, 'ESRCH');
    await refused(8080);
  }
  console.log(`${accepted} of ${RACES} were accepted`);
  assert.ok(accepted > 0);
});

bound('as many bonds are held as there are descriptors', async () => {
  const its = await living();
  const own = await new Forwarder().started(); // as another user it would refuse us
  const ask = () =>
    own.ask({ op: 'change', add: [rule(a, 8080, 80)], remove: [], bound: [{ owner: 'a:1', to: many }] });
  const many = Array.from({ length: 400 }, () => its.process);
  const before = own.descriptors();
  own.limitDescriptors(300);
  const { error } = await ask();
  assert.equal([error.errno, error.syscall], ['EMFILE', 'pidfd_open']);
  assert.is(await here(8080), 'ECONNREFUSED');
  own.limitDescriptors(2000);
  assert.ok((await ask()).ok);
  await kill(its);
  await refused(8080);
  await until('every descriptor is given back', () => own.descriptors() <= before);
  await own.stop();
});

bound('after the last bound port it waits as long as after any other', async () => {
  const its = await living();
  const own = await new Forwarder(['--idle', '1']).started();
  await own.ask({ op: 'change', add: [rule(a, 8080, 80)], remove: [], bound: [to('a:1', its)] });
  await new Promise((later) => setTimeout(later, 1500)); // and nothing happens meanwhile
  const since = performance.now();
  await kill(its);
  assert.is(await own.ended(), 0);
  assert.ok(performance.now() - since >= 900, `${performance.now() - since} ms`);
});

bound.run();
