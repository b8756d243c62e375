/**
 * The traffic program (load.cc) from JavaScript: a server in a namespace, and the clients that reach it from here.
 *
 * Guarantees: a failure of a client rejects with the step and the reason; times are the program's own.
 * Limits: built by `npm run build:native` to build/Release/load; one port in a namespace.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { runProgram } from '../program.ts';

const PROGRAM = fileURLToPath(new URL('../../../build/Release/load', import.meta.url));

/** The port that the server listens on in each namespace. */
export const SERVED = 80;

export interface Target {
  address: string;
  port: number;
}

/** Starts a server in the namespace at `netns`; resolves when it listens. */
export async function serve(netns: string): Promise<ChildProcess> {
  const args = [`--net=${netns}`, '--', PROGRAM, 'serve', String(SERVED)];
  const server = spawn('nsenter', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((ready, failed) => {
    server.stdout.once('data', ready);
    server.once('exit', (code) => failed(new Error(`load serve in ${netns}: exit ${code}`)));
  });
  return server;
}

/** Bytes, round trips or connections. */
export interface Moved {
  amount: number;
  perSecond: number;
}

/** Sends to the container, and counts the bytes that arrive there; with `from`, out of the namespace at that path. */
export function send(to: Target, streams: number, ms: number, from?: string): Promise<Moved> {
  return move(from, 'send', to, streams, ms);
}

/** Receives from the container, and counts the bytes that come out. */
export function fetchFrom(to: Target, streams: number, ms: number): Promise<Moved> {
  return move(undefined, 'fetch', to, streams, ms);
}

/** Sends a byte and waits for one, again and again over connections that stand. */
export function echo(to: Target, streams: number, ms: number, from?: string): Promise<Moved> {
  return move(from, 'echo', to, streams, ms);
}

/** Makes `count` connections, or as many as `ms` is enough for; `streams` at a time. */
export function dial(to: Target, streams: number, count: number, ms: number, from?: string): Promise<Moved> {
  return move(from, 'dial', to, streams, count, ms);
}

async function move(
  netns: string | undefined,
  verb: string,
  { address, port }: Target,
  ...numbers: number[]
): Promise<Moved> {
  const args = [verb, address, String(port), ...numbers.map(String)];
  const [file = '', ...all] = [...(netns === undefined ? [] : ['nsenter', `--net=${netns}`, '--']), PROGRAM, ...args];
  const { stdout } = await runProgram(file, all, '', {});
  const [, moved, ns] = /^ok (\d+) (\d+)\n$/.exec(stdout) ?? [];
  if (moved === undefined) throw new Error(`load ${args.join(' ')}: ${stdout.trim()}`);
  const amount = Number(moved);
  return { amount, perSecond: amount / (Number(ns) / 1e9) };
}
