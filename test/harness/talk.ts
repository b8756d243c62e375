/**
 * Clients that never pause, and their servers: a node process in a network namespace that serves its name, and sends to
 * others as fast as they answer. It is started with `talkerIn`, and is controlled and read over IPC.
 *
 * Guarantees: a UDP client sends from one port every 10 ms, and a restless one as soon as it is answered: its
 * connection-tracking entry never ends by itself. A TCP client is one connection, which does the same. `heard` returns
 * the answers since the last call; the process ends with the test.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createConnection, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from './native.ts';

export interface Heard {
  sent: number;
  /** The number of answers of each server, by name. */
  from: Record<string, number>;
  /** The reason why a TCP client has ended; null while it goes on. */
  ended: string | null;
}

type Protocol = 'tcp' | 'udp';
type Order =
  | { do: 'serve'; protocol: Protocol; port: number; name: string }
  | { do: 'talk'; protocol: Protocol; host: string; port: number; client: number; from: number; restless: boolean }
  | { do: 'heard'; client: number };

const AGAIN_MS = 10;

export class Talker {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: unknown) => void>();
  #orders = 0;
  #clients = 0;

  constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', ({ id, answer }: { id: number; answer: unknown }) => this.#waiting.get(id)?.(answer));
  }

  async serve(name: string, protocol: Protocol, port: number): Promise<void> {
    await this.#order({ do: 'serve', protocol, port, name });
  }

  /** Starts a client; `from` is its port, any unless given. */
  async talk(
    protocol: Protocol,
    host: string,
    port: number,
    { from = 0, restless = false }: { from?: number; restless?: boolean } = {},
  ): Promise<Client> {
    const client = this.#clients++;
    await this.#order({ do: 'talk', protocol, host, port, client, from, restless });
    return new Client(`${protocol} to ${host} ${port}`, () => this.#order<Heard>({ do: 'heard', client }));
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }

  #order<T>(order: Order): Promise<T> {
    const id = ++this.#orders;
    const answer = new Promise<T>((resolve) => this.#waiting.set(id, resolve as (answer: unknown) => void));
    this.#child.send({ id, ...order });
    return answer;
  }
}

export class Client {
  readonly what: string;
  readonly heard: () => Promise<Heard>;

  constructor(what: string, heard: () => Promise<Heard>) {
    this.what = what;
    this.heard = heard;
  }

  /**
   * Waits until these and nobody else answer, or nobody does, for a whole window of answers, or of messages without
   * one. Messages under way fill one window at most, so that happens soon, or never: returns the last window then.
   */
  async servedBy(expected: readonly string[], patience = 20_000): Promise<string[]> {
    const deadline = performance.now() + patience;
    for (;;) {
      const seen = await this.#window(expected.length === 0, deadline);
      if (seen.join() === expected.join() || performance.now() > deadline) return seen;
    }
  }

  async #window(silent: boolean, deadline: number): Promise<string[]> {
    const from: Record<string, number> = {};
    let [sent, answers] = [0, 0];
    while (performance.now() < deadline) {
      const heard = await this.heard();
      sent += heard.sent;
      for (const [name, times] of Object.entries(heard.from)) {
        from[name] = (from[name] ?? 0) + times;
        answers += times;
      }
      if (heard.ended !== null || answers >= 5 || (silent && sent >= 30)) break;
      await sleep(10);
    }
    return Object.keys(from).toSorted();
  }

  /** Waits until it has ended; returns the reason. */
  async end(patience?: number): Promise<string> {
    let why: string | null = null;
    await until(`${this.what}: ends`, async () => (why = (await this.heard()).ended) !== null, patience);
    return why ?? '';
  }
}

/** A talker in the namespace at `path`, or in the test's own. */
export async function talkerIn(path: string | null): Promise<Talker> {
  const enter = path === null ? {} : { execPath: 'nsenter', execArgv: [`--net=${path}`, '--', process.execPath] };
  const child = fork(import.meta.filename, ['talker'], enter);
  await once(child, 'message');
  return new Talker(child);
}

// --- In the process ---------------------------------------------------------------------------------------------

const heard = new Map<number, Heard>();

function serve({ protocol, port, name }: Extract<Order, { do: 'serve' }>, ready: () => void): void {
  if (protocol === 'tcp') {
    const server = createServer((socket) => {
      socket.on('error', () => {}).on('data', () => socket.write(`${name}\n`));
    });
    server.listen(port, '::', ready);
    return;
  }
  const socket = createSocket('udp6');
  socket.on('message', (_, { address, port: back }) => socket.send(name, back, address));
  socket.bind(port, '::', ready);
}

function talk(
  { protocol, host, port, client, from, restless }: Extract<Order, { do: 'talk' }>,
  ready: () => void,
): void {
  const mine: Heard = { sent: 0, from: {}, ended: null };
  heard.set(client, mine);
  let timer: NodeJS.Timeout | undefined;
  const again = (send: () => void) => {
    clearTimeout(timer);
    if (mine.ended !== null) return;
    mine.sent++;
    send();
    timer = setTimeout(() => again(send), AGAIN_MS);
  };
  const answered = (names: string) => {
    for (const name of names.trim().split('\n')) mine.from[name] = (mine.from[name] ?? 0) + 1;
  };
  if (protocol === 'tcp') {
    const socket = createConnection({ host, port });
    const send = () => socket.write('?');
    const end = (why: string) => (mine.ended ??= why);
    socket.setEncoding('utf8');
    socket.on('connect', () => again(send)).on('connect', ready);
    socket.on('data', (text: string) => {
      answered(text);
      if (restless) again(send);
    });
    socket.on('error', ({ code = '' }: NodeJS.ErrnoException) => end(code)).on('close', () => end('closed'));
    socket.on('error', ready);
    return;
  }
  // Not connected: an ICMP error would end a connected one.
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  const send = () => socket.send('?', port, host, () => {});
  socket
    .on('error', () => {})
    .on('message', (text) => {
      answered(text.toString());
      if (restless) again(send);
    });
  socket.bind(from, () => {
    again(send);
    ready();
  });
}

if (process.argv[2] === 'talker' && process.send !== undefined) {
  process.on('disconnect', () => process.exit(0));
  process.on('message', (order: Order & { id: number }) => {
    const answer = (what: unknown) => void process.send?.({ id: order.id, answer: what });
    if (order.do === 'serve') return serve(order, () => answer(null));
    if (order.do === 'talk') return talk(order, () => answer(null));
    const mine = heard.get(order.client)!;
    answer({ ...mine, from: { ...mine.from } });
    mine.sent = 0;
    mine.from = {};
  });
  process.send({ id: 0, answer: 'ready' });
}
