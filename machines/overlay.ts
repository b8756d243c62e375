/**
 * This host's part in an overlay network: its share of the pool, which it holds by a lease in the store.
 *
 * Guarantees:
 * - Containers are attached only while the share is proven to be ours (`leased`): by a claim in the store, and by renewals that
 *   were answered in time. When they are not, the share is fenced first, and given up when the lease may have ended.
 * - A share that was given up comes back only by a new claim. If somebody else has it by then, the network is renumbered: its
 *   containers get addresses of the new share.
 * - Nothing here touches containers that run, but a renumbering: whatever the store does, they keep their local traffic, and the
 *   peers that were known last.
 * - The peers are data: what is known of them is in the context, and the service hands it on.
 * Limits: the clock is in the effects (effects/overlay/keep.ts; docs/decisions/0073), which say `late` and `expired`. Nothing of this is stored: the
 * definition of the network has the shares, and the store has the claim.
 */
import { assign, setup } from 'xstate';
import type { Fault } from '../state/faults.ts';
import type { OverlayShared, Peer } from '../state/overlay.ts';
import { effect, faultOf } from './contract.ts';

/** A share as it was claimed: with the leases that it ends with. */
export interface Held {
  subnets: readonly string[];
  /** The lease of the claim, and the longer one that keeps the share at rest after it. */
  lease: string;
  restLease: string;
  /** The revision of the store that the claim has made. */
  revision: number;
  /** When the last renewal that was answered was sent, on the clock of leases. */
  provenAt: number;
}

export interface OverlayInput {
  shared: OverlayShared;
  host: string;
  /** The shares in the definition of the network; none before the first claim. */
  subnets: readonly string[];
}

interface OverlayContext extends OverlayInput {
  /** Null until the share is claimed, and after it was given up. */
  held: Held | null;
  peers: readonly Peer[];
  fault: Fault | null;
  attempts: number;
}

export interface ClaimInput extends OverlayInput {}
/** `copied`: the claim is renewed by somebody else who has our id. This host is a copy of that one, or that one of this. */
export type ClaimOutput = { held: Held } | { copied: true };

export interface KeepInput {
  network: string;
  held: Held;
}

/** late: no renewal was answered in time. lost: the store has no such lease, or not with our claim. */
export type KeepOutput = { outcome: 'late' | 'lost'; provenAt: number };
export type RegainOutput = { outcome: 'renewed' | 'expired'; provenAt: number };

export interface RenumberInput {
  network: string;
  subnets: readonly string[];
}

export interface ReleaseInput {
  network: string;
  held: Held | null;
}

export type OverlayEvent =
  /** The other hosts have changed. */
  | { type: 'peers'; peers: readonly Peer[] }
  /** The network's definition has these shares now. */
  | { type: 'recorded'; subnets: readonly string[] }
  /** The store shows our share without our claim. */
  | { type: 'dispossessed' }
  /** The network is removed from this host. */
  | { type: 'release' };

type Claimed = { output: ClaimOutput };
type Ended = { output: KeepOutput | RegainOutput };
const claimed = ({ event }: { event: Claimed }): Claimed => event;
const ended = ({ event }: { event: Ended }): Ended => event;

const keepInput = ({ context: { shared, held } }: { context: OverlayContext }): KeepInput => {
  if (held === null) throw new Error('there is no share to keep');
  return { network: shared.name, held };
};

const setupOverlay = setup({
  types: {
    context: {} as OverlayContext,
    input: {} as OverlayInput,
    events: {} as OverlayEvent,
    /** open: containers may be attached. */
    tags: {} as 'rest' | 'open',
  },
  actors: {
    claimShare: effect<ClaimOutput, ClaimInput>('claimShare'),
    /** Resolves with the id that this host has from now on. */
    renewIdentity: effect<string, { host: string }>('renewIdentity'),
    keepShare: effect<KeepOutput, KeepInput>('keepShare'),
    regainShare: effect<RegainOutput, KeepInput>('regainShare'),
    renumber: effect<void, RenumberInput>('renumber'),
    releaseShare: effect<void, ReleaseInput>('releaseShare'),
    backOff: effect<void, { attempt: number }>('backOff'),
  },
  guards: {
    copied: (_, { output }: Claimed) => 'copied' in output,
    /** The network has the addresses of another share. Before the first claim it has none, and its maker records them. */
    moved: ({ context: { held, subnets } }) =>
      held !== null && subnets.length > 0 && held.subnets.toSorted().join() !== subnets.toSorted().join(),
    late: (_, { output }: Ended) => output.outcome === 'late',
    renewed: (_, { output }: Ended) => output.outcome === 'renewed',
  },
  actions: {
    hold: assign((_, { output }: Claimed) => ('held' in output ? { held: output.held, fault: null, attempts: 0 } : {})),
    prove: assign(({ context: { held } }, { output: { provenAt } }: Ended) => ({
      held: held === null ? null : { ...held, provenAt },
    })),
    trust: assign({ fault: null, attempts: 0 }),
    blameStore: assign(({ context: { shared } }) => ({
      fault: {
        code: 'OVERLAY_FENCED' as const,
        message: `etcd has not renewed the share of network ${shared.name} in time: containers are not attached to it until it has`,
      },
    })),
    blameLoss: assign(({ context: { shared, held } }) => ({
      held: null,
      fault: {
        code: 'OVERLAY_FENCED' as const,
        message: `the share ${held?.subnets.join(', ') ?? ''} of network ${shared.name} is not held any more: it is claimed again`,
      },
    })),
    blame: assign(({ context, event }) => ({
      fault: faultOf('error' in event ? event.error : undefined),
      attempts: context.attempts + 1,
    })),
    /** The network has the shares that are held, whether its definition said so before or not. */
    follow: assign({ subnets: ({ context: { held, subnets } }) => held?.subnets ?? subnets }),
    becomeAnother: assign({ host: (_, { output }: { output: string }) => output }),
    meet: assign({ peers: (_, { peers }: { peers: readonly Peer[] }) => peers }),
    record: assign({ subnets: (_, { subnets }: { subnets: readonly string[] }) => subnets }),
  },
});

