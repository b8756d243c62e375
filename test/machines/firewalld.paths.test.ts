// proving: 600
/**
 * The machine that talks to firewalld: its edges, and random events beside a firewalld that forgets, refuses, comes and
 * goes, and in which others have interfaces too. In the end it has the bridges of the networks that are up, and no more
 * of ours; entries of others are unchanged; and every request was answered.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { firewalldMachine, type ChangeInput } from '../../machines/firewalld.ts';
import { TRUSTED, type ZonesSeen } from '../../plan/networks/firewalld.ts';
import { FAULT } from '../harness/fixtures.ts';
import { effort, proved } from '../harness/proof.ts';
import { answersIn, asker, Driven, judged, walksOf, type AnySnapshot, type Event } from '../harness/shared-driver.ts';

const paths = suite('firewalld paths');

interface Facts {
  wanted: string[];
  bound: string[];
  waiting: unknown[];
  again: boolean;
  fault: unknown;
}
const factsOf = (state: AnySnapshot): Facts => state.context as unknown as Facts;

const askers = { a: asker(), b: asker() };
const BRIDGES = ['a', 'b'] as const;
const questions: Event[] = BRIDGES.flatMap((bridge) => [
  { type: 'hold', bridge, from: askers[bridge].ref },
  { type: 'release', bridge, from: askers[bridge].ref },
]);
const zones = (...interfaces: string[]): ZonesSeen => ({
  zones: { [TRUSTED]: { interfaces, sources: [] } },
  permanent: [],
});
const looked = (output: ZonesSeen | null): Event => ({
  type: 'xstate.done.actor.lookAtZones',
  actorId: 'lookAtZones',
  output,
});
const ENDS: Record<string, Event[]> = {
  lookAtZones: [
    looked(null),
    looked(zones()),
    looked(zones('a')),
    { type: 'xstate.error.actor.lookAtZones', actorId: 'lookAtZones', error: { fault: FAULT } },
  ],
};
const INPUTS = {
  fresh: { outside: null, adopted: [], bound: [] },
  adopted: { outside: null, adopted: ['a'], bound: ['a'] },
  'left behind': { outside: null, adopted: [], bound: ['a'] },
};
const keyOf = (state: AnySnapshot): string => {
  const { wanted, bound, waiting, again, fault } = factsOf(state);
  return JSON.stringify([
    state.value,
    [...wanted].sort(),
    [...bound].sort(),
    Math.min(waiting.length, 1),
    again,
    fault !== null,
  ]);
};
const WALKS = Object.entries(INPUTS).map(([name, input]) => ({
  name,
  walks: walksOf(
    firewalldMachine,
    input,
    (state) => [...answersIn(state, {}, ENDS), ...questions.slice(0, 3), { type: 'verify' }],
    keyOf,
  ),
}));

judged(paths, firewalldMachine, WALKS, {
  'is never in error': ({ status }) => status === 'active',
  'at rest nobody waits': (state) => !state.hasTag('rest') || factsOf(state).waiting.length === 0,
  'idle: nothing is wrong': (state) => state.value !== 'idle' || factsOf(state).fault === null,
  'refused: somebody needs it still': (state) =>
    state.value !== 'refused' || factsOf(state).wanted.length + factsOf(state).bound.length > 0,
});

/** A sequence of numbers below n, the same for the same seed (Park and Miller). */
function chance(seed: number): (n: number) => number {
  let state = seed + 1;
  for (let i = 0; i < 5; i++) state = (state * 48_271) % 0x7fff_ffff;
  return (n) => (state = (state * 48_271) % 0x7fff_ffff) % n;
}

paths('after random events firewalld has the bridges of the networks that are up', async () => {
  const runs = effort('random lives', 100, 20_000);
  for (let seed = 0; seed < runs; seed++) {
    const below = chance(seed);
    /** Null while it does not run. */
    let world: Set<string> | null = below(3) === 0 ? null : new Set();
    const strange = below(4) === 0 ? 'a' : null;
    if (strange !== null) world?.add(strange);
    for (const { answers } of Object.values(askers)) answers.length = 0;
    const driven = new Driven(firewalldMachine, INPUTS.fresh, {
      happens: (id, how, input) => {
        if (how === 'failed') return undefined;
        if (id === 'lookAtZones') return world === null ? null : zones(...world);
        if (id !== 'changeZones') return undefined;
        const { add, remove } = input as ChangeInput;
        for (const bridge of add) world?.add(bridge);
        for (const bridge of remove) world?.delete(bridge);
        return undefined;
      },
    });
    const asked = { a: [] as string[], b: [] as string[] };
    const ask = async (type: 'hold' | 'release', bridge: 'a' | 'b') => {
      asked[bridge].push(type === 'hold' ? 'held' : 'released');
      await driven.tell({ type, bridge, from: askers[bridge].ref });
    };
    for (let step = 0; step < 25; step++) {
      const bridge = BRIDGES[below(2)]!;
      const what = below(6);
      if (what < 2) await ask(what === 0 ? 'hold' : 'release', bridge);
      else if (what === 2) {
        // It reloads, starts or ends, and forgets.
        world = below(3) === 0 ? null : new Set(strange === null || below(2) === 0 ? [] : [strange]);
        await driven.tell({ type: 'verify' });
      } else {
        const next = driven.pending.shift();
        await next?.end(next.id === 'backOff' || below(4) > 0);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    await driven.rest();
    const { wanted, bound } = factsOf(driven.state);
    const title = `seed ${seed}: wanted ${wanted.join()}, bound ${bound.join()}`;
    if (world !== null)
      assert.equal(
        wanted.filter((bridge) => !world.has(bridge)),
        [],
        title,
      );
    assert.equal(
      [...(world ?? [])].filter((bridge) => !wanted.includes(bridge) && bridge !== strange),
      [],
      title,
    );
    for (const bridge of BRIDGES) {
      assert.equal(
        askers[bridge].answers.map(({ type }) => type),
        asked[bridge],
        title,
      );
    }
    const others = strange !== null && world?.has(strange) === true && !bound.includes(strange);
    for (const bridge of BRIDGES) await ask('release', bridge);
    await driven.rest();
    assert.equal([...(world ?? [])], others ? [strange] : [], title);
    assert.equal(factsOf(driven.state).bound, [], title);
    driven.actor.stop();
    assert.equal(driven.objections, [], title);
  }
  proved('random lives beside a firewalld', runs);
});

paths.run();
