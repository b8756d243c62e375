/**
 * The floor program (floor.cc) from JavaScript: one command at a time, its own measured times in milliseconds.
 *
 * Guarantees: a failed command rejects with the step and the reason; times never contain the pipe.
 * Limits: one command in flight, the next waits its turn; built by `npm run build:native` to build/Release/floor.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../../build/Release/floor', import.meta.url));

/** Milliseconds: the total, and those of each part that the program names. */
export interface Timing {
  ms: number;
  parts: Record<string, number>;
}

/** Host ports first, first + step, ... (count of them). */
export interface PortRun {
  count: number;
  first: number;
  step: number;
}

export const NO_PORTS: PortRun = { count: 0, first: 0, step: 1 };

export class Floor {
  private readonly child: ChildProcess;
  private waiting: ((line: string) => void) | null = null;
  private ended = false;
  private queue: Promise<unknown> = Promise.resolve();

  private readonly netnsFolder: string;

  /**
   * Pins namespaces in `netnsFolder` (a tmpfs, as /run is), and writes intents to `stateFolder`. `apart`: in a network namespace of its
   * own.
   */
  constructor(netnsFolder: string, stateFolder: string, apart = false) {
    this.netnsFolder = netnsFolder;
    if (!existsSync(PROGRAM)) throw new Error('build/Release/floor is missing: npm run build:native');
    for (const folder of [netnsFolder, stateFolder]) mkdirSync(folder, { recursive: true });
    const command = [...(apart ? ['unshare', '--net'] : []), PROGRAM, netnsFolder, stateFolder];
    const [program = '', ...args] = command;
    this.child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.child.stdout! }).on('line', (line) => this.waiting?.(line));
    this.child.once('exit', () => {
      this.ended = true;
      this.waiting?.('error program: ended');
    });
  }

  command(text: string): Promise<Timing> {
    const turn = this.queue.then(() => this.exchange(text));
    this.queue = turn.catch(() => {});
    return turn;
  }

  create(id: number, ports: PortRun = NO_PORTS): Promise<Timing> {
    return this.command(`create ${id} ${ports.count} ${ports.first} ${ports.step}`);
  }

  /** Makes a bare namespace, for programs that need one that exists. */
  netns(name: string): Promise<Timing> {
    return this.command(`netns ${name}`);
  }

  netnsPath(name: string): string {
    return `${this.netnsFolder}/${name}`;
  }

  /** The namespace that it works in. */
  get outside(): string {
    return `/proc/${this.child.pid}/ns/net`;
  }

  end(): void {
    this.child.stdin!.end();
  }

  private async exchange(text: string): Promise<Timing> {
    if (this.ended) throw new Error(`floor: ${text}: the program has ended`);
    const line = await new Promise<string>((resolve) => {
      this.waiting = resolve;
      this.child.stdin!.write(`${text}\n`);
    });
    this.waiting = null;
    const [status, total, ...parts] = line.split(' ');
    if (status !== 'ok') throw new Error(`floor: ${text}: ${line}`);
    const named = parts.map((part) => part.split('=')).map(([name, value]) => [name!, Number(value) / 1e6]);
    return { ms: Number(total) / 1e6, parts: Object.fromEntries(named) as Record<string, number> };
  }
}
