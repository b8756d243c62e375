/**
 * The life of one container's network: the machine that decides, for everything else to obey.
 *
 * Guarantees:
 * - Names, addresses and ports are in the context, and so on disk, before an effect makes them.
 * - Every operation ends in a state tagged `rest`: as asked for, or as before with `fault` saying why.
 * - An operation is a `change`: networks and ports that are added (lease, attach, expose) or taken away (withdraw,
 *   detach, release). Undoing a failed addition is taking the same change away again: one path, tried for real each day.
 * - What cannot be taken away is listed in `leftovers`, tried again with growing pauses, and never forgotten.
 * - `teardown` is accepted in every state but the last.
 * Order in: namespace, lease, links, ports. Order out: ports, links, namespace, lease (netavark#1482: rules go before
 * links, or translated packets leave by the wrong door).
 * Limits: one operation at a time; another meanwhile is refused with the legal events, except teardown.
 * Over 400 lines because the whole life is one picture, and a picture is not cut in two.
 */
import { assign, setup } from 'xstate';
import type { ContainerContext, Lease, ProcessIdentity, ResolvedPort } from '../state/container.ts';
import type { AttachmentOptions, PortMapping } from '../state/event.ts';
import type { Fault } from '../state/faults.ts';
import { attachmentMachine, type AttachmentInput } from './attachment.ts';
import { conversation, effect, faultOf } from './contract.ts';
import { planAttachments, publishAddresses } from './plan/attachment.ts';
import { portTargets, type PortTarget } from './plan/ports.ts';

export type ContainerInput = Omit<
  ContainerContext,
  | 'identity'
  | 'attachments'
  | 'ports'
  | 'nextOrdinal'
  | 'configured'
  | 'change'
  | 'operation'
  | 'fault'
  | 'leftovers'
  | 'attempts'
>;

/** What comes from outside: the lifecycle words, facts of the world, and answers of the shared machines. */
export type ContainerEvent =
  | { type: 'configure' }
  | { type: 'connect'; network: string; options: AttachmentOptions }
  | { type: 'disconnect'; network: string }
  | { type: 'reload' }
  | { type: 'publish'; ports: PortMapping[] }
  | { type: 'unpublish'; ports: PortMapping[] }
  | { type: 'teardown' }
  | { type: 'process.exited' }
  | { type: 'leased'; leases: Lease[]; ports: ResolvedPort[] }
  | { type: 'refused'; fault: Fault }
  | { type: 'released' }
  | { type: 'retry' };

export interface NamespaceInput {
  owner: string;
  outside: string | null;
  /** Where it is pinned. */
  path: string;
  /** A namespace of our own, or one that is joined: of a process that must still be this one, or at a path. */
  source: { mode: 'new' } | { mode: 'process'; process: ProcessIdentity } | { mode: 'path'; path: string };
}

export interface LeaseInput {
  owner: string;
  outside: string | null;
  networks: Record<string, AttachmentOptions>;
  ports: PortMapping[];
}

export interface ReleaseInput {
  owner: string;
  outside: string | null;
  networks: string[];
  ports: ResolvedPort[];
}

export interface PublishInput {
  owner: string;
  outside: string | null;
  targets: PortTarget[];
}

export interface DrainInput {
  owner: string;
  outside: string | null;
  links: string[];
  /** Container addresses that published ports led to: their tracked connections are forgotten. */
  addresses: string[];
}

type Change = NonNullable<ContainerContext['change']>;

const NO_CHANGE: Change = { networks: {}, wanted: [], ports: [], todo: [] };

/** The change in progress; states that use it are only entered with one. */
const changeOf = (context: ContainerContext): Change => context.change ?? NO_CHANGE;

const namespaceInput = ({ context }: { context: ContainerContext }): NamespaceInput => ({
  owner: context.owner,
  outside: context.outside,
  path: context.netns?.path ?? '',
  source:
    context.request.netns.mode === 'pid' && context.boundTo !== null
      ? { mode: 'process', process: context.boundTo }
      : context.netns !== null && context.netns.from !== null
        ? { mode: 'path', path: context.netns.from }
        : { mode: 'new' },
});

