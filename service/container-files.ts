/**
 * The files of containers follow the host's resolv.conf.
 *
 * Guarantees: every container that has files, and stays, gets its own anew: at once if it is at rest, else when it has
 * come to rest, for until then an operation writes them. What cannot be written (a full disk) is tried again, and is told
 * to doctor until then.
 * Limits: looks again every second while something is due.
 */
import { toFault } from '../effects/effect.ts';
import type { ContainerContext } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import type { Containers } from './containers.ts';
import { isLeaving } from './desired-ruleset.ts';

const AGAIN_MS = 1000;

export class ContainerFiles {
  readonly #containers: Pick<Containers, 'all' | 'get'>;
  readonly #write: (context: ContainerContext) => void;
  /** Ids whose files are to be written, and why they could not be. */
  readonly #due = new Map<string, Fault | null>();
  #timer: NodeJS.Timeout | undefined;

  /** `write`: throws if it cannot; writes nothing where there are no files yet. */
  constructor(containers: Pick<Containers, 'all' | 'get'>, write: (context: ContainerContext) => void) {
    this.#containers = containers;
    this.#write = write;
  }

  /** Have all of them written anew. */
  refresh(): void {
    for (const { context } of this.#containers.all()) {
      if (context.files && !this.#due.has(context.id)) this.#due.set(context.id, null);
    }
    this.#attempt();
  }

  /** What could not be written yet. */
  troubles(): { outside: null; what: string; fault: Fault }[] {
    return [...this.#due].flatMap(([id, fault]) =>
      fault === null ? [] : [{ outside: null, what: `files of container ${id}`, fault }],
    );
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #attempt(): void {
    clearTimeout(this.#timer);
    for (const id of this.#due.keys()) {
      const snapshot = this.#containers.get(id);
      if (snapshot === undefined || isLeaving(snapshot)) this.#due.delete(id);
      else if (snapshot.hasTag('rest')) this.#one(snapshot.context);
    }
    if (this.#due.size > 0) this.#timer = setTimeout(() => this.#attempt(), AGAIN_MS);
  }

  #one(context: ContainerContext): void {
    try {
      this.#write(context);
      this.#due.delete(context.id);
    } catch (error) {
      this.#due.set(context.id, toFault(error, 'refreshFiles'));
    }
  }
}
