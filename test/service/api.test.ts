/**
 * The API as a program uses it: events in and out as streams, with and without waiting, history, its own description,
 * and access rights.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Notification } from '../../state/answers/notification.ts';
import type { JournalEntry } from '../../state/answers/container/history.ts';
import { type Body, on, port, TestDaemon } from '../harness/daemon.ts';
import { asUser, sayAs } from '../harness/peer.ts';
import { addNetns, endSleepers, sleeper } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const api = suite('api');
const NDJSON = { 'content-type': 'application/x-ndjson' };

interface Line {
  line: number;
  status: number;
  body: Body;
}

api.before(async () => {
  daemon.drift = ['port=ignore']; // what a test removes is not restored
  await daemon.start();
});
api.after(async () => {
  endSleepers();
  await daemon.stop();
});

const lines = (...events: (object | string)[]): string =>
  events.map((event) => `${typeof event === 'string' ? event : JSON.stringify(event)}\n`).join('');

/** Sends many events in one request and returns the answers in the order they came. */
async function stream(...events: (object | string)[]): Promise<Line[]> {
  const { status, text } = await daemon.request('POST', '/v1/events', lines(...events), NDJSON);
  assert.is(status, 200, text);
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

/** Collects the daemon's events from now on. */
async function follow(query = ''): Promise<{ seen: Notification[]; stop: () => void }> {
  const answer = await open('GET', `/v1/events${query}`);
  const seen: Notification[] = [];
  const reader = createInterface({ input: answer });
  reader.on('line', (line) => seen.push(JSON.parse(line) as Notification)).on('error', () => {});
  return { seen, stop: () => answer.destroy() };
}

async function open(method: string, path: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  const outgoing = request({ socketPath: daemon.socket, method, path, headers, agent: false });
  outgoing.end();
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  answer.on('error', () => {});
  return answer;
}

// --- Streams ----------------------------------------------------------------------------------------------------

api('a stream of events runs in order for one container, concurrently for different ones', async () => {
  const answers = await stream(
    { type: 'create', id: 'a', networks: on('cleat') },
    { type: 'configure', id: 'a' },
    { type: 'publish', id: 'a', port_mappings: [port(8080, 80)] },
    { type: 'create', id: 'b', networks: {} },
    { type: 'teardown', id: 'a' },
    { type: 'teardown', id: 'b' },
  );
  assert.equal(
    answers.map(({ status }) => status),
    [200, 200, 200, 200, 200, 200],
  );
  const order = answers.map(({ line }) => line);
  assert.equal(
    order.filter((line) => [1, 2, 3, 5].includes(line)),
    [1, 2, 3, 5],
  );
  assert.ok(order.indexOf(4) < order.indexOf(5), `b had to wait for a: ${order.join(' ')}`);
  const states = answers.sort((a, b) => a.line - b.line).map(({ body }) => body.state);
  assert.equal(states.slice(0, 4), ['created', 'up', 'up', 'created']);
  await Promise.all([daemon.gone('a'), daemon.gone('b')]);
});

api('a bad line among good ones gets its own error', async () => {
  const answers = await stream(
    { type: 'create', id: 'a', networks: {} },
    '{"type":"configure",',
    '',
    { type: 'dance', id: 'a' },
    { type: 'configure', id: 'nobody' },
    { type: 'configure', id: 'a' },
    { type: 'teardown', id: 'a' },
  );
  const codes = answers.sort((a, b) => a.line - b.line).map(({ status, body }) => body.error?.code ?? status);
  assert.equal(codes, [200, 'BAD_REQUEST', 'BAD_REQUEST', 'NO_SUCH_CONTAINER', 200, 200]);
  for (const { body } of answers) if (body.error !== undefined) assert.ok(body.error.hint);
  await daemon.gone('a');
});

api('an open stream answers each event before the next is sent', async () => {
  const outgoing: ClientRequest = request({
    socketPath: daemon.socket,
    method: 'POST',
    path: '/v1/events',
    headers: NDJSON,
  });
  outgoing.write(lines({ type: 'create', id: 'a', networks: {} }));
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  const reader = createInterface({ input: answer })[Symbol.asyncIterator]();
  const next = async (): Promise<Line> => JSON.parse((await reader.next()).value as string) as Line;
  assert.is((await next()).body.state, 'created');
  for (const [type, state] of [
    ['configure', 'up'],
    ['teardown', undefined],
  ] as const) {
    outgoing.write(lines({ type, id: 'a' }));
    const { status, body } = await next();
    assert.is(status, 200);
    if (state !== undefined) assert.is(body.state, state);
  }
  outgoing.end();
  assert.is((await reader.next()).done, true);
  await daemon.gone('a');
});

api('the daemon emits what happens: requested, the states passed, then done or failed', async () => {
  const { seen, stop } = await follow();
  const one = await follow('?id=b');
  await daemon.network({ name: 'brief' });
  await daemon.up('a', { networks: on('cleat') });
  await daemon.done({ type: 'create', id: 'b', networks: on('brief') });
  await daemon.request('DELETE', '/v1/networks/brief');
  await daemon.event({ type: 'configure', id: 'b' });
  await daemon.down('a', 'b');
  await until('the last event', () =>
    ['a', 'b'].every((id) => seen.some((event) => event.id === id && event.type === 'state' && event.to === 'gone')),
  );
  stop();
  one.stop();
  const of = (id: string) => seen.filter((event) => event.id === id);
  const words = of('a').flatMap((event) => ('event' in event ? [`${event.type} ${event.event}`] : []));
  assert.equal(words, [
    'requested create',
    'done create',
    'requested configure',
    'done configure',
    'requested teardown',
    'done teardown',
  ]);
  const states = of('a').flatMap((event) => (event.type === 'state' ? [event.to.split('.')[0]] : []));
  assert.equal([...new Set(states)].slice(0, 4), ['creating', 'created', 'configuring', 'up']);
  const failed = of('b').find((event) => event.type === 'failed');
  assert.is(failed?.type === 'failed' ? failed.fault.code : '', 'NO_SUCH_NETWORK');
  assert.not(of('b').some((event) => event.type === 'done' && event.event === 'configure'));
  assert.ok(one.seen.length > 0 && one.seen.every(({ id }) => id === 'b'));
});

api('changes of one network are emitted with its name, and shown as the last operation', async () => {
  const { seen, stop } = await follow('?id=n');
  const { id } = await daemon.network({ name: 'side' });
  await daemon.up('n', { networks: on('cleat') });
  const options = { interface_name: 'lo' };
  const refused = await daemon.event({ type: 'connect', id: 'n', network: 'side', options });
  assert.is(refused.body.error?.code, 'INTERFACE_TAKEN');
  const now = await daemon.done({ type: 'connect', id: 'n', network: id });
  assert.equal(now.last_operation, { type: 'connect', network: 'side', fault: null });
  await daemon.done({ type: 'disconnect', id: 'n', network: 'side' });
  await until('the last event', () => seen.some((event) => event.type === 'done' && event.event === 'disconnect'));
  stop();
  const told = seen.flatMap((event) =>
    'event' in event && event.event.endsWith('connect') ? [`${event.type} ${event.event} ${event.network}`] : [],
  );
  assert.equal(told, [
    'requested connect side',
    'failed connect side',
    'requested connect side',
    'done connect side',
    'requested disconnect side',
    'done disconnect side',
  ]);
  await daemon.down('n');
});

api('a teardown that leaves nothing, of a container without networks, is emitted too', async () => {
  const { seen, stop } = await follow('?id=e');
  const words = () => seen.flatMap((event) => ('event' in event ? [`${event.type} ${event.event}`] : []));
  await daemon.done({ type: 'create', id: 'e', networks: {} });
  await daemon.down('e');
  await until('the last event', () => words().at(-1) === 'done teardown');
  stop();
  assert.equal(words(), ['requested create', 'done create', 'requested teardown', 'done teardown']);
});

api('the events are available as server-sent events', async () => {
  const answer = await open('GET', '/v1/events', { accept: 'text/event-stream' });
  assert.is(answer.headers['content-type'], 'text/event-stream');
  let text = '';
  answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  await daemon.up('a', { networks: {} });
  await until('the event', () => /event: done\ndata: \{[^\n]*"event":"configure"[^\n]*\}\n\n/.test(text));
  answer.destroy();
  await daemon.down('a');
});

api('a reader that does not read is cut off, and affects nobody', async () => {
  const id = 'a'.repeat(100);
  await daemon.up(id, { networks: {} });
  const slow = await open('GET', '/v1/events');
  const closed = new Promise((resolve) => slow.once('close', resolve));
  slow.pause();
  const { seen, stop } = await follow(`?id=${id}`);
  // 2 MB of events: more than the daemon buffers for a reader, and than the socket holds.
  const [batch, batches] = [300, 20];
  for (let n = 1; n <= batches; n++) {
    const answers = await stream(...Array.from({ length: batch }, () => ({ type: 'configure', id })));
    assert.ok(answers.every(({ status }) => status === 200));
    await until('the fast reader', () => seen.filter(({ type }) => type === 'done').length === n * batch);
  }
  stop();
  slow.resume();
  await closed;
  assert.is(slow.complete, false);
  await daemon.down(id);
});

// --- Waiting ----------------------------------------------------------------------------------------------------

api('respond-async answers 202 as soon as the intent is on disk', async () => {
  const later = { prefer: 'respond-async' };
  const create = await daemon.event({ type: 'create', id: 'a', networks: on('cleat') }, later);
  assert.is(create.status, 202);
  assert.is((await daemon.get('/v1/containers/a?wait=created&timeout=5000')).body.state, 'created');
  const configure = await daemon.event({ type: 'configure', id: 'a' }, later);
  assert.is(configure.status, 202);
  assert.match(configure.body.state ?? '', /^configuring/);
  const up = await daemon.get('/v1/containers/a?wait=up&timeout=5000');
  assert.is(up.body.state, 'up');
  const teardown = await daemon.event({ type: 'teardown', id: 'a' }, later);
  assert.is(teardown.status, 202);
  assert.is((await daemon.get('/v1/containers/a?wait=gone&timeout=5000')).status, 200);
});

api('a wait that is not fulfilled ends at its deadline and names the state', async () => {
  await daemon.up('a', { networks: {} });
  const started = performance.now();
  const { status, body } = await daemon.get('/v1/containers/a?wait=gone&timeout=100');
  assert.is(`${status} ${body.error?.code}`, '504 WAIT_TIMEOUT');
  assert.match(body.error?.hint ?? '', /^Nothing was changed/);
  assert.match(body.error?.message ?? '', /is up, not gone/);
  assert.ok(performance.now() - started >= 99);
  await daemon.down('a');
});

// --- Answers ----------------------------------------------------------------------------------------------------

api('the history of a container has every state, where from, and how long', async () => {
  await daemon.up('a', { networks: on('cleat') });
  const { body } = await daemon.get<JournalEntry[]>('/v1/containers/a/history');
  const own = body.filter(({ machine }) => machine === 'container');
  assert.is(own[0]?.to, 'creating');
  assert.is(own.at(-1)?.to, 'up');
  own.slice(1).forEach(({ from }, i) => assert.is(from, own[i]?.to));
  assert.ok(body.some(({ machine, to }) => machine === 'attachment' && to === 'addressing'));
  assert.ok(body.every(({ t, ms }) => t > 1e12 && ms >= 0));
  await daemon.down('a');
});

api('version, doctor and audit are answered', async () => {
  const version = await daemon.get<Record<string, unknown>>('/v1/version');
  assert.equal(Object.keys(version.body).sort(), ['api', 'boot_id', 'instance', 'netns', 'pid', 'version']);
  assert.is(version.body.pid, daemon.pid);
  const doctor = await daemon.get<{ checks: { name: string; ok: boolean; text: string }[] }>('/v1/doctor');
  assert.ok(doctor.body.checks.every(({ name, text }) => name !== '' && text !== ''));
  assert.ok(doctor.body.checks.filter(({ name }) => name === 'directory').every(({ ok }) => ok));
  const programs = doctor.body.checks.filter(({ name }) => ['slirp4netns', 'pasta'].includes(name));
  assert.equal(
    programs.map(({ ok, text }) => [ok, text]),
    [
      [true, '/usr/bin/slirp4netns can lead containers out'],
      [true, '/usr/bin/pasta can lead containers out'],
    ],
  );
  await daemon.up('a', { networks: on('cleat'), port_mappings: [port(8080, 80)] });
  const audit = await daemon.get<{ clean: boolean; containers: number; ports: number }>('/v1/audit');
  assert.is(audit.body.clean, true, audit.text);
  assert.equal([audit.body.containers, audit.body.ports], [1, 1]);
  execFileSync('nft', ['delete', 'element', 'inet', table(), 'ports4', '{ tcp . 8080 }']);
  const broken = await daemon.get<{ findings: { kind: string; problem: string; owner: string }[] }>('/v1/audit');
  assert.equal(
    broken.body.findings.map(({ kind, problem, owner }) => [kind, problem, owner]),
    [['port', 'missing', 'a']],
  );
  await daemon.done({ type: 'reload', id: 'a' });
  assert.is((await daemon.get<{ clean: boolean }>('/v1/audit')).body.clean, true);
  await daemon.down('a');
});

api('the description of the API is whole: every reference leads somewhere, every route is there', async () => {
  const { body, text } = await daemon.get<{ openapi: string; paths: Record<string, object> }>('/v1/openapi.json');
  assert.match(body.openapi, /^3\.1\./);
  const refs = [...text.matchAll(/"\$ref":"(#[^"]*)"/g)].map((match) => match[1] ?? '');
  assert.ok(refs.length > 0);
  for (const ref of new Set(refs)) {
    const found = ref
      .slice(2)
      .split('/')
      .reduce<unknown>((node, key) => (node as Record<string, unknown> | undefined)?.[key], body);
    assert.ok(found !== undefined, `${ref} leads nowhere`);
  }
  const paths = Object.entries(body.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path}`),
  );
  for (const route of [
    'post /v1/events',
    'get /v1/events',
    'get /v1/containers/{id}',
    'get /v1/containers/{id}/stats',
    'get /v1/stats',
    'delete /v1/networks/{name}',
  ]) {
    assert.ok(paths.includes(route), route);
  }
});

// --- Who may ----------------------------------------------------------------------------------------------------

api('the socket is for root and its group, and the directories are for root', () => {
  const mode = (path: string) => (statSync(path).mode & 0o7777).toString(8);
  assert.is(mode(daemon.socket), '660');
  assert.is(mode(daemon.runDir), '751');
  assert.is(mode(daemon.stateDir), '700');
  assert.is(mode(daemon.netnsDir), '711');
});

const as = (uid: number, gid: number, event: object): string => sayAs(daemon, asUser(uid, gid), event);

api('a user of the group may give a container a network, but not name paths, processes or outsides', async () => {
  const path = addNetns('theirs');
  const process_ = await sleeper();
  const create = { type: 'create', id: 'a' };
  assert.is(as(65_534, 0, { ...create, networks: on('cleat') }), '200 created');
  assert.is(as(65_534, 0, { type: 'configure', id: 'a' }), '200 up');
  assert.match(as(65_534, 0, { type: 'teardown', id: 'a' }), /^200 (draining|releasing|gone)$/);
  await daemon.gone('a');
  for (const asked of [
    { netns: { mode: 'path', path } },
    { netns: { mode: 'pid', pid: process_.pid } },
    { bound_to: process_.pid },
    { exit_fd: { pid: process_.pid, fd: 0 } },
    { outside: path },
  ]) {
    assert.is(as(65_534, 0, { ...create, ...asked }), '403 NOT_ALLOWED');
    assert.is((await daemon.get('/v1/containers/a')).status, 404);
  }
  process_.kill('SIGKILL');
});

api('other users do not get in', () => {
  assert.is(as(65_534, 65_534, { type: 'create', id: 'a' }), 'EACCES');
});

function table(): string {
  return /table inet (cleat-\w+)/.exec(execFileSync('nft', ['list', 'tables'], { encoding: 'utf8' }))?.[1] ?? '';
}

api.run();
