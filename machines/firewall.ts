/**
 * The nftables table that all networks and uplinks of one outside namespace share, and the forwarding switches, which only
 * networks need.
 *
 * Guarantees: the table exists while at least one network or uplink holds it, and is removed after the last. The switches
 * (net.ipv4.ip_forward and similar) are read and recorded on disk before they are set, and restored after the last network,
 * so the host ends as it was found. `verify` compares the table with what it should be, and repairs what others have changed.
 * A `verify` during a comparison leads to another one.
 * Limits: a switch is restored even if somebody else has meanwhile set it to the same value.
 */
import { assign, assertEvent, enqueueActions, setup, type AnyActorRef } from 'xstate';
import type { Drift } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import { effect, faultOf, type Requester } from './contract.ts';

export type Switches = Readonly<Record<string, string>>;

export interface FirewallInput {
  outside: string | null;
  /** Networks that are up according to the snapshots. */
  adopted: readonly string[];
  /** Containers whose uplink may run according to the snapshots. */
  uplinks: readonly string[];
  /** The switches as they were before cleat changed them (kept on disk); null if it did not. */
  found: Switches | null;
  /** True if an earlier daemon has left a record of this outside: its table may exist although nobody needs it. */
  recorded: boolean;
}

/** A difference between the table and what it should be. `owner`: the owner of the port (id:generation); null if shared. */
export interface Found {
  owner: string | null;
  drift: Drift;
}

/** The differences that were repaired, and those that the policy leaves. */
export interface RulesetFindings {
  repaired: Found[];
  left: Found[];
}

interface FirewallContext {
  outside: string | null;
  /** Networks. */
  holders: readonly string[];
  /** Containers (id:generation) whose uplink the table restricts. Uplinks need no forwarding. */
  uplinks: readonly string[];
  waiting: readonly Requester[];
  found: Switches | null;
  recorded: boolean;
  /** The actors that get the result of the present comparison. */
  verifiers: readonly AnyActorRef[];
  /** The actors that get the result of the next comparison. Null if no `verify` has come since the present one began. */
  next: readonly AnyActorRef[] | null;
  /** The differences that the last comparison left. */
  drift: readonly Found[];
  fault: Fault | null;
  attempts: number;
}

export type FirewallEvent =
  | ({ type: 'hold'; uplink?: true } & Requester)
  | ({ type: 'release' } & Requester)
  | ({ type: 'verify' } & Partial<Requester>)
  /** `filters`: the present values of the rp_filter switches that are about to be loosened. They replace those in `found`. */
  | { type: 'remember'; filters: Switches };

export type FirewallAnswer =
  { type: 'held' } | { type: 'refused'; fault: Fault } | { type: 'released' } | { type: 'verified' };

export interface VerifyInput {
  outside: string | null;
  /** The switches as they were before the firewall was raised. They decide if the rules let others forward. */
  found: Switches | null;
  /** True if an actor waits for the result: every difference is then repaired, whatever the policy says. */
  asked: boolean;
}

/** Emitted with the result of each comparison. */
export type FirewallEmitted = { type: 'found' } & RulesetFindings;

const isFilter = (key: string): boolean => /^net\/ipv4\/conf\/[^/]+\/rp_filter$/.test(key);

/** Returns the original values of the loosened filters (net.ipv4.conf.LINK.rp_filter). */
export const filtersIn = (found: Switches | null): Switches =>
  Object.fromEntries(Object.entries(found ?? {}).filter(([key]) => isFilter(key)));

const withoutFilters = (found: Switches): Switches =>
  Object.fromEntries(Object.entries(found).filter(([key]) => !isFilter(key)));

