/**
 * Namespaces in advance: every walk of the machine keeps the invariants, and after random takers and failures there are as many as
 * there should be, each made once and taken once.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { preparedMachine } from '../../machines/prepared.ts';
import { answersIn, Driven, judged, walksOf, type AnySnapshot, type Event } from '../harness/shared-driver.ts';

const paths = suite('prepared paths');

interface Facts {
  size: number;
  ready: number[];
  wanted: boolean;
  fault: unknown;
}
const factsOf = (state: AnySnapshot): Facts => state.context as unknown as Facts;
const TAKEN: Event = { type: 'taken' };

const ENDS: Record<string, Event[]> = { pause: [{ type: 'xstate.done.actor.pause', actorId: 'pause' }] };
const keyOf = (state: AnySnapshot): string => {
  const { ready, wanted, fault } = factsOf(state);
  return JSON.stringify([state.value, ready.length, wanted, fault !== null]);
};
const WALKS = [0, 2].map((size) => ({
  name: `size ${size}`,
  walks: walksOf(
    preparedMachine,
    { size },
    (state) => [...answersIn(state, { prepareNamespace: 7 }, ENDS), TAKEN],
    keyOf,
  ),
}));

judged(paths, preparedMachine, WALKS, {
  'is never in error': ({ status }) => status === 'active',
  'never has more than its size': (state) => factsOf(state).ready.length <= factsOf(state).size,
  'full: has as many as its size': (state) =>
    state.value !== 'full' || factsOf(state).ready.length === factsOf(state).size,
  'makes none that has no room': (state) =>
    state.value !== 'preparing' || factsOf(state).ready.length < factsOf(state).size,
  'a size of 0 does nothing': (state) => factsOf(state).size > 0 || state.value === 'full',
});

paths('makes none while they are being taken', () => {
  for (const steps of WALKS.flatMap(({ walks }) => walks)) {
    steps.slice(1).forEach(({ event, state }, n) => {
      const before = steps[n]!.state;
      const begins = state.value === 'preparing' && before.value !== 'preparing';
      if (event.type === 'taken') assert.not(begins);
      if (begins && before.value !== 'waiting') assert.not(factsOf(before).wanted);
    });
  }
});

paths('after random takers and failures each was made once and taken once, and it is full again', async () => {
  for (let seed = 1; seed < 60; seed++) {
    let random = seed;
    const below = (n: number) => (random = (random * 48_271) % 0x7fff_ffff) % n;
    let made = 0;
    const driven = new Driven(preparedMachine, { size: 3 }, { happens: () => ++made });
    const taken: number[] = [];
    for (let step = 0; step < 30; step++) {
      if (below(3) === 0) {
        const [first] = factsOf(driven.state).ready;
        if (first !== undefined) taken.push(first);
        await driven.tell(TAKEN);
      } else {
        const next = driven.pending.shift();
        await next?.end(next.id !== 'prepareNamespace' || below(4) > 0);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (let turn = 0; turn < 50 && driven.state.value !== 'full'; turn++) {
      await driven.pending.shift()?.end(true);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const all = [...taken, ...factsOf(driven.state).ready];
    assert.is(driven.state.value, 'full', `seed ${seed}`);
    assert.is(new Set(all).size, all.length, `seed ${seed}`);
    assert.is(factsOf(driven.state).fault, null);
    driven.actor.stop();
    assert.equal(driven.objections, [], `seed ${seed}`);
  }
});

paths.run();
