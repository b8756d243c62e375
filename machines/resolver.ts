/**
 * Names in one outside namespace: who has which on which network, and the server that answers for them.
 *
 * Guarantees: a registration is answered `named` only when the server was seen to answer, from the container's own
 * namespace, with the container's address; otherwise it is refused and taken out again. Those that come while a round
 * (write, tell, ask) is under way wait for the next one and are served together. Taking out is answered at once: a
 * server that cannot be told stops no teardown, and is told as soon as it can be. Should the server end, it is started
 * again with all its names, at once if somebody waits, else after pauses that grow. Nothing of this is stored: names are
 * read back from the containers' snapshots at start (`adopted`).
 * Limits: what a round without a registration wrote is told to the server, not verified.
 */
import { assign, enqueueActions, setup } from 'xstate';
import type { Fault } from '../state/faults.ts';
import { request, effect, faultOf, type Asker } from './contract.ts';
import {
  agreed,
  termsOf,
  withEntries,
  withoutNetworks,
  zonesOf,
  type NameEntry,
  type Names,
  type Zone,
} from './plan/names.ts';
import { idOf } from './plan/ports.ts';

export interface ResolverInput {
  outside: string | null;
  /** Names of the containers in snapshots, by owner: their files and the server are there, or will be. */
  adopted: Names;
  /** A crash may have left the server of an outside without names: look, and stop it. */
  recovering: boolean;
}

/** Somebody who is answered when a round is over, and what is undone if it fails. */
type Pending = Asker &
  ({ kind: 'register'; entries: readonly NameEntry[] } | { kind: 'revise'; network: string; before: Terms });

type Terms = Pick<NameEntry, 'listen' | 'servers'>;

interface ResolverContext {
  outside: string | null;
  names: Names;
  waiting: readonly Pending[];
  /** Those whom the round under way is for. */
  round: readonly Pending[];
  /** The files may say something else than `names`. */
  dirty: boolean;
  /** The server may have read something else than the files and the host's resolv.conf say. */
  reload: boolean;
  /** The server ended since this round began. */
  died: boolean;
  fault: Fault | null;
  attempts: number;
}

export type ResolverEvent =
  | ({ type: 'register'; networks: readonly NameEntry[] } & Asker)
  | ({ type: 'unregister'; networks: readonly string[] } & Asker)
  | ({ type: 'revise'; network: string } & Terms & Asker)
  /** The host's resolv.conf changed, or a gateway address has come back. */
  | { type: 'refresh' }
  | { type: 'resolver.exited' }
  | { type: 'retry' };

export type ResolverAnswer =
  { type: 'named' } | { type: 'refused'; fault: Fault } | { type: 'unnamed' } | { type: 'revised'; network: string };

/** Inputs of the conversations `name` and `unname` (effects/ask.ts). */
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
/** Owners that the server did not answer for, and what it answered instead. */
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
    backOff: request<{ attempt: number }>('backOff'),
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
    calm: assign({ attempts: 0, fault: null }),
    noteExit: assign({ died: true }),
    refresh: assign({ dirty: true, reload: true }),
    beginRound: assign({
      round: ({ context }) => [...context.round, ...context.waiting],
      waiting: [],
      dirty: false,
      died: false,
    }),
    told: assign({ reload: false }),
    unregister: enqueueActions(({ context, event, enqueue }) => {
      if (event.type !== 'unregister') return;
      const { owner, networks, from } = event;
      enqueue.sendTo(from, { type: 'unnamed' } satisfies ResolverAnswer);
      // With a lease names go too, at the latest: most have gone before.
      if (!(context.names[owner] ?? []).some(({ network }) => networks.includes(network))) return;
      enqueue.assign({
        names: withoutNetworks(context.names, owner, networks),
        waiting: without(context.waiting, owner, networks),
        round: without(context.round, owner, networks),
        dirty: true,
      });
    }),
    register: enqueueActions(({ context, event, enqueue }) => {
      if (event.type !== 'register') return;
      const { owner, networks: entries, from } = event;
      if (entries.length === 0) return enqueue.sendTo(from, { type: 'named' } satisfies ResolverAnswer);
      enqueue.assign({
        names: withEntries(context.names, owner, entries),
        waiting: [...others(context.waiting, from), { kind: 'register', owner, from, entries }],
        dirty: true,
      });
    }),
    revise: enqueueActions(({ context, event, enqueue }) => {
      if (event.type !== 'revise') return;
      const { owner, network, listen, servers, from } = event;
      const before = termsOf(context.names, network);
      if (before === null) return enqueue.sendTo(from, { type: 'revised', network } satisfies ResolverAnswer);
      enqueue.assign({
        names: agreed(context.names, network, { listen, servers }),
        waiting: [...others(context.waiting, from), { kind: 'revise', owner, from, network, before }],
        dirty: true,
      });
    }),
    /** Of those asked about, who was not answered for is refused; all the others have what they wanted. */
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
            fault: { code: 'DNS_FAILED', message: `the resolver does not answer for ${idOf(pending.owner)}: ${said}` },
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
    /** What would be revised is gone. */
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