const setupFirewall = setup({
  types: {
    context: {} as FirewallContext,
    input: {} as FirewallInput,
    events: {} as FirewallEvent,
    emitted: {} as FirewallEmitted,
    tags: {} as 'rest',
  },
  actors: {
    readSwitches: effect<Switches, { outside: string | null }>('readSwitches'),
    raiseFirewall: effect<void, { outside: string | null; found: Switches | null }>('raiseFirewall'),
    restoreSwitches: effect<void, { outside: string | null; found: Switches | null }>('restoreSwitches'),
    lowerFirewall: effect<void, { outside: string | null; found: Switches | null }>('lowerFirewall'),
    repairRuleset: effect<RulesetFindings, VerifyInput>('repairRuleset'),
    backOff: effect<void, { attempt: number }>('backOff'),
  },
  guards: {
    used: ({ context }) => context.holders.length + context.uplinks.length > 0,
    unused: ({ context }) => context.holders.length + context.uplinks.length === 0,
    /** True if an uplink already relies on the table, because its `hold` was answered. */
    stands: ({ context: { uplinks, waiting } }) =>
      uplinks.some((uplink) => !waiting.some(({ owner }) => owner === uplink)),
    hasNetworks: ({ context }) => context.holders.length > 0,
    asked: ({ context }) => context.verifiers.length > 0,
    wantsForwarding: ({ context }) => context.holders.length > 0 && context.found === null,
    wantsNoForwarding: ({ context }) => context.holders.length === 0 && context.found !== null,
    recorded: ({ context }) => context.recorded,
    askedAgain: ({ context }) => context.next !== null,
  },
  actions: {
    blameError: assign({ fault: ({ event }) => faultOf('error' in event ? event.error : undefined) }),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
    /** Answers uplinks, and networks if forwarding is on. */
    answerWaiting: enqueueActions(({ context, enqueue }) => {
      const { waiting, uplinks, found } = context;
      const ready = waiting.filter(({ owner }) => found !== null || uplinks.includes(owner));
      for (const { from } of ready) enqueue.sendTo(from, { type: 'held' } satisfies FirewallAnswer);
      enqueue.assign({ waiting: waiting.filter((asker) => !ready.includes(asker)), fault: null, attempts: 0 });
    }),
    conclude: enqueueActions(({ enqueue }, { repaired, left }: RulesetFindings) => {
      enqueue.assign({ drift: left });
      enqueue.emit({ type: 'found', repaired, left });
    }),
    answerVerifiers: enqueueActions(({ context, enqueue }) => {
      for (const from of context.verifiers) enqueue.sendTo(from, { type: 'verified' } satisfies FirewallAnswer);
      enqueue.assign({ verifiers: context.next ?? [], next: null });
    }),
    refuseVerifiers: enqueueActions(({ context, enqueue }) => {
      const fault = context.fault ?? { code: 'INTERNAL' as const, message: 'the firewall could not be verified' };
      for (const from of [...context.verifiers, ...(context.next ?? [])]) {
        enqueue.sendTo(from, { type: 'refused', fault } satisfies FirewallAnswer);
      }
      enqueue.assign({ verifiers: [], next: null });
    }),
    /** Answers `verify` at once: there is no table that could have changed, or the table is being made or removed. */
    answerAtOnce: enqueueActions(({ event, enqueue }) => {
      assertEvent(event, 'verify');
      if (event.from !== undefined) enqueue.sendTo(event.from, { type: 'verified' } satisfies FirewallAnswer);
    }),
    noteVerifier: assign({
      verifiers: ({ context, event }) => {
        assertEvent(event, 'verify');
        return event.from === undefined ? context.verifiers : [...context.verifiers, event.from];
      },
    }),
    noteNext: assign({
      next: ({ context, event }) => {
        assertEvent(event, 'verify');
        const asked = context.next ?? [];
        return event.from === undefined ? asked : [...asked, event.from];
      },
    }),
    /** Adds the filters to the switches that are restored later. */
    rememberFilters: assign({
      found: ({ context: { found }, event }) => {
        assertEvent(event, 'remember');
        return found === null ? null : { ...withoutFilters(found), ...event.filters };
      },
    }),
    refuseWaiting: enqueueActions(({ context, enqueue }) => {
      const fault = context.fault ?? { code: 'INTERNAL' as const, message: 'the firewall could not be raised' };
      for (const { from } of context.waiting) enqueue.sendTo(from, { type: 'refused', fault } satisfies FirewallAnswer);
      const refused = new Set(context.waiting.map(({ owner }) => owner));
      const others = (owners: readonly string[]) => owners.filter((owner) => !refused.has(owner));
      enqueue.assign({ waiting: [], holders: others(context.holders), uplinks: others(context.uplinks) });
    }),
  },
});

