// slow: 20 s, each command is a process of its own, and Node takes a moment to start
/**
 * `cleat inspector` as a user starts it: against a daemon, through its restart, without one, with a file, as another user, and with
 * the client of @statelyai/inspect attached.
 */
import { createWebSocketReceiver, type StatelyInspectionEvent } from '@statelyai/inspect';
import { execFileSync, spawn, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { addressOf, ask, visit, type Visit } from '../harness/page.ts';
import { asUser } from '../harness/peer.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { Viewer } from '../harness/viewer.ts';
import { Shell, type Running } from './shell.ts';

requirePrivateNamespace();

const shell = new Shell();
const daemon = shell.api;
const started: Running[] = [];
const viewers: Viewer[] = [];
const command = suite('cleat inspector');

function start(...args: string[]): Running {
  const running = shell.start('inspector', ...args);
  running.ended.catch(() => {}); // those that are killed at the end
  started.push(running);
  return running;
}

async function page(...args: string[]): Promise<Visit> {
  return visit(await addressOf(start('--print-url', ...args)));
}

async function look(visited: Visit, last: string | null = null): Promise<Viewer> {
  const viewer = await Viewer.open(visited.where, last);
  viewers.push(viewer);
  return viewer;
}

command.before(() => daemon.start());
command.after.each(async () => {
  for (const viewer of viewers.splice(0)) await viewer.close();
  for (const { child } of started.splice(0)) child.kill('SIGKILL');
  await clear(daemon);
});
command.after(async () => void (await daemon.stop()));

command('the address is printed alone, leads to the page, and Ctrl-C ends it with 0', async () => {
  const running = start('--print-url');
  const url = await addressOf(running);
  assert.match(url.href, /^http:\/\/127\.0\.0\.1:\d+\/\?token=[\w-]{43}$/);
  const visited = await visit(url);
  assert.is((await visited.get('/')).status, 200);
  assert.equal(JSON.parse((await visited.get('/source.json')).text), { kind: 'daemon', read_only: false });
  assert.match((await visited.get('/v1/containers/none/machine')).text, 'NO_SUCH_CONTAINER');
  running.child.kill('SIGINT');
  const { code, stdout, stderr } = await running.ended;
  assert.is(code, 0);
  assert.is(stdout, `${url.href}\n`);
  assert.is(stderr, '');
});

command('the token is in no process list, file or log', async () => {
  const running = start();
  const url = await addressOf(running);
  const { token } = Object.fromEntries(url.searchParams) as { token: string };
  await visit(url);
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    for (const file of ['cmdline', 'environ']) assert.not.match(readOf(`/proc/${pid}/${file}`), token);
  }
  assert.not.match(running.so().stderr, token);
  assert.not.match(daemon.log(), token);
});

/** Returns the text of a file of a process; nothing if that has ended. */
function readOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

command('it listens on the loopback alone, and on the port that was asked for', async () => {
  const url = await addressOf(start('--print-url', '--port', '18090'));
  assert.is(url.port, '18090');
  const listening = execFileSync('ss', ['-Hltn', 'sport', '=', '18090'], { encoding: 'utf8' });
  assert.match(listening, /127\.0\.0\.1:18090/);
  assert.is(listening.trim().split('\n').length, 1);
  const { code, stderr } = await shell.cleat('inspector', '--print-url', '--port', '18090');
  assert.is(code, 1);
  assert.match(stderr, /^Error: the inspector cannot listen on 127\.0\.0\.1:18090: .*EADDRINUSE/);
  for (const port of ['x', '-1', '70000', '1e3'])
    assert.is((await shell.cleat('inspector', `--port=${port}`)).code, 2, port);
  assert.is((await shell.cleat('inspector', '--stately', 'file')).code, 2);
});

command('without a daemon it ends with 3 and says why', async () => {
  const { code, stdout, stderr } = await shell.cleat('inspector', '--socket', '/run/none.sock');
  assert.is(code, 3);
  assert.is(stdout, '');
  assert.match(stderr, /^Error: cleat does not answer at \/run\/none\.sock: there is no such socket\nHint: /);
});

