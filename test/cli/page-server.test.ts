/**
 * The page server against attackers who send whatever bytes they like: names that were made to lead to it (DNS rebinding), other
 * origins, guessed and used tokens, forged events, paths beyond the list. What reaches the daemon is what a stand-in for it sees.
 *
 * Limits: a browser's own part (which headers and cookies it sends) is not tested here.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createPageServer, type Source } from '../../cli/page/page-server.ts';
import { Session } from '../../cli/page/session.ts';
import { scratch } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const socket = `${scratch()}/cleat.sock`;
const reached: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[] = [];
const standIn = createServer((request, answer) => void answered(request, answer));

async function answered(request: IncomingMessage, answer: ServerResponse): Promise<void> {
  const { method = '', url = '', headers } = request;
  reached.push({ method, url, headers, body: (await request.toArray()).join('') });
  answer.writeHead(200, { 'content-type': 'application/json', 'x-secret': 'of the daemon' }).end('{"daemon":true}');
}

const text = (content: string, type: string) => ({ type, content: Buffer.from(content), tag: `"${content.length}"` });
const PAGE = new Map([
  ['/', text('<!doctype html>the page', 'text/html; charset=utf-8')],
  ['/main.js', text('void 0', 'text/javascript; charset=utf-8')],
]);

let server: Server;
let session: Session;
let port = 0;
let cookie = '';

async function serve(source: Source): Promise<void> {
  session = new Session();
  server = createPageServer(session, source, PAGE);
  server.listen({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  ({ port } = server.address() as AddressInfo);
  cookie = '';
}

interface Reply {
  status: number;
  head: string;
  body: string;
}

/** Sends these bytes; resolves with what comes until the server closes. */
async function raw(bytes: string): Promise<Reply> {
  const client = connect(port, '127.0.0.1');
  client.on('error', () => {});
  client.write(bytes);
  let said = '';
  client.setEncoding('utf8').on('data', (chunk: string) => (said += chunk));
  await once(client, 'close');
  const [head = '', ...body] = said.split('\r\n\r\n');
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]), head, body: body.join('\r\n\r\n') };
}

type Sent = Record<string, string | null>;

