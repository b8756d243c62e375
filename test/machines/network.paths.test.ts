/**
 * Every edge of the network's machine, pure and driven: each question is answered once, leases are never lost nor kept by
 * those who were refused, and when all have left, bridge and firewall are given back.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Lease } from '../../state/container.ts';
import { networkMachine } from '../../machines/network.ts';
import { definition, FAULT } from '../harness/fixtures.ts';
import {
  answersIn,
  asker,
  Driven,
  kindsOf,
  titleOf,
  walksOf,
  type AnySnapshot,
  type Event,
} from '../harness/shared-driver.ts';

const WEB = definition('web', '10.89.0.0/24', '10.89.0.1');
const ADOPTED = {
  a: { addresses: [{ address: '10.89.0.7', prefix: 24, gateway: null }], mac: null } as unknown as Lease,
};
const INPUTS = {
  fresh: { definition: WEB, outside: null, adopted: {}, recovering: false },
  adopted: { definition: WEB, outside: null, adopted: ADOPTED, recovering: true },
  recovering: { definition: WEB, outside: null, adopted: {}, recovering: true },
};

const TALKS: Record<string, Event[]> = {
  holdFirewall: [{ type: 'held' }, { type: 'refused', fault: FAULT }],
  releaseFirewall: [{ type: 'released' }],
  backOff: [{ type: 'retry' }],
};
const GOOD: Record<string, Event> = { holdFirewall: { type: 'held' }, releaseFirewall: { type: 'released' } };

const askers = { a: asker(), b: asker() };
const questions: Event[] = (['a', 'b'] as const).flatMap((owner) => [
  { type: 'join', owner, options: {}, from: askers[owner].ref },
  { type: 'leave', owner, from: askers[owner].ref },
]);

interface Facts {
  leases: Record<string, Lease>;
  waiting: { owner: string }[];
  recovering: boolean;
  fault: unknown;
}
const factsOf = (state: AnySnapshot): Facts => state.context as unknown as Facts;
const keyOf = (state: AnySnapshot): string => {
  const { leases, waiting, recovering, fault } = factsOf(state);
  return JSON.stringify([
    state.value,
    Object.keys(leases).sort(),
    waiting.map(({ owner }) => owner).sort(),
    recovering,
    fault !== null,
  ]);
};

const WALKS = Object.entries(INPUTS).map(([name, input]) => ({
  name,
  input,
  walks: walksOf(networkMachine, input, (state) => [...answersIn(state, TALKS, {}), ...questions], keyOf),
}));

const paths = suite('network paths');

paths('reach every state', () => {
  for (const { name, walks } of WALKS) console.log(`${name}: ${walks.length} walks`);
  const reached = new Set(
    WALKS.flatMap(({ walks }) => walks.flatMap((steps) => steps.map(({ state }) => String(state.value)))),
  );
  assert.equal(
    [...reached].sort(),
    Object.keys(networkMachine.states)
      .filter((name) => name !== 'deciding')
      .sort(),
  );
});

const INVARIANTS: Record<string, (state: AnySnapshot) => boolean> = {
  'is never in error': ({ status }) => status === 'active',
  'who waits has a lease': (state) => factsOf(state).waiting.every(({ owner }) => owner in factsOf(state).leases),
  'up: nobody waits, somebody is there': (state) =>
    state.value !== 'up' || (factsOf(state).waiting.length === 0 && Object.keys(factsOf(state).leases).length > 0),
  'down: nobody is there': (state) => state.value !== 'down' || Object.keys(factsOf(state).leases).length === 0,
  'a lease without an answer only where one is on its way': (state) =>
    ['securing', 'raising', 'lowering', 'loosening', 'up'].includes(String(state.value)) ||
    factsOf(state).waiting.length === 0,
};

for (const [what, holds] of Object.entries(INVARIANTS)) {
  paths(what, () => {
    const broken = WALKS.flatMap(({ name, walks }) =>
      walks.filter((steps) => !steps.every(({ state }) => holds(state))).map((steps) => `${name}\n${titleOf(steps)}`),
    );
    assert.equal(kindsOf(broken), []);
  });
}

for (const { name, input, walks } of WALKS) {
  paths(`driven: ${name}`, async () => {
    const objections: string[] = [];
    for (const steps of walks) {
      // What a crash may have left, and what the snapshots say is there.
      const world = { bridge: input.recovering, held: 'a' in input.adopted };
      for (const { answers } of Object.values(askers)) answers.length = 0;
      const driven = new Driven(networkMachine, input, (id, how) => {
        if (id === 'raiseNetwork') world.bridge = true;
        if (id === 'lowerNetwork') world.bridge = false;
        if (how === 'held') world.held = true;
        if (how === 'released') world.held = false;
      });
      await driven.walk(steps);
      await driven.rest(GOOD);
      for (const [owner, { answers }] of Object.entries(askers)) {
        const asked = steps.filter(({ event }) => event['owner'] === owner).map(({ event }) => event.type);
        const got = answers.map(({ type }) => type);
        // A join that was withdrawn by a leave, or repeated before it was answered, is not answered by itself.
        const left = got.filter((type) => type === 'left').length;
        if (left !== asked.filter((type) => type === 'leave').length)
          driven.objections.push(`${owner}: ${asked.join()} got ${got.join()}`);
        const last = got.findLast((type) => type !== 'left');
        if (asked.at(-1) === 'join' && last === undefined) driven.objections.push(`${owner} was not answered`);
        const has = owner in factsOf(driven.actor.getSnapshot() as AnySnapshot).leases;
        if (asked.at(-1) === 'join' && has !== (last === 'leased'))
          driven.objections.push(`${owner} was told ${last}, and ${has ? 'has' : 'has no'} lease`);
      }
      for (const [owner, { ref }] of Object.entries(askers)) driven.actor.send({ type: 'leave', owner, from: ref });
      await driven.rest(GOOD);
      if (world.bridge) driven.objections.push('the bridge is left');
      if (world.held) driven.objections.push('the firewall is not given back');
      driven.actor.stop();
      objections.push(...driven.objections.map((text) => `${text}\n${titleOf(steps)}`));
    }
    assert.equal(kindsOf(objections), []);
  });
}

paths.run();
