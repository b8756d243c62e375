/**
 * A network in one outside namespace: its bridge and rules while anyone uses it, and the one who grants its addresses.
 *
 * Guarantees: the set of leases is the set of users: the bridge is raised for the first and lowered after the last; an
 * address has one owner, because this machine alone grants them and handles one event at a time (no lock, no file).
 * A lease is answered only when the bridge is up. Nothing of this is stored: leases are read back from the containers'
 * snapshots at start (`adopted`).
 * Limits: the definition does not change while this runs; one machine per (outside, network).
 */
import { assign, enqueueActions, setup } from 'xstate';
import type { Lease } from '../state/container.ts';
import type { AttachmentOptions } from '../state/event.ts';
import type { Fault } from '../state/faults.ts';
import type { NetworkDefinition } from '../state/network.ts';
import { conversation, effect, faultOf, type Asker } from './contract.ts';
import { grantLease, type Cursors, type Leases } from './plan/lease.ts';

export interface NetworkInput {
  definition: NetworkDefinition;
  outside: string | null;
  /** Leases found in snapshots: their containers are attached, so the bridge is there. */
  adopted: Leases;
  /** A crash may have left the bridge of a network without users: look, and lower it. */
  recovering: boolean;
}

interface NetworkContext {
  definition: NetworkDefinition;
  outside: string | null;
  leases: Leases;
  cursors: Cursors;
  /** Who has a lease but no answer yet, because the bridge is not up. */
  waiting: readonly Asker[];
  recovering: boolean;
  fault: Fault | null;
  attempts: number;
}

export type NetworkEvent =
  | ({ type: 'join'; options: AttachmentOptions } & Asker)
  | ({ type: 'leave' } & Asker)
  | { type: 'held' }
  | { type: 'refused'; fault: Fault }
  | { type: 'released' }
  | { type: 'retry' };

export type NetworkAnswer =
  | { type: 'leased'; network: string; lease: Lease }
  | { type: 'refused'; network: string; fault: Fault }
  | { type: 'left'; network: string };

export interface RaiseInput {
  definition: NetworkDefinition;
  outside: string | null;
}

export interface HoldInput {
  network: string;
  outside: string | null;
}

const raiseInput = ({ context }: { context: NetworkContext }): RaiseInput => ({
  definition: context.definition,
  outside: context.outside,
});

const holdInput = ({ context }: { context: NetworkContext }): HoldInput => ({
  network: context.definition.name,
  outside: context.outside,
});

const setupNetwork = setup({
  types: { context: {} as NetworkContext, input: {} as NetworkInput, events: {} as NetworkEvent },
  actors: {
    raiseNetwork: effect<void, RaiseInput>('raiseNetwork'),
    lowerNetwork: effect<void, RaiseInput>('lowerNetwork'),
    holdFirewall: conversation<HoldInput>('holdFirewall'),
    releaseFirewall: conversation<HoldInput>('releaseFirewall'),
    backOff: conversation<{ attempt: number }>('backOff'),
  },
  guards: {
    used: ({ context }) => Object.keys(context.leases).length > 0,
    unused: ({ context }) => Object.keys(context.leases).length === 0,
    recovering: ({ context }) => context.recovering,
    leftBehind: ({ context }) => context.attempts > 0,
  },
  actions: {
    blameError: assign({ fault: ({ event }) => faultOf('error' in event ? event.error : undefined) }),
    blameRefusal: assign({ fault: ({ event }) => (event.type === 'refused' ? event.fault : null) }),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
    calm: assign({ attempts: 0, fault: null, recovering: false }),
    answerWaiting: enqueueActions(({ context, enqueue }) => {
      for (const { owner, from } of context.waiting) {
        const lease = context.leases[owner];
        const network = context.definition.name;
        if (lease !== undefined) enqueue.sendTo(from, { type: 'leased', network, lease } satisfies NetworkAnswer);
      }
      enqueue.assign({ waiting: [] });
    }),
    refuseWaiting: enqueueActions(({ context, enqueue }) => {
      const network = context.definition.name;
      const fault = context.fault ?? { code: 'INTERNAL' as const, message: `network ${network} could not be raised` };
      for (const { from } of context.waiting) {
        enqueue.sendTo(from, { type: 'refused', network, fault } satisfies NetworkAnswer);
      }
      const refused = new Set(context.waiting.map(({ owner }) => owner));
      const kept = Object.entries(context.leases).filter(([owner]) => !refused.has(owner));
      enqueue.assign({ waiting: [], leases: Object.fromEntries(kept) });
    }),
  },
});

