/**
 * Sends spans to an OTLP endpoint, by the official OpenTelemetry packages.
 *
 * Guarantees: this file is the only one that loads them, and is itself loaded only when an endpoint is given (open-traces.ts). The
 * standard variables mean what the packages make of them: endpoint, headers, certificates, timeout, sampler, limits, resource.
 * Whatever the endpoint does, spans wait in a queue of bounded length and are dropped when it is full; nothing waits for them
 * but the end of the daemon, for a bounded time. A trouble is logged once, and again when it is over.
 * Limits: OTLP as JSON over HTTP. The build bundles this file apart from the daemon (scripts/bundle.ts), so it must not import
 * anything of which there may be only one.
 */
import {
  DiagLogLevel,
  diag,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type SpanContext,
} from '@opentelemetry/api';
import { ExportResultCode, setGlobalErrorHandler, W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import {
  defaultResource,
  detectResources,
  envDetector,
  hostDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from '@opentelemetry/sdk-trace-base';
import type { Check } from '../../state/answers/doctor.ts';
import type { Log } from '../report/log.ts';
import type { SpanSource } from './work.ts';

/** Has header fields, of which those of W3C Trace Context name the caller's span. */
export type Caller = Readonly<Record<string, string | string[] | undefined>>;

export interface Connection extends SpanSource {
  /** Returns the span of the caller; null if it names none, or not as the specification asks. */
  caller(fields: Caller): SpanContext | null;
  check(): Check;
  /** Sends what is in the queue, and ends. Resolves after `ms` at the latest. */
  close(ms: number): Promise<void>;
}

interface Settings {
  /** It is the base URL of the endpoint, and null if the variables have it. */
  endpoint: string | null;
  /** Is shown in place of the endpoint, which may have a password. */
  shown: string;
  version: string;
  log: Log;
}

export function connect({ endpoint, shown, version, log }: Settings): Connection {
  const troubles = new Troubles(shown, log);
  const exporter = new OTLPTraceExporter(endpoint === null ? {} : { url: `${endpoint.replace(/\/$/, '')}/v1/traces` });
  const resource = defaultResource()
    .merge(resourceFromAttributes({ 'service.name': 'cleat', 'service.version': version }))
    .merge(detectResources({ detectors: [hostDetector, envDetector] }));
  const provider = new BasicTracerProvider({
    resource,
    spanProcessors: [new BatchSpanProcessor(noting(exporter, () => troubles.end()))],
  });
  const tracer = provider.getTracer('cleat', version);
  const propagator = new W3CTraceContextPropagator();
  const getter = {
    keys: (fields: Caller) => Object.keys(fields),
    get: (fields: Caller, key: string) => fields[key],
  };
  return {
    start: (name, options, parent, served) => {
      const context = parent === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent);
      return tracer.startSpan(name, { ...options, kind: served ? SpanKind.SERVER : SpanKind.INTERNAL }, context);
    },
    fail: (span, message) => void span.setStatus({ code: SpanStatusCode.ERROR, message }),
    caller: (fields) => trace.getSpanContext(propagator.extract(ROOT_CONTEXT, fields, getter)) ?? null,
    check: () => troubles.check(),
    close: async (ms) => {
      const timer = { late: null as NodeJS.Timeout | null };
      const late = new Promise<void>((resolve) => (timer.late = setTimeout(resolve, ms)));
      await Promise.race([late, provider.shutdown().catch((error: unknown) => troubles.begin(error))]);
      if (timer.late !== null) clearTimeout(timer.late);
    },
  };
}

/** Returns the exporter with a call of `sent` after each success. */
function noting(exporter: OTLPTraceExporter, sent: () => void): SpanExporter {
  return {
    export: (spans, done) =>
      exporter.export(spans, (result) => {
        if (result.code === ExportResultCode.SUCCESS) sent();
        done(result);
      }),
    forceFlush: () => exporter.forceFlush(),
    shutdown: () => exporter.shutdown(),
  };
}

/** Tells what goes wrong between here and the endpoint. */
class Troubles {
  readonly #shown: string;
  readonly #log: Log;
  readonly #said = new Set<string>();
  #why: string | null = null;

  constructor(shown: string, log: Log) {
    this.#shown = shown;
    this.#log = log;
    // The packages report by these two: a failed export, and settings that they do not understand or spans that they drop.
    setGlobalErrorHandler((error) => this.begin(error));
    const warn = (text: string) => this.#warn(text);
    const ignore = () => {};
    diag.setLogger(
      { error: warn, warn, info: ignore, debug: ignore, verbose: ignore },
      { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
    );
  }

  begin(error: unknown): void {
    const before = this.#why;
    this.#why = reasonOf(error);
    if (before === null) this.#log.warn({ event: 'traces' }, `${this.#lost()}; this is not said again until they do`);
  }

  end(): void {
    if (this.#why === null) return;
    this.#why = null;
    this.#log.warn({ event: 'traces' }, `traces arrive at ${this.#shown} again`);
  }

  check(): Check {
    const name = 'traces';
    if (this.#why === null) return { name, ok: true, severity: 'warning', text: `traces go to ${this.#shown}` };
    const hint =
      'look at the collector and at --otlp-endpoint; containers do not depend on it, and spans are dropped meanwhile';
    return { name, ok: false, severity: 'warning', text: this.#lost(), hint };
  }

  #lost(): string {
    return `traces do not arrive at ${this.#shown}: ${this.#why}`;
  }

  /** Logs a text once; those that differ in their numbers alone are one. */
  #warn(text: string): void {
    const kind = text.replace(/\d+/g, '0');
    if (this.#said.has(kind)) return;
    this.#said.add(kind);
    this.#log.warn({ event: 'traces' }, `OpenTelemetry: ${text}`);
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as { code?: unknown };
  const { message } = error as { message?: string };
  return typeof code === 'number' ? `${message ?? ''} (status ${code})` : (message ?? '') || String(code);
}
