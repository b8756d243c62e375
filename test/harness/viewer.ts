/**
 * A viewer of the inspector's stream: reads text/event-stream from the daemon's socket or from the page server, and keeps what it
 * got.
 *
 * Guarantees: every field of the stream is read as the HTML standard says, but for line ends other than LF. `last` is what a
 * browser would send as Last-Event-ID.
 */
import { once } from 'node:events';
import { request, type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import type { InspectorMessage } from '../../state/answers/inspector.ts';
import { until } from './native.ts';

export type Message = InspectorMessage & { id: string | null };

/** The data of each message, by its name. */
type Data = { [Name in InspectorMessage['event']]: Extract<InspectorMessage, { event: Name }>['data'] };

export class Viewer {
  readonly messages: Message[] = [];
  /** The id of the last message that had one. */
  last: string | null = null;
  /** True when the stream has ended. */
  over = false;
  /** Comments, which keep the connection alive. */
  comments = 0;
  /** The length of what has been read. */
  bytes = 0;
  readonly #outgoing: ClientRequest;
  readonly #answer: IncomingMessage;
  #rest = '';

  private constructor(outgoing: ClientRequest, answer: IncomingMessage) {
    this.#outgoing = outgoing;
    this.#answer = answer;
    answer.setEncoding('utf8');
    answer.on('data', (chunk: string) => this.#read(chunk));
    answer.on('error', () => {});
    answer.on('close', () => (this.over = true));
  }

  /** Rejects with the answer's text if it is no stream. `last`: the id to go on from. */
  static async open(where: RequestOptions, last: string | null = null): Promise<Viewer> {
    const headers = { ...(where.headers as object), ...(last === null ? {} : { 'last-event-id': last }) };
    const outgoing = request({ path: '/v1/inspector', agent: false, ...where, headers });
    outgoing.end();
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    outgoing.on('error', () => {});
    if (answer.statusCode !== 200) throw new Error(`${answer.statusCode} ${(await answer.toArray()).join('')}`);
    const viewer = new Viewer(outgoing, answer);
    await until('the stream begins', () => viewer.over || viewer.messages.length > 0, 20_000);
    return viewer;
  }

  #read(chunk: string): void {
    this.bytes += chunk.length;
    const parts = (this.#rest + chunk).split('\n\n');
    this.#rest = parts.pop() ?? '';
    for (const part of parts) {
      const fields = part.split('\n').map((line) => /^([^:]*): ?(.*)$/.exec(line) ?? []);
      const field = (name: string) => fields.find(([, found]) => found === name)?.[2] ?? null;
      this.comments += fields.filter(([, name]) => name === '').length;
      const [event, data, id] = [field('event'), field('data'), field('id')];
      if (id !== null) this.last = id;
      if (event === null || data === null) continue;
      this.messages.push({ event, data: JSON.parse(data) as unknown, id } as Message);
    }
  }

  /** Returns the data of the messages of this name. */
  of<Name extends keyof Data>(name: Name): Data[Name][] {
    return this.messages.filter(({ event }) => event === name).map(({ data }) => data as Data[Name]);
  }

  /** Resolves when a message of this name fits. */
  async has<Name extends keyof Data>(name: Name, fits: (data: Data[Name]) => boolean): Promise<Data[Name]> {
    await until(`the viewer gets a fitting ${name}`, () => this.over || this.of(name).some(fits), 20_000);
    const found = this.of(name).findLast(fits);
    if (found === undefined) throw new Error(`the stream ended without a fitting ${name}`);
    return found;
  }

  /** Stops to read, and leaves what comes in the socket. */
  pause(): void {
    this.#answer.pause();
  }

  resume(): void {
    this.#answer.resume();
  }

  async close(): Promise<void> {
    this.#outgoing.destroy();
    await until('the stream is closed', () => this.over);
  }
}
