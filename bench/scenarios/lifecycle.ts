/**
 * Scenarios `create`, `ports2` and `ports206`: one container at a time, up and down again, all contenders in turn.
 *
 * Guarantees: at most 100 containers of each contender stand at once. The peers' times leave out the namespace that
 * they are given (a row of its own has their times with it); cleat's and the floor's include it.
 * Limits: one client connection; IPv4.
 */
import { Stream } from '../client.ts';
import { cleatContender, streamContender } from '../daemon.ts';
import { floorContender } from '../contender.ts';
import { check, emptyReport, ms, p50, quantile, times, type Report } from '../report.ts';
import { takeTurns, type Samples } from '../rounds.ts';
import { pick, type Context, type Scenario } from '../scenario.ts';

interface Plan {
  name: string;
  ports: number;
  rounds: [full: number, quick: number];
  peerEvery: [full: number, quick: number];
  peerSeconds: [full: number, quick: number];
  /** Budget in milliseconds, or null: ratios to the floor and to netavark. */
  limit: number | null;
}

const PLANS: Plan[] = [
  { name: 'create', ports: 0, rounds: [100, 24], peerEvery: [5, 6], peerSeconds: [8, 2], limit: null },
  { name: 'ports2', ports: 2, rounds: [50, 16], peerEvery: [5, 8], peerSeconds: [5, 1], limit: 3 },
  { name: 'ports206', ports: 206, rounds: [20, 6], peerEvery: [20, 6], peerSeconds: [4, 1], limit: 15 },
];

const FIRST_PORT = 2000;
/** A daemon lives for months, so its users do not see its first rounds, in code that is not compiled yet. */
const WARM_UP = 30;
/** A daemon that prepares no namespaces. Those of the others are made in the pauses between the turns. */
const COLD = 'cleat, unprepared';
const COLD_STREAM = 'cleat, unprepared, stream';
const COLUMNS = ['', 'n', 'p50', 'p90', 'to floor', 'to netavark'];

export const lifecycle: Scenario[] = PLANS.map((plan) => ({ name: plan.name, run: (context) => run(context, plan) }));

async function run(context: Context, plan: Plan): Promise<Report[]> {
  const daemon = await context.cleat();
  const client = daemon?.client() ?? null;
  const stream = daemon === null ? null : new Stream(daemon.socket);
  const cleat = client === null || stream === null ? [] : [cleatContender(client), streamContender(stream)];
  const bare = plan.limit === null ? await context.unprepared() : null;
  const [bareClient, bareStream] = bare === null ? [null, null] : [bare.client(), new Stream(bare.socket)];
  if (bareClient !== null) cleat.push(cleatContender(bareClient, COLD));
  if (bareStream !== null) cleat.push(streamContender(bareStream, COLD_STREAM));
  const results = await takeTurns({
    contenders: [floorContender(context.floor), ...cleat, ...context.peers],
    warmUp: WARM_UP,
    rounds: pick(context, ...plan.rounds),
    peerEvery: pick(context, ...plan.peerEvery),
    peerSeconds: pick(context, ...plan.peerSeconds),
    ports: plan.ports,
    firstPort: FIRST_PORT,
    nextId: context.nextId,
  });
  await context.floor.command('gone');

  const what = plan.ports === 0 ? 'no ports' : `${plan.ports} ports`;
  const up = emptyReport(`create + configure, ${what}`, COLUMNS);
  const down = emptyReport(`teardown until the reply, ${what}`, COLUMNS);
  const side = (pickSide: (samples: Samples) => number[]): Map<string, number[]> =>
    new Map([...results].map(([name, samples]) => [name, pickSide(samples)]));
  const creates = side((samples) => samples.create);
  for (const peer of context.peers) {
    const samples = results.get(peer.name)!;
    creates.set(
      `${peer.name} + netns`,
      samples.create.map((value, i) => value + (samples.parts['netns']?.[i] ?? 0)),
    );
  }
  const teardowns = side((samples) => samples.teardown);
  rows(up, creates);
  rows(down, teardowns);
  for (const [name, samples] of results) if (samples.error !== undefined) up.notes.push(`${name}: ${samples.error}`);

  const ours = p50(creates.get('cleat'));
  const streamed = p50(creates.get('cleat, stream'));
  const floor = p50(creates.get('floor'));
  const netavark = p50(creates.get('netavark'));
  if (plan.limit === null) {
    up.checks.push(check('prepared: stream p50 <= 1.3x floor', streamed / floor, 1.3, times));
    up.checks.push(check('prepared: requests p50 <= 2x floor', ours / floor, 2, times));
    up.checks.push(check('unprepared: stream p50 <= 2x floor', p50(creates.get(COLD_STREAM)) / floor, 2, times));
    up.checks.push(check('unprepared: requests p50 <= 3x floor', p50(creates.get(COLD)) / floor, 3, times));
    up.checks.push(check('stream >= 10x faster than netavark', netavark / streamed, 10, times, true));
    up.checks.push(check('requests >= 10x faster than netavark', netavark / ours, 10, times, true));
  } else {
    up.checks.push(check(`stream p50 <= ${plan.limit} ms`, streamed, plan.limit, ms));
    up.checks.push(check(`requests p50 <= ${plan.limit} ms`, ours, plan.limit, ms));
  }
  up.notes.push(partsNote('floor', results.get('floor')!));
  if (client !== null) {
    up.notes.push(partsNote('cleat', results.get('cleat')!));
    const trip = await roundTrip(() => client.version());
    const intent = p50(results.get('floor')!.parts['intent']);
    up.notes.push(
      `one empty round trip over the socket: ${ms(trip)}; two and an intent on disk with the floor's work: `.concat(
        ms(floor + intent + 2 * trip),
      ),
    );
    // No daemon on a socket can be below this: it shows how much of the ratio is the kernel's, and how much the way
    // there.
    const least = p50(teardowns.get('floor')) + intent + trip;
    const ratio = p50(teardowns.get('cleat')) / least;
    down.checks.push(check('requests p50 <= 3x (floor + empty round trip + intent)', ratio, 3, times));
    down.notes.push(`floor + one empty round trip + an intent on disk: ${ms(least)}`);
    client.close();
    stream?.close();
    bareClient?.close();
    bareStream?.close();
  }
  return [up, down];
}

function rows(report: Report, samples: Map<string, number[]>): void {
  const floor = p50(samples.get('floor'));
  const netavark = p50(samples.get('netavark'));
  for (const [name, values] of samples) {
    if (values.length === 0) continue;
    const middle = p50(values);
    const cells = [ms(middle), ms(quantile(values, 0.9)), times(middle / floor), times(middle / netavark)];
    report.rows.push([name, String(values.length), ...cells]);
  }
}

function partsNote(name: string, samples: Samples): string {
  const parts = Object.entries(samples.parts).map(([part, values]) => `${part} ${ms(p50(values))}`);
  return `${name}, p50 of its parts: ${parts.join(', ')}`;
}

async function roundTrip(call: () => Promise<{ ms: number }>): Promise<number> {
  const samples: number[] = [];
  for (let i = 0; i < 50; i++) samples.push((await call()).ms);
  return p50(samples);
}
