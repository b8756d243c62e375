/**
 * Namespaces that are made before a container asks for one, so that its creation need not wait for the kernel.
 *
 * Guarantees: never more than `size` of them. One is made when none has been taken for a moment, and one after the other: what
 * makes them is never in the way of a container. A size of 0 makes none. One that cannot be made is tried again later, and
 * containers get theirs as if there were no such machine.
 * Limits: a prepared namespace is a descriptor of the daemon's and nothing else. No snapshot names it, and it needs none: the
 * kernel removes it with the daemon, however that ends (docs/decisions/0066).
 */
import { assign, setup } from 'xstate';
import type { Fault } from '../state/faults.ts';
import { effect, faultOf } from './contract.ts';

/** An open descriptor, which alone keeps a namespace. Its number is used again as soon as it is closed. */
export type Descriptor = number;

export interface PreparedInput {
  size: number;
}

interface PreparedContext extends PreparedInput {
  /** The oldest comes first. */
  ready: readonly Descriptor[];
  /** True if one was taken while another was being made. */
  wanted: boolean;
  fault: Fault | null;
  attempts: number;
}

/** The first of `ready` has been taken, or one was asked for in vain. */
export type PreparedEvent = { type: 'taken' };

type Made = { output: Descriptor };

const made = ({ event }: { event: Made }): Made => event;

export const preparedMachine = setup({
  types: {
    context: {} as PreparedContext,
    input: {} as PreparedInput,
    events: {} as PreparedEvent,
    tags: {} as 'rest',
  },
  actors: {
    /** Resolves when a moment has passed. */
    pause: effect<void, undefined>('pause'),
    prepareNamespace: effect<Descriptor, undefined>('prepareNamespace'),
    backOff: effect<void, { attempt: number }>('backOff'),
  },
  guards: {
    full: ({ context }) => context.ready.length >= context.size,
    wanted: ({ context }) => context.wanted,
  },
  actions: {
    take: assign({ ready: ({ context }) => context.ready.slice(1), wanted: true }),
    rest: assign({ wanted: false }),
    add: assign(({ context }, { output }: Made) => ({
      ready: [...context.ready, output],
      fault: null,
      attempts: 0,
    })),
    blame: assign(({ context, event }) => ({
      fault: faultOf('error' in event ? event.error : undefined),
      attempts: context.attempts + 1,
    })),
  },
}).createMachine({
  id: 'prepared',
  options: { maxIterations: 50 },
  context: ({ input: { size } }) => ({ size, ready: [], wanted: false, fault: null, attempts: 0 }),
  initial: 'deciding',
  on: { taken: { actions: 'take' } },
  states: {
    deciding: {
      description: 'Initial state. Looks at how many there are, and at what has been taken meanwhile.',
      always: [{ guard: 'full', target: 'full' }, { guard: 'wanted', target: 'waiting' }, { target: 'preparing' }],
    },
    full: {
      tags: 'rest',
      description: 'There are as many as there may be. Leaves when one is taken.',
      on: { taken: { target: 'deciding', actions: 'take' } },
    },
    waiting: {
      tags: 'rest',
      description: 'Containers are being made. Leaves when none has asked for a namespace for a moment.',
      entry: 'rest',
      invoke: { id: 'pause', src: 'pause', onDone: 'preparing' },
      on: { taken: { target: 'waiting', reenter: true, actions: 'take' } },
    },
    preparing: {
      description: 'Makes one more, on a thread that no container waits for.',
      invoke: {
        id: 'prepareNamespace',
        src: 'prepareNamespace',
        onDone: { target: 'deciding', actions: { type: 'add', params: made } },
        onError: { target: 'failed', actions: 'blame' },
      },
    },
    failed: {
      tags: 'rest',
      description: 'One could not be made: `fault` says why. Retries after a pause. Those that are ready can be taken.',
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: 'deciding',
      },
    },
  },
});
