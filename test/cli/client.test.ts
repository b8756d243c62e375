/**
 * The client against servers that answer as a daemon would, would not, and never should; then against the real daemon.
 */
import { createServer, type Server, type ServerResponse } from 'node:http';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Client } from '../../cli/client.ts';
import { exitCodeOf } from '../../cli/failure.ts';
import { CleatError } from '../../client/error.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { Shell } from './shell.ts';

requirePrivateNamespace();

interface Asked {
  method: string;
  url: string;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

/** A server that gives the answer that the test chooses, and keeps the requests. */
async function serve(
  answer: (asked: Asked, response: ServerResponse) => void,
): Promise<{ client: Client; asked: Asked[]; server: Server }> {
  const path = join(mkdtempSync(join(tmpdir(), 'socket-')), 's');
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const one = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body };
      asked.push(one);
      answer(one, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  server.unref();
  return { client: new Client(path, 0), asked, server };
}

async function failure(work: Promise<unknown>): Promise<CleatError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof CleatError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

const client = suite('client');

client('the client sends what the API accepts, and returns the body of the answer', async () => {
  const { client: to, asked } = await serve((_, response) => response.end('{"id":"web"}'));
  assert.equal(await to.event({ type: 'configure', id: 'web' }), { id: 'web' });
  const [{ method, url, headers, body }] = asked as [Asked];
  assert.equal(
    [method, url, headers['content-type'], body],
    ['POST', '/v1/events', 'application/json', '{"type":"configure","id":"web"}'],
  );
  await to.container('a/b');
  assert.is(asked[1]?.url, '/v1/containers/a%2Fb');
});

client('the span that the command is a part of is passed on from the environment', async () => {
  const { client: to, asked } = await serve((_, response) => response.end('{}'));
  const kept = { ...process.env };
  try {
    await to.call('GET /v1/version');
    process.env['TRACESTATE'] = 'vendor=1';
    await to.call('GET /v1/version');
    process.env['TRACEPARENT'] = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    await to.call('GET /v1/version');
    delete process.env['TRACESTATE'];
    await to.event({ type: 'configure', id: 'web' });
  } finally {
    process.env = kept;
  }
  const parent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  assert.equal(
    asked.map(({ headers: { traceparent, tracestate } }) => [traceparent, tracestate]),
    [
      [undefined, undefined],
      [undefined, undefined],
      [parent, 'vendor=1'],
      [parent, undefined],
    ],
  );
});

client('an empty answer is null', async () => {
  const { client: to } = await serve((_, response) => response.writeHead(204).end());
  assert.is(await to.call('DELETE /v1/networks/{name}', { name: 'web' }), null);
});

client('an error of the API is an error with its full text', async () => {
  const error = { code: 'ILLEGAL_EVENT', message: 'not now', hint: 'wait', legal: ['teardown'] };
  const { client: to } = await serve((_, response) => response.writeHead(409).end(JSON.stringify({ error })));
  const refused = await failure(to.call('GET /v1/version'));
  assert.is(exitCodeOf(refused), 1);
  assert.equal(refused.error, error);
});

client("an answer that is not the API's is reported as such", async () => {
  const { client: html } = await serve((_, response) => response.end('<html>'));
  assert.match((await failure(html.call('GET /v1/version'))).message, /not one of cleat's API: <html>/);
  const { client: bare } = await serve((_, response) => response.writeHead(502).end('{"oops":1}'));
  const bad = await failure(bare.call('GET /v1/version'));
  assert.match(bad.message, /status 502/);
  assert.is(exitCodeOf(bad), 3);
});

client('without a daemon, the error names the socket and says how to start the daemon', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'none-'));
  const missing = await failure(new Client(`${directory}/s`, 0).call('GET /v1/version'));
  assert.is(exitCodeOf(missing), 3);
  assert.is(missing.error.code, 'UNREACHABLE');
  assert.match(missing.message, `${directory}/s`);
  assert.match(missing.error.hint ?? '', /cleat daemon/);
  writeFileSync(`${directory}/file`, '');
  assert.is(exitCodeOf(await failure(new Client(`${directory}/file`, 0).call('GET /v1/version'))), 3);
});

client('a daemon that ends in the middle of an answer is reported', async () => {
  const { client: before } = await serve((_, response) => response.destroy());
  assert.match((await failure(before.call('GET /v1/version'))).message, /ended the connection/);
  const { client: within } = await serve((_, response) => {
    response.writeHead(200, { 'content-length': '100' });
    response.write('{"half":', () => response.destroy());
  });
  const half = await failure(within.call('GET /v1/version'));
  assert.match(half.message, /ended the connection/);
  assert.is(exitCodeOf(half), 3);
});

