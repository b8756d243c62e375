/**
 * The setup of the network's machine: its actors by name, its guards and its actions.
 *
 * Guarantees: each action makes one decision with pure functions (plan/networks/lease.ts). Each request is answered once.
 * Limits: network.ts says which of them is used when.
 */
import { assign, assertEvent, enqueueActions, setup, type AnyActorRef } from 'xstate';
import type { Lease } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import type { NetworkDefinition } from '../state/network.ts';
import { effect, faultOf } from './contract.ts';
import {
  foundIn,
  type FanOutInput,
  type HoldInput,
  type NetworkAnswer,
  type NetworkContext,
  type NetworkEvent,
  type NetworkInput,
  type RaiseInput,
  type ReviseInput,
  type Update,
} from './network-inputs.ts';
import { isExternal } from '../plan/networks/external.ts';
import { isUnmanaged, type BridgeSeen } from '../plan/networks/unmanaged.ts';
import { defaultMetricOf, displaced, follows, grantLease, reviseLeases, type Cursors } from '../plan/networks/lease.ts';

/** Returns all leases as `definition` grants them. If that is impossible, returns them unchanged, with the fault. */
const revised = (context: NetworkContext, definition: NetworkDefinition) => {
  const plan = reviseLeases(foundIn(context, definition), context.leases, context.cursors);
  return 'fault' in plan
    ? { fault: plan.fault, leases: context.leases, cursors: context.cursors }
    : { fault: null, ...plan };
};

/** Returns the reason why a requested update cannot begin. With `insist`, a container may lose its address and get another. */
const hindrance = (context: NetworkContext, { definition, insist }: Update): Fault | null =>
  revised(context, definition).fault ?? (insist ? null : displaced(definition, context.leases));

const otherMetric = (a: NetworkDefinition, b: NetworkDefinition): boolean => defaultMetricOf(a) !== defaultMetricOf(b);

const answer = (from: AnyActorRef, what: NetworkAnswer) => [from, what] as const;

