/**
 * The way out of a rootless outside: every walk of the machine keeps the invariants, and after random holds, releases, losses and
 * failures the program runs exactly if somebody holds it, and every request was answered.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { rootlessMachine, type RootlessInput } from '../../machines/rootless.ts';
import type { UplinkOutput } from '../../machines/uplink.ts';
import type { UplinkInput } from '../../plan/uplinks/uplink.ts';
import { FAULT } from '../harness/fixtures.ts';
import { answersIn, asker, Driven, judged, walksOf, type AnySnapshot, type Event } from '../harness/shared-driver.ts';

const paths = suite('rootless paths');

interface Facts {
  users: string[];
  waiting: unknown[];
  link: unknown;
  fault: unknown;
}
const factsOf = (state: AnySnapshot): Facts => state.context as unknown as Facts;

const LINK = { name: 'tap0', mac: '02:00:00:00:00:01', mtu: 65_520, addresses: [] };
const ended = (outcome: UplinkOutput['outcome']): UplinkOutput => ({
  outcome,
  link: outcome === 'ready' ? LINK : null,
  missing: [],
  fault: outcome === 'ready' ? null : FAULT,
});
const ENDS: Record<string, Event[]> = {
  uplink: (['ready', 'stopped', 'stuck'] as const).map((outcome) => ({
    type: 'xstate.done.actor.uplink',
    actorId: 'uplink',
    output: ended(outcome),
  })),
};
const INPUT: Omit<RootlessInput, 'adopted'> = {
  settings: { program: 'pasta', file: '/usr/bin/pasta', args: [] },
  netns: '/run/netns/rootless',
  directory: '/run/c/rootless/uplink',
};
const INPUTS = { fresh: { ...INPUT, adopted: [] }, adopted: { ...INPUT, adopted: ['a net'] } };
const USERS = ['a net', 'b net'] as const;
const askers = { 'a net': asker(), 'b net': asker() };
const questions: Event[] = USERS.flatMap((owner) => [
  { type: 'hold', owner, from: askers[owner].ref },
  { type: 'release', owner, from: askers[owner].ref },
]);
const keyOf = (state: AnySnapshot): string => {
  const { users, waiting, fault } = factsOf(state);
  return JSON.stringify([state.value, [...users].sort(), waiting.length, fault !== null]);
};
const WALKS = Object.entries(INPUTS).map(([name, input]) => ({
  name,
  walks: walksOf(
    rootlessMachine,
    input,
    (state) => [...answersIn(state, {}, ENDS), ...questions, { type: 'lost' }],
    keyOf,
  ),
}));

judged(paths, rootlessMachine, WALKS, {
  'is never in error': ({ status }) => status === 'active',
  'at rest nobody waits': (state) => !state.hasTag('rest') || factsOf(state).waiting.length === 0,
  'who waits is a user': (state) => factsOf(state).waiting.length <= factsOf(state).users.length,
  'up: somebody uses it, and its link is known': (state) =>
    state.value !== 'up' || (factsOf(state).users.length > 0 && factsOf(state).link !== null),
  'down: nobody uses it, and nothing is wrong': (state) =>
    state.value !== 'down' || (factsOf(state).users.length === 0 && factsOf(state).fault === null),
});

/** A sequence of numbers below n, the same for the same seed (Park and Miller). */
function chance(seed: number): (n: number) => number {
  let state = seed + 1;
  for (let i = 0; i < 5; i++) state = (state * 48_271) % 0x7fff_ffff;
  return (n) => (state = (state * 48_271) % 0x7fff_ffff) % n;
}

paths('after random events the program runs exactly if somebody holds it', async () => {
  for (let seed = 0; seed < 300; seed++) {
    const below = chance(seed);
    let runs = false;
    for (const { answers } of Object.values(askers)) answers.length = 0;
    const driven = new Driven(rootlessMachine, INPUTS.fresh, {
      happens: (id, how, input) => {
        if (id !== 'uplink') return undefined;
        const { verb } = input as UplinkInput;
        if (how === 'failed') return undefined;
        // A start that fails leaves nothing, a repair that fails leaves what is there, and sometimes there is nothing to repair.
        const fails = below(4) === 0;
        if (verb === 'stop') {
          if (fails) return ended('stuck');
          runs = false;
          return ended('stopped');
        }
        if (verb === 'start') runs = !fails;
        else if (!fails) runs = true;
        return fails ? ended(verb === 'start' ? 'stopped' : 'stuck') : ended('ready');
      },
    });
    const asked = { 'a net': 0, 'b net': 0 };
    for (let step = 0; step < 25; step++) {
      const owner = USERS[below(2)]!;
      const what = below(6);
      if (what < 2) {
        const holds = factsOf(driven.state).users.includes(owner);
        asked[owner]++;
        await driven.tell({ type: holds ? 'release' : 'hold', owner, from: askers[owner].ref });
      } else if (what === 2) {
        if (driven.state.value === 'up') runs = false;
        await driven.tell({ type: 'lost' });
      } else {
        await driven.pending.shift()?.end(true);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const owner of USERS) {
      if (factsOf(driven.state).users.includes(owner)) {
        asked[owner]++;
        await driven.tell({ type: 'release', owner, from: askers[owner].ref });
      }
    }
    for (let turn = 0; turn < 200 && driven.state.value !== 'down'; turn++) {
      await driven.pending.shift()?.end(true);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.is(driven.state.value, 'down', `seed ${seed}`);
    assert.is(runs, false, `seed ${seed}: nobody holds it`);
    driven.actor.stop();
    assert.equal(driven.objections, [], `seed ${seed}`);
  }
});

paths.run();
