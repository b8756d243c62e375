// slow: 60 s, an effect waits 5 s for a forwarder that does not answer, and one ends a second after its last port
/**
 * Published ports carried by the forwarder, through the shipped effects: the start with the first port, repeated
 * requests, all-or-nothing changes, foreign ports, adoption, and every kind of missing answer.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  bind,
  forward,
  listForwards,
  unforward,
  type ForwarderPlaces,
  type ForwardInput,
  type ForwardRule,
} from '../../effects/forwarder/forwarder.ts';
import { outsideKey } from '../../effects/kernel.ts';
import type { OwnedTarget } from '../../plan/containers/change.ts';
import { processStartTime, signalProcess, watchProcess, type Child } from '../../native/index.ts';
import { dial } from '../harness/agent.ts';
import { faultOf, NO_SCOPES } from '../harness/effects.ts';
import { container, endChildren, EXECUTABLE, outside, type Container } from '../harness/forward-world.ts';
import { addNetns, withAgents } from '../harness/inside.ts';
import { kernelFailure, openDescriptors, scratch, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { answering } from '../harness/programs.ts';

requirePrivateNamespace();

const [a, b] = await Promise.all([container('a', 1), container('b', 2)]);

const placesIn = (directory = scratch(), executable = EXECUTABLE): ForwarderPlaces => ({
  directory: join(directory, 'forwarder'),
  executable,
  scopes: NO_SCOPES,
});

const target = (at: Container, hostPort: number, more: Partial<OwnedTarget> = {}): OwnedTarget => ({
  owner: `${at.name}:1`,
  protocol: 'tcp',
  hostIp: '0.0.0.0',
  hostPort,
  address: at.v4,
  containerPort: 80,
  ...more,
});

const input = (at: Container, targets: OwnedTarget[], replacing: OwnedTarget[] = []): ForwardInput => ({
  outside: null,
  netns: at.netns,
  targets,
  replacing,
});

const processOf = async (places: ForwarderPlaces, where: string | null = null): Promise<Child | null> =>
  (await listForwards(places)(where))?.process ?? null;

const rulesOf = async (places: ForwarderPlaces, owner?: string): Promise<ForwardRule[]> =>
  (await listForwards(places)(null, owner))?.rules ?? [];

/** Ends the process of an outside, and waits for it. */
async function end(places: ForwarderPlaces, where: string | null = null, signal = 9): Promise<void> {
  const process = await processOf(places, where);
  if (process === null) return;
  const ended = new Promise<void>((done) => watchProcess(process.pid, process.startTime, done));
  signalProcess(process.pid, process.startTime, signal);
  await ended;
}

const forwarding = suite('forwarder effects');
forwarding.after(endChildren);

forwarding('the forwarder starts with the first port, and the same request twice changes nothing', async () => {
  const places = placesIn();
  assert.is(await listForwards(places)(null), null);
  await unforward(places)(input(a, [], [target(a, 8080)]));
  assert.is(await listForwards(places)(null), null, 'nothing is started to take away');

  await forward(places)(input(a, [target(a, 8080)]));
  const first = await processOf(places);
  const descriptors = openDescriptors();
  await forward(places)(input(a, [target(a, 8080)]));
  assert.equal(await processOf(places), first);
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^a /);
  // Counted after they have gone, because the receiver may be faster.
  await until('counted', async () => ((await rulesOf(places))[0]?.bytes_out ?? 0) > 0);
  const [rule, ...more] = await rulesOf(places);
  assert.equal(more, []);
  assert.ok(rule !== undefined && rule.source_kept && rule.connections >= 0);
  assert.equal(
    [rule.owner, rule.protocol, rule.host_ip, rule.host_port, rule.netns, rule.ino, rule.address, rule.container_port],
    ['a:1', 'tcp', '0.0.0.0', 8080, a.netns.path, a.netns.ino, a.v4, 80],
  );

  await forward(places)(input(b, [target(b, 8080)], [target(a, 8080)]));
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^b /);
  await unforward(places)(input(a, [], [target(a, 8080)]));
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^b /, "what is another's stays");
  await forward(places)(input(a, [target(a, 8081)]));
  assert.equal(
    (await rulesOf(places, 'a:1')).map(({ owner, host_port }) => [owner, host_port]),
    [['a:1', 8081]],
    'of one owner',
  );
  assert.is((await rulesOf(places)).length, 2);
  await unforward(places)(input(a, [], [target(a, 8081)]));
  for (let again = 0; again < 2; again++) await forward(places)(input(b, [], [target(b, 8080)]));
  assert.is(await dial('tcp', '127.0.0.1', 8080), 'ECONNREFUSED');
  assert.equal((await listForwards(places)(null))?.rules, []);
  await end(places, null, 15);
  assert.is(await listForwards(places)(null), null);
  await until('descriptors are given back', () => openDescriptors() <= descriptors);
});

