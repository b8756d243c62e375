/**
 * What of each container is on disk: its record, and whether an effect can count on it.
 *
 * Guarantees: a context counts as on disk once the record that holds it has been written.
 * Limits: of this daemon's own writes; what an earlier one wrote is not known to be there.
 */
import type { ContainerContext } from '../state/container.ts';
import { CONTAINER_VERSION } from '../state/migrations.ts';
import type { Source } from '../state/store.ts';
import type { ContainerActor } from './snapshot.ts';

export class Durable {
  readonly #contexts = new WeakMap<ContainerActor, ContainerContext>();

  /** The record of a container, for the store. */
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

  /** Whether something of its n-th operation has been written. */
  has(actor: ContainerActor, n: number): boolean {
    return this.#contexts.get(actor)?.operation.n === n;
  }

  /**
   * Whether everything that an operation under way may make has been named on disk since it began, and leads on from there:
   * the same plan, in the same operation, and nothing has failed since (what turns back undoes what the disk would go on
   * with). Contexts are immutable, so the same parts are the same objects.
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