/** Sends a request of the page itself; headers of `other` replace its own, null leaves one out. */
function ask(path: string, other: Sent = {}, method = 'GET', body = ''): Promise<Reply> {
  const own: Sent = {
    host: `127.0.0.1:${port}`,
    cookie: cookie === '' ? null : cookie,
    'sec-fetch-site': 'same-origin',
    'sec-fetch-mode': 'cors',
    ...(method === 'POST'
      ? {
          origin: `http://127.0.0.1:${port}`,
          'content-type': 'application/json',
          'content-length': String(body.length),
        }
      : {}),
    connection: 'close',
    ...other,
  };
  const lines = Object.entries(own).flatMap(([name, value]) => (value === null ? [] : [`${name}: ${value}\r\n`]));
  return raw(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
}

async function enter(): Promise<void> {
  const { head } = await ask(`/?token=${session.token}`, { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' });
  cookie = /^set-cookie: ([^;]+)/im.exec(head)?.[1] ?? '';
}

const server_ = suite('page server');

server_.before(async () => {
  standIn.listen(socket);
  await once(standIn, 'listening');
});
server_.before.each(async () => {
  reached.length = 0;
  await serve({ kind: 'daemon', socket, readOnly: false });
});
server_.after.each(() => {
  server.closeAllConnections();
  server.close();
});
server_.after(() => {
  standIn.closeAllConnections();
  standIn.close();
});

server_('the token is exchanged for a cookie, once, and leaves the address', async () => {
  const { token } = session;
  assert.ok(Buffer.from(token, 'base64url').length === 32, token);
  const first = await ask(`/?token=${token}`, { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' });
  assert.is(first.status, 303);
  assert.match(first.head, /^location: \/\r?$/im);
  const [, set = ''] = /^set-cookie: (.*?)\r?$/im.exec(first.head) ?? [];
  assert.match(set, /^cleat-inspector-[0-9a-f]{8}=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/);
  assert.not.match(first.head + first.body, token);
  cookie = set.split(';')[0] ?? '';
  const page = await ask('/', { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' });
  assert.is(page.status, 200);
  assert.match(page.body, 'the page');
  for (const one of [await ask('/main.js'), await ask('/source.json'), page]) {
    assert.match(one.head, /^referrer-policy: no-referrer/im);
    assert.match(one.head, /^x-content-type-options: nosniff/im);
    assert.match(one.head, /^content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; /im);
    assert.match(one.head, /frame-ancestors 'none'/);
    assert.not.match(one.head, /access-control/i);
    assert.not.match(one.head + one.body, token);
  }
  // The same browser may follow the link again; another one may not.
  assert.is((await ask(`/?token=${token}`)).status, 303);
  cookie = '';
  const other = await ask(`/?token=${token}`);
  assert.is(other.status, 401);
  assert.not.match(other.head, /set-cookie/i);
  assert.not.match(other.body, token);
});

server_('without the cookie there is nothing, whatever is guessed', async () => {
  await enter();
  const [name = '', value = ''] = cookie.split('=');
  const flipped = `${value.startsWith('A') ? 'B' : 'A'}${value.slice(1)}`;
  const guesses = ['', name, `${name}=`, `${name}=${flipped}`, `${name}=${value}x`, `${name}=${value.slice(1)}`, value];
  for (const guess of guesses) {
    for (const path of ['/', '/main.js', '/source.json', '/v1/containers/web/machine', '/v1/inspector', '/nothing']) {
      const { status, head, body } = await ask(path, { cookie: guess === '' ? null : guess });
      assert.is(status, 401, `${guess} ${path}: ${head}${body}`);
      assert.not.match(head, /set-cookie/i);
    }
    assert.is((await ask('/v1/events', { cookie: guess === '' ? null : guess }, 'POST', '{}')).status, 401);
  }
  assert.is((await ask('/', { cookie: `other=1; ${cookie}; more=2` })).status, 200);
  server.close();
  await serve({ kind: 'daemon', socket, readOnly: false });
  for (const guess of ['', 'x', session.token.slice(1), `${session.token}x`, '%00'])
    assert.is((await ask(`/?token=${guess}`)).status, 401, guess);
  assert.equal(reached, []);
});

server_('a name that was made to lead here is refused, with or without the cookie', async () => {
  await enter();
  const rebound = ['evil.example', `evil.example:${port}`, 'localhost.evil.example', '127.0.0.1.evil.example', '127.0.0.1@evil',
    `127.0.0.1:${port}@evil`, '0.0.0.0', '127.0.0.2', '[::]', 'localhost:', 'localhost:x', '2130706433', '127.1', '']; // prettier-ignore
  for (const host of rebound) {
    for (const path of ['/', '/v1/containers/web/machine']) {
      const { status } = await ask(path, { host, origin: `http://${host}` });
      assert.is(status, 421, `${host} ${path}`);
    }
  }
  assert.is((await ask('/', { host: null })).status, 400);
  assert.is((await ask(`/?token=${session.token}`, { host: 'evil.example', cookie: null })).status, 421);
  // Whoever comes through a tunnel comes by another port.
  for (const host of ['localhost:9000', '127.0.0.1:9000', '[::1]:9000', 'LOCALHOST:9000', 'localhost'])
    assert.is((await ask('/', { host })).status, 200, host);
  assert.equal(reached, []);
});

server_('another origin reaches nothing, not even with the cookie', async () => {
  await enter();
  const origins = ['http://evil.example', 'null', `http://127.0.0.1:${port + 1}`, `https://127.0.0.1:${port}`, `http://localhost:${port}`, '']; // prettier-ignore
  for (const origin of origins) {
    for (const path of ['/v1/containers/web/machine', '/v1/inspector', '/main.js', '/source.json'])
      assert.is((await ask(path, { origin })).status, 403, `${origin} ${path}`);
    assert.is((await ask('/v1/events', { origin }, 'POST', '{}')).status, 403, origin);
  }
  // What a browser asks for without a script: an image, a style, a frame, a link.
  for (const site of ['cross-site', 'same-site']) {
    for (const path of ['/v1/containers/web/machine', '/v1/inspector', '/main.js'])
      for (const mode of ['no-cors', 'navigate', 'websocket'])
        assert.is(
          (await ask(path, { 'sec-fetch-site': site, 'sec-fetch-mode': mode })).status,
          403,
          `${site} ${mode} ${path}`,
        );
    const form = { 'sec-fetch-site': site, 'sec-fetch-mode': 'navigate', origin: 'http://evil.example' };
    assert.is((await ask('/v1/events', form, 'POST', '{}')).status, 403);
  }
  assert.is(
    (await ask('/v1/containers/web/machine', { 'access-control-request-method': 'POST' }, 'OPTIONS')).status,
    405,
  );
  assert.equal(reached, []);
});

server_('a link on another site leads to the page, when the page itself asks', async () => {
  await enter();
  const led = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', cookie: null };
  const { status, body } = await ask('/', led);
  assert.is(status, 200);
  assert.match(body, /^<!doctype html><meta http-equiv="refresh" content="0;url=\/">/);
  assert.not.match(body, 'the page');
  assert.is((await ask('/', { 'sec-fetch-mode': 'navigate', cookie: null })).status, 401); // and not for ever
});

server_('an event goes on as the page has sent it, and in no other form', async () => {
  await enter();
  const event = '{"type":"teardown","id":"web"}';
  const { status, body, head } = await ask('/v1/events', {}, 'POST', event);
  assert.is(status, 200, head);
  assert.match(body, '{"daemon":true}');
  assert.not.match(head, /x-secret/i);
  const refused: [status: number, Sent][] = [
    [403, { origin: null }],
    [415, { 'content-type': null }],
    [415, { 'content-type': 'text/plain' }],
    [415, { 'content-type': 'application/x-www-form-urlencoded' }],
    [415, { 'content-type': 'application/x-ndjson' }],
    [415, { 'content-type': 'text/plain; x=application/json' }],
  ];
  for (const [expected, other] of refused)
    assert.is((await ask('/v1/events', other, 'POST', event)).status, expected, JSON.stringify(other));
  for (const path of [
    '/v1/audit/repair',
    '/v1/networks',
    '/v1/containers/web/machine',
    '/',
    '/v1/events/',
    '//v1/events',
  ])
    assert.is((await ask(path, {}, 'POST', event)).status, 404, path);
  for (const method of ['PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS', 'TRACE'])
    assert.is((await ask('/v1/events', {}, method)).status, 405, method);
  assert.is(reached.length, 1);
  assert.is(reached[0]?.body, event);
  assert.is(reached[0]?.method, 'POST');
  assert.equal(Object.keys(reached[0]?.headers ?? {}).sort(), ['connection', 'content-length', 'content-type', 'host']);
});

server_('a body that is too long does not go on, announced or not', async () => {
  await enter();
  const long = `{"id":"${'x'.repeat(70_000)}"}`;
  assert.is((await ask('/v1/events', {}, 'POST', long)).status, 413);
  const chunks = `${long.length.toString(16)}\r\n${long}\r\n0\r\n\r\n`;
  assert.is(
    (await ask('/v1/events', { 'transfer-encoding': 'chunked', 'content-length': null }, 'POST', chunks)).status,
    413,
  );
  assert.equal(reached, []);
});

server_('only what the page needs goes on, by a path that is made anew', async () => {
  await enter();
  for (const path of ['/v1/containers/web/machine', '/v1/containers/a%2Fb/export'])
    assert.is((await ask(`${path}?wait=gone&x=1`)).status, 200, path);
  assert.is((await ask('/v1/inspector?last=abc-5&other=1')).status, 200);
  assert.is((await ask('/v1/inspector', { 'last-event-id': 'abc-6' })).status, 200);
  assert.is((await ask('/v1/inspector', { 'last-event-id': 'a b' })).status, 200);
  assert.equal(
    reached.map(({ url, headers }) => `${url} ${String(headers['last-event-id'])}`),
    [
      '/v1/containers/web/machine undefined',
      '/v1/containers/a%2Fb/export undefined',
      '/v1/inspector abc-5',
      '/v1/inspector abc-6',
      '/v1/inspector undefined',
    ],
  );
  assert.not(reached.some(({ headers }) => 'cookie' in headers));
  reached.length = 0;
  const beyond = [
    '/v1/audit',
    '/v1/doctor',
    '/v1/openapi.json',
    '/v1/stats',
    '/v1/events',
    '/v1/networks',
    '/v1/inspector/stately',
    '/v1/containers',
    '/v1/containers/',
    '/v1/containers/web',
    '/v1/containers/web/stats',
    '/v1/containers/../audit',
    '/v1/containers/a/b/machine',
    '/file.json',
    '/package.json',
    '/../package.json',
    '/main.js/',
    '/index.html',
    `http://127.0.0.1:${port}/v1/audit`,
    '/V1/inspector',
  ];
  for (const path of beyond) assert.is((await ask(path)).status, 404, path);
  assert.equal(reached, []);
});

server_('a server for looking sends nothing', async () => {
  server.close();
  await serve({ kind: 'daemon', socket, readOnly: true });
  await enter();
  assert.is((await ask('/v1/events', {}, 'POST', '{}')).status, 403);
  assert.equal(JSON.parse((await ask('/source.json')).body), { kind: 'daemon', read_only: true });
  await ask('/v1/inspector');
  assert.equal(
    reached.map(({ method, url }) => `${method} ${url}`),
    ['GET /v1/inspector?read_only'],
  );
});

server_('a file is all that a server of a file has', async () => {
  server.close();
  await serve({ kind: 'file', name: 'a"b.ndjson', text: '{"a":1}\n', cut: true });
  await enter();
  assert.equal(JSON.parse((await ask('/source.json')).body), { kind: 'file', name: 'a"b.ndjson', cut: true });
  assert.is((await ask('/file.json')).body, '{"a":1}\n');
  for (const path of ['/v1/containers/web/machine', '/v1/inspector']) assert.is((await ask(path)).status, 404);
  assert.is((await ask('/v1/events', {}, 'POST', '{}')).status, 404);
  cookie = '';
  assert.is((await ask('/file.json')).status, 401);
});

server_('a file that has not changed is not sent again', async () => {
  await enter();
  const { head } = await ask('/main.js');
  assert.match(head, /^cache-control: no-cache/im);
  const [, tag = ''] = /^etag: (.*?)\r?$/im.exec(head) ?? [];
  assert.is((await ask('/main.js', { 'if-none-match': tag })).status, 304);
  assert.is((await ask('/main.js', { 'if-none-match': '"x"' })).status, 200);
});

server_('bytes that are no request change nothing', async () => {
  await enter();
  for (const bytes of [
    '\r\n\r\n\r\nx',
    'GET / HTTP/9.9\r\n\r\n',
    `GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: ${'x'.repeat(40_000)}\r\n\r\n`,
  ])
    assert.ok((await raw(bytes)).status >= 400, bytes.slice(0, 30));
  assert.is((await ask('/')).status, 200);
});

server_.run();
