/**
 * One network in several outsides: all of its machines get the new definition, or all have the old one again, and the
 * file says so before they do. The machines here are stand-ins that accept or refuse.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { assign, createActor, enqueueActions, setup, type AnyActorRef } from 'xstate';
import { finishUpdate, updateMachines } from '../../service/networks/network-update.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { definition, FAULT } from '../harness/fixtures.ts';

const OLD = definition('web', '10.89.0.0/24', '10.89.0.1');
const NEW = { ...OLD, options: { mtu: '1400' } };

type Event = { type: 'update'; definition: NetworkDefinition; insist: boolean; from: AnyActorRef } | { type: 'rest' };

function machine(log: string[], name: string, takes: boolean, now: NetworkDefinition, resting = true) {
  const logic = setup({
    types: { context: {} as { definition: NetworkDefinition }, events: {} as Event, tags: {} as 'rest' },
    actions: {
      update: enqueueActions(({ event, enqueue }) => {
        if (event.type !== 'update') return;
        const taken = takes || event.insist;
        log.push(`${name} ${event.definition === NEW ? 'new' : 'old'}${event.insist ? ' insist' : ''}`);
        if (taken) enqueue.assign({ definition: event.definition });
        enqueue.sendTo(event.from, taken ? { type: 'updated' } : { type: 'refused', fault: FAULT });
      }),
    },
  }).createMachine({
    context: { definition: now },
    initial: resting ? 'up' : 'busy',
    states: {
      up: { tags: 'rest', on: { update: { actions: 'update' } } },
      busy: { on: { rest: { target: 'up', actions: assign({ definition: takes ? now : OLD }) } } },
    },
  });
  return createActor(logic).start();
}
const definitions = (machines: AnyActorRef[]) =>
  machines.map((actor) => (actor.getSnapshot() as { context: { definition: NetworkDefinition } }).context.definition);

const outsides = suite('update in several outsides');

outsides('outsides follow one after another, each once', async () => {
  const log: string[] = [];
  const machines = [machine(log, 'a', true, OLD), machine(log, 'b', true, OLD)];
  const parts = { machines: () => machines, revert: () => log.push('record') };
  assert.is(await updateMachines(parts, OLD, NEW), null);
  assert.equal(log, ['a new', 'b new']);
  assert.equal(definitions(machines), [NEW, NEW]);
});

outsides('when one outside refuses, the old definition is on disk before the others go back', async () => {
  const log: string[] = [];
  const machines = [machine(log, 'a', true, OLD), machine(log, 'b', false, OLD), machine(log, 'c', true, OLD)];
  const parts = { machines: () => machines, revert: (is: NetworkDefinition) => log.push(`record ${is === OLD}`) };
  assert.is(await updateMachines(parts, OLD, NEW), FAULT);
  assert.equal(log, ['a new', 'b new', 'record true', 'a old insist']);
  assert.equal(definitions(machines), [OLD, OLD, OLD]);
});

outsides('after a crash, the others go back if one goes back by itself', async () => {
  const log: string[] = [];
  const machines = [machine(log, 'a', true, NEW, false), machine(log, 'b', false, NEW, false)];
  // The definition that the blocked machine writes counts from then on.
  let file: NetworkDefinition = NEW;
  const parts = { machines: () => machines, revert: (is: NetworkDefinition) => (file = is) };
  const finished = finishUpdate(parts, () => file);
  file = OLD;
  for (const actor of machines) actor.send({ type: 'rest' });
  await finished;
  assert.equal(log, ['a old insist']);
  assert.equal(definitions(machines), [OLD, OLD]);
});

outsides('after a crash, nothing is left to do if all go on', async () => {
  const log: string[] = [];
  const machines = [machine(log, 'a', true, NEW)];
  await finishUpdate({ machines: () => machines, revert: () => log.push('record') }, () => NEW);
  assert.equal(log, []);
});

outsides.run();
