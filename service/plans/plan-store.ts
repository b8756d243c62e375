/**
 * Keeps the plans that can be applied.
 *
 * Guarantees: a plan is found by whoever made it, and by nobody else; it is taken once, and kept ten minutes at most. What one
 * user keeps is bounded in number and bytes, and so is what all keep together: the oldest are dropped first.
 * Limits: they are in memory: a restart of the daemon forgets them. A plan whose time is over is dropped when the next one is asked
 * for.
 */
import { FaultError } from '../../state/faults.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import type { Promised } from '../../state/container.ts';
import type { Basis } from './basis.ts';

export interface KeptPlan {
  uid: number;
  event: LifecycleEvent;
  basis: Basis;
  /** Says what the networks and the outside have to grant; null if they are not asked. */
  promised: Promised | null;
  /** Names a new container. */
  token: string | undefined;
  /** Holds the plan as it was answered. */
  text: string;
}

const KEPT_MS = 10 * 60_000;
const PLANS_PER_USER = 32;
const BYTES_PER_USER = 16 * 1024 * 1024;
const BYTES = 64 * 1024 * 1024;

export class PlanStore {
  readonly #plans = new Map<string, KeptPlan & { until: number }>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  keep(hash: string, plan: KeptPlan): void {
    this.#plans.delete(keyOf(plan.uid, hash));
    this.#plans.set(keyOf(plan.uid, hash), { ...plan, until: this.#now() + KEPT_MS });
    this.#forgetOld();
    this.#bound((other) => other.uid === plan.uid, PLANS_PER_USER, BYTES_PER_USER);
    this.#bound(() => true, Infinity, BYTES);
  }

  /** Returns a plan. Throws NO_SUCH_PLAN. */
  get(uid: number, hash: string): KeptPlan {
    this.#forgetOld();
    const plan = this.#plans.get(keyOf(uid, hash));
    if (plan === undefined) throw new FaultError('NO_SUCH_PLAN', `no plan ${hash} of uid ${uid} is kept`);
    return plan;
  }

  /** Returns a plan and forgets it: it is applied once, so that no two containers get the names of one. */
  take(uid: number, hash: string): KeptPlan {
    const plan = this.get(uid, hash);
    this.#plans.delete(keyOf(uid, hash));
    return plan;
  }

  #forgetOld(): void {
    for (const [key, { until }] of this.#plans) if (until <= this.#now()) this.#plans.delete(key);
  }

  /** Drops the oldest of these plans until they are within bounds. The newest stays. */
  #bound(counts: (plan: KeptPlan) => boolean, most: number, bytes: number): void {
    const mine = [...this.#plans].filter(([, plan]) => counts(plan));
    let size = mine.reduce((sum, [, { text }]) => sum + text.length, 0);
    while (mine.length > 1 && (mine.length > most || size > bytes)) {
      const [key, oldest] = mine.shift() ?? ['', null];
      size -= oldest?.text.length ?? 0;
      this.#plans.delete(key);
    }
  }
}

const keyOf = (uid: number, hash: string): string => `${uid} ${hash}`;
