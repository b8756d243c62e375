/**
 * Requests to the daemon: HTTP/1.1 over its Unix socket, by Node's own node:http, which takes any connection.
 *
 * Guarantees: a daemon that is starting or restarting is waited for. What was not sent is sent again, and so is a GET whose answer
 * broke off; no other request is sent twice. An error is a CleatError, but for a signal of the caller's own: that rejects with the
 * signal's reason.
 * Limits: one connection per request.
 */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ErrorAnswer } from '../state/answers/error.ts';
import { CleatError, noAnswer, unanswered } from './error.ts';
import { usualSocket } from './socket.ts';

export interface ConnectionOptions {
  /** The daemon's socket. */
  socket?: string;
  /** How long a daemon that is starting or restarting is waited for; 0: not at all. */
  patienceMs?: number;
  /** How long a whole answer may take. Operations have deadlines of the daemon's own, and it lets nobody wait longer than 300 s. */
  deadlineMs?: number;
  /** Returns what each request has in its headers. */
  headers?: () => Record<string, string>;
  /** Is called when the daemon is waited for, with what ends then. */
  waiting?: (end: Promise<unknown>) => void;
}

export interface CallOptions {
  signal?: AbortSignal;
  deadlineMs?: number;
}

export interface Outgoing {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: string | AsyncIterable<string>;
}

/** There is no socket yet, or one that an earlier daemon has left. */
const MAY_BE_STARTING = new Set(['ENOENT', 'ECONNREFUSED']);
const BROKEN_OFF = new Set(['ECONNRESET', 'EPIPE']);
/** The pause before the next attempt. */
export const AGAIN_MS = 50;
const PATIENCE_MS = 5000;
const DEADLINE_MS = 330_000;

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? '';

export class Connection {
  readonly socket: string;
  readonly #options: ConnectionOptions;

  constructor(options: ConnectionOptions = {}) {
    this.#options = options;
    this.socket = options.socket ?? usualSocket();
  }

  /** Sends a request, and resolves with the whole answer: the text of `text/plain`, else what is in the JSON, null if it is empty. */
  protected async exchange(outgoing: Outgoing, { signal, deadlineMs }: CallOptions = {}): Promise<unknown> {
    const limit = AbortSignal.timeout(deadlineMs ?? this.#options.deadlineMs ?? DEADLINE_MS);
    const either = signal === undefined ? limit : AbortSignal.any([signal, limit]);
    try {
      return await this.#persist(outgoing, either, async () => {
        const answer = await this.#send(outgoing, either);
        const text = await textOf(answer);
        if ((answer.statusCode ?? 0) >= 400) throw refusalIn(answer, text);
        if (answer.headers['content-type']?.startsWith('text/plain') === true) return text;
        return text === '' ? null : parse(text);
      });
    } catch (error) {
      if (!limit.aborted || signal?.aborted === true || error instanceof CleatError) throw error;
      const message = `no whole answer to ${outgoing.method} ${outgoing.path} in time`;
      throw new CleatError(
        { code: 'TIMEOUT', message, hint: 'What was accepted goes on: look how things are.' },
        error,
      );
    }
  }

  /** Sends a request, and resolves when the daemon has begun to answer it. */
  protected open(outgoing: Outgoing, signal?: AbortSignal): Promise<IncomingMessage> {
    return this.#persist(outgoing, signal, async () => {
      const answer = await this.#send(outgoing, signal);
      if ((answer.statusCode ?? 0) >= 400) throw refusalIn(answer, await textOf(answer));
      return answer.setEncoding('utf8');
    });
  }

  /** Yields the pieces of an answer. Ends the connection when no more are wanted. */
  protected async *piecesOf(answer: IncomingMessage, signal?: AbortSignal): AsyncGenerator<string, void> {
    try {
      for await (const piece of answer) yield piece as string;
    } catch (error) {
      throw this.#asOurs(error, signal);
    } finally {
      answer.destroy();
    }
  }

  /** Yields the lines of an answer that are not empty. */
  protected async *linesOf(answer: IncomingMessage, signal?: AbortSignal): AsyncGenerator<string, void> {
    let rest = '';
    for await (const piece of this.piecesOf(answer, signal)) {
      const lines = `${rest}${piece}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line !== '') yield line;
    }
  }

  /** Attempts something until it succeeds, or a daemon that is starting has been waited for long enough. */
  async #persist<T>(outgoing: Outgoing, signal: AbortSignal | undefined, attempt: () => Promise<T>): Promise<T> {
    const { patienceMs = PATIENCE_MS, waiting } = this.#options;
    const mayEnd = (error: unknown) =>
      MAY_BE_STARTING.has(codeOf(error)) || (outgoing.method === 'GET' && BROKEN_OFF.has(codeOf(error)));
    const again = async (): Promise<T> => {
      const limit = performance.now() + patienceMs;
      for (;;) {
        await sleep(AGAIN_MS, undefined, signal === undefined ? {} : { signal });
        try {
          return await attempt();
        } catch (error) {
          if (performance.now() >= limit || !mayEnd(error)) throw error;
        }
      }
    };
    try {
      return await attempt().catch((error: unknown) => {
        if (patienceMs === 0 || signal?.aborted === true || !mayEnd(error)) throw error;
        const end = again();
        waiting?.(end.catch(() => {}));
        return end;
      });
    } catch (error) {
      throw this.#asOurs(error, signal);
    }
  }

  #asOurs(error: unknown, signal: AbortSignal | undefined): unknown {
    if (error instanceof CleatError) return error;
    return signal?.aborted === true ? signal.reason : unanswered(this.socket, error as NodeJS.ErrnoException);
  }

  async #send({ method, path, headers, body }: Outgoing, signal: AbortSignal | undefined): Promise<IncomingMessage> {
    const socket = await connected(this.socket, signal);
    return new Promise((resolve, reject) => {
      const sent = httpRequest({
        // A connection of its own, without an Agent: that would first find out which TLS server `localhost` is.
        createConnection: () => socket,
        method,
        path,
        headers: { accept: 'application/json', ...this.#options.headers?.(), ...headers },
        ...(signal === undefined ? {} : { signal }),
      });
      sent.once('response', resolve).on('error', reject);
      if (body === undefined || typeof body === 'string') return void sent.end(body);
      // Ends the source when the answer is not wanted any more, and the request when the source fails.
      return void pipeline(body, sent, () => {});
    });
  }
}

function connected(path: string, signal: AbortSignal | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const socket = connect(path);
    socket.once('error', reject).once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

async function textOf(answer: IncomingMessage): Promise<string> {
  let text = '';
  for await (const piece of answer.setEncoding('utf8')) text += piece as string;
  return text;
}

function refusalIn(answer: IncomingMessage, text: string): CleatError {
  const body = parse(text) as Partial<ErrorAnswer> | null;
  return body?.error?.message === undefined
    ? noAnswer(`status ${answer.statusCode}: ${text.slice(0, 200)}`)
    : new CleatError(body.error);
}

/** Throws NO_ANSWER if the text is no JSON. */
export function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw noAnswer(text.slice(0, 200));
  }
}