const publishInput = ({ context }: { context: ContainerContext }): PublishInput => ({
  owner: context.owner,
  outside: context.outside,
  targets: portTargets(changeOf(context).ports, publishAddresses(context.attachments)),
});

const releaseInput =
  (what: 'everything' | 'ports') =>
  ({ context }: { context: ContainerContext }): ReleaseInput => ({
    owner: context.owner,
    outside: context.outside,
    networks: what === 'everything' ? Object.keys(changeOf(context).networks) : [],
    ports: changeOf(context).ports,
  });

/** Where withdrawn ports lead once the networks of the change are gone. */
const movedPorts = (context: ContainerContext): PublishInput => {
  const { networks, ports } = changeOf(context);
  const rest = context.attachments.filter(({ network }) => !(network in networks));
  return { owner: context.owner, outside: context.outside, targets: portTargets(ports, publishAddresses(rest)) };
};

const attachmentInput =
  (verb: AttachmentInput['verb']) =>
  ({ context }: { context: ContainerContext }): AttachmentInput => {
    const attachment = context.attachments.find(({ network }) => network === changeOf(context).todo[0]);
    if (attachment === undefined || context.netns === null) throw new Error(`nothing to ${verb}`);
    return {
      verb,
      attachment,
      netns: context.netns.path,
      owned: context.netns.owned,
      outside: context.outside,
      owner: context.owner,
    };
  };

/** The plan for the leases just granted: pure, so the guard and the assignment see the same one. */
const planned = (context: ContainerContext, leases: Lease[]) =>
  planAttachments(context, leases, changeOf(context).networks);

const samePort = (a: ResolvedPort, b: ResolvedPort): boolean =>
  a.protocol === b.protocol && a.hostIp === b.hostIp && a.hostPort === b.hostPort;

/** Of the ports just claimed, those that were not published before: only they are taken away if the rest fails. */
const newPorts = (context: ContainerContext, ports: ResolvedPort[]): ResolvedPort[] =>
  ports.filter((port) => !context.ports.some((other) => samePort(other, port)));

/** The published ports that an unpublish means: host address, host port (0: any) and container port agree. */
const meant = (context: ContainerContext, mappings: PortMapping[]): ResolvedPort[] =>
  context.ports.filter((port) =>
    mappings.some(
      (mapping) =>
        (mapping.protocol ?? 'tcp') === port.protocol &&
        (mapping.host_ip ?? '') === port.hostIp &&
        mapping.container_port === port.containerPort &&
        (mapping.range ?? 1) === port.range &&
        ((mapping.host_port ?? 0) === 0 || mapping.host_port === port.hostPort),
    ),
  );

const sameMapping = (a: PortMapping, b: PortMapping): boolean =>
  (a.protocol ?? 'tcp') === (b.protocol ?? 'tcp') &&
  (a.host_ip ?? '') === (b.host_ip ?? '') &&
  (a.host_port ?? 0) === (b.host_port ?? 0) &&
  a.container_port === b.container_port &&
  (a.range ?? 1) === (b.range ?? 1);

const blame = (code: Fault['code'], message: string): Fault => ({ code, message });

/** What an effect was rejected with (error events of children are not part of the event union). */
const errorIn = (event: object): unknown => ('error' in event ? event.error : undefined);

const networkIn = (event: ContainerEvent): string => ('network' in event ? event.network : '');

