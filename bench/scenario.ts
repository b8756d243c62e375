/**
 * The interface of a scenario, and the context that it gets.
 *
 * Guarantees: `cleat` starts the daemon on its first call and makes the benchmark's network; a scenario that needs a
 * process that has done nothing yet requests a fresh one.
 * Limits: one daemon at a time, but for the one that `unprepared` starts.
 */
import { RUN } from './arena.ts';
import { Daemon, daemonExists } from './daemon.ts';
import type { Contender } from './contender.ts';
import type { Floor } from './floor/floor.ts';
import type { Report } from './report.ts';

export interface Scenario {
  name: string;
  run(context: Context): Promise<Report[]>;
}

export class Context {
  private daemon: Daemon | null = null;
  private second: Daemon | null = null;
  private id = 0;
  /** The reason why there is no cleat in this run, once that is known. */
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
    if (!daemonExists()) this.absent = 'dist/bundle/cleat.cjs is not built: the rows of cleat are missing';
  }

  /** Returns an id that is never returned again, for any contender. */
  readonly nextId = (): number => ++this.id;

  /** Reserves `count` ids in a row and returns the first. */
  nextIds(count: number): number {
    const first = this.id + 1;
    this.id += count;
    return first;
  }

  /**
   * Returns the running daemon, or null if there can be none (see `absent`). With `fresh` it is a new process, on the
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

  /** Returns a second daemon, which makes no namespace before one is asked for; null if there can be none. */
  async unprepared(): Promise<Daemon | null> {
    if (this.absent !== null || this.second !== null) return this.second;
    this.second = new Daemon(`${this.folder}/unprepared`, `${RUN}/unprepared`, ['--prepared-namespaces', '0']);
    await this.second.start();
    await this.makeNetwork(this.second);
    return this.second;
  }

  async end(): Promise<void> {
    await this.daemon?.kill();
    await this.second?.kill();
    this.floor.end();
  }

  private async makeNetwork(daemon: Daemon): Promise<void> {
    const client = daemon.client();
    await client.makeNetwork();
    client.close();
  }
}

/** Returns `quick` in a quick run, otherwise `full`: a quick run has fewer of everything. */
export function pick(context: Context, full: number, quick: number): number {
  return context.quick ? quick : full;
}

/** Runs cleat's part of a scenario; a failure becomes a note and leaves the others' rows standing. */
export async function attempt(report: Report, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    report.notes.push(`cleat: ${error instanceof Error ? error.message : String(error)}`);
  }
}
