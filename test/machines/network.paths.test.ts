// proving: 600
/**
 * Every edge of the network's machine, pure and driven: each question is answered once, leases are never lost nor kept by
 * those who were refused, and when all have left, bridge and firewall are given back. An update ends with definition,
 * file, bridge and containers all new, or all old, or in a state that tries again.
 * Limits: two definitions; containers follow or do not, all at once.
 */
import { suite } from 'uvu';
import type { Lease } from '../../state/container.ts';
import { networkMachine, type NetworkInput } from '../../machines/network.ts';
import { grantLease } from '../../machines/plan/lease.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { definition, FAULT } from '../harness/fixtures.ts';
import {
  answersIn,
  asker,
  Driven,
  judged,
  titleOf,
  walksOf,
  type AnySnapshot,
  type Event,
} from '../harness/shared-driver.ts';
import { none } from '../harness/machines.ts';

const WEB = definition('web', '10.89.0.0/24', '10.89.0.1');
/** The same with IPv6 and another MTU. */
const SIX: NetworkDefinition = {
  ...WEB,
  subnets: [...WEB.subnets, { subnet: 'fd00:89::/64', gateway: 'fd00:89::1' }],
  options: { mtu: '1400' },
};
const granted = grantLease(WEB, {}, {}, 'a', { static_ips: ['10.89.0.7'] });
if ('fault' in granted) throw new Error(granted.fault.message);
const ADOPTED: Record<string, Lease> = { a: granted.lease };
const input = (more: Partial<NetworkInput>): NetworkInput => ({
  definition: WEB,
  previous: null,
  outside: null,
  adopted: {},
  recovering: true,
  ...more,
});
const TALKS: Record<string, Event[]> = {
  holdFirewall: [{ type: 'held' }, { type: 'refused', fault: FAULT }],
  releaseFirewall: [{ type: 'released' }],
  backOff: [{ type: 'retry' }],
  fanOut: [{ type: 'followed' }, { type: 'stuck', fault: FAULT }],
};
const GOOD: Record<string, Event> = {
  holdFirewall: { type: 'held' },
  releaseFirewall: { type: 'released' },
  fanOut: { type: 'followed' },
};

const askers = { a: asker(), b: asker(), u: asker() };
const users = (['a', 'b'] as const).flatMap((owner): Event[] => [
  { type: 'join', owner, options: {}, from: askers[owner].ref },
  { type: 'leave', owner, from: askers[owner].ref },
]);
const update: Event = { type: 'update', definition: SIX, insist: false, owner: 'u', from: askers.u.ref };
const back: Event = { ...update, definition: WEB, insist: true };
const drifted: Event = { type: 'drifted' };
const [joinA, leaveA, joinB, leaveB] = users as [Event, Event, Event, Event];

/** Not everything everywhere: each scenario asks what belongs to it. */
const SCENARIOS: Record<string, { input: NetworkInput; questions: Event[] }> = {
  fresh: { input: input({ recovering: false }), questions: users },
  adopted: { input: input({ adopted: ADOPTED }), questions: users },
  recovering: { input: input({}), questions: users },
  drift: { input: input({ adopted: ADOPTED }), questions: [drifted, leaveA, joinB, leaveB] },
  'update at rest': { input: input({ adopted: ADOPTED }), questions: [update, leaveA, joinB] },
  'update and back': { input: input({ adopted: ADOPTED }), questions: [update, back, drifted] },
  'update on the way up and down': { input: input({ recovering: false }), questions: [update, joinA, leaveA] },
  // A crash in the middle of an update; and a file that somebody has edited.
  interrupted: { input: input({ adopted: ADOPTED, definition: SIX, previous: WEB }), questions: [leaveA, joinB, back] },
  edited: { input: input({ adopted: ADOPTED, definition: SIX }), questions: [leaveA, joinB, drifted] },
};

interface Facts {
  leases: Record<string, Lease>;
  waiting: { owner: string }[];
  definition: NetworkDefinition;
  asked: { definition: NetworkDefinition } | null;
  revision: { from: unknown; back: unknown; asker: unknown; fault: unknown } | null;
  recovering: boolean;
  fault: unknown;
  attempts: number;
}
const factsOf = (state: AnySnapshot): Facts => state.context as unknown as Facts;
const keyOf = (state: AnySnapshot): string => {
  const { leases, waiting, recovering, fault, definition: now, asked, revision, attempts } = factsOf(state);
  return JSON.stringify([
    state.value,
    Object.keys(leases).sort(),
    waiting.map(({ owner }) => owner).sort(),
    recovering,
    fault !== null,
    now === SIX,
    asked === null ? null : asked.definition === SIX,
    revision === null ? null : [revision.back !== null, revision.asker !== null, revision.fault !== null],
    attempts > 0,
  ]);
};

