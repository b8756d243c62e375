/**
 * The setup of the network's machine: its context, its events and answers, its guards and its actions.
 *
 * Guarantees: each action makes one decision, and what it decides with is pure (plan/lease.ts). An asker is answered once.
 * Limits: network.ts says which of them is used when.
 */
import { assign, enqueueActions, setup, type AnyActorRef } from 'xstate';
import type { Lease } from '../state/container.ts';
import type { AttachmentOptions } from '../state/event.ts';
import type { Fault } from '../state/faults.ts';
import type { NetworkDefinition } from '../state/network.ts';
import { request, effect, faultOf, type Asker } from './contract.ts';
import type { FanOutInput, HoldInput, RaiseInput, ReviseInput } from './network-inputs.ts';
import { isUnmanaged, type BridgeSeen, type Seen } from './plan/unmanaged.ts';
import { asFound, type WayOut } from './plan/way-out.ts';
import {
  defaultMetricOf,
  displaced,
  follows,
  grantLease,
  reviseLeases,
  type Cursors,
  type Leases,
} from './plan/lease.ts';

export interface NetworkInput {
  definition: NetworkDefinition;
  /** What the definition was before an update that a crash interrupted, null when none was under way. */
  previous: NetworkDefinition | null;
  outside: string | null;
  wayOut: WayOut;
  /** Of an unmanaged network: what its bridge was found to have; null where it is ours, or nobody has looked. */
  bridge: BridgeSeen | null;
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
  /** Containers may have a default route with a metric of another definition. */
  remetric: boolean;
  /** Why it is not what was asked for. */
  fault: Fault | null;
}

