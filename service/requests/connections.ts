/**
 * The connections to the socket: limits how many a user may have, how long a body may take, and how much of unfinished bodies and
 * of answers without an end is kept.
 *
 * Guarantees: users other than root cannot keep root out, whatever they hold: one connection in eight, and memory for bodies, are
 * reserved for root. An announced body is complete within BODY_MS, however slowly it arrives, or the connection ends. A stream of
 * events (POST /v1/events as NDJSON) may idle for ever; the number of connections bounds such streams. A client that is refused
 * gets the reason (LIMIT_REACHED, BODY_TOO_SLOW). An answer without an end is over with its connection, wherever it stands in it, and
 * when its reader does not keep up.
 * Limits: users are distinguished by the uid that the kernel recorded (SO_PEERCRED). Root can keep root out for BODY_MS, and with
 * streams for as long as it likes.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { FaultError, type Fault } from '../../state/faults.ts';
import type { Limits } from '../../state/limits.ts';
import { isTrusted, peerOf, type Peer } from './authorise.ts';
import { MAX_LINE } from './ndjson.ts';
import { asFault, type Refusal } from './refusals.ts';

/** The time from the headers to the end of the body. An honest client never needs longer for 1 MiB on a Unix socket. */
const BODY_MS = 10_000;

/**
 * The maximum number of bytes in bodies and lines that are incomplete or unanswered: root's, one other user's, all other users'
 * together.
 */
const ROOT_BYTES = 64 << 20;
const USER_BYTES = 16 << 20;
const USERS_BYTES = 64 << 20;

/** How many refused connections are kept open until the client has read the reason, and for how long. */
const LINGERING = 64;
const LINGER_MS = 1000;

