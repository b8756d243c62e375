/**
 * Watches connection tracking: no owner takes more than its share of the table, so that others have some of it.
 *
 * Guarantees: once a second asks each outside in which networks stand how full its table is (one netlink request). Walks through
 * the table only when it holds more than one share. Deletes what an owner has above its share: first the entries that the kernel
 * itself would give up first, then any (native/conntrack/conntrack-limit.cc). Notifies when this begins, and every ten seconds while it
 * goes on, with the number of deleted entries.
 * Limits: within a second more entries than a share can be opened, up to the whole table. Unanswered connections then give way by
 * themselves (early_drop in the kernel); others stay until the next look. Without a daemon there is no bound. During a walk other
 * processes that want to delete entries wait (2 us for each entry).
 */
import type { Kernel } from '../../effects/kernel.ts';
import { isOnParent } from '../../plan/networks/parent.ts';
import { connectionOwners } from '../../plan/kernel/conntrack.ts';
import { countedSince, isWorthCounting, shareLimit, type Counted } from '../../plan/kernel/share.ts';
import type { LimitedNotification } from '../../state/answers/notification.ts';
import type { Containers } from '../containers/containers.ts';
import { LimitReports } from '../report/limit-reports.ts';
import type { Shared } from '../outsides/shared.ts';

const LOOK_MS = 1000;

export interface ConntrackWatchParts {
  kernel: Pick<Kernel, 'outsideIfThere'>;
  containers: Pick<Containers, 'all'>;
  shared: Pick<Shared, 'outsides' | 'standingIn'>;
  /** The number of entries that one owner may have; null for the default share of the table. */
  limit: number | null;
  announce: (notification: LimitedNotification) => void;
  failed: (what: string, error: unknown) => void;
}

export class ConntrackWatch {
  readonly #parts: ConntrackWatchParts;
  readonly #counted = new Map<string | null, Counted>();
  readonly #reports: LimitReports;
  /** Outsides that could not be looked at, and whose failure has been logged. */
  readonly #failing = new Set<string | null>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(parts: ConntrackWatchParts) {
    this.#parts = parts;
    this.#reports = new LimitReports('connections', parts.announce);
  }

  start(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.#round().then(() => this.start()), LOOK_MS).unref();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #round(): Promise<void> {
    for (const outside of this.#parts.shared.outsides()) {
      try {
        await this.#look(outside);
        this.#failing.delete(outside);
      } catch (error) {
        if (!this.#failing.has(outside)) this.#parts.failed(`connections of ${outside ?? 'the host'}`, error);
        this.#failing.add(outside);
      }
    }
    this.#reports.tellTheRest();
  }

  async #look(outside: string | null): Promise<void> {
    // What the containers on a parent send does not pass the outside.
    const networks = this.#parts.shared.standingIn(outside).filter((network) => !isOnParent(network));
    const native = networks.length === 0 ? undefined : this.#parts.kernel.outsideIfThere(outside)?.kernel;
    if (native === undefined) return;
    const { entries, maximum } = await native.conntrackUse();
    const limit = shareLimit(this.#parts.limit, maximum);
    const last = countedSince(this.#counted.get(outside) ?? null, entries, limit);
    if (last === null) this.#counted.delete(outside);
    else this.#counted.set(outside, last);
    if (!isWorthCounting(entries, limit, last, Date.now())) return;
    const containers = this.#parts.containers.all().map(({ context }) => context);
    const { owners, exempt } = connectionOwners(
      containers.filter((context) => context.outside === outside),
      networks,
    );
    const counts = await native.conntrackLimit({ limit, owners: owners.map(({ addresses }) => addresses), exempt });
    let most = 0;
    let all = 0;
    for (const [i, { entries: had, forgotten }] of counts.entries()) {
      most = Math.max(most, had - forgotten);
      all += forgotten;
      const owner = owners[i];
      if (owner !== undefined && forgotten > 0) this.#reports.tell(outside, owner, { entries: had, limit, forgotten });
    }
    this.#counted.set(outside, { t: Date.now(), entries: entries - all, most });
  }
}
