/**
 * Stations: places in network namespaces that send raw frames and report received ones, all in one process
 * (stations.py), so that thousands of frames take seconds.
 *
 * Guarantees: frames leave in the order given, from any station. A packet is recognised by a token in its payload,
 * wherever addresses were translated on its way.
 * Limits: a program that carries TCP as connections of its own (slirp4netns, pasta) loses the token: those are
 * recognised by the destination of their segments.
 */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const PROGRAM = new URL('../../../test/harness/stations.py', import.meta.url).pathname;

/** Eight bytes, which is also the least that a fragment can carry. */
export function token(number: number): Buffer {
  const bytes = Buffer.from('CLT!0000');
  bytes.writeUInt32BE(number, 4);
  return bytes;
}

export interface Sent {
  station: string;
  bytes: Buffer;
}

export class Stations {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  readonly #tokens = new Map<string, Set<number>>();
  readonly #segments = new Map<string, Set<string>>();

  constructor() {
    const child = spawn('python3', [PROGRAM]);
    child.stderr.pipe(process.stderr);
    this.#child = child;
    this.#lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  }

  async #ask(request: object): Promise<object> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const { value: line, done } = await this.#lines.next();
    if (done === true) throw new Error('stations.py has ended');
    return JSON.parse(line) as object;
  }

  /** Without a link: a program of the namespace (null: our own), which receives what is delivered to it. */
  async add(name: string, netns: string | null, link: string | null, listen: readonly number[] = []): Promise<void> {
    await this.#ask({ add: name, netns, link, listen });
  }

  async send(frames: readonly Sent[]): Promise<void> {
    await this.#ask({ send: frames.map(({ station, bytes }) => [station, bytes.toString('hex')]) });
  }

  /** Collects what has come since the last call; `heard` and `heardSegment` know it then. */
  async listen(): Promise<void> {
    const { tokens, segments } = (await this.#ask({ heard: true })) as {
      tokens: Record<string, number[]>;
      segments: Record<string, string[]>;
    };
    for (const [name, numbers] of Object.entries(tokens)) addAll(this.#tokens, name, numbers);
    for (const [name, texts] of Object.entries(segments)) addAll(this.#segments, name, texts);
  }

  heard(station: string, number: number): boolean {
    return this.#tokens.get(station)?.has(number) ?? false;
  }

  /** TCP segments: to this port, and this address unless it is null. */
  heardSegment(station: string, address: string | null, port: number): boolean {
    const all = [...(this.#segments.get(station) ?? [])];
    return all.some((heard) => (address === null ? heard.endsWith(` ${port}`) : heard === `${address} ${port}`));
  }

  forget(): void {
    this.#tokens.clear();
    this.#segments.clear();
  }

  async end(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.stdin.end();
    await ended;
  }
}

function addAll<T>(all: Map<string, Set<T>>, name: string, more: readonly T[]): void {
  const set = all.get(name) ?? new Set<T>();
  for (const one of more) set.add(one);
  all.set(name, set);
}
