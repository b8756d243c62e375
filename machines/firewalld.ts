/**
 * firewalld, where it runs: the bridges of the networks that are up are in its zone `trusted`, as Podman has it.
 *
 * Guarantees: a network is told `held` when its bridge is in the zone, or firewalld has refused: it goes up without, and
 * `fault` says so until an attempt succeeds. Which bridges are there by our doing is on disk before they are added, and until
 * they are taken away: after a crash those of no network are found. What somebody else has put into a zone stays there.
 * Whoever tells us that firewalld has changed (`verify`) has us look again: it forgets what it was told when it reloads,
 * restarts, or starts after us. Without firewalld nothing is bound, and a network is told so at once.
 * Limits: one look at a time; who asks meanwhile waits for the next one.
 */
import { assign, enqueueActions, setup } from 'xstate';
import type { Fault } from '../state/faults.ts';
import { request, effect, faultOf, type Asker } from './contract.ts';
import { planZones, TRUSTED, type ZonePlan, type ZonesSeen } from './plan/firewalld.ts';

export interface FirewalldInput {
  outside: string | null;
  /** Bridges of the networks that are up according to the snapshots. */
  adopted: readonly string[];
  /** Bridges that are in the zone by our doing, as far as is known (kept on disk). */
  bound: readonly string[];
}

export interface LookInput {
  outside: string | null;
  /** It may have something of ours. */
  bound: boolean;
  /** Bridges that may have to leave the zone: whether the permanent configuration has them is asked, too. */
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
  /** What the last look has led to. */
  plan: Pick<ZonePlan, 'add' | 'remove'>;
  waiting: readonly Pending[];
  /** Something was asked for or has changed since the look began. */
  again: boolean;
  fault: Fault | null;
  attempts: number;
}

/** What a look has found, as guards and actions are told of it. */
type Seen = { seen: ZonesSeen | null };

type Pending = Pick<Asker, 'from'> & { answer: FirewalldAnswer['type'] };

export type FirewalldEvent =
  | { type: 'hold' | 'release'; bridge: string; from: Asker['from'] }
  /** firewalld has changed its rules, has started or ended. */
  | { type: 'verify' }
  | { type: 'retry' };

export type FirewalldAnswer = { type: 'held' } | { type: 'released' };

/** For whoever watches: it has refused, for the first time in a row. */
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
    backOff: request<{ attempt: number }>('backOff'),
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
      if (event.type !== 'hold' && event.type !== 'release') return {};
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
    /** Bridges that were taken out of the zone are not remembered any more. */
    conclude: assign(({ context: { bound, plan } }) => ({
      bound: bound.filter((bridge) => !plan.remove.includes(bridge)),
    })),
    calm: assign({ fault: null, attempts: 0 }),
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
        'Enters at start. firewalld may have restarted since, or a crash left a bridge of no network with it.',
      always: [{ guard: 'concerned', target: 'looking' }, { target: 'idle' }],
    },
    idle: {
      tags: 'rest',
      description: 'The bridges are in the zone, where there is a firewalld, or with whoever put them into another.',
      entry: ['calm', 'answer'],
      on: { hold: look, release: look, verify: { guard: 'concerned', ...look } },
    },
    looking: {
      description: 'Asks firewalld, if there is one, for its zones.',
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
      description: "Puts bridges into the zone, and takes ours away that are no network's any more.",
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
        'firewalld does not answer, or refuses: `fault` says why. Networks go up and down all the same. Tried again.',
      entry: 'answer',
      always: { guard: 'unconcerned', target: 'idle' },
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: { hold: look, release: look, verify: look, retry: 'looking' },
    },
  },
});
