/**
 * A network in one outside namespace: owns its bridge and rules while containers use it, and grants its addresses.
 *
 * Guarantees:
 * - The set of leases is the set of users: the bridge is raised for the first and lowered after the last.
 * - An address has one owner, because only this machine grants it and handles one event at a time (no lock, no file).
 * - A lease is answered only when the bridge is up.
 * - Nothing of this is stored: leases are read back from the containers' snapshots at start (`adopted`).
 * - A changed definition reaches the bridge and every container, or none: if one cannot follow, all return to the old one.
 *   The definition to be reached is on disk before anything changes, in both directions. After a crash, the leases in the
 *   snapshots are compared with it, and the change is completed.
 * - A network without an MTU of its own has the MTU of the route by which traffic leaves its outside, and follows it. An
 *   unmanaged network (plan/networks/unmanaged.ts) follows its bridge, makes nothing, and needs no firewall.
 * - Parts of the bridge that others remove are restored; containers keep their links.
 * - An overlay has entries for its other hosts (`peers`) while its bridge stands, and follows when they change.
 * Limits: one machine per (outside, network); one update at a time. network-setup.ts has the guards and actions.
 */
import { holdInput, fanOutInput, raiseInput, recordInput, reviseInput } from './network-inputs.ts';
import { setupNetwork } from './network-setup.ts';
import type { BridgeSeen } from '../plan/networks/unmanaged.ts';

export type * from './network-inputs.ts';

const join = (bridge: 'up' | 'not up yet') => ({ type: 'join', params: { bridge } }) as const;

