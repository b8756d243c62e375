/**
 * Published ports one machine further out: exposes them at the outer publisher, and unexposes them.
 *
 * Guarantees: a call exposes all of its ports or none. A forward to another machine, or to another target than ours, is never
 * touched. Calls to one publisher run one after another. A port is in the ledger, on disk, before it is exposed, and stays
 * there until the publisher is known not to have it. So a later call, or the next start, repairs the effects of a crash, of a
 * reboot of this machine (podman#28047), and of a teardown that the publisher did not answer.
 * Limits: tcp and udp. The publisher has no owners, so a forward to this machine at the same port counts as ours. There must be
 * no address translation between us and the publisher: the address of our connection is taken as ours.
 */
import type { ResolvedPort } from '../../state/container.ts';
import { type Fault, FaultError } from '../../state/faults.ts';
import { toFault } from '../effect.ts';
import { inPool } from '../pool.ts';
import { inTurn as takeTurn } from '../turns.ts';
import { Gvproxy, keyOf, PublisherError, type Forward } from './gvproxy.ts';

export interface PublisherInput {
  publisher: string;
  ports: readonly ResolvedPort[];
}

/**
 * The forwards that publishers were requested to make and may have, durable when a call returns. `owed` are those to be
 * removed.
 */
export interface Ledger {
  of(publisher: string): readonly Forward[];
  owed(publisher: string): readonly Forward[];
  add(publisher: string, forwards: readonly Forward[]): void;
  owe(publisher: string, forwards: readonly Forward[]): void;
  remove(publisher: string, forwards: readonly Forward[]): void;
}

export interface Reconciled {
  /** Forwards as protocol/local. */
  exposed: string[];
  unexposed: string[];
  /** The failures; everything else was done. */
  faults: Fault[];
}

/** Shorter than the deadline of an effect. */
const EXPOSE_MS = 8000;
/** Short, because a teardown must not wait for long. */
const UNEXPOSE_MS = 2000;
const RECONCILE_MS = 10_000;
/** Forwards that are asked for at the same time. */
const AT_ONCE = 4;

export const expose =
  (ledger: Ledger) =>
  async ({ publisher, ports }: PublisherInput): Promise<void> => {
    refuseSctp(ports);
    await inTurn(publisher, EXPOSE_MS, async (client) => {
      const { there, address } = await client.list();
      const forwards = forwardsOf(ports, address);
      const keys = new Set(forwards.map(keyOf));
      // Forwards that could not be removed before may be in the way now. If they still cannot be removed, they stay owed.
      await takeAway(
        ledger,
        client,
        there,
        ledger.owed(publisher).filter((forward) => !keys.has(keyOf(forward))),
      );
      const missing = forwards.filter((forward) => isMissing(forward, there));
      ledger.add(publisher, missing);
      const begun = new Set<Forward>();
      try {
        await inPool(AT_ONCE, missing, async (forward) => {
          begun.add(forward);
          await exposeOne(client, forward, () => begun.delete(forward));
        });
        ledger.add(publisher, forwards);
      } catch (error) {
        ledger.remove(
          publisher,
          missing.filter((forward) => !begun.has(forward)),
        );
        await undo(ledger, publisher, [...begun]);
        throw error;
      }
    });
  };

/**
 * Returns null, or the reason that the publisher may still have some of the ports: those are recorded, and tried again with the
 * next call.
 */
export const unexpose =
  (ledger: Ledger) =>
  async ({ publisher, ports }: PublisherInput): Promise<Fault | null> => {
    try {
      ledger.owe(publisher, forwardsOf(ports, ''));
      const faults = await inTurn(publisher, UNEXPOSE_MS, async (client) => {
        const { there, address } = await client.list();
        const forwards = new Map(ledger.owed(publisher).map((forward) => [keyOf(forward), forward]));
        for (const forward of forwardsOf(ports, address)) forwards.set(keyOf(forward), forward);
        return (await takeAway(ledger, client, there, [...forwards.values()])).faults;
      });
      return faults[0] ?? null;
    } catch (error) {
      return toFault(error, 'unexpose', 'PUBLISHER_FAILED');
    }
  };

/**
 * At a start: exposes ports that are wanted and missing (the publisher may have been restarted), and removes those that are
 * stale, or in the ledger and not wanted. Leaves `undecided` ports alone, because a machine in the middle of an operation makes
 * or removes them. Never rejects.
 */
export const reconcile =
  (ledger: Ledger) =>
  async (input: {
    publisher: string;
    wanted: readonly ResolvedPort[];
    undecided: readonly ResolvedPort[];
    stale: readonly ResolvedPort[];
  }): Promise<Reconciled> => {
    const { publisher } = input;
    try {
      return await inTurn(publisher, RECONCILE_MS, async (client) => {
        const { there, address } = await client.list();
        const wanted = forwardsOf(input.wanted, address);
        const keys = new Set([...wanted, ...forwardsOf(input.undecided, address)].map(keyOf));
        const stale = [...forwardsOf(input.stale, address), ...ledger.of(publisher)];
        const unwanted = stale.filter((forward) => !keys.has(keyOf(forward)));
        // This comes first, because stale forwards may be in the way of wanted ones.
        const away = await takeAway(ledger, client, there, unwanted);
        const exposed: string[] = [];
        const faults = [...away.faults];
        await inPool(AT_ONCE, wanted, async (forward) => {
          try {
            if (!isMissing(forward, there)) return;
            ledger.add(publisher, [forward]);
            await exposeOne(client, forward, () => {});
            exposed.push(keyOf(forward));
          } catch (error) {
            faults.push(toFault(error, 'reconcile', 'PUBLISHER_FAILED'));
          }
        });
        return { exposed, unexposed: away.gone, faults };
      });
    } catch (error) {
      return { exposed: [], unexposed: [], faults: [toFault(error, 'reconcile', 'PUBLISHER_FAILED')] };
    }
  };

