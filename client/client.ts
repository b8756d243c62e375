/**
 * `cleat/client`: a client of the API for programs in Node, typed by the API's own description.
 *
 * Guarantees: as those of connection.ts. An event that is followed is missed by nobody without a word: a stream that breaks off goes on
 * after the last event, or with one of the type `missed`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { EventAnswer, EventLine, PlanLine } from '../state/answers/event.ts';
import type { Inspection } from '../state/answers/container/inspection.ts';
import type { Plan } from '../state/answers/container/plan.ts';
import type { Notification } from '../state/answers/notification.ts';
import type { LifecycleEvent } from '../state/event.ts';
import { AGAIN_MS, Connection, parse, type CallOptions, type ConnectionOptions } from './connection.ts';
import { CleatError, noAnswer } from './error.ts';
import type { AnswerTo, Arguments, CallRoute, InputOf, LineOf, LineRoute } from './routes.ts';
import { serverSentReader, type ServerSent } from './server-sent.ts';

export { CleatError, type CallOptions, type ConnectionOptions };
export type { AnswerTo, CallRoute, InputOf, LineOf, LineRoute };
export type { EventAnswer, EventLine, Inspection, LifecycleEvent, Notification, Plan, PlanLine };

/** A notification with the id that `after` takes. */
export type Told = Notification & { event_id: string };

export interface Follow {
  /** It has only what is told of this container. */
  id?: string;
  /** The stream begins with what has happened since this moment, as far as it is kept (ms since the epoch). */
  since?: number;
  /** The stream ends then. */
  until?: number;
  /** It begins with what has happened after this event. */
  after?: string;
  signal?: AbortSignal;
}

const JSON_TYPE = 'application/json';
const NDJSON_TYPE = 'application/x-ndjson';
const GONE_LIMIT_MS = 60_000;

type Value = string | number | boolean;
type Values = Record<string, Value | readonly Value[] | undefined>;

export class Cleat extends Connection {
  /** Asks one route: `call('GET /v1/containers/{id}', { id: 'web', wait: 'up' })`. Resolves with the body of its answer. */
  async call<Route extends CallRoute>(
    route: Route,
    ...[input, options]: Arguments<InputOf<Route>, CallOptions>
  ): Promise<AnswerTo<Route>> {
    return (await this.exchange(requestOf(route, input), options)) as AnswerTo<Route>;
  }

  /** Asks a route that answers with lines. Resolves when the daemon has begun to send. */
  async lines<Route extends LineRoute>(
    route: Route,
    ...[input, options]: Arguments<InputOf<Route>, Pick<CallOptions, 'signal'>>
  ): Promise<AsyncGenerator<LineOf<Route>, void>> {
    const answer = await this.open(requestOf(route, input), options?.signal);
    return mapped(this.linesOf(answer, options?.signal), (line) => parse(line) as LineOf<Route>);
  }

  /** Sends one event; resolves when it is done. */
  async event(event: LifecycleEvent, options?: CallOptions): Promise<EventAnswer> {
    return (await this.call('POST /v1/events', { body: event }, options)) as EventAnswer;
  }

  /** Plans one event: nothing is done. */
  async plan(event: LifecycleEvent, options?: CallOptions): Promise<Plan> {
    return (await this.call('POST /v1/events', { body: event, dry_run: true }, options)) as Plan;
  }

  /**
   * Sends many events on one connection, as they come, and yields the answer to each as it ends: those of one container in order,
   * those of different ones side by side. `wait` false: the answers come as soon as the events are certain to be done.
   */
  async *stream(
    events: Iterable<LifecycleEvent> | AsyncIterable<LifecycleEvent>,
    { wait = true, signal }: { wait?: boolean; signal?: AbortSignal } = {},
  ): AsyncGenerator<EventLine, void> {
    yield* this.#many<EventLine>('/v1/events', events, wait ? {} : { prefer: 'respond-async' }, signal);
  }

