/**
 * The words that the network's machine is written in: its context, what it is told and answers, its guards and actions.
 *
 * Guarantees: each action is one decision; what it decides with is pure (plan/lease.ts). An asker is answered once.
 * Limits: which word is said when is network.ts.
 */
import { assign, enqueueActions, setup, type AnyActorRef } from 'xstate';
import type { Lease } from '../state/container.ts';
import type { AttachmentOptions } from '../state/event.ts';
import type { Fault } from '../state/faults.ts';
import type { NetworkDefinition } from '../state/network.ts';
import { conversation, effect, faultOf, type Asker } from './contract.ts';
import { bridgeMac } from './plan/neighbours.ts';
import { follows, grantLease, reviseLeases, type Cursors, type Leases } from './plan/lease.ts';

export interface NetworkInput {
  definition: NetworkDefinition;
  /** What the definition was before an update that a crash interrupted, null when none was under way. */
  previous: NetworkDefinition | null;
  outside: string | null;
  /** Leases found in snapshots: their containers are attached, so the bridge is there. */
  adopted: Leases;
  /** A crash may have left the bridge of a network without users: look, and lower it. */
  recovering: boolean;
}

/** Another definition that was asked for. `insist`: there is no way back, who cannot follow is asked again. */
interface Update {
  definition: NetworkDefinition;
  insist: boolean;
}

/** The way from one definition to another (`context.definition`), until bridge and containers have it. */
interface Revision {
  /** What bridge and containers may still have. */
  from: NetworkDefinition;
  /** Where all go back to when one cannot follow; null: nowhere. */
  back: NetworkDefinition | null;
  asker: Asker | null;
  /** Why it is not what was asked for. */
  fault: Fault | null;
}

interface NetworkContext {
  definition: NetworkDefinition;
  previous: NetworkDefinition | null;
  outside: string | null;
  leases: Leases;
  cursors: Cursors;
  /** Who has a lease but no answer yet, because the bridge is not up. */
  waiting: readonly (Asker & { options: AttachmentOptions })[];
  /** The update to begin with as soon as nothing else is under way. */
  asked: (Asker & Update) | null;
  revision: Revision | null;
  recovering: boolean;
  fault: Fault | null;
  attempts: number;
}

export type NetworkEvent =
  | ({ type: 'join'; options: AttachmentOptions } & Asker)
  | ({ type: 'leave' } & Asker)
  | ({ type: 'update' } & Update & Asker)
  /** Others took something from the bridge. */
  | { type: 'drifted' }
  | { type: 'held' }
  | { type: 'refused'; fault: Fault }
  | { type: 'released' }
  | { type: 'followed' }
  | { type: 'stuck'; fault: Fault }
  | { type: 'retry' };

export type NetworkAnswer =
  | { type: 'leased'; network: string; lease: Lease }
  | { type: 'refused'; network: string; fault: Fault }
  | { type: 'left'; network: string }
  | { type: 'updated'; network: string };

export interface RaiseInput {
  definition: NetworkDefinition;
  /** MAC of the bridge. */
  mac: string;
  outside: string | null;
}

export interface ReviseInput {
  from: NetworkDefinition;
  to: NetworkDefinition;
  mac: string;
  outside: string | null;
}

export interface HoldInput {
  network: string;
  outside: string | null;
}

export interface FanOutInput {
  network: string;
  outside: string | null;
  leases: Leases;
}

type Args = { context: NetworkContext };

export const raiseInput = ({ context }: Args): RaiseInput => ({
  definition: context.definition,
  mac: bridgeMac(context.definition.id),
  outside: context.outside,
});

export const holdInput = ({ context }: Args): HoldInput => ({
  network: context.definition.name,
  outside: context.outside,
});

export const reviseInput = ({ context }: Args): ReviseInput => ({
  from: context.revision?.from ?? context.definition,
  to: context.definition,
  mac: bridgeMac(context.definition.id),
  outside: context.outside,
});

/** Those who wait have nothing yet that could be changed, and wait for us: not to be waited for. */
export const fanOutInput = ({ context }: Args): FanOutInput => {
  const waiting = new Set(context.waiting.map(({ owner }) => owner));
  const leases = Object.fromEntries(Object.entries(context.leases).filter(([owner]) => !waiting.has(owner)));
  return { network: context.definition.name, outside: context.outside, leases };
};

/** Everybody's lease under `definition`; unchanged where that is not possible. */
const revised = (context: NetworkContext, definition: NetworkDefinition) => {
  const plan = reviseLeases(definition, context.leases, context.cursors);
  return 'fault' in plan
    ? { fault: plan.fault, leases: context.leases, cursors: context.cursors }
    : { fault: null, ...plan };
};

const answer = (from: AnyActorRef, what: NetworkAnswer) => [from, what] as const;

