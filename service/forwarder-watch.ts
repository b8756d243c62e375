/**
 * The watch on forwarders: when the process that carries ports ends, every container that it carried them for is told.
 *
 * Guarantees: a container in `up` whose ports are the forwarder's is told when the process of its outside ends, and when
 * it comes to rest with another process than the one that was given all of its ports. At the start what the process says
 * is compared with what should be. What a process has left in its directory is removed, at last.
 * Limits: a port that somebody has taken from a forwarder that still runs is seen by `audit`; nobody but the daemon can
 * ask for that.
 */
import { forwarderProcess, listForwards, type ForwarderPlaces } from '../effects/forwarder.ts';
import { removeRemains } from '../effects/forwarder-remains.ts';
import { outsideKey } from '../effects/kernel.ts';
import { insist } from '../effects/insist.ts';
import { isGone } from '../effects/process.ts';
import { assertion } from '../machines/plan/change.ts';
import { watchProcess } from '../native/index.ts';
import type { Drift } from '../state/container.ts';
import type { DriftPolicies } from '../state/drift.ts';
import type { DriftHappening, Happening, RepairedHappening } from '../state/happening.ts';
import type { Containers } from './containers.ts';
import { stateName, type ContainerSnapshot } from './snapshot.ts';

const DRIFT: Drift[] = [{ kind: 'port', object: 'forwarder', network: null }];

/** What is torn down within this time is tidied up together. */
const TIDY_MS = 1000;

export interface ForwarderWatchParts {
  places: ForwarderPlaces;
  containers: Pick<Containers, 'all' | 'bus' | 'neighbours'>;
  policies: DriftPolicies;
  announce: (happening: DriftHappening | RepairedHappening) => void;
  failed: (what: string, error: unknown) => void;
}

export class ForwarderWatch {
  readonly #parts: ForwarderWatchParts;
  /** Outside -> the process that is watched. */
  readonly #processes = new Map<string | null, { pid: number; unwatch: () => void }>();
  /** Container -> the process that was given all of its ports. */
  readonly #carried = new Map<string, number>();
  #closed = false;
  #untidy = false;
  readonly #heard = (happening: Happening) => {
    if (happening.type !== 'state') return;
    const { id, from, to } = happening;
    if (to === 'gone') {
      this.#carried.delete(id);
      this.#tidySoon(); // its ports may have been the last of a process that never was watched
    }
    if (to !== 'up') return;
    // The machine is in the middle of its step: it is looked at after it.
    const repaired = from.startsWith('repairing');
    setImmediate(() => this.#insist(`ports of ${id}`, () => this.#arrived(id, repaired)));
  };

  constructor(parts: ForwarderWatchParts) {
    this.#parts = parts;
  }

  /** Asks every process that should be there what it carries. */
  start(): void {
    this.#parts.containers.bus.on('happening', this.#heard);
    this.#tidy();
    // Also of those that are on their way out: what carries nothing any more ends, and that is to be seen.
    const outsides = new Set(
      this.#parts.containers
        .all()
        .flatMap(({ context: { portHandler, outside } }) => (portHandler === 'forwarder' ? [outside] : [])),
    );
    for (const outside of outsides) this.#insist(`forwarder of ${outside ?? 'the host'}`, () => this.#compare(outside));
  }

  async #compare(outside: string | null): Promise<void> {
    const listed = await listForwards(this.#parts.places)(outside);
    const keys = new Set(
      (listed ?? []).map((rule) => `${rule.owner} ${rule.protocol} ${rule.host_ip} ${rule.host_port}`),
    );
    const pid = await this.#watch(outside);
    for (const { context } of this.#all().filter((one) => one.context.outside === outside)) {
      const all = assertion(context).targets.every(({ owner, protocol, hostIp, hostPort }) =>
        keys.has(`${owner} ${protocol} ${hostIp} ${hostPort}`),
      );
      if (all && pid !== null) this.#carried.set(context.id, pid);
      else this.#tell(context.owner);
    }
  }

  #insist(what: string, work: () => Promise<void>): void {
    const unlessClosed = async () => {
      if (!this.#closed) await work();
    };
    insist(unlessClosed, (error) => this.#parts.failed(what, error));
  }

  close(): void {
    this.#parts.containers.bus.off('happening', this.#heard);
    this.#closed = true;
    for (const { unwatch } of this.#processes.values()) unwatch();
  }

  /** At rest in `up`, with ports that a forwarder carries. */
  #all(): ContainerSnapshot[] {
    return this.#parts.containers
      .all()
      .filter((snapshot) => stateName(snapshot) === 'up' && snapshot.context.portHandler === 'forwarder')
      .filter(({ context }) => context.ports.length > 0);
  }

  async #arrived(id: string, repaired: boolean): Promise<void> {
    const snapshot = this.#all().find(({ context }) => context.id === id);
    if (snapshot === undefined) return this.#tidySoon();
    const { owner, outside } = snapshot.context;
    const pid = await this.#watch(outside);
    const before = this.#carried.get(id);
    if (pid !== null && (repaired || before === undefined || before === pid)) {
      this.#carried.set(id, pid);
      if (repaired && before !== pid)
        this.#parts.announce({ type: 'repaired', t: Date.now(), id, network: null, drift: DRIFT });
      return;
    }
    this.#tell(owner);
  }

  /** The process of an outside, watched from now on; null when there is none. */
  async #watch(outside: string | null): Promise<number | null> {
    const process = await forwarderProcess(this.#parts.places)(outside);
    const known = this.#processes.get(outside); // who asked at the same time may watch it by now
    if (process === null || process.pid === known?.pid) return process?.pid ?? null;
    known?.unwatch();
    this.#processes.delete(outside);
    const { pid, startTime } = process;
    try {
      const unwatch = watchProcess(pid, startTime, () => this.#ended(outside, pid));
      this.#processes.set(outside, { pid, unwatch });
      return pid;
    } catch (error) {
      if (isGone(error)) return null;
      throw error;
    }
  }

  #ended(outside: string | null, pid: number): void {
    this.#tidy();
    if (this.#processes.get(outside)?.pid === pid) this.#processes.delete(outside);
    for (const { context } of this.#all()) {
      if (context.outside === outside && this.#carried.get(context.id) === pid) this.#tell(context.owner);
    }
  }

  /** Once for all that is torn down meanwhile. */
  #tidySoon(): void {
    if (this.#untidy) return;
    this.#untidy = true;
    setTimeout(() => {
      this.#untidy = false;
      this.#tidy();
    }, TIDY_MS).unref();
  }

  /** One that has nothing to do any more, and is not watched, is about to end. */
  #tidy(): void {
    this.#insist('remains of a forwarder', async () => {
      const running = await removeRemains(this.#parts.places);
      const watched = new Set([...this.#processes.keys()].map(outsideKey));
      if (running.some((name) => !watched.has(name))) this.#tidySoon();
    });
  }

  #tell(owner: string): void {
    const actor = this.#parts.containers.neighbours.container(owner);
    const policy = this.#parts.policies.port;
    if (actor === null || policy === 'ignore') return;
    const id = owner.slice(0, owner.lastIndexOf(':'));
    this.#parts.announce({ type: 'drift', t: Date.now(), id, network: null, drift: DRIFT, action: policy, by: null });
    actor.send(policy === 'repair' ? { type: 'drifted', drift: DRIFT } : { type: 'noticed', drift: DRIFT });
  }
}
