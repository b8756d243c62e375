/**
 * `cleat/client` with a real daemon: what it asks is typed by the API's description; it waits for a daemon that is starting, goes on
 * when one is started again, and has one error for all that can go wrong.
 */
import { mkdtempSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Cleat, CleatError, type AnswerTo, type LifecycleEvent, type Told } from '../../client/client.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Why } from '../../state/answers/container/why.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { on, port, TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const cleat = new Cleat({ socket: daemon.socket });
const client = suite('client');

async function failure(work: Promise<unknown>): Promise<CleatError> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof CleatError) return error;
  throw new Error(`no CleatError: ${String(error)}`);
}

client.before(async () => {
  const early = cleat.call('GET /v1/version'); // there is no socket yet
  await daemon.start();
  assert.is((await early).pid, daemon.pid);
});
client.after(async () => void (await daemon.stop()));

/** Compiles only if both types are the same. */
type Same<A, B> = [A, B] extends [B, A] ? true : false;

client('answers and inputs have the types of the schemas', async () => {
  const same: [
    Same<AnswerTo<'GET /v1/containers'>, ContainerView[]>,
    Same<AnswerTo<'GET /v1/containers/{id}/why'>, Why>,
    Same<AnswerTo<'GET /v1/networks/{name}'>, NetworkDefinition>,
    Same<AnswerTo<'DELETE /v1/networks/{name}'>, null>,
    Same<AnswerTo<'GET /_ping'>, string>,
  ] = [true, true, true, true, true];
  assert.is(same.length, 5);
  // @ts-expect-error -- a route that is not described
  const nowhere = await failure(cleat.call('GET /v1/nowhere'));
  assert.is(nowhere.code, 'NO_SUCH_ROUTE');
  // @ts-expect-error -- a parameter that the route does not have
  assert.is((await failure(cleat.call('GET /v1/containers', { name: 'a' }))).code, 'BAD_REQUEST');
  // @ts-expect-error -- a network without a name
  assert.is((await failure(cleat.call('POST /v1/networks', { body: {} }))).code, 'BAD_REQUEST');
  assert.is(await cleat.call('GET /_ping'), 'OK');
  assert.match(await cleat.call('GET /metrics'), /^cleat_build_info/m);
});

client('one event after another, with parameters, headers and bodies where they belong', async () => {
  const network = await cleat.call('POST /v1/networks', {
    body: { name: 'back', subnets: [{ subnet: '10.90.0.0/24' }] },
  });
  assert.is(network.name, 'back');
  assert.is((await cleat.plan({ type: 'create', id: 'a', networks: on('back') })).to, 'created');
  await cleat.event({ type: 'create', id: 'a', networks: on('back') });
  await cleat.call('POST /v1/events', { body: { type: 'configure', id: 'a' }, Prefer: 'respond-async' });
  const up = await cleat.call('GET /v1/containers/{id}', { id: 'a', wait: 'up', timeout: 10_000 });
  assert.is(up.state, 'up');
  await cleat.event({ type: 'create', id: 'b', networks: {} });
  const both = await cleat.call('GET /v1/containers', { id: ['a', 'b', 'absent'] });
  assert.equal(both.map(({ id }) => id).sort(), ['a', 'b']);
  const lines = await cleat.lines('GET /v1/containers/{id}/export', { id: 'a' });
  const kinds: string[] = [];
  for await (const line of lines) kinds.push('kind' in line ? line.kind : 'header');
  assert.equal([kinds[0], kinds.at(-1)], ['header', 'end']);
  for (const id of ['a', 'b']) await cleat.event({ type: 'teardown', id });
  await Promise.all([cleat.gone('a'), cleat.gone('b')]);
  assert.is(await cleat.call('DELETE /v1/networks/{name}', { name: 'back' }), null);
});

client('events come as they are made, and each is answered before the next one', async () => {
  let answered = 0;
  async function* steps(): AsyncGenerator<LifecycleEvent> {
    for (const [n, type] of (['create', 'configure', 'teardown'] as const).entries()) {
      await until('the one before is answered', () => answered === n);
      yield type === 'create' ? { type, id: 'a', networks: {} } : { type, id: 'a' };
    }
  }
  for await (const { line, status } of cleat.stream(steps())) assert.equal([line, status], [++answered, 200]);
  assert.is(answered, 3);
  await cleat.gone('a');
});

client('who wants no more answers ends what makes the events, too', async () => {
  let isEnded = false;
  async function* endless(): AsyncGenerator<LifecycleEvent> {
    try {
      for (;;) {
        yield { type: 'configure', id: 'nobody' };
        await sleep(1);
      }
    } finally {
      isEnded = true;
    }
  }
  for await (const { status } of cleat.stream(endless())) {
    assert.is(status, 404);
    break;
  }
  await until('it has ended', () => isEnded);
});