const WALKS = Object.entries(SCENARIOS).map(([name, { input, questions }]) => ({
  name,
  input,
  walks: walksOf(networkMachine, input, (state) => [...answersIn(state, TALKS, {}), ...questions], keyOf),
}));

const paths = suite('network paths');

const RESTING = new Set(
  Object.entries(networkMachine.states)
    .filter(([name, { tags }]) => tags.includes('rest') && name !== 'up')
    .map(([name]) => name),
);

const INVARIANTS: Record<string, (state: AnySnapshot) => boolean> = {
  'is never in error': ({ status }) => status === 'active',
  'who waits has a lease': (state) => factsOf(state).waiting.every(({ owner }) => owner in factsOf(state).leases),
  'up: nobody waits, somebody is there': (state) =>
    state.value !== 'up' || (factsOf(state).waiting.length === 0 && Object.keys(factsOf(state).leases).length > 0),
  'down: nobody is there': (state) => state.value !== 'down' || Object.keys(factsOf(state).leases).length === 0,
  'at rest nobody is owed an answer to an update': (state) =>
    (!RESTING.has(String(state.value)) && state.value !== 'up') ||
    (factsOf(state).asked === null && (factsOf(state).revision?.asker ?? null) === null),
  'every lease is one of the definition': (state) =>
    ['deciding', 'behind', 'raising', 'securing', 'lowering', 'loosening'].includes(String(state.value)) ||
    Object.values(factsOf(state).leases).every(
      ({ addresses }) => addresses.length === factsOf(state).definition.subnets.length,
    ),
  'a lease without an answer only where one is on its way': (state) =>
    !RESTING.has(String(state.value)) || factsOf(state).waiting.length === 0,
};

judged(paths, networkMachine, WALKS, INVARIANTS);

for (const { name, input, walks } of WALKS) {
  paths(`driven: ${name}`, async () => {
    const objections: string[] = [];
    for (const steps of walks) {
      // What a crash may have left, and what the snapshots say is there.
      const was = input.previous ?? ('a' in input.adopted ? WEB : null);
      const world = { bridge: input.recovering, held: 'a' in input.adopted, built: was, followed: was };
      for (const { answers } of Object.values(askers)) answers.length = 0;
      const driven: Driven = new Driven(networkMachine, input, (id, how) => {
        const { definition: now } = factsOf(driven.actor.getSnapshot() as AnySnapshot);
        // Half of it may have happened; and some may have followed, and others not.
        if (id === 'reviseNetwork' && how === 'failed') world.built = null;
        if (how === 'stuck') world.followed = null;
        if (how === 'failed') return;
        if (id === 'raiseNetwork') world.bridge = true;
        if (id === 'raiseNetwork' || id === 'reviseNetwork') world.built = now;
        if (id === 'lowerNetwork') world.bridge = false;
        if (how === 'held') world.held = true;
        if (how === 'released') world.held = false;
        // Everybody in turn: also those who joined before it.
        if (how === 'followed' || id === 'raiseNetwork') world.followed = now;
      });
      await driven.walk(steps);
      await driven.rest(GOOD);
      for (const [owner, { answers }] of Object.entries(askers)) {
        if (owner === 'u') continue;
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
      const state = driven.actor.getSnapshot() as AnySnapshot;
      const { definition: now } = factsOf(state);
      if (state.value === 'up' && (world.built !== now || world.followed !== now))
        driven.objections.push('definition, bridge and containers are not one');
      const updates = steps.filter(({ event }) => event.type === 'update');
      const told = askers.u.answers.map(({ type }) => type);
      if (told.length !== updates.length) driven.objections.push(`${updates.length} updates, told ${told.join()}`);
      if (updates.length === 1 && !input.previous && told[0] === 'updated' && now !== updates[0]?.event['definition'])
        driven.objections.push('told that it is done, and it is not');
      if (updates.length === 1 && updates[0]?.event === update && told[0] === 'refused' && now === SIX)
        driven.objections.push('told that it is refused, and it is done');
      for (const owner of ['a', 'b'] as const) driven.actor.send({ type: 'leave', owner, from: askers[owner].ref });
      await driven.rest(GOOD);
      if (world.bridge) driven.objections.push('the bridge is left');
      if (world.held) driven.objections.push('the firewall is not given back');
      driven.actor.stop();
      objections.push(...driven.objections.map((text) => `${text}\n${titleOf(steps)}`));
    }
    none(objections);
  });
}

paths.run();
