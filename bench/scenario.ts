/**
 * What a scenario is given, and what it is.
 *
 * Guarantees: `cleat` starts the daemon when first asked and makes the benchmark's network; a scenario that wants
 * a process that has done nothing yet asks for a fresh one.
 * Limits: one daemon at a time.
 */
import { RUN } from './arena.ts';
import { Daemon, daemonExists } from './daemon.ts';
import type { Contender } from './contender.ts';
import type { Floor } from './floor.ts';
import type { Report } from './report.ts';

export interface Scenario {
  name: string;
  run(context: Context): Promise<Report[]>;
}

export class Context {
  private daemon: Daemon | null = null;
  private id = 0;
  /** Why there is no cleat in this run, once that is known. */
  absent: string | null = null;

  readonly floor: Floor;
  readonly peers: Contender[];
  readonly quick: boolean;
  readonly folder: string;

  constructor(floor: Floor, peers: Contender[], quick: boolean, folder: string) {
    this.floor = floor;
    this.peers = peers;
    this.quick = quick;
    this.folder = folder;
    if (!daemonExists()) this.absent = 'dist/cli/main.js is not built: the rows of cleat are missing';
  }

  /** Never the same twice, for any contender. */
  readonly nextId = (): number => ++this.id;

  /** `count` ids in a row; the first. */
  nextIds(count: number): number {
    const first = this.id + 1;
    this.id += count;
    return first;
  }

  /**
   * The running daemon, or null when there is none to be had (see `absent`). With `fresh` it is a new process, on the
   * state of the one before: its bridge and table stand in the kernel, and another daemon's state would not know them.
   */
  async cleat(fresh = false): Promise<Daemon | null> {
    if (this.absent !== null) return null;
    if (this.daemon !== null && !fresh) return this.daemon;
    const known = this.daemon !== null;
    this.daemon ??= new Daemon(`${this.folder}/cleat`, `${RUN}/cleat`);
    try {
      await this.daemon.kill();
      await this.daemon.start();
      if (!known) await this.makeNetwork(this.daemon);
      return this.daemon;
    } catch (error) {
      this.absent = error instanceof Error ? error.message : String(error);
      await this.daemon.kill();
      return null;
    }
  }

  async end(): Promise<void> {
    await this.daemon?.kill();
    this.floor.end();
  }

  private async makeNetwork(daemon: Daemon): Promise<void> {
    const client = daemon.client();
    await client.makeNetwork();
    client.close();
  }
}

/** Fewer of everything in a quick run. */
export function pick(context: Context, full: number, quick: number): number {
  return context.quick ? quick : full;
}

/** Run cleat's part of a scenario; a failure becomes a note and leaves the others' rows standing. */
export async function attempt(report: Report, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    report.notes.push(`cleat: ${error instanceof Error ? error.message : String(error)}`);
  }
}