  /** Plans many events, each as if it were the only one. */
  async *streamPlans(
    events: Iterable<LifecycleEvent> | AsyncIterable<LifecycleEvent>,
    { signal }: { signal?: AbortSignal } = {},
  ): AsyncGenerator<PlanLine, void> {
    yield* this.#many<PlanLine>('/v1/events?dry_run=true', events, {}, signal);
  }

  /**
   * Yields what happens, as it happens. Goes on when the daemon is started again; rejects with UNREACHABLE if it is not there in
   * time.
   */
  async *notifications({ id, since, until, after, signal }: Follow = {}): AsyncGenerator<Told, void> {
    let last = after;
    for (;;) {
      const input = { id, since, until, Accept: 'text/event-stream', 'Last-Event-ID': last };
      const answer = await this.open(requestOf('GET /v1/events', input), signal);
      const type = answer.headers['content-type'] ?? 'of no type';
      if (!type.startsWith('text/event-stream')) throw noAnswer(type);
      let told: ServerSent[] = [];
      const read = serverSentReader((message) => told.push(message));
      try {
        for await (const piece of this.piecesOf(answer, signal)) {
          read(piece);
          for (const { id: eventId, data } of told) {
            last = eventId ?? last;
            if (data !== null) yield { ...(parse(data) as Notification), event_id: last ?? '' };
          }
          told = [];
        }
        if (until !== undefined && until <= Date.now()) return; // otherwise the daemon has ended, not the time
      } catch (error) {
        if (!(error instanceof CleatError) || error.code !== 'UNREACHABLE') throw error;
      }
      await sleep(AGAIN_MS, undefined, signal === undefined ? {} : { signal });
    }
  }

  container(id: string): Promise<Inspection> {
    return this.call('GET /v1/containers/{id}', { id }) as Promise<Inspection>;
  }

  /** Resolves when nothing is left of a container. Rejects as soon as its teardown has failed, or after a minute. */
  async gone(id: string, timeout: number = GONE_LIMIT_MS): Promise<void> {
    try {
      await this.call('GET /v1/containers/{id}', { id, wait: 'gone', timeout });
    } catch (error) {
      if (!(error instanceof CleatError && error.code === 'NO_SUCH_CONTAINER')) throw error;
    }
  }

  async *#many<Answered>(
    path: string,
    events: Iterable<LifecycleEvent> | AsyncIterable<LifecycleEvent>,
    headers: Record<string, string>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Answered, void> {
    const body = Array.isArray(events) ? (events as LifecycleEvent[]).map(lineOf).join('') : mapped(events, lineOf);
    const answer = await this.open(
      { method: 'POST', path, headers: { 'content-type': NDJSON_TYPE, ...headers }, body },
      signal,
    );
    for await (const line of this.linesOf(answer, signal)) yield parse(line) as Answered;
  }
}

const lineOf = (event: LifecycleEvent): string => `${JSON.stringify(event)}\n`;

async function* mapped<From, To>(
  all: Iterable<From> | AsyncIterable<From>,
  to: (one: From) => To,
): AsyncGenerator<Awaited<To>, void> {
  for await (const one of all) yield await to(one);
}

/** Puts each value where the route has its parameter: into the path, the query, or, if it begins with a capital, a header. */
function requestOf(route: string, input: object = {}) {
  const { body, ...values } = input as Values & { body?: unknown };
  const [method = '', template = ''] = route.split(' ', 2);
  const headers: Record<string, string> = body === undefined ? {} : { 'content-type': JSON_TYPE };
  const query = new URLSearchParams();
  let path = template;
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue;
    if (template.includes(`{${name}}`)) path = path.replace(`{${name}}`, encodeURIComponent(String(value)));
    else if (/^[A-Z]/.test(name)) headers[name.toLowerCase()] = String(value);
    else for (const one of [value].flat()) query.append(name, String(one));
  }
  const asked = query.size === 0 ? path : `${path}?${query.toString()}`;
  return { method, path: asked, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
}
