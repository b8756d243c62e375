/**
 * New leases on their way to containers: which containers get them, which are waited for, which are left alone, and the
 * answer.
 * Limits: a stand-in for the container's machine: it knows rest, busy, adjusting and the ways out.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { assign, createActor, setup, type AnyActorRef } from 'xstate';
import { fanOut } from '../../effects/fan-out.ts';
import { hasLease } from '../../plan/containers/attachment.ts';
import type { Lease } from '../../state/container.ts';
import type { Fault, FaultError } from '../../state/faults.ts';
import { FAULT, leaseOf } from '../harness/fixtures.ts';
import { settled } from '../harness/world.ts';

const OLD = leaseOf('web');
const NEW: Lease = { ...OLD, mtu: 1400 };

interface Context {
  attachments: Lease[];
  operation: { n: number; type: string };
  fault: Fault | null;
  leftovers: Fault[];
}
type Event = { type: 'adjust'; network: string; lease: Lease } | { type: 'done' | 'refuse' | 'teardown' | 'begin' };

const machine = setup({
  types: {
    context: {} as Context,
    events: {} as Event,
    input: {} as { state: string; attached: boolean },
    tags: {} as 'rest',
  },
}).createMachine({
  id: 'stand-in',
  context: ({ input }) => ({
    attachments: input.attached ? [OLD] : [],
    operation: { n: 1, type: 'create' },
    fault: null,
    leftovers: input.state === 'failed' ? [FAULT] : [],
  }),
  initial: 'up',
  on: { teardown: '.draining' },
  states: {
    up: {
      tags: 'rest',
      on: {
        begin: {
          target: 'busy',
          actions: assign({ operation: ({ context }) => ({ n: context.operation.n + 1, type: 'x' }) }),
        },
        adjust: {
          target: 'adjusting',
          actions: assign({
            operation: ({ context }) => ({ n: context.operation.n + 1, type: 'adjust' }),
            attachments: ({ event }) => [event.lease],
            fault: null,
          }),
        },
      },
    },
    busy: { on: { done: 'up' } },
    adjusting: {
      on: { done: 'up', refuse: { target: 'up', actions: assign({ attachments: [OLD], fault: FAULT }) } },
    },
    failed: { tags: 'rest' },
    draining: { tags: 'rest' },
  },
});

/** A container at rest in `state`, or gone. */
function standIn(state: string, attached = true): AnyActorRef {
  const input = { state, attached };
  const context = {
    attachments: attached ? [OLD] : [],
    operation: { n: 1, type: 'create' },
    fault: null,
    leftovers: state === 'failed' ? [FAULT] : [],
  };
  return createActor(machine, { input, snapshot: machine.resolveState({ value: state, context }) }).start();
}

const said = (actor: AnyActorRef) => String((actor.getSnapshot() as { value: unknown }).value);
const leaseOfActor = (actor: AnyActorRef) => (actor.getSnapshot() as { context: Context }).context.attachments[0];

/** The request under way: its answer once it has one. */
function begin(containers: Record<string, AnyActorRef | null>, wanted: Lease = NEW) {
  const answers: { type: string; fault?: Fault }[] = [];
  const leases = new Map(Object.keys(containers).map((owner) => [owner, wanted]));
  const logic = fanOut({ container: (owner) => containers[owner] ?? null }, hasLease);
  const actor = createActor(logic, { input: { network: 'web', outside: null, leases, remetric: false } });
  actor.subscribe({
    complete: () => answers.push({ type: 'followed' }),
    error: (error: unknown) => answers.push({ type: 'stuck', fault: (error as FaultError).fault }),
  });
  actor.start();
  return { answers, stop: () => actor.stop() };
}
const quiet = async () => {
  for (let i = 0; i < 5; i++) await settled();
};

const fan = suite('fan out');

fan('all containers follow, and the update is answered once, after the last', async () => {
  const [a, b] = [standIn('up'), standIn('up')];
  const { answers } = begin({ 'a:1': a, 'b:1': b });
  await quiet();
  assert.equal([said(a), said(b)], ['adjusting', 'adjusting']);
  a.send({ type: 'done' });
  await quiet();
  assert.equal(answers, []);
  b.send({ type: 'done' });
  await quiet();
  assert.equal(answers, [{ type: 'followed' }]);
  assert.equal(leaseOfActor(a), NEW);
});

fan('a container that is gone, not attached, leaving or up to date gets no event', async () => {
  const [out, elsewhere, same] = [standIn('draining'), standIn('up', false), standIn('up')];
  const { answers } = begin({ 'gone:1': null, 'out:1': out, 'elsewhere:1': elsewhere, 'same:1': same }, OLD);
  await quiet();
  assert.equal(answers, [{ type: 'followed' }]);
  assert.equal([said(elsewhere), said(same)], ['up', 'up']);
});

fan('the update waits for a busy container', async () => {
  const a = standIn('up');
  a.send({ type: 'begin' });
  const { answers } = begin({ 'a:1': a });
  await quiet();
  assert.is(said(a), 'busy');
  a.send({ type: 'done' });
  await quiet();
  assert.is(said(a), 'adjusting');
  a.send({ type: 'done' });
  await quiet();
  assert.equal(answers, [{ type: 'followed' }]);
});

fan("a container that cannot follow is named with the kernel's error, once the others are at rest", async () => {
  const [a, b] = [standIn('up'), standIn('up')];
  const { answers } = begin({ 'a:1': a, 'b:1': b });
  await quiet();
  a.send({ type: 'refuse' });
  await quiet();
  assert.equal(answers, []);
  b.send({ type: 'done' });
  await quiet();
  const { type, fault } = answers[0] ?? {};
  assert.is(type, 'stuck');
  assert.equal([fault?.code, fault?.owner, fault?.errno], ['NETWORK_UPDATE_FAILED', 'a', 'EIO']);
  assert.is(answers.length, 1);
});

fan('a container that failed before is named, and no other gets an event after that', async () => {
  const failed = standIn('failed');
  const { answers } = begin({ 'f:1': failed });
  await quiet();
  assert.equal([answers[0]?.type, answers[0]?.fault?.owner, answers[0]?.fault?.errno], ['stuck', 'f', 'EIO']);
});

fan('a container that is torn down in the middle does not stop the update', async () => {
  const a = standIn('up');
  const { answers } = begin({ 'a:1': a });
  await quiet();
  a.send({ type: 'teardown' });
  await quiet();
  assert.equal(answers, [{ type: 'followed' }]);
});

fan('a few containers follow at a time, and all in the end', async () => {
  const many = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`c${i}:1`, standIn('up')]));
  const { answers } = begin(many);
  let most = 0;
  for (let i = 0; i < 200 && answers.length === 0; i++) {
    await settled();
    const busy = Object.values(many).filter((actor) => said(actor) === 'adjusting');
    most = Math.max(most, busy.length);
    busy[0]?.send({ type: 'done' });
  }
  await quiet();
  assert.equal(answers, [{ type: 'followed' }]);
  assert.ok(most > 1 && most < 50, `${most} at a time`);
  assert.ok(Object.values(many).every((actor) => leaseOfActor(actor)?.mtu === 1400));
});

fan.run();
