/**
 * What is on disk of an outside: which namespace it is, the switches that the firewall found, and the bridges that firewalld was
 * told of.
 *
 * Guarantees: written before the effect that it is for, whose commit finds it changed. There while either machine needs it, gone
 * after: left behind, it would have the next start put back what may not be so any more.
 * Limits: of another boot it speaks of nothing that exists, and is dropped.
 */
import type { ActorRefFrom, InspectionEvent } from 'xstate';
import { z } from 'zod';
import { retryUntilDone } from '../effects/retry.ts';
import { outsideKey } from '../effects/kernel.ts';
import type { firewallMachine } from '../machines/firewall.ts';
import type { firewalldMachine } from '../machines/firewalld.ts';
import type { NetnsIdentity } from '../native/index.ts';
import type { SnapshotStore } from '../state/store.ts';

const OutsideRecord = z.strictObject({
  outside: z.string().nullable(),
  bootId: z.string(),
  found: z.record(z.string(), z.string()).nullable(),
  /** Bridges in firewalld's zone by our doing. A daemon before there was this wrote none. */
  bound: z.array(z.string()).default([]),
  /** Which namespace it is; absent for the daemon's own, and in records of earlier versions. */
  namespace: z.object({ dev: z.number(), ino: z.number() }).optional(),
});
export type OutsideRecord = z.infer<typeof OutsideRecord>;

/** By outside, and the files that had to be set aside. */
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

  /** `identityOf`: of an outside that is open. */
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

  /** What there is at the start; read once. */
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

  /** Resolves when what the machines of an outside remember is on disk. */
  commit(outside: string | null): Promise<void> {
    return this.#store.commit(outsideKey(outside));
  }

  /** The record goes, whatever `stop` has the machines announce. Throws, and stops nothing, when it cannot be removed. */
  release(outside: string, stop: () => void): void {
    const key = outsideKey(outside);
    this.#store.remove(key);
    stop();
    this.#store.leave(key);
  }

  /**
   * To be told of every inspection event of each: an effect asks for its commit before the snapshot that shows it is
   * announced. `machines`: undefined while they are being made.
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
    // Once this turn is over: what is still inspected of it would mark the record as changed again, to be written by the
    // next commit of another outside.
    const forgetLater = () =>
      queueMicrotask(() => retryUntilDone(forget, (error) => this.#failed(`file of outside ${key}`, error)));
    return {
      firewall: ({ type, actorRef }: InspectionEvent): void => {
        this.#store.touch(key, { read });
        const made = machines();
        const rests = type === '@xstate.snapshot' && actorRef === made?.firewall;
        if (rests && made?.firewall.getSnapshot().matches('down') === true) forgetLater();
      },
      firewalld: ({ type, actorRef }: InspectionEvent): void => {
        const made = machines();
        if (made === undefined) return;
        // firewalld has no bridge of ours and is to have none: then its part of the record is empty.
        if (isConcerned(made)) this.#store.touch(key, { read });
        else if (type === '@xstate.snapshot' && actorRef === made.firewalld) forgetLater();
      },
    };
  }
}

/** Networks that are up, or what is left of others: it may have to be remembered. */
function isConcerned({ firewalld }: Machines): boolean {
  const { wanted, bound } = firewalld.getSnapshot().context;
  return wanted.length + bound.length > 0;
}
