/**
 * A host's part in an overlay: every walk of the machine keeps the invariants, and after random renewals, losses, thefts and failures
 * it attaches nothing that is not its own, and comes to a share that the network has.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { overlayMachine, type Held, type OverlayInput } from '../../machines/overlay.ts';
import { FAULT } from '../harness/fixtures.ts';
import { answersIn, Driven, judged, walksOf, type AnySnapshot, type Event } from '../harness/shared-driver.ts';

const paths = suite('overlay paths');

interface Facts {
  host: string;
  subnets: string[];
  held: Held | null;
  fault: unknown;
}
const factsOf = (state: AnySnapshot): Facts => state.context as unknown as Facts;

const SHARED = {
  name: 'web',
  id: 'a'.repeat(64),
  pools: ['10.128.0.0/10'],
  host_prefix: 24,
  backend: 'vxlan' as const,
  vni: 5000,
  port: 4789,
};
const [MINE, OTHER] = ['10.128.3.0/24', '10.128.9.0/24'] as const;
const heldOf = (subnet: string): Held => ({ subnets: [subnet], lease: '1', restLease: '2', revision: 1, provenAt: 0 });
const input = (subnets: string[]): OverlayInput => ({ shared: SHARED, host: '1'.repeat(32), subnets });
const done = (id: string, ...outputs: unknown[]): Event[] => [
  ...outputs.map((output) => ({ type: `xstate.done.actor.${id}`, actorId: id, output })),
  { type: `xstate.error.actor.${id}`, actorId: id, error: { fault: FAULT } },
];
const ENDS: Record<string, Event[]> = {
  claimShare: done('claimShare', { held: heldOf(MINE) }, { held: heldOf(OTHER) }, { copied: true }),
  keepShare: done('keepShare', { outcome: 'late', provenAt: 3 }, { outcome: 'lost', provenAt: 3 }),
  regainShare: done('regainShare', { outcome: 'renewed', provenAt: 9 }, { outcome: 'expired', provenAt: 3 }),
  renewIdentity: done('renewIdentity', '2'.repeat(32)),
};
const TOLD: Event[] = [
  { type: 'peers', peers: [] },
  { type: 'recorded', subnets: [OTHER] },
  { type: 'dispossessed' },
  { type: 'release' },
];
const keyOf = (state: AnySnapshot): string => {
  const { held, subnets, fault, host } = factsOf(state);
  return JSON.stringify([state.value, held?.subnets, subnets, fault !== null, host[0]]);
};
const WALKS = Object.entries({ 'a new network': input([]), 'a network on disk': input([MINE]) }).map(
  ([name, begin]) => ({
    name,
    walks: walksOf(overlayMachine, begin, (state) => [...answersIn(state, {}, ENDS), ...TOLD], keyOf),
  }),
);

const isOpen = (state: AnySnapshot): boolean => state.hasTag('open');
judged(paths, overlayMachine, WALKS, {
  'is never in error': ({ status }) => status === 'active',
  'open: it holds the share that the network has, or there is no network yet': (state) => {
    const { held, subnets } = factsOf(state);
    return !isOpen(state) || (held !== null && (subnets.length === 0 || held.subnets.join() === subnets.join()));
  },
  'open: nothing is wrong': (state) => !isOpen(state) || factsOf(state).fault === null,
  'a share that was given up is not held': (state) =>
    !['claiming', 'unclaimed', 'identifying'].some((value) => value === state.value) || factsOf(state).held === null,
  'fenced and unclaimed say why': (state) =>
    !['fenced', 'unclaimed'].some((value) => value === state.value) || factsOf(state).fault !== null,
});

paths('a share is held again only by a claim or a renewal', () => {
  for (const steps of WALKS.flatMap(({ walks }) => walks)) {
    steps.slice(1).forEach(({ event, state }, n) => {
      const before = steps[n]!.state;
      if (!isOpen(state) || isOpen(before)) return;
      const why = event.type.split('.').at(-1) ?? '';
      assert.ok(['claimShare', 'regainShare', 'renumber'].includes(why), `${event.type} opens it`);
    });
  }
});

paths('after random events it comes to a share that the network has, and releases it when told', async () => {
  for (let seed = 1; seed < 80; seed++) {
    let random = seed;
    const below = (n: number) => (random = (random * 48_271) % 0x7fff_ffff) % n;
    let calm = false;
    const driven = new Driven(overlayMachine, input([MINE]), {
      happens: (id) => {
        if (id === 'claimShare')
          return calm || below(4) > 0 ? { held: heldOf(below(2) === 0 ? MINE : OTHER) } : { copied: true };
        if (id === 'keepShare') return { outcome: below(2) === 0 ? 'late' : 'lost', provenAt: 1 };
        if (id === 'regainShare') return { outcome: below(2) === 0 ? 'renewed' : 'expired', provenAt: 1 };
        return id === 'renewIdentity' ? String(below(10)).repeat(32) : undefined;
      },
    });
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    for (let step = 0; step < 40; step++) {
      if (below(8) === 0) await driven.tell({ type: 'dispossessed' });
      else {
        const [next] = driven.pending.splice(below(Math.max(1, driven.pending.length)), 1);
        await next?.end(next.id === 'backOff' || below(4) > 0);
      }
      await turn();
    }
    calm = true;
    for (let step = 0; step < 100 && !isOpen(driven.state); step++) {
      const next = driven.pending.findIndex(({ id }) => id !== 'keepShare');
      await driven.pending.splice(Math.max(0, next), 1)[0]?.end(true);
      await turn();
    }
    assert.equal(driven.objections, [], `seed ${seed}`);
    assert.ok(isOpen(driven.state), `seed ${seed}: ${JSON.stringify(driven.state.value)}`);
    await driven.tell({ type: 'release' });
    for (let step = 0; step < 20 && driven.state.value !== 'released'; step++) {
      await driven.pending.shift()?.end(below(2) === 0);
      await turn();
    }
    assert.is(driven.state.value, 'released', `seed ${seed}`);
    driven.actor.stop();
    assert.equal(driven.objections, [], `seed ${seed}`);
  }
});

paths.run();
