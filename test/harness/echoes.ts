/**
 * Traffic through the published ports of many containers at once: a numbered message to each, and the same one back,
 * again and again, for as long as a test lasts.
 *
 * Guarantees: every message counts: `lost` rejects as soon as one was not answered within 5 s, or was answered with
 * anything else, and so does `stop()`.
 * Limits: UDP over IPv4, from the host itself, about one message a second and container.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

const PAUSE_MS = 1000;
const LOST_MS = 5000;
const PROGRAM = new URL('../../../test/harness/echo.py', import.meta.url).pathname;

export class Echoes {
  readonly #server: ChildProcess;
  readonly #talks: Promise<void>[];
  /** Never resolves. */
  readonly lost: Promise<never>;
  #ending = false;
  #count = 0;

  private constructor(server: ChildProcess, ports: readonly number[]) {
    this.#server = server;
    this.#talks = ports.map((port, i) => this.#talk(port, (i * PAUSE_MS) / ports.length));
    this.lost = new Promise((_, reject) => {
      for (const talk of this.#talks) talk.catch(reject);
    });
    this.lost.catch(() => {}); // stop() reports it to tests that do not await `lost`
  }

  /** Echoes on `port` in each of the namespaces, and sends to each through its published port on the host. */
  static async start(netns: readonly string[], port: number, published: readonly number[]): Promise<Echoes> {
    const server = spawn('python3', [PROGRAM, String(port)], { stdio: ['pipe', 'pipe', 'inherit'] });
    server.stdin.write(`${netns.length}\n${netns.map((path) => `${path}\n`).join('')}`);
    await once(server.stdout, 'data');
    return new Echoes(server, published);
  }

  /** The number of messages that came back so far. */
  get count(): number {
    return this.#count;
  }

  async stop(): Promise<number> {
    this.#ending = true;
    try {
      await Promise.all(this.#talks);
    } finally {
      const ended = once(this.#server, 'exit');
      this.#server.kill('SIGKILL');
      await ended;
    }
    return this.#count;
  }

  async #talk(port: number, first: number): Promise<void> {
    const socket = createSocket('udp4');
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    try {
      await sleep(first);
      for (let n = 0; !this.#ending; n++) {
        const message = `${port} ${n}`;
        const answer = await echoed(socket, message);
        if (answer !== message) throw new Error(`port ${port}: sent "${message}", came back: ${answer}`);
        this.#count++;
        await sleep(PAUSE_MS);
      }
    } finally {
      this.#ending = true; // one that fails ends them all
      socket.close();
    }
  }
}

async function echoed(socket: Socket, message: string): Promise<string> {
  const answered = once(socket, 'message', { signal: AbortSignal.timeout(LOST_MS) });
  socket.send(message);
  try {
    const [data] = (await answered) as [Buffer];
    return data.toString();
  } catch (error) {
    return `nothing (${(error as Error).name})`;
  }
}