client('lines arrive whole, however they are split, with multi-byte letters too', async () => {
  const { client: to } = await serve((_, response) => {
    const bytes = Buffer.from('{"a":"ä"}\n{"b":2}\n');
    let at = 0;
    const next = () =>
      at < bytes.length ? response.write(bytes.subarray(at, ++at), () => setImmediate(next)) : response.end();
    next();
  });
  const lines: unknown[] = [];
  for await (const line of await to.lines('GET /v1/events')) lines.push(line);
  assert.equal(lines, [{ a: 'ä' }, { b: 2 }]);
});

client('many events get one answer each, in the order of the events', async () => {
  const { client: to, asked } = await serve((_, response) => {
    response.write('{"line":2,"status":404,"body":{"error":{"code":"NO_SUCH_CONTAINER","message":"none"}}}\n');
    response.end('{"line":1,"status":200,"body":{"id":"a","state":"gone"}}\n');
  });
  const events = ['a', 'b'].map((id) => ({ type: 'teardown' as const, id }));
  const answers = await to.events(events, false);
  assert.equal(
    answers.map(({ body }) => ('error' in body ? body.error.code : null)),
    [null, 'NO_SUCH_CONTAINER'],
  );
  assert.is(asked[0]?.headers.prefer, 'respond-async');
  assert.is(asked[0]?.body, '{"type":"teardown","id":"a"}\n{"type":"teardown","id":"b"}\n');
  const short = await failure(to.events([...events, ...events]));
  assert.match(short.message, /2 answers to 4 events/);
});

client('a wait for gone succeeds for a missing container, and fails if the teardown has failed', async () => {
  const answers = [
    [200, '{"id":"web","state":"gone"}'],
    [404, '{"error":{"code":"NO_SUCH_CONTAINER","message":"none"}}'],
    [500, '{"error":{"code":"UNFINISHED","message":"container web is teardownFailed, not gone: EBUSY"}}'],
  ] as const;
  let at = 0;
  const { client: to, asked } = await serve((_, response) => {
    const [status, text] = answers[at++] ?? [500, ''];
    response.writeHead(status).end(text);
  });
  await to.gone('web');
  await to.gone('web');
  const unfinished = await failure(to.gone('web'));
  assert.is(unfinished.error.code, 'UNFINISHED');
  assert.match(unfinished.message, /EBUSY/);
  assert.match(asked[0]?.url ?? '', /^\/v1\/containers\/web\?wait=gone&timeout=\d+$/);
});

client('a teardown that another took over is waited for, by `apply` as by `teardown`', async () => {
  const superseded = { error: { code: 'SUPERSEDED', message: 'teardown of web was overtaken by teardown', hint: '' } };
  const plan = { id: 'web', event: { type: 'teardown', id: 'web' }, grants: { networks: {}, ports: [] } };
  const { client: to, asked } = await serve(({ method, url, headers }, response) => {
    if (url === '/v1/plans/h') return response.end(JSON.stringify(plan));
    if (url === '/v1/events') {
      const line = { line: 1, status: 409, body: superseded };
      return response
        .writeHead(200, { 'content-type': headers['content-type'] as string })
        .end(`${JSON.stringify(line)}\n`);
    }
    if (method === 'POST') return response.writeHead(409).end(JSON.stringify(superseded));
    return response.end('{"id":"web","state":"gone"}');
  });
  const shell = new Shell();
  for (const words of [
    ['apply', '--plan', 'h'],
    ['teardown', 'web'],
  ]) {
    assert.is(await shell.ok('--socket', to.socket, ...words), 'web', words.join(' '));
    assert.match(asked.at(-1)?.url ?? '', /^\/v1\/containers\/web\?wait=gone/);
  }
});

client('the real daemon answers, refuses, takes a list of events, and reports gone', async () => {
  const shell = new Shell();
  await shell.startDaemon();
  const to = new Client(shell.socket, 0);
  assert.is((await to.call('GET /v1/version')).api, 'v1');
  const refused = await failure(to.event({ type: 'configure', id: 'none' }));
  assert.is(refused.error.code, 'NO_SUCH_CONTAINER');
  assert.ok(refused.error.hint);
  await to.event({ type: 'create', id: 'web' });
  const answers = await to.events([
    { type: 'configure', id: 'web' },
    { type: 'configure', id: 'none' },
    { type: 'teardown', id: 'web' },
  ]);
  assert.equal(
    answers.map(({ line, status }) => [line, status]),
    [
      [1, 200],
      [2, 404],
      [3, 200],
    ],
  );
  await to.gone('web');
  await to.gone('never-was');
  assert.is(await shell.endDaemon('SIGTERM'), 0);
});

client.run();
