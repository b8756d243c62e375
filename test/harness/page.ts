/**
 * Visits the page server of a running `cleat inspector`, as a browser does: by the address that was printed, then with the
 * cookie.
 */
import { request, type IncomingMessage } from 'node:http';
import type { Running } from '../cli/shell.ts';
import { until } from './native.ts';

export interface Reply {
  status: number;
  headers: IncomingMessage['headers'];
  text: string;
}

export interface Visit {
  url: URL;
  /** For requests of Node: where the server is, and what a browser sends with each request. */
  where: { host: string; port: number; headers: Record<string, string> };
  get(path: string): Promise<Reply>;
  send(event: object): Promise<Reply>;
}

/** Resolves with the address that the command has printed. */
export async function addressOf(running: Running): Promise<URL> {
  await until(
    `an address is printed: ${JSON.stringify(running.so())}`,
    () => running.so().stdout.includes('\n'),
    15_000,
  );
  return new URL(running.so().stdout.split('\n')[0] ?? '');
}

export async function visit(url: URL): Promise<Visit> {
  const { headers } = await ask(url, 'GET', `${url.pathname}${url.search}`, { 'sec-fetch-site': 'none' });
  const cookie = headers['set-cookie']?.[0]?.split(';')[0];
  if (cookie === undefined) throw new Error(`no cookie: ${JSON.stringify(headers)}`);
  const own = { cookie, 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' };
  return {
    url,
    where: { host: url.hostname, port: Number(url.port), headers: own },
    get: (path) => ask(url, 'GET', path, own),
    send: (event) =>
      ask(
        url,
        'POST',
        '/v1/events',
        { ...own, origin: url.origin, 'content-type': 'application/json' },
        JSON.stringify(event),
      ),
  };
}

export async function ask(
  { hostname: host, port }: URL,
  method: string,
  path: string,
  headers: Record<string, string>,
  body = '',
): Promise<Reply> {
  const answer = await new Promise<IncomingMessage>((resolve_, reject) => {
    const length = body === '' ? {} : { 'content-length': String(body.length) };
    const outgoing = request({ host, port, method, path, headers: { ...headers, ...length }, agent: false }, resolve_);
    outgoing.once('error', reject);
    outgoing.end(body);
  });
  const text = (await answer.setEncoding('utf8').toArray()).join('');
  return { status: answer.statusCode ?? 0, headers: answer.headers, text };
}
