/**
 * The setup of the container's machine: its actors by name, its guards and its actions.
 *
 * Guarantees: a guard tests one property of the context, and an action makes one change to it. Both compute with pure
 * functions (plan/containers/change.ts and the files beside it).
 * Limits: container.ts says which of them is used when.
 * Over 400 lines because each guard and action is short, and XState takes all of them in one setup.
 */
import { assign, assertEvent, setup } from 'xstate';
import type { Attachment, ContainerContext } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { Uplink } from '../../state/uplink.ts';
import { attachmentMachine } from './attachment.ts';
import { effect, faultOf } from '../contract.ts';
import { relinked, revised } from '../../plan/containers/attachment.ts';
import type { Json } from '../../plan/external/conversation.ts';
import { answered, carrierOf } from '../../plan/external/external.ts';
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
  replacedBy,
  restoration,
  staying,
  stranded,
  takenBy,
  wantedBy,
  whereLed,
  type Granted,
  type PublishInput,
} from '../../plan/containers/change.ts';
import { subtract, subtractMappings, unrequest, without } from '../../plan/ports/port-list.ts';
import type { FilesInput } from '../../plan/containers/hosts.ts';
import { sameOptions } from '../../plan/containers/options.ts';
import type { NameInput, UnnameInput } from '../resolver.ts';
import { uplinkMachine, type UplinkOutput } from '../uplink.ts';
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
} from './container-inputs.ts';

const blame = (code: Fault['code'], message: string): Fault => ({ code, message });

