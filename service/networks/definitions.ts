/**
 * The network definitions, each in its file.
 *
 * Guarantees: one change at a time. A write that fails changes nothing: a part that reached the disk all the same is undone
 * as soon as possible, and reported until then. During an update the previous definition stays beside the new one, until the
 * update is settled.
 * Limits: networks.ts decides what a definition may contain.
 */
import { EventEmitter } from 'eventemitter3';
import { toFault } from '../../effects/effect.ts';
import { inTurn } from '../../effects/turns.ts';
import type { DefinitionStore } from '../../state/files/definitions.ts';
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';

const SETTLE_AGAIN_MS = 1000;

const turns = new WeakMap<Definitions, Promise<unknown>>();

export class Definitions {
  /** Emits `changed` after each change of a definition. */
  readonly bus = new EventEmitter<{ changed: () => void }>();
  readonly #all: Map<string, NetworkDefinition>;
  readonly #store: DefinitionStore;
  /** Networks whose files are not as they should be, with the reason. */
  readonly #unsettled = new Map<string, Fault>();

  constructor(store: DefinitionStore, known: readonly NetworkDefinition[]) {
    this.#store = store;
    this.#all = new Map(known.map((definition) => [definition.name, definition]));
  }

  /** The present definitions, by name. */
  get byName(): ReadonlyMap<string, NetworkDefinition> {
    return this.#all;
  }

  /** Runs the work after all earlier work, and resolves when it has ended. */
  inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    return inTurn(turns, this, work);
  }

  /** Makes this the definition from now on, whatever happens to the daemon. */
  record(definition: NetworkDefinition): void {
    const now = this.#all.get(definition.name) ?? definition;
    this.#written(definition.name, () => {
      // The machine of another outside has gone back already, or there is no earlier definition.
      if (JSON.stringify(now) === JSON.stringify(definition)) this.#store.save(definition);
      else this.#store.goBack(definition, now);
    });
    this.#set(definition);
  }

  /** Makes `next` the definition, and keeps `before` beside it until the update is settled. */
  begin(before: NetworkDefinition, next: NetworkDefinition): void {
    this.#written(before.name, () => this.#store.begin(before, next));
    this.#set(next);
  }

  remove(name: string): void {
    this.#written(name, () => this.#store.remove(name));
    this.#all.delete(name);
    this.bus.emit('changed');
  }

  /**
   * Goes back to the previous definition in any case. A file that cannot be written now is written when the update is
   * settled.
   */
  revert(definition: NetworkDefinition): void {
    this.#set(definition);
    try {
      this.#store.save(definition);
    } catch (error) {
      this.#unsettled.set(definition.name, toFault(error, 'revert'));
    }
  }

  /** Makes the files hold the present definition, and removes the remains of an update. Retries if the disk refuses. */
  settle(name: string): void {
    try {
      this.#store.settle(name, this.#all.get(name) ?? null);
      this.#unsettled.delete(name);
    } catch (error) {
      this.#unsettled.set(name, toFault(error, 'settle'));
      setTimeout(() => void this.inTurn(() => this.settle(name)), SETTLE_AGAIN_MS).unref();
    }
  }

  /** Files that could not be reset, with the reason. */
  troubles(): { what: string; fault: Fault }[] {
    return [...this.#unsettled].map(([name, fault]) => ({ what: `file of network ${name}`, fault }));
  }

  #set(definition: NetworkDefinition): void {
    this.#all.set(definition.name, definition);
    this.bus.emit('changed');
  }

  /** Writes a file. A write that fails may still have happened, in part or whole: the files are then reset. */
  #written(name: string, write: () => void): void {
    try {
      write();
    } catch (error) {
      this.settle(name);
      throw error;
    }
  }
}
