/**
 * The known drift of one outside, and which of it has been announced to containers and to readers of notifications.
 *
 * Guarantees: each drift is announced once when it is found and once when it is repaired. A repair that does not help is
 * requested ATTEMPTS times in a row, because somebody may have removed the same object again meanwhile. After that it is not
 * requested before something else happens: the drift is treated like drift that policy does not repair, and is announced once.
 * Drift that policy does not repair is in the container's own context (`noticed`), where `ps` and `inspect` show it.
 * Limits: lost with the daemon. The look at the start finds again what is still different.
 */
import { stateName } from '../../plan/states.ts';
import type { Found } from '../../machines/firewall.ts';
import type { Difference, Drift } from '../../state/container.ts';
import type { DriftPolicies } from '../../state/drift.ts';
import type { DriftNotification, RepairedNotification } from '../../state/answers/notification.ts';
import type { ContainerActor } from '../records/snapshot.ts';
import { containerIdOf } from '../../plan/owner.ts';

/** The owner of drift: a container, by its owner (id:generation), or a network. */
export type Key = { owner: string } | { network: string };

/** Describes drift of a shared object that policy does not repair: when it was found, and who did it, where the kernel says so. */
export interface LeftDrift extends Drift {
  t: number;
  by: string | null;
}

/** How often a repair that has not helped is requested. */
const ATTEMPTS = 3;

const textOf = (key: Key): string => ('owner' in key ? `container ${key.owner}` : `network ${key.network}`);

export class DriftRecord {
  readonly #announce: (notification: DriftNotification | RepairedNotification) => void;
  /** The drift whose repair was requested, until a look finds it repaired, and the number of requests in a row. */
  readonly #mending = new Map<string, { drift: readonly Drift[]; attempts: number }>();
  /** The drift of links and bridges that policy does not repair. */
  readonly #left = new Map<string, readonly Drift[]>();
  /** The drift of the table that policy does not repair. */
  #table: readonly Found[] = [];
  #author: { who: string; until: number } | null = null;
  /** Remembers when drift of shared objects was announced, and who did it. */
  readonly #said = new Map<string, Pick<LeftDrift, 't' | 'by'>>();

  constructor(announce: (notification: DriftNotification | RepairedNotification) => void) {
    this.#announce = announce;
  }

  /** Called when somebody else has just changed the table: drift that is found now is attributed to that command. */
  changedBy(command: string | null, pid: number | null): void {
    const who = command === null ? null : pid === null ? command : `${command} (pid ${pid})`;
    this.#author = who === null ? null : { who, until: performance.now() + 1000 };
  }

  /**
   * Returns true if the repair of this drift (which policy says to repair, possibly none) is to be requested. Announces as
   * repaired the drift that was requested before and is no longer found.
   */
  mayRepair(key: Key, drift: readonly Drift[]): boolean {
    const text = textOf(key);
    const { drift: before, attempts } = this.#mending.get(text) ?? { drift: [], attempts: 0 };
    const whole = news(drift, before);
    const fresh = news(before, drift);
    if (whole.length > 0) this.#sayRepaired(key, whole);
    if (drift.length === 0 || (fresh.length === 0 && attempts >= ATTEMPTS)) {
      this.#mending.delete(text);
      this.#say(key, drift, 'alert', null);
      return false;
    }
    this.#mending.set(text, { drift, attempts: fresh.length === 0 ? attempts + 1 : 1 });
    this.#say(key, fresh, 'repair', null);
    return true;
  }

  /** Announces drift that was put back as soon as it was found. */
  mended(key: Key, drift: readonly Drift[]): void {
    this.#say(key, drift, 'repair', null);
    this.#sayRepaired(key, drift);
  }

  /** Records the drift of links, bridges and the objects on them that policy does not repair. */
  leave(key: Key, drift: readonly Drift[], actor: ContainerActor | null): void {
    const text = textOf(key);
    this.#say(key, news(this.#left.get(text) ?? [], drift), 'alert', null);
    if (drift.length === 0) this.#left.delete(text);
    else this.#left.set(text, drift);
    this.#forgetSaid();
    if (actor !== null) this.#notice(actor);
  }

