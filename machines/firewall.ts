/**
 * The nftables table with its hooks that all networks and uplinks of one outside namespace share, and the forwarding
 * switches, which only networks need.
 *
 * Guarantees: there while at least one network or uplink holds it, gone after the last; the switches (net.ipv4.ip_forward and
 * its likes) are read and remembered on disk before they are set, and put back after the last network, so that the host ends
 * as it was found. What others change in the table is found when somebody asks to verify it, and put back; whoever asks
 * while that is under way has another look taken.
 * Limits: a switch that someone else set to the same value meanwhile is put back all the same.
 */
import { assign, enqueueActions, setup, type AnyActorRef } from 'xstate';
import type { Drift } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import { request, effect, faultOf, type Asker } from './contract.ts';

export type Switches = Readonly<Record<string, string>>;

export interface FirewallInput {
  outside: string | null;
  /** Networks that are up according to the snapshots. */
  adopted: readonly string[];
  /** Containers whose uplink may run according to the snapshots. */
  uplinks: readonly string[];
  /** The values found before cleat changed them, if it did (kept on disk). */
  found: Switches | null;
  /** A daemon before this one has left a record of this outside: the table may be there, also where nobody needs it. */
  recorded: boolean;
}

/** Something of the table that is not as it should be. `owner`: whose port it is (id:generation), null for what is shared. */
export interface Found {
  owner: string | null;
  drift: Drift;
}

/** What was put back, and what policy leaves as it is. */
export interface RulesetFindings {
  repaired: Found[];
  left: Found[];
}

interface FirewallContext {
  outside: string | null;
  /** Networks. */
  holders: readonly string[];
  /** Containers (id:generation) whose uplink is kept in bounds by the table: they need no forwarding. */
  uplinks: readonly string[];
  waiting: readonly Asker[];
  found: Switches | null;
  recorded: boolean;
  /** Who is told how the look at the table ended. */
  verifiers: readonly AnyActorRef[];
  /** Those who asked since it began, null when nobody did. */
  next: readonly AnyActorRef[] | null;
  /** What the last look left as it was. */
  drift: readonly Found[];
  fault: Fault | null;
  attempts: number;
}

export type FirewallEvent =
  | ({ type: 'hold'; uplink?: true } & Asker)
  | ({ type: 'release' } & Asker)
  | ({ type: 'verify' } & Partial<Asker>)
  /** Filters of the way back that are about to be loosened, as they were found, in place of those remembered. */
  | { type: 'remember'; filters: Switches }
  | { type: 'retry' };

export type FirewallAnswer =
  { type: 'held' } | { type: 'refused'; fault: Fault } | { type: 'released' } | { type: 'verified' };

export interface VerifyInput {
  outside: string | null;
  /** The switches as they were before the firewall was raised. Forwarding for others depends on them. */
  found: Switches | null;
  /** Somebody has asked for it: everything is put back, whatever policy says of it. */
  asked: boolean;
}

/** For whoever watches: what a look at the table has found. */
export type FirewallEmitted = { type: 'found' } & RulesetFindings;

const isFilter = (key: string): boolean => /^net\/ipv4\/conf\/[^/]+\/rp_filter$/.test(key);

/** Returns the loosened filters (net.ipv4.conf.LINK.rp_filter) among the switches that were found, as they were found. */
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
    backOff: request<{ attempt: number }>('backOff'),
  },
  guards: {
    used: ({ context }) => context.holders.length + context.uplinks.length > 0,
    unused: ({ context }) => context.holders.length + context.uplinks.length === 0,
    /** For uplinks that were told so. */
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
    /** Networks wait for forwarding, too. */
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
    /** Nothing of the table stands that could have changed, or it is being made: right by then. */
    answerAtOnce: enqueueActions(({ event, enqueue }) => {
      if (event.type !== 'verify' || event.from === undefined) return;
      enqueue.sendTo(event.from, { type: 'verified' } satisfies FirewallAnswer);
    }),
    noteVerifier: assign({
      verifiers: ({ context, event }) =>
        event.type === 'verify' && event.from !== undefined ? [...context.verifiers, event.from] : context.verifiers,
    }),
    noteNext: assign({
      next: ({ context, event }) => {
        const asked = context.next ?? [];
        return event.type === 'verify' && event.from !== undefined ? [...asked, event.from] : asked;
      },
    }),
    /** Put back with the other switches, whatever comes in between. */
    rememberFilters: assign({
      found: ({ context: { found }, event }) =>
        found === null || event.type !== 'remember' ? found : { ...withoutFilters(found), ...event.filters },
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
    if (event.type !== 'hold') return;
    const { owner, from } = event;
    const which = event.uplink === true ? 'uplinks' : 'holders';
    enqueue.assign({ [which]: [...context[which].filter((holder) => holder !== owner), owner] });
    if (table === 'up' && (which === 'uplinks' || context.found !== null))
      enqueue.sendTo(from, { type: 'held' } satisfies FirewallAnswer);
    else enqueue.assign({ waiting: [...context.waiting.filter((asker) => asker.owner !== owner), { owner, from }] });
  });

const release = setupFirewall.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'release') return;
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
        'Enters at start. Containers in snapshots need the table: it is there, and is not touched. One that a crash has ' +
        'left for nobody is taken away.',
      always: [{ guard: 'used', target: 'up' }, { guard: 'recorded', target: 'lowering' }, { target: 'down' }],
    },
    down: {
      tags: 'rest',
      description: 'Owns nothing in the kernel. Leaves when the first network or uplink asks.',
      always: [
        { guard: 'hasNetworks', target: 'reading' },
        { guard: 'used', target: 'raising' },
      ],
    },
    reading: {
      description: 'Reads the forwarding switches as they are, to be able to put them back.',
      invoke: {
        id: 'readSwitches',
        src: 'readSwitches',
        input: ({ context }) => ({ outside: context.outside }),
        onDone: { target: 'raising', actions: assign({ found: ({ event }) => event.output }) },
        onError: { target: 'down', actions: ['blameError', 'refuseWaiting'] },
      },
    },
    raising: {
      description: 'Owns the table and the switches from here on. Must not open forwarding before the rules stand.',
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
      description: 'The table stands. Leaves when the last network and the last uplink have given it back.',
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
        'The table stands for uplinks, and a network wants forwarding: reads the switches before they are set.',
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
      description: 'Looks at the table and puts back what others took. Networks that ask for it wait.',
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
      description: 'The table could not be looked at or put right: `fault` says why. Tried again by itself.',
      entry: 'countAttempt',
      always: { guard: 'unused', target: 'lowering' },
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: {
        hold: { target: 'verifying', actions: hold('not up yet') },
        verify: { target: 'verifying', actions: 'noteVerifier' },
        retry: 'verifying',
      },
    },
    restoring: {
      description: 'The last network has gone, and uplinks still need the table: puts the switches back.',
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
      description: 'The table stands for uplinks, and switches could not be put back: `fault` says why. Tried again.',
      entry: 'countAttempt',
      always: [
        { guard: 'hasNetworks', target: 'raising' },
        { guard: 'unused', target: 'lowering' },
      ],
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: { retry: 'restoring' },
    },
    lowering: {
      description: 'Puts the switches back, then takes the table away.',
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
      description: 'Table or switches could not be put back: `fault` says why. Tried again by itself.',
      entry: 'countAttempt',
      always: { guard: 'used', target: 'raising' },
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: { retry: 'lowering' },
    },
  },
});
