/**
 * A node process in a network namespace of its own, which listens and connects on request: the containers, neighbours
 * and clients of the traffic tests. It is started with `startAgent`; its functions can be called directly too.
 *
 * Guarantees: the namespace is new and ends with the process; the process ends with the test. `dial` always returns:
 * the answer of the server (its name and the client's address as it saw it), an errno name, or "timeout".
 */
import { execFileSync, fork, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { createConnection, createServer } from 'node:net';
import { dialOnHost, isElsewhere, type Protocol } from './host.ts';

/** Answers everyone on this port, IPv4 and IPv6, with our name and their address. */
export async function serve(name: string, protocol: Protocol, port: number): Promise<void> {
  const answer = (client: string | undefined) => `${name} ${(client ?? '?').replace('::ffff:', '')}`;
  if (protocol === 'tcp') {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.end(answer(socket.remoteAddress));
    });
    await new Promise<void>((listening) => server.listen(port, '::', listening));
  } else {
    const socket = createSocket('udp6');
    socket.on('message', (_, { address, port: back }) => socket.send(answer(address), back, address));
    await new Promise<void>((listening) => socket.bind(port, '::', listening));
  }
}

export function dial(protocol: Protocol, host: string, port: number, timeoutMs = 1000): Promise<string> {
  if (isElsewhere(host) && process.argv[2] !== 'agent') return dialOnHost(protocol, host, port, timeoutMs);
  return new Promise((resolve) => {
    const timer = setTimeout(() => end('timeout'), timeoutMs);
    const failed = (error: NodeJS.ErrnoException) => end(error.code ?? error.message);
    let close = () => {};
    const end = (result: string) => {
      clearTimeout(timer);
      close();
      resolve(result);
    };
    if (protocol === 'tcp') {
      const socket = createConnection({ host, port });
      close = () => socket.destroy();
      socket.on('error', failed).on('data', (text) => end(text.toString()));
    } else {
      const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
      close = () => socket.close();
      socket.on('error', failed).on('message', (text) => end(text.toString()));
      socket.send('?', port, host);
    }
  });
}

type Call = { id: number } & (
  { do: 'serve'; args: Parameters<typeof serve> } | { do: 'dial'; args: Parameters<typeof dial> }
);

export class Agent {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #own: boolean;
  readonly #waiting = new Map<number, (result: string) => void>();
  #calls = 0;

  /** `own`: it is in the test's own namespace. */
  constructor(child: ChildProcess, own = false) {
    this.#child = child;
    this.#own = own;
    this.pid = child.pid!;
    child.on('message', ({ id, result }: { id: number; result: string }) => this.#waiting.get(id)?.(result));
  }

  async serve(...args: Parameters<typeof serve>): Promise<void> {
    await this.#call({ do: 'serve', args });
  }

  /** An agent in the test's own namespace dials ports of the host's loopback as the host does. */
  dial(...args: Parameters<typeof dial>): Promise<string> {
    if (this.#own && isElsewhere(args[1])) return dialOnHost(...args);
    return this.#call({ do: 'dial', args });
  }

  /** `ip -batch`: one command a line. */
  ip(commands: string): void {
    execFileSync('nsenter', ['-t', String(this.pid), '-n', 'ip', '-batch', '-'], { input: commands });
  }

  sysctl(key: string, value: string): void {
    execFileSync('nsenter', ['-t', String(this.pid), '-n', 'sysctl', '-qw', `${key}=${value}`]);
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }

  #call(call: { do: 'serve'; args: Parameters<typeof serve> } | { do: 'dial'; args: Parameters<typeof dial> }) {
    const id = ++this.#calls;
    const result = new Promise<string>((resolve) => this.#waiting.set(id, resolve));
    this.#child.send({ id, ...call } satisfies Call);
    return result;
  }
}

export async function startAgent(): Promise<Agent> {
  // unshare(1) becomes node, so the pid is node's; it takes the channel's descriptor along.
  const child = fork(import.meta.filename, ['agent'], {
    execPath: 'unshare',
    execArgv: ['--net', '--', process.execPath],
  });
  await new Promise((ready) => child.once('message', ready));
  return new Agent(child);
}

if (process.argv[2] === 'agent' && process.send !== undefined) {
  process.on('disconnect', () => process.exit(0));
  process.on('message', (call: Call) => {
    const done = call.do === 'serve' ? serve(...call.args) : dial(...call.args);
    void Promise.resolve(done).then((result) => process.send?.({ id: call.id, result: result ?? '' }));
  });
  process.send({ id: 0, result: 'ready' });
}
