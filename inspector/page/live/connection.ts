/**
 * Connects the page to the daemon: reads the stream of GET /v1/inspector, and opens it again when it ends.
 *
 * Guarantees: goes on after the last event that arrived (Last-Event-ID). Events are handed over once per frame of the display,
 * however many came; in a tab that nobody sees, a few times a second. A refusal is told with the daemon's own words, and is
 * tried again, because it may be mended meanwhile.
 * Limits: a daemon that is gone is asked for again after at most MAX_PAUSE_MS.
 */
import type { Message } from '../model/wire.ts';
import { EventParser } from './parse.ts';
import { refusalOf } from './refusal.ts';

export type Standing =
  | { is: 'connecting' }
  | { is: 'live' }
  /** `since`: when it was lost. */
  | { is: 'lost'; since: number }
  | { is: 'refused'; why: string };

interface Listener {
  messages(batch: readonly Message[]): void;
  standing(standing: Standing): void;
}

/** The same object each time: who listens need not look again. */
const LIVE: Standing = { is: 'live' };
const MIN_PAUSE_MS = 250;
const MAX_PAUSE_MS = 4000;
const HIDDEN_PAUSE_MS = 250;

export function connect(listener: Listener): void {
  const parser = new EventParser();
  let waiting: Message[] = [];
  let frame = 0;
  let timer: ReturnType<typeof setTimeout> | null = null;

  const flush = (): void => {
    cancelAnimationFrame(frame);
    if (timer !== null) clearTimeout(timer);
    timer = null;
    const batch = waiting;
    waiting = [];
    listener.messages(batch);
  };
  const schedule = (): void => {
    if (timer !== null) return;
    frame = requestAnimationFrame(flush);
    // A hidden page has no frames, and it may be hidden before the next one.
    timer = setTimeout(flush, HIDDEN_PAUSE_MS);
  };

  let pause = MIN_PAUSE_MS;
  let since: number | null = null;

  /** Reads until the stream ends. */
  const read = async (): Promise<void> => {
    parser.begin();
    const headers = { accept: 'text/event-stream', ...(parser.last === '' ? {} : { 'last-event-id': parser.last }) };
    const answer = await fetch('/v1/inspector', { headers, cache: 'no-store' });
    if (!answer.ok || answer.body === null) throw new Refusal(answer.status, await refusalOf(answer));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      for (const { event, data } of parser.read(part.value))
        waiting.push({ event, data: JSON.parse(data) as unknown } as Message);
      if (waiting.length === 0) continue;
      if (since !== null || pause !== MIN_PAUSE_MS) [since, pause] = [null, MIN_PAUSE_MS];
      listener.standing(LIVE);
      schedule();
    }
  };

  const run = async (): Promise<never> => {
    for (;;) {
      const error = await read().then(
        () => new Error('the stream has ended'),
        (error: unknown) => error,
      );
      since ??= Date.now();
      const refused = error instanceof Refusal && error.status < 500;
      listener.standing(refused ? { is: 'refused', why: error.message } : { is: 'lost', since });
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(2 * pause, MAX_PAUSE_MS);
    }
  };
  void run();
}

class Refusal extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}
