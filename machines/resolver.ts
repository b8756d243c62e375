/**
 * Names in one outside namespace, by owner and network, and the server that answers for them.
 *
 * Guarantees:
 * - A registration is answered `named` only when the server was seen to answer with the container's address, to a query from
 *   the container's own namespace. Otherwise it is refused and removed again.
 * - Requests during a round (write, reload, query) wait for the next one, which serves them together.
 * - `unregister` is answered at once, so a server that cannot be reloaded stops no teardown. The reload follows as soon as
 *   possible.
 * - A server that ends is restarted with all its names: at once if a request waits, otherwise after pauses that grow.
 * - Nothing of this is stored: names are read back from the containers' snapshots at start (`adopted`).
 * - Names of containers on other hosts of an overlay are data, which the service hands over (`remote`).
 * Over 400 lines because requests, rounds and the server are one conversation.
 * Limits: after a round without a registration, the server is reloaded but not queried.
 */
import { assign, assertEvent, enqueueActions, setup } from 'xstate';
import type { Fault } from '../state/faults.ts';
import { effect, faultOf, type Requester } from './contract.ts';
import {
  agreed,
  termsOf,
  withEntries,
  withoutNetworks,
  zonesOf,
  type NameEntry,
  type Names,
  type RemoteEntry,
  type RemoteZones,
  type Zone,
} from '../plan/names/names.ts';
import { containerIdOf } from '../plan/owner.ts';

export interface ResolverInput {
  outside: string | null;
  /** Names of the containers in snapshots, by owner. Their files and the server exist, or are about to. */
  adopted: Names;
  /** The names that containers on other hosts have. */
  remote?: RemoteZones;
  /** True if a crash may have left a server although no names are left: it is then stopped. */
  recovering: boolean;
}

/** A request that is answered at the end of a round, with the data to undo it if the round fails. */
type Pending = Requester &
  ({ kind: 'register'; entries: readonly NameEntry[] } | { kind: 'revise'; network: string; before: Terms });

type Terms = Pick<NameEntry, 'listen' | 'servers'>;

interface ResolverContext {
  outside: string | null;
  names: Names;
  /** The names of other hosts, which are verified by nobody here. */
  remote: RemoteZones;
  waiting: readonly Pending[];
  /** The requests that the round under way serves. */
  round: readonly Pending[];
  /** True if the files may differ from `names`. */
  dirty: boolean;
  /** True if the server may not have read the present files or the present resolv.conf of the host. */
  reload: boolean;
  /** True if the server has ended since this round began. */
  died: boolean;
  fault: Fault | null;
  attempts: number;
}

export type ResolverEvent =
  | ({ type: 'register'; networks: readonly NameEntry[] } & Requester)
  | ({ type: 'unregister'; networks: readonly string[] } & Requester)
  | ({ type: 'revise'; network: string } & Terms & Requester)
  /** Other hosts answer for these containers of a network now. */
  | { type: 'remote'; network: string; entries: readonly RemoteEntry[] }
  /** The host's resolv.conf changed, or a gateway address has come back. */
  | { type: 'refresh' }
  | { type: 'resolver.exited' };

export type ResolverAnswer =
  { type: 'named' } | { type: 'refused'; fault: Fault } | { type: 'unnamed' } | { type: 'revised'; network: string };

/** Inputs of the requests `name` and `unname` (effects/ask.ts). */
export interface NameInput {
  owner: string;
  outside: string | null;
  entries: readonly NameEntry[];
}
export interface UnnameInput {
  owner: string;
  outside: string | null;
  networks: readonly string[];
}

export interface WriteInput {
  outside: string | null;
  zones: readonly Zone[];
}
export interface AskInput {
  outside: string | null;
  entries: readonly ({ owner: string } & NameEntry)[];
}
/** The owners whose names were not answered rightly, and the answer that the server gave instead. */
export interface AskOutput {
  silent: readonly { owner: string; said: string }[];
}

