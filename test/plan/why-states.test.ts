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
import { overlayMachine } from '../../machines/overlay.ts';
import { resolverMachine } from '../../machines/resolver.ts';
import { rootlessMachine } from '../../machines/rootless.ts';
import { FIREWALL, FIREWALLD, NETWORK, OVERLAY, RESOLVER, ROOTLESS, stepOf, underWay } from '../../plan/why/states.ts';
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
  const rootless = [rootlessMachine, ROOTLESS] as const;
  for (const [name, [machine, meanings]] of Object.entries({ ...all, ...more, rootless })) {
    assert.equal(Object.keys(meanings).sort(), [...Object.keys(machine.states), 'error'].sort(), name);
  }
  const ofOverlay = statesOf(overlayMachine.root)
    .filter(({ states: inner }) => Object.keys(inner).length === 0)
    .map(({ path }) => path.join('.'));
  assert.equal(Object.keys(OVERLAY).sort(), [...ofOverlay, 'absent', 'error'].sort(), 'overlay');
});

states('every state of a container is either at rest or has a word for what is done, and each step has its own', () => {
  const atRest = ['created', 'up', 'degraded', 'failed', 'teardownFailed', 'gone'];
  for (const leaf of leaves) {
    assert.is(underWay(leaf) === undefined, atRest.includes(leaf), leaf);
    if (!atRest.includes(leaf)) assert.is.not(stepOf(leaf), 'being at work', leaf);
  }
});

states('what is done to a container in each state, and at each step', () => {
  const atWork = leaves.filter((leaf) => underWay(leaf) !== undefined);
  const doing = (leaf: string) => `${leaf.split('.')[0]}: ${underWay(leaf)}`;
  const step = (leaf: string) => `${leaf.split('.').at(-1)}: ${stepOf(leaf)}`;
  assert.equal([...new Set(atWork.map(doing))].sort(), [
    'abandoning: being removed, because its namespace could not be made',
    'adjusting: following a change of its network',
    'configuring: being configured',
    'connecting: being connected to a network',
    'creating: being created',
    'disconnecting: being disconnected from a network',
    'draining: being torn down',
    'publishing: being given published ports',
    'rebuilding: being given new links',
    'releasing: being torn down',
    'reloading: being reloaded',
    'repairing: being repaired',
    'rollingBack: being put back to how it was, because a step failed',
    'settling: coming to rest',
    'tearingDown: being torn down',
    'unpublishing: losing published ports',
    'yielding: giving ports away to another container',
  ]);
  assert.equal([...new Set(atWork.map(step))].sort(), [
    'abandoning: removing what exists of its namespace',
    'attaching: making a link',
    'checking: having the program of a network check what it has made',
    'checkingLeftovers: counting what is left',
    'checkingPlan: planning what it was granted',
    'checkingUplink: checking the addresses of its uplink',
    'choosing: choosing the next step',
    'choosingConnection: choosing the next step',
    'creating: making its namespace',
    'detaching: removing a link',
    'diverting: leading its ports to another network',
    'draining: waiting until the kernel has removed its links, whose addresses are kept until then',
    'exposing: asking the outer publisher to listen for its ports',
    'finishing: choosing the next step',
    'leasing: asking for its addresses and host ports',
    'lookingForFiles: choosing the next step',
    'lookingForLink: choosing the next step',
    'naming: having the resolver answer its names',
    'publishing: publishing its ports',
    'reattaching: making a link again',
    'reclaiming: leading its ports back',
    'releasing: giving back what it was granted',
    'releasingPorts: giving its host ports back',
    'removingFiles: removing its resolv.conf and hosts',
    'removingNamespace: removing its namespace',
    'renaming: having the resolver answer its names again',
    'repairingLinks: making the missing parts of a link',
    'repairingUplink: starting its uplink again',
    'replacing: replacing a link',
    'republishing: publishing its ports again',
    'restoring: putting back what was changed',
    'returning: leading its ports back',
    'reverting: leading its ports back',
    'revising: changing a link',
    'revisingBack: changing a link back',
    'settling: choosing the next state',
    'startingUplink: starting its uplink',
    'stoppingUplink: ending its uplink',
    'unexposing: asking the outer publisher to stop listening for its ports',
    'unnaming: removing its names',
    'unpublishing: removing its ports',
    'verifying: having the firewall compared with what it should be',
    'waiting: waiting for the container that takes its ports over',
    'writingFiles: writing its resolv.conf and hosts',
  ]);
  assert.equal(
    [underWay(''), stepOf(''), stepOf('configuring.newlyInvented')],
    [undefined, 'being at work', 'being at work'],
  );
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
