// slow: 30 s, the daemon ends once between any two effects
// proving: 1800
/**
 * The daemon ends at every moment of an operation, and the next one goes on: before and after each effect, and between
 * any two files; also after the n-th effect has failed, for every n (in npm test for some).
 *
 * Guarantees: each operation is interrupted once at each place that a run without interruption passes; afterwards
 * everything comes to rest with exactly what the containers say in the world, and torn down it leaves nothing.
 * Limits: one failure and one interruption per run; container.commands.test.ts has more of them.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { LifecycleEvent } from '../../state/event.ts';
import { definition } from '../harness/fixtures.ts';
import { Fleet } from '../harness/fleet.ts';
import { comeToRest, leftOf, objectionsAtRest, objectionsTo, tell, type Word } from '../harness/fleet-words.ts';
import { effort, proved } from '../harness/proof.ts';
import { settled, type Ending } from '../harness/world.ts';

const NETWORKS = new Map(
  [
    definition('web', '10.89.0.0/29', '10.89.0.1'),
    definition('back', '10.89.1.0/29', '10.89.1.1', { dns_enabled: true }),
  ].map((network) => [network.name, network]),
);

const P80 = { host_port: 8080, container_port: 80 };
const P90 = { host_port: 9090, container_port: 90 };

const up = (id: string, networks: string[], ports: (typeof P80)[]): LifecycleEvent[] => [
  {
    type: 'create',
    id,
    files: true,
    networks: Object.fromEntries(networks.map((network) => [network, {}])),
    port_mappings: ports,
  },
  { type: 'configure', id },
];

interface Story {
  before: LifecycleEvent[];
  /** The operation that is interrupted. */
  happens: (LifecycleEvent | Word)[];
  /** Returns what is wrong at the end, however it was interrupted; undefined when all is well. */
  end: (fleet: Fleet) => string | undefined;
}

const portsOf = (fleet: Fleet, id: string) =>
  (fleet.containers.get(id)?.context.ports ?? []).map(({ hostPort }) => hostPort).join();

const STORIES: Record<string, Story> = {
  'a container is made and configured': {
    before: [],
    happens: up('a', ['web', 'back'], [P80]),
    end: () => undefined,
  },
  'ports move from one container to another': {
    before: [...up('a', ['web', 'back'], [P80, P90]), ...up('b', ['web'], [])],
    happens: [{ type: 'publish', id: 'b', port_mappings: [P80], from: 'a' }],
    end: (fleet) => {
      const now = `${portsOf(fleet, 'a')} ${portsOf(fleet, 'b')}`;
      return ['9090 8080', '8080,9090 '].includes(now) ? undefined : now;
    },
  },
  'a network that leads out comes, and the ports with it': {
    before: up('a', ['web'], [P80]),
    happens: [{ type: 'connect', id: 'a', network: 'back', options: { gateway_priority: 1 } }],
    end: () => undefined,
  },
  'the network that leads out goes': {
    before: up('a', ['web', 'back'], [P80]),
    happens: [{ type: 'disconnect', id: 'a', network: 'web' }],
    end: () => undefined,
  },
  'the last network goes, by force': {
    before: up('a', ['back'], [P80]),
    happens: [{ type: 'disconnect', id: 'a', network: 'back', force: true }],
    end: () => undefined,
  },
  'links are made anew': {
    before: up('a', ['web', 'back'], [P80]),
    happens: [{ type: 'reload', id: 'a', full: true }],
    end: () => undefined,
  },
  'a network has other terms': {
    before: up('a', ['web', 'back'], [P80]),
    happens: [{ what: 'adjust', id: 'a', network: 'back' }],
    end: () => undefined,
  },
  'others take a link away': {
    before: up('a', ['web', 'back'], [P80]),
    happens: [{ what: 'drifted', id: 'a', network: 'web' }],
    end: () => undefined,
  },
  'the owner of a namespace goes before its user': {
    before: [
      ...up('a', ['web'], [P80]),
      { type: 'create', id: 's', netns: { mode: 'container', id: 'a' } },
      { type: 'configure', id: 's' },
    ],
    happens: [
      { type: 'teardown', id: 'a' },
      { type: 'teardown', id: 's' },
    ],
    end: (fleet) => {
      const [a, s] = [fleet.containers.get('a'), fleet.containers.get('s')];
      return s === undefined && a?.context.ownerGone === true ? 'a is held for nobody' : undefined;
    },
  },
  'a container is torn down': {
    before: up('a', ['web', 'back'], [P80]),
    happens: [{ type: 'teardown', id: 'a' }],
    end: () => undefined,
  },
};