forwarding('concurrent calls start one process, which has every port of them', async () => {
  const places = placesIn();
  const ports = Array.from({ length: 30 }, (_, i) => 8100 + i);
  await Promise.all(ports.map((port) => forward(places)(input(a, [target(a, port)]))));
  const rules = await rulesOf(places);
  assert.equal(
    rules.map(({ host_port }) => host_port),
    ports,
  );
  await end(places);
  // The remains of a killed one block nothing.
  await forward(places)(input(a, [target(a, 8100)]));
  assert.match(await dial('tcp', '127.0.0.1', 8100), /^a /);
  await end(places);
});

forwarding('a port that is taken is refused with its owner, and nothing changes', async () => {
  const places = placesIn();
  await forward(places)(input(a, [target(a, 8080)]));
  const server = createServer().listen(8082, '127.0.0.1');
  await once(server, 'listening');
  const foreign = await faultOf(forward(places)(input(b, [target(b, 8081), target(b, 8082)])));
  assert.equal(
    [foreign.code, foreign.message, foreign.errno, foreign.owner],
    ['PORT_TAKEN', 'port 0.0.0.0:8082/tcp is in use on the host by another process', 'EADDRINUSE', 'another process'],
  );
  server.close();
  const ours = await faultOf(forward(places)(input(b, [target(b, 8080)])));
  assert.equal(
    [ours.code, ours.message, ours.owner],
    ['PORT_TAKEN', 'port 0.0.0.0:8080/tcp is in use on the host by container a', 'a'],
  );
  const nowhere = await faultOf(forward(places)(input(b, [target(b, 8081, { hostIp: '198.51.100.1' })])));
  assert.equal(
    [nowhere.code, nowhere.errno, nowhere.syscall, nowhere.object],
    ['KERNEL', 'EADDRNOTAVAIL', 'bind', '198.51.100.1:8081/tcp'],
  );
  const gone = { ...input(b, [target(b, 8081)]), netns: { ...b.netns, ino: 1 } };
  assert.is((await faultOf(forward(places)(gone))).errno, 'ESTALE');
  assert.is((await faultOf(forward(places)(input(b, [target(b, 8081, { protocol: 'sctp' })])))).code, 'BAD_REQUEST');
  await unforward(places)(input(b, [], [target(b, 8081, { protocol: 'sctp' })]));
  assert.is((await rulesOf(places)).length, 1);
  await end(places);
});

forwarding('each outside has its own forwarder', async () => {
  const places = placesIn();
  const other = addNetns('other');
  await forward(places)(input(a, [target(a, 8080)]));
  await forward(places)({ ...input(b, [target(b, 8080)]), outside: other });
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^a /);
  await withAgents([other], async (there) => {
    assert.match(await there.dial('tcp', '127.0.0.1', 8080), /^b /);
  });
  const [here, there] = await Promise.all([null, other].map((each) => processOf(places, each)));
  assert.is.not(here?.pid, there?.pid);
  for (const each of [null, other]) await end(places, each);
  const absent = { ...input(a, [target(a, 8080)]), outside: '/absent' };
  assert.is((await kernelFailure(forward(places)(absent))).object, '/absent');
});

forwarding('a connection outlives the daemon', async () => {
  const directory = scratch();
  const places = placesIn(directory);
  const program = `
    import { forward } from ${JSON.stringify(new URL('../../effects/forwarder/forwarder.js', import.meta.url).href)};
    await forward({ ...${JSON.stringify(places)}, scopes: { own() {} } })(${JSON.stringify(input(a, [target(a, 8080)]))});
    process.kill(process.pid, 'SIGKILL');`;
  const daemon = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit', detached: true });
  assert.equal(await once(daemon, 'exit'), [null, 'SIGKILL']);
  assert.match(await dial('tcp', '127.0.0.1', 8080), /^a /);
  const [rule] = await rulesOf(places);
  assert.is(rule?.owner, 'a:1');
  await end(places);
});

/** Another program in the forwarder's place. */
const tie = (process: Child) => ({ process, exit: null });
const impostor = ({ directory }: ForwarderPlaces, answer: string | null) =>
  answering(join(directory, outsideKey(null)), 'socket', answer);