command('an event that is sent from the page is done, and seen by it', async () => {
  await daemon.up('a', { networks: {} });
  const visited = await page();
  const viewer = await look(visited);
  assert.is(viewer.of('hello')[0]?.may_send, true);
  assert.is((await visited.send({ type: 'teardown', id: 'a' })).status, 200);
  await viewer.has('gone', ({ id }) => id === 'a');
  const refused = await visited.send({ type: 'teardown', id: 'none' });
  assert.is(refused.status, 404);
  assert.match(refused.text, 'NO_SUCH_CONTAINER');
});

command('--read-only sends none, and says so', async () => {
  const visited = await page('--read-only');
  assert.is((await look(visited)).of('hello')[0]?.may_send, false);
  assert.is((await visited.send({ type: 'create', id: 'b' })).status, 403);
  assert.is((await daemon.get('/v1/containers/b')).status, 404);
});

command('when the daemon ends the page is told, and goes on with the next one', async () => {
  const visited = await page();
  const viewer = await look(visited);
  await daemon.up('a', { networks: {} });
  await viewer.has('container', ({ state }) => state === 'up');
  const cut = await look(visited);
  await cut.close();
  await daemon.event({ type: 'connect', id: 'a', network: 'none' });
  const resumed = await look(visited, viewer.last);
  assert.is(resumed.of('hello')[0]?.resumed, true);
  await daemon.stop();
  for (const one of [viewer, resumed]) await until('the stream ends', () => one.over);
  const gone = await visited.get('/v1/inspector');
  assert.is(gone.status, 503);
  assert.is(gone.headers['retry-after'], '1');
  const { error } = JSON.parse(gone.text) as { error: { code: string; message: string; hint: string } };
  assert.is(error.code, 'UNREACHABLE');
  assert.match(error.message, /there is no such socket/);
  assert.is((await visited.get('/')).status, 200);
  await daemon.start();
  const again = await look(visited, viewer.last);
  assert.is(again.of('hello')[0]?.resumed, false);
  await again.has('containers', ([first]) => first?.id === 'a');
});

command('a viewer that has gone away is let go by the daemon too', async () => {
  const visited = await page();
  const before = connections();
  const viewer = await look(visited);
  await until('there is a stream', () => connections() > before);
  await viewer.close();
  await until('there is none', () => connections() === before);
});

/** Counts the connections to the daemon's socket. */
const connections = (): number =>
  readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .filter((line) => line.endsWith(daemon.socket)).length;

command('another user needs the right to connect, and has no more than that', async () => {
  const as = (gid: number, ...args: string[]): Running => {
    const words = [...asUser(1234, gid).slice(1), process.execPath, ...process.execArgv, PROGRAM, 'inspector', ...args];
    return starts(spawn('setpriv', words, { stdio: ['ignore', 'pipe', 'pipe'], env: shell.environment, cwd: '/' }));
  };
  const refused = as(1234);
  assert.is((await refused.ended).code, 3);
  assert.match(refused.so().stderr, /you may not open it/);
  const visited = await visit(await addressOf(as(0, '--print-url')));
  assert.match((await visited.get('/v1/containers/none/machine')).text, 'NO_SUCH_CONTAINER');
  // What only root may ask for is refused by the uid of the page server.
  const { status, text } = await visited.send({ type: 'create', id: 'a', netns: { mode: 'pid', pid: process.pid } });
  assert.is(status, 403, text);
  assert.match(text, 'netns.pid is not allowed for uid 1234');
});

const PROGRAM = join(import.meta.dirname, '../../bundle/cleat.cjs');

function starts(child: ReturnType<typeof spawn>): Running {
  const out = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name]?.setEncoding('utf8').on('data', (text: string) => (out[name] += text));
  const so = () => ({ code: child.exitCode, ...out });
  const running = { child, so, ended: once(child, 'close').then(so) };
  started.push(running);
  return running;
}