export const overlayMachine = setupOverlay.createMachine({
  id: 'overlay',
  options: { maxIterations: 50 },
  context: ({ input }) => ({ ...input, held: null, peers: [], fault: null, attempts: 0 }),
  initial: 'claiming',
  on: {
    peers: { actions: { type: 'meet', params: ({ event }) => event } },
    recorded: { actions: { type: 'record', params: ({ event }) => event } },
    release: '.releasing',
  },
  states: {
    claiming: {
      description:
        'Claims the share that the network has, in the store; if another host has it, or there is none, a free one. A claim of our ' +
        'own from before a restart is taken over; one of an earlier life of this machine has to end first.',
      invoke: {
        id: 'claimShare',
        src: 'claimShare',
        input: ({ context: { shared, host, subnets } }) => ({ shared, host, subnets }),
        onDone: [
          { guard: { type: 'copied', params: claimed }, target: 'identifying' },
          { target: 'holding', actions: { type: 'hold', params: claimed } },
        ],
        onError: { target: 'unclaimed', actions: 'blame' },
      },
    },
    identifying: {
      description: 'Another host with our id renews our claim: one is a copy of the other. Takes a new id.',
      invoke: {
        id: 'renewIdentity',
        src: 'renewIdentity',
        input: ({ context: { host } }) => ({ host }),
        onDone: {
          target: 'claiming',
          actions: { type: 'becomeAnother', params: ({ event: { output } }) => ({ output }) },
        },
        onError: { target: 'unclaimed', actions: 'blame' },
      },
    },
    unclaimed: {
      tags: 'rest',
      description: 'There is no share: `fault` says why. Nothing is attached. Retries after a pause.',
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: 'claiming',
      },
    },
    holding: {
      description: 'The share is ours in the store, and the lease is renewed.',
      invoke: {
        id: 'keepShare',
        src: 'keepShare',
        input: keepInput,
        onDone: [
          {
            guard: { type: 'late', params: ended },
            target: 'fenced',
            actions: [{ type: 'prove', params: ended }, 'blameStore'],
          },
          { target: 'claiming', actions: 'blameLoss' },
        ],
        onError: { target: 'claiming', actions: 'blameLoss' },
      },
      on: { dispossessed: { target: 'claiming', actions: 'blameLoss' } },
      initial: 'leased',
      states: {
        leased: {
          tags: ['rest', 'open'],
          description: 'Containers are attached. Leaves when a renewal is late, or the claim is of another share.',
          entry: 'trust',
          always: { guard: 'moved', target: 'renumbering' },
        },
        renumbering: {
          description: 'Gives the network the addresses of the new share, and with it all its containers.',
          invoke: {
            id: 'renumber',
            src: 'renumber',
            input: ({ context: { shared, held } }) => ({ network: shared.name, subnets: held?.subnets ?? [] }),
            onDone: { target: 'leased', actions: 'follow' },
            onError: { target: 'renumberFailed', actions: 'blame' },
          },
        },
        renumberFailed: {
          tags: 'rest',
          description:
            'The network has the addresses of a share that is not ours: `fault` says why. Retries after a pause.',
          invoke: {
            id: 'backOff',
            src: 'backOff',
            input: ({ context }) => ({ attempt: context.attempts }),
            onDone: 'renumbering',
          },
        },
      },
    },
    fenced: {
      tags: 'rest',
      description:
        'No renewal was answered in time: nothing is attached, and what runs goes on. Leaves with a renewal, or when the lease may ' +
        'have ended.',
      invoke: {
        id: 'regainShare',
        src: 'regainShare',
        input: keepInput,
        onDone: [
          {
            guard: { type: 'renewed', params: ended },
            target: 'holding',
            actions: { type: 'prove', params: ended },
          },
          { target: 'claiming', actions: 'blameLoss' },
        ],
        onError: { target: 'claiming', actions: 'blameLoss' },
      },
      on: { dispossessed: { target: 'claiming', actions: 'blameLoss' } },
    },
    releasing: {
      description:
        'Gives the share back, which rests then. What cannot be given back ends with its lease, which nobody renews.',
      invoke: {
        id: 'releaseShare',
        src: 'releaseShare',
        input: ({ context: { shared, held } }) => ({ network: shared.name, held }),
        onDone: 'released',
        onError: { target: 'released', actions: 'blame' },
      },
    },
    released: {
      tags: 'rest',
      description: 'This host has no part in the overlay any more.',
      on: { release: {}, peers: {}, recorded: {} },
    },
  },
});
