/**
 * Knows what is on disk of each container: its record, and whether an effect can rely on it.
 *
 * Guarantees: a context counts as on disk once the record that holds it has been written.
 * Limits: knows only this daemon's writes, not those of an earlier one.
 */
import type { ContainerContext } from '../../state/container.ts';
import { CONTAINER_VERSION } from '../../state/versions/migrations.ts';
import type { Source } from '../../state/files/store.ts';
import type { ContainerActor } from './snapshot.ts';

export class Durable {
  readonly #contexts = new WeakMap<ContainerActor, ContainerContext>();

  /** Returns the record of a container, for the store. */
  source(actor: () => ContainerActor): Source {
    let read: ContainerContext | null = null;
    return {
      read: () => {
        read = actor().getSnapshot().context;
        return { machine: 'container', version: CONTAINER_VERSION, snapshot: actor().getPersistedSnapshot() };
      },
      written: () => {
        if (read !== null) this.#contexts.set(actor(), read);
      },
    };
  }

  /** Returns true if some state of the container's n-th operation has been written. */
  has(actor: ContainerActor, n: number): boolean {
    return this.#contexts.get(actor)?.operation.n === n;
  }

  /**
   * Returns true if everything that an operation under way may make has been on disk since it began, and the state on disk
   * continues the same way: it has the same plan, in the same operation, and nothing has failed since (a rollback undoes what the
   * state on disk would continue). Contexts are immutable, so the same parts are the same objects.
   */
  hasNamesOf(actor: ContainerActor): boolean {
    const durable = this.#contexts.get(actor);
    const { context } = actor.getSnapshot();
    return (
      durable !== undefined &&
      durable.operation.n === context.operation.n &&
      durable.fault === context.fault &&
      durable.netns === context.netns &&
      durable.attachments === context.attachments &&
      durable.uplink === context.uplink &&
      durable.change?.ports === context.change?.ports
    );
  }
}
