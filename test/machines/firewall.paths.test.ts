// proving: 600
/**
 * Every edge of the firewall's machine, pure and driven: each requester that got `held` holds it, the others are
 * refused, and when the last one has released it, table and switches are as they were. A request to verify is answered
 * once, by an inspection that began after the request.
 */
import { suite } from 'uvu';
import { firewallMachine } from '../../machines/firewall.ts';
import { askers, CLEAN, factsOf, FOUND, WALKS } from '../harness/firewall-model.ts';
import { assertNone } from '../harness/machines.ts';
import { Driven, judged, titleOf, type AnySnapshot } from '../harness/shared-driver.ts';

const paths = suite('firewall paths');

const allHolders = (state: AnySnapshot): string[] => [...factsOf(state).holders, ...factsOf(state).uplinks];

const INVARIANTS: Record<string, (state: AnySnapshot) => boolean> = {
  'is never in error': ({ status }) => status === 'active',
  'who waits is a holder': (state) => factsOf(state).waiting.every(({ owner }) => allHolders(state).includes(owner)),
  'up: nobody waits, somebody holds': (state) =>
    state.value !== 'up' || (factsOf(state).waiting.length === 0 && allHolders(state).length > 0),
  'down: nobody holds, nothing is remembered': (state) =>
    state.value !== 'down' || (allHolders(state).length === 0 && factsOf(state).found === null),
  'at rest nobody waits to hear how a look ended': (state) =>
    ['verifying', 'opening', 'raising', 'restoring'].includes(state.value) ||
    (factsOf(state).verifiers.length === 0 && factsOf(state).next === null),
  'what was found is known before it is changed for a network, and until it is put back': (state) =>
    !['raising', 'up'].includes(state.value) ||
    factsOf(state).holders.every((owner) => factsOf(state).waiting.some((one) => one.owner === owner)) ||
    factsOf(state).found !== null,
};

judged(paths, firewallMachine, WALKS, INVARIANTS);

for (const { name, input, walks } of WALKS) {
  paths(`every driven walk keeps the invariants: ${name}`, async () => {
    const objections: string[] = [];
    for (const steps of walks) {
      let table = input.recorded;
      for (const { answers } of Object.values(askers)) answers.length = 0;
      const driven = new Driven(firewallMachine, input, {
        happens: (id, how) => {
          if (how === 'failed') return undefined;
          if (id === 'raiseFirewall') table = true;
          if (id === 'lowerFirewall') table = false;
          return id === 'readSwitches' ? FOUND : id === 'repairRuleset' ? CLEAN : undefined;
        },
      });
      await driven.walk(steps);
      await driven.rest();
      const asks = steps.filter(({ event }) => event['owner'] === 'v').length;
      if (askers.v.answers.length !== asks)
        driven.objections.push(`${asks} asked to verify, ${askers.v.answers.length} were answered`);
      for (const [owner, { answers }] of Object.entries(askers)) {
        if (owner === 'v') continue;
        const asked = steps.filter(({ event }) => event['owner'] === owner).map(({ event }) => event.type);
        const last = answers.findLast(({ type }) => type !== 'released')?.type;
        if (asked.at(-1) !== 'hold') continue;
        const holds = allHolders(driven.state).includes(owner);
        if (last === undefined) driven.objections.push(`${owner} was not answered`);
        if (holds !== (last === 'held'))
          driven.objections.push(`${owner} was told ${last}, and ${holds ? 'holds' : 'does not hold'} it`);
        if (last === 'held' && !table) driven.objections.push('held, and there is no table');
      }
      for (const owner of ['a', 'b', 'u'] as const)
        driven.actor.send({ type: 'release', owner, from: askers[owner].ref });
      await driven.rest();
      if (table) driven.objections.push('the table is left');
      driven.actor.stop();
      objections.push(...driven.objections.map((text) => `${text}\n${titleOf(steps)}`));
    }
    assertNone(objections);
  });
}

paths.run();