const setupResolver = setup({
  types: {
    context: {} as ResolverContext,
    input: {} as ResolverInput,
    events: {} as ResolverEvent,
    tags: {} as 'rest',
  },
  actors: {
    writeZones: effect<{ changed: boolean }, WriteInput>('writeZones'),
    ensureResolver: effect<void, { outside: string | null; reload: boolean }>('ensureResolver'),
    askNames: effect<AskOutput, AskInput>('askNames'),
    stopResolver: effect<void, { outside: string | null }>('stopResolver'),
    backOff: effect<void, { attempt: number }>('backOff'),
  },
  guards: {
    used: ({ context }) => Object.keys(context.names).length > 0,
    unused: ({ context }) => Object.keys(context.names).length === 0,
    recovering: (_, { recovering }: { recovering: boolean }) => recovering,
    dirty: ({ context }) => context.dirty,
    died: ({ context }) => context.died,
    awaited: ({ context }) => context.waiting.length > 0,
    nothingToAsk: ({ context }) => context.round.every(({ kind }) => kind !== 'register'),
    faltered: ({ context }) => context.attempts > 0,
  },
  actions: {
    blameError: assign({ fault: ({ event }) => faultOf('error' in event ? event.error : undefined) }),
    blameExit: assign({ fault: { code: 'DNS_FAILED', message: 'aardvark-dns ended' } }),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
    resetAttempts: assign({ attempts: 0, fault: null }),
    noteExit: assign({ died: true }),
    refresh: assign({ dirty: true, reload: true }),
    beginRound: assign({
      round: ({ context }) => [...context.round, ...context.waiting],
      waiting: [],
      dirty: false,
      died: false,
    }),
    told: assign({ reload: false }),
    hearOf: assign(({ context }, { network, entries }: { network: string; entries: readonly RemoteEntry[] }) => ({
      remote: { ...context.remote, [network]: entries },
      dirty: context.dirty || termsOf(context.names, network) !== null,
    })),
    unregister: enqueueActions(({ context, event, enqueue }) => {
      assertEvent(event, 'unregister');
      const { owner, networks, from } = event;
      enqueue.sendTo(from, { type: 'unnamed' } satisfies ResolverAnswer);
      // A release of leases unregisters names as well. Most of them are unregistered before.
      if (!(context.names[owner] ?? []).some(({ network }) => networks.includes(network))) return;
      enqueue.assign({
        names: withoutNetworks(context.names, owner, networks),
        waiting: without(context.waiting, owner, networks),
        round: without(context.round, owner, networks),
        dirty: true,
      });
    }),
    register: enqueueActions(({ context, event, enqueue }) => {
      assertEvent(event, 'register');
      const { owner, networks: entries, from } = event;
      if (entries.length === 0) return enqueue.sendTo(from, { type: 'named' } satisfies ResolverAnswer);
      enqueue.assign({
        names: withEntries(context.names, owner, entries),
        waiting: [...others(context.waiting, from), { kind: 'register', owner, from, entries }],
        dirty: true,
      });
    }),
    revise: enqueueActions(({ context, event, enqueue }) => {
      assertEvent(event, 'revise');
      const { owner, network, listen, servers, from } = event;
      const before = termsOf(context.names, network);
      if (before === null) return enqueue.sendTo(from, { type: 'revised', network } satisfies ResolverAnswer);
      enqueue.assign({
        names: agreed(context.names, network, { listen, servers }),
        waiting: [...others(context.waiting, from), { kind: 'revise', owner, from, network, before }],
        dirty: true,
      });
    }),
    /** Refuses the registrations whose names the server does not answer. All other requests of the round succeed. */
    answerRound: enqueueActions(({ context, event, enqueue }) => {
      const { silent } = ('output' in event ? (event.output as AskOutput | undefined) : undefined) ?? { silent: [] };
      const lost: Pending[] = [];
      for (const pending of context.round) {
        const said =
          pending.kind === 'register' ? silent.find(({ owner }) => owner === pending.owner)?.said : undefined;
        if (said === undefined) {
          enqueue.sendTo(pending.from, success(pending));
        } else {
          lost.push(pending);
          enqueue.sendTo(pending.from, {
            type: 'refused',
            fault: {
              code: 'DNS_FAILED',
              message: `the resolver does not answer for ${containerIdOf(pending.owner)}: ${said}`,
            },
          } satisfies ResolverAnswer);
        }
      }
      const dirty = context.dirty || lost.length > 0;
      enqueue.assign({ round: [], names: undone(context, lost), dirty, fault: null });
    }),
    refuseRound: enqueueActions(({ context, enqueue }) => {
      const fault = context.fault ?? { code: 'DNS_FAILED' as const, message: 'the resolver could not be started' };
      for (const { from } of context.round) enqueue.sendTo(from, { type: 'refused', fault } satisfies ResolverAnswer);
      const refused = context.round.length > 0;
      enqueue.assign({ round: [], names: undone(context, context.round), dirty: context.dirty || refused });
    }),
    /** Answers waiting requests if there are no names left to revise. */
    answerMoot: enqueueActions(({ context, enqueue }) => {
      if (Object.keys(context.names).length > 0) return;
      for (const pending of context.waiting) enqueue.sendTo(pending.from, success(pending));
      enqueue.assign({ waiting: [] });
    }),
    putBackRound: assign({ waiting: ({ context }) => [...context.round, ...context.waiting], round: [] }),
  },
});

