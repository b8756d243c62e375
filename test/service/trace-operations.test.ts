/**
 * The spans of a container's machine in moments that a daemon seldom has: an effect whose state is left, an operation that
 * outlasts the daemon, a second teardown while the first one ends.
 *
 * Limits: a machine of three states stands in for the container's.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Attributes, SpanContext, SpanOptions } from '@opentelemetry/api';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { assign, createActor, fromPromise, setup } from 'xstate';
import { ROOT } from '../../effects/effect.ts';
import type { Connection } from '../../service/traces/otlp.ts';
import { Traces } from '../../service/traces/traces.ts';
import { FaultError } from '../../state/faults.ts';

interface Seen {
  name: string;
  parent: string;
  attributes: Attributes;
  ended: boolean;
}

function connection(): { seen: Seen[]; connection: Connection } {
  const seen: Seen[] = [];
  const start = (name: string, { attributes = {} }: SpanOptions, parent: SpanContext | null) => {
    const one: Seen = { name, parent: parent?.spanId ?? '', attributes: { ...attributes }, ended: false };
    seen.push(one);
    const span = {
      spanContext: () => ({ traceId: '', spanId: name, traceFlags: 1 }),
      setAttribute: (key: string, value: string) => span.setAttributes({ [key]: value }),
      setAttributes: (more: Attributes) => {
        Object.assign(one.attributes, more);
        return span;
      },
      end: () => (one.ended = true),
    };
    return span;
  };
  const rest = { fail: () => {}, caller: () => null, check: () => ({}), close: async () => {} };
  return { seen, connection: { start, ...rest } as unknown as Connection };
}

/** A container that works on `configure`, and drains at rest on `teardown`; each effect ends when its promise does. */
function container(traces: Traces, effects: Record<'ensureLink' | 'awaitLinksGone' | 'release', Promise<void>>) {
  const machine = setup({
    types: { context: {} as Context },
    actors: traces.actors('container', {
      ensureLink: fromPromise(() => effects.ensureLink),
      awaitLinksGone: fromPromise(() => effects.awaitLinksGone),
      release: fromPromise(() => effects.release),
    }),
    actions: {
      accept: assign({
        operation: ({ context, event }) => ({ n: context.operation.n + 1, type: event.type, network: null }),
      }),
    },
  }).createMachine({
    context: {
      id: 'a',
      generation: 1,
      fault: null,
      leftovers: [],
      operation: { n: 1, type: 'create', network: null },
    },
    initial: 'up',
    states: {
      up: {
        tags: 'rest',
        on: {
          configure: { target: 'linking', actions: 'accept' },
          resume: { target: 'linking', actions: 'accept' },
        },
      },
      linking: {
        invoke: { src: 'ensureLink', onDone: 'up' },
        on: { teardown: { target: 'draining', actions: 'accept' } },
      },
      draining: {
        tags: 'rest',
        invoke: { src: 'awaitLinksGone', onDone: 'releasing' },
        on: { teardown: { actions: 'accept' } },
      },
      releasing: { tags: 'rest', invoke: { src: 'release', onDone: 'gone' } },
      gone: { type: 'final' },
    },
  });
  return createActor(machine, { systemId: ROOT }).start();
}

interface Context {
  id: string;
  generation: number;
  fault: null;
  leftovers: never[];
  operation: { n: number; type: string; network: string | null };
}

const NEVER = new Promise<void>(() => {});
const operations = suite('operations as spans');

operations('an effect whose state is left ends then, and so does an operation that is overtaken', async () => {
  const { seen, connection: to } = connection();
  const actor = container(new Traces(to), { ensureLink: NEVER, awaitLinksGone: NEVER, release: NEVER });
  actor.send({ type: 'configure' });
  assert.equal(
    seen.map(({ name, ended }) => [name, ended]),
    [
      ['cleat.configure', false],
      ['ensureLink', false],
    ],
  );
  actor.send({ type: 'teardown' });
  await nextTurn();
  const [configure, effect] = seen as [Seen, Seen];
  assert.equal([effect.ended, effect.attributes['cleat.abandoned']], [true, true]);
  assert.equal([configure.ended, configure.attributes['error.type']], [true, 'SUPERSEDED']);
});

operations('an operation has the name of its request: a create also resumes a container that others have kept', () => {
  const { seen, connection: to } = connection();
  const actor = container(new Traces(to), { ensureLink: NEVER, awaitLinksGone: NEVER, release: NEVER });
  actor.send({ type: 'resume' });
  assert.is(seen[0]?.name, 'cleat.create');
});

operations('a failure has its code, and what the kernel has refused where it has refused something', async () => {
  const { seen, connection: to } = connection();
  const fail = (error: FaultError) => new Traces(to).request('audit.repair', {}, {}, () => Promise.reject(error));
  const details = { errno: 'EBUSY', syscall: 'mount', object: '/run/netns/a' };
  await fail(new FaultError('KERNEL', 'no', details)).catch(() => {});
  await fail(new FaultError('BAD_REQUEST', 'no')).catch(() => {});
  assert.equal(
    seen.map(({ attributes }) => attributes),
    [
      { 'error.type': 'KERNEL', 'cleat.errno': 'EBUSY', 'cleat.syscall': 'mount', 'cleat.object': '/run/netns/a' },
      { 'error.type': 'BAD_REQUEST' },
    ],
  );
});

operations('an operation that outlasts the daemon is sent as far as it has come', async () => {
  const { seen, connection: to } = connection();
  const traces = new Traces(to);
  const actor = container(traces, { ensureLink: NEVER, awaitLinksGone: NEVER, release: NEVER });
  actor.send({ type: 'configure' });
  await traces.close(1000);
  assert.equal([seen[0]?.ended, seen[0]?.attributes['cleat.interrupted']], [true, true]);
});

operations('what ends a teardown is a part of it, also when another teardown was accepted meanwhile', async () => {
  const { seen, connection: to } = connection();
  let gone = () => {};
  const links = new Promise<void>((resolve) => (gone = resolve));
  const actor = container(new Traces(to), { ensureLink: NEVER, awaitLinksGone: links, release: NEVER });
  actor.send({ type: 'configure' });
  actor.send({ type: 'teardown' });
  actor.send({ type: 'teardown' });
  gone();
  await nextTurn();
  assert.equal(
    seen.filter(({ name }) => name !== 'ensureLink').map(({ name, parent }) => [name, parent]),
    [
      ['cleat.configure', ''],
      ['cleat.teardown', ''],
      ['awaitLinksGone', 'cleat.teardown'],
      ['release', 'cleat.teardown'],
    ],
  );
});

operations.run();