command('a browser is opened by a file that only the user can read, and never by root', async () => {
  const home = '/run/browser';
  for (const directory of [home, `${home}/bin`, `${home}/runtime`]) mkdirSync(directory, { recursive: true });
  execFileSync('chown', ['-R', '1234:0', home]);
  writeFileSync(
    `${home}/bin/xdg-open`,
    `#!/bin/sh\necho "$@" > ${home}/words\nstat -c '%a %u' "$1" > ${home}/mode\ncut -d' ' -f1,5 /proc/$$/stat > ${home}/group\ncp "$1" ${home}/opened\n`,
  );
  chmodSync(`${home}/bin/xdg-open`, 0o755);
  const env = {
    ...shell.environment,
    DISPLAY: ':0',
    PATH: `${home}/bin:${process.env.PATH}`,
    XDG_RUNTIME_DIR: `${home}/runtime`,
  };
  const words = [...asUser(1234, 0).slice(1), process.execPath, ...process.execArgv, PROGRAM, 'inspector'];
  const running = starts(spawn('setpriv', words, { stdio: ['ignore', 'pipe', 'pipe'], env, cwd: '/' }));
  const url = await addressOf(running);
  await until(
    'a browser is opened',
    () => existsSync(`${home}/opened`) && readFileSync(`${home}/opened`, 'utf8').includes('html'),
  );
  assert.match(readFileSync(`${home}/words`, 'utf8'), /^\/run\/browser\/runtime\/cleat-inspector-\w+\/open\.html\n$/);
  assert.is(readFileSync(`${home}/mode`, 'utf8'), '600 1234\n');
  assert.match(readFileSync(`${home}/group`, 'utf8'), /^(\d+) \1\n$/, 'Ctrl-C would end it');
  assert.match(readFileSync(`${home}/opened`, 'utf8'), `url=${url.href}"`);
  await visit(url);
  await until('the file is gone', () => readdirSync(`${home}/runtime`).length === 0);
  running.child.kill('SIGTERM');
  assert.is((await running.ended).code, 0);
  execFileSync('rm', [`${home}/words`]);
  const options: SpawnOptions = { stdio: ['ignore', 'pipe', 'pipe'], env: { ...env, XDG_RUNTIME_DIR: '/run/none' } };
  const without = starts(spawn('setpriv', words, { ...options, cwd: '/' }));
  await addressOf(without);
  await until('it says so, and goes on', () => /^No browser could be opened.*\nCtrl-C/.test(without.so().stderr));
  const root = starts(
    spawn(process.execPath, [...process.execArgv, PROGRAM, 'inspector'], { stdio: ['ignore', 'pipe', 'pipe'], env }),
  );
  await addressOf(root);
  await until('it is ready', () => root.so().stderr.includes('Ctrl-C'));
  assert.not(existsSync(`${home}/words`));
});

command('a file is shown without a daemon and without rights; what is no journal is refused', async () => {
  const file = `${daemon.directory}/web.ndjson`;
  const refuse = async (text: string | null, why: RegExp) => {
    if (text !== null) writeFileSync(file, text);
    const { code, stderr } = await shell.cleat('inspector', file, '--socket', '/run/none.sock');
    assert.is(code, 1, stderr);
    assert.match(stderr, why);
    assert.match(stderr, /\nHint: .*cleat export/);
  };
  await refuse(null, /^Error: \S+ cannot be read: ENOENT/);
  await refuse('', /is empty/);
  await refuse('{"a":1}\nno\n{"b":1}\n', /^Error: line 2 of \S+ is no JSON object/);
  await refuse('[1]\n{"b":1}\n', /line 1/);
  await refuse('{'.repeat(17 << 20), /has more than 16777216 bytes/);
  assert.match((await shell.cleat('inspector', '/dev/null')).stderr, /is no file/);
  writeFileSync(file, '{"version":1}\n{"t":1}\n{"t":2,"ev');
  const running = start(file, '--print-url', '--socket', '/run/none.sock');
  const visited = await visit(await addressOf(running));
  assert.equal(JSON.parse((await visited.get('/source.json')).text), { kind: 'file', name: 'web.ndjson', cut: true });
  assert.is((await visited.get('/file.json')).text, '{"version":1}\n{"t":1}\n');
  assert.match(running.so().stderr, /^Warning: the last line of the journal is cut off/);
  assert.is((await visited.get('/v1/inspector')).status, 404);
});