/** Every so many of the failures are tried. */
const STRIDE = effort('ways', 80, 1);

/** The place of the interruption: before the n-th effect, after it, or after the n-th file. */
interface Cut {
  at: 'before' | 'after' | 'file';
  n: number;
}

/** An effect that fails: before it has happened, or after. */
interface Failure {
  n: number;
  how: Exclude<Ending, 'done'>;
}

/** Plays a story; returns true when it was interrupted. */
async function live({ before, happens, end }: Story, cut: Cut, failure: Failure | null) {
  const fleet = new Fleet(NETWORKS);
  for (const word of before) {
    tell(fleet, word);
    await comeToRest(fleet);
  }
  const lives = fleet.lives;
  if (cut.at === 'file') fleet.crashAfterWrites(cut.n);
  let effects = 0;
  for (const word of happens) {
    tell(fleet, word);
    await comeToRest(fleet, async (effect) => {
      const n = fleet.lives === lives ? effects++ : null;
      if (cut.at !== 'file' && n === cut.n) await fleet.crash(() => cut.at === 'after');
      else effect.end(failure !== null && n === failure.n ? failure.how : 'done');
    });
  }
  fleet.crashAfterWrites(Infinity);
  const wrong = [...objectionsAtRest(fleet), end(fleet) ?? []].flat();
  for (const { context } of fleet.containers.all()) tell(fleet, { type: 'teardown', id: context.id });
  await comeToRest(fleet);
  await settled();
  return { cut: fleet.lives > lives, effects, wrong: [...wrong, ...leftOf(fleet, ['web', 'back'])] };
}

/** No failure, and each of its effects failing in each way: every STRIDE-th, the second effect's among them. */
async function failuresIn(story: Story): Promise<(Failure | null)[]> {
  const { effects } = await live(story, { at: 'file', n: Infinity }, null);
  const all = Array.from({ length: effects }, (_, n): Failure[] => [
    { n, how: 'failed' },
    { n, how: 'late' },
  ]).flat();
  return [null, ...all.filter((_, i) => i % STRIDE === 2 % STRIDE)];
}

const moments = suite('every moment');

let cuts = 0;

for (const [what, story] of Object.entries(STORIES)) {
  moments(what, async () => {
    const objections: string[] = [];
    for (const failure of await failuresIn(story)) {
      for (const at of ['before', 'after', 'file'] as const) {
        // Interruptions before the failure are those of the story without failure.
        for (let n = at === 'file' ? 1 : (failure?.n ?? -1) + 1; ; n++) {
          const told = await live(story, { at, n }, failure);
          const what = failure === null ? '' : `${failure.how} ${failure.n}, `;
          objections.push(...told.wrong.map((text) => `${what}cut ${at} ${n}: ${text}`));
          if (!told.cut) break;
          cuts++;
        }
      }
    }
    assert.equal(objections, []);
  });
}

moments('what is planned after a write in the same operation is on disk before its effect runs', async () => {
  const fleet = new Fleet(NETWORKS);
  const [create, configure] = up('a', ['web'], [P80]);
  tell(fleet, create!);
  await comeToRest(fleet);
  tell(fleet, configure!);
  for (let n = 0; n < 5; n++) await settled();
  assert.match(fleet.states(), /a configuring.leasing/);
  // A write for one container writes all that have changed, also that a has no link yet.
  tell(fleet, { type: 'create', id: 'b' });
  await comeToRest(fleet, async (effect) => {
    effect.end('done');
    for (let n = 0; n < 5; n++) await settled();
    assert.equal(objectionsTo(fleet), []);
  });
});

moments('some moments were tried', () => {
  assert.ok(cuts > 100, String(cuts));
  proved('ends of the daemon between any two effects or files, on a world of strings', cuts);
});

moments.run();