function success(pending: Pending): ResolverAnswer {
  return pending.kind === 'register' ? { type: 'named' } : { type: 'revised', network: pending.network };
}

/** Drops an earlier request of the same sender, so that it is answered once. */
function others(waiting: readonly Pending[], from: Requester['from']): Pending[] {
  return waiting.filter((pending) => pending.from !== from);
}

/** Returns the names without the changes of these requests, except names that a waiting request registers again. */
function undone({ names, waiting }: ResolverContext, lost: readonly Pending[]): Names {
  return lost.reduce((now, pending) => {
    if (pending.kind === 'revise') return agreed(now, pending.network, pending.before);
    const again = waiting.flatMap((other) =>
      other.kind === 'register' && other.owner === pending.owner ? other.entries.map(({ network }) => network) : [],
    );
    const networks = pending.entries.map(({ network }) => network).filter((network) => !again.includes(network));
    return withoutNetworks(now, pending.owner, networks);
  }, names);
}

/** Removes the unregistered names from pending registrations, and registrations that have none left. */
function without(pending: readonly Pending[], owner: string, networks: readonly string[]): Pending[] {
  return pending.flatMap((each): Pending[] => {
    if (each.kind !== 'register' || each.owner !== owner) return [each];
    const entries = each.entries.filter(({ network }) => !networks.includes(network));
    return entries.length > 0 ? [{ ...each, entries }] : [];
  });
}

const outsideOf = ({ context }: { context: ResolverContext }) => ({ outside: context.outside });

/** The transitions that leave a state in which the server serves. */
const onwards = [
  { guard: 'unused', target: 'stopping' },
  { guard: 'died', target: 'restarting', actions: 'blameExit' },
  { guard: 'dirty', target: 'writing' },
] as const;