/** Returns a fault as the answer to a requested update. Keeps the owner and the errno of the original. */
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
    /** standing: the bridge and its rules exist, or are being made. */
    tags: {} as 'rest' | 'standing',
  },
  actors: {
    /** Resolves with the data of an unmanaged bridge; null if the bridge is ours. */
    raiseNetwork: effect<BridgeSeen | null, RaiseInput>('raiseNetwork'),
    lowerNetwork: effect<void, RaiseInput>('lowerNetwork'),
    reviseNetwork: effect<void, ReviseInput>('reviseNetwork'),
    repairNetwork: effect<void, RaiseInput>('repairNetwork'),
    programPeers: effect<void, RaiseInput>('programPeers'),
    recordDefinition: effect<void, RaiseInput>('recordDefinition'),
    holdFirewall: effect<void, HoldInput>('holdFirewall'),
    /** Never rejects. */
    releaseFirewall: effect<void, HoldInput>('releaseFirewall'),
    fanOut: effect<void, FanOutInput>('fanOut'),
    backOff: effect<void, { attempt: number }>('backOff'),
  },
  guards: {
    used: ({ context }) => context.leases.size > 0,
    /** An unmanaged network needs no firewall: no rules are made for it. An external one holds the forwarding switches. */
    usedUnmanaged: ({ context: { leases, definition } }) =>
      leases.size > 0 && isUnmanaged(definition) && !isExternal(definition),
    unused: ({ context }) => context.leases.size === 0,
    recovering: ({ context }) => context.recovering,
    leftBehind: ({ context }) => context.attempts > 0,
    asked: ({ context }) => context.asked !== null,
    remeasured: ({ context }) => context.remeasured,
    repeered: ({ context }) => context.repeered,
    impossible: ({ context }) => context.asked !== null && hindrance(context, context.asked) !== null,
    /** At start: a crash interrupted an update, and not all leases can follow its definition. */
    interruptedInVain: ({ context }) =>
      context.leases.size > 0 && context.previous !== null && revised(context, context.definition).fault !== null,
    /** At start: not all leases follow the definition on disk. */
    outdated: ({ context }) => {
      if (context.leases.size === 0) return false;
      const { fault, leases } = revised(context, context.definition);
      if (fault !== null) return false;
      const behind = ([owner, held]: [string, Lease]) => !follows(held, leases.get(owner) ?? held);
      return context.previous !== null || [...context.leases].some(behind);
    },
    canTurnBack: ({ context }) => (context.revision?.back ?? null) !== null,
    turnedBackBadly: ({ context }) => context.fault !== null,
  },
  actions: {
    blameError: assign({ fault: ({ event }) => faultOf('error' in event ? event.error : undefined) }),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
    resetAttempts: assign({ attempts: 0, fault: null, recovering: false }),

    /** Grants or refuses a lease. A grant is answered when the bridge is up, a refusal at once. */
    join: enqueueActions(({ context, event, enqueue }, { bridge }: { bridge: 'up' | 'not up yet' }) => {
      assertEvent(event, 'join');
      const { owner, from, options } = event;
      const network = context.definition.name;
      const grant = grantLease(foundIn(context), context.leases, context.cursors, owner, options);
      if ('fault' in grant) {
        enqueue.sendTo(...answer(from, { type: 'refused', network, fault: grant.fault }));
        return;
      }
      const { lease, cursors } = grant;
      enqueue.assign({ leases: new Map(context.leases).set(owner, lease), cursors });
      if (bridge === 'up')
        enqueue.sendTo(...answer(from, { type: 'leased', network, lease, definition: context.definition }));
      else {
        const others = context.waiting.filter((asker) => asker.owner !== owner);
        enqueue.assign({ waiting: [...others, { owner, from, options }] });
      }
    }),
    leave: enqueueActions(({ context, event, enqueue }) => {
      assertEvent(event, 'leave');
      const leases = new Map(context.leases);
      leases.delete(event.owner);
      enqueue.assign({ leases, waiting: context.waiting.filter(({ owner }) => owner !== event.owner) });
      enqueue.sendTo(...answer(event.from, { type: 'left', network: context.definition.name }));
    }),
    answerWaiting: enqueueActions(({ context, enqueue }) => {
      const network = context.definition.name;
      for (const { owner, from } of context.waiting) {
        const lease = context.leases.get(owner);
        const { definition } = context;
        if (lease !== undefined) enqueue.sendTo(...answer(from, { type: 'leased', network, lease, definition }));
      }
      enqueue.assign({ waiting: [] });
    }),
    refuseWaiting: enqueueActions(({ context, enqueue }) => {
      const network = context.definition.name;
      const fault = context.fault ?? ABSENT;
      for (const { from } of context.waiting) enqueue.sendTo(...answer(from, { type: 'refused', network, fault }));
      const refused = new Set(context.waiting.map(({ owner }) => owner));
      enqueue.assign({ waiting: [], leases: new Map([...context.leases].filter(([owner]) => !refused.has(owner))) });
    }),

    /** Records the new way out or bridge. The bridge and the containers follow as soon as nothing else is under way. */
    measure: assign(({ context, event }) => {
      const now =
        event.type === 'wayOut' ? { wayOut: event.wayOut } : event.type === 'bridge' ? { bridge: event.bridge } : {};
      const of = (all: NetworkContext) => {
        const { options, own } = foundIn(all);
        return JSON.stringify([options.mtu, own]);
      };
      const another = of({ ...context, ...now }) !== of(context);
      return { ...now, remeasured: context.remeasured || another };
    }),
    /** Records the other hosts of the overlay. The kernel follows as soon as nothing else is under way. */
    meet: assign(({ context, event }) => {
      assertEvent(event, 'peers');
      const another = JSON.stringify(event.peers) !== JSON.stringify(context.peers);
      return another ? { peers: event.peers, repeered: true } : {};
    }),
    met: assign({ repeered: false }),
    /** Grants the waiting requests again: their leases were made before the unmanaged bridge was read. */
    see: enqueueActions(({ context, enqueue }, { bridge }: { bridge: BridgeSeen | null }) => {
      if (bridge === null || !isUnmanaged(context.definition)) return;
      const definition = foundIn({ ...context, bridge });
      const waits = new Set(context.waiting.map(({ owner }) => owner));
      const leases = new Map([...context.leases].filter(([owner]) => !waits.has(owner)));
      let cursors: Cursors = {};
      const waiting = context.waiting.filter(({ owner, from, options }) => {
        const grant = grantLease(definition, leases, cursors, owner, options);
        if ('fault' in grant) {
          enqueue.sendTo(...answer(from, { type: 'refused', network: definition.name, fault: grant.fault }));
          return false;
        }
        leases.set(owner, grant.lease);
        cursors = grant.cursors;
        return true;
      });
      enqueue.assign({ bridge, leases, cursors, waiting });
    }),
    /** No bridge and no container has to follow. */
    measured: assign({ remeasured: false }),
    /** Keeps an update until nothing else is under way. Refuses it if another one waits or is under way. */
    ask: enqueueActions(({ context, event, enqueue }) => {
      assertEvent(event, 'update');
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
    /** Takes over the definition at once: nothing of the network is in the kernel, and no container has a lease. */
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
      // This revision also removes the subnets that an earlier one may have left on the bridge.
      const left = context.revision?.from.subnets ?? [];
      const mine = context.definition;
      const before = { ...mine, subnets: [...mine.subnets, ...left.filter((old) => !mine.subnets.includes(old))] };
      const remetric = otherMetric(mine, definition) || (context.revision?.remetric ?? false);
      const revision = { from: before, back: insist ? null : mine, asker: { owner, from }, remetric, fault: null };
      return { definition, leases, cursors, revision, asked: null, fault: null, remeasured: false };
    }),
    /** Begins a revision that an earlier daemon left unfinished, or that a changed definition on disk requires. */
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
    /** Begins the rollback: leases return to the old definition, and addresses that only the new one has are given up. */
    turnBack: enqueueActions(({ context, enqueue }) => {
      const { revision } = context;
      const back = revision?.back ?? context.previous ?? context.definition;
      const network = back.name;
      const fault = notChanged(network, context.fault ?? revised(context, context.definition).fault ?? ABSENT);
      const { cursors, ...after } = revised(context, back);
      const leases = new Map(after.leases);
      const waiting = context.waiting.filter(({ owner, from, options }) => {
        const has = leases.get(owner)?.addresses.map(({ address }) => address) ?? [];
        if (options.static_ips?.every((address) => has.includes(address)) ?? true) return true;
        leases.delete(owner);
        const grant = grantLease(foundIn(context, back), leases, cursors, owner, options);
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
    /** Puts the fault of a revision without a rollback into the answer to its requester. */
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
