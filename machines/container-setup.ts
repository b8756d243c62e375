/**
 * The setup of the container's machine: its effects by name, its guards and its actions.
 *
 * Guarantees: a guard asks one question about the context, and an action makes one change to it. What they decide with is
 * pure (plan/change.ts and the files beside it).
 * Limits: container.ts says which of them is used when.
 * Over 400 lines because each of them is short, and the machine takes all of them from one setup.
 */
import { assign, setup } from 'xstate';
import type { ContainerContext } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import type { Uplink } from '../state/uplink.ts';
import { attachmentMachine } from './attachment.ts';
import { request, effect, faultOf } from './contract.ts';
import { relinked, revised } from './plan/attachment.ts';
import {
  adopted,
  allPorts,
  begin,
  changeOf,
  changesPorts,
  diversion,
  exposure,
  leaving,
  namesOfChange,
  planned,
  reinstatement,
  removal,
  restoration,
  staying,
  stranded,
  whereLed,
  type Change,
  type PublishInput,
} from './plan/change.ts';
import { subtract, subtractMappings, unrequest, without } from './plan/port-list.ts';
import type { FilesInput } from './plan/hosts.ts';
import { sameOptions } from './plan/options.ts';
import type { NameInput, UnnameInput } from './resolver.ts';
import { uplinkMachine, type UplinkOutput } from './uplink.ts';
import { startsUplink } from './container-inputs.ts';
import type {
  ContainerInput,
  ContainerEvent,
  NamespaceInput,
  LeaseInput,
  ReleaseInput,
  OuterInput,
  VerdictInput,
  DrainInput,
  In,
} from './container-inputs.ts';

// --- Questions to the context -----------------------------------------------------------------------------------

/** The context as an event leaves it: with what was granted or made in it. Stages ahead are judged by it. */
const ahead = ({ context, event }: In & { event: ContainerEvent }): ContainerContext => {
  const made = madeIn(event);
  if (made !== null && context.uplink !== undefined) return { ...context, uplink: { ...context.uplink, ...made } };
  if (event.type !== 'leased') return context;
  const plan = planned(context, event);
  return 'context' in plan ? plan.context : context;
};

const blame = (code: Fault['code'], message: string): Fault => ({ code, message });

const nowhere = ({ id, uplink, attachments, portHandler }: ContainerContext): Fault => {
  const theirs = attachments.filter(({ unmanaged = false }) => unmanaged).map(({ network }) => network);
  if (theirs.length > 0 && portHandler !== 'forwarder') {
    const names = theirs.join(', ');
    return blame(
      'PORTS_NEED_NETWORK',
      `container ${id} has no network that its ports could lead to: the firewall publishes none on an unmanaged network ` +
        `(${names}), where its own address is reached; port handler forwarder does`,
    );
  }
  return blame(
    'PORTS_NEED_NETWORK',
    uplink === undefined
      ? `container ${id} has no bridge network that its ports could lead to`
      : `container ${id} has no address of the family that its ports ask for`,
  );
};

/** What an effect was rejected with (error events of children are not part of the event union). */
const errorIn = (event: object): unknown => ('error' in event ? event.error : undefined);

const networkIn = (event: ContainerEvent): string => ('network' in event ? event.network : '');

/** What the uplink's machine says that there is now. */
const madeIn = (event: object): Pick<Uplink, 'made' | 'missing'> | null => {
  const { link = null, missing = [] } = ('output' in event ? (event.output ?? {}) : {}) as Partial<UplinkOutput>;
  return link === null ? null : { made: link, missing };
};

const sharesNamespace = ({ request }: ContainerContext): boolean => ['host', 'container'].includes(request.netns.mode);

/** The change brings no uplink, no network and no port. */
const addsNothing = (context: ContainerContext): boolean => {
  const { networks, wanted } = changeOf(context);
  return !startsUplink(context) && Object.keys(networks).length === 0 && wanted.length === 0;
};

