/**
 * A transfer that goes on as long as a test does: a server in a container sends a pattern that shows where in the
 * stream each byte belongs, a client outside checks every one.
 *
 * Guarantees: `stop()` resolves with the number of bytes that came, all of them right and in order, over one
 * connection; it rejects if the connection ended, stalled for 5 s, or a byte was lost, doubled or changed.
 * Limits: paced (about 1 MB/s) so that it does not starve the daemon under test.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { connect, createServer, type Socket } from 'node:net';
import { connectOnHost, isElsewhere } from './host.ts';

const BLOCK = 16 * 1024;
const STALL_MS = 5000;

/** Byte i of the stream: the low byte of the number of its 4-byte word, so that a shifted stream never fits. */
function block(n: number): Buffer {
  const buffer = Buffer.alloc(BLOCK);
  for (let i = 0; i < BLOCK; i += 4) buffer.writeUInt32LE((n * (BLOCK / 4) + i / 4) >>> 0, i);
  return buffer;
}

export class Transfer {
  readonly #server: ChildProcess;
  readonly #socket: Socket;
  #bytes = 0;
  #failure: Error | null = null;
  #last = performance.now();

  private constructor(server: ChildProcess, socket: Socket) {
    this.#server = server;
    this.#socket = socket;
    const fail = (text: string) => (this.#failure ??= new Error(`${text} after ${this.#bytes} bytes`));
    socket.on('data', (chunk) => {
      this.#last = performance.now();
      for (let from = 0; from < chunk.length;) {
        const at = this.#bytes % BLOCK;
        const length = Math.min(BLOCK - at, chunk.length - from);
        const expected = block(Math.floor(this.#bytes / BLOCK));
        if (expected.compare(chunk, from, from + length, at, at + length) !== 0) return void fail('a wrong byte');
        this.#bytes += length;
        from += length;
      }
    });
    socket.on('error', (error) => fail(error.message));
    socket.on('end', () => fail('the connection ended'));
  }

  /** Serves inside `netns` on `port`, and reads from `host`:`published`: under way when it resolves. */
  static async start(netns: string, port: number, host: string, published: number): Promise<Transfer> {
    const args = [`--net=${netns}`, '--', process.execPath, import.meta.filename, 'serve', String(port)];
    const server = spawn('nsenter', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((ready) => server.stdout.once('data', ready));
    const socket = isElsewhere(host) ? await connectOnHost(host, published) : connect({ host, port: published });
    const transfer = new Transfer(server, socket);
    await new Promise((begun) => socket.once('data', begun).once('close', begun));
    return transfer;
  }

  get bytes(): number {
    return this.#bytes;
  }

  async stop(): Promise<number> {
    const stalled = performance.now() - this.#last > STALL_MS;
    this.#socket.removeAllListeners('end').destroy();
    // It may be stopped twice: at the end of a test, and again because that failed.
    if (this.#server.exitCode === null && this.#server.signalCode === null) {
      const ended = new Promise((resolve) => this.#server.once('exit', resolve));
      this.#server.kill('SIGKILL');
      await ended;
    }
    if (this.#failure !== null) throw this.#failure;
    if (stalled || this.#bytes === 0) throw new Error(`the transfer stalled after ${this.#bytes} bytes`);
    return this.#bytes;
  }
}

if (process.argv[2] === 'serve' && process.argv[1] === import.meta.filename) {
  const server = createServer((socket) => {
    let n = 0;
    const timer = setInterval(() => {
      if (socket.writableLength < 4 * BLOCK) socket.write(block(n++));
    }, 15);
    socket.on('error', () => {}).on('close', () => clearInterval(timer));
  });
  server.listen(Number(process.argv[3]), '0.0.0.0', () => process.stdout.write('ready\n'));
}
