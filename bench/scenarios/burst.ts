/**
 * Scenarios `burst` (256 creates at once) and `gone` (400 torn down until the kernel has reaped them all).
 *
 * Guarantees: floor and cleat take turns, several times; the best and the median are printed. "gone" is when the host
 * side of the last veth has vanished, read from the kernel for both. A daemon that prepares a namespace for each of the burst has
 * them before it begins.
 * Limits: the peers burst with 16 containers, each a process (or four) of its own, and not in a quick run.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { figure } from '../budgets.ts';
import { upEvents, type Client } from '../client.ts';
import type { Contender } from '../contenders/contender.ts';
import { bulkDown, bulkGone, bulkUp, type Daemon } from '../daemon.ts';
import { NO_PORTS } from '../floor/floor.ts';
import { emptyReport, ms, p50, perSecond, reasonOf, times } from '../report.ts';
import { attempt, pick, type Context, type Scenario } from '../scenario.ts';

const BURST = 256;
const PEER_BURST = 16;
const CONNECTIONS = 32;
const DOWN = 400;

const FLOOR = 'floor, one after another';
const BY_CONNECTIONS = `cleat, ${CONNECTIONS} connections`;
const ONE_REQUEST = 'cleat, one request';
const UNPREPARED = `${BY_CONNECTIONS}, nothing prepared`;
const PREPARED = `${BY_CONNECTIONS}, ${BURST} prepared`;

/** Returns how many a second of `count` the work does. */
async function rateOf(count: number, work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (count * 1000) / (performance.now() - start);
}

export const burst: Scenario = {
  name: 'burst',
  async run(context) {
    const title = `burst: ${BURST} create + configure at once`;
    const report = emptyReport(title, ['', 'times', 'middle', 'best', 'to floor']);
    const rates = new Map<string, number[]>();
    const add = (name: string, rate: number): void => void rates.set(name, [...(rates.get(name) ?? []), rate]);
    const daemon = await context.cleat();
    const client = daemon?.client(CONNECTIONS) ?? null;
    const [cold, warm] = [await context.beside(0), await context.beside(BURST)];
    // Does not count, because much of their code is not compiled yet.
    for (const one of [daemon, cold, warm]) {
      if (one !== null) await attempt(report, async () => void (await burstOn(one, context.nextIds(BURST))));
    }
    // Before the next turn begins, whatever it is, the daemon has made what it prepares: that takes a processor.
    if (warm !== null) await attempt(report, () => warm.prepared(BURST));
    for (let round = 0; round < pick(context, 3, 1); round++) {
      const first = context.nextIds(BURST);
      const { ms: took } = await context.floor.command(`burst ${first} ${BURST}`);
      add(FLOOR, (BURST * 1000) / took);
      await context.floor.command(`teardown ${first} ${BURST}`);
      await context.floor.command('gone');
      if (daemon === null || client === null || cold === null || warm === null) continue;
      await attempt(report, async () => {
        add(BY_CONNECTIONS, await burstOn(daemon, context.nextIds(BURST)));
        const together = context.nextIds(BURST);
        const events = Array.from({ length: BURST }, (_, i) => upEvents(`c${together + i}`, NO_PORTS)).flat();
        add(ONE_REQUEST, await rateOf(BURST, () => client.events(events)));
        await bulkGone(client, together, BURST);
        add(UNPREPARED, await burstOn(cold, context.nextIds(BURST)));
        add(PREPARED, await burstOn(warm, context.nextIds(BURST)));
        await warm.prepared(BURST);
      });
      await sleep(100);
    }
    client?.close();
    for (const peer of context.quick ? [] : context.peers) {
      const name = `${peer.name}, ${PEER_BURST} ${peer.serial === true ? 'in a row (its lock)' : 'at once'}`;
      try {
        add(name, await peerBurst(context, peer));
      } catch (error) {
        report.notes.push(`${name}: ${reasonOf(error)}`);
      }
    }
    const floor = p50(rates.get(FLOOR));
    for (const [name, values] of rates) {
      const cells = [perSecond(p50(values)), perSecond(Math.max(...values)), times(p50(values) / floor)];
      report.rows.push([name, String(values.length), ...cells]);
    }
    const [prepared, unprepared] = [p50(rates.get(PREPARED)), p50(rates.get(UNPREPARED))];
    report.checks.push(
      figure('256 at once', prepared),
      figure('256 at once, to floor', prepared / floor),
      figure('256 at once, nothing prepared', unprepared),
      figure('256 at once, nothing prepared, to floor', unprepared / floor),
    );
    return [report];
  },
};

async function burstOn(daemon: Daemon, first: number): Promise<number> {
  const client = daemon.client(CONNECTIONS);
  const rate = await rateOf(BURST, () => separately(client, first));
  await bulkGone(client, first, BURST);
  client.close();
  return rate;
}

async function separately(client: Client, first: number): Promise<void> {
  const one = async (id: number): Promise<void> => {
    for (const event of upEvents(`c${id}`, NO_PORTS)) await client.event(event);
  };
  await Promise.all(Array.from({ length: BURST }, (_, i) => one(first + i)));
}

/**
 * Waits for all of them to end, then throws the first failure, so that nothing is taken down that is still being made.
 */
async function together(work: Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason;
}

/** The floor program makes the namespaces within this time: a millisecond each, in a burst of seconds. */
async function peerBurst(context: Context, peer: Contender): Promise<number> {
  const first = context.nextIds(PEER_BURST);
  const ids = Array.from({ length: PEER_BURST }, (_, i) => first + i);
  try {
    return await rateOf(PEER_BURST, async () => {
      if (peer.serial === true) for (const id of ids) await peer.create(id, NO_PORTS);
      else await together(ids.map((id) => peer.create(id, NO_PORTS)));
    });
  } finally {
    for (const id of ids) await peer.teardown(id).catch(() => {});
  }
}

export const gone: Scenario = {
  name: 'gone',
  async run(context) {
    const report = emptyReport(`${DOWN} torn down and gone`, ['', 'times', 'replies', 'gone', 'to floor']);
    const client = (await context.cleat())?.client(CONNECTIONS) ?? null;
    const floor: { reply: number; gone: number }[] = [];
    const cleat: { reply: number; gone: number; said: number }[] = [];
    for (let round = 0; round < pick(context, 3, 1); round++) {
      const first = context.nextIds(DOWN);
      await context.floor.command(`burst ${first} ${DOWN}`);
      const reply = (await context.floor.command(`teardown ${first} ${DOWN}`)).ms;
      floor.push({ reply, gone: (await context.floor.command('gone')).ms });
      if (client === null) continue;
      await attempt(report, async () => {
        const ours = context.nextIds(DOWN);
        await bulkUp(client, ours, DOWN);
        cleat.push(await bulkDown(client, ours, DOWN));
      });
      await sleep(100);
    }
    const floorGone = p50(floor.map((sample) => sample.gone));
    for (const [name, samples] of Object.entries({ floor, cleat })) {
      if (samples.length === 0) continue;
      const [reply, end] = [p50(samples.map((one) => one.reply)), p50(samples.map((one) => one.gone))];
      report.rows.push([name, String(samples.length), ms(reply), ms(end), times(end / floorGone)]);
    }
    const ours = p50(cleat.map((sample) => sample.gone));
    report.checks.push(
      figure('400 torn down and gone', ours),
      figure('400 torn down and gone, to floor', ours / floorGone),
    );
    if (cleat.length > 0) {
      report.notes.push(`cleat itself says of each that it is gone after ${ms(p50(cleat.map((one) => one.said)))}`);
    }
    client?.close();
    return [report];
  },
};
