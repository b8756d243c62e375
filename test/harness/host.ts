/**
 * The host, for a test that runs as an ordinary user (as-user.ts): the place where its daemons start, and where published ports are.
 *
 * The same test file runs as root and as a user. As a user it is in the namespaces of that user's cleat: its own network is
 * the outside, with bridges and rules, as the host's is for root. Two things are elsewhere: a daemon starts as the user in
 * the host's network, and ports are published there. Both are asked of the process that has started the test.
 *
 * Guarantees: for root, nothing here does anything. A daemon has the same pid for both.
 * Limits: the host's loopback is meant by 127.0.0.1 and ::1, wherever a test dials.
 */
import type { ChildProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';

/** True in the run of a test file as an ordinary user. */
export const isRootless = process.env['CLEAT_AS_USER'] !== undefined;

export type Protocol = 'tcp' | 'udp';

/** What a test asks of the process that started it. */
export type Request =
  | { do: 'spawn'; command: string[]; environment: NodeJS.ProcessEnv; log: string }
  | { do: 'dial'; protocol: Protocol; host: string; port: number; timeoutMs: number }
  | { do: 'connect'; host: string; port: number };

export type Asked = Request & { id: number };

/** An answer to one; `exit` comes later than the answer to a `spawn`, with its id. */
export type Answer = { id: number } & (
  | { pid: number }
  | { said: string }
  | { connected: boolean }
  | { exit: { code: number | null; signal: NodeJS.Signals | null } }
);

/** The part of a ChildProcess that tests of daemons use; it emits `exit`. */
export type StartedProcess = EventEmitter & Pick<ChildProcess, 'pid' | 'exitCode' | 'signalCode' | 'kill'>;

/** True for an address of the host's loopback, which is not ours when we are a user. */
export const isElsewhere = (host: string): boolean => isRootless && (host.startsWith('127.') || host === '::1');

let asked = 0;
const waiting = new Map<number, (answer: Answer, socket?: Socket) => void>();

/** Sends a request; the test may end while it waits for nothing else. */
function ask(request: Request, hear: (answer: Answer, socket?: Socket) => boolean): void {
  if (asked === 0) {
    process.on('message', (answer: Answer, socket?: Socket) => waiting.get(answer.id)?.(answer, socket));
  }
  const id = ++asked;
  process.channel?.ref();
  waiting.set(id, (answer, socket) => {
    if (!hear(answer, socket)) return;
    waiting.delete(id);
    if (waiting.size === 0) process.channel?.unref();
  });
  process.send?.({ id, ...request } satisfies Asked);
}

class HostProcess extends EventEmitter {
  pid: number | undefined;
  exitCode: number | null = null;
  signalCode: NodeJS.Signals | null = null;
  /** A signal that was to be sent before the process had started. */
  #early: NodeJS.Signals | null = null;

  constructor(command: string[], environment: NodeJS.ProcessEnv, log: string) {
    super();
    ask({ do: 'spawn', command, environment, log }, (answer) => {
      if ('pid' in answer) {
        this.pid = answer.pid;
        if (this.#early !== null) this.kill(this.#early);
        return false;
      }
      if (!('exit' in answer)) return false;
      this.exitCode = answer.exit.code;
      this.signalCode = answer.exit.signal;
      this.emit('exit', answer.exit.code, answer.exit.signal);
      return true;
    });
  }

  kill(signal: NodeJS.Signals = 'SIGTERM'): boolean {
    if (this.pid === undefined) this.#early = signal;
    if (this.pid === undefined || this.exitCode !== null || this.signalCode !== null) return true;
    try {
      return process.kill(this.pid, signal);
    } catch {
      return false; // it has ended, and we are about to hear of that
    }
  }
}

/** Starts a program as the user, on the host; what it prints is appended to `log`, a file that exists. */
export const spawnOnHost = (command: string[], environment: NodeJS.ProcessEnv, log: string): StartedProcess =>
  new HostProcess(command, environment, log);

/** agent.ts's `dial`, from the host. */
export function dialOnHost(protocol: Protocol, host: string, port: number, timeoutMs = 1000): Promise<string> {
  return new Promise((resolve) => {
    ask({ do: 'dial', protocol, host, port, timeoutMs }, (answer) => {
      resolve('said' in answer ? answer.said : 'no answer');
      return true;
    });
  });
}

/** A TCP connection that was made on the host. */
export function connectOnHost(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    ask({ do: 'connect', host, port }, (_, socket) => {
      if (socket === undefined) reject(new Error(`${host}:${port} does not answer on the host`));
      else resolve(socket);
      return true;
    });
  });
}
