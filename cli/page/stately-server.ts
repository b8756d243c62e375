/**
 * `cleat inspector --stately`: a WebSocket that speaks the protocol of @statelyai/inspect, one JSON text of its inspection events
 * in each message.
 *
 * Guarantees: each client has a stream of the daemon of its own: first every actor as it is, then every event and snapshot. The
 * address has a token, and a page of another host has no use for the port without it. A client that does not read holds its stream
 * up, until the daemon ends that, and with it the connection. The daemon's end closes the connections with 1012 (restart).
 * Limits: the token of this address can be used again, because tools connect again by themselves. What clients send is dropped.
 */
import { createServer, request, type IncomingMessage, type Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { serverSentReader } from '../../client/server-sent.ts';
import { isLoopback } from './guard.ts';
import { Session } from './session.ts';
import { accept, closeFrame, obey, textFrame } from './websocket.ts';

const STREAM = '/v1/inspector/stately';
const MAX_CLIENTS = 16;
/** RFC 6455, 7.4.1, and the registry of IANA. */
const RESTART = 1012;

export function createStatelyServer(socketPath: string): { server: Server; url: (port: number) => string } {
  const session = new Session();
  const server = createServer((_request, answer) => {
    answer.writeHead(426, { 'content-type': 'text/plain', upgrade: 'websocket' }).end('this is a WebSocket\n');
  });
  server.maxConnections = MAX_CLIENTS;
  server.on('upgrade', (upgrade: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => {}); // the client has gone
    const refusal = refusalOf(upgrade, session);
    if (refusal !== null) return void socket.end(`HTTP/1.1 ${refusal}\r\nConnection: close\r\n\r\n`);
    if (!accept(upgrade, socket)) return;
    obey(socket);
    follow(socketPath, socket);
  });
  return { server, url: (port) => `ws://127.0.0.1:${port}/?token=${session.token}` };
}

function refusalOf({ url = '', headers }: IncomingMessage, session: Session): string | null {
  const { host = '', origin = `http://${host}` } = headers;
  // The tool may be a page of this host, on another port.
  if (![host, origin.replace(/^https?:\/\//, '')].every(isLoopback)) return '403 Forbidden';
  const [, query = ''] = url.split('?', 2);
  return session.isToken(new URLSearchParams(query).get('token') ?? '') ? null : '401 Unauthorized';
}

/** Sends a client everything that happens, until either ends. */
function follow(socketPath: string, socket: Duplex): void {
  const definitions = new Map<number, string>();
  const outgoing = request({ socketPath, path: STREAM, agent: false }, (stream) => {
    const read = serverSentReader(({ event, data }) => {
      if (data === null) return; // a sign of life
      if (event === 'definition') {
        const { n, definition } = JSON.parse(data) as { n: number; definition: string };
        definitions.set(n, definition);
      } else if (event === 'inspection' && !socket.write(textFrame(complete(data, definitions)))) {
        stream.pause();
        socket.once('drain', () => stream.resume());
      }
    });
    stream.setEncoding('utf8').on('data', read);
    stream.on('error', () => {});
    stream.on('close', () => socket.end(closeFrame(RESTART)));
  });
  outgoing.on('error', () => socket.end(closeFrame(RESTART)));
  socket.on('close', () => outgoing.destroy());
  outgoing.end();
}

/** An actor's definition is a number in the daemon's stream, because many actors have the same. */
function complete(json: string, definitions: ReadonlyMap<number, string>): string {
  if (!json.startsWith('{"type":"@xstate.actor"')) return json;
  const event = JSON.parse(json) as { definition: unknown };
  if (typeof event.definition !== 'number') return json;
  return JSON.stringify({ ...event, definition: definitions.get(event.definition) });
}
