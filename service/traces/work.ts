/**
 * A piece of work that takes time, as a span: a request, an operation, a nested machine or an effect.
 *
 * Guarantees: the spans of one trace have one clock, set when the first of them begins, so that they nest whatever the clock of
 * the host does meanwhile. A span ends once.
 * Limits: where a span goes, and whether it goes anywhere, is decided by the packages behind `SpanSource` (otlp.ts).
 */
import type { Attributes, Span, SpanContext, SpanOptions } from '@opentelemetry/api';
import type { Fault } from '../../state/faults.ts';

/** Makes spans. */
export interface SpanSource {
  /** Begins a span. `served` is true for that of a server's request. */
  start(name: string, options: SpanOptions, parent: SpanContext | null, served: boolean): Span;
  fail(span: Span, message: string): void;
}

interface Beginning {
  /** It is the work that this one is a part of, or that waits for it. */
  parent?: Work | null;
  /** It is the span of the caller, in another process. */
  caller?: SpanContext | null;
  /** It is the work that this one follows. */
  follows?: Work;
  attributes: Attributes;
}

export class Work {
  readonly parent: Work | null;
  readonly #spans: SpanSource;
  readonly #span: Span;
  readonly #clock: () => number;
  readonly #began: number;
  #last: number;
  #over = false;

  constructor(spans: SpanSource, name: string, { parent = null, caller, follows, attributes }: Beginning) {
    this.parent = parent;
    this.#spans = spans;
    this.#clock = parent === null ? clock() : parent.#clock;
    this.#began = this.#clock();
    this.#last = this.#began;
    const options: SpanOptions = {
      startTime: this.#began,
      attributes,
      ...(follows === undefined ? {} : { links: [{ context: follows.#span.spanContext() }] }),
    };
    const outer = parent === null ? (caller ?? null) : parent.#span.spanContext();
    this.#span = spans.start(name, options, outer, caller !== undefined);
  }

  get over(): boolean {
    return this.#over;
  }

  set(attributes: Attributes): void {
    this.#span.setAttributes(attributes);
  }

  /** Notes how long the work has waited for something: since it began, or since it was noted last. */
  waited(what: 'accept' | 'turn' | 'disk'): void {
    const now = this.#clock();
    this.#span.setAttribute(`cleat.waited.${what}_ms`, Math.round((now - this.#last) * 1000) / 1000);
    this.#last = now;
  }

  /** Notes that this work has waited for another one, which is not a part of it. */
  waitedFor(other: Work): void {
    this.#span.addLink({ context: other.#span.spanContext() });
  }

  end(fault: Fault | null = null, attributes: Attributes = {}): void {
    if (this.#over) return;
    this.#over = true;
    this.#span.setAttributes(fault === null ? attributes : { ...attributes, ...blame(fault) });
    if (fault !== null) this.#spans.fail(this.#span, fault.message);
    this.#span.end(this.#clock());
  }
}

/** Returns the innermost of these that is still under way: the work itself, or what it is a part of. */
export function underWay(work: Work | null | undefined): Work | null {
  let found = work ?? null;
  while (found?.over === true) found = found.parent;
  return found;
}

/** Returns a clock in milliseconds since the epoch, with fractions, which only goes forward. */
function clock(): () => number {
  const offset = Date.now() - performance.now();
  return () => offset + performance.now();
}

function blame({ code, errno, syscall, object }: Fault): Attributes {
  const known = { 'cleat.errno': errno, 'cleat.syscall': syscall, 'cleat.object': object };
  return {
    'error.type': code,
    ...Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined)),
  };
}
