/**
 * Scenarios `create`, `ports2` and `ports206`: one container at a time, up and down again, all contenders in turn.
 *
 * Guarantees: at most 100 containers of each contender stand at once. The peers' times leave out the namespace that
 * they are given (a row of its own has their times with it); cleat's and the floor's include it.
 * Limits: one client connection; IPv4.
 */
import { figure } from '../budgets.ts';
import { Stream } from '../client.ts';
import { cleatContender, streamContender } from '../daemon.ts';
import { floorContender, withoutPorts, type Contender } from '../contenders/contender.ts';
import { emptyReport, ms, p50, quantile, times, type Report } from '../report.ts';
import { noteErrors, partsNote, takeTurns, type Samples } from '../rounds.ts';
import { pick, type Context, type Scenario } from '../scenario.ts';

interface Plan {
  name: string;
  ports: number;
  rounds: [full: number, quick: number];
  peerEvery: [full: number, quick: number];
  peerSeconds: [full: number, quick: number];
}

const PLANS: Plan[] = [
  { name: 'create', ports: 0, rounds: [100, 24], peerEvery: [5, 6], peerSeconds: [8, 2] },
  { name: 'ports2', ports: 2, rounds: [50, 16], peerEvery: [5, 8], peerSeconds: [5, 1] },
  { name: 'ports206', ports: 206, rounds: [20, 6], peerEvery: [20, 6], peerSeconds: [4, 1] },
];

const FIRST_PORT = 2000;
/** A daemon lives for months, so its users do not see its first rounds, in code that is not compiled yet. */
const WARM_UP = 30;
const REQUESTS = 'cleat';
const STREAM = 'cleat, stream';
/** A daemon that prepares no namespaces. Those of the others are made in the pauses between the turns. */
const COLD = 'cleat, unprepared';
const COLD_STREAM = 'cleat, unprepared, stream';
const NO_PORTS = 'cleat, no ports';
const COLUMNS = ['', 'n', 'p50', 'p90', 'to floor', 'to netavark'];

export const lifecycle: Scenario[] = PLANS.map((plan) => ({ name: plan.name, run: (context) => run(context, plan) }));

type Results = Map<string, Samples>;

async function run(context: Context, plan: Plan): Promise<Report[]> {
  const daemon = await context.cleat();
  const client = daemon?.client() ?? null;
  const stream = daemon === null ? null : new Stream(daemon.socket);
  const bare = plan.ports === 0 ? await context.beside(0) : null;
  const [bareClient, bareStream] = bare === null ? [null, null] : [bare.client(), new Stream(bare.socket)];
  const cleat: Contender[] = [];
  if (client !== null) cleat.push(cleatContender(client, REQUESTS));
  if (stream !== null) cleat.push(streamContender(stream, STREAM));
  if (bareClient !== null) cleat.push(cleatContender(bareClient, COLD));
  if (bareStream !== null) cleat.push(streamContender(bareStream, COLD_STREAM));
  // In the same turns, because "with ports" is judged by "without".
  if (client !== null && plan.ports > 0) cleat.push(withoutPorts(cleatContender(client), NO_PORTS));
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
  const creates = sideOf(results, 'create');
  for (const { name } of context.peers) {
    const { create, parts } = results.get(name)!;
    creates.set(
      `${name} + netns`,
      create.map((value, i) => value + (parts['netns']?.[i] ?? 0)),
    );
  }
  rows(up, creates);
  rows(down, sideOf(results, 'teardown'));
  noteErrors(up, results, context.peers);
  judge(up, results, plan);
  up.notes.push(partsNote('floor', results.get('floor')!));
  if (client !== null) {
    up.notes.push(partsNote('cleat', results.get(REQUESTS)!));
    const trip = await roundTrip(() => client.version());
    judgeTeardown({ up, down }, results, trip, plan);
  }
  for (const one of [client, stream, bareClient, bareStream]) one?.close();
  return [up, down];
}

const sideOf = (results: Results, side: 'create' | 'teardown'): Map<string, number[]> =>
  new Map([...results].map(([name, samples]) => [name, samples[side]]));

function judge(up: Report, results: Results, { ports }: Plan): void {
  const middle = (name: string): number => p50(results.get(name)?.create);
  if (ports === 2) up.checks.push(figure('create with 2 ports, to none', middle(REQUESTS) / middle(NO_PORTS)));
  if (ports === 206) up.checks.push(figure('create with 206 ports', middle(REQUESTS)));
  if (ports > 0) return;
  const floor = middle('floor');
  up.checks.push(
    figure('create, stream, to floor', middle(STREAM) / floor),
    figure('create, requests, to floor', middle(REQUESTS) / floor),
    figure('create, stream, nothing prepared, to floor', middle(COLD_STREAM) / floor),
    figure('create, requests, nothing prepared, to floor', middle(COLD) / floor),
    figure('create, netavark to stream', middle('netavark') / middle(STREAM)),
    figure('create, netavark to requests', middle('netavark') / middle(REQUESTS)),
  );
}

/**
 * No daemon on a socket can be below floor, round trip and intent: it shows how much of a ratio is the kernel's, and how much the
 * way there.
 */
function judgeTeardown({ up, down }: Record<'up' | 'down', Report>, results: Results, trip: number, plan: Plan): void {
  const floor = results.get('floor')!;
  const intent = p50(floor.parts['intent']);
  const all = ms(p50(floor.create) + intent + 2 * trip);
  up.notes.push(
    `one empty round trip over the socket: ${ms(trip)}; two and an intent on disk with the floor's work: ${all}`,
  );
  const least = p50(floor.teardown) + intent + trip;
  down.notes.push(`floor + one empty round trip + an intent on disk: ${ms(least)}`);
  if (plan.ports > 0) return;
  const ours = p50(results.get(REQUESTS)?.teardown);
  down.checks.push(figure("teardown's answer, to floor + round trip + intent", ours / least));
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

async function roundTrip(call: () => Promise<{ ms: number }>): Promise<number> {
  const samples: number[] = [];
  for (let i = 0; i < 50; i++) samples.push((await call()).ms);
  return p50(samples);
}