const setupContainer = setup({
  types: {
    context: {} as ContainerContext,
    input: {} as ContainerInput,
    events: {} as ContainerEvent,
    tags: {} as 'rest',
  },
  actors: {
    attachment: attachmentMachine,
    ensureNamespace: effect<{ dev: number; ino: number }, NamespaceInput>('ensureNamespace'),
    removeNamespace: effect<void, NamespaceInput>('removeNamespace'),
    lease: conversation<LeaseInput>('lease'),
    release: conversation<ReleaseInput>('release'),
    publish: effect<void, PublishInput>('publish'),
    unpublish: effect<void, PublishInput>('unpublish'),
    awaitLinksGone: effect<void, DrainInput>('awaitLinksGone'),
    backOff: conversation<{ attempt: number }>('backOff'),
  },
  guards: {
    noNamespace: ({ context }) => context.netns === null,
    ownsNamespace: ({ context }) => context.netns?.owned === true,
    moreToDo: ({ context }) => changeOf(context).todo.length > 0,
    nothingToAdd: ({ context }) =>
      Object.keys(changeOf(context).networks).length === 0 && changeOf(context).wanted.length === 0,
    noPorts: ({ context }) => changeOf(context).ports.length === 0,
    noLinks: ({ context }) => context.attachments.length === 0,
    nothingLeased: ({ context }) =>
      Object.keys(changeOf(context).networks).length === 0 && changeOf(context).ports.length === 0,
    wasDisconnecting: ({ context }) => context.operation.type === 'disconnect',
    wasUnpublishing: ({ context }) => context.operation.type === 'unpublish',
    portsGo: ({ context }) => movedPorts(context).targets.length === 0,
    leftovers: ({ context }) => context.leftovers.length > 0,
    configured: ({ context }) => context.configured,
    /** It uses a namespace that others look after. */
    sharesNamespace: ({ context }) => ['host', 'container'].includes(context.request.netns.mode),
    attached: ({ context, event }) =>
      'network' in event && context.attachments.some(({ network }) => network === event.network),
    requested: ({ context, event }) => 'network' in event && event.network in context.request.networks,
    published: ({ context, event }) =>
      'ports' in event && event.type === 'unpublish' && meant(context, event.ports).length > 0,
    unplannable: ({ context, event }) => event.type === 'leased' && 'fault' in planned(context, event.leases),
    portsWithoutNetwork: ({ context, event }) => {
      if (event.type !== 'leased' || event.ports.length === 0) return false;
      const plan = planned(context, event.leases);
      if (!('attachments' in plan)) return false;
      const addresses = publishAddresses(plan.attachments);
      return event.ports.some((port) => portTargets([{ ...port, range: 1 }], addresses).length === 0);
    },
  },
  actions: {
    accept: assign({
      operation: ({ context, event }) => ({ n: context.operation.n + 1, type: event.type }),
      fault: null,
    }),
    beginConfigure: assign({
      change: ({ context }) => ({ ...NO_CHANGE, networks: context.request.networks, wanted: context.request.ports }),
    }),
    beginConnect: assign({
      change: ({ event }) =>
        event.type === 'connect' ? { ...NO_CHANGE, networks: { [event.network]: event.options } } : null,
    }),
    beginPublish: assign({
      change: ({ event }) => (event.type === 'publish' ? { ...NO_CHANGE, wanted: event.ports } : null),
    }),
    beginReload: assign({ change: ({ context }) => ({ ...NO_CHANGE, ports: context.ports }) }),
    beginDisconnect: assign({
      change: ({ context, event }) => {
        if (event.type !== 'disconnect') return null;
        const rest = context.attachments.filter(({ network }) => network !== event.network);
        // Ports lead to the first attachment: when it goes and another takes its place, they move; with the last, they go.
        const moves = publishAddresses(rest).join() !== publishAddresses(context.attachments).join();
        return {
          ...NO_CHANGE,
          networks: { [event.network]: {} },
          ports: moves ? context.ports : [],
          todo: [event.network],
        };
      },
    }),
    beginUnpublish: assign({
      change: ({ context, event }) =>
        event.type === 'unpublish' ? { ...NO_CHANGE, ports: meant(context, event.ports) } : null,
    }),
    /** Everything there is, and everything the interrupted operation may have made, is to go. */
    beginTeardown: assign({
      change: ({ context }) => ({
        ...NO_CHANGE,
        // Also those that were leased and never became an attachment.
        networks: {
          ...changeOf(context).networks,
          ...Object.fromEntries(context.attachments.map(({ network }) => [network, {}])),
        },
        ports: [
          ...context.ports,
          ...changeOf(context).ports.filter((port) => !context.ports.some((p) => samePort(p, port))),
        ],
        todo: context.attachments.map(({ network }) => network).reverse(),
      }),
      leftovers: [],
    }),
    beginRollback: assign({
      change: ({ context }) => ({
        ...changeOf(context),
        todo: context.attachments
          .map(({ network }) => network)
          .filter((network) => network in changeOf(context).networks)
          .reverse(),
      }),
      leftovers: [],
    }),
    plan: assign(({ context, event }) => {
      if (event.type !== 'leased') return {};
      const plan = planned(context, event.leases);
      const attachments = 'attachments' in plan ? plan.attachments : context.attachments;
      return {
        attachments,
        nextOrdinal: context.nextOrdinal + attachments.length - context.attachments.length,
        change: {
          ...changeOf(context),
          ports: newPorts(context, event.ports),
          todo: event.leases.map(({ network }) => network),
        },
      };
    }),
    /** Granted but of no use: keep the grant in the change, so that the rollback gives it back. */
    blamePlan: assign({
      fault: ({ context, event }) => {
        if (event.type !== 'leased') return context.fault;
        const plan = planned(context, event.leases);
        return 'fault' in plan
          ? plan.fault
          : {
              code: 'PORTS_NEED_NETWORK' as const,
              message: 'a published port leads nowhere: no network that is not internal has an address of its family',
            };
      },
      change: ({ context, event }) => ({
        ...changeOf(context),
        ports: event.type === 'leased' ? newPorts(context, event.ports) : [],
      }),
    }),
    blameError: assign({ fault: ({ event }) => faultOf(errorIn(event)) }),
    /** Keep why a step of the way out failed, and go on with the next: it does all it can (B9, B10). */
    keepFault: assign({ leftovers: ({ context, event }) => [...context.leftovers, faultOf(errorIn(event))] }),
    blameConnected: assign({
      fault: ({ context, event }) =>
        blame('ALREADY_CONNECTED', `container ${context.id} is already connected to network ${networkIn(event)}`),
    }),
    blameNotConnected: assign({
      fault: ({ context, event }) =>
        blame('NOT_CONNECTED', `container ${context.id} is not connected to network ${networkIn(event)}`),
    }),
    blameMode: assign({
      fault: ({ context, event }) =>
        blame('MODE_NOT_SUPPORTED', `"${context.request.netns.mode}" is not supported: ${event.type} of ${context.id}`),
    }),
    blameNotPublished: assign({
      fault: ({ context }) => blame('NOT_PUBLISHED', `container ${context.id} does not publish these ports`),
    }),
    countAttempt: assign({ attempts: ({ context }) => context.attempts + 1 }),
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
            ? context.request.ports.filter((port) => !event.ports.some((other) => sameMapping(port, other)))
            : context.request.ports,
      }),
    }),
    settle: assign({ change: null }),
    /** The ports moved to another attachment: they are not part of what is dropped. */
    keepPorts: assign({ change: ({ context }) => ({ ...changeOf(context), ports: [] }) }),
    blameRefusal: assign({ fault: ({ event }) => (event.type === 'refused' ? event.fault : null) }),
    nextTodo: assign({ change: ({ context }) => ({ ...changeOf(context), todo: changeOf(context).todo.slice(1) }) }),
    /** The addition is complete: it is part of the container now. */
    adopt: assign({
      request: ({ context }) => ({
        ...context.request,
        networks: { ...context.request.networks, ...changeOf(context).networks },
        ports: context.configured ? [...context.request.ports, ...changeOf(context).wanted] : context.request.ports,
      }),
      ports: ({ context }) => [
        ...context.ports,
        ...changeOf(context).ports.filter((port) => !context.ports.some((p) => samePort(p, port))),
      ],
      configured: true,
      change: null,
    }),
    /** The links of the change are no longer in the kernel: ports lead to what is left from here on. */
    dropLinks: assign({
      attachments: ({ context }) =>
        context.attachments.filter(({ network }) => !(network in changeOf(context).networks)),
    }),
    /** The change is no longer in the kernel nor leased. */
    drop: assign({
      attachments: ({ context }) =>
        context.attachments.filter(({ network }) => !(network in changeOf(context).networks)),
      ports: ({ context }) => context.ports.filter((port) => !changeOf(context).ports.some((p) => samePort(p, port))),
      change: null,
      attempts: 0,
    }),
    forgetNetworks: assign({
      request: ({ context }) => ({
        ...context.request,
        networks: Object.fromEntries(
          Object.entries(context.request.networks).filter(([network]) => !(network in changeOf(context).networks)),
        ),
      }),
    }),
    forgetPorts: assign({
      request: ({ context }) => ({
        ...context.request,
        ports: context.request.ports.filter(
          (mapping) => !meant({ ...context, ports: changeOf(context).ports }, [mapping]).length,
        ),
      }),
    }),
  },
});

