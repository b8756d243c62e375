/**
 * The files of containers follow the host's resolv.conf.
 *
 * Guarantees: every container that has files, and stays, gets new ones: at once if it is at rest, otherwise when it has come to
 * rest, because until then an operation writes them. A file that cannot be written (a full disk) is tried again; `doctor` reports
 * it until then.
 * Limits: looks again every second while something is due.
 */
import { isLeaving } from '../../plan/states.ts';
import { toFault } from '../../effects/effect.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { Containers } from './containers.ts';

const AGAIN_MS = 1000;

export class ContainerFiles {
  readonly #containers: Pick<Containers, 'all' | 'get'>;
  readonly #write: (context: ContainerContext) => void;
  /** The ids whose files are to be written, with the fault of the last attempt. */
  readonly #due = new Map<string, Fault | null>();
  #timer: NodeJS.Timeout | undefined;

  /** `write` throws if it cannot write. It writes nothing if the container has no files yet. */
  constructor(containers: Pick<Containers, 'all' | 'get'>, write: (context: ContainerContext) => void) {
    this.#containers = containers;
    this.#write = write;
  }

  /** Writes the files of all containers anew. */
  refresh(): void {
    for (const { context } of this.#containers.all()) {
      if (context.files && !this.#due.has(context.id)) this.#due.set(context.id, null);
    }
    this.#attempt();
  }

  /** Returns the files that could not be written yet. */
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