command('the client of @statelyai/inspect gets every actor, event and snapshot', async () => {
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.50.0.0/24' }] });
  await daemon.up('old', { networks: on('web') });
  const url = await addressOf(start('--stately'));
  assert.match(url.href, /^ws:\/\/127\.0\.0\.1:\d+\/\?token=[\w-]{43}$/);
  const events: StatelyInspectionEvent[] = [];
  const subscription = createWebSocketReceiver({ server: url.href }).subscribe((event) => void events.push(event));
  await until('the first actor is told', () => events.length > 0);
  await daemon.up('new', { networks: on('web') });
  const actor = (name: string) => events.find((event) => event.type === '@xstate.actor' && event.name === name);
  const snapshots = (name: string) =>
    events.flatMap((event) =>
      event.type === '@xstate.snapshot' && event.sessionId === actor(name)?.sessionId
        ? [(event.snapshot as unknown as { value: unknown }).value]
        : [],
    );
  await until('it is up', () => snapshots('new').includes('up'));
  for (const name of ['old', 'web']) {
    const told = actor(name) as { definition?: string; snapshot: { value: unknown; context: object } } | undefined;
    assert.is(told?.snapshot.value, 'up', name);
    const definition = JSON.parse(told?.definition ?? '{}') as { id: string; states: object };
    assert.is(definition.id, name === 'old' ? 'container' : 'network');
    assert.ok('up' in definition.states);
  }
  const leasesOf = (event: StatelyInspectionEvent | undefined) =>
    (event as unknown as { snapshot: { context: { leases: Record<string, { network: string }> } } }).snapshot.context
      .leases;
  const web = events.filter(({ type, sessionId }) => type !== '@xstate.event' && sessionId === actor('web')?.sessionId);
  for (const [event, ids] of [
    [web[0], ['old']],
    [web.at(-1), ['old', 'new']],
  ] as const)
    assert.equal(
      Object.entries(leasesOf(event)).map(([owner, { network }]) => [owner.split(':')[0], network]),
      ids.map((id) => [id, 'web']),
    );
  const attachment = actor('attachment') as { parentId?: string; sessionId: string } | undefined;
  assert.is(attachment?.parentId, actor('new')?.sessionId);
  const configure = events.find((event) => event.type === '@xstate.event' && event.event.type === 'configure');
  assert.is(configure?.sessionId, actor('new')?.sessionId);
  // The attachment's machine answers the container's.
  assert.ok(events.some((event) => event.type === '@xstate.event' && event.sourceId === attachment?.sessionId));
  assert.ok(events.every(({ _version, createdAt }) => _version === '0.7.2' && Number(createdAt) > 0));
  subscription.unsubscribe();
});

command('a WebSocket needs the token, and a page of another host cannot have one', async () => {
  const url = await addressOf(start('--stately'));
  const upgrade = async (path: string, other: Record<string, string>): Promise<number> => {
    const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', ...other }; // prettier-ignore
    const outgoing = request({ host: '127.0.0.1', port: url.port, path, headers, agent: false }).end();
    return new Promise((resolve, reject) => {
      outgoing.once('error', reject);
      outgoing.once('response', (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      });
      outgoing.once('upgrade', (answer, socket) => {
        socket.destroy();
        const accepted = answer.headers['sec-websocket-accept'] === 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='; // RFC 6455, 1.3
        resolve(accepted ? (answer.statusCode ?? 0) : 0);
      });
    });
  };
  const own = `/${url.search}`;
  assert.is(await upgrade(own, {}), 101);
  assert.is(await upgrade(own, { origin: 'http://localhost:3000' }), 101);
  assert.is(await upgrade(own, { origin: 'https://evil.example' }), 403);
  assert.is(await upgrade(own, { origin: 'null' }), 403);
  assert.is(await upgrade(own, { host: 'evil.example' }), 403);
  assert.is(await upgrade('/', {}), 401);
  assert.is(await upgrade('/?token=x', {}), 401);
  assert.is(await upgrade(own, { 'sec-websocket-version': '8' }), 400);
  assert.is(await upgrade(own, { 'sec-websocket-key': 'x' }), 400);
  assert.is((await ask(url, 'GET', own, {})).status, 426);
  // A client that breaks the protocol (a frame without a mask) is disconnected, and nobody else.
  const client = connect(Number(url.port), '127.0.0.1');
  client.write(
    `GET ${own} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  client.on('error', () => {});
  client.on('data', () => client.write(Buffer.from([0x81, 0x01, 0x61])));
  await once(client, 'close');
  assert.is(await upgrade(own, {}), 101);
});

command.run();
