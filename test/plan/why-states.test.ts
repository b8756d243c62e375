/**
 * Every state of the machines has its sentence, and a container is judged in every state: in whole sentences, and never well
 * unless it is up.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { containerMachine } from '../../machines/container/container.ts';
import { firewallMachine } from '../../machines/firewall.ts';
import { firewalldMachine } from '../../machines/firewalld.ts';
import { networkMachine } from '../../machines/network.ts';
import { resolverMachine } from '../../machines/resolver.ts';
import { FIREWALL, FIREWALLD, NETWORK, RESOLVER, stepOf, underWay } from '../../plan/why/states.ts';
import { judge } from '../../plan/why/why.ts';
import type { Change, ContainerContext } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import { factsWith } from '../harness/why-facts.ts';
import { FAULT } from '../harness/fixtures.ts';
import { statesOf } from '../harness/machines.ts';

const states = suite('why, in every state');

const leaves = statesOf(containerMachine.root)
  .filter(({ states: inner }) => Object.keys(inner).length === 0)
  .map(({ path }) => path.join('.'));

states('every state of a shared machine has a sentence, and no sentence is of a state that does not exist', () => {
  const all = { network: [networkMachine, NETWORK], firewall: [firewallMachine, FIREWALL] } as const;
  const more = { firewalld: [firewalldMachine, FIREWALLD], resolver: [resolverMachine, RESOLVER] } as const;
  for (const [name, [machine, meanings]] of Object.entries({ ...all, ...more })) {
    assert.equal(Object.keys(meanings).sort(), [...Object.keys(machine.states), 'error'].sort(), name);
  }
});

states('every state of a container is either at rest or has a word for what is done, and each step has its own', () => {
  const atRest = ['created', 'up', 'degraded', 'failed', 'teardownFailed', 'gone'];
  for (const leaf of leaves) {
    assert.is(underWay(leaf) === undefined, atRest.includes(leaf), leaf);
    if (!atRest.includes(leaf)) assert.is.not(stepOf(leaf), 'being at work', leaf);
  }
});

const CHANGE: Change = {
  kind: 'configure',
  networks: { web: {} },
  ports: [],
  todo: ['web'],
  led: [],
  wanted: [{ container_port: 80, host_port: 8080 }],
};
const FAULTY: (Fault | null)[] = [null, FAULT, { code: 'PORT_TAKEN', message: 'taken', owner: 'pid 7 (nginx)' }];
const CONTEXTS: Partial<ContainerContext>[] = FAULTY.flatMap((fault) => [
  { fault, lastFault: fault, leftovers: fault === null ? [] : [fault], attempts: fault === null ? 0 : 3 },
  { fault, configured: false, attachments: [], change: CHANGE },
  {
    fault,
    identity: null,
    attachments: [],
    configured: false,
    request: { netns: { mode: 'new' }, networks: {}, ports: [] },
  },
  { fault, netns: null, attachments: [], request: { netns: { mode: 'host' }, networks: {}, ports: [] } },
  { fault, attachments: [], request: { netns: { mode: 'container', id: 'other' }, networks: {}, ports: [] } },
]);

states('in each of them the judgement is whole sentences, and well means up', () => {
  for (const state of [...leaves, 'error']) {
    for (const context of CONTEXTS) {
      const defect = state === 'error' ? FAULT : null;
      const answer = judge(factsWith({ state, context, defect }));
      const texts = [answer.verdict, ...answer.led.map(({ text }) => text), ...answer.blocks, ...answer.unblocks];
      for (const text of texts) assert.match(text, /^[A-Za-z0-9`].*[.!?]$/, `${state}: ${text}`);
      for (const text of [...texts, ...answer.parts.map((part) => part.text)]) {
        assert.not.match(text, /undefined|null|NaN|\[object|: \.|\s{2}|\n/, `${state}: ${text}`);
      }
      if (answer.well) assert.equal([state, answer.blocks, answer.unblocks], ['up', [], []]);
      assert.is(answer.retry !== null, ['degraded', 'failed', 'teardownFailed'].includes(state), state);
    }
  }
});

states.run();
