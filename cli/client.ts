/**
 * A client of the API: HTTP/1.1 and JSON over the daemon's Unix socket.
 *
 * Guarantees: a call returns the parsed body or throws a Failure. An error of the API has exit code 1. A missing answer has
 * exit code 3, and its message names the socket and says what to do.
 * Node's own http.request takes any connection. undici would be the client's only dependency, for connections that are not kept.
 * A daemon that is starting is waited for: as long as this client has had no answer, it tries again for some seconds.
 * Limits: one connection per request; no deadline of its own, because the daemon's operations have theirs.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import type { ErrorAnswer } from '../state/answers/error.ts';
import type { EventAnswer, EventLine, PlanLine } from '../state/answers/event.ts';
import type { Inspection } from '../state/answers/container/inspection.ts';
import type { Plan } from '../state/answers/container/plan.ts';
import type { LifecycleEvent } from '../state/event.ts';
import { EXIT, Failure, type Refusal } from './failure.ts';
import { withProgress } from './progress.ts';

const JSON_TYPE = 'application/json';
const NDJSON_TYPE = 'application/x-ndjson';

const GONE_LIMIT_MS = 60_000;

/** There is no socket yet, or one that an earlier daemon has left. */
const MAY_BE_STARTING = new Set(['ENOENT', 'ECONNREFUSED']);
const AGAIN_MS = 50;

export class Client {
  readonly socket: string;
  readonly #patienceMs: number;
  #answered = false;

  constructor(socket: string, patienceMs: number) {
    this.socket = socket;
    this.#patienceMs = patienceMs;
  }

  async get<T>(path: string): Promise<T> {
    return (await this.#json('GET', path)) as T;
  }

  async post<T>(path: string, body: unknown): Promise<T> {
    return (await this.#json('POST', path, JSON.stringify(body))) as T;
  }

  async patch<T>(path: string, body: unknown): Promise<T> {
    return (await this.#json('PATCH', path, JSON.stringify(body))) as T;
  }

  async delete(path: string): Promise<void> {
    await this.#json('DELETE', path);
  }

  /** Sends one event; resolves when it is done. */
  event(event: LifecycleEvent): Promise<EventAnswer> {
    return this.post('/v1/events', event);
  }

  /**
   * Sends many on one connection; one answer each, in the order of the events. With `wait` false: once accepted. Calls `answered` with
   * each answer.
   */
  events(events: LifecycleEvent[], wait = true, answered?: () => void): Promise<EventLine[]> {
    return this.#many('/v1/events', events, wait ? {} : { prefer: 'respond-async' }, answered);
  }

  async #many<Line extends { line: number }>(
    path: string,
    events: LifecycleEvent[],
    more: Record<string, string>,
    answered?: () => void,
  ): Promise<Line[]> {
    const body = events.map((event) => `${JSON.stringify(event)}\n`).join('');
    const headers = { 'content-type': NDJSON_TYPE, ...more };
    const answers: Line[] = [];
    await this.#lines('POST', path, headers, body, (line) => {
      answers.push(JSON.parse(line) as Line);
      answered?.();
    });
    if (answers.length !== events.length) throw noAnswer(`${answers.length} answers to ${events.length} events`);
    return answers.sort((a, b) => a.line - b.line);
  }

  /** Plans one event: nothing is done. */
  plan(event: LifecycleEvent): Promise<Plan> {
    return this.post('/v1/events?dry_run=true', event);
  }

  /** Plans many, each as if it were the only one; one answer each, in the order of the events. */
  plans(events: LifecycleEvent[]): Promise<PlanLine[]> {
    return this.#many('/v1/events?dry_run=true', events, {});
  }

  /** Calls `line` with each line of a stream, until the stream ends. Calls `opened` once the daemon has begun to send. */
  follow(path: string, line: (text: string) => void, opened?: () => void): Promise<void> {
    return this.#lines('GET', path, {}, undefined, line, opened);
  }

  container(id: string): Promise<Inspection> {
    return this.get(`/v1/containers/${encodeURIComponent(id)}`);
  }

  /** Resolves when nothing is left of a container. Rejects as soon as its teardown has failed, or after a minute. */
  async gone(id: string): Promise<void> {
    try {
      await this.get(`/v1/containers/${encodeURIComponent(id)}?wait=gone&timeout=${GONE_LIMIT_MS}`);
    } catch (error) {
      if (error instanceof Failure && error.error.code === 'NO_SUCH_CONTAINER') return;
      throw error;
    }
  }

  /** Resolves when a teardown is done. `answer`: what the daemon has answered to it. Rejects if that is a refusal. */
  async tornDown(id: string, answer: EventAnswer | { error: Refusal }): Promise<EventAnswer> {
    // Another client's teardown may have taken over: then the requested teardown is under way.
    if ('error' in answer && answer.error.code !== 'SUPERSEDED') throw new Failure(answer.error);
    // Others use the namespace of this container: it is removed after the last of them.
    if ('owner_gone' in answer && answer.owner_gone) return answer;
    // Waits for the container's id: once it is gone, another container may have its name.
    await this.gone('error' in answer ? id : answer.id);
    return { id, state: 'gone' };
  }

