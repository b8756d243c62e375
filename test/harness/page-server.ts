/**
 * Serves the inspector's page as `cleat inspector` does, from a daemon that is not there: the test says what it answers.
 *
 * Guarantees: the files and the headers are those of the real server. Everything that the page sends is kept in `sent`.
 * Limits: one page at a time; no token.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { loadPage } from '../../cli/page/page-files.ts';
import { HEADERS } from '../../cli/page/page-server.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { JournalLine } from '../../state/answers/container/history.ts';
import type { InspectorMessage } from '../../state/answers/inspector.ts';
import { journal, network, NETWORKS, sharedBy } from './page-fleet.ts';

export class PageServer {
  containers: ContainerView[];
  maySend = true;
  /** Answers to GET /v1/inspector with this instead of the stream. */
  refusal: { status: number; code: string; message: string; hint: string } | null = null;
  /** The answer to POST /v1/events. */
  answer: (event: Record<string, unknown>) => { status: number; body: unknown } = ({ id }) => ({
    status: 200,
    body: { id, state: 'up' },
  });
  file: { name: string; text: string } | null = null;
  journals = new Map<string, JournalLine[]>();
  readonly sent: Record<string, unknown>[] = [];
  /** The Last-Event-ID of each stream that was asked for. */
  readonly resumed: (string | null)[] = [];
  readonly #page = loadPage();
  readonly #server: Server;
  readonly #streams = new Set<ServerResponse>();
  #n = 0;
  readonly #run = 'run1';

  constructor(containers: ContainerView[]) {
    this.containers = containers;
    this.#server = createServer((request, reply) => void this.#serve(request, reply));
  }

  async start(port = 0): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(port, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Ends every stream, as a daemon that ends does. */
  drop(): void {
    for (const stream of this.#streams) stream.destroy();
  }

  /** Says something to the page. */
  say(...messages: InspectorMessage[]): void {
    const text = messages.map((message) => this.#text(message)).join('');
    for (const stream of this.#streams) stream.write(text);
  }

  #text({ event, data }: InspectorMessage): string {
    return `id: ${this.#run}-${++this.#n}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
  }

  async #serve(request: IncomingMessage, reply: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(HEADERS)) reply.setHeader(name, value);
    const path = new URL(request.url ?? '/', 'http://page').pathname;
    const [, id = '', what = ''] = /^\/v1\/containers\/([^/]+)\/(\w+)$/.exec(path) ?? [];
    if (path === '/v1/inspector') return this.#stream(request, reply);
    if (path === '/v1/events') return this.#event(request, reply);
    if (path === '/source.json')
      return json(reply, this.file === null ? { kind: 'daemon' } : { kind: 'file', name: this.file.name });
    if (path === '/file.json')
      return void reply.writeHead(200, { 'content-type': 'application/x-ndjson' }).end(this.file?.text);
    if (id !== '') return this.#about(decodeURIComponent(id), what, reply);
    const file = this.#page.get(path);
    if (file === undefined) return void reply.writeHead(404).end();
    reply.writeHead(200, { 'content-type': file.type }).end(file.content);
  }

  #stream(request: IncomingMessage, reply: ServerResponse): void {
    if (this.refusal !== null) {
      const { status, ...error } = this.refusal;
      return json(reply, { error }, status);
    }
    const last = request.headers['last-event-id'] ?? null;
    this.resumed.push(last === null ? null : String(last));
    reply.writeHead(200, { 'content-type': 'text/event-stream' });
    const { containers } = this;
    const hello = {
      version: '0.1.0',
      instance: 'main',
      pid: 4242,
      run: this.#run,
      t: Date.now(),
      resumed: last !== null,
      may_send: this.maySend,
    };
    const messages: InspectorMessage[] = [{ event: 'hello', data: hello }];
    if (last === null) {
      messages.push({ event: 'containers', data: containers }, { event: 'shared', data: sharedBy(containers) });
      messages.push({ event: 'networks', data: NETWORKS.map((name, n) => network(name, n + 1)) });
    }
    reply.write(messages.map((message) => this.#text(message)).join(''));
    this.#streams.add(reply);
    reply.on('close', () => this.#streams.delete(reply));
  }

  async #event(request: IncomingMessage, reply: ServerResponse): Promise<void> {
    let text = '';
    for await (const piece of request.setEncoding('utf8')) text += piece as string;
    const event = JSON.parse(text) as Record<string, unknown>;
    this.sent.push(event);
    const { status, body } = this.answer(event);
    json(reply, body, status);
  }

  #about(id: string, what: string, reply: ServerResponse): void {
    const view = this.containers.find((container) => container.id === id);
    if (view === undefined) {
      return json(
        reply,
        { error: { code: 'NO_SUCH_CONTAINER', message: `no container ${id}`, hint: '`cleat ps`' } },
        404,
      );
    }
    const lines = this.journals.get(id) ?? journal(id, Date.now() - 60_000);
    this.journals.set(id, lines);
    if (what === 'export')
      return void reply.writeHead(200, { 'content-type': 'application/x-ndjson' }).end(exported(id, lines));
    json(reply, {
      id,
      value: view.state,
      state: view.state,
      context: { id, attachments: [] },
      children: {},
      legal: view.legal,
    });
  }
}

/** A journal as `cleat export` writes it. */
export function exported(id: string, lines: readonly JournalLine[]): string {
  const header = {
    journal: 1,
    cleat: '0.1.0',
    machine: '3',
    id,
    exported_at: 0,
    kernel: '',
    node: '',
    truncated: false,
  };
  return [header, ...lines, { kind: 'end', lines: lines.length }].map((line) => `${JSON.stringify(line)}\n`).join('');
}

function json(reply: ServerResponse, body: unknown, status = 200): void {
  reply.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
