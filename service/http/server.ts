/**
 * An HTTP server for a Unix socket of the daemon, without routes: what protects the daemon from its clients on each of them.
 *
 * Guarantees: a body over the limit is refused before it is read (moby CVE-2026-34040). The connections, bodies and bytes of all
 * servers count together. Every refusal, also of bytes that are not HTTP, is in the form of the server's protocol.
 * Limits: Node itself answers a request without Host, or with an unknown Expect header, with a status alone (400, 417).
 */
import type { Socket } from 'node:net';
import Fastify, { type FastifyInstance, type FastifyRequest, type RequestPayload } from 'fastify';
import { peerOf } from '../requests/authorise.ts';
import { announcesBody, type Connections, endWith } from '../requests/connections.ts';
import { MAX_LINE } from '../requests/ndjson.ts';
import { faultOfRequest, type Refusal, sendFault } from '../requests/refusals.ts';

/** The time from the connection to the end of the headers. An honest client never needs longer on a Unix socket. */
const HEADERS_MS = 5000;

/**
 * Fastify's own schema compilers (ajv and others) are not loaded, because that takes as long as loading the rest of Fastify. Zod
 * checks the shapes.
 */
const noSchema = (): never => {
  throw new Error('a route with a schema of Fastify');
};

export interface ServerParts {
  connections: Connections;
  /** Says a fault in the words of the protocol. */
  refusal: Refusal;
  /** Returns the path that a request is routed by, and its parameters; absent: as it came. */
  routedBy?: (url: string) => string;
}

export function createServer({ connections, refusal, routedBy = (url) => url }: ServerParts): FastifyInstance {
  const server = Fastify({
    bodyLimit: MAX_LINE,
    forceCloseConnections: true,
    exposeHeadRoutes: false, // HEAD of a stream would never end
    logger: false,
    schemaController: { compilersFactory: { buildValidator: noSchema, buildSerializer: noSchema } },
    // A stream of events may stay open for months, so a whole request has no time limit. Its headers have one.
    http: { requestTimeout: 0, headersTimeout: HEADERS_MS, connectionsCheckingInterval: HEADERS_MS / 2 },
    clientErrorHandler: refuseBytes,
    // Handles requests that the router refuses before it finds a route: bad escapes, parameters that are too long.
    frameworkErrors: (error, _request, reply) => void sendFault(reply, faultOfRequest(error), refusal),
    rewriteUrl: ({ url = '/' }) => routedBy(url),
  });
  connections.guard(server.server, refusal);
  server.addHook('preParsing', (request, _reply, payload, done) => {
    accountBody(request, payload, connections);
    done(null, payload);
  });
  server.setErrorHandler((error, _request, reply) => sendFault(reply, faultOfRequest(error), refusal));
  // Clients that set the type in every request send it with a DELETE without a body, too. Where a body is needed, its check says so.
  const parseJson = server.getDefaultJsonParser('error', 'error');
  server.addContentTypeParser('application/json', { parseAs: 'string' }, (request, text, done) =>
    text === '' ? done(null) : parseJson(request, text as string, done),
  );
  return server;
}

/** Refuses bytes that are not HTTP, and headers that are too long or never end. */
function refuseBytes(error: Error & { code: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET') socket.destroySoon();
  else endWith(socket, { code: 'BAD_REQUEST', message: `no HTTP: ${error.message}` });
}

/** Counts the bytes of a body for its peer until the request is answered. Refuses and ends a body that exceeds the peer's limit. */
function accountBody(request: FastifyRequest, payload: RequestPayload, connections: Connections): void {
  const stream = request.headers['content-type']?.startsWith('application/x-ndjson') === true;
  if (stream || !announcesBody(request.raw)) return; // a stream is counted line by line
  const { socket } = request.raw;
  const peer = peerOf(socket);
  let kept = 0;
  const count = (chunk: Buffer | string) => {
    try {
      connections.keep(peer, chunk.length);
      kept += chunk.length;
    } catch (error) {
      endWith(socket, faultOfRequest(error));
    }
  };
  payload.on('data', count);
  const over = () => {
    payload.off('data', count);
    connections.release(peer, kept);
    kept = 0;
  };
  payload.once('end', over);
  socket.once('close', over);
  payload.once('end', () => socket.off('close', over));
}