const nowhere = ({ id, uplink, attachments, portHandler }: ContainerContext): Fault => {
  const external = attachments.find((one) => one.external !== undefined);
  if (external !== undefined) {
    const why =
      portHandler === 'forwarder'
        ? `network ${external.network} is internal, or has given it no address`
        : `the program of network ${external.network} publishes none, or only those that it gets when it is attached`;
    return blame('PORTS_NEED_NETWORK', `container ${id} has no network that its ports could lead to: ${why}`);
  }
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

/** Returns the error of an effect that rejected (error events of children are not part of the event union). */
const errorIn = (event: object): unknown => ('error' in event ? event.error : undefined);

const networkIn = (event: ContainerEvent): string => ('network' in event ? event.network : '');

/** Returns the link in the output of the uplink's machine, with the options that its program lacks; null for no link. */
const madeIn = (event: object): Pick<Uplink, 'made' | 'missing'> | null => {
  const { link = null, missing = [] } = ('output' in event ? (event.output ?? {}) : {}) as Partial<UplinkOutput>;
  return link === null ? null : { made: link, missing };
};

/** Returns true if a disconnect goes on when something cannot be removed. */
const forced = (context: ContainerContext): boolean => {
  const change = changeOf(context);
  return change.kind === 'disconnect' && change.force;
};

/** Returns true if a teardown has ports to remove. Ports that slirp4netns carries end with its process. */
const unpublishes = (context: ContainerContext): boolean =>
  context.portHandler !== 'slirp4netns' && changesPorts(removal(context));

const sharesNamespace = ({ request }: ContainerContext): boolean => ['host', 'container'].includes(request.netns.mode);

/** Returns the outcome in the output of an attachment's or uplink's machine. */
const outcomeIn = (event: object): string =>
  'output' in event ? (event.output as { outcome: string }).outcome : 'failed';

const faultIn = (event: object): Fault =>
  ('output' in event ? (event.output as { fault: Fault | null }).fault : null) ?? faultOf(errorIn(event));

/** Returns what a program of others has answered to the attachment's machine; null if it was not asked to add anything. */
const resultIn = (event: object): Json | null =>
  'output' in event ? ((event.output as { result?: Json | null }).result ?? null) : null;

export const setupContainer = setup({
  types: {
    context: {} as ContainerContext,
    input: {} as ContainerInput,
    events: {} as ContainerEvent,
    /** rest: the last operation has ended. passing: the daemon began the operation by itself, and it ends in a moment. */
    tags: {} as 'rest' | 'passing',
  },
  actors: {
    attachment: attachmentMachine,
    uplink: uplinkMachine,
    ensureNamespace: effect<{ dev: number; ino: number }, NamespaceInput>('ensureNamespace'),
    removeNamespace: effect<void, NamespaceInput>('removeNamespace'),
    lease: effect<Granted, LeaseInput>('lease'),
    /** Rejects only if leases are released, because the release is written to disk first. */
    release: effect<void, ReleaseInput>('release'),
    expose: effect<void, OuterInput>('expose'),
    /** Resolves with the fault if the publisher cannot be reached; the request is then repeated later. Otherwise null. */
    unexpose: effect<Fault | null, OuterInput>('unexpose'),
    name: effect<void, NameInput>('name'),
    /** Never rejects. */
    unname: effect<void, UnnameInput>('unname'),
    publish: effect<void, PublishInput>('publish'),
    unpublish: effect<void, PublishInput>('unpublish'),
    ensureFiles: effect<void, FilesInput>('ensureFiles'),
    removeFiles: effect<void, { id: string }>('removeFiles'),
    verifyFirewall: effect<void, { outside: string | null }>('verifyFirewall'),
    /** Never rejects. */
    awaitVerdict: effect<'taken' | 'kept', VerdictInput>('awaitVerdict'),
    awaitLinksGone: effect<void, DrainInput>('awaitLinksGone'),
    /** Never rejects. */
    backOff: effect<void, { attempt: number }>('backOff'),
  },
  guards: {
    /** The container uses a namespace that it does not own. */
    sharesNamespace: ({ context }) => sharesNamespace(context),
    /** The container shares a namespace or has an uplink, so it cannot be connected to networks. */
    takesNoNetwork: ({ context }) => context.uplink !== undefined || sharesNamespace(context),
    hasUplink: ({ context }) => context.uplink !== undefined,
    startsUplink: ({ context }) => startsUplink(context),
    restarts: ({ context }) => changeOf(context).kind === 'restart',
    repairsUplink: ({ context }) => {
      const change = changeOf(context);
      return change.kind === 'repair' && change.uplink;
    },
    notReady: ({ event }) => outcomeIn(event) !== 'ready',
    /** The uplink has ended shortly after its start for the second time in a row. Once may be chance. */
    endedSoon: ({ context, event }) => event.type === 'lost' && event.soon && (context.uplink?.endedSoon ?? 0) > 0,
    /** pasta and programs of external networks get their ports when they start, so they cannot change afterwards. */
    portsAreFixed: ({ context }) => context.portHandler === 'pasta' || carrierOf(context.attachments) !== undefined,
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
    hasPorts: ({ context, event }) =>
      event.type === 'yield' &&
      carrierOf(context.attachments) === undefined &&
      without(event.ports, context.ports).length === 0,

    // The present step has nothing to do.
    noNamespace: ({ context }) => context.netns === null,
    nothingToAdd: ({ context }) => {
      const change = changeOf(context);
      return !startsUplink(context) && Object.keys(change.networks).length === 0 && wantedBy(change).length === 0;
    },
    nothingToExpose: ({ context }) => context.publisher === null || changeOf(context).ports.length === 0,
    nothingToName: ({ context }) => namesOfChange(context).length === 0,
    nothingToPublish: ({ context }) => !changesPorts(exposure(context)),
    nothingToRepublish: ({ context }) => changeOf(context).ports.length === 0,
    nothingToDivert: ({ context }) => !changesPorts(diversion(context)),
    nothingToRestore: ({ context }) => !changesPorts(restoration(context)),
    nothingToReinstate: ({ context }) => !changesPorts(reinstatement(context)),
    nothingToUnpublish: ({ context }) => !unpublishes(context),
    writesNoFiles: ({ context }) => !context.files,

    exposes: ({ context }) => context.publisher !== null && changeOf(context).ports.length > 0,
    names: ({ context }) => namesOfChange(context).length > 0,
    publishes: ({ context }) => changesPorts(exposure(context)),
    unpublishes: ({ context }) => unpublishes(context),
    writesFiles: ({ context }) => context.files,
    attaches: ({ context }) => changeOf(context).todo.length > 0,
    /** True if links, or what programs of others have made, do not end with the namespace (beginTeardown). */
    detachesLinks: ({ context }) => changeOf(context).todo.length > 0,
    moreToDo: ({ context }) => changeOf(context).todo.length > 1,
    notAttached: ({ event }) => outcomeIn(event) !== 'attached',
    stuck: ({ event }) => outcomeIn(event) === 'stuck',
    stuckForced: ({ context, event }) => outcomeIn(event) === 'stuck' && forced(context),
    stuckOfMany: ({ context, event }) => outcomeIn(event) === 'stuck' && changeOf(context).todo.length > 1,
    leftovers: ({ context }) => context.leftovers.length > 0,
    nothingLeased: ({ context }) =>
      Object.keys(changeOf(context).networks).length === 0 &&
      changeOf(context).ports.length === 0 &&
      context.uplink === undefined,
    noLinks: ({ context }) => context.attachments.length === 0,
    noPorts: ({ context }) => changeOf(context).ports.length === 0,
    hasFailures: ({ context }) => context.configured && context.attempts > 0,
    hasFault: ({ context }) => context.fault !== null,
    portsWithoutNetwork: ({ context }) => {
      const change = changeOf(context);
      // Without a network that takes ports, they wait for the next one. Ports that are taken over may not wait: they carry traffic already.
      // The addresses of an external one are not known yet.
      const takesNone = ({ child, addresses, external }: Attachment) =>
        child !== undefined || (addresses.length === 0 && external === undefined);
      const leadsNowhere = context.uplink === undefined && context.attachments.every(takesNone);
      if (leadsNowhere && takenBy(change) === null) return false;
      return stranded(context, change.ports, context.attachments).length > 0;
    },

    // The operation that failed and could not be undone.
    wasRebuilding: ({ context }) => changeOf(context).kind === 'rebuild',
    wasAdjusting: ({ context }) => changeOf(context).kind === 'adjust',
    wasDisconnecting: ({ context }) => changeOf(context).kind === 'disconnect',
    forced: ({ context }) => forced(context),
  },
  actions: {
    accept: assign({
      operation: ({ context, event }) => ({
        n: context.operation.n + 1,
        type: event.type,
        network: networkIn(event) || null,
        ...('promised' in event && event.promised !== undefined ? { promised: event.promised } : {}),
      }),
      fault: null,
    }),
    markOwnerGone: assign({ ownerGone: true }),
    resume: assign({
      ownerGone: false,
      boundTo: ({ context, event }) => ('boundTo' in event ? event.boundTo : context.boundTo),
      exit: ({ event }) => ('exit' in event ? event.exit : undefined),
    }),
    noteDrift: assign({ drift: ({ context, event }) => ('drift' in event ? event.drift : context.drift) }),

    // Beginning of a change.
    beginConfigure: assign({
      change: ({ context: { request }, context }) =>
        begin(context, { kind: 'configure', networks: request.networks, wanted: request.ports }),
    }),
    beginConnect: assign({
      change: ({ context, event }) => {
        assertEvent(event, 'connect');
        return begin(context, { kind: 'connect', networks: { [event.network]: event.options } });
      },
    }),
    beginPublish: assign({
      change: ({ context, event }) => {
        assertEvent(event, 'publish');
        const { ports: wanted, from } = event;
        return begin(context, { kind: 'publish', wanted, taking: from === null ? null : { ...from, targets: [] } });
      },
    }),
    beginReload: assign({
      change: ({ context }) => {
        const externals = context.attachments.filter(({ external }) => external !== undefined);
        const todo = externals.map(({ network }) => network);
        return begin(context, { kind: 'reload', ports: context.ports, todo });
      },
    }),
    beginRebuild: assign(({ context }) => {
      const attachments = relinked(context);
      const networks = attachments.map(({ network }) => network);
      return {
        attachments,
        nextOrdinal: context.nextOrdinal + attachments.length,
        lastFault: null,
        change: begin(context, { kind: 'rebuild', before: context.attachments, todo: networks }),
      };
    }),
    beginAdjust: assign(({ context, event }) => {
      assertEvent(event, 'adjust');
      const before = context.attachments.filter(({ network }) => network === event.network);
      return {
        attachments: revised(context.attachments, event.lease, event.remetric ?? false),
        change: begin(context, {
          kind: 'adjust',
          networks: { [event.network]: context.request.networks[event.network] ?? {} },
          before,
          todo: [event.network],
        }),
      };
    }),
    beginRepair: assign(({ context, event }) => {
      const drift = 'drift' in event ? event.drift : context.drift;
      const named = new Set(drift.map(({ network }) => network));
      // Repairs everything if no network is named, if the event is not `drifted`, or if an earlier attempt has failed.
      const all = named.size === 0 || event.type !== 'drifted' || context.attempts > 0;
      const todo = context.attachments.map(({ network }) => network).filter((network) => all || named.has(network));
      const uplink = context.uplink !== undefined && (all || drift.some(({ kind }) => kind === 'uplink'));
      return {
        drift,
        lastFault: null,
        change: begin(context, { kind: 'repair', todo, ports: context.ports, uplink }),
      };
    }),
    beginRestart: assign({
      lastFault: null,
      change: ({ context }) => begin(context, { kind: 'restart', ports: context.ports }),
    }),
    /** Counts how often in a row the uplink ended shortly after its start. The pauses of `degraded` grow with this number. */
    noteLost: assign(({ context: { uplink, fault }, event }) => {
      assertEvent(event, 'lost');
      return {
        ...(uplink === undefined ? {} : { uplink: { ...uplink, endedSoon: event.soon ? uplink.endedSoon + 1 : 0 } }),
        drift: event.drift,
        fault: event.soon ? event.fault : fault,
      };
    }),
    beginYield: assign({
      change: ({ context, event }) => {
        assertEvent(event, 'yield');
        return begin(context, { kind: 'yield', ports: event.ports, taker: event.taker });
      },
    }),
    beginDisconnect: assign({
      change: ({ context, event }) => {
        assertEvent(event, 'disconnect');
        const { network, force } = event;
        // The ports stay with the container: if no network is left, they wait for the next one.
        return begin(context, { kind: 'disconnect', networks: { [network]: {} }, todo: [network], force });
      },
    }),
    beginUnpublish: assign({
      change: ({ context, event }) => {
        assertEvent(event, 'unpublish');
        return begin(context, { kind: 'unpublish', ports: subtract(context.ports, event.ports).taken });
      },
    }),
    /** Includes everything that the interrupted operation may have made. */
    beginTeardown: assign({
      change: ({ context }) => {
        const change = changeOf(context);
        return begin(context, {
          kind: 'teardown',
          // Includes networks with a lease that never became an attachment.
          networks: {
            ...change.networks,
            ...Object.fromEntries(context.attachments.map(({ network }) => [network, {}])),
          },
          ports: allPorts(context),
          // The links in a namespace of ours end with it. One on a parent would keep its MAC from others until then, and a program
          // of others has made more than a link.
          todo: context.attachments
            .filter(
              ({ child, external }) => child !== undefined || external !== undefined || context.netns?.owned !== true,
            )
            .map(({ network }) => network)
            .reverse(),
          before: [...replacedBy(change)],
          led: whereLed(context),
        });
      },
      ownerGone: false,
      leftovers: [],
    }),
    beginRollback: assign({
      change: ({ context }) => {
        const todo = leaving(context).map(({ network }) => network);
        return context.change && { ...context.change, todo: todo.reverse() };
      },
      leftovers: [],
    }),
    tryAgain: assign({ leftovers: [] }),
    /** Clears the fault of an earlier request or attempt before the next attempt. */
    clearFault: assign({ fault: null }),

    // During a change.
    /** Plans the change with the granted leases and ports. If no plan is possible, they stay in the change for the rollback. */
    plan: assign(({ context }, granted: Granted) => {
      const plan = planned(context, granted);
      if ('context' in plan) return plan.context;
      const ports = without(granted.ports, context.ports);
      return { fault: plan.fault, change: context.change && { ...context.change, ports } };
    }),
    noteUplink: assign({
      uplink: ({ context: { uplink }, event }) => {
        const made = madeIn(event);
        return uplink === undefined || made === null ? uplink : { ...uplink, ...made };
      },
    }),
    /** The program has ended. */
    forgetUplink: assign(({ context: { uplink } }) =>
      uplink === undefined ? {} : { uplink: { ...uplink, made: null } },
    ),
    /** Keeps what a program of others has answered: its removal gets it, and the addresses are in it. */
    noteResult: assign({
      attachments: ({ context, event }) => {
        const [network] = changeOf(context).todo;
        const result = resultIn(event);
        if (result === null) return context.attachments;
        return context.attachments.map((one) => (one.network === network ? answered(one, result) : one));
      },
    }),
    nextTodo: assign({
      change: ({ context: { change } }) => change && { ...change, todo: change.todo.slice(1) },
    }),
    /** Reverts the attachments that are not replaced yet. For the present one, swaps the old and the new attachment. */
    revertRest: assign(({ context }) => {
      const { change } = context;
      if (change?.kind !== 'rebuild') return {};
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
    /** Swaps old and new attachments, and puts all networks of the change into `todo` again. */
    revertAll: assign(({ context: { attachments, change } }) => {
      if (change?.kind !== 'adjust') return {};
      const was = (now: Attachment) => change.before.find(({ network }) => network === now.network) ?? now;
      return {
        attachments: attachments.map(was),
        change: { ...change, before: attachments, todo: Object.keys(change.networks) },
      };
    }),

    // End of a change.
    adopt: assign(({ context }) => adopted(context)),
    clearChange: assign({ change: null }),
    clearDrift: assign({ change: null, drift: [], attempts: 0, fault: null, lastFault: null }),
    /** Clears the failures of a container that is not configured, because nothing of it can be missing. */
    resetAttempts: assign({
      attempts: ({ context }) => (context.configured ? context.attempts : 0),
      lastFault: ({ context }) => (context.configured ? (context.lastFault ?? null) : null),
    }),
    /** The links of the change are no longer in the kernel. */
    dropLinks: assign({ attachments: ({ context }) => staying(context) }),
    /** The change is neither in the kernel nor leased any more. */
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
    /** Changes the request only. In `created`, nothing else exists yet. */
    request: assign(({ context }) => ({
      request: {
        ...context.request,
        networks: { ...context.request.networks, ...changeOf(context).networks },
        ports: [...context.request.ports, ...wantedBy(changeOf(context))],
      },
      change: null,
    })),
    unrequestPorts: assign({
      request: ({ context: { request }, event }) => {
        assertEvent(event, 'unpublish');
        return { ...request, ports: subtractMappings(request.ports, event.ports).left };
      },
    }),

    // Faults.
    blameError: assign({ fault: ({ event }) => faultOf(errorIn(event)) }),
    blameOutcome: assign({ fault: ({ context, event }) => context.fault ?? faultIn(event) }),
    /** A step of the removal failed: adds its fault to the leftovers. The removal goes on. */
    addLeftover: assign({ leftovers: ({ context, event }) => [...context.leftovers, faultIn(event)] }),
    /** The same, if the output of a child machine says that the step failed. */
    addStuckLeftover: assign({
      leftovers: ({ context, event }) =>
        outcomeIn(event) === 'stuck' ? [...context.leftovers, faultIn(event)] : context.leftovers,
    }),
    /** A disconnect could be neither completed nor undone: the next attempt completes it, with `force`. */
    forceRetry: assign({
      leftovers: ({ context }) => (context.fault === null ? context.leftovers : [...context.leftovers, context.fault]),
      fault: null,
      change: ({ context: { change } }) => (change?.kind === 'disconnect' ? { ...change, force: true } : change),
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
      fault: ({ context: { id, attachments } }) => {
        const carrier = carrierOf(attachments);
        return blame(
          'MODE_NOT_SUPPORTED',
          carrier === undefined
            ? `pasta of container ${id} was told its ports when it started: with port handler "forwarder" they can change`
            : `the ports of container ${id} were given to the program of network ${carrier.network} when it was attached: ` +
                `disconnect it, change them, and connect it again`,
        );
      },
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
