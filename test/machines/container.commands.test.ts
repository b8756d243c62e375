// slow: 25 s, thousands of commands come in any order
// proving: 1800
/**
 * Three containers on two networks, and one that shares a namespace, under random commands: lifecycle events, changes
 * by others, effects that succeed, fail or succeed and report failure, and crashes at any point, also between two
 * files, with the shipped machines, requests, stores and recovery.
 *
 * At every moment this must hold: an address, a port and a link have one owner; a file on disk names everything that
 * the kernel has; nothing is made before its base, or outlives it. Whenever everything is at rest, the kernel has what
 * the containers say. At the end, when everything was torn down, nothing is left.
 * Limits: `seed=N path=P` for the runner repeat one, and print its course.
 */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { CreateEvent, LifecycleEvent, PortMapping } from '../../state/event.ts';
import { definition } from '../harness/fixtures.ts';
import { Fleet } from '../harness/fleet.ts';
import { comeToRest, leftOf, objectionsAtRest, objectionsTo, tell, type Word } from '../harness/fleet-words.ts';
import { effort, proved, seed } from '../harness/proof.ts';
import { settled, type Ending } from '../harness/world.ts';

const RUNS = effort('runs', 50, 3000);
const PATH = process.env['CLEAT_PROVE_path'];

const NETWORKS = new Map(
  [
    // Four addresses for three containers, and one port range for all, so that they collide.
    definition('web', '10.89.0.0/29', '10.89.0.1'),
    definition('back', '10.89.1.0/29', '10.89.1.1', { dns_enabled: true }),
  ].map((network) => [network.name, network]),
);

type Model = Record<string, never>;

let commandsRun = 0;

// An answer to a withdrawn request has no receiver; XState's development build reports that each time.
const warn = console.warn.bind(console);
console.warn = (...words: unknown[]) => {
  if (!String(words[0]).includes('was sent to stopped actor')) warn(...words);
};

abstract class Command implements fc.AsyncCommand<Model, Fleet> {
  abstract act(fleet: Fleet): void | Promise<void>;
  abstract toString(): string;

  check(): boolean {
    return true;
  }

  async run(_: Model, fleet: Fleet): Promise<void> {
    commandsRun++;
    if (PATH !== undefined) console.log(`${fleet.states()}\n  ${String(this)}`);
    await this.act(fleet);
    await settled();
    await settled();
    await fleet.revive();
    const wrong = objectionsTo(fleet);
    if (wrong.length > 0) throw new Error(wrong.join('\n'));
  }
}

class Send extends Command {
  readonly event: LifecycleEvent;
  constructor(event: LifecycleEvent) {
    super();
    this.event = event;
  }
  act(fleet: Fleet): void {
    tell(fleet, this.event);
  }
  toString(): string {
    const { type, id, ...more } = this.event;
    return `${type} ${id}${Object.keys(more).length > 0 ? ` ${JSON.stringify(more)}` : ''}`;
  }
}

class End extends Command {
  readonly which: number;
  readonly how: Ending;
  constructor(which: number, how: Ending) {
    super();
    this.which = which;
    this.how = how;
  }
  act({ stage, waits }: Fleet): void {
    const { pending } = stage;
    if (pending.length > 0) pending[this.which % pending.length]?.end(this.how);
    else waits[0]?.();
  }
  toString(): string {
    return `end(${this.which}, ${this.how})`;
  }
}

class Rest extends Command {
  async act(fleet: Fleet): Promise<void> {
    await comeToRest(fleet);
    const wrong = objectionsAtRest(fleet);
    if (wrong.length > 0) throw new Error(wrong.join('\n'));
  }
  toString(): string {
    return 'rest';
  }
}

class Crash extends Command {
  readonly happened: number;
  constructor(happened: number) {
    super();
    this.happened = happened;
  }
  act(fleet: Fleet): Promise<void> {
    return fleet.crash((n) => ((this.happened >> (n % 8)) & 1) === 1);
  }
  toString(): string {
    return `crash(${this.happened.toString(2)})`;
  }
}

/** Makes the daemon end between two of its next writes. */
class CrashAfterWrites extends Command {
  readonly n: number;
  constructor(n: number) {
    super();
    this.n = n;
  }
  act(fleet: Fleet): void {
    fleet.crashAfterWrites(this.n);
  }
  toString(): string {
    return `crash after ${this.n} writes`;
  }
}

class Tell extends Command {
  readonly word: Word;
  constructor(word: Word) {
    super();
    this.word = word;
  }
  act(fleet: Fleet): void {
    tell(fleet, this.word);
  }
  toString(): string {
    return Object.values(this.word).join(' ');
  }
}

const P80 = { host_port: 8080, container_port: 80 };
const P90 = { host_port: 9090, container_port: 90 };
const ANY = { container_port: 70 };

const id = fc.constantFrom('a', 'b', 'c');
const anyone = fc.constantFrom('a', 'b', 'c', 's', 't');
const network = fc.constantFrom('web', 'back');
const mappings = fc.constantFrom<PortMapping[][]>([P80], [P90], [P80, P90], [ANY]);

const creation = fc
  .record({
    id,
    path: fc.boolean(),
    networks: fc.constantFrom(
      { web: {} },
      { web: {}, back: {} },
      { back: { interface_name: 'x0' } },
      {
        web: { interface_name: 'x0' },
        back: { interface_name: 'x0' },
      },
    ),
    ports: fc.constantFrom<PortMapping[][]>([], [P80], [P80, P90], [ANY]),
  })
  .map(
    ({ path, ports, ...rest }) =>
      new Send({
        type: 'create',
        ...rest,
        port_mappings: ports,
        netns: path ? { mode: 'path', path: '/run/netns/theirs' } : { mode: 'new' },
      }),
  );