/** Lease, attach, expose: how a change is added. `done` and failure leave to the container's own states. */
const adding = (done: string) =>
  setupContainer.createStateConfig({
    initial: 'leasing',
    states: {
      leasing: {
        description:
          'Asks the networks for addresses and the outside for host ports. Owns nothing in the kernel. ' +
          'Leaves with everything granted and planned, or refused with nothing changed.',
        always: { guard: 'nothingToAdd', target: done, actions: 'adopt' },
        invoke: {
          id: 'lease',
          src: 'lease',
          input: ({ context }) => ({
            owner: context.owner,
            outside: context.outside,
            networks: changeOf(context).networks,
            ports: changeOf(context).wanted,
          }),
        },
        on: {
          leased: [
            { guard: 'unplannable', target: '#container.rollingBack', actions: 'blamePlan' },
            { guard: 'portsWithoutNetwork', target: '#container.rollingBack', actions: ['blamePlan', 'plan'] },
            { target: 'attaching', actions: 'plan' },
          ],
          refused: { target: '#container.rollingBack', actions: 'blameRefusal' },
        },
      },
      attaching: {
        description: 'Owns a lease for each network of the change. Makes the attachments one after another.',
        initial: 'choosing',
        onDone: 'exposing',
        states: {
          choosing: {
            description: 'Takes the next network of the change, until none is left.',
            always: [{ guard: 'moreToDo', target: 'attachment' }, { target: 'done' }],
          },
          attachment: {
            description: "The attachment's own machine makes it, or says why not and has taken away what it made.",
            invoke: {
              id: 'attachment',
              src: 'attachment',
              input: attachmentInput('attach'),
              onDone: [
                {
                  guard: ({ event }) => event.output.outcome === 'attached',
                  target: 'choosing',
                  actions: 'nextTodo',
                },
                {
                  target: '#container.rollingBack',
                  actions: assign({ fault: ({ event }) => event.output.fault }),
                },
              ],
              onError: {
                target: '#container.rollingBack',
                actions: 'blameError',
              },
            },
          },
          done: { type: 'final', description: 'Every network of the change is attached.' },
        },
      },
      exposing: {
        description: 'Owns the links. Makes the published ports reachable in one firewall transaction.',
        always: { guard: 'noPorts', target: done, actions: 'adopt' },
        invoke: {
          id: 'publish',
          src: 'publish',
          input: publishInput,
          onDone: { target: done, actions: 'adopt' },
          onError: {
            target: '#container.rollingBack',
            actions: 'blameError',
          },
        },
      },
    },
  });

