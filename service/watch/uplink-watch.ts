/**
 * Watches uplinks: notices at once when the program that leads a container out ends, or loses its link (slirp4netns goes on
 * without it), and notifies the container's machine.
 *
 * Guarantees: when a container comes to rest in `up`, its program is watched from then on, or the container is notified that it
 * has none. A program that hangs, or whose directory was removed, is found in turns (helper-watch.ts) and ended. If a program
 * ends soon after it was ready, the notification says `soon`, and its machine waits longer each time (the circuit breaker: at
 * last it tries once a minute). The number of its ends and the time without it are kept for `inspect`.
 * Limits: a removed address or route of the link is not noticed. The numbers are lost with the daemon; the start notices a
 * program that ended while there was no daemon.
 */
import { join } from 'node:path';
import { stateName } from '../../plan/states.ts';
import { isNoNamespace, type Kernel } from '../../effects/kernel.ts';
import { findUplink, isOrphan, keepersIn, userOf, watchUplink } from '../../effects/uplinks/uplink-keeper.ts';
import { howEnded } from '../../effects/uplinks/uplink-process.ts';
import { uplinkUsers } from '../../effects/uplinks/uplink-users.ts';
import type { User } from '../../effects/processes/users.ts';
import { retryUntilDone } from '../../effects/retry.ts';
import { SIGKILL, signal } from '../../effects/processes/process.ts';
import { listForwards } from '../../effects/uplinks/slirp-api.ts';
import { isKernelError, type Child, type RtnlNotification } from '../../native/index.ts';
import type { ContainerContext, Drift } from '../../state/container.ts';
import type { DriftPolicies } from '../../state/drift.ts';
import type { Fault } from '../../state/faults.ts';
import type { UplinkProcess } from '../../state/answers/container/inspection.ts';
import type { DriftNotification, Notification, RepairedNotification } from '../../state/answers/notification.ts';
import type { Uplink, UplinkProgram, UplinkStatus } from '../../state/uplink.ts';
import type { Containers } from '../containers/containers.ts';
import type { ContainerActor } from '../records/snapshot.ts';
import { Strikes } from './strikes.ts';
import { containerIdOf } from '../../plan/owner.ts';

/** A program that has run this long was healthy: its end is no defect of its own. */
const SOON_MS = 10_000;
/** When a program ends, its link goes first. After this time the end of the program is known. */
const LINK_MS = 100;
/** The pause before a failed look is repeated. */
const AGAIN_MS = 1000;
/** The number of uplinks in one turn of `look`, at 40 us each. Of 1,000 uplinks each has its turn every 20 s. */
const AT_ONCE = 100;
/** A question costs ten times as much as a look. It is asked once all uplinks have had this number of turns. */
const QUESTION_TURNS = 10;

type UplinkHistory = Pick<UplinkProcess, 'ended' | 'down_ms' | 'down_since' | 'last'>;

const NO_HISTORY: UplinkHistory = { ended: 0, down_ms: 0, down_since: null, last: null };

interface Watched {
  /** The keeper whose end is watched. */
  keeper: Child | null;
  /** The pid of the keeper whose program has lost its link. Such a program may still run. */
  linkless: number | null;
  since: number;
  unwatch: () => void;
  history: UplinkHistory;
}

export interface UplinkWatchParts {
  /** The directory that holds the directories of uplinks. */
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
  /** The number of looks so far. */
  #looked = 0;
  #again: NodeJS.Timeout | undefined;
  readonly #heard = (notification: Notification) => {
    if (notification.type !== 'state') return;
    // The machine is in the middle of a step; look after that step.
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

  /** Treats the uplink as one that was never watched. */
  #unwatched(owner: string, error: unknown): void {
    const known = this.#watched.get(owner);
    if (known !== undefined) known.keeper = null;
    this.#lookAgain(owner, error);
  }

  /** Looks again later, so that no uplink stays unwatched because a file or a process could not be read. */
  #lookAgain(owner: string, error: unknown): void {
    if (this.#again === undefined) this.#parts.failed(`uplink of ${owner}`, error);
    clearTimeout(this.#again);
    const timer = setTimeout(() => {
      this.#look();
      if (this.#again === timer) this.#again = undefined; // else it has failed again
    }, AGAIN_MS);
    this.#again = timer;
  }

  /** Looks at all containers with an uplink: there are few of them, and a look costs one file. */
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
      try {
        // A teardown that found no directory left the keeper running.
        if (keeper !== null) signal(keeper, SIGKILL);
        unwatch();
        this.#watched.delete(owner);
      } catch (error) {
        this.#lookAgain(owner, error); // there is no descriptor left to signal it
      }
    }
  }

  /** Ends keepers that are not watched and whose directory is gone: nothing could find them again. */
  #endOrphans(): void {
    const { home, failed } = this.#parts;
    const end = async () => {
      for (const found of await keepersIn(home)) if (isOrphan(home, found)) signal(found.keeper, SIGKILL);
    };
    retryUntilDone(end, (error) => failed('keepers without a directory', error));
  }

  /**
   * Looks at the next uplinks. Ends one whose directory was removed, that is stopped or does not answer. The watch on its process
   * notices the end at once.
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
    // The directory was removed before the first look.
    if (found === null && known === undefined) this.#endOrphans();
    if (found === null || found.state !== 'ready') return this.#lost(owner, token, program);
    const { keeper } = found;
    const { pid } = keeper;
    if (known?.keeper?.pid === pid) return;
    // An earlier version started it as root, without any confinement.
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

  /** Watches the link of a program. Ignores a missing namespace; `inspect` reports it. */
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

  /** Handles an uplink whose program has ended, or did not exist; or runs under the keeper `linkless`, but has lost its link. */
  #lost(owner: string, token: string, program: UplinkProgram, linkless: number | null = null): void {
    const actor = this.#parts.containers.neighbours.container(owner);
    const known = this.#watched.get(owner);
    // A program is meant to end if its container leaves or restarts it. A busy container is looked at again when it comes to
    // rest.
    if (actor === null || stateName(actor.getSnapshot()) !== 'up') return;
    known?.unwatch();
    let status: UplinkStatus | null;
    try {
      status = findUplink(join(this.#parts.home, token));
      if (status?.state === 'ready' && linkless === null) throw new Error('its keeper cannot be watched');
    } catch (error) {
      return this.#unwatched(owner, error);
    }
    try {
      endStray(known, status?.keeper.pid);
    } catch (error) {
      return this.#lookAgain(owner, error); // there is no descriptor left to signal it
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

/** Ends the watched keeper if it still runs but the directory names no keeper or another one: nothing would find it again. */
function endStray(known: Watched | undefined, found: number | undefined): void {
  const keeper = known?.keeper ?? null;
  if (keeper !== null && keeper.pid !== found) signal(keeper, SIGKILL);
}

/** Asks slirp4netns, by its API socket. pasta has none. */
const answers = async (directory: string): Promise<boolean> => {
  try {
    await listForwards(directory);
    return true;
  } catch {
    return false; // no answer in time, or not one of slirp4netns
  }
};

function about(owner: string, program: UplinkProgram) {
  const drift: Drift[] = [{ kind: 'uplink', object: program, network: null }];
  return { id: containerIdOf(owner), network: null, drift };
}