export interface NetworkContext {
  definition: NetworkDefinition;
  previous: NetworkDefinition | null;
  outside: string | null;
  /** How traffic leaves the outside: the MTU of a network that has none of its own. */
  wayOut: WayOut;
  /** The bridge of an unmanaged network as it was last seen: its MTU and addresses are the network's. Else null. */
  bridge: BridgeSeen | null;
  /** The network has another MTU by these, or other name servers, than bridge and containers were given. */
  remeasured: boolean;
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
  /** Traffic leaves the outside another way, or the way has another MTU. */
  | { type: 'wayOut'; wayOut: WayOut }
  /** The bridge of an unmanaged network has another MTU or other addresses. */
  | { type: 'bridge'; bridge: BridgeSeen }
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

/** A definition with what was found about it. */
const found = ({ wayOut, bridge }: NetworkContext, definition: NetworkDefinition): Seen =>
  asFound(definition, wayOut, bridge);

/** Everybody's lease under `definition`; unchanged where that is not possible. */
const revised = (context: NetworkContext, definition: NetworkDefinition) => {
  const plan = reviseLeases(found(context, definition), context.leases, context.cursors);
  return 'fault' in plan
    ? { fault: plan.fault, leases: context.leases, cursors: context.cursors }
    : { fault: null, ...plan };
};

/** Why an update that is asked for cannot even be begun. On the way back (`insist`) who loses an address gets another. */
const hindrance = (context: NetworkContext, { definition, insist }: Update): Fault | null =>
  revised(context, definition).fault ?? (insist ? null : displaced(definition, context.leases));

const otherMetric = (a: NetworkDefinition, b: NetworkDefinition): boolean => defaultMetricOf(a) !== defaultMetricOf(b);

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
    /** What was seen of a bridge of others. */
    raiseNetwork: effect<BridgeSeen | null, RaiseInput>('raiseNetwork'),
    lowerNetwork: effect<void, RaiseInput>('lowerNetwork'),
    reviseNetwork: effect<void, ReviseInput>('reviseNetwork'),
    repairNetwork: effect<void, RaiseInput>('repairNetwork'),
    recordDefinition: effect<void, RaiseInput>('recordDefinition'),
    holdFirewall: request<HoldInput>('holdFirewall'),
    releaseFirewall: request<HoldInput>('releaseFirewall'),
    fanOut: request<FanOutInput>('fanOut'),
    backOff: request<{ attempt: number }>('backOff'),
  },
  guards: {
    used: ({ context }) => Object.keys(context.leases).length > 0,
    /** Nothing is made that rules would have to guard. */
    usedUnmanaged: ({ context }) => Object.keys(context.leases).length > 0 && isUnmanaged(context.definition),
    unused: ({ context }) => Object.keys(context.leases).length === 0,
    recovering: ({ context }) => context.recovering,
    leftBehind: ({ context }) => context.attempts > 0,
    asked: ({ context }) => context.asked !== null,
    remeasured: ({ context }) => context.remeasured,
    impossible: ({ context }) => context.asked !== null && hindrance(context, context.asked) !== null,
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
      const grant = grantLease(found(context, context.definition), context.leases, context.cursors, owner, options);
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

    /** Bridge and containers follow as soon as nothing else is under way. */
    measure: assign(({ context, event }) => {
      const now =
        event.type === 'wayOut' ? { wayOut: event.wayOut } : event.type === 'bridge' ? { bridge: event.bridge } : {};
      const of = (all: NetworkContext) => {
        const { options, own } = found(all, all.definition);
        return JSON.stringify([options.mtu, own]);
      };
      const another = of({ ...context, ...now }) !== of(context);
      return { ...now, remeasured: context.remeasured || another };
    }),
    /** Who waits was granted a lease before anybody had looked at the bridge of others: it is granted again. */
    see: enqueueActions(({ context, enqueue }, { bridge }: { bridge: BridgeSeen | null }) => {
      if (bridge === null || !isUnmanaged(context.definition)) return;
      const definition = found({ ...context, bridge }, context.definition);
      const waits = new Set(context.waiting.map(({ owner }) => owner));
      let leases: Leases = Object.fromEntries(Object.entries(context.leases).filter(([owner]) => !waits.has(owner)));
      let cursors: Cursors = {};
      const waiting = context.waiting.filter(({ owner, from, options }) => {
        const grant = grantLease(definition, leases, cursors, owner, options);
        if ('fault' in grant) {
          enqueue.sendTo(...answer(from, { type: 'refused', network: definition.name, fault: grant.fault }));
          return false;
        }
        leases = { ...leases, [owner]: grant.lease };
        cursors = grant.cursors;
        return true;
      });
      enqueue.assign({ bridge, leases, cursors, waiting });
    }),
    /** Nothing is there that would have to follow. */
    measured: assign({ remeasured: false }),
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
      const fault = hindrance(context, context.asked) ?? context.fault ?? ABSENT;
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
      const remetric = otherMetric(mine, definition) || (context.revision?.remetric ?? false);
      const revision = { from: before, back: insist ? null : mine, asker: { owner, from }, remetric, fault: null };
      return { definition, leases, cursors, revision, asked: null, fault: null, remeasured: false };
    }),
    /** What an earlier daemon began, or somebody wrote into the file of the definition. */
    beginByItself: assign(({ context }) => {
      const { definition, previous } = context;
      const { leases, cursors } = revised(context, definition);
      const from = previous ?? definition;
      return {
        leases,
        cursors,
        previous: null,
        remeasured: false,
        revision: { from, back: previous, asker: null, remetric: otherMetric(from, definition), fault: null },
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
        if (options.static_ips?.every((address) => has.includes(address)) ?? true) return true;
        delete leases[owner];
        const grant = grantLease(found(context, back), leases, cursors, owner, options);
        const why = 'fault' in grant ? grant.fault : ABSENT;
        enqueue.sendTo(...answer(from, { type: 'refused', network, fault: why }));
        return false;
      });
      enqueue.assign({
        definition: back,
        previous: null,
        leases,
        cursors,
        waiting,
        fault: null,
        revision: {
          from: context.definition,
          back: null,
          asker: revision?.asker ?? null,
          remetric: otherMetric(context.definition, back) || (revision?.remetric ?? false),
          fault,
        },
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
        revision: {
          from: revision?.from ?? definition,
          back: null,
          asker: null,
          remetric: revision?.remetric ?? false,
          fault: null,
        },
        fault: null,
        remeasured: false,
      };
    }),
    endRevision: assign({ revision: null }),
  },
});