/** A container cannot follow: rolls the revision back, or tries it again if it is not to be rolled back. */
const NOT_ALL = [
  { guard: 'canTurnBack', target: 'recordingRollback', actions: ['blameError', 'turnBack'] },
  { target: 'outOfSync', actions: ['blameError', 'blameRevision'] },
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
    peers: input.peers,
    // The daemon before may have ended between hearing of them and having the kernel follow.
    repeered: input.adopted.size > 0 && input.definition.overlay !== undefined,
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
    peers: { actions: 'meet' },
  },
  states: {
    deciding: {
      description: 'Initial state. If containers in snapshots hold leases, the bridge exists and is not touched.',
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
      entry: ['measured', 'met'],
      on: {
        wayOut: { actions: ['measure', 'measured'] },
        bridge: { actions: ['measure', 'measured'] },
        peers: { actions: ['meet', 'met'] },
      },
      always: [
        { guard: 'usedUnmanaged', target: 'raising' },
        { guard: 'used', target: 'securing' },
        { guard: 'asked', actions: 'take' },
      ],
    },
    securing: {
      description: 'Holds the firewall of the outside, so that no link exists before rules can protect it.',
      invoke: {
        id: 'holdFirewall',
        src: 'holdFirewall',
        input: holdInput,
        onDone: [{ guard: 'unused', target: 'lowering' }, { target: 'raising' }],
        onError: [
          // The objects that a failed lowering left still exist.
          { guard: 'leftBehind', target: 'lowerFailed', actions: ['blameError', 'refuseWaiting'] },
          { target: 'down', actions: ['blameError', 'refuseWaiting'] },
        ],
      },
    },
    raising: {
      tags: 'standing',
      description:
        'Owns the bridge, its addresses and the rules of the network from here on. An unmanaged network owns nothing: its ' +
        'bridge is only read.',
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
      entry: ['resetAttempts', 'answerRevision', 'endRevision', 'answerWaiting'],
      always: [
        { guard: 'unused', target: 'lowering' },
        { guard: 'impossible', actions: 'refuseAsked' },
        { guard: 'asked', target: 'revising', actions: 'begin' },
        { guard: 'remeasured', target: 'revising', actions: 'tryAgain' },
        { guard: 'repeered', target: 'programming' },
      ],
      on: { join: { actions: join('up') }, drifted: 'repairing' },
    },
    programming: {
      tags: 'standing',
      description:
        'Gives the kernel the other hosts of the overlay: a route, a neighbour and a forwarding entry each. Leases are granted at once.',
      entry: 'met',
      invoke: {
        id: 'programPeers',
        src: 'programPeers',
        input: raiseInput,
        onDone: 'up',
        onError: { target: 'repairFailed', actions: 'blameError' },
      },
      on: { join: { actions: join('up') } },
    },
    revising: {
      tags: 'standing',
      description:
        'Changes the bridge to the definition on disk: MTU, gateways, rules. Leases are granted, but not answered yet.',
      invoke: {
        id: 'reviseNetwork',
        src: 'reviseNetwork',
        input: reviseInput,
        onDone: 'propagating',
        onError: NOT_ALL,
      },
    },
    propagating: {
      tags: 'standing',
      description:
        'Passes the new leases on to the containers. Leaves when each has its own, or when one cannot follow.',
      invoke: { id: 'fanOut', src: 'fanOut', input: fanOutInput, onDone: 'up', onError: NOT_ALL },
    },
    recordingRollback: {
      tags: 'standing',
      description: 'Writes the old definition to disk first, so that recovery after a crash completes the rollback.',
      invoke: {
        id: 'recordDefinition',
        src: 'recordDefinition',
        input: recordInput,
        onDone: 'reverting',
        // The containers are reverted all the same. The service reports why it could not write the file.
        onError: 'reverting',
      },
    },
    reverting: {
      tags: 'standing',
      description: 'Returns the old lease to each container that has followed.',
      invoke: {
        id: 'fanOut',
        src: 'fanOut',
        input: fanOutInput,
        onDone: 'restoring',
        onError: { target: 'restoring', actions: 'blameError' },
      },
    },
    restoring: {
      tags: 'standing',
      description: 'Changes the bridge back to the old definition. Leaves with the update refused.',
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
        'The bridge is up, but it or a container does not follow the definition: `fault` says why. Retries after a pause.',
      entry: ['countAttempt', 'answerRevision', 'answerWaiting'],
      always: [
        { guard: 'unused', target: 'lowering', actions: 'endRevision' },
        { guard: 'impossible', actions: 'refuseAsked' },
        { guard: 'asked', target: 'revising', actions: 'begin' },
        { guard: 'remeasured', target: 'revising', actions: 'tryAgain' },
      ],
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: { target: 'revising', actions: 'tryAgain' },
      },
      on: {
        join: { actions: join('up') },
        drifted: { target: 'revising', actions: 'tryAgain' },
      },
    },
    repairing: {
      tags: 'standing',
      description: 'Restores what others changed: the bridge, its addresses, its ports. Leases stay; a `join` waits.',
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
      description:
        'A part of the bridge is missing and could not be restored: `fault` says why. Retries after a pause.',
      entry: 'countAttempt',
      always: [
        { guard: 'unused', target: 'lowering' },
        { guard: 'asked', target: 'repairing' },
      ],
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: 'repairing',
      },
      on: {
        join: { target: 'repairing', actions: join('not up yet') },
        drifted: 'repairing',
      },
    },
    lowering: {
      description: 'Removes the rules and the bridge. A `join` meanwhile waits until the bridge is raised again.',
      invoke: {
        id: 'lowerNetwork',
        src: 'lowerNetwork',
        input: raiseInput,
        onDone: 'releasingFirewall',
        onError: { target: 'lowerFailed', actions: ['blameError', 'refuseWaiting'] },
      },
    },
    releasingFirewall: {
      description: 'Releases the firewall, which is removed after its last user.',
      invoke: {
        id: 'releaseFirewall',
        src: 'releaseFirewall',
        input: holdInput,
        onDone: { target: 'down', actions: 'resetAttempts' },
      },
    },
    lowerFailed: {
      tags: 'rest',
      description: 'The bridge or its rules could not be removed: `fault` says why. Retries after a pause.',
      entry: 'countAttempt',
      always: [
        { guard: 'usedUnmanaged', target: 'raising' },
        { guard: 'used', target: 'securing' },
        { guard: 'asked', actions: 'take' },
      ],
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: 'lowering',
      },
    },
  },
});
