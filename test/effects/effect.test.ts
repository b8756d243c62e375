/**
 * How every effect runs: its intent is on disk first, one effect runs at a time, an abandoned one does not begin, and
 * each has a deadline.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { assign, createActor, setup, type AnyActorRef } from 'xstate';
import { defineEffect, effectNames, ROOT, toFault, type EffectRunner } from '../../effects/effect.ts';
import { FaultError } from '../../state/faults.ts';
import { settled } from '../harness/world.ts';

interface Deferred {
  done: (value?: unknown) => void;
  fail: (error: unknown) => void;
}

/** A machine of two effects, one after the other; `leave` abandons the first for the second. */
function rig(how: { commits?: 'by hand' | 'fail'; deadlineMs?: number } = {}) {
  const log: string[] = [];
  const bodies: Deferred[] = [];
  const commits: Deferred[] = [];
  const runner: EffectRunner = {
    failpoint: (name) => log.push(name),
    commit: (root: AnyActorRef, verb) => {
      log.push(
        `commit ${root.id} ${verb} ${JSON.stringify(root.getPersistedSnapshot()).includes('"children":{"') ? 'in flight' : ''}`,
      );
      if (how.commits === 'fail')
        return Promise.reject(new FaultError('STATE_UNWRITABLE', 'disk full', { errno: 'ENOSPC' }));
      if (how.commits === undefined) return Promise.resolve();
      return new Promise<void>((resolve, reject) => commits.push({ done: () => resolve(), fail: reject }));
    },
  };
  const effect = (verb: 'add' | 'remove', name: string) =>
    defineEffect(
      runner,
      verb,
      name,
      (input: string) => {
        log.push(`${name} begins ${input}`);
        return new Promise<unknown>((resolve, reject) => {
          bodies.push({
            done: (value) => {
              log.push(`${name} ends`);
              resolve(value);
            },
            fail: reject,
          });
        });
      },
      how.deadlineMs ?? 1000,
    );
  const machine = setup({
    types: { context: {} as { error: unknown; output: unknown }, events: {} as { type: 'leave' } | { type: 'quit' } },
    actors: { first: effect('add', 'first'), second: effect('remove', 'second') },
  }).createMachine({
    context: { error: null, output: null },
    initial: 'one',
    on: { quit: '.end' },
    states: {
      one: {
        invoke: {
          src: 'first',
          input: 'x',
          onDone: { target: 'two', actions: assign({ output: ({ event }) => event.output }) },
          onError: { target: 'two', actions: assign({ error: ({ event }) => event.error }) },
        },
        on: { leave: 'two' },
      },
      two: { invoke: { src: 'second', input: 'y', onDone: 'end', onError: 'end' } },
      end: {},
    },
  });
  const actor = createActor(machine, { id: 'c1', systemId: ROOT });
  actor.start();
  return { log, bodies, commits, actor };
}

const effects = suite('effects');

effects('the body waits for the commit, and the commit sees the effect in flight', async () => {
  const { log, bodies, commits, actor } = rig({ commits: 'by hand' });
  await settled();
  assert.equal(log, ['first:before', 'commit c1 add in flight']);
  commits[0]?.done();
  await settled();
  assert.equal(log.splice(2), ['first:durable', 'first begins x']);
  bodies[0]?.done(7);
  await settled();
  assert.equal(log.splice(2), ['first ends', 'first:after', 'second:before', 'commit c1 remove in flight']);
  assert.is(actor.getSnapshot().context.output, 7);
});

effects('an effect whose intent cannot be written is not begun, and the fault says so', async () => {
  const { log, actor } = rig({ commits: 'fail' });
  await settled();
  await settled();
  assert.not(log.some((line) => line.includes('begins')));
  const { error } = actor.getSnapshot().context;
  assert.instance(error, FaultError);
  assert.equal((error as FaultError).fault, {
    step: 'first',
    code: 'STATE_UNWRITABLE',
    message: 'disk full',
    errno: 'ENOSPC',
  });
});

effects('effects of one root do not overlap: the next waits for an abandoned body', async () => {
  const { log, bodies, actor } = rig();
  await settled();
  actor.send({ type: 'leave' });
  await settled();
  assert.not(log.includes('second:before'));
  bodies[0]?.done();
  await settled();
  const order = ['first begins x', 'first ends', 'second begins y'];
  assert.equal(
    log.filter((line) => order.includes(line)),
    order,
  );
});

effects('effects of one root do not overlap even if the abandoned body fails', async () => {
  const { log, bodies, actor } = rig();
  await settled();
  actor.send({ type: 'leave' });
  bodies[0]?.fail(new Error('late'));
  await settled();
  assert.ok(log.includes('second begins y'));
});

effects('effects of two roots do not wait for each other', async () => {
  const [one, other] = [rig(), rig()];
  await settled();
  assert.ok(one.log.includes('first begins x') && other.log.includes('first begins x'));
});

effects('an effect that is abandoned while it waits for its turn never begins', async () => {
  const { log, bodies, actor } = rig();
  await settled();
  actor.send({ type: 'leave' });
  await settled();
  actor.send({ type: 'quit' });
  bodies[0]?.done();
  await settled();
  assert.not(log.some((line) => line.startsWith('second') || line.startsWith('commit c1 remove')));
});

effects('an effect that is abandoned while it waits for the disk never begins', async () => {
  const { log, commits, actor } = rig({ commits: 'by hand' });
  await settled();
  actor.send({ type: 'quit' });
  commits[0]?.done();
  await settled();
  assert.not(log.includes('first begins x'));
});

effects('a deadline is an answer, and the next effect still waits for the body', async () => {
  const { log, bodies, actor } = rig({ deadlineMs: 10 });
  for (let i = 0; i < 200 && actor.getSnapshot().value === 'one'; i++) await new Promise((next) => setTimeout(next, 5));
  const { error } = actor.getSnapshot().context;
  assert.equal((error as FaultError).fault.code, 'DEADLINE');
  assert.equal((error as FaultError).fault.step, 'first');
  assert.not(log.includes('second begins y'));
  bodies[0]?.done();
  await settled();
  assert.ok(log.includes('first:after'), 'the body went on to its end');
});

effects('an effect that timed out in the queue does not begin after its failure was handled', async () => {
  const { log, bodies, actor } = rig({ deadlineMs: 10 });
  for (let i = 0; i < 400 && actor.getSnapshot().value !== 'end'; i++) await new Promise((next) => setTimeout(next, 5));
  assert.is(actor.getSnapshot().value, 'end');
  bodies[0]?.done();
  await settled();
  assert.not(log.includes('second begins y'));
});

effects('each effect name has three failpoints', async () => {
  const { log, bodies } = rig();
  await settled();
  bodies[0]?.done();
  await settled();
  assert.equal(
    log.filter((line) => line.startsWith('first:')),
    ['first:before', 'first:durable', 'first:after'],
  );
  assert.ok(effectNames.has('first') && effectNames.has('second'));
});

effects('any error becomes a fault of its step', () => {
  assert.equal(toFault(new Error('x'), 'step'), { code: 'INTERNAL', message: 'x', step: 'step' });
  assert.equal(toFault('x', 'step'), { code: 'INTERNAL', message: 'x', step: 'step' });
  const inner = new FaultError('DEADLINE', 'late', { step: 'inner' });
  assert.equal(toFault(inner, 'outer'), { code: 'DEADLINE', message: 'late', step: 'inner' });
});

effects.run();
