/**
 * Keeps the bridges of the networks that are up in firewalld's zone `trusted`, as Podman does, if firewalld runs.
 *
 * Guarantees: a network gets `held` when its bridge is in the zone, or when firewalld has refused it. A refusal does not stop
 * the network from going up; `fault` has the reason until an attempt succeeds. The bridges that we add are recorded on disk
 * before they are added and until they are removed, so bridges without a network are found after a crash. A bridge that
 * somebody else has put into a zone stays there. `verify` leads to another read of the zones, because firewalld forgets our
 * bridges when it reloads, restarts, or starts after us. Without firewalld, no bridge is added and `held` is answered at once.
 * Limits: one read at a time; a request meanwhile waits for the next one.
 */
import { assign, assertEvent, enqueueActions, setup } from 'xstate';
import type { Fault } from '../state/faults.ts';
import { effect, faultOf, type Requester } from './contract.ts';
import { planZones, TRUSTED, type ZonePlan, type ZonesSeen } from '../plan/networks/firewalld.ts';

export interface FirewalldInput {
  outside: string | null;
  /** Bridges of the networks that are up according to the snapshots. */
  adopted: readonly string[];
  /** Bridges that we have added to the zone (kept on disk). One that was about to be added may be missing there. */
  bound: readonly string[];
}

export interface LookInput {
  outside: string | null;
  /** True if firewalld may have a bridge of ours. */
  bound: boolean;
  /** Bridges that may have to leave the zone: for these, the permanent configuration is read too. */
  leaving: readonly string[];
}

export interface ChangeInput {
  zone: string;
  add: readonly string[];
  remove: readonly string[];
}

interface FirewalldContext {
  outside: string | null;
  /** Bridges of the networks that are up, or about to be. */
  wanted: readonly string[];
  bound: readonly string[];
  /** The changes that follow from the last read of the zones. */
  plan: Pick<ZonePlan, 'add' | 'remove'>;
  waiting: readonly Pending[];
  /** True if a request or a change has come since the read of the zones began. */
  again: boolean;
  fault: Fault | null;
  attempts: number;
}

/** The zones that were read, as a parameter of guards and actions. */
type Seen = { seen: ZonesSeen | null };

type Pending = Pick<Requester, 'from'> & { answer: FirewalldAnswer['type'] };

export type FirewalldEvent =
  | { type: 'hold' | 'release'; bridge: string; from: Requester['from'] }
  /** firewalld has changed its rules, has started or ended. */
  | { type: 'verify' };

export type FirewalldAnswer = { type: 'held' } | { type: 'released' };

/** Emitted when firewalld refuses for the first time in a row. */
export interface FirewalldEmitted {
  type: 'failing';
  fault: Fault;
}

const setupFirewalld = setup({
  types: {
    context: {} as FirewalldContext,
    input: {} as FirewalldInput,
    events: {} as FirewalldEvent,
    emitted: {} as FirewalldEmitted,
    tags: {} as 'rest',
  },
  actors: {
    lookAtZones: effect<ZonesSeen | null, LookInput>('lookAtZones'),
    changeZones: effect<void, ChangeInput>('changeZones'),
    backOff: effect<void, { attempt: number }>('backOff'),
  },
  guards: {
    concerned: ({ context: { wanted, bound } }) => wanted.length + bound.length > 0,
    unconcerned: ({ context: { wanted, bound } }) => wanted.length + bound.length === 0,
    again: ({ context }) => context.again,
    nothingToDo: ({ context: { wanted, bound } }, { seen }: Seen) => {
      const { add, remove } = planZones(wanted, bound, seen);
      return add.length + remove.length === 0;
    },
  },
  actions: {
    note: assign(({ context, event }) => {
      if (event.type === 'verify') return { again: true };
      assertEvent(event, ['hold', 'release']);
      const { type, bridge, from } = event;
      const others = context.wanted.filter((one) => one !== bridge);
      const answer = type === 'hold' ? ('held' as const) : ('released' as const);
      return {
        wanted: type === 'hold' ? [...others, bridge] : others,
        waiting: [...context.waiting, { from, answer }],
        again: true,
      };
    }),
    begin: assign({ again: false }),
    plan: assign(({ context: { wanted, bound } }, { seen }: Seen) => {
      const { add, remove, bound: after } = planZones(wanted, bound, seen);
      return { plan: { add, remove }, bound: after };
    }),
    /** Forgets the bridges that were removed from the zone. */
    conclude: assign(({ context: { bound, plan } }) => ({
      bound: bound.filter((bridge) => !plan.remove.includes(bridge)),
    })),
    resetAttempts: assign({ fault: null, attempts: 0 }),
    blame: enqueueActions(({ context, event, enqueue }) => {
      const fault = faultOf('error' in event ? event.error : undefined);
      enqueue.assign({ fault, attempts: context.attempts + 1 });
      if (context.attempts === 0) enqueue.emit({ type: 'failing', fault });
    }),
    answer: enqueueActions(({ context, enqueue }) => {
      for (const { from, answer } of context.waiting) enqueue.sendTo(from, { type: answer } satisfies FirewalldAnswer);
      enqueue.assign({ waiting: [] });
    }),
  },
});