  /** Records the drift that a look at the table has repaired and left. `find` returns the container of an owner. */
  found(repaired: readonly Found[], left: readonly Found[], find: (owner: string) => ContainerActor | null): void {
    const by = this.#author !== null && performance.now() < this.#author.until ? this.#author.who : null;
    for (const [owner, drift] of byOwner(repaired)) {
      this.#sayOf(owner, drift, 'repair', by);
      this.#sayRepairedOf(owner, drift);
    }
    const known = new Set(this.#table.map((one) => JSON.stringify(one)));
    for (const [owner, drift] of byOwner(left.filter((one) => !known.has(JSON.stringify(one))))) {
      this.#sayOf(owner, drift, 'alert', by);
    }
    const owners = new Set([...this.#table, ...left].map(({ owner }) => owner));
    this.#table = left;
    this.#forgetSaid();
    for (const owner of owners) {
      const actor = owner === null ? null : find(owner);
      if (actor !== null) this.#notice(actor);
    }
  }

  /** Forgets the drift of a container or network that is leaving or gone: nothing of it is repaired or announced any more. */
  forget(key: Key): void {
    this.#mending.delete(textOf(key));
    this.#left.delete(textOf(key));
  }

  /** Returns the unrepaired drift of shared objects. */
  present(): Drift[] {
    const table = this.#table.filter(({ owner }) => owner === null).map(({ drift }) => drift);
    const networks = [...this.#left].filter(([text]) => text.startsWith('network ')).flatMap(([, drift]) => drift);
    return [...table, ...networks];
  }

  /** Returns the same drift with who did it, and when. */
  left(): LeftDrift[] {
    return this.present().map((one) => ({
      ...one,
      ...(this.#said.get(JSON.stringify(one)) ?? { t: Date.now(), by: null }),
    }));
  }

  #forgetSaid(): void {
    const present = new Set(this.present().map((one) => JSON.stringify(one)));
    for (const key of this.#said.keys()) if (!present.has(key)) this.#said.delete(key);
  }

  #notice(actor: ContainerActor): void {
    const snapshot = actor.getSnapshot();
    // A degraded container already knows what it lacks, and tries again itself.
    if (snapshot.status !== 'active' || stateName(snapshot) !== 'up') return;
    const { owner, drift: shown } = snapshot.context;
    const table = this.#table.filter((one) => one.owner === owner).map(({ drift }) => drift);
    const drift = [...table, ...(this.#left.get(textOf({ owner })) ?? [])];
    if (JSON.stringify(shown) !== JSON.stringify(drift)) actor.send({ type: 'noticed', drift });
  }

  #say(key: Key, drift: readonly Drift[], action: 'repair' | 'alert', by: string | null): void {
    this.#sayOf('owner' in key ? key.owner : null, drift, action, by);
  }

  #sayOf(owner: string | null, drift: readonly Drift[], action: 'repair' | 'alert', by: string | null): void {
    const id = owner === null ? null : containerIdOf(owner);
    const t = Date.now();
    if (id === null && action === 'alert') for (const one of drift) this.#said.set(JSON.stringify(one), { t, by });
    for (const [network, part] of byNetwork(drift)) {
      this.#announce({ type: 'drift', t, id, network, drift: part, action, by });
    }
  }

  #sayRepaired(key: Key, drift: readonly Drift[]): void {
    this.#sayRepairedOf('owner' in key ? key.owner : null, drift);
  }

  #sayRepairedOf(owner: string | null, drift: readonly Drift[]): void {
    const id = owner === null ? null : containerIdOf(owner);
    for (const [network, part] of byNetwork(drift)) {
      this.#announce({ type: 'repaired', t: Date.now(), id, network, drift: part });
    }
  }
}

/** Returns the drift of `now` that is not in `before`. */
function news(before: readonly Drift[], now: readonly Drift[]): Drift[] {
  const known = new Set(before.map((one) => JSON.stringify(one)));
  return now.filter((one) => !known.has(JSON.stringify(one)));
}

function byOwner(found: readonly Found[]): [owner: string | null, drift: Drift[]][] {
  const groups = new Map<string | null, Drift[]>();
  for (const { owner, drift } of found) groups.set(owner, [...(groups.get(owner) ?? []), drift]);
  return [...groups];
}

/** Groups drift by network. */
function byNetwork(drift: readonly Drift[]): [network: string | null, drift: Drift[]][] {
  const groups = new Map<string | null, Drift[]>();
  for (const one of drift) groups.set(one.network, [...(groups.get(one.network) ?? []), one]);
  return [...groups];
}

/** Divides differences into those to repair and those to announce only, as the policies say. */
export function byPolicy(policies: DriftPolicies, seen: readonly Difference[]): { repair: Drift[]; alert: Drift[] } {
  const result: { repair: Drift[]; alert: Drift[] } = { repair: [], alert: [] };
  for (const { kind, object, network } of seen) {
    // A difference without a network is the namespace itself, which no machine could make again.
    const policy = network === null && policies[kind] === 'repair' ? 'alert' : policies[kind];
    if (policy !== 'ignore') result[policy].push({ kind, object, network });
  }
  return result;
}