/**
 * Returns the number of forwards that the publisher has, or the reason that it cannot be queried. Does not wait for its turn.
 */
export async function askPublisher(publisher: string): Promise<{ forwards: number } | { fault: Fault }> {
  const client = new Gvproxy(publisher, AbortSignal.timeout(UNEXPOSE_MS));
  try {
    return { forwards: (await client.list()).there.size };
  } catch (error) {
    return { fault: toFault(error, 'doctor', 'PUBLISHER_FAILED') };
  } finally {
    client.close();
  }
}

/** Returns one forward per port. The host port of this machine is the port outside, too. */
function forwardsOf(ports: readonly ResolvedPort[], address: string): Forward[] {
  return ports.flatMap(({ protocol, hostIp, outerIp, hostPort, range }) => {
    if (protocol === 'sctp') return [];
    const asked = outerIp ?? hostIp;
    const host = asked.includes(':') ? `[${asked}]` : asked;
    return Array.from({ length: range }, (_, i) => ({
      protocol,
      local: `${host}:${hostPort + i}`,
      remote: `${address}:${hostPort + i}`,
    }));
  });
}

function refuseSctp(ports: readonly ResolvedPort[]): void {
  const port = ports.find(({ protocol }) => protocol === 'sctp');
  if (port === undefined) return;
  const message = `port ${port.hostPort}/sctp cannot be published: the outer publisher knows tcp and udp`;
  throw new FaultError('PUBLISHER_FAILED', message);
}

/** Returns false if the forward is there with our target. Throws if it has another target. */
function isMissing(forward: Forward, there: ReadonlyMap<string, string>): boolean {
  const remote = there.get(keyOf(forward));
  if (remote === undefined) return true;
  if (remote === forward.remote) return false;
  throw taken(forward, `leads to ${remote}`);
}

function taken({ protocol, local }: Forward, how: string): FaultError {
  const message = `port ${local}/${protocol} is taken on the host of this machine: it ${how}`;
  return new FaultError('PORT_TAKEN', message, { owner: 'the outer publisher' });
}

/** Calls `refused` if this call has certainly not made the forward. */
async function exposeOne(client: Gvproxy, forward: Forward, refused: () => void): Promise<void> {
  try {
    await client.expose(forward);
  } catch (error) {
    if (!(error instanceof PublisherError) || error.refusal === null) throw error;
    refused();
    if (error.refusal.startsWith('proxy already running')) {
      // Another call has made it meanwhile.
      if (isMissing(forward, (await client.list()).there)) throw error;
      return;
    }
    // EADDRINUSE and WSAEADDRINUSE, as Go writes them.
    if (/address already in use|Only one usage of each socket address/.test(error.refusal)) {
      throw taken(forward, `is in use there (${error.refusal})`);
    }
    throw error;
  }
}

/** Removes those of these forwards that lead to us, and tries all of them. Removes missing ones from the ledger. */
async function takeAway(
  ledger: Ledger,
  client: Gvproxy,
  there: Map<string, string>,
  forwards: readonly Forward[],
): Promise<{ gone: string[]; faults: Fault[] }> {
  const gone: string[] = [];
  const faults: Fault[] = [];
  const settled: Forward[] = [];
  await inPool(AT_ONCE, forwards, async (forward) => {
    const key = keyOf(forward);
    if (there.get(key) === forward.remote) {
      try {
        await client.unexpose(forward);
      } catch (error) {
        faults.push(toFault(error, 'unexpose', 'PUBLISHER_FAILED'));
        return;
      }
      there.delete(key);
      gone.push(key);
    }
    settled.push(forward);
  });
  ledger.remove(client.publisher, settled);
  return { gone, faults };
}

/** Removes forwards that this call has exposed, or may have. Those that cannot be removed now are owed. */
async function undo(ledger: Ledger, publisher: string, forwards: readonly Forward[]): Promise<void> {
  if (forwards.length === 0) return;
  ledger.owe(publisher, forwards);
  const client = new Gvproxy(publisher, AbortSignal.timeout(UNEXPOSE_MS));
  try {
    const { there } = await client.list();
    await takeAway(ledger, client, there, forwards);
  } catch {
    // The publisher does not answer. The error that led here has the reason.
  } finally {
    client.close();
  }
}

const turns = new Map<string, Promise<unknown>>();

/** After the calls before it, and within `ms` counted from now. */
function inTurn<T>(publisher: string, ms: number, work: (client: Gvproxy) => Promise<T>): Promise<T> {
  const signal = AbortSignal.timeout(ms);
  return new Promise((resolve, reject) => {
    const late = () => reject(new PublisherError(publisher, null, 'is still busy with what it was asked before'));
    signal.addEventListener('abort', late, { once: true });
    const mine = takeTurn(turns, publisher, async () => {
      if (signal.aborted) return;
      signal.removeEventListener('abort', late);
      const client = new Gvproxy(publisher, signal);
      try {
        resolve(await work(client));
      } finally {
        client.close();
      }
    });
    mine.catch(reject);
  });
}
