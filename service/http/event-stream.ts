/**
 * Handles many events on one connection (NDJSON): each line is an event, each answer a line.
 *
 * Guarantees: events of one container run in order, those of different ones side by side. The events under way and their bytes
 * are bounded. If the client does not read its answers, no more of its events are read. After a create that failed, the events of
 * its container are not tried; after one that cannot be planned, the others are planned.
 * Limits: answers come in the order in which events end; `line` says which event each is of.
 */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { inTurn } from '../../effects/turns.ts';
import type { EventLine, PlanLine } from '../../state/answers/event.ts';
import { FaultError } from '../../state/faults.ts';
import type { Peer } from '../requests/authorise.ts';
import type { Connections } from '../requests/connections.ts';
import { MAX_LINE, readLines } from '../requests/ndjson.ts';
import { refusal } from '../requests/refusals.ts';
import { Calls, parseLine, type Line } from '../requests/stream-lines.ts';
import { APPLIED } from './event-answer.ts';

export type Answered = Pick<EventLine | PlanLine, 'status' | 'body'>;

export interface StreamParts {
  peer: Peer;
  connections: Connections;
  /** Handles one event, from unknown JSON to the answer. It never throws. */
  handle: (json: unknown) => Promise<Answered>;
  /** Returns the id of the container that is called so. */
  idOf: (text: string) => string;
  /** Is true if the events are only planned, each as if it were the only one. */
  dry: boolean;
  /** Is false if each answer comes as soon as its event is certain to be done. */
  wait: boolean;
}

/** Limit the events of one stream that are under way at the same time, and their bytes. Later lines wait in the socket. */
const MAX_UNDER_WAY = 4096;
const MAX_UNDER_WAY_BYTES = 4 * MAX_LINE;

/** Handles many events on one connection: in order for one container, concurrently for different ones. */
export async function streamEvents(
  request: FastifyRequest,
  reply: FastifyReply,
  { peer, connections, handle, idOf, dry, wait }: StreamParts,
): Promise<void> {
  reply.hijack();
  connections.unhurried(request.raw);
  const out = reply.raw;
  const { socket } = request.raw;
  out.writeHead(200, { 'content-type': 'application/x-ndjson', ...(wait || dry ? {} : APPLIED) });
  /** Holds the last event of each container that has an event under way. */
  const turns = new Map<unknown, Promise<unknown>>();
  let underWay = 0;
  let bytes = 0;
  const keep = (more: number) => connections.keep(peer, more);
  const release = (less: number) => connections.release(peer, less);
  let goOn = () => {};
  let line = 0;
  const calls = new Calls(idOf);
  /**
   * Holds, for each container whose create failed, the last line that had arrived by then. Events up to that line are not tried: the
   * client sent them before it knew of the failure.
   */
  const hopeless = new Map<unknown, number>();
  const write = (n: number, result: Answered) => {
    const answered = { line: n, ...result } as EventLine | PlanLine;
    if (!socket.destroyed) out.write(`${JSON.stringify(answered)}\n`);
  };
  const answer = async (n: number, event: Line, key: unknown) => {
    if (event instanceof Error) return write(n, refusal(event));
    if (n <= (hopeless.get(key) ?? 0)) {
      return write(n, refusal(new FaultError('SUPERSEDED', 'not tried: the create before it failed')));
    }
    const result = await handle(event);
    if (event?.type === 'create' && result.status >= 400 && !dry) hopeless.set(key, line);
    write(n, result);
  };
  try {
    for await (const text of readLines(request.raw, { keep, release })) {
      keep(text.length);
      bytes += text.length;
      const event = parseLine(text);
      const key = calls.idIn(event);
      const n = ++line;
      const mine = inTurn(turns, key, () => answer(n, event, key)).then(() => {
        calls.answered(event);
        if (!turns.has(key)) hopeless.delete(key); // a stream may stay open for months
      });
      underWay++;
      void mine.then(() => {
        underWay--;
        bytes -= text.length;
        release(text.length);
        goOn();
      });
      while (underWay >= MAX_UNDER_WAY || bytes >= MAX_UNDER_WAY_BYTES)
        await new Promise<void>((resolve) => (goOn = resolve));
      // If the client does not read its answers, no more of its events are read until it does.
      if (out.writableNeedDrain && !socket.destroyed) await drained(out, socket);
    }
  } catch (error) {
    write(line + 1, refusal(error));
  }
  await Promise.all(turns.values());
  out.end();
}

/**
 * Resolves when everything written has gone to the socket, or the socket is closed. Node does not announce the end of an answer that
 * still waits for the one before it on its connection.
 */
async function drained(out: ServerResponse, socket: Socket): Promise<void> {
  const over = new AbortController();
  const { signal } = over;
  await Promise.race([once(out, 'drain', { signal }), once(socket, 'close', { signal })]).catch(() => {});
  over.abort();
}