const seen = ({ event }: { event: { output: ZonesSeen | null } }): Seen => ({ seen: event.output });

const look = { target: 'looking', actions: 'note' } as const;

export const firewalldMachine = setupFirewalld.createMachine({
  id: 'firewalld',
  options: { maxIterations: 50 },
  context: ({ input }) => ({
    outside: input.outside,
    wanted: input.adopted,
    bound: input.bound,
    plan: { add: [], remove: [] },
    waiting: [],
    again: false,
    fault: null,
    attempts: 0,
  }),
  initial: 'deciding',
  on: { hold: { actions: 'note' }, release: { actions: 'note' }, verify: { actions: 'note' } },
  states: {
    deciding: {
      description:
        'Initial state. firewalld may have restarted meanwhile, or a crash may have left it a bridge without a network.',
      always: [{ guard: 'concerned', target: 'looking' }, { target: 'idle' }],
    },
    idle: {
      tags: 'rest',
      description:
        'If firewalld runs, each bridge is in the zone, or in another one that somebody else has put it into.',
      entry: ['resetAttempts', 'answer'],
      on: { hold: look, release: look, verify: { guard: 'concerned', ...look } },
    },
    looking: {
      description: 'Reads the zones of firewalld, if it runs.',
      entry: 'begin',
      invoke: {
        id: 'lookAtZones',
        src: 'lookAtZones',
        input: ({ context: { outside, wanted, bound } }) => ({
          outside,
          bound: bound.length > 0,
          leaving: bound.filter((bridge) => !wanted.includes(bridge)),
        }),
        onDone: [
          { guard: 'again', target: 'looking', reenter: true },
          { guard: { type: 'nothingToDo', params: seen }, target: 'idle', actions: { type: 'plan', params: seen } },
          { target: 'changing', actions: { type: 'plan', params: seen } },
        ],
        onError: { target: 'refused', actions: 'blame' },
      },
    },
    changing: {
      description: 'Adds bridges to the zone, and removes those of ours that no network has any more.',
      invoke: {
        id: 'changeZones',
        src: 'changeZones',
        input: ({ context }) => ({ zone: TRUSTED, ...context.plan }),
        onDone: [
          { guard: 'again', target: 'looking', actions: 'conclude' },
          { target: 'idle', actions: 'conclude' },
        ],
        onError: { target: 'refused', actions: 'blame' },
      },
    },
    refused: {
      tags: 'rest',
      description:
        'firewalld does not answer, or refuses: `fault` says why. Networks go up and down all the same. Retries after a ' +
        'pause.',
      entry: 'answer',
      always: { guard: 'unconcerned', target: 'idle' },
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: 'looking',
      },
      on: { hold: look, release: look, verify: look },
    },
  },
});
