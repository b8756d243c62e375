/**
 * A network in one outside namespace: its bridge and rules while anyone uses it, and the one who grants its addresses.
 *
 * Guarantees: the set of leases is the set of users: the bridge is raised for the first and lowered after the last; an
 * address has one owner, because this machine alone grants them and handles one event at a time (no lock, no file).
 * A lease is answered only when the bridge is up. Nothing of this is stored: leases are read back from the containers'
 * snapshots at start (`adopted`).
 * A changed definition reaches the bridge and every container, or none: when one cannot follow, all go back. The
 * definition that is worked towards is on disk before anything changes, in both directions; after a crash the leases in
 * the snapshots are compared with it, and the rest of the way is gone then.
 * A network without an MTU of its own has that of the way out of its outside, and follows it. One on a bridge of others
 * (plan/unmanaged.ts) follows that bridge, makes nothing, and needs no firewall.
 * What others take from the bridge is put back under the containers, which do not notice.
 * Limits: one machine per (outside, network); one update at a time. What its words do is network-setup.ts.
 */
import { holdInput, fanOutInput, raiseInput, recordInput, reviseInput } from './network-inputs.ts';
import { setupNetwork } from './network-setup.ts';
import type { BridgeSeen } from './plan/unmanaged.ts';

export type * from './network-inputs.ts';
export type * from './network-setup.ts';

const join = (bridge: 'up' | 'not up yet') => ({ type: 'join', params: { bridge } }) as const;

/** Somebody cannot follow: all go back, or, where there is no way back, this one is asked again. */
const notAll = (blame: 'blameError' | 'blameRefusal') =>
  [
    { guard: 'canTurnBack', target: 'recordingRollback', actions: [blame, 'turnBack'] },
    { target: 'outOfSync', actions: [blame, 'blameRevision'] },
  ] as const;

const seen = {
  type: 'see',
  params: ({ event }: { event: { output: BridgeSeen | null } }) => ({ bridge: event.output }),
} as const;