/** How the attachment or uplink that was just tried came out. */
const outcomeIn = (event: object): string =>
  'output' in event ? (event.output as { outcome: string }).outcome : 'failed';

const faultIn = (event: object): Fault =>
  ('output' in event ? (event.output as { fault: Fault | null }).fault : null) ?? faultOf(errorIn(event));

export const setupContainer = setup({
  types: {
    context: {} as ContainerContext,
    input: {} as ContainerInput,
    events: {} as ContainerEvent,
    /** rest: an operation has ended. passing: ours alone, nobody asked for it, and over in a moment. */
    tags: {} as 'rest' | 'passing',
  },
  actors: {
    attachment: attachmentMachine,
    uplink: uplinkMachine,
    ensureNamespace: effect<{ dev: number; ino: number }, NamespaceInput>('ensureNamespace'),
    removeNamespace: effect<void, NamespaceInput>('removeNamespace'),
    lease: request<LeaseInput>('lease'),
    release: request<ReleaseInput>('release'),
    expose: effect<void, OuterInput>('expose'),
    /** The fault that is owed, if any: nobody waits for it. */
    unexpose: effect<Fault | null, OuterInput>('unexpose'),
    name: request<NameInput>('name'),
    unname: request<UnnameInput>('unname'),
    publish: effect<void, PublishInput>('publish'),
    unpublish: effect<void, PublishInput>('unpublish'),
    ensureFiles: effect<void, FilesInput>('ensureFiles'),
    removeFiles: effect<void, { id: string }>('removeFiles'),
    verifyFirewall: request<{ outside: string | null }>('verifyFirewall'),
    awaitVerdict: request<VerdictInput>('awaitVerdict'),
    awaitLinksGone: effect<void, DrainInput>('awaitLinksGone'),
    backOff: request<{ attempt: number }>('backOff'),
  },
  guards: {
    noNamespace: ({ context }) => context.netns === null,
    hasNamespace: ({ context }) => context.netns !== null,
    /** It uses a namespace that others look after. */
    sharesNamespace: ({ context }) => sharesNamespace(context),
    /** The same, or its way out is a program: either way networks are not for it. */
    takesNoNetwork: ({ context }) => context.uplink !== undefined || sharesNamespace(context),
    hasUplink: ({ context }) => context.uplink !== undefined,
    uplinks: ({ context }) => startsUplink(context),
    restarts: ({ context }) => changeOf(context).uplink === 'restart',
    repairsUplink: ({ context }) => changeOf(context).uplink !== undefined,
    notReady: ({ event }) => outcomeIn(event) !== 'ready',
    /** Again: once may be chance. */
    endedSoon: ({ context, event }) => event.type === 'lost' && event.soon && (context.uplink?.endedSoon ?? 0) > 0,
    /** What carries its ports was told them when it started. */
    portsAreFixed: ({ context }) => context.portHandler === 'pasta',
    configured: ({ context }) => context.configured,
    hasUsers: ({ event }) => 'users' in event && event.users.length > 0,
    ownerGone: ({ context }) => context.ownerGone,

    attached: ({ context, event }) => context.attachments.some(({ network }) => network === networkIn(event)),
    attachedAlike: ({ context, event }) =>
      event.type === 'connect' &&
      context.attachments.some(({ network }) => network === event.network) &&
      sameOptions(context.request.networks[event.network] ?? {}, event.options),
    requested: ({ context, event }) => Object.hasOwn(context.request.networks, networkIn(event)),
    requestedAlike: ({ context, event }) =>
      event.type === 'connect' &&
      Object.hasOwn(context.request.networks, event.network) &&
      sameOptions(context.request.networks[event.network] ?? {}, event.options),
    published: ({ context, event }) =>
      event.type === 'unpublish' && subtract(context.ports, event.ports).taken.length > 0,
    requestedPorts: ({ context, event }) =>
      event.type === 'unpublish' && subtractMappings(context.request.ports, event.ports).taken.length > 0,
    takesOver: ({ event }) => event.type === 'publish' && event.from !== null,
    rebuilds: ({ context, event }) => event.type === 'reload' && event.full && context.attachments.length > 0,
    has: ({ context, event }) => event.type === 'yield' && without(event.ports, context.ports).length === 0,

    // Stages of a change, ahead of where it is: whether there is anything to do in them.
    exposes: (args) => args.context.publisher !== null && changeOf(ahead(args)).ports.length > 0,
    attaches: (args) => changeOf(ahead(args)).todo.length > 0,
    nameless: ({ context }) => namesOfChange(context).length === 0,
    names: (args) => namesOfChange(ahead(args)).length > 0,
    publishes: (args) => changesPorts(exposure(ahead(args))),
    writesFiles: ({ context }) => context.files,
    diverts: ({ context }) => changesPorts(diversion(context)),
    restores: ({ context }) => changesPorts(restoration(context)),
    /** What slirp4netns carries goes with it. */
    unpublishes: ({ context }) => context.portHandler !== 'slirp4netns' && changesPorts(removal(context)),
    unexposes: ({ context }) => context.publisher !== null && changeOf(context).ports.length > 0,
    detachesLinks: ({ context }) => changeOf(context).todo.length > 0 && context.netns?.owned !== true,
    republishes: ({ context }) => changeOf(context).ports.length > 0,

    nothingToExpose: ({ context }) => context.publisher === null || changeOf(context).ports.length === 0,
    keepsPorts: ({ context }) => !changesPorts(reinstatement(context)),
    moreToDo: ({ context }) => changeOf(context).todo.length > 1,
    notAttached: ({ event }) => outcomeIn(event) !== 'attached',
    stuck: ({ event }) => outcomeIn(event) === 'stuck',
    stuckForced: ({ context, event }) => outcomeIn(event) === 'stuck' && changeOf(context).force,
    stuckOfMany: ({ context, event }) => outcomeIn(event) === 'stuck' && changeOf(context).todo.length > 1,
    leftovers: ({ context }) => context.leftovers.length > 0,
    nothingLeased: ({ context }) =>
      Object.keys(changeOf(context).networks).length === 0 &&
      changeOf(context).ports.length === 0 &&
      context.uplink === undefined,
    noLinks: ({ context }) => context.attachments.length === 0,
    noPorts: ({ context }) => changeOf(context).ports.length === 0,
    nothingToAdd: ({ context }) => addsNothing(context),
    onlyWritesFiles: ({ context }) => context.files && addsNothing(context),
    // What it was that could not be undone is seen from the change: the last word may have been another.
    wasRebuilding: ({ context }) =>
      changeOf(context).before.length > 0 && Object.keys(changeOf(context).networks).length === 0,
    wasAdjusting: ({ context }) => changeOf(context).before.length > 0,
    forced: ({ context }) => changeOf(context).force,
    wasDisconnecting: ({ context }) => {
      const networks = Object.keys(changeOf(context).networks);
      return (
        context.configured &&
        networks.length > 0 &&
        networks.every((name) => Object.hasOwn(context.request.networks, name))
      );
    },
    hasFailures: ({ context }) => context.configured && context.attempts > 0,
    unplannable: ({ context, event }) => event.type === 'leased' && 'fault' in planned(context, event),
    portsWithoutNetwork: (args) => {
      const context = ahead(args);
      const { ports, taking } = changeOf(context);
      // Who is on no network keeps them until it is on one; but what is taken over leads somewhere already.
      if (taking === null && context.uplink === undefined && context.attachments.length === 0) return false;
      return stranded(context, ports, context.attachments).length > 0;
    },
  },
  actions: {
    accept: assign({
      operation: ({ context, event }) => ({
        n: context.operation.n + 1,
        type: event.type,
        network: networkIn(event) || null,
      }),
      fault: null,
    }),
    markOwnerGone: assign({ ownerGone: true }),
    resume: assign({
      ownerGone: false,
      boundTo: ({ context, event }) => ('boundTo' in event ? event.boundTo : context.boundTo),
    }),
    notice: assign({ drift: ({ context, event }) => ('drift' in event ? event.drift : context.drift) }),

    // How a change begins.
    beginConfigure: assign({
      change: ({ context }) => begin(context, { networks: context.request.networks, wanted: context.request.ports }),
    }),
    beginConnect: assign({
      change: ({ context, event }) =>
        event.type === 'connect' ? begin(context, { networks: { [event.network]: event.options } }) : null,
    }),
    beginPublish: assign({
      change: ({ context, event }) =>
        event.type === 'publish'
          ? begin(context, {
              wanted: event.ports,
              taking: event.from === null ? null : { ...event.from, targets: [] },
            })
          : null,
    }),
    beginReload: assign({ change: ({ context }) => begin(context, { ports: context.ports }) }),
    beginRebuild: assign(({ context }) => {
      const attachments = relinked(context);
      const networks = attachments.map(({ network }) => network);
      return {
        attachments,
        nextOrdinal: context.nextOrdinal + attachments.length,
        lastFault: null,
        change: begin(context, { before: context.attachments, todo: networks }),
      };
    }),
    beginAdjust: assign(({ context, event }) => {
      if (event.type !== 'adjust') return {};
      const before = context.attachments.filter(({ network }) => network === event.network);
      return {
        attachments: revised(context.attachments, event.lease, event.remetric ?? false),
        change: begin(context, {
          networks: { [event.network]: context.request.networks[event.network] ?? {} },
          before,
          todo: [event.network],
        }),
      };
    }),
    beginRepair: assign(({ context, event }) => {
      const drift = 'drift' in event ? event.drift : context.drift;
      const named = new Set(drift.map(({ network }) => network));
      // Whoever does not know what has drifted looks at everything; so does one that something was missing of before.
      const all = named.size === 0 || event.type !== 'drifted' || context.attempts > 0;
      const todo = context.attachments.map(({ network }) => network).filter((network) => all || named.has(network));
      const uplink = context.uplink !== undefined && (all || drift.some(({ kind }) => kind === 'uplink'));
      return {
        drift,
        lastFault: null,
        change: begin(context, { todo, ports: context.ports, ...(uplink ? { uplink: 'repair' as const } : {}) }),
      };
    }),
    beginRestart: assign({
      lastFault: null,
      change: ({ context }) => begin(context, { ports: context.ports, uplink: 'restart' }),
    }),
    /** One that ends again and again as soon as it has begun is tried with growing pauses. */
    noteLost: assign({
      uplink: ({ context: { uplink }, event }) =>
        uplink === undefined || event.type !== 'lost'
          ? uplink
          : { ...uplink, endedSoon: event.soon ? uplink.endedSoon + 1 : 0 },
      drift: ({ context, event }) => (event.type === 'lost' ? event.drift : context.drift),
      fault: ({ context, event }) => (event.type === 'lost' && event.soon ? event.fault : context.fault),
    }),
    beginYield: assign({
      change: ({ context, event }) =>
        event.type === 'yield' ? begin(context, { ports: event.ports, taker: event.taker }) : null,
    }),
    beginDisconnect: assign({
      change: ({ context, event }) => {
        if (event.type !== 'disconnect') return null;
        const { network, force } = event;
        // Ports are the container's: with no network left to lead to they wait for the next one.
        return begin(context, { networks: { [network]: {} }, todo: [network], force });
      },
    }),
    beginUnpublish: assign({
      change: ({ context, event }) =>
        event.type === 'unpublish' ? begin(context, { ports: subtract(context.ports, event.ports).taken }) : null,
    }),
    /** Everything there is, and everything the interrupted operation may have made, is to go. */
    beginTeardown: assign({
      change: ({ context }): Change => {
        const { networks, before } = changeOf(context);
        return begin(context, {
          // Also those that were leased and never became an attachment.
          networks: { ...networks, ...Object.fromEntries(context.attachments.map(({ network }) => [network, {}])) },
          ports: allPorts(context),
          todo: context.attachments.map(({ network }) => network).reverse(),
          before,
          led: whereLed(context),
        });
      },
      ownerGone: false,
      leftovers: [],
    }),
    beginRollback: assign({
      change: ({ context }) => ({
        ...changeOf(context),
        todo: leaving(context)
          .map(({ network }) => network)
          .reverse(),
      }),
      leftovers: [],
    }),
    tryAgain: assign({ leftovers: [] }),
    /** What was refused or failed before is not why the next attempt does. */
    forgive: assign({ fault: null }),

    // What happens to it on the way.
    plan: assign((args) => (args.event.type === 'leased' ? ahead(args) : {})),
    noteUplink: assign((args) => {
      const { uplink } = ahead(args);
      return uplink === undefined ? {} : { uplink };
    }),
    /** The program is no more. */
    forgetUplink: assign(({ context: { uplink } }) =>
      uplink === undefined ? {} : { uplink: { ...uplink, made: null } },
    ),
    nextTodo: assign({ change: ({ context }) => ({ ...changeOf(context), todo: changeOf(context).todo.slice(1) }) }),
    /** Attachments still to be replaced are what they were; of the present one the roles are swapped. */
    revertRest: assign(({ context }) => {
      const change = changeOf(context);
      const [current] = change.todo;
      const was = (network: string) => change.before.find((attachment) => attachment.network === network);
      const is = (network: string) => context.attachments.find((attachment) => attachment.network === network);
      return {
        attachments: context.attachments.map((attachment) =>
          change.todo.includes(attachment.network) ? (was(attachment.network) ?? attachment) : attachment,
        ),
        change: {
          ...change,
          before: change.before.map((attachment) =>
            attachment.network === current ? (is(attachment.network) ?? attachment) : attachment,
          ),
        },
      };
    }),
    /** Everything that was changed, to be changed back. */
    revertAll: assign({
      attachments: ({ context }) => {
        const { before } = changeOf(context);
        return context.attachments.map(
          (attachment) => before.find(({ network }) => network === attachment.network) ?? attachment,
        );
      },
      change: ({ context }) => {
        const change = changeOf(context);
        const networks = Object.keys(change.networks);
        return { ...change, before: context.attachments, todo: networks };
      },
    }),

    // How it ends.
    adopt: assign(({ context }) => adopted(context)),
    clearChange: assign({ change: null }),
    clearDrift: assign({ change: null, drift: [], attempts: 0, fault: null, lastFault: null }),
    /** A container that is not configured has nothing that could be missing. */
    resetAttempts: assign({
      attempts: ({ context }) => (context.configured ? context.attempts : 0),
      lastFault: ({ context }) => (context.configured ? (context.lastFault ?? null) : null),
    }),
    /** The links of the change are no longer in the kernel. */
    dropLinks: assign({ attachments: ({ context }) => staying(context) }),
    /** The change is no longer in the kernel nor leased. */
    drop: assign({
      attachments: ({ context }) => staying(context),
      ports: ({ context }) => without(context.ports, changeOf(context).ports),
      change: null,
    }),
    forgetNetworks: assign({
      request: ({ context }) => ({
        ...context.request,
        networks: Object.fromEntries(
          Object.entries(context.request.networks).filter(
            ([network]) => !Object.hasOwn(changeOf(context).networks, network),
          ),
        ),
      }),
    }),
    forgetPorts: assign({
      request: ({ context }) => ({
        ...context.request,
        ports: unrequest(context.request.ports, changeOf(context).ports),
      }),
    }),
    /** In `created` a change is one of the request only. */
    request: assign(({ context }) => ({
      request: {
        ...context.request,
        networks: { ...context.request.networks, ...changeOf(context).networks },
        ports: [...context.request.ports, ...changeOf(context).wanted],
      },
      change: null,
    })),
    unrequestPorts: assign({
      request: ({ context, event }) => ({
        ...context.request,
        ports:
          event.type === 'unpublish'
            ? subtractMappings(context.request.ports, event.ports).left
            : context.request.ports,
      }),
    }),

    // Why it did not.
    blameError: assign({ fault: ({ event }) => faultOf(errorIn(event)) }),
    blameOutcome: assign({ fault: ({ context, event }) => context.fault ?? faultIn(event) }),
    blameRefusal: assign({ fault: ({ event }) => ('fault' in event ? event.fault : null) }),
    /** A step of the way out failed: it is a leftover, and the way out goes on. */
    addLeftover: assign({ leftovers: ({ context, event }) => [...context.leftovers, faultIn(event)] }),
    /** The same, where the step itself tells how it came out. */
    addStuckLeftover: assign({
      leftovers: ({ context, event }) =>
        outcomeIn(event) === 'stuck' ? [...context.leftovers, faultIn(event)] : context.leftovers,
    }),
    /** Neither gone nor whole: what was asked for is tried again, not its undoing. */
    forceRetry: assign({
      leftovers: ({ context }) => (context.fault === null ? context.leftovers : [...context.leftovers, context.fault]),
      fault: null,
      change: ({ context }) => ({ ...changeOf(context), force: true }),
    }),
    addRefusedLeftover: assign({
      leftovers: ({ context, event }) => ('fault' in event ? [...context.leftovers, event.fault] : context.leftovers),
    }),
    /** Granted but of no use: keep the grant in the change, so that the rollback gives it back. */
    blamePlan: assign({
      fault: ({ context, event }) => {
        if (event.type !== 'leased') return context.fault;
        const plan = planned(context, event);
        return 'fault' in plan ? plan.fault : nowhere(plan.context);
      },
      change: ({ context, event }) => ({
        ...changeOf(context),
        ports: event.type === 'leased' ? without(event.ports, context.ports) : [],
      }),
    }),
    blamePorts: assign({ fault: ({ context }) => nowhere(context) }),
    blameMode: assign({
      fault: ({ context: { id, request } }) =>
        blame(
          'MODE_NOT_SUPPORTED',
          request.uplink === undefined
            ? `container ${id} shares a namespace: "${request.netns.mode}" is not supported`
            : `container ${id} is on no network: "${request.uplink.program}" is not supported`,
        ),
    }),
    blameFixedPorts: assign({
      fault: ({ context }) =>
        blame(
          'MODE_NOT_SUPPORTED',
          `pasta of container ${context.id} was told its ports when it started: with port handler "forwarder" they can change`,
        ),
    }),
    blameConnected: assign({
      fault: ({ context, event }) =>
        blame('ALREADY_CONNECTED', `container ${context.id} is already connected to network ${networkIn(event)}`),
    }),
    blameNotConnected: assign({
      fault: ({ context, event }) =>
        blame('NOT_CONNECTED', `container ${context.id} is not connected to network ${networkIn(event)}`),
    }),
    blameNotPublished: assign({
      fault: ({ context }) => blame('NOT_PUBLISHED', `container ${context.id} does not publish these ports`),
    }),
    blameNotConfigured: assign({
      fault: ({ context }) =>
        blame('BAD_REQUEST', `container ${context.id} is not configured: it cannot take over a port`),
    }),
    countAttempt: assign({
      attempts: ({ context }) => context.attempts + 1,
      lastFault: ({ context }) => context.lastFault ?? context.fault ?? context.leftovers.at(-1) ?? null,
    }),
  },
});
