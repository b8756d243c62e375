/**
 * The interface of a scenario, and the context that it gets.
 *
 * Guarantees: `cleat` starts the daemon on its first call and makes the benchmark's network; a scenario that needs a
 * process that has done nothing yet requests a fresh one.
 * Limits: one daemon at a time, but for those that `beside` starts.
 */
import { RUN } from './arena.ts';
import { Daemon, daemonExists } from './daemon.ts';
import type { Contender } from './contenders/contender.ts';
import type { Floor } from './floor/floor.ts';
import { reasonOf, type Report } from './report.ts';

export interface Scenario {
  name: string;
  /** It leaves its place full: no other runs in the same one. */
  alone?: true;
  run(context: Context): Promise<Report[]>;
}

export class Context {
  private daemon: Daemon | null = null;
  private readonly others = new Map<number, Daemon>();
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
  readonly nextIds = (count: number): number => {
    const first = this.id + 1;
    this.id += count;
    return first;
  };

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
      this.absent = reasonOf(error);
      await this.daemon.kill();
      return null;
    }
  }

  /**
   * Returns a daemon beside the other that prepares as many namespaces, in a network namespace of its own; null if there can be
   * none. It is the same one each time.
   */
  async beside(prepared: number): Promise<Daemon | null> {
    if (this.absent !== null) return null;
    const known = this.others.get(prepared);
    if (known !== undefined) return known;
    const name = `prepares${prepared}`;
    const daemon = new Daemon(`${this.folder}/${name}`, `${RUN}/${name}`, ['--prepared-namespaces', String(prepared)]);
    this.others.set(prepared, daemon);
    await daemon.start();
    await this.makeNetwork(daemon);
    return daemon;
  }

  async end(): Promise<void> {
    await this.daemon?.kill();
    for (const daemon of this.others.values()) await daemon.kill();
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

/** Runs cleat's part of a scenario; a failure leaves the others' rows standing. */
export async function attempt(report: Report, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    report.failures.push(`cleat: ${reasonOf(error)}`);
  }
}