client('a refusal has its code, what to do, and who has what was asked for', async () => {
  const port_mappings = [port(8080, 80)];
  for (const id of ['a', 'b']) await cleat.event({ type: 'create', id, networks: on('cleat'), port_mappings });
  await cleat.event({ type: 'configure', id: 'a' });
  const taken = await failure(cleat.event({ type: 'configure', id: 'b' }));
  assert.equal([taken.code, taken.owner], ['PORT_TAKEN', 'a']);
  assert.match(taken.hint ?? '', /another host port/);
  assert.is(taken.message, taken.error.message);
  for (const id of ['a', 'b']) await cleat.event({ type: 'teardown', id });
  await Promise.all([cleat.gone('a'), cleat.gone('b')]);
});

client('a deadline ends a wait with TIMEOUT, and a signal of the caller with its own reason', async () => {
  await cleat.event({ type: 'create', id: 'a', networks: {} });
  const wait = { id: 'a', wait: 'gone', timeout: 60_000 };
  assert.is((await failure(cleat.call('GET /v1/containers/{id}', wait, { deadlineMs: 100 }))).code, 'TIMEOUT');
  const reason = new Error('enough');
  const signal = AbortSignal.any([AbortSignal.timeout(50)]);
  const other = new AbortController();
  setTimeout(() => other.abort(reason), 50);
  const rejected = await cleat
    .call('GET /v1/containers/{id}', wait, { signal: other.signal })
    .catch((error: unknown) => error);
  assert.is(rejected, reason);
  const stream = cleat.notifications({ signal });
  assert.is((await stream.next().catch((error: Error) => error.name)) as string, 'TimeoutError');
  await cleat.event({ type: 'teardown', id: 'a' });
  await cleat.gone('a');
});

client('notifications go on when the daemon is started again, without a gap in what it has done since', async () => {
  const told: Told[] = [];
  const over = new AbortController();
  const following = (async () => {
    for await (const one of cleat.notifications({ signal: over.signal })) told.push(one);
  })().catch((error: unknown) => error);
  const has = (type: string) => told.some((one) => one.type === type);
  await until('it follows', async () => {
    await daemon.up('a', { networks: {} });
    await daemon.down('a');
    return has('done');
  });
  const firstRun = told.at(-1)?.event_id.split('-')[0];
  await daemon.kill();
  await daemon.start();
  await daemon.up('b', { networks: on('cleat') });
  await until('the second life is told', () => told.some((one) => one.type === 'done' && one.id === 'b'));
  const missed = told.find(({ type }) => type === 'missed');
  assert.is(missed?.type === 'missed' ? missed.why : '', 'restarted');
  const second = told.filter(({ event_id }) => event_id.split('-')[0] !== firstRun);
  assert.is(second[0]?.type, 'missed');
  assert.equal(
    second.map(({ event_id }) => Number(event_id.split('-')[1])),
    second.map((_, i) => i),
  );
  over.abort();
  await following;
  await daemon.down('b');
});

client('what was told after an event is told again to who names it, and the stream ends at its moment', async () => {
  const since = Date.now();
  await daemon.up('a', { networks: {} });
  await daemon.down('a');
  const all = await collected({ id: 'a', since, until: Date.now() });
  const [, second] = all;
  assert.equal(await collected({ id: 'a', after: second?.event_id ?? '', until: Date.now() }), all.slice(2));
});

async function collected(follow: Parameters<Cleat['notifications']>[0]): Promise<Told[]> {
  const all: Told[] = [];
  for await (const one of cleat.notifications(follow)) all.push(one);
  return all;
}

client('a request that may have been done is not sent again, a question is', async () => {
  const socket = `${mkdtempSync('/run/broken-')}/s`;
  const asked: string[] = [];
  const server = createServer(({ method = '', socket: to }, answer) => {
    asked.push(method);
    if (asked.length < 3) to.destroy();
    else answer.end('{"pid":7}');
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const broken = new Cleat({ socket, patienceMs: 2000 });
  assert.is((await failure(broken.event({ type: 'teardown', id: 'a' }))).code, 'UNREACHABLE');
  assert.is((await broken.call('GET /v1/version')).pid, 7);
  assert.equal(asked, ['POST', 'GET', 'GET']);
  server.close();
});

client('a daemon that does not come is waited for as long as was said', async () => {
  const absent = new Cleat({ socket: `${daemon.directory}/absent`, patienceMs: 200 });
  const began = performance.now();
  const refused = await failure(absent.event({ type: 'teardown', id: 'a' }));
  assert.is(refused.code, 'UNREACHABLE');
  assert.match(refused.message, /absent: there is no such socket/);
  assert.ok(performance.now() - began >= 200);
});

client('a reader that has enough ends its connection', async () => {
  const descriptors = () => readdirSync(`/proc/${daemon.pid}/fd`).length;
  const before = descriptors();
  for await (const one of cleat.notifications({ since: 0 })) {
    assert.ok(one.event_id);
    assert.ok(descriptors() > before);
    break;
  }
  await until('the daemon has as many descriptors as before', () => descriptors() <= before);
});

client.run();
