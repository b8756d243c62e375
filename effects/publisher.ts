/**
 * Published ports one machine further out: what the outer publisher is asked for, and what it is told to forget.
 *
 * Guarantees: a call exposes all of its ports or none of them; what leads to another machine, or was there for another
 * reason and leads elsewhere, is never touched. Calls to one publisher run one after another. Before a port is exposed it
 * is in the ledger, on disk, and stays there until the publisher is known not to have it: a teardown while the publisher
 * did not answer, a crash, a reboot of this machine (podman#28047) are made good by a later call, or at the next start.
 * Limits: tcp and udp. The publisher names no owners: a forward to this machine at the same port counts as ours. Our
 * address as the publisher sees it is the one that our connection has: there is no translation between the two.
 */
import type { ResolvedPort } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import { EffectError, toFault } from './effect.ts';
import { Gvproxy, keyOf, PublisherError, type Forward } from './gvproxy.ts';

export interface PublisherInput {
  publisher: string;
  ports: readonly ResolvedPort[];
}

/** The forwards that publishers were asked for and may have, durable when a call returns. Those to be gone are owed. */
export interface Ledger {
  of(publisher: string): readonly Forward[];
  owed(publisher: string): readonly Forward[];
  add(publisher: string, forwards: readonly Forward[]): void;
  owe(publisher: string, forwards: readonly Forward[]): void;
  remove(publisher: string, forwards: readonly Forward[]): void;
}

export interface Reconciled {
  /** As protocol/local. */
  exposed: string[];
  unexposed: string[];
  /** What did not work; the rest was done. */
  faults: Fault[];
}

/** Shorter than the deadline of an effect. */
const EXPOSE_MS = 8000;
/** A way out does not wait for long. */
const UNEXPOSE_MS = 2000;
const RECONCILE_MS = 10_000;

export const expose =
  (ledger: Ledger) =>
  async ({ publisher, ports }: PublisherInput): Promise<void> => {
    refuseSctp(ports);
    await inTurn(publisher, EXPOSE_MS, async (client) => {
      const { there, address } = await client.list();
      const forwards = forwardsOf(ports, address);
      const keys = new Set(forwards.map(keyOf));
      // What could not be taken away before may be in the way now; if it still cannot be, it is owed further on.
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
        await each(missing, async (forward) => {
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

/** Null, or why the publisher may still have some of them: it is remembered, and tried again with the next call. */
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
 * At a start: expose what is wanted and missing (the publisher may have been started anew), and take away what is stale or
 * in the ledger, and not wanted. What is `undecided` is left as it is: a machine in the middle of an operation makes it so
 * or takes it away. Never rejects.
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
        // First: what is stale may be in the way of what is wanted.
        const away = await takeAway(ledger, client, there, unwanted);
        const exposed: string[] = [];
        const faults = [...away.faults];
        await each(wanted, async (forward) => {
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

/** How many forwards the publisher has, or why it cannot be asked. Waits for nobody's turn. */
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

/** One forward per port: the host port inside is the one outside. */
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
  throw new EffectError({ code: 'PUBLISHER_FAILED', message });
}

/** False: it is there as it should be. Throws when it leads elsewhere. */
function isMissing(forward: Forward, there: ReadonlyMap<string, string>): boolean {
  const remote = there.get(keyOf(forward));
  if (remote === undefined) return true;
  if (remote === forward.remote) return false;
  throw taken(forward, `leads to ${remote}`);
}

function taken({ protocol, local }: Forward, how: string): EffectError {
  const message = `port ${local}/${protocol} is taken on the host of this machine: it ${how}`;
  return new EffectError({ code: 'PORT_TAKEN', message, owner: 'the outer publisher' });
}

/** `refused`: it is certain that this call has not made it. */
async function exposeOne(client: Gvproxy, forward: Forward, refused: () => void): Promise<void> {
  try {
    await client.expose(forward);
  } catch (error) {
    if (!(error instanceof PublisherError) || error.refusal === null) throw error;
    refused();
    if (error.refusal.startsWith('proxy already running')) {
      // Somebody was faster.
      if (isMissing(forward, (await client.list()).there)) throw error;
      return;
    }
    // EADDRINUSE and WSAEADDRINUSE, as Go says them.
    if (/address already in use|Only one usage of each socket address/.test(error.refusal)) {
      throw taken(forward, `is in use there (${error.refusal})`);
    }
    throw error;
  }
}

/** What leads to us, of these; all of it is tried. What is there no longer is forgotten. */
async function takeAway(
  ledger: Ledger,
  client: Gvproxy,
  there: Map<string, string>,
  forwards: readonly Forward[],
): Promise<{ gone: string[]; faults: Fault[] }> {
  const gone: string[] = [];
  const faults: Fault[] = [];
  const settled: Forward[] = [];
  await each(forwards, async (forward) => {
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

/** What this call has exposed, or may have. What cannot be undone now is owed. */
async function undo(ledger: Ledger, publisher: string, forwards: readonly Forward[]): Promise<void> {
  if (forwards.length === 0) return;
  ledger.owe(publisher, forwards);
  const client = new Gvproxy(publisher, AbortSignal.timeout(UNEXPOSE_MS));
  try {
    const { there } = await client.list();
    await takeAway(ledger, client, there, forwards);
  } catch {
    // The publisher does not answer: why is in the error that led here.
  } finally {
    client.close();
  }
}

/** A few at a time. After a failure none is begun, and all that were begun have ended. */
async function each<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  let failed = false;
  const worker = async () => {
    for (const item of queue) {
      if (failed) return;
      try {
        await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: 4 }, worker));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

const tails = new Map<string, Promise<void>>();

/** After the calls before it, and within `ms` counted from now. */
async function inTurn<T>(publisher: string, ms: number, work: (client: Gvproxy) => Promise<T>): Promise<T> {
  const signal = AbortSignal.timeout(ms);
  const previous = tails.get(publisher) ?? Promise.resolve();
  let over = () => {};
  const mine = new Promise<void>((resolve) => {
    over = resolve;
  });
  const tail = previous.then(() => mine);
  tails.set(publisher, tail);
  const client = new Gvproxy(publisher, signal);
  try {
    await before(signal, previous, publisher);
    return await work(client);
  } finally {
    client.close();
    over();
    if (tails.get(publisher) === tail) tails.delete(publisher);
  }
}

function before(signal: AbortSignal, work: Promise<void>, publisher: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new PublisherError(publisher, null, 'is still busy with what it was asked before'));
    signal.addEventListener('abort', late, { once: true });
    void work.then(() => {
      signal.removeEventListener('abort', late);
      resolve();
    });
  });
}