  async #json(method: string, path: string, body?: string): Promise<unknown> {
    const answer = await this.#send(method, path, body === undefined ? {} : { 'content-type': JSON_TYPE }, body);
    const text = await this.#text(answer);
    if ((answer.statusCode ?? 0) >= 400) throw refusal(answer, text);
    return text === '' ? null : parse(text);
  }

  async #lines(
    method: string,
    path: string,
    headers: Record<string, string>,
    body: string | undefined,
    line: (text: string) => void,
    opened?: () => void,
  ): Promise<void> {
    const answer = await this.#send(method, path, headers, body);
    if ((answer.statusCode ?? 0) >= 400) throw refusal(answer, await this.#text(answer));
    opened?.();
    answer.setEncoding('utf8');
    let rest = '';
    try {
      for await (const chunk of answer) {
        const lines = `${rest}${chunk as string}`.split('\n');
        rest = lines.pop() ?? '';
        for (const text of lines) if (text !== '') line(text);
      }
    } catch (error) {
      throw unanswered(this.socket, error as NodeJS.ErrnoException);
    }
  }

  async #send(method: string, path: string, headers: Record<string, string>, body?: string): Promise<IncomingMessage> {
    try {
      return await this.#connect(method, path, headers, body);
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (this.#answered || this.#patienceMs === 0 || !MAY_BE_STARTING.has(code)) {
        throw unanswered(this.socket, error as NodeJS.ErrnoException);
      }
    }
    return withProgress(`waiting for the daemon at ${this.socket}`, this.#wait(method, path, headers, body));
  }

  async #wait(method: string, path: string, headers: Record<string, string>, body?: string): Promise<IncomingMessage> {
    const limit = performance.now() + this.#patienceMs;
    for (;;) {
      await sleep(AGAIN_MS);
      try {
        return await this.#connect(method, path, headers, body);
      } catch (error) {
        const { code = '' } = error as NodeJS.ErrnoException;
        if (performance.now() < limit && MAY_BE_STARTING.has(code)) continue;
        throw unanswered(this.socket, error as NodeJS.ErrnoException);
      }
    }
  }

  #connect(method: string, path: string, headers: Record<string, string>, body?: string): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const options = {
        // A connection of its own, without an Agent: that would first find out which TLS server `localhost` is.
        createConnection: () => connect(this.socket),
        method,
        path,
        headers: { accept: JSON_TYPE, ...traceContext(), ...headers },
      };
      const outgoing: ClientRequest = request(options, (answer) => {
        this.#answered = true;
        resolve(answer);
      });
      outgoing.once('error', reject);
      outgoing.end(body);
    });
  }

  async #text(answer: IncomingMessage): Promise<string> {
    answer.setEncoding('utf8');
    let text = '';
    try {
      for await (const chunk of answer) text += chunk as string;
    } catch (error) {
      throw unanswered(this.socket, error as NodeJS.ErrnoException);
    }
    return text;
  }
}

/**
 * Returns the failure for a missing or incomplete answer: no daemon, no permission, or a daemon that ended during the
 * request.
 */
export function unanswered(socket: string, error: NodeJS.ErrnoException): Failure {
  const at = `cleat does not answer at ${socket}`;
  const { code = '' } = error;
  const start = 'Start it with `cleat daemon`, or say where it listens with --socket, CLEAT_SOCKET or CLEAT_RUN_DIR.';
  if (code === 'ENOENT') return unreachable(`${at}: there is no such socket`, start, code);
  if (code === 'ECONNREFUSED') return unreachable(`${at}: nobody listens there any more`, start, code);
  if (code === 'ENOTSOCK') return unreachable(`${at}: this is no socket`, start, code);
  if (code === 'EACCES' || code === 'EPERM') {
    return unreachable(
      `${at}: you may not open it`,
      'Run this as root, or as a member of the group of the socket.',
      code,
    );
  }
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    return unreachable(
      `the daemon at ${socket} ended the connection`,
      'What it had accepted it finishes when it runs again: `cleat ps` tells how things are.',
      code,
    );
  }
  return unreachable(`${at}: ${error.message}`, start, code);
}

/** The span that this command is a part of, as programs pass it on in the environment. */
function traceContext(): Record<string, string> {
  const { TRACEPARENT: traceparent, TRACESTATE: tracestate } = process.env;
  if (!traceparent) return {};
  return tracestate ? { traceparent, tracestate } : { traceparent };
}

function refusal(answer: IncomingMessage, text: string): Failure {
  const body = parse(text) as Partial<ErrorAnswer> | null;
  if (body?.error?.message !== undefined) return new Failure(body.error);
  return noAnswer(`status ${answer.statusCode}: ${text.slice(0, 200)}`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw noAnswer(text.slice(0, 200));
  }
}

function noAnswer(what: string): Failure {
  const hint = 'Is this socket another program’s, or the daemon of another version? `cleat version` tells.';
  return new Failure(
    { code: 'NO_ANSWER', message: `the answer is not one of cleat's API: ${what}`, hint },
    EXIT.unreachable,
  );
}

function unreachable(message: string, hint: string, errno: string): Failure {
  return new Failure(
    { code: 'UNREACHABLE', message, hint, ...(errno === '' ? {} : { object: errno }) },
    EXIT.unreachable,
  );
}