/** Shares the namespace of another container, or of one that shares that of another. */
const sharing = fc
  .constantFrom(['s', 'a'], ['s', 'b'], ['t', 's'])
  .map(([mine = '', of = '']) => new Send({ type: 'create', id: mine, netns: { mode: 'container', id: of } }));

const ends = fc.tuple(fc.nat(5), fc.constantFrom<Ending>('done', 'done', 'done', 'done', 'failed', 'late'));

const priority = fc.constantFrom({}, {}, { gateway_priority: 1 });

const COMMANDS = [
  creation,
  sharing,
  anyone.map((of) => new Send({ type: 'configure', id: of })),
  fc
    .tuple(id, network, priority)
    .map(([of, to, options]) => new Send({ type: 'connect', id: of, network: to, options })),
  fc
    .tuple(id, network, fc.boolean())
    .map(([of, from, force]) => new Send({ type: 'disconnect', id: of, network: from, force })),
  fc.tuple(id, mappings).map(([of, port_mappings]) => new Send({ type: 'publish', id: of, port_mappings })),
  fc
    .tuple(id, id, fc.constantFrom<PortMapping[][]>([P80], [P90], [P80, P90]))
    .map(([of, from, port_mappings]) => new Send({ type: 'publish', id: of, port_mappings, from })),
  fc.tuple(id, mappings).map(([of, port_mappings]) => new Send({ type: 'unpublish', id: of, port_mappings })),
  fc.tuple(id, fc.boolean()).map(([of, full]) => new Send({ type: 'reload', id: of, full })),
  anyone.map((of) => new Send({ type: 'teardown', id: of })),
  fc
    .tuple(id, network, fc.constantFrom<Word['what'][]>('drifted', 'noticed', 'adjust', 'adjust', 'process.exited'))
    .map(([of, on, what]) => new Tell({ what, id: of, network: on })),
  // As many as all the others: effects need to make progress.
  ...Array.from({ length: 5 }, () => ends.map(([which, how]) => new End(which, how))),
  ...Array.from({ length: 4 }, () => fc.constant(new Rest())),
  fc.nat(255).map((happened) => new Crash(happened)),
  fc.integer({ min: 1, max: 4 }).map((n) => new CrashAfterWrites(n)),
];

/** Some of these are up when a sequence begins. */
const UP: CreateEvent[] = [
  { type: 'create', id: 'a', networks: { web: {}, back: {} }, port_mappings: [P80] },
  { type: 'create', id: 'b', networks: { back: {} }, netns: { mode: 'path', path: '/run/netns/theirs' } },
  { type: 'create', id: 'c', networks: { web: {} }, port_mappings: [P90] },
];

async function fleetOf(up: readonly CreateEvent[]): Promise<Fleet> {
  const fleet = new Fleet(NETWORKS);
  for (const create of up) {
    tell(fleet, create);
    await comeToRest(fleet);
    tell(fleet, { type: 'configure', id: create.id });
    await comeToRest(fleet);
  }
  return fleet;
}

const commands = suite('containers by chance');

// Sequences that chance has found, and that are kept.
commands('a port that is being released is not granted to the next request', async () => {
  const publish = (...port_mappings: PortMapping[]) => ({
    type: 'publish' as const,
    id: 'b',
    port_mappings,
    from: 'a',
  });
  // The first is refused, because c has 9090; the second comes at any moment of that and of a's next steps.
  for (let turns = 0; turns < 12; turns++) {
    const fleet = await fleetOf(UP);
    tell(fleet, publish(P80, P90));
    for (let n = 0; n < turns; n++) await settled();
    tell(fleet, publish(P80));
    for (let n = 0; n < 6; n++) await settled(); // it requests before a's operation has ended
    await comeToRest(fleet);
    assert.equal(objectionsAtRest(fleet), [], `${turns} turns later`);
  }
});

commands('nothing is owned twice, nothing is unnamed, nothing is left', async () => {
  const sequences = fc.commands(COMMANDS, { maxCommands: 60, size: 'max' });
  const property = fc.asyncProperty(fc.subarray(UP), sequences, async (up, sequence) => {
    const fleet = await fleetOf(up);
    await fc.asyncModelRun(() => ({ model: {}, real: fleet }), sequence);
    fleet.crashAfterWrites(Infinity);
    await comeToRest(fleet);
    for (const { context } of fleet.containers.all()) new Send({ type: 'teardown', id: context.id }).act(fleet);
    await comeToRest(fleet);
    const left = leftOf(fleet, [...NETWORKS.keys()]);
    if (left.length > 0) throw new Error(`left at the end:\n${left.join('\n')}`);
  });
  const result = await fc.check(property, {
    numRuns: RUNS,
    seed: seed(),
    ...(PATH === undefined ? {} : { path: PATH }),
  });
  const why = result.errorInstance instanceof Error ? result.errorInstance.message : '';
  assert.ok(!result.failed, `${fc.defaultReportMessage(result) ?? ''}\n${why}`);
  proved('sequences of words to several containers, on a world of strings', result.numRuns);
  proved('words in them', commandsRun);
});

commands.run();
