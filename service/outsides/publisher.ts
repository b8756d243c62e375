/**
 * The daemon's own dealings with the outer publisher, besides those of containers: the reconciliation at the start, and the
 * checks of doctor.
 *
 * Guarantees: nothing waits for the publisher: one that does not answer delays neither the start nor a container without ports.
 * Results and failures are logged, and the last of them is kept for doctor.
 * Limits: reconciles once per start. Ports that a publisher must still stop listening on go with the next call to it, not by
 * themselves.
 */
import { isLeaving, isSteadyName, topState } from '../../plan/states.ts';
import { askPublisher, reconcile, type Ledger, type Reconciled } from '../../effects/ports/publisher.ts';
import type { ResolvedPort } from '../../state/container.ts';
import type { Check } from '../../state/answers/doctor.ts';
import type { Log } from '../report/log.ts';
import type { Recovered } from '../records/recovery.ts';

interface Parts {
  /** The publisher that new containers get, null for none. */
  publisher: string | null;
  ledger: Ledger & { publishers(): string[] };
  log: Log;
}

/**
 * Returns which ports of a container must be listened for. This is certain while the container rests, and when it leaves: none.
 * In the middle of a change its machine decides, and the start must not undo what the change has already requested of the
 * publisher.
 */
function portsOf({ context, snapshot }: Recovered['containers'][number]) {
  const { publisher, ports, change } = context;
  const steady = isSteadyName(topState(snapshot));
  return {
    publisher,
    wanted: steady ? ports : [],
    undecided: steady || isLeaving(snapshot) ? [] : [...ports, ...(change?.ports ?? [])],
  };
}

export class Publishing {
  readonly #parts: Parts;
  readonly #last = new Map<string, Reconciled>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * Begins to make every publisher listen for the ports that the containers have published, and for nothing else of ours. Must be
   * called before the containers start: their requests to a publisher then come after this one.
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