/** Whoever asks again is answered once. */
function others(waiting: readonly Pending[], from: Asker['from']): Pending[] {
  return waiting.filter((pending) => pending.from !== from);
}

/** The names as they were without these, except where somebody has asked for the same again meanwhile. */
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

/** Who gives a name back waits for it no longer. */
function without(pending: readonly Pending[], owner: string, networks: readonly string[]): Pending[] {
  return pending.flatMap((each): Pending[] => {
    if (each.kind !== 'register' || each.owner !== owner) return [each];
    const entries = each.entries.filter(({ network }) => !networks.includes(network));
    return entries.length > 0 ? [{ ...each, entries }] : [];
  });
}

const outsideOf = ({ context }: { context: ResolverContext }) => ({ outside: context.outside });

/** What leads on from a server that serves. */
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
    'resolver.exited': { actions: 'noteExit' },
  },
  states: {
    deciding: {
      description: 'Enters at start. Containers in snapshots have names: files and server are looked after at once.',
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
      entry: ['calm', 'answerMoot'],
      always: { guard: 'used', target: 'writing' },
    },
    writing: {
      description: 'Owns the zone files from here on. Who registers from now on waits for the next round.',
      entry: 'beginRound',
      invoke: {
        id: 'writeZones',
        src: 'writeZones',
        input: ({ context }) => ({ outside: context.outside, zones: zonesOf(context.names) }),
        onDone: {
          target: 'starting',
          actions: assign({ reload: ({ context, event }) => context.reload || event.output.changed }),
        },
        onError: { target: 'restarting', actions: ['blameError', 'refuseRound'] },
      },
    },
    starting: {
      description: 'Starts the server, or finds it and tells it to read its files again.',
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
      description: 'Asks for each new name, as its container would, until the answer is right or time is up.',
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
          // Once more at once; a server that ends a second time has nothing to say to those who wait.
          { guard: 'faltered', target: 'restarting', actions: ['blameExit', 'refuseRound'] },
          { target: 'restarting', actions: 'putBackRound' },
        ],
      },
    },
    serving: {
      tags: 'rest',
      description: 'Every name is answered for. Leaves when names come or go, or when the server ends.',
      always: [...onwards, { guard: 'faltered', target: 'steadying' }],
    },
    steadying: {
      tags: 'rest',
      description: 'Serves again after a failure. After a minute without another one it is forgotten.',
      always: onwards,
      invoke: { id: 'backOff', src: 'backOff', input: { attempt: 7 } },
      on: { retry: { target: 'serving', actions: 'calm' } },
    },
    restarting: {
      tags: 'rest',
      description: 'Names are not answered for: `fault` says why. Tried again by itself, and for whoever registers.',
      entry: 'countAttempt',
      always: [
        { guard: 'unused', target: 'stopping' },
        { guard: 'awaited', target: 'writing' },
      ],
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: { retry: 'writing' },
    },
    stopping: {
      description: 'Ends the server and removes the files. A container that registers meanwhile waits.',
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
      description: 'The server or its files could not be taken away: `fault` says why. Tried again by itself.',
      entry: ['countAttempt', 'answerMoot'],
      always: { guard: 'used', target: 'writing' },
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: { retry: 'stopping' },
    },
  },
});
