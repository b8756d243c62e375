/**
 * A minimal client of cleat's API for measuring: keep-alive connections on the Unix socket, nothing in between. The
 * part of the API that the benchmarks use is written down here and nowhere else in this folder.
 *
 * Guarantees: a time runs from passing the request to node:http to the last byte of the answer; an answer that is not a
 * success rejects with its text.
 * Limits: a stream's answer is read whole; a request is repeated only if the daemon had closed the idle connection it
 * was written to, and then its time starts again.
 */
import { Agent, request, type ClientRequest } from 'node:http';
import type { PortRun } from './floor/floor.ts';

export const NETWORK = 'bench';
export const BRIDGE = 'cleatbench0';

const EVENTS = '/v1/events';

export interface Answer {
  ms: number;
  status: number;
  body: string;
}

export type LifecycleEvent = { type: 'create' | 'configure' | 'teardown'; id: string } & Record<string, unknown>;

/** The two events that bring a container up. */
export function upEvents(id: string, ports: PortRun, network = NETWORK): [LifecycleEvent, LifecycleEvent] {
  const mappings = Array.from({ length: ports.count }, (_, i) => ({
    host_port: ports.first + i * ports.step,
    container_port: ports.first + i * ports.step,
    protocol: 'tcp',
  }));
  return [
    {
      type: 'create',
      id,
      networks: { [network]: {} },
      ...(ports.count > 0 ? { port_mappings: mappings } : {}),
    },
    { type: 'configure', id },
  ];
}

export class Client {
  private readonly agent: Agent;
  private readonly socketPath: string;

  constructor(socketPath: string, connections = 1) {
    this.socketPath = socketPath;
    this.agent = new Agent({ keepAlive: true, maxSockets: connections, scheduling: 'fifo' });
  }

  event(event: LifecycleEvent): Promise<Answer> {
    return this.send('POST', EVENTS, JSON.stringify(event), 'application/json');
  }

  /** Sends several events in one request body; rejects when any line of the answer reports an error. */
  async events(events: LifecycleEvent[]): Promise<Answer> {
    const body = events.map((event) => `${JSON.stringify(event)}\n`).join('');
    const answer = await this.send('POST', EVENTS, body, 'application/x-ndjson');
    const lines = answer.body.split('\n').filter((line) => line !== '');
    const failed = lines.find((line) => (JSON.parse(line) as { status: number }).status >= 300);
    if (failed !== undefined) throw new Error(`one of ${events.length} events: ${failed.slice(0, 400)}`);
    if (lines.length !== events.length) throw new Error(`${events.length} events, ${lines.length} answers`);
    return answer;
  }

  /** Sends the JSON of an engine. */
  post(path: string, json: string): Promise<Answer> {
    return this.send('POST', path, json, 'application/json');
  }

  get(path: string): Promise<Answer> {
    return this.send('GET', path);
  }

  version(): Promise<Answer> {
    return this.send('GET', '/v1/version');
  }

  /** The bridge has a name of our own choice, so that its ports can be counted in /sys without asking the daemon. */
  makeNetwork(name = NETWORK, bridge = BRIDGE, subnet = '10.77.0.0/16'): Promise<Answer> {
    const network = { name, network_interface: bridge, subnets: [{ subnet }], dns_enabled: false };
    return this.send('POST', '/v1/networks', JSON.stringify(network), 'application/json');
  }

  removeNetwork(name: string): Promise<Answer> {
    return this.send('DELETE', `/v1/networks/${name}`);
  }

  containers(): Promise<Answer> {
    return this.send('GET', '/v1/containers');
  }

  /** Returns the path of a container's namespace. */
  async netnsOf(id: string): Promise<string> {
    const { body } = await this.send('GET', `/v1/containers/${id}`);
    return (JSON.parse(body) as { netns: { path: string } }).netns.path;
  }

  waitGone(id: string): Promise<Answer> {
    return this.send('GET', `/v1/containers/${id}?wait=gone`, undefined, undefined, true);
  }

  close(): void {
    this.agent.destroy();
  }

  private send(method: string, path: string, body?: string, type?: string, missingIsFine = false): Promise<Answer> {
    const again = (): Promise<Answer> => this.send(method, path, body, type, missingIsFine);
    return new Promise((resolve, reject) => {
      const start = performance.now();
      const headers =
        body === undefined ? {} : { 'content-type': type ?? '', 'content-length': String(Buffer.byteLength(body)) };
      const outgoing = request(
        { socketPath: this.socketPath, agent: this.agent, method, path, headers },
        (incoming) => {
          const chunks: Buffer[] = [];
          incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
          incoming.once('error', reject);
          incoming.once('end', () => {
            const ms = performance.now() - start;
            const status = incoming.statusCode ?? 0;
            const text = Buffer.concat(chunks).toString();
            if (status < 300 || (missingIsFine && status === 404)) resolve({ ms, status, body: text });
            else reject(new Error(`${method} ${path}: ${status} ${text.slice(0, 400)}`));
          });
        },
      );
      outgoing.once('error', (error: NodeJS.ErrnoException) => {
        // Between two scenarios a connection idles for longer than a server keeps it.
        const stale = outgoing.reusedSocket && (error.code === 'EPIPE' || error.code === 'ECONNRESET');
        if (stale) again().then(resolve, reject);
        else reject(error);
      });
      outgoing.end(body);
    });
  }
}

/**
 * One request that stays open, as an engine keeps it: events are lines in, answers are lines out, in the order of the
 * events.
 */
export class Stream {
  readonly #outgoing: ClientRequest;
  #rest = '';
  #lines: string[] = [];
  #waiting: { count: number; answered: (lines: string[]) => void } | null = null;

  constructor(socketPath: string) {
    const headers = { 'content-type': 'application/x-ndjson' };
    this.#outgoing = request({ socketPath, method: 'POST', path: EVENTS, headers }, (incoming) => {
      incoming.setEncoding('utf8').on('data', (text: string) => this.#take(text));
    });
    this.#outgoing.on('error', () => {}); // the daemon was killed, by the code that waits for the answer
    this.#outgoing.flushHeaders();
  }

  /** Writes the events in one go; the time is until each has its answer. One call at a time. */
  async events(events: LifecycleEvent[]): Promise<Answer> {
    const body = events.map((event) => `${JSON.stringify(event)}\n`).join('');
    const start = performance.now();
    const lines = await new Promise<string[]>((answered) => {
      this.#waiting = { count: events.length, answered };
      this.#outgoing.write(body);
    });
    const ms = performance.now() - start;
    const failed = lines.find((line) => (JSON.parse(line) as { status: number }).status >= 300);
    if (failed !== undefined) throw new Error(failed.slice(0, 400));
    return { ms, status: 200, body: lines.join('\n') };
  }

  close(): void {
    this.#outgoing.destroy();
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    this.#lines.push(...lines);
    if (this.#waiting === null || this.#lines.length < this.#waiting.count) return;
    const { answered } = this.#waiting;
    const done = this.#lines;
    this.#waiting = null;
    this.#lines = [];
    answered(done);
  }
}
