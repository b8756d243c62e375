/**
 * Three containers on two networks, driven by chance: lifecycle events, effects that succeed, fail or succeed unheard,
 * and crashes at any point, with the machines, questions, stores and recovery that ship.
 *
 * What must hold at every moment: an address, a port and a link have one owner; whatever the kernel holds is named by a
 * file on disk; nothing is made before what it stands on. And at the end, when everything was torn down: nothing is left.
 * Limits: CLEAT_RUNS and CLEAT_SEED in the environment run it longer, or again.
 */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { CreateEvent, LifecycleEvent, PortMapping } from '../../state/event.ts';
import { definition } from '../harness/fixtures.ts';
import { Fleet } from '../harness/fleet.ts';
import { settled, type Ending } from '../harness/world.ts';

const RUNS = Number(process.env['CLEAT_RUNS'] ?? 120);
const SEED = process.env['CLEAT_SEED'];

const NETWORKS = new Map(
  [
    // Four addresses for three containers, and one port range for all: they get in each other's way.
    definition('web', '10.89.0.0/29', '10.89.0.1'),
    definition('back', '10.89.1.0/29', '10.89.1.1'),
  ].map((network) => [network.name, network]),
);

type Model = Record<string, never>;

let commandsRun = 0;

// An answer to a question that was withdrawn is nobody's; XState's development build says so each time.
const warn = console.warn.bind(console);
console.warn = (...words: unknown[]) => {
  if (!String(words[0]).includes('was sent to stopped actor')) warn(...words);
};

/** Objections to what is the case now. */
function objections(fleet: Fleet): string[] {
  const { world } = fleet;
  const disk = fleet.onDisk();
  const paths = new Set(disk.map(({ netns }) => netns?.path));
  const links = new Set(disk.flatMap(({ attachments }) => attachments.map(({ hostLink }) => hostLink)));
  const ports = new Set(
    disk.flatMap(({ owner, ports: all, change }) =>
      [...all, ...(change?.ports ?? [])].map(({ hostPort }) => `${owner} ${hostPort}`),
    ),
  );
  return [
    ...world.violations,
    ...fleet.problems,
    ...[...world.namespaces.keys()].filter((path) => !paths.has(path)).map((path) => `no file names namespace ${path}`),
    ...[...world.links.keys()].filter((name) => !links.has(name)).map((name) => `no file names link ${name}`),
    ...[...world.elements]
      .filter(([key, { owner }]) => !ports.has(`${owner} ${key.slice(key.lastIndexOf(':') + 1)}`))
      .map(([key, { to, owner }]) => `no file names port ${key} -> ${to} of ${owner}`),
    ...[...world.links].flatMap(([name, { owner, network }]) =>
      fleet.users(network).includes(owner) ? [] : [`link ${name} of ${owner} has no lease of ${network}`],
    ),
  ];
}

abstract class Command implements fc.AsyncCommand<Model, Fleet> {
  abstract act(fleet: Fleet): void | Promise<void>;
  abstract toString(): string;

  check(): boolean {
    return true;
  }

  async run(_: Model, fleet: Fleet): Promise<void> {
    commandsRun++;
    await this.act(fleet);
    await settled();
    await settled();
    const wrong = objections(fleet);
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
    // Refused where it is not legal, superseded, failed with its effects: all of these are answers.
    fleet.containers.dispatch(this.event, true).catch(() => {});
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
  act(fleet: Fleet): Promise<void> {
    return comeToRest(fleet);
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

const P80 = { host_port: 8080, container_port: 80 };
const P90 = { host_port: 9090, container_port: 90 };
const ANY = { container_port: 70 };

const id = fc.constantFrom('a', 'b', 'c');
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

const ends = fc.tuple(fc.nat(5), fc.constantFrom<Ending>('done', 'done', 'done', 'done', 'failed', 'late'));

const COMMANDS = [
  creation,
  id.map((of) => new Send({ type: 'configure', id: of })),
  fc.tuple(id, network).map(([of, to]) => new Send({ type: 'connect', id: of, network: to, options: {} })),
  fc.tuple(id, network).map(([of, from]) => new Send({ type: 'disconnect', id: of, network: from })),
  fc.tuple(id, mappings).map(([of, port_mappings]) => new Send({ type: 'publish', id: of, port_mappings })),
  fc.tuple(id, mappings).map(([of, port_mappings]) => new Send({ type: 'unpublish', id: of, port_mappings })),
  id.map((of) => new Send({ type: 'reload', id: of })),
  id.map((of) => new Send({ type: 'teardown', id: of })),
  // As many as all the others: effects have to get somewhere.
  ...Array.from({ length: 5 }, () => ends.map(([which, how]) => new End(which, how))),
  ...Array.from({ length: 4 }, () => fc.constant(new Rest())),
  fc.nat(255).map((happened) => new Crash(happened)),
];

/** Some of these are up when a sequence begins. */
const UP: CreateEvent[] = [
  { type: 'create', id: 'a', networks: { web: {}, back: {} }, port_mappings: [P80] },
  { type: 'create', id: 'b', networks: { back: {} }, netns: { mode: 'path', path: '/run/netns/theirs' } },
  { type: 'create', id: 'c', networks: { web: {} }, port_mappings: [P90] },
];

/** Let everything succeed until nothing moves any more. */
async function comeToRest(fleet: Fleet): Promise<void> {
  for (let i = 0; i < 400; i++) {
    await settled();
    await settled();
    if (fleet.stage.pending[0] !== undefined) fleet.stage.pending[0].end('done');
    else if (fleet.waits[0] !== undefined) fleet.waits[0]();
    else return;
  }
  throw new Error('it never comes to rest');
}

const commands = suite('containers by chance');

commands('nothing is owned twice, nothing is unnamed, nothing is left', async () => {
  const sequences = fc.commands(COMMANDS, { maxCommands: 60, size: 'max' });
  const property = fc.asyncProperty(fc.subarray(UP), sequences, async (up, sequence) => {
    const fleet = new Fleet(NETWORKS);
    for (const create of up) {
      new Send(create).act(fleet);
      await comeToRest(fleet);
      new Send({ type: 'configure', id: create.id }).act(fleet);
      await comeToRest(fleet);
    }
    await fc.asyncModelRun(() => ({ model: {}, real: fleet }), sequence);
    await comeToRest(fleet);
    for (const { context } of fleet.containers.all()) new Send({ type: 'teardown', id: context.id }).act(fleet);
    await comeToRest(fleet);
    const left = [
      ...objections(fleet),
      ...fleet.world.contents(),
      ...fleet.containers.all().map(({ context, value }) => `${context.id} is ${JSON.stringify(value)}`),
      ...fleet.onDisk().map((context) => `file of ${context.owner}`),
      ...['web', 'back'].flatMap((name) => fleet.users(name).map((owner) => `${owner} has a lease of ${name}`)),
      ...Object.keys(fleet.claims()).map((owner) => `${owner} has claims of ports`),
    ];
    if (left.length > 0) throw new Error(`left at the end:\n${left.join('\n')}`);
  });
  const started = performance.now();
  const result = await fc.check(property, {
    numRuns: RUNS,
    interruptAfterTimeLimit: 60_000,
    ...(SEED === undefined ? {} : { seed: Number(SEED) }),
  });
  console.log(`${result.numRuns} runs, ${commandsRun} commands, ${Math.round(performance.now() - started)} ms`);
  const why = result.errorInstance instanceof Error ? result.errorInstance.message : '';
  assert.ok(!result.failed, `${fc.defaultReportMessage(result) ?? ''}\n${why}`);
});

commands.run();
