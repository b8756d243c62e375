/**
 * The way out of a rootless daemon's own outside: a namespace without a link to the host, which slirp4netns or pasta connects to
 * the world for all networks in it.
 *
 * Guarantees: the program runs while at least one attachment holds it, and is gone after the last. A `hold` is answered when the
 * program was seen to run, and its link with its address and a default route: a half-made one counts as none. What is lost while
 * containers use it (`lost`) is made again under them: their links are on bridges, and stay. After a crash it is looked at again:
 * adopted if it is whole, replaced if it is not, removed if nobody holds it.
 * Limits: the namespace itself belongs to the holder (native/rootless/). Nothing of this is stored: there is one directory, with
 * a name that never changes, and the users are read back from the containers' snapshots.
 */
import { assign, assertEvent, enqueueActions, setup } from 'xstate';
import type { Fault } from '../state/faults.ts';
import type { UplinkLink, UplinkSettings } from '../state/uplink.ts';
import type { UplinkInput } from '../plan/uplinks/uplink.ts';
import { effect, type Requester } from './contract.ts';
import { uplinkMachine, type UplinkOutput } from './uplink.ts';

export interface RootlessInput {
  settings: UplinkSettings;
  /** Path of the namespace. */
  netns: string;
  /** The program's directory, absolute. */
  directory: string;
  /** The attachments of containers in snapshots. */
  adopted: readonly string[];
}

interface RootlessContext {
  settings: UplinkSettings;
  netns: string;
  directory: string;
  /** Attachments (plan/networks/attachment-key.ts). */
  users: readonly string[];
  waiting: readonly Requester[];
  link: UplinkLink | null;
  fault: Fault | null;
  attempts: number;
}

export type RootlessEvent =
  | ({ type: 'hold' } & Requester)
  | ({ type: 'release' } & Requester)
  /** The program, its link, its address or its route is not there any more. */
  | { type: 'lost' };

export type RootlessAnswer = { type: 'held' } | { type: 'refused'; fault: Fault } | { type: 'released' };

const uplinkOf = ({ settings, netns, directory }: RootlessContext, verb: UplinkInput['verb']): UplinkInput => ({
  verb,
  owner: 'rootless',
  directory,
  outside: null,
  netns,
  boundTo: null,
  settings,
  apiSocket: false,
  ports: [],
});

type Ended = { output: UplinkOutput };

const setupRootless = setup({
  types: {
    context: {} as RootlessContext,
    input: {} as RootlessInput,
    events: {} as RootlessEvent,
    tags: {} as 'rest',
  },
  actors: {
    uplink: uplinkMachine,
    backOff: effect<void, { attempt: number }>('backOff'),
  },
  guards: {
    used: ({ context }) => context.users.length > 0,
    unused: ({ context }) => context.users.length === 0,
    awaited: ({ context }) => context.waiting.length > 0,
    ready: (_, { output }: Ended) => output.outcome === 'ready',
    stopped: (_, { output }: Ended) => output.outcome === 'stopped',
  },
  actions: {
    hold: assign(({ context: { users, waiting }, event }) => {
      assertEvent(event, 'hold');
      const { owner, from } = event;
      return {
        users: [...users.filter((user) => user !== owner), owner],
        waiting: [...waiting.filter((asker) => asker.owner !== owner), { owner, from }],
      };
    }),
    release: enqueueActions(({ context: { users, waiting }, event, enqueue }) => {
      assertEvent(event, 'release');
      enqueue.assign({
        users: users.filter((user) => user !== event.owner),
        waiting: waiting.filter(({ owner }) => owner !== event.owner),
      });
      enqueue.sendTo(event.from, { type: 'released' } satisfies RootlessAnswer);
    }),
    answerWaiting: enqueueActions(({ context, enqueue }) => {
      for (const { from } of context.waiting) enqueue.sendTo(from, { type: 'held' } satisfies RootlessAnswer);
      enqueue.assign({ waiting: [] });
    }),
    refuseWaiting: enqueueActions(({ context: { users, waiting, fault }, enqueue }) => {
      const why = fault ?? { code: 'INTERNAL' as const, message: 'the way out of the namespace could not be made' };
      for (const { from } of waiting) enqueue.sendTo(from, { type: 'refused', fault: why } satisfies RootlessAnswer);
      const refused = new Set(waiting.map(({ owner }) => owner));
      enqueue.assign({ waiting: [], users: users.filter((user) => !refused.has(user)) });
    }),
    note: assign((_, { output }: Ended) => ({ link: output.link, fault: null, attempts: 0 })),
    blame: assign(({ context }, { output }: Ended) => ({
      fault: output.fault,
      link: null,
      attempts: context.attempts + 1,
    })),
    settle: assign({ fault: null, attempts: 0, link: null }),
  },
});

