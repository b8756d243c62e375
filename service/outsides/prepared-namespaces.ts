/**
 * Hands out namespaces that were made in advance (machines/prepared.ts) for containers in the daemon's own outside.
 *
 * Guarantees: a namespace has one taker, which closes its descriptor. Taking one waits for nothing. Without any, or after a
 * defect in their machine, there is none to take, and containers are made without. IPv4 has a new namespace begin with the switches
 * `all` and `default` of the first namespace of the machine (net.core.devconf_inherit_init_net). When these change, what was made
 * before is discarded within LOOK_MS.
 * Limits: none for other outsides, which come and go. The switches that are looked at are those of the daemon's own namespace, which
 * mostly is the first one. Whoever takes a namespace before the look, or while one is being made, gets the former switches.
 */
import { closeSync, fstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createActor, type ActorRefFrom } from 'xstate';
import type { preparedMachine } from '../../machines/prepared.ts';
import type { NetnsIdentity } from '../../native/index.ts';
import { FaultError } from '../../state/faults.ts';
import type { SharedMachine } from './shared.ts';

/** The pause after which nothing is taken to be under way. Containers of one command follow each other within it. */
export const QUIET_MS = 10;
/** The kernel announces only some of the switches: they are looked at, which takes a millisecond. */
const LOOK_MS = 10_000;
const SWITCHES = ['all', 'default'].map((name) => join('/proc/sys/net/ipv4/conf', name));

export class PreparedNamespaces {
  readonly #actor: ActorRefFrom<typeof preparedMachine>;
  /** Handed out and not closed yet. */
  readonly #taken = new Set<number>();
  #switches = '';

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
    if (this.machines().length === 0) return;
    this.#switches = switchesNow();
    setInterval(() => this.#look(), LOOK_MS).unref();
  }

  #look(): void {
    const now = switchesNow();
    if (now === this.#switches) return;
    this.#switches = now;
    const { status, context } = this.#actor.getSnapshot();
    if (status !== 'active') return;
    for (const netns of context.ready) {
      this.#actor.send({ type: 'taken' });
      closeSync(netns);
    }
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

function switchesNow(): string {
  return SWITCHES.flatMap((directory) =>
    readdirSync(directory).map((name) => {
      try {
        return readFileSync(join(directory, name), 'latin1');
      } catch {
        return ''; // what cannot be read has no value to compare
      }
    }),
  ).join('');
}
