/**
 * The watch on uplinks: the program that leads a container out is missed the moment it ends or has no link any more
 * (slirp4netns goes on without), and its machine is told.
 *
 * Guarantees: every container that comes to rest in `up` has its program watched from then on, or is told that it has none.
 * A program that hangs, or whose directory is taken away, is found in turns (helper-watch.ts) and ended. One that ends soon
 * after it was ready counts as `soon`: its machine waits longer each time (the circuit breaker: at last it is tried once a
 * minute). How often it ended and for how long it was away is kept for `inspect`.
 * Limits: an address or a route that is taken from the link is not missed. What is kept is lost with the daemon; that the
 * program ended while there was no daemon is seen at the start.
 */
import { join } from 'node:path';
import { isNoNamespace, type Kernel } from '../effects/kernel.ts';
import { findUplink, isOrphan, keepersIn, userOf, watchUplink } from '../effects/uplink-keeper.ts';
import { howEnded } from '../effects/uplink-process.ts';
import { uplinkUsers } from '../effects/uplink-users.ts';
import type { User } from '../effects/users.ts';
import { retryUntilDone } from '../effects/retry.ts';
import { SIGKILL, signal } from '../effects/process.ts';
import { listForwards } from '../effects/slirp-api.ts';
import { isKernelError, type Child, type RtnlNotification } from '../native/index.ts';
import type { ContainerContext, Drift } from '../state/container.ts';
import type { DriftPolicies } from '../state/drift.ts';
import type { Fault } from '../state/faults.ts';
import type { DriftNotification, Notification, RepairedNotification } from '../state/notification.ts';
import type { Uplink, UplinkProgram, UplinkStatus } from '../state/uplink.ts';
import type { Containers } from './containers.ts';
import { stateName, type ContainerActor } from './snapshot.ts';
import { Strikes } from './strikes.ts';

/** One that has run this long is well: what ends it is no defect of its own. */
const SOON_MS = 10_000;
/** When a program ends, its link goes first: that it has ended is known by then. */
const LINK_MS = 100;
/** What could not be looked at is looked at again. */
const AGAIN_MS = 1000;
/** Looked at in one turn of `look`, at 40 us each: of 1,000 each has its turn every 20 s. */
const AT_ONCE = 100;
/** A question costs ten times as much as a look: it is asked when all of them had their turn so often. */
const QUESTION_TURNS = 10;

export interface UplinkHistory {
  /** How often the program has ended by itself, or lost its link. */
  ended: number;
  /** For how long there was none, all together. */
  down_ms: number;
  /** Since when there is none (RFC 3339), null while it runs. */
  down_since: string | null;
  /** What it said when it ended last. */
  last: string | null;
}

/** What `inspect` shows of it. */
export interface UplinkProcess extends UplinkHistory {
  state: 'starting' | 'ready' | 'ended' | 'none';
  pid: number | null;
  /** How long it took to be ready. */
  ready_ms: number | null;
  /** The end of what it said. */
  log: string;
}

const NO_HISTORY: UplinkHistory = { ended: 0, down_ms: 0, down_since: null, last: null };

interface Watched {
  /** The keeper whose end is watched. */
  keeper: Child | null;
  /** The keeper of a program that has no link any more: that it runs means nothing. */
  linkless: number | null;
  since: number;
  unwatch: () => void;
  history: UplinkHistory;
}

export interface UplinkWatchParts {
  /** Where the directories of uplinks are. */
  home: string;
  kernel: Pick<Kernel, 'outsideIfThere'>;
  containers: Pick<Containers, 'all' | 'bus' | 'neighbours'>;
  policies: DriftPolicies;
  announce: (notification: DriftNotification | RepairedNotification) => void;
  failed: (what: string, error: unknown) => void;
}

export class UplinkWatch {
  readonly #parts: UplinkWatchParts;
  readonly #watched = new Map<string, Watched>();
  readonly #strikes = new Strikes();
  /** How many were looked at by now. */
  #looked = 0;
  #again: NodeJS.Timeout | undefined;
  readonly #heard = (notification: Notification) => {
    if (notification.type !== 'state') return;
    // The machine is in the middle of its step: it is looked at after it.
    if (notification.to === 'up' || notification.to === 'gone') setImmediate(() => this.#look());
  };

  constructor(parts: UplinkWatchParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#parts.containers.bus.on('notification', this.#heard);
    this.#endOrphans();
    this.#look();
  }