const hold = (table: 'up' | 'not up yet') =>
  setupFirewall.enqueueActions(({ context, event, enqueue }) => {
    assertEvent(event, 'hold');
    const { owner, from } = event;
    const which = event.uplink === true ? 'uplinks' : 'holders';
    enqueue.assign({ [which]: [...context[which].filter((holder) => holder !== owner), owner] });
    if (table === 'up' && (which === 'uplinks' || context.found !== null))
      enqueue.sendTo(from, { type: 'held' } satisfies FirewallAnswer);
    else enqueue.assign({ waiting: [...context.waiting.filter((asker) => asker.owner !== owner), { owner, from }] });
  });

const release = setupFirewall.enqueueActions(({ context, event, enqueue }) => {
  assertEvent(event, 'release');
  enqueue.assign({
    holders: context.holders.filter((holder) => holder !== event.owner),
    uplinks: context.uplinks.filter((holder) => holder !== event.owner),
    waiting: context.waiting.filter(({ owner }) => owner !== event.owner),
  });
  enqueue.sendTo(event.from, { type: 'released' } satisfies FirewallAnswer);
});

const conclude = {
  type: 'conclude',
  params: ({ event }: { event: { output: RulesetFindings } }) => event.output,
} as const;

export const firewallMachine = setupFirewall.createMachine({
  id: 'firewall',
  version: '1',
  options: { maxIterations: 50 },
  context: ({ input }) => ({
    outside: input.outside,
    holders: input.adopted,
    uplinks: input.uplinks,
    waiting: [],
    found: input.found,
    recorded: input.recorded,
    verifiers: [],
    next: null,
    drift: [],
    fault: null,
    attempts: 0,
  }),
  initial: 'deciding',
  on: {
    hold: { actions: hold('not up yet') },
    release: { actions: release },
    verify: { actions: 'answerAtOnce' },
    remember: { actions: 'rememberFilters' },
  },
  states: {
    deciding: {
      description:
        'Initial state. If containers in snapshots need the table, it exists and is not touched. A table that a crash has ' +
        'left without users is removed.',
      always: [{ guard: 'used', target: 'up' }, { guard: 'recorded', target: 'lowering' }, { target: 'down' }],
    },
    down: {
      tags: 'rest',
      description: 'Owns nothing in the kernel. Leaves when the first network or uplink holds the firewall.',
      always: [
        { guard: 'hasNetworks', target: 'reading' },
        { guard: 'used', target: 'raising' },
      ],
    },
    reading: {
      description: 'Reads the forwarding switches before they are set, so that they can be restored.',
      invoke: {
        id: 'readSwitches',
        src: 'readSwitches',
        input: ({ context }) => ({ outside: context.outside }),
        onDone: { target: 'raising', actions: assign({ found: ({ event }) => event.output }) },
        onError: { target: 'down', actions: ['blameError', 'refuseWaiting'] },
      },
    },
    raising: {
      description: 'Owns the table and the switches from here on. Must not enable forwarding before the rules exist.',
      invoke: {
        id: 'raiseFirewall',
        src: 'raiseFirewall',
        input: ({ context }) => ({ outside: context.outside, found: context.found }),
        onDone: 'up',
        onError: [
          { guard: 'stands', target: 'restoring', actions: ['blameError', 'refuseWaiting', 'refuseVerifiers'] },
          { target: 'lowering', actions: ['blameError', 'refuseWaiting', 'refuseVerifiers'] },
        ],
      },
      on: { verify: { actions: 'noteVerifier' } },
    },
    up: {
      tags: 'rest',
      description: 'The table is complete. Leaves when the last network and the last uplink have released it.',
      entry: 'answerWaiting',
      always: [
        { guard: 'asked', target: 'verifying' },
        { guard: 'unused', target: 'lowering' },
        { guard: 'wantsForwarding', target: 'opening' },
        { guard: 'wantsNoForwarding', target: 'restoring' },
      ],
      on: { hold: { actions: hold('up') }, verify: { target: 'verifying', actions: 'noteVerifier' } },
    },
    opening: {
      description:
        'The table exists for uplinks, and a network now needs forwarding: reads the switches before they are set.',
      invoke: {
        id: 'readSwitches',
        src: 'readSwitches',
        input: ({ context }) => ({ outside: context.outside }),
        onDone: { target: 'raising', actions: assign({ found: ({ event }) => event.output }) },
        onError: { target: 'up', actions: ['blameError', 'refuseWaiting'] },
      },
      on: { verify: { actions: 'noteVerifier' } },
    },
    verifying: {
      description:
        'Compares the table with what it should be, and repairs what others changed. A `hold` meanwhile waits.',
      invoke: {
        id: 'repairRuleset',
        src: 'repairRuleset',
        input: ({ context: { outside, found, verifiers } }) => ({ outside, found, asked: verifiers.length > 0 }),
        onDone: [
          { guard: 'askedAgain', target: 'verifying', reenter: true, actions: [conclude, 'answerVerifiers'] },
          { target: 'up', actions: [conclude, 'answerVerifiers'] },
        ],
        onError: { target: 'verifyFailed', actions: ['blameError', 'refuseWaiting', 'refuseVerifiers'] },
      },
      on: { verify: { actions: 'noteNext' } },
    },
    verifyFailed: {
      tags: 'rest',
      description: 'The table could not be read or repaired: `fault` says why. Retries after a pause.',
      entry: 'countAttempt',
      always: { guard: 'unused', target: 'lowering' },
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: 'verifying',
      },
      on: {
        hold: { target: 'verifying', actions: hold('not up yet') },
        verify: { target: 'verifying', actions: 'noteVerifier' },
      },
    },
    restoring: {
      description: 'The last network has gone, but uplinks still need the table: restores the switches.',
      invoke: {
        id: 'restoreSwitches',
        src: 'restoreSwitches',
        input: ({ context }) => ({ outside: context.outside, found: context.found }),
        onDone: { target: 'up', actions: assign({ found: null, attempts: 0 }) },
        onError: { target: 'restoreFailed', actions: ['blameError', 'refuseWaiting', 'refuseVerifiers'] },
      },
      on: { verify: { actions: 'noteVerifier' } },
    },
    restoreFailed: {
      tags: 'rest',
      description:
        'Uplinks still need the table, but the switches could not be restored: see `fault`. Retries after a pause.',
      entry: 'countAttempt',
      always: [
        { guard: 'hasNetworks', target: 'raising' },
        { guard: 'unused', target: 'lowering' },
      ],
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: 'restoring',
      },
    },
    lowering: {
      description: 'Restores the switches, then removes the table.',
      invoke: {
        id: 'lowerFirewall',
        src: 'lowerFirewall',
        input: ({ context }) => ({ outside: context.outside, found: context.found }),
        onDone: { target: 'down', actions: assign({ found: null, attempts: 0, drift: [] }) },
        onError: { target: 'lowerFailed', actions: ['blameError', 'refuseWaiting'] },
      },
    },
    lowerFailed: {
      tags: 'rest',
      description:
        'The switches could not be restored, or the table not removed: `fault` says why. Retries after a pause.',
      entry: 'countAttempt',
      always: { guard: 'used', target: 'raising' },
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: 'lowering',
      },
    },
  },
});