forwarding('ports bound to ended processes are refused, and a request without a bond changes none', async () => {
  const places = placesIn();
  const [one, ended] = [spawn('sleep', ['60']), spawn('sleep', ['60'])];
  const [own, gone] = [one, ended].map(({ pid = 0 }): Child => ({ pid, startTime: processStartTime(pid) }));
  assert.ok(own !== undefined && gone !== undefined);
  ended.kill('SIGKILL');
  await once(ended, 'exit');
  const { code, message } = await faultOf(forward(places)({ ...input(a, [target(a, 8080)]), boundTo: [tie(gone)] }));
  assert.equal([code, message], ['NO_SUCH_PROCESS', 'what container a ends with has ended']);
  await forward(places)({ ...input(a, [target(a, 8080)]), boundTo: [tie(own)] });
  await forward(places)(input(a, [target(a, 8081)]));
  const boundTo = async () => (await listForwards(places)(null))?.owners.map(({ bound_to: bound }) => bound);
  assert.equal(await boundTo(), [[{ pid: own.pid, start_time: own.startTime }]]);
  await bind(places)(null, 'a:1', [tie(gone)]);
  assert.equal(await boundTo(), [[{ pid: own.pid, start_time: own.startTime }]], 'it is about to be torn down');
  const exit = { holder: own, fd: 1_000_000, kind: 'pipe' as const, dev: 1, ino: 2, process: null };
  await bind(places)(null, 'a:1', [{ process: null, exit }]); // nobody has it, which a search finds out
  assert.equal(await boundTo(), [[{ pid: own.pid, start_time: own.startTime }]]);
  await bind(places)(null, 'a:1', []);
  assert.equal(await boundTo(), [[]]);
  await bind(places)(null, 'a:1', [tie(own)]);
  one.kill('SIGKILL');
  await until('it has ended', async () => (await processOf(places)) === null, 15_000);
  await bind(places)(null, 'a:1', [tie(gone)]);
});

for (const [what, refusal] of [
  ['of an earlier version', { message: 'not a request: op is missing or unknown, or there are other members' }],
  ['that does not see the process', { message: 'the processes have ended', errno: 'ESRCH', owner: 'a:1' }],
] as const) {
  forwarding(`a forwarder ${what} carries ports until it is stopped`, async () => {
    const places = placesIn();
    const heard: string[] = [];
    const directory = join(places.directory, outsideKey(null));
    mkdirSync(directory, { recursive: true });
    const server = createServer((socket) => {
      socket.once('data', (line) => {
        heard.push(line.toString());
        const answer = heard.at(-1)?.includes('"bound"') === true ? { ok: false, error: refusal } : { ok: true };
        socket.end(`${JSON.stringify({ source_kept: [], ...answer })}\n`);
      });
    });
    await new Promise<void>((listening) => server.listen(join(directory, 'socket'), listening));
    server.unref(); // also when a later step fails
    const own = { pid: process.pid, startTime: processStartTime(process.pid) };
    await forward(places)({ ...input(a, [target(a, 8080)]), boundTo: [tie(own)] });
    assert.equal(
      heard.map((line) => [line.includes('"bound"'), line.includes('8080')]),
      [
        [true, true],
        [false, true],
      ],
    );
    await bind(places)(null, 'a:1', [tie(own)]);
    assert.is(heard.length, 3);
    await new Promise((closed) => server.close(closed));
  });
}

forwarding('invalid and missing answers are faults', async () => {
  const list = [
    '{"ok":true}\n',
    '{"ok":true,"rules":[null]}\n',
    '{"ok":true,"rules":[{"owner":"a:1","host_port":1}]}\n',
  ];
  const refusal = '{"ok":false,"error":{"message":"no","errno":"EADDRINUSE","host_ip":7,"host_port":1}}\n';
  const answers = [
    'x\n',
    '{}\n',
    '{"ok":1}\n',
    '{"ok":false}\n',
    '{"ok":false,"error":{}}\n',
    refusal,
    '[]\n',
    ...list,
  ];
  for (const text of answers) {
    const places = placesIn();
    const close = await impostor(places, text);
    assert.is((await faultOf(listForwards(places)(null))).code, 'FORWARDER_FAILED', text);
    if (!list.includes(text)) {
      const { code } = await faultOf(unforward(places)(input(a, [], [target(a, 8080)])));
      assert.is(code, 'FORWARDER_FAILED', text);
    }
    await close();
  }
  const places = placesIn();
  const close = await impostor(places, null);
  const { code, message } = await faultOf(forward(places)(input(a, [target(a, 8080)])));
  assert.is(code, 'FORWARDER_FAILED');
  assert.match(message, /has not answered within \d+ ms/);
  await close();
});

forwarding('a program that cannot be started, or ends at once, is a fault', async () => {
  const nothing = placesIn(scratch(), '/absent');
  assert.is((await kernelFailure(forward(nothing)(input(a, [target(a, 8080)])))).code, 'ENOENT');
  const directory = scratch();
  const broken = join(directory, 'broken');
  writeFileSync(broken, '#!/bin/sh\nexit 1\n');
  chmodSync(broken, 0o755);
  const { code } = await faultOf(forward(placesIn(directory, broken))(input(a, [target(a, 8080)])));
  assert.is(code, 'FORWARDER_FAILED');
});

forwarding('the forwarder ends by itself after its last port', async () => {
  const places = placesIn();
  await forward(places)(input(a, [target(a, 8080)]));
  await unforward(places)(input(a, [], [target(a, 8080)]));
  await until('it has ended', async () => (await processOf(places)) === null, 15_000);
  assert.is((await outside.routes(a.netns.path)).filter(({ table }) => table > 255).length, 0);
});

forwarding.run();