  close(): void {
    this.#parts.containers.bus.off('notification', this.#heard);
    clearTimeout(this.#again);
    for (const { unwatch } of this.#watched.values()) unwatch();
  }

  process({ owner, token }: Pick<ContainerContext, 'owner' | 'token'>): UplinkProcess {
    const found = findUplink(join(this.#parts.home, token));
    const history = this.#watched.get(owner)?.history ?? NO_HISTORY;
    if (found === null) return { ...history, state: 'none', pid: null, ready_ms: null, log: '' };
    const { state, child, readyMs, output } = found;
    return { ...history, state, pid: child?.pid ?? null, ready_ms: readyMs, log: output };
  }

  /** As if nobody had ever watched it. */
  #unwatched(owner: string, error: unknown): void {
    const known = this.#watched.get(owner);
    if (known !== undefined) known.keeper = null;
    this.#lookAgain(owner, error);
  }

  /** Nobody is left unwatched because a file or a process could not be looked at. */
  #lookAgain(owner: string, error: unknown): void {
    if (this.#again === undefined) this.#parts.failed(`uplink of ${owner}`, error);
    clearTimeout(this.#again);
    const timer = setTimeout(() => {
      this.#look();
      if (this.#again === timer) this.#again = undefined; // else it has failed again
    }, AGAIN_MS);
    this.#again = timer;
  }

  /** Everybody who has an uplink: there are few of them, and looking costs a file. */
  #look(): void {
    const there = new Set<string>();
    for (const snapshot of this.#parts.containers.all()) {
      const { owner, uplink } = snapshot.context;
      if (uplink === undefined) continue;
      there.add(owner);
      if (stateName(snapshot) !== 'up') continue;
      try {
        this.#at(snapshot.context, uplink);
      } catch (error) {
        this.#lookAgain(owner, error);
      }
    }
    for (const [owner, { keeper, unwatch }] of this.#watched) {
      if (there.has(owner)) continue;
      unwatch();
      this.#watched.delete(owner);
      // A teardown that found no directory any more left it running.
      if (keeper !== null) signal(keeper, SIGKILL);
    }
  }

  /** Keepers that nobody watches, and to which no directory leads any more: nobody could find them again. */
  #endOrphans(): void {
    const { home, failed } = this.#parts;
    const end = async () => {
      for (const found of await keepersIn(home)) if (isOrphan(home, found)) signal(found.keeper, SIGKILL);
    };
    retryUntilDone(end, (error) => failed('keepers without a directory', error));
  }

  /**
   * Looks at the next of them: one whose directory was taken away, that is stopped or does not answer is ended, which is
   * missed at once.
   */
  async look(): Promise<void> {
    const all = [...this.#watched];
    const turn = Math.floor(this.#looked / Math.max(1, all.length));
    for (let n = 0; n < Math.min(AT_ONCE, all.length); n++) {
      const [owner = '', known] = all[this.#looked++ % all.length] ?? [];
      const keeper = known?.keeper ?? null;
      if (keeper === null) continue;
      const context = this.#parts.containers.neighbours.container(owner)?.getSnapshot().context;
      if (context === undefined) continue;
      const directory = join(this.#parts.home, context.token);
      const found = findUplink(directory);
      const child = found?.child ?? null;
      if (child === null || found?.keeper.pid !== keeper.pid) {
        await this.#strikes.judge(keeper, () => Promise.resolve(false));
        continue;
      }
      if (await this.#strikes.judge(keeper)) continue;
      const due = turn % QUESTION_TURNS === 0 || this.#strikes.struck(child);
      const asked = due && context.portHandler === 'slirp4netns';
      await this.#strikes.judge(child, asked ? () => answers(directory) : null);
    }
  }

  #at(context: ContainerContext, { settings: { program }, made }: Uplink): void {
    const { owner, token } = context;
    const known = this.#watched.get(owner);
    const directory = join(this.#parts.home, token);
    const found = findUplink(directory);
    // Taken away before it was looked at for the first time.
    if (found === null && known === undefined) this.#endOrphans();
    if (found === null || found.state !== 'ready') return this.#lost(owner, token, program);
    const { keeper } = found;
    const { pid } = keeper;
    if (known?.keeper?.pid === pid) return;
    // An earlier version has started it, as root: nothing keeps that one in bounds.
    const isOurs = (uid: number | null) => Object.values(uplinkUsers()).some((user: User) => user.uid === uid);
    if (found.child !== null && !isOurs(userOf(found.child))) {
      return this.#lost(owner, token, program, pid);
    }
    if (known?.linkless === pid) return this.#lost(owner, token, program, pid);
    known?.unwatch();
    endStray(known, pid);
    const ends = [
      watchUplink(directory, () => this.#lost(owner, token, program)),
      this.#watchLink(context, made?.name ?? null, () => this.#lost(owner, token, program, pid)),
    ];
    const watched: Watched = {
      keeper,
      linkless: null,
      since: performance.now(),
      unwatch: () => ends.forEach((end) => end()),
      history: known?.history ?? { ...NO_HISTORY },
    };
    this.#watched.set(owner, watched);
    const { history } = watched;
    if (history.down_since === null) return;
    history.down_ms += Date.now() - Date.parse(history.down_since);
    history.down_since = null;
    this.#parts.announce({ type: 'repaired', t: Date.now(), ...about(owner, program) });
  }

  /** Of a namespace that is gone nothing is said: `inspect` does. */
  #watchLink({ owner, outside, netns }: ContainerContext, name: string | null, lost: () => void): () => void {
    const native = this.#parts.kernel.outsideIfThere(outside)?.kernel;
    if (native === undefined || netns === null || name === null) return () => {};
    let stop: (() => void) | null = () => {};
    const look = async () => {
      if (stop === null || (await native.link(name, netns.path)) !== null) return;
      setTimeout(() => stop !== null && lost(), LINK_MS).unref();
    };
    const failed = (error: unknown) => {
      if (stop === null || (isKernelError(error) && isNoNamespace(error.code))) return;
      this.#unwatched(owner, error);
    };
    const heard = (event: RtnlNotification) => {
      if (event.type === 'overrun' || (event.type === 'link.del' && event.name === name)) look().catch(failed);
    };
    native
      .monitor(heard, netns.path, ['link.del'])
      .then((end) => {
        if (stop === null) return end();
        stop = end;
        return look(); // it may have gone before we listened
      })
      .catch(failed);
    return () => {
      stop?.();
      stop = null;
    };
  }

  /** It has ended, or was not there to begin with; or runs, and the one of this keeper is without its link. */
  #lost(owner: string, token: string, program: UplinkProgram, linkless: number | null = null): void {
    const actor = this.#parts.containers.neighbours.container(owner);
    const known = this.#watched.get(owner);
    // On its way out or started anew it is meant to end; whoever is busy is looked at again when it comes to rest.
    if (actor === null || stateName(actor.getSnapshot()) !== 'up') return;
    known?.unwatch();
    let status: UplinkStatus | null;
    try {
      status = findUplink(join(this.#parts.home, token));
      if (status?.state === 'ready' && linkless === null) throw new Error('its keeper cannot be watched');
    } catch (error) {
      return this.#unwatched(owner, error);
    }
    const last = linkless !== null ? `${program} has lost its link` : status && howEnded(program, status);
    const history = known?.history ?? { ...NO_HISTORY };
    const soon = known !== undefined && known.keeper !== null && performance.now() - known.since < SOON_MS;
    const first = history.down_since === null;
    if (first) {
      history.ended++;
      history.down_since = new Date().toISOString();
      history.last = last;
    }
    endStray(known, status?.keeper.pid);
    this.#watched.set(owner, { keeper: null, linkless, since: 0, unwatch: () => {}, history });
    this.#tell(actor, owner, program, first, soon, last);
  }

  #tell(
    actor: ContainerActor,
    owner: string,
    program: UplinkProgram,
    first: boolean,
    soon: boolean,
    last: string | null,
  ) {
    const policy = this.#parts.policies.uplink;
    const { drift } = about(owner, program);
    if (policy !== 'ignore' && first) {
      this.#parts.announce({ type: 'drift', t: Date.now(), ...about(owner, program), action: policy, by: null });
    }
    const fault: Fault = { code: 'UPLINK_FAILED', message: last ?? `${program} has ended`, object: program };
    if (policy === 'repair') actor.send({ type: 'lost', drift, fault, soon });
    if (policy === 'alert') actor.send({ type: 'noticed', drift });
  }
}

/** The keeper that was watched, if it runs on where the directory leads to none or to another: nobody would find it again. */
function endStray(known: Watched | undefined, found: number | undefined): void {
  const keeper = known?.keeper ?? null;
  if (keeper !== null && keeper.pid !== found) signal(keeper, SIGKILL);
}

/** slirp4netns, by its API socket; pasta has none. */
const answers = async (directory: string): Promise<boolean> => {
  try {
    await listForwards(directory);
    return true;
  } catch {
    return false; // not in time, or not as slirp4netns does
  }
};

function about(owner: string, program: UplinkProgram) {
  const drift: Drift[] = [{ kind: 'uplink', object: program, network: null }];
  return { id: owner.slice(0, owner.lastIndexOf(':')), network: null, drift };
}