/** Decide now; answer now when the bridge is up, else when it is. */
const join = (bridge: 'up' | 'not up yet') =>
  setupNetwork.enqueueActions(({ context, event, enqueue }) => {
    if (event.type !== 'join') return;
    const { owner, from } = event;
    const network = context.definition.name;
    const grant = grantLease(context.definition, context.leases, context.cursors, owner, event.options);
    if ('fault' in grant) {
      enqueue.sendTo(from, { type: 'refused', network, fault: grant.fault } satisfies NetworkAnswer);
      return;
    }
    const { lease, cursors } = grant;
    enqueue.assign({ leases: { ...context.leases, [owner]: lease }, cursors });
    if (bridge === 'up') enqueue.sendTo(from, { type: 'leased', network, lease } satisfies NetworkAnswer);
    else enqueue.assign({ waiting: [...context.waiting.filter((asker) => asker.owner !== owner), { owner, from }] });
  });

const leave = setupNetwork.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'leave') return;
  const { [event.owner]: _gone, ...leases } = context.leases;
  enqueue.assign({ leases, waiting: context.waiting.filter(({ owner }) => owner !== event.owner) });
  enqueue.sendTo(event.from, { type: 'left', network: context.definition.name } satisfies NetworkAnswer);
});

export const networkMachine = setupNetwork.createMachine({
  id: 'network',
  options: { maxIterations: 50 },
  context: ({ input }) => ({
    definition: input.definition,
    outside: input.outside,
    leases: input.adopted,
    cursors: {},
    waiting: [],
    recovering: input.recovering,
    fault: null,
    attempts: 0,
  }),
  initial: 'deciding',
  on: { join: { actions: join('not up yet') }, leave: { actions: leave } },
  states: {
    deciding: {
      description: 'Enters at start. Containers in snapshots hold leases: the bridge is there, and is not touched.',
      always: [{ guard: 'used', target: 'up' }, { guard: 'recovering', target: 'lowering' }, { target: 'down' }],
    },
    down: {
      description: 'Owns nothing in the kernel. Leaves when the first container joins.',
      always: { guard: 'used', target: 'securing' },
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
      description: 'Owns the bridge, its addresses and the rules of the network from here on.',
      invoke: {
        id: 'raiseNetwork',
        src: 'raiseNetwork',
        input: raiseInput,
        onDone: 'up',
        onError: { target: 'lowering', actions: ['blameError', 'refuseWaiting'] },
      },
    },
    up: {
      description: 'The bridge is up; leases are granted at once. Leaves when the last container has left.',
      entry: ['calm', 'answerWaiting'],
      always: { guard: 'unused', target: 'lowering' },
      on: { join: { actions: join('up') } },
    },
    lowering: {
      description: 'Takes rules and bridge away. A container that joins meanwhile waits for the next raising.',
      invoke: {
        id: 'lowerNetwork',
        src: 'lowerNetwork',
        input: raiseInput,
        onDone: 'loosening',
        onError: { target: 'lowerFailed', actions: ['blameError', 'refuseWaiting'] },
      },
    },
    loosening: {
      description: 'Gives the firewall back; with its last user the firewall goes too.',
      invoke: { id: 'releaseFirewall', src: 'releaseFirewall', input: holdInput },
      on: { released: { target: 'down', actions: 'calm' } },
    },
    lowerFailed: {
      description: 'The bridge or its rules could not be taken away: `fault` says why. Tried again by itself.',
      entry: 'countAttempt',
      always: { guard: 'used', target: 'securing' },
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: { retry: 'lowering' },
    },
  },
});
