/**
 * An OTLP endpoint as a collector offers it: HTTP, JSON. It keeps the spans that it is sent, and can fail in the ways in which
 * collectors do.
 *
 * Limits: it reads the fields that the tests look at.
 */
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { until } from './native.ts';

type Value = string | number | boolean;

export interface SeenSpan {
  name: string;
  kind: number;
  trace: string;
  id: string;
  /** The span above, also if it is a caller's; '' for none. */
  parent: string;
  /** Nanoseconds since the epoch. */
  start: bigint;
  end: bigint;
  attributes: Record<string, Value>;
  /** Null: not an error. */
  error: string | null;
  /** The spans that it has links to. */
  links: string[];
  state: string;
  resource: Record<string, Value>;
}

interface Sent {
  resourceSpans?: {
    resource?: { attributes?: Attribute[] };
    scopeSpans?: { spans?: Raw[] }[];
  }[];
}

interface Attribute {
  key: string;
  value: { stringValue?: string; intValue?: number | string; doubleValue?: number; boolValue?: boolean };
}

interface Raw {
  name: string;
  kind: number;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  traceState?: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes?: Attribute[];
  links?: { spanId: string }[];
  status?: { code?: number; message?: string };
}

export class Collector {
  readonly spans: SeenSpan[] = [];
  /** The headers of each request that was sent. */
  readonly requests: IncomingHttpHeaders[] = [];
  readonly paths: string[] = [];
  /** The status of its answers; 0: it never answers. */
  status = 200;
  #server: Server | null = null;
  #port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Listens; again on the same port after `close`. */
  async listen(): Promise<void> {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        this.requests.push(request.headers);
        this.paths.push(request.url ?? '');
        if (this.status === 0) return;
        if (this.status === 200) this.#keep(JSON.parse(Buffer.concat(chunks).toString()) as Sent);
        response.writeHead(this.status, { 'content-type': 'application/json' }).end('{}');
      });
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(this.#port, '127.0.0.1', resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  async close(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }

  /** Resolves with the spans of this name, when there is one. */
  async find(name: string, so: (span: SeenSpan) => boolean = () => true): Promise<SeenSpan> {
    const found = () => this.spans.find((span) => span.name === name && so(span));
    await until(`a span ${name}`, () => found() !== undefined);
    const span = found();
    if (span === undefined) throw new Error(`no span ${name}`);
    return span;
  }

  /** The spans below one, in the order in which they began. */
  below({ id }: SeenSpan): SeenSpan[] {
    return this.spans
      .filter(({ parent }) => parent === id)
      .sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  }

  /** The tree below a span, as names: `attachment` with two effects is { name: 'attachment', has: [..., ...] }. */
  tree(span: SeenSpan): Tree {
    const has = this.below(span).map((one) => this.tree(one));
    return has.length === 0 ? span.name : { [span.name]: has };
  }

  #keep({ resourceSpans = [] }: Sent): void {
    for (const { resource = {}, scopeSpans = [] } of resourceSpans) {
      const common = valuesOf(resource.attributes);
      for (const { spans = [] } of scopeSpans) for (const raw of spans) this.spans.push(seen(raw, common));
    }
  }
}

export type Tree = string | { [name: string]: Tree[] };

function seen(raw: Raw, resource: Record<string, Value>): SeenSpan {
  return {
    name: raw.name,
    kind: raw.kind,
    trace: raw.traceId,
    id: raw.spanId,
    parent: raw.parentSpanId ?? '',
    start: BigInt(raw.startTimeUnixNano),
    end: BigInt(raw.endTimeUnixNano),
    attributes: valuesOf(raw.attributes),
    error: raw.status?.code === 2 ? (raw.status.message ?? '') : null,
    links: (raw.links ?? []).map(({ spanId }) => spanId),
    state: raw.traceState ?? '',
    resource,
  };
}

const valuesOf = (attributes: readonly Attribute[] = []): Record<string, Value> =>
  Object.fromEntries(
    attributes.map(({ key, value: { stringValue, intValue, doubleValue, boolValue } }) => [
      key,
      stringValue ?? doubleValue ?? boolValue ?? Number(intValue),
    ]),
  );