const withdrawing = (next: string) =>
  setupContainer.createStateConfig({
    description: 'Takes the published ports of the change out of the firewall. Must not touch a link before.',
    always: { guard: 'noPorts', target: next },
    invoke: {
      id: 'unpublish',
      src: 'unpublish',
      input: publishInput,
      onDone: next,
      onError: { target: next, actions: 'keepFault' },
    },
  });

const detaching = (next: string) =>
  setupContainer.createStateConfig({
    description: 'Takes the attachments of the change away, last made first; goes on when one of them is stuck.',
    initial: 'choosing',
    onDone: next,
    states: {
      choosing: {
        description: 'Takes the next network of the change, until none is left.',
        always: [{ guard: 'moreToDo', target: 'attachment' }, { target: 'done' }],
      },
      attachment: {
        description: "The attachment's own machine takes it away, or says what is stuck.",
        invoke: {
          id: 'attachment',
          src: 'attachment',
          input: attachmentInput('detach'),
          onDone: {
            target: 'choosing',
            actions: [
              'nextTodo',
              assign({
                leftovers: ({ context, event }) =>
                  event.output.outcome === 'stuck' && event.output.fault !== null
                    ? [...context.leftovers, event.output.fault]
                    : context.leftovers,
              }),
            ],
          },
          onError: { target: 'choosing', actions: ['nextTodo', 'keepFault'] },
        },
      },
      done: { type: 'final', description: 'Every network of the change was tried.' },
    },
  });

