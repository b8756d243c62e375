/**
 * Hands out namespaces that were made in advance (machines/prepared.ts) for containers in the daemon's own outside.
 *
 * Guarantees: a namespace has one taker, which closes its descriptor. Taking one waits for nothing. Without any, or after a
 * defect in their machine, there is none to take, and containers are made without.
 * Limits: none for other outsides, which come and go. IPv4 has a new namespace begin with the switches `all` and `default` of the
 * first namespace of the machine (net.core.devconf_inherit_init_net): a prepared one has them as they were when it was made.
 */
import { closeSync, fstatSync } from 'node:fs';
import { createActor, type ActorRefFrom } from 'xstate';
import type { preparedMachine } from '../../machines/prepared.ts';
import type { NetnsIdentity } from '../../native/index.ts';
import { FaultError } from '../../state/faults.ts';
import type { SharedMachine } from './shared.ts';

/** The pause after which nothing is taken to be under way. Containers of one command follow each other within it. */
export const QUIET_MS = 10;

export class PreparedNamespaces {
  readonly #actor: ActorRefFrom<typeof preparedMachine>;
  /** Handed out and not closed yet. */
  readonly #taken = new Set<number>();

  constructor(machine: typeof preparedMachine, size: number, failed: (what: string, error: unknown) => void) {
    this.#actor = createActor(machine, { id: 'prepared', input: { size } });
    this.#actor.subscribe({
      next: ({ context: { fault, attempts } }) => {
        if (fault === null || attempts !== 1) return;
        const { code, message, ...more } = fault;
        failed('preparing namespaces', new FaultError(code, message, more));
      },
      error: (error) => failed('preparing namespaces', error),
    });
  }

  /** The machine as the inspector shows it; none if there are to be no namespaces. */
  machines(): SharedMachine[] {
    if (this.#actor.getSnapshot().context.size === 0) return [];
    return [{ kind: 'prepared', outside: null, name: 'prepared', actor: this.#actor }];
  }

  start(): void {
    this.#actor.start();
  }

  /** Runs `use` with the descriptor of a namespace that nobody else gets, and closes it; null if there is none. */
  async taking<T>(use: (netns: number | null) => Promise<T>): Promise<T> {
    const { status, context } = this.#actor.getSnapshot();
    if (status !== 'active') return use(null);
    const [netns] = context.ready;
    this.#actor.send({ type: 'taken' });
    if (netns === undefined) return use(null);
    this.#taken.add(netns);
    try {
      return await use(netns);
    } finally {
      this.#taken.delete(netns);
      closeSync(netns);
    }
  }

  /** Returns the namespaces that are held, and not pinned yet. */
  held(): NetnsIdentity[] {
    return [...this.#actor.getSnapshot().context.ready, ...this.#taken].map((netns) => fstatSync(netns));
  }
}
