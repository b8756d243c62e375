/**
 * The daemon's dealings with the outer publisher beside the containers' own: making good at the start, and what doctor
 * says of it.
 *
 * Guarantees: nobody waits for it: a publisher that does not answer delays neither the start nor a container without
 * ports. What was done and what failed is logged, and the last of it kept for doctor.
 * Limits: once per start. Ports that are owed to a publisher go with the next call to it, not by themselves.
 */
import { askPublisher, reconcile, type Ledger, type Reconciled } from '../effects/publisher.ts';
import type { ResolvedPort } from '../state/container.ts';
import type { Check } from './doctor.ts';
import type { Log } from './log.ts';
import type { Recovered } from './recovery.ts';
import { stateName } from './snapshot.ts';
import { LEAVING, STEADY } from './desired-ruleset.ts';

interface Parts {
  /** The one that new containers get, null for none. */
  publisher: string | null;
  ledger: Ledger & { publishers(): string[] };
  log: Log;
}

/**
 * What is to be listened for is certain while a container rests, and when it goes: nothing. In the middle of a change it
 * is the machine's to say, and a way out that has told the publisher already must not be undone.
 */
function portsOf({ context, snapshot }: Recovered['containers'][number]) {
  const { publisher, ports, change } = context;
  const [state = ''] = stateName(snapshot as { value: unknown }).split('.');
  const steady = STEADY.has(state);
  return {
    publisher,
    wanted: steady ? ports : [],
    undecided: steady || LEAVING.has(state) ? [] : [...ports, ...(change?.ports ?? [])],
  };
}

export class Publishing {
  readonly #parts: Parts;
  readonly #last = new Map<string, Reconciled>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * Begin to make every publisher have what the containers have published, and nothing else of ours. To be called before
   * the containers start: what they ask of a publisher then comes after this.
   */
  start(
    containers: readonly Recovered['containers'][number][],
    stale: readonly { publisher: string; ports: ResolvedPort[] }[],
  ): Promise<void> {
    const ports = containers.map(portsOf);
    const used = ports.flatMap(({ publisher }) => publisher ?? []);
    const known = new Set([...used, ...stale.map(({ publisher }) => publisher), ...this.#parts.ledger.publishers()]);
    const work = [...known].map(async (publisher) => {
      const of = <T extends { publisher: string | null }>(all: readonly T[]) =>
        all.filter((one) => one.publisher === publisher);
      const result = await reconcile(this.#parts.ledger)({
        publisher,
        wanted: of(ports).flatMap(({ wanted }) => wanted),
        undecided: of(ports).flatMap(({ undecided }) => undecided),
        stale: of(stale).flatMap(({ ports }) => ports),
      });
      this.#last.set(publisher, result);
      const { exposed, unexposed, faults } = result;
      if (exposed.length + unexposed.length > 0) {
        this.#parts.log.info({ publisher, exposed, unexposed }, 'outer publisher brought up to date');
      }
      for (const fault of faults) this.#parts.log.error({ publisher, fault }, fault.message);
    });
    return Promise.all(work).then(() => {});
  }

  async checks(): Promise<Check[]> {
    const { publisher, ledger } = this.#parts;
    const configured = publisher === null ? [] : [publisher];
    const known = [...new Set([...configured, ...this.#last.keys(), ...ledger.publishers()])];
    return Promise.all(known.map((one) => this.#check(one)));
  }

  async #check(publisher: string): Promise<Check> {
    const name = 'publisher';
    const answer = await askPublisher(publisher);
    if ('fault' in answer) {
      return {
        name,
        ok: false,
        severity: 'error',
        text: `${answer.fault.message}: containers with published ports cannot be configured`,
        hint: 'start gvproxy on the host of this machine, or mend --publisher',
      };
    }
    const owed = this.#parts.ledger.owed(publisher);
    const fault = this.#last.get(publisher)?.faults[0];
    const wrong = [
      ...(fault === undefined ? [] : [`at the start: ${fault.message}`]),
      ...(owed.length === 0 ? [] : [`still to be taken away: ${owed.map(({ local }) => local).join(' ')}`]),
    ];
    const text = `the publisher at ${publisher} answers; it has ${answer.forwards} forwards`;
    if (wrong.length === 0) return { name, ok: true, severity: 'warning', text };
    const hint = 'start the daemon again to have it tried again';
    return { name, ok: false, severity: 'warning', text: [text, ...wrong].join('; '), hint };
  }
}
