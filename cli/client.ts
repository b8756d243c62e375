/**
 * The client of the commands: `cleat/client`, which shows what it waits for, says which span it is a part of, and collects the answers
 * to many events.
 */
import { Cleat } from '../client/client.ts';
import { CleatError, noAnswer } from '../client/error.ts';
import type { EventAnswer, EventLine, PlanLine } from '../state/answers/event.ts';
import type { LifecycleEvent } from '../state/event.ts';
import type { Refusal } from './failure.ts';
import { withProgress } from './progress.ts';

export class Client extends Cleat {
  constructor(socket: string, patienceMs: number) {
    const waiting = (end: Promise<unknown>) => void withProgress(`waiting for the daemon at ${socket}`, end);
    super({ socket, patienceMs, headers: traceContext, waiting });
  }

  /**
   * Sends many on one connection; one answer each, in the order of the events. With `wait` false: once accepted. Calls `answered` with
   * each answer.
   */
  events(events: LifecycleEvent[], wait = true, answered?: () => void): Promise<EventLine[]> {
    return collected(this.stream(events, { wait }), events.length, answered);
  }

  /** Plans many, each as if it were the only one; one answer each, in the order of the events. */
  plans(events: LifecycleEvent[]): Promise<PlanLine[]> {
    return collected(this.streamPlans(events), events.length);
  }

  /** Resolves when a teardown is done. `answer`: what the daemon has answered to it. Rejects if that is a refusal. */
  async tornDown(id: string, answer: EventAnswer | { error: Refusal }): Promise<EventAnswer> {
    // Another client's teardown may have taken over: then the requested teardown is under way.
    if ('error' in answer && answer.error.code !== 'SUPERSEDED') throw new CleatError(answer.error);
    // Others use the namespace of this container: it is removed after the last of them.
    if ('owner_gone' in answer && answer.owner_gone) return answer;
    // Waits for the container's id: once it is gone, another container may have its name.
    await this.gone('error' in answer ? id : answer.id);
    return { id, state: 'gone' };
  }
}

/** Returns the answers in the order of the events. */
async function collected<Line extends { line: number }>(
  lines: AsyncIterable<Line>,
  expected: number,
  answered?: () => void,
): Promise<Line[]> {
  const all: Line[] = [];
  for await (const line of lines) {
    all.push(line);
    answered?.();
  }
  if (all.length !== expected) throw noAnswer(`${all.length} answers to ${expected} events`);
  return all.sort((a, b) => a.line - b.line);
}

/** The span that this command is a part of, as programs pass it on in the environment. */
function traceContext(): Record<string, string> {
  const { TRACEPARENT: traceparent, TRACESTATE: tracestate } = process.env;
  if (!traceparent) return {};
  return tracestate ? { traceparent, tracestate } : { traceparent };
}