const releasing = (done: string, actions: 'drop'[] | ('drop' | 'forgetNetworks' | 'forgetPorts')[]) =>
  setupContainer.createStateConfig({
    description: 'The kernel holds nothing of the change: addresses and host ports go back to their owners.',
    invoke: {
      id: 'release',
      src: 'release',
      input: releaseInput('everything'),
    },
    on: { released: { target: done, actions } },
  });

export const containerMachine = setupContainer.createMachine({
  id: 'container',
  version: '1',
  options: { maxIterations: 50 },
  context: ({ input }) => ({
    ...input,
    identity: null,
    attachments: [],
    ports: [],
    nextOrdinal: 0,
    configured: false,
    change: null,
    operation: { n: 1, type: 'create' },
    fault: null,
    leftovers: [],
    attempts: 0,
  }),
  initial: 'creating',
  on: {
    teardown: { target: '.tearingDown', actions: ['accept', 'beginTeardown'] },
    'process.exited': { target: '.tearingDown', actions: ['accept', 'beginTeardown'] },
  },
  states: {
    creating: {
      description:
        'Enters on create. Owns the pinned network namespace from here on. Must not configure anything in it.',
      always: { guard: 'noNamespace', target: 'created' },
      invoke: {
        id: 'ensureNamespace',
        src: 'ensureNamespace',
        input: namespaceInput,
        onDone: { target: 'created', actions: assign({ identity: ({ event }) => event.output }) },
        onError: { target: 'abandoning', actions: 'blameError' },
      },
    },
    abandoning: {
      description: 'The namespace could not be made: takes away what there may be of it. Leaves to gone.',
      invoke: {
        id: 'removeNamespace',
        src: 'removeNamespace',
        input: namespaceInput,
        onDone: 'gone',
        onError: { target: 'teardownFailed', actions: 'keepFault' },
      },
    },
    created: {
      tags: 'rest',
      description: 'Owns a namespace with nothing in it but lo. Connect and publish change what configure will do.',
      on: {
        configure: { target: 'configuring', actions: ['accept', 'beginConfigure'] },
        connect: [
          { guard: 'sharesNamespace', actions: ['accept', 'blameMode'] },
          { guard: 'requested', actions: ['accept', 'blameConnected'] },
          { actions: ['accept', 'beginConnect', 'request'] },
        ],
        disconnect: [
          { guard: 'requested', actions: ['accept', 'beginDisconnect', 'forgetNetworks', 'settle'] },
          { actions: ['accept', 'blameNotConnected'] },
        ],
        publish: [
          { guard: 'sharesNamespace', actions: ['accept', 'blameMode'] },
          { actions: ['accept', 'beginPublish', 'request'] },
        ],
        unpublish: { actions: ['accept', 'unrequestPorts'] },
      },
    },
    configuring: {
      description: 'Makes everything the request asks for. Fails as a whole: back to created with nothing made.',
      ...adding('#container.up'),
    },
    up: {
      tags: 'rest',
      description: 'Everything requested is in the kernel. No effect runs here.',
      on: {
        configure: { actions: 'accept' },
        connect: [
          { guard: 'sharesNamespace', actions: ['accept', 'blameMode'] },
          { guard: 'attached', actions: ['accept', 'blameConnected'] },
          { target: 'connecting', actions: ['accept', 'beginConnect'] },
        ],
        disconnect: [
          { guard: 'attached', target: 'disconnecting', actions: ['accept', 'beginDisconnect'] },
          { actions: ['accept', 'blameNotConnected'] },
        ],
        publish: [
          { guard: 'sharesNamespace', actions: ['accept', 'blameMode'] },
          { target: 'publishing', actions: ['accept', 'beginPublish'] },
        ],
        unpublish: [
          { guard: 'published', target: 'unpublishing', actions: ['accept', 'beginUnpublish'] },
          { actions: ['accept', 'blameNotPublished'] },
        ],
        reload: { target: 'reloading', actions: ['accept', 'beginReload'] },
      },
    },
    connecting: { description: 'Adds one network to a container that is up.', ...adding('#container.up') },
    publishing: { description: 'Adds published ports to a container that is up.', ...adding('#container.up') },
    reloading: {
      description: 'Puts the rules of the published ports back if they are missing; links and leases are not touched.',
      always: { guard: 'noPorts', target: 'up', actions: 'adopt' },
      invoke: {
        id: 'publish',
        src: 'publish',
        input: publishInput,
        onDone: { target: 'up', actions: 'adopt' },
        onError: {
          target: 'up',
          actions: ['blameError', 'settle'],
        },
      },
    },
    disconnecting: {
      description: 'Takes one network away. Ports that led to it lead to the next network afterwards.',
      initial: 'withdrawing',
      states: {
        withdrawing: withdrawing('detaching'),
        detaching: detaching('judging'),
        judging: {
          description: 'What could not be taken away keeps its address and ports: nothing is given back before.',
          always: [
            { guard: 'leftovers', target: '#container.failed' },
            { target: 'exposing', actions: 'dropLinks' },
          ],
        },
        exposing: {
          description: 'Ports that were withdrawn lead to what is now the first attachment; with none left they go.',
          always: { guard: 'portsGo', target: 'releasing' },
          invoke: {
            id: 'publish',
            src: 'publish',
            input: ({ context }) => movedPorts(context),
            onDone: { target: 'releasing', actions: 'keepPorts' },
            onError: { target: '#container.failed', actions: 'keepFault' },
          },
        },
        releasing: releasing('#container.settling', ['forgetNetworks', 'drop']),
      },
    },
    unpublishing: {
      description: 'Takes published ports away. Connections through them end; others are not touched.',
      initial: 'withdrawing',
      states: {
        withdrawing: withdrawing('judging'),
        judging: {
          description: 'Ports that could not be taken away stay claimed.',
          always: [{ guard: 'leftovers', target: '#container.failed' }, { target: 'releasing' }],
        },
        releasing: releasing('#container.settling', ['forgetPorts', 'drop']),
      },
    },
    rollingBack: {
      description: 'An addition failed (`fault`): takes away what of it there may be, in reverse order.',
      entry: 'beginRollback',
      initial: 'withdrawing',
      states: {
        withdrawing: withdrawing('detaching'),
        detaching: detaching('judging'),
        judging: {
          description: 'What could not be taken away keeps its address and ports: nothing is given back before.',
          always: [{ guard: 'leftovers', target: '#container.failed' }, { target: 'releasing' }],
        },
        releasing: releasing('#container.settling', ['drop']),
      },
    },
    settling: {
      description: 'Comes to rest where the container was: up when it was configured, else created.',
      always: [{ guard: 'configured', target: 'up' }, { target: 'created' }],
    },
    failed: {
      tags: 'rest',
      description: 'A change could neither be made nor undone: `leftovers` says what is left. Tried again by itself.',
      entry: 'countAttempt',
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: {
        retry: [
          { guard: 'wasDisconnecting', target: 'disconnecting', actions: 'beginRollback' },
          { guard: 'wasUnpublishing', target: 'unpublishing', actions: 'beginRollback' },
          { target: 'rollingBack' },
        ],
      },
    },
    tearingDown: {
      description: 'Takes everything away. A step that fails does not stop the others.',
      initial: 'withdrawing',
      on: {
        teardown: { actions: 'accept' },
        'process.exited': {},
      },
      states: {
        withdrawing: withdrawing('choosing'),
        choosing: {
          description:
            'Links in a namespace of ours go with it; in a namespace of others they are taken away one by one.',
          always: [{ guard: 'ownsNamespace', target: 'removingNamespace' }, { target: 'detaching' }],
        },
        detaching: detaching('removingNamespace'),
        removingNamespace: {
          description: 'Unpins the namespace. From here on nothing leads to the container any more.',
          always: { guard: 'noNamespace', target: 'judging' },
          invoke: {
            id: 'removeNamespace',
            src: 'removeNamespace',
            input: namespaceInput,
            onDone: 'judging',
            onError: { target: 'judging', actions: 'keepFault' },
          },
        },
        judging: {
          description: 'Decides what is left to wait for: leftovers, links that the kernel still reaps, or nothing.',
          always: [
            { guard: 'leftovers', target: '#container.teardownFailed' },
            { guard: 'nothingLeased', target: '#container.gone' },
            { guard: 'noLinks', target: '#container.releasing' },
            { guard: 'noPorts', target: '#container.draining' },
            { target: 'freeing' },
          ],
        },
        freeing: {
          description: 'Host ports lead nowhere since the rules went: whoever wants one next need not wait for links.',
          invoke: {
            id: 'release',
            src: 'release',
            input: releaseInput('ports'),
          },
          on: { released: '#container.draining' },
        },
      },
    },
    draining: {
      tags: 'rest',
      description:
        'Torn down, as far as anyone can tell: the kernel still reaps the links. Holds the addresses until it has, ' +
        'so that no one else answers to them before.',
      invoke: {
        id: 'awaitLinksGone',
        src: 'awaitLinksGone',
        input: ({ context }) => ({
          owner: context.owner,
          outside: context.outside,
          links: context.attachments.map(({ hostLink }) => hostLink),
          addresses: changeOf(context).ports.length > 0 ? publishAddresses(context.attachments) : [],
        }),
        onDone: 'releasing',
        onError: { target: 'teardownFailed', actions: 'keepFault' },
      },
      on: { teardown: { actions: 'accept' }, 'process.exited': {} },
    },
    releasing: {
      tags: 'rest',
      ...releasing('gone', ['drop']),
      on: {
        released: { target: 'gone', actions: 'drop' },
        teardown: { actions: 'accept' },
        'process.exited': {},
      },
    },
    teardownFailed: {
      tags: 'rest',
      description:
        'Something could not be taken away: `leftovers` says what and why. Tried again by itself, or on teardown.',
      entry: 'countAttempt',
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: {
        retry: { target: 'tearingDown', actions: 'beginTeardown' },
        'process.exited': {},
      },
    },
    gone: { type: 'final', description: 'Nothing of the container is left anywhere. Its snapshot is removed.' },
  },
});