const ended = ({ event }: { event: Ended }): Ended => event;

export const rootlessMachine = setupRootless.createMachine({
  id: 'rootless',
  options: { maxIterations: 50 },
  context: ({ input: { settings, netns, directory, adopted } }) => ({
    settings,
    netns,
    directory,
    users: adopted,
    waiting: [],
    link: null,
    fault: null,
    attempts: 0,
  }),
  initial: 'deciding',
  on: { hold: { actions: 'hold' }, release: { actions: 'release' } },
  states: {
    deciding: {
      description:
        'Initial state. With users the program exists and is looked at; a crash may have left one without users.',
      always: [{ guard: 'used', target: 'repairing' }, { target: 'lowering' }],
    },
    down: {
      tags: 'rest',
      description: 'There is no program. Leaves when the first attachment holds the way out.',
      entry: 'settle',
      always: { guard: 'used', target: 'raising' },
    },
    raising: {
      description: 'Starts the program. Owns a directory, a keeper and a program from here on.',
      invoke: {
        id: 'uplink',
        src: 'uplink',
        input: ({ context }) => uplinkOf(context, 'start'),
        onDone: [
          { guard: { type: 'ready', params: ended }, target: 'up', actions: { type: 'note', params: ended } },
          { target: 'failed', actions: [{ type: 'blame', params: ended }, 'refuseWaiting'] },
        ],
      },
    },
    up: {
      tags: 'rest',
      description:
        'The program runs; its link has its address and a default route. Leaves when the last attachment is released.',
      entry: 'answerWaiting',
      always: { guard: 'unused', target: 'lowering' },
      on: {
        hold: { target: 'up', reenter: true, actions: 'hold' },
        lost: 'repairing',
      },
    },
    repairing: {
      description:
        'Looks at the program, its link, its address and its route, and makes what is missing. A `hold` waits.',
      invoke: {
        id: 'uplink',
        src: 'uplink',
        input: ({ context }) => uplinkOf(context, 'repair'),
        onDone: [
          { guard: { type: 'ready', params: ended }, target: 'up', actions: { type: 'note', params: ended } },
          { target: 'replacing', actions: { type: 'blame', params: ended } },
        ],
      },
    },
    replacing: {
      description: 'What is there could not be repaired: ends it, so that another one can be started.',
      invoke: {
        id: 'uplink',
        src: 'uplink',
        input: ({ context }) => uplinkOf(context, 'stop'),
        onDone: [
          { guard: { type: 'stopped', params: ended }, target: 'raising' },
          { target: 'failed', actions: [{ type: 'blame', params: ended }, 'refuseWaiting'] },
        ],
      },
    },
    failed: {
      tags: 'rest',
      description: 'There is no way out: `fault` says why. Retries after a pause, and at once for another attachment.',
      always: [
        { guard: 'awaited', target: 'replacing' },
        { guard: 'unused', target: 'lowering' },
      ],
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: 'replacing',
      },
    },
    lowering: {
      description: 'Ends the program and its keeper, and removes the directory. A `hold` waits.',
      invoke: {
        id: 'uplink',
        src: 'uplink',
        input: ({ context }) => uplinkOf(context, 'stop'),
        onDone: [
          { guard: { type: 'stopped', params: ended }, target: 'down' },
          { target: 'lowerFailed', actions: [{ type: 'blame', params: ended }, 'refuseWaiting'] },
        ],
      },
    },
    lowerFailed: {
      tags: 'rest',
      description: 'The program could not be ended: `fault` says why. Retries after a pause.',
      always: { guard: 'used', target: 'replacing' },
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: 'lowering',
      },
    },
  },
});