/** What went wrong, as the answer to who asked for the change. Who holds it up and what the kernel said stay in it. */
const notChanged = (network: string, fault: Fault): Fault =>
  ['NETWORK_UPDATE_FAILED', 'SUBNET_FULL'].includes(fault.code)
    ? fault
    : { ...fault, code: 'NETWORK_UPDATE_FAILED', message: `network ${network} was not changed: ${fault.message}` };

const ABSENT: Fault = { code: 'INTERNAL', message: 'refused, and nobody said why' };

export const setupNetwork = setup({
  types: {
    context: {} as NetworkContext,
    input: {} as NetworkInput,
    events: {} as NetworkEvent,
    /** standing: the bridge and its rules are there, or about to be. */
    tags: {} as 'rest' | 'standing',
  },
  actors: {
    raiseNetwork: effect<void, RaiseInput>('raiseNetwork'),
    lowerNetwork: effect<void, RaiseInput>('lowerNetwork'),
    reviseNetwork: effect<void, ReviseInput>('reviseNetwork'),
    repairNetwork: effect<void, RaiseInput>('repairNetwork'),
    recordDefinition: effect<void, RaiseInput>('recordDefinition'),
    holdFirewall: conversation<HoldInput>('holdFirewall'),
    releaseFirewall: conversation<HoldInput>('releaseFirewall'),
    fanOut: conversation<FanOutInput>('fanOut'),
    backOff: conversation<{ attempt: number }>('backOff'),
  },
  guards: {
    used: ({ context }) => Object.keys(context.leases).length > 0,
    unused: ({ context }) => Object.keys(context.leases).length === 0,
    recovering: ({ context }) => context.recovering,
    leftBehind: ({ context }) => context.attempts > 0,
    asked: ({ context }) => context.asked !== null,
    impossible: ({ context }) => context.asked !== null && revised(context, context.asked.definition).fault !== null,
    /** At start: a crash interrupted an update whose definition not everybody can have. */
    interruptedInVain: ({ context }) =>
      Object.keys(context.leases).length > 0 &&
      context.previous !== null &&
      revised(context, context.definition).fault !== null,
    /** At start: not all containers have what the definition on disk says. */
    outdated: ({ context }) => {
      if (Object.keys(context.leases).length === 0) return false;
      const { fault, leases } = revised(context, context.definition);
      if (fault !== null) return false;
      const behind = ([owner, held]: [string, Lease]) => !follows(held, leases[owner] ?? held);
      return context.previous !== null || Object.entries(context.leases).some(behind);
    },
    canTurnBack: ({ context }) => (context.revision?.back ?? null) !== null,
    turnedBackBadly: ({ context }) => context.fault !== null,
  },
  actions: {
    blameError: assign({ fault: ({ event }) => faultOf('error' in event ? event.error : undefined) }),
    blameRefusal: assign({
      fault: ({ event }) => (event.type === 'refused' || event.type === 'stuck' ? event.fault : null),
    }),
    forgive: assign({ fault: null }),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
    calm: assign({ attempts: 0, fault: null, recovering: false }),

    /** Decide now; answer now when the bridge is up, else when it is. */
    join: enqueueActions(({ context, event, enqueue }, { bridge }: { bridge: 'up' | 'not up yet' }) => {
      if (event.type !== 'join') return;
      const { owner, from, options } = event;
      const network = context.definition.name;
      const grant = grantLease(context.definition, context.leases, context.cursors, owner, options);
      if ('fault' in grant) {
        enqueue.sendTo(...answer(from, { type: 'refused', network, fault: grant.fault }));
        return;
      }
      const { lease, cursors } = grant;
      enqueue.assign({ leases: { ...context.leases, [owner]: lease }, cursors });
      if (bridge === 'up') enqueue.sendTo(...answer(from, { type: 'leased', network, lease }));
      else {
        const others = context.waiting.filter((asker) => asker.owner !== owner);
        enqueue.assign({ waiting: [...others, { owner, from, options }] });
      }
    }),
    leave: enqueueActions(({ context, event, enqueue }) => {
      if (event.type !== 'leave') return;
      const { [event.owner]: _gone, ...leases } = context.leases;
      enqueue.assign({ leases, waiting: context.waiting.filter(({ owner }) => owner !== event.owner) });
      enqueue.sendTo(...answer(event.from, { type: 'left', network: context.definition.name }));
    }),
    answerWaiting: enqueueActions(({ context, enqueue }) => {
      const network = context.definition.name;
      for (const { owner, from } of context.waiting) {
        const lease = context.leases[owner];
        if (lease !== undefined) enqueue.sendTo(...answer(from, { type: 'leased', network, lease }));
      }
      enqueue.assign({ waiting: [] });
    }),
    refuseWaiting: enqueueActions(({ context, enqueue }) => {
      const network = context.definition.name;
      const fault = context.fault ?? ABSENT;
      for (const { from } of context.waiting) enqueue.sendTo(...answer(from, { type: 'refused', network, fault }));
      const refused = new Set(context.waiting.map(({ owner }) => owner));
      const kept = Object.entries(context.leases).filter(([owner]) => !refused.has(owner));
      enqueue.assign({ waiting: [], leases: Object.fromEntries(kept) });
    }),

    /** Remembered until nothing else is under way. */
    ask: enqueueActions(({ context, event, enqueue }) => {
      if (event.type !== 'update') return;
      const { definition, insist, owner, from } = event;
      if (context.asked === null && (context.revision === null || context.revision.asker === null)) {
        enqueue.assign({ asked: { definition, insist, owner, from } });
        return;
      }
      const network = context.definition.name;
      const message = `network ${network} is being changed already`;
      const fault: Fault = { code: 'NETWORK_UPDATE_FAILED', message, owner: `network ${network}` };
      enqueue.sendTo(...answer(from, { type: 'refused', network, fault }));
    }),
    /** Nothing of the network is in the kernel, and nobody has a lease: a definition is all there is to change. */
    take: enqueueActions(({ context, enqueue }) => {
      if (context.asked === null) return;
      const { definition, from } = context.asked;
      enqueue.assign({ definition, asked: null });
      enqueue.sendTo(...answer(from, { type: 'updated', network: definition.name }));
    }),
    refuseAsked: enqueueActions(({ context, enqueue }) => {
      if (context.asked === null) return;
      const { definition, from } = context.asked;
      const fault = revised(context, definition).fault ?? context.fault ?? ABSENT;
      enqueue.assign({ asked: null });
      enqueue.sendTo(...answer(from, { type: 'refused', network: definition.name, fault }));
    }),
    begin: assign(({ context }) => {
      if (context.asked === null) return {};
      const { definition, insist, owner, from } = context.asked;
      const { leases, cursors } = revised(context, definition);
      // What an earlier revision may have left on the bridge goes with this one.
      const left = context.revision?.from.subnets ?? [];
      const mine = context.definition;
      const before = { ...mine, subnets: [...mine.subnets, ...left.filter((old) => !mine.subnets.includes(old))] };
      const revision = { from: before, back: insist ? null : mine, asker: { owner, from }, fault: null };
      return { definition, leases, cursors, revision, asked: null, fault: null };
    }),
    /** What an earlier daemon began, or somebody wrote into the file of the definition. */
    beginByItself: assign(({ context }) => {
      const { definition, previous } = context;
      const { leases, cursors } = revised(context, definition);
      return {
        leases,
        cursors,
        previous: null,
        revision: { from: previous ?? definition, back: previous, asker: null, fault: null },
      };
    }),
    /** Leases are what they were: an address that came with the new definition is given up. */
    turnBack: enqueueActions(({ context, enqueue }) => {
      const { revision } = context;
      const back = revision?.back ?? context.previous ?? context.definition;
      const network = back.name;
      const fault = notChanged(network, context.fault ?? revised(context, context.definition).fault ?? ABSENT);
      const { cursors, ...after } = revised(context, back);
      const leases: Record<string, Lease> = { ...after.leases };
      const waiting = context.waiting.filter(({ owner, from, options }) => {
        const has = leases[owner]?.addresses.map(({ address }) => address) ?? [];
        const lost = options.static_ips?.find((address) => !has.includes(address));
        if (lost === undefined) return true;
        delete leases[owner];
        const message = `address ${lost} is not in a subnet of network ${network}`;
        enqueue.sendTo(
          ...answer(from, { type: 'refused', network, fault: { code: 'ADDRESS_OUTSIDE_SUBNET', message } }),
        );
        return false;
      });
      enqueue.assign({
        definition: back,
        previous: null,
        leases,
        cursors,
        waiting,
        fault: null,
        revision: { from: context.definition, back: null, asker: revision?.asker ?? null, fault },
      });
    }),
    /** With no way back it is tried again by itself; why is in `fault`, and is told to whoever asked. */
    blameRevision: assign({
      revision: ({ context: { revision, definition, fault } }) =>
        revision === null
          ? null
          : { ...revision, fault: revision.fault ?? notChanged(definition.name, fault ?? ABSENT) },
    }),
    answerRevision: enqueueActions(({ context, enqueue }) => {
      const { revision } = context;
      if (revision === null || revision.asker === null) return;
      const network = context.definition.name;
      const { fault } = revision;
      const { from } = revision.asker;
      enqueue.sendTo(
        ...answer(from, fault === null ? { type: 'updated', network } : { type: 'refused', network, fault }),
      );
      enqueue.assign({ revision: { ...revision, asker: null } });
    }),
    tryAgain: assign(({ context }) => {
      const { definition, revision } = context;
      const { leases, cursors } = revised(context, definition);
      return {
        leases,
        cursors,
        revision: { from: revision?.from ?? definition, back: null, asker: null, fault: null },
        fault: null,
      };
    }),
    endRevision: assign({ revision: null }),
  },
});