export const networkMachine = setupNetwork.createMachine({
  id: 'network',
  options: { maxIterations: 50 },
  context: ({ input }) => ({
    definition: input.definition,
    previous: input.previous,
    outside: input.outside,
    wayOut: input.wayOut,
    bridge: input.bridge,
    remeasured: false,
    leases: input.adopted,
    cursors: {},
    waiting: [],
    asked: null,
    revision: null,
    recovering: input.recovering,
    fault: null,
    attempts: 0,
  }),
  initial: 'deciding',
  on: {
    join: { actions: join('not up yet') },
    leave: { actions: 'leave' },
    update: { actions: 'ask' },
    wayOut: { actions: 'measure' },
    bridge: { actions: 'measure' },
  },
  states: {
    deciding: {
      description: 'Enters at start. Containers in snapshots hold leases: the bridge is there, and is not touched.',
      always: [
        { guard: 'interruptedInVain', target: 'recordingRollback', actions: 'turnBack' },
        { guard: 'outdated', target: 'revising', actions: 'beginByItself' },
        { guard: 'used', target: 'up' },
        { guard: 'recovering', target: 'lowering' },
        { target: 'down' },
      ],
    },
    down: {
      tags: 'rest',
      description: 'Owns nothing in the kernel. Leaves when the first container joins.',
      entry: 'measured',
      on: { wayOut: { actions: ['measure', 'measured'] }, bridge: { actions: ['measure', 'measured'] } },
      always: [
        { guard: 'usedUnmanaged', target: 'raising' },
        { guard: 'used', target: 'securing' },
        { guard: 'asked', actions: 'take' },
      ],
    },
    securing: {
      description: 'Asks for the firewall of the outside: no link is made before the rules that guard it can be.',
      invoke: { id: 'holdFirewall', src: 'holdFirewall', input: holdInput },
      on: {
        held: [{ guard: 'unused', target: 'lowering' }, { target: 'raising' }],
        refused: [
          // What a failed lowering left is still there.
          { guard: 'leftBehind', target: 'lowerFailed', actions: ['blameRefusal', 'refuseWaiting'] },
          { target: 'down', actions: ['blameRefusal', 'refuseWaiting'] },
        ],
      },
    },
    raising: {
      tags: 'standing',
      description:
        'Owns the bridge, its addresses and the rules of the network from here on; of an unmanaged network nothing: it ' +
        'looks at the bridge that others made.',
      invoke: {
        id: 'raiseNetwork',
        src: 'raiseNetwork',
        input: raiseInput,
        onDone: { target: 'up', actions: seen },
        onError: { target: 'lowering', actions: ['blameError', 'refuseWaiting'] },
      },
    },
    up: {
      tags: ['rest', 'standing'],
      description: 'The bridge is up; leases are granted at once. Leaves when the last container has left.',
      entry: ['calm', 'answerRevision', 'endRevision', 'answerWaiting'],
      always: [
        { guard: 'unused', target: 'lowering' },
        { guard: 'impossible', actions: 'refuseAsked' },
        { guard: 'asked', target: 'revising', actions: 'begin' },
        { guard: 'remeasured', target: 'revising', actions: 'tryAgain' },
      ],
      on: { join: { actions: join('up') }, drifted: 'repairing' },
    },
    revising: {
      tags: 'standing',
      description:
        'The bridge becomes what the definition on disk says: MTU, gateways, rules. Joins are granted, and wait.',
      invoke: {
        id: 'reviseNetwork',
        src: 'reviseNetwork',
        input: reviseInput,
        onDone: 'propagating',
        onError: notAll('blameError'),
      },
    },
    propagating: {
      tags: 'standing',
      description: 'Each container gets its new lease. Leaves when all of them have it, or one cannot follow.',
      invoke: { id: 'fanOut', src: 'fanOut', input: fanOutInput },
      on: { followed: 'up', stuck: notAll('blameRefusal') },
    },
    recordingRollback: {
      tags: 'standing',
      description: 'Writes the old definition back first: from here on a crash ends with all as they were.',
      invoke: {
        id: 'recordDefinition',
        src: 'recordDefinition',
        input: recordInput,
        onDone: 'reverting',
        // Containers are set right all the same; the service says why its file could not be written.
        onError: 'reverting',
      },
    },
    reverting: {
      tags: 'standing',
      description: 'Containers that had followed get their old lease back.',
      invoke: { id: 'fanOut', src: 'fanOut', input: fanOutInput },
      on: { followed: 'restoring', stuck: { target: 'restoring', actions: 'blameRefusal' } },
    },
    restoring: {
      tags: 'standing',
      description: 'The bridge goes back to the old definition. Leaves with the update refused.',
      invoke: {
        id: 'reviseNetwork',
        src: 'reviseNetwork',
        input: reviseInput,
        onDone: [{ guard: 'turnedBackBadly', target: 'outOfSync' }, { target: 'up' }],
        onError: { target: 'outOfSync', actions: 'blameError' },
      },
    },
    outOfSync: {
      tags: ['rest', 'standing'],
      description:
        'Up, but bridge or containers are not all as the definition says: `fault` says why. Tried again by itself.',
      entry: ['countAttempt', 'answerRevision', 'answerWaiting'],
      always: [
        { guard: 'unused', target: 'lowering', actions: 'endRevision' },
        { guard: 'impossible', actions: 'refuseAsked' },
        { guard: 'asked', target: 'revising', actions: 'begin' },
        { guard: 'remeasured', target: 'revising', actions: 'tryAgain' },
      ],
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: {
        join: { actions: join('up') },
        retry: { target: 'revising', actions: 'tryAgain' },
        drifted: { target: 'revising', actions: 'tryAgain' },
      },
    },
    repairing: {
      tags: 'standing',
      description: 'Puts back what others took: the bridge, its addresses, its ports. Leases stay; joins wait.',
      invoke: {
        id: 'repairNetwork',
        src: 'repairNetwork',
        input: raiseInput,
        onDone: 'up',
        onError: { target: 'repairFailed', actions: ['blameError', 'refuseWaiting', 'refuseAsked'] },
      },
    },
    repairFailed: {
      tags: ['rest', 'standing'],
      description: 'Something of the bridge is missing and could not be put back: `fault`. Tried again by itself.',
      entry: 'countAttempt',
      always: [
        { guard: 'unused', target: 'lowering' },
        { guard: 'asked', target: 'repairing' },
      ],
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: {
        join: { target: 'repairing', actions: join('not up yet') },
        retry: 'repairing',
        drifted: 'repairing',
      },
    },
    lowering: {
      description: 'Takes rules and bridge away. A container that joins meanwhile waits for the next raising.',
      invoke: {
        id: 'lowerNetwork',
        src: 'lowerNetwork',
        input: raiseInput,
        onDone: 'releasingFirewall',
        onError: { target: 'lowerFailed', actions: ['blameError', 'refuseWaiting'] },
      },
    },
    releasingFirewall: {
      description: 'Gives the firewall back; with its last user the firewall goes too.',
      invoke: { id: 'releaseFirewall', src: 'releaseFirewall', input: holdInput },
      on: { released: { target: 'down', actions: 'calm' } },
    },
    lowerFailed: {
      tags: 'rest',
      description: 'The bridge or its rules could not be taken away: `fault` says why. Tried again by itself.',
      entry: 'countAttempt',
      always: [
        { guard: 'usedUnmanaged', target: 'raising' },
        { guard: 'used', target: 'securing' },
        { guard: 'asked', actions: 'take' },
      ],
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: { retry: 'lowering' },
    },
  },
});
