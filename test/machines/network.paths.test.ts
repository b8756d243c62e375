// slow: 25 s, every walk of a network is taken, and each of its ends is looked at
// proving: 600
/**
 * Every edge of the network's machine, pure and driven: each request is answered once, leases are never lost nor kept
 * by refused requesters, and when all have left, bridge and firewall are released. An update ends with definition,
 * file, bridge and containers all new, or all old, or in a state that tries again.
 * Limits: those of network-model.ts.
 */
import { suite } from 'uvu';
import { networkMachine } from '../../machines/network.ts';
import { withMtu } from '../../plan/networks/way-out.ts';
import { assertNone } from '../harness/machines.ts';
import { askers, factsOf, SIX, update, WALKS } from '../harness/network-model.ts';
import { Driven, judged, titleOf, type AnySnapshot } from '../harness/shared-driver.ts';

const paths = suite('network paths');

const RESTING = new Set(
  Object.entries(networkMachine.states)
    .filter(([name, { tags }]) => tags.includes('rest') && name !== 'up')
    .map(([name]) => name),
);

/** The state that bridge and containers must have: the definition, and the MTU by the way out. */
const standing = (state: AnySnapshot): string => {
  const { definition, wayOut } = factsOf(state);
  return `${definition === SIX ? 'six' : 'web'} ${withMtu(definition, wayOut).options.mtu}`;
};

const INVARIANTS: Record<string, (state: AnySnapshot) => boolean> = {
  'is never in error': ({ status }) => status === 'active',
  'who waits has a lease': (state) => factsOf(state).waiting.every(({ owner }) => factsOf(state).leases.has(owner)),
  'up: nobody waits, somebody is there': (state) =>
    state.value !== 'up' || (factsOf(state).waiting.length === 0 && factsOf(state).leases.size > 0),
  'down: nobody is there': (state) => state.value !== 'down' || factsOf(state).leases.size === 0,
  'at rest nobody is owed an answer to an update': (state) =>
    (!RESTING.has(state.value) && state.value !== 'up') ||
    (factsOf(state).asked === null && (factsOf(state).revision?.asker ?? null) === null),
  'every lease is one of the definition': (state) =>
    ['deciding', 'outOfSync', 'raising', 'securing', 'lowering', 'releasingFirewall'].includes(state.value) ||
    [...factsOf(state).leases.values()].every(
      ({ addresses }) => addresses.length === factsOf(state).definition.subnets.length,
    ),
  'up: every lease has the MTU of the network': (state) =>
    state.value !== 'up' ||
    [...factsOf(state).leases.values()].every(({ mtu }) => `${mtu ?? undefined}` === standing(state).split(' ')[1]),
  'down: nothing is there that would have to follow': (state) =>
    state.value !== 'down' || !(factsOf(state).remeasured || factsOf(state).repeered),
  'up: nothing is put off': (state) => state.value !== 'up' || !(factsOf(state).remeasured || factsOf(state).repeered),
  'a lease without an answer only where one is on its way': (state) =>
    !RESTING.has(state.value) || factsOf(state).waiting.length === 0,
};

judged(paths, networkMachine, WALKS, INVARIANTS);

for (const { name, input, walks } of WALKS) {
  paths(`every driven walk keeps the invariants: ${name}`, async () => {
    const objections: string[] = [];
    for (const steps of walks) {
      // Objects that a crash may have left, and the content of the snapshots.
      const was = input.adopted.has('a') || input.previous !== null ? 'web undefined' : null;
      const world = { bridge: input.recovering, held: input.adopted.has('a'), built: was, followed: was, hosts: 0 };
      for (const { answers } of Object.values(askers)) answers.length = 0;
      const driven: Driven = new Driven(networkMachine, input, {
        happens: (id, how) => {
          const now = standing(driven.state);
          // Half of it may have happened; and some containers may have followed, and others not.
          if (id === 'reviseNetwork' && how === 'failed') world.built = null;
          if (id === 'fanOut' && how === 'failed') world.followed = null;
          if (how === 'failed') return;
          if (id === 'raiseNetwork') world.bridge = true;
          if (id === 'raiseNetwork' || id === 'reviseNetwork') world.built = now;
          if (/^(raise|revise|repair|program)/.test(id)) world.hosts = factsOf(driven.state).peers.length;
          if (id === 'lowerNetwork') world.bridge = false;
          if (id === 'holdFirewall') world.held = true;
          if (id === 'releaseFirewall') world.held = false;
          // Each in turn: also those that joined before it.
          if (id === 'fanOut' || id === 'raiseNetwork') world.followed = now;
        },
      });
      await driven.walk(steps);
      await driven.rest();
      for (const [owner, { answers }] of Object.entries(askers)) {
        if (owner === 'u') continue;
        const asked = steps.filter(({ event }) => event['owner'] === owner).map(({ event }) => event.type);
        const got = answers.map(({ type }) => type);
        // A join that was withdrawn by a leave, or repeated before it was answered, gets no answer of its own.
        const left = got.filter((type) => type === 'left').length;
        if (left !== asked.filter((type) => type === 'leave').length)
          driven.objections.push(`${owner}: ${asked.join()} got ${got.join()}`);
        const last = got.findLast((type) => type !== 'left');
        if (asked.at(-1) === 'join' && last === undefined) driven.objections.push(`${owner} was not answered`);
        const has = factsOf(driven.state).leases.has(owner);
        if (asked.at(-1) === 'join' && has !== (last === 'leased'))
          driven.objections.push(`${owner} was told ${last}, and ${has ? 'has' : 'has no'} lease`);
      }
      const state = driven.state;
      const { definition: now } = factsOf(state);
      if (state.value === 'up' && (world.built !== standing(state) || world.followed !== standing(state)))
        driven.objections.push('definition, bridge and containers are not one');
      if (state.value === 'up' && world.hosts !== factsOf(state).peers.length)
        driven.objections.push('the kernel does not have the other hosts');
      const wayOut = steps.findLast(({ event }) => event.type === 'wayOut')?.event['wayOut'];
      if (wayOut !== undefined && factsOf(state).wayOut !== wayOut)
        driven.objections.push('another way out is not known');
      const updates = steps.filter(({ event }) => event.type === 'update');
      const told = askers.u.answers.map(({ type }) => type);
      if (told.length !== updates.length) driven.objections.push(`${updates.length} updates, told ${told.join()}`);
      if (updates.length === 1 && !input.previous && told[0] === 'updated' && now !== updates[0]?.event['definition'])
        driven.objections.push('told that it is done, and it is not');
      if (updates.length === 1 && updates[0]?.event === update && told[0] === 'refused' && now === SIX)
        driven.objections.push('told that it is refused, and it is done');
      for (const owner of ['a', 'b'] as const) driven.actor.send({ type: 'leave', owner, from: askers[owner].ref });
      await driven.rest();
      if (world.bridge) driven.objections.push('the bridge is left');
      if (world.held) driven.objections.push('the firewall is not given back');
      driven.actor.stop();
      objections.push(...driven.objections.map((text) => `${text}\n${titleOf(steps)}`));
    }
    assertNone(objections);
  });
}

paths.run();