export class Connections {
  readonly #limits: Limits;
  readonly #open = new Map<number, number>();
  #all = 0;
  /** Connections of users other than root. */
  #others = 0;
  #lingering = 0;
  readonly #bytes = new Map<number, number>();
  #othersBytes = 0;
  readonly #deadlines = new WeakMap<IncomingMessage, NodeJS.Timeout>();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** From now on the server sees only connections that are admitted. `refusal`: how the server's protocol says that one is not. */
  guard(server: Server, refusal: Refusal): void {
    // node:http: any code that has accepted a connection may emit 'connection'. The server's own listeners run after ours, or not
    // at all.
    const listeners = server.listeners('connection') as ((this: Server, socket: Socket) => void)[];
    server.removeAllListeners('connection');
    server.on('connection', (socket: Socket) => {
      forms.set(socket, refusal);
      if (this.#admit(socket)) for (const listener of listeners) listener.call(server, socket);
    });
    // Runs before the server's own listener, which may answer at once, or take the request for a stream.
    server.prependListener('request', (request: IncomingMessage) => this.#expectBody(request));
  }

  /** Removes the deadline of a request that is a stream: it may take as long as it likes. */
  unhurried(request: IncomingMessage): void {
    clearTimeout(this.#deadlines.get(request));
  }

  /** Accounts for bytes that are kept for a peer. Throws LIMIT_REACHED if it has too many. */
  keep(peer: Peer, bytes: number): void {
    const trusted = isTrusted(peer);
    const mine = (this.#bytes.get(peer.uid) ?? 0) + bytes;
    if (mine > (trusted ? ROOT_BYTES : USER_BYTES) || (!trusted && this.#othersBytes + bytes > USERS_BYTES)) {
      throw new FaultError('LIMIT_REACHED', `uid ${peer.uid} has too many requests under way that are not finished`);
    }
    this.#count(peer, bytes);
  }

  release(peer: Peer, bytes: number): void {
    this.#count(peer, -bytes);
  }

  #count(peer: Peer, bytes: number): void {
    const mine = (this.#bytes.get(peer.uid) ?? 0) + bytes;
    if (mine === 0) this.#bytes.delete(peer.uid);
    else this.#bytes.set(peer.uid, mine);
    if (!isTrusted(peer)) this.#othersBytes += bytes;
  }

  #admit(socket: Socket): boolean {
    const peer = peerOf(socket);
    const { uid } = peer;
    const mine = this.#open.get(uid) ?? 0;
    const why = this.#full(peer, mine);
    if (why !== null) {
      this.#turnAway(socket, why);
      return false;
    }
    const other = isTrusted(peer) ? 0 : 1;
    this.#all++;
    this.#others += other;
    this.#open.set(uid, mine + 1);
    socket.once('close', () => {
      this.#all--;
      this.#others -= other;
      const left = (this.#open.get(uid) ?? 0) - 1;
      if (left === 0) this.#open.delete(uid);
      else this.#open.set(uid, left);
    });
    return true;
  }

  /** Returns why a peer with this many connections can have no more; null if it can. */
  #full(peer: Peer, mine: number): string | null {
    const { connections, 'connections-per-uid': perUser } = this.#limits;
    if (this.#all >= connections) return `there are ${connections}`;
    if (isTrusted(peer)) return null;
    if (mine >= perUser) return `uid ${peer.uid} has ${mine}`;
    const shared = connections - Math.ceil(connections / 8);
    return this.#others >= shared ? `users other than root have ${this.#others}` : null;
  }

  #turnAway(socket: Socket, why: string): void {
    socket.on('error', () => {}); // the client did not wait
    if (this.#lingering >= LINGERING) return void socket.destroy();
    this.#lingering++;
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    socket.once('close', () => {
      clearTimeout(timer);
      this.#lingering--;
    });
    // The request is read and dropped: a socket closed with unread bytes gives its peer ECONNRESET instead of the reason.
    socket.resume();
    socket.end(inBytes(socket, { code: 'LIMIT_REACHED', message: `no connection is left: ${why}` }));
  }

  #expectBody(request: IncomingMessage): void {
    if (!announcesBody(request)) return;
    const { socket } = request;
    const timer = setTimeout(() => {
      if (!request.complete) endWith(socket, { code: 'BODY_TOO_SLOW', message: `no whole body in ${BODY_MS} ms` });
    }, BODY_MS);
    this.#deadlines.set(request, timer);
    const over = () => clearTimeout(timer);
    request.once('end', over);
    socket.once('close', over);
    request.once('end', () => socket.off('close', over));
  }
}

/** Holds the connections of each server that have an answer without an end, and the answer. */
const endless = new WeakMap<Server, Map<Socket, ServerResponse>>();

interface Endless {
  /** Writes, or disconnects a reader that does not keep up. `beginning`: this may be long, and does not count. */
  write: (text: string, beginning?: boolean) => void;
  closed: (then: () => void) => void;
}

/**
 * Begins an answer without an end. Throws LIMIT_REACHED if the connection has one: what stands behind it would never go out. The end
 * is that of the connection, because Node does not announce the end of an answer that still waits for the one before it.
 */
export function beginEndless(
  { raw: { socket }, server: { server } }: FastifyRequest,
  reply: FastifyReply,
  type: string,
): Endless {
  const all = endless.get(server) ?? new Map<Socket, ServerResponse>();
  if (all.has(socket)) throw new FaultError('LIMIT_REACHED', 'this connection has an answer without an end already');
  reply.hijack();
  const out = reply.raw;
  endless.set(server, all.set(socket, out));
  socket.once('close', () => all.delete(socket));
  out.writeHead(200, { 'content-type': type, 'cache-control': 'no-store' });
  out.flushHeaders();
  /** How much may wait for the reader. The beginning comes on top until all has been read. */
  let room = MAX_LINE;
  out.on('drain', () => (room = MAX_LINE));
  return {
    write: (text, beginning = false) => {
      if (socket.destroyed) return;
      if (beginning) room += text.length;
      else if (out.writableLength > room) return void socket.destroy();
      out.write(text);
    },
    closed: (then) => socket.once('close', then),
  };
}

/** Ends the answers without an end: the daemon stops, and their readers are to see a whole answer, not a connection that broke. */
export function endEndless(server: Server): void {
  for (const out of endless.get(server)?.values() ?? []) out.end();
}

export function announcesBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** How the protocol of a connection says a fault. */
const forms = new WeakMap<Socket, Refusal>();

/** Returns an HTTP answer as text, for places that the HTTP server does not reach. */
function inBytes(socket: Socket, fault: Fault): string {
  const { status, body } = (forms.get(socket) ?? asFault)(fault);
  const text = JSON.stringify(body);
  return (
    `HTTP/1.1 ${status} ${fault.code}\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`
  );
}

/** Ends a connection with the reason. Sends no reason if an answer has begun already: it would land in the middle of that answer. */
export function endWith(socket: Socket, fault: Fault): void {
  const { _httpMessage: begun } = socket as Socket & { _httpMessage?: { headersSent: boolean } | null };
  if (socket.writable && begun?.headersSent !== true) socket.write(inBytes(socket, fault));
  socket.destroySoon();
}
