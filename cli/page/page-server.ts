/**
 * The page server of `cleat inspector`: the page, and what it asks of the daemon, on a port of the loopback.
 *
 * Guarantees: listens on 127.0.0.1 alone. Every request is judged (guard.ts) before anything else; without the cookie there is one
 * answer, and it says how to get one. The token is exchanged for the cookie and never appears again: not in an address, a header, a
 * page or a message. Each answer has headers that keep the page to itself: nothing of elsewhere is loaded, framed or referred to.
 * Limits: plain HTTP, on one machine; through `ssh -L` the tunnel protects it.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { foreign, isLedHere, unsafe, type Objection } from './guard.ts';
import type { PageFile } from './page-files.ts';
import { bodyOf, MAX_BODY, passOn } from './proxy.ts';
import { EVENTS, isReadable, STREAM } from './routes.ts';
import type { Session } from './session.ts';

/** Says where the page gets its data from. */
export type Source =
  | { kind: 'daemon'; socket: string; readOnly: boolean }
  /** `cut`: the last line was incomplete, and is left out. */
  | { kind: 'file'; name: string; text: string; cut: boolean };

/** Holds what every answer has. The browser tests serve the page with the same. */
export const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
};

/** A browser keeps six connections to a host, and one more for each stream. */
const MAX_CONNECTIONS = 64;
const HEADERS_MS = 5000;
const BODY_MS = 10_000;

const AGAIN = '<!doctype html><meta http-equiv="refresh" content="0;url=/"><title>cleat inspector</title>';

export function createPageServer(session: Session, source: Source, page: ReadonlyMap<string, PageFile>): Server {
  const server = createServer({ headersTimeout: HEADERS_MS, requestTimeout: BODY_MS }, (request, answer) => {
    for (const [name, value] of Object.entries(HEADERS)) answer.setHeader(name, value);
    void respond({ request, answer, session, source, page }).catch(() => answer.destroy()); // the page went away
  });
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

interface Exchange {
  request: IncomingMessage;
  answer: ServerResponse;
  session: Session;
  source: Source;
  page: ReadonlyMap<string, PageFile>;
}

async function respond(exchange: Exchange): Promise<void> {
  const { request, answer, session, source, page } = exchange;
  const { method = '', url = '', headers } = request;
  const [path = '', query = ''] = url.split('?', 2);
  const strange = foreign(headers, path);
  if (strange !== null) return refuse(answer, strange);
  if (method !== 'GET' && method !== 'POST')
    return sendError(answer, 405, { code: 'WRONG_METHOD', message: 'GET or POST' });
  const token = path === '/' && method === 'GET' ? new URLSearchParams(query).get('token') : null;
  if (token !== null) {
    const cookie = session.exchange(token);
    if (cookie !== null) answer.setHeader('set-cookie', cookie);
    if (cookie !== null || session.isKnown(headers.cookie)) return redirect(answer);
  }
  if (!session.isKnown(headers.cookie)) {
    if (path === '/' && token === null && isLedHere(headers))
      return send(answer, 200, 'text/html; charset=utf-8', AGAIN);
    const message =
      'Open the address that `cleat inspector` has printed. It opens the page once; start it again for another.';
    return sendError(answer, 401, { code: 'NO_COOKIE', message });
  }
  const file = method === 'GET' ? page.get(path) : undefined;
  if (file !== undefined) return sendFile(request, answer, file);
  if (path === '/source.json' && method === 'GET') return sendJson(answer, 200, described(source));
  if (source.kind === 'file' && path === '/file.json' && method === 'GET')
    return send(answer, 200, 'application/x-ndjson', source.text);
  if (source.kind === 'daemon' && (await proxied(exchange, source, path, query))) return;
  sendError(answer, 404, { code: 'NO_SUCH_ROUTE', message: 'there is nothing here' });
}

const described = (source: Source): object =>
  source.kind === 'daemon'
    ? { kind: 'daemon', read_only: source.readOnly }
    : { kind: 'file', name: source.name, cut: source.cut };

/** Passes a request on to the daemon. Returns false if it is none that may be passed on. */
async function proxied(
  { request, answer }: Exchange,
  { socket, readOnly }: Extract<Source, { kind: 'daemon' }>,
  path: string,
  query: string,
): Promise<boolean> {
  const { method, headers } = request;
  const failed = (status: number, error: object) => sendError(answer, status, error);
  if (method === 'POST') {
    if (path !== EVENTS) return false;
    if (readOnly) {
      failed(403, { code: 'READ_ONLY', message: 'this inspector sends no events: it was started with --read-only' });
      return true;
    }
    const objection = unsafe(headers);
    if (objection !== null) {
      refuse(answer, objection);
      return true;
    }
    const body = await bodyOf(request);
    if (body === null) {
      answer.setHeader('connection', 'close');
      failed(413, { code: 'BODY_TOO_LARGE', message: `an event has at most ${MAX_BODY} bytes here` });
      return true;
    }
    const json = { 'content-type': 'application/json', 'content-length': String(body.length) };
    passOn(socket, { method, path, headers: json, body }, answer, failed);
    return true;
  }
  if (path === STREAM) {
    const last = headers['last-event-id'] ?? new URLSearchParams(query).get('last') ?? '';
    const known = /^[\w-]{1,64}$/.test(String(last)) ? { 'last-event-id': String(last) } : {};
    passOn(socket, { method: 'GET', path: readOnly ? `${path}?read_only` : path, headers: known }, answer, failed);
    return true;
  }
  if (!isReadable(path)) return false;
  passOn(socket, { method: 'GET', path }, answer, failed);
  return true;
}

function redirect(answer: ServerResponse): void {
  answer.writeHead(303, { location: '/' }).end();
}

function sendFile(request: IncomingMessage, answer: ServerResponse, { type, content, tag }: PageFile): void {
  answer.setHeader('cache-control', 'no-cache');
  answer.setHeader('etag', tag);
  if (request.headers['if-none-match'] === tag) return void answer.writeHead(304).end();
  send(answer, 200, type, content);
}

function send(answer: ServerResponse, status: number, type: string, content: string | Buffer): void {
  answer.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(content) }).end(content);
}

function sendJson(answer: ServerResponse, status: number, body: object): void {
  send(answer, status, 'application/json', JSON.stringify(body));
}

function sendError(answer: ServerResponse, status: number, error: object): void {
  sendJson(answer, status, { error });
}

function refuse(answer: ServerResponse, { status, code, message }: Objection): void {
  sendError(answer, status, { code, message });
}