export const resolverMachine = setupResolver.createMachine({
  id: 'resolver',
  options: { maxIterations: 50 },
  context: ({ input }) => ({
    outside: input.outside,
    names: input.adopted,
    remote: input.remote ?? {},
    waiting: [],
    round: [],
    dirty: false,
    reload: input.recovering,
    died: false,
    fault: null,
    attempts: 0,
  }),
  initial: 'deciding',
  on: {
    register: { actions: 'register' },
    unregister: { actions: 'unregister' },
    revise: { actions: 'revise' },
    refresh: { actions: 'refresh' },
    remote: { actions: { type: 'hearOf', params: ({ event }) => event } },
    'resolver.exited': { actions: 'noteExit' },
  },
  states: {
    deciding: {
      description:
        'Initial state. If containers in snapshots have names, the files and the server are made sure of at once.',
      always: [
        { guard: 'used', target: 'writing' },
        {
          guard: { type: 'recovering', params: ({ context }) => ({ recovering: context.reload }) },
          target: 'stopping',
        },
        { target: 'idle' },
      ],
    },
    idle: {
      tags: 'rest',
      description: 'No names, no files, no process. Leaves when the first container registers.',
      entry: ['resetAttempts', 'answerMoot'],
      always: { guard: 'used', target: 'writing' },
    },
    writing: {
      description: 'Owns the zone files from here on. A registration from now on waits for the next round.',
      entry: 'beginRound',
      invoke: {
        id: 'writeZones',
        src: 'writeZones',
        input: ({ context }) => ({ outside: context.outside, zones: zonesOf(context.names, context.remote) }),
        onDone: {
          target: 'starting',
          actions: assign({ reload: ({ context, event }) => context.reload || event.output.changed }),
        },
        onError: { target: 'restarting', actions: ['blameError', 'refuseRound'] },
      },
    },
    starting: {
      description: 'Starts the server, or finds it running and has it read its files again.',
      invoke: {
        id: 'ensureResolver',
        src: 'ensureResolver',
        input: ({ context }) => ({ outside: context.outside, reload: context.reload }),
        onDone: [
          { guard: 'nothingToAsk', target: 'serving', actions: ['told', 'answerRound'] },
          { target: 'asking', actions: 'told' },
        ],
        onError: { target: 'restarting', actions: ['blameError', 'refuseRound'] },
      },
    },
    asking: {
      description:
        'Queries each new name, as its container would, until the answer is right or the deadline has passed.',
      invoke: {
        id: 'askNames',
        src: 'askNames',
        input: ({ context }) => ({
          outside: context.outside,
          entries: context.round.flatMap((pending) =>
            pending.kind === 'register' ? pending.entries.map((entry) => ({ owner: pending.owner, ...entry })) : [],
          ),
        }),
        onDone: { target: 'serving', actions: 'answerRound' },
        onError: { target: 'serving', actions: ['blameError', 'refuseRound'] },
      },
      on: {
        'resolver.exited': [
          // The first end leads to a restart with the same requests. If the server ends again, they are refused.
          { guard: 'faltered', target: 'restarting', actions: ['blameExit', 'refuseRound'] },
          { target: 'restarting', actions: 'putBackRound' },
        ],
      },
    },
    serving: {
      tags: 'rest',
      description: 'The server answers every name. Leaves when names come or go, or when the server ends.',
      always: [...onwards, { guard: 'faltered', target: 'steadying' }],
    },
    steadying: {
      tags: 'rest',
      description:
        'The server answers again after a failure. The failure is forgotten after a minute without another one.',
      always: onwards,
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: { attempt: 7 },
        onDone: { target: 'serving', actions: 'resetAttempts' },
      },
    },
    restarting: {
      tags: 'rest',
      description:
        'The server does not answer names: `fault` says why. Retries after a pause, or at once for a waiting request.',
      entry: 'countAttempt',
      always: [
        { guard: 'unused', target: 'stopping' },
        { guard: 'awaited', target: 'writing' },
      ],
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: 'writing',
      },
    },
    stopping: {
      description: 'Ends the server and removes the files. A registration meanwhile waits.',
      entry: 'answerMoot',
      invoke: {
        id: 'stopResolver',
        src: 'stopResolver',
        input: outsideOf,
        onDone: 'idle',
        onError: { target: 'stopFailed', actions: 'blameError' },
      },
    },
    stopFailed: {
      tags: 'rest',
      description: 'The server could not be ended, or its files not removed: `fault` says why. Retries after a pause.',
      entry: ['countAttempt', 'answerMoot'],
      always: { guard: 'used', target: 'writing' },
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: 'stopping',
      },
    },
  },
});
