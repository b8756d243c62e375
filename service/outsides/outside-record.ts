/**
 * The record of an outside on disk: the identity of its namespace, the switches that the firewall found, and the bridges that
 * firewalld knows.
 *
 * Guarantees: written before the effect that it is for, whose commit finds it changed. It exists while either machine needs it,
 * and is removed afterwards: otherwise the next start would restore what may no longer be true.
 * Limits: a record of another boot names nothing that exists, and is dropped.
 */
import type { ActorRefFrom, InspectionEvent } from 'xstate';
import { z } from 'zod';
import { retryUntilDone } from '../../effects/retry.ts';
import { outsideKey } from '../../effects/kernel.ts';
import type { firewallMachine } from '../../machines/firewall.ts';
import type { firewalldMachine } from '../../machines/firewalld.ts';
import type { NetnsIdentity } from '../../native/index.ts';
import type { SnapshotStore } from '../../state/files/store.ts';

const OutsideRecord = z.strictObject({
  outside: z.string().nullable(),
  bootId: z.string(),
  found: z.record(z.string(), z.string()).nullable(),
  /** The bridges that we have put into firewalld's zone. Daemons of versions without this field wrote none. */
  bound: z.array(z.string()).default([]),
  /** The identity of the namespace; absent for the daemon's own, and in records of earlier versions. */
  namespace: z.object({ dev: z.number(), ino: z.number() }).optional(),
});
export type OutsideRecord = z.infer<typeof OutsideRecord>;

/** The records by outside, and the files that were set aside. */
interface Loaded {
  found: ReadonlyMap<string | null, OutsideRecord>;
  unreadable: string[];
}

/** The machines whose memory is in the record. */
interface Machines {
  firewall: ActorRefFrom<typeof firewallMachine>;
  firewalld: ActorRefFrom<typeof firewalldMachine>;
}

export class OutsideRecords {
  readonly #store: SnapshotStore;
  readonly #bootId: string;
  readonly #failed: (what: string, error: unknown) => void;
  readonly #identityOf: (outside: string) => NetnsIdentity | undefined;
  #loaded: Loaded | null = null;

  /** `identityOf` returns the identity of an open outside. */
  constructor(
    store: SnapshotStore,
    bootId: string,
    failed: (what: string, error: unknown) => void,
    identityOf: (outside: string) => NetnsIdentity | undefined = () => undefined,
  ) {
    this.#store = store;
    this.#bootId = bootId;
    this.#failed = failed;
    this.#identityOf = identityOf;
  }

  /** Returns the records at the start. Reads them once. */
  load(): Loaded {
    return (this.#loaded ??= this.#read());
  }

  #read(): Loaded {
    const { records, unreadable } = this.#store.load();
    const found = new Map<string | null, OutsideRecord>();
    for (const { id, record } of records) {
      const { data } = OutsideRecord.safeParse(record);
      if (data === undefined || outsideKey(data.outside) !== id) unreadable.push(this.#store.setAside(id));
      else if (data.bootId === this.#bootId) found.set(data.outside, data);
      else this.#store.remove(id);
    }
    return { found, unreadable };
  }

  /** Resolves when the memory of an outside's machines is on disk. */
  commit(outside: string | null): Promise<void> {
    return this.#store.commit(outsideKey(outside));
  }

  /**
   * Removes the record; notifications that `stop` causes do not write it again. Throws, and stops nothing, if it cannot be
   * removed.
   */
  release(outside: string, stop: () => void): void {
    const key = outsideKey(outside);
    this.#store.remove(key);
    stop();
    this.#store.leave(key);
  }

  /**
   * Returns the inspection handlers of both machines. They must receive every inspection event, because an effect requests its
   * commit before the snapshot that shows it is announced. `machines` returns undefined while they are being made.
   */
  follow(outside: string | null, machines: () => Machines | undefined) {
    const key = outsideKey(outside);
    const read = (): OutsideRecord => ({
      outside,
      bootId: this.#bootId,
      found: machines()?.firewall.getSnapshot().context.found ?? null,
      bound: [...(machines()?.firewalld.getSnapshot().context.bound ?? [])],
      ...(outside === null ? {} : { namespace: this.#identityOf(outside) }),
    });
    const isNeeded = () => {
      const made = machines();
      return made !== undefined && (!made.firewall.getSnapshot().matches('down') || isConcerned(made));
    };
    const forget = () => {
      if (machines() !== undefined && !isNeeded()) this.#store.remove(key);
    };
    // Waits for the end of this tick: later inspection events of the same tick would mark the record as changed again, and the
    // next commit of another outside would write it.
    const forgetLater = () =>
      queueMicrotask(() => retryUntilDone(forget, (error) => this.#failed(`file of outside ${key}`, error)));
    return {
      firewall: ({ type, actorRef }: InspectionEvent): void => {
        this.#store.touch(key, { read });
        const made = machines();
        const rests = type === '@xstate.snapshot' && actorRef === made?.firewall;
        if (rests && made?.firewall.getSnapshot().matches('down')) forgetLater();
      },
      firewalld: ({ type, actorRef }: InspectionEvent): void => {
        const made = machines();
        if (made === undefined) return;
        // If firewalld has no bridge of ours and is to have none, its part of the record is empty.
        if (isConcerned(made)) this.#store.touch(key, { read });
        else if (type === '@xstate.snapshot' && actorRef === made.firewalld) forgetLater();
      },
    };
  }
}

/** Returns true if networks are up, or something is left of others: the record may be needed. */
function isConcerned({ firewalld }: Machines): boolean {
  const { wanted, bound } = firewalld.getSnapshot().context;
  return wanted.length + bound.length > 0;
}
