/**
 * What can happen to a container's machine in each state, and what must hold after it: the search space of the path
 * tests, and their invariants.
 *
 * Guarantees: bounded (the key of a state leaves out counters); every lifecycle word, every answer of every child.
 * Limits: one lease per network and two ports are enough to tell all the machine's branches apart.
 */
import { getAdjacencyMap, getShortestPaths } from 'xstate/graph';
import type { SnapshotFrom } from 'xstate';
import { containerMachine, type ContainerEvent, type ContainerInput } from '../../machines/container.ts';
import type { PublishInput } from '../../machines/container.ts';
import { portTargets } from '../../machines/plan/ports.ts';
import { publishAddresses } from '../../machines/plan/attachment.ts';
import { ContainerContext, type ResolvedPort } from '../../state/container.ts';
import { containerInput, FAULT, leaseOf, resolve } from './fixtures.ts';

export type Snapshot = SnapshotFrom<typeof containerMachine>;
export type ModelEvent = { type: string; actorId?: string; output?: unknown; error?: unknown };

export interface Step {
  event: ModelEvent;
  state: Snapshot;
}

const P1 = { host_port: 8080, container_port: 80 };
const P2 = { host_port: 9090, container_port: 90 };

const joined = { path: '/run/cleat/netns-1', owned: false, from: '/run/netns/theirs' };

interface Variant {
  input: ContainerInput;
  created: ContainerEvent[];
  up: ContainerEvent[];
}

const connect = (network: string): ContainerEvent => ({ type: 'connect', network, options: {} });
const disconnect = (network: string): ContainerEvent => ({ type: 'disconnect', network });
const publish = (...ports: (typeof P1)[]): ContainerEvent => ({ type: 'publish', ports });
const unpublish = (...ports: (typeof P1)[]): ContainerEvent => ({ type: 'unpublish', ports });
const CONFIGURE: ContainerEvent = { type: 'configure' };
const RELOAD: ContainerEvent = { type: 'reload' };

/** Kinds of containers that take different ways, each with the words that matter to it. */
export const VARIANTS: Record<string, Variant> = {
  own: {
    input: containerInput({ request: { netns: { mode: 'new' }, networks: { web: {} }, ports: [P1] } }),
    created: [CONFIGURE],
    up: [
      CONFIGURE,
      RELOAD,
      connect('web'),
      connect('back'),
      disconnect('web'),
      disconnect('back'),
      publish(P2),
      publish(P1, P2),
      unpublish(P1),
      unpublish(P2),
    ],
  },
  joined: {
    input: containerInput({
      netns: joined,
      request: { netns: { mode: 'path', path: joined.from }, networks: { inner: {}, web: {} }, ports: [P1] },
    }),
    created: [CONFIGURE],
    up: [RELOAD, connect('web'), disconnect('web'), disconnect('inner'), unpublish(P1)],
  },
  host: {
    input: containerInput({ netns: null, request: { netns: { mode: 'host' }, networks: {}, ports: [] } }),
    created: [CONFIGURE, connect('web'), publish(P1)],
    up: [RELOAD, connect('web'), publish(P1)],
  },
  /** Both networks want the same interface name: granted, but of no use. */
  clash: {
    input: containerInput({
      request: {
        netns: { mode: 'new' },
        networks: { web: { interface_name: 'x0' }, back: { interface_name: 'x0' } },
        ports: [P1],
      },
    }),
    created: [CONFIGURE],
    up: [],
  },
  /** Asks for a port and no network, until told otherwise; the port is of the family its network has not. */
  lonely: {
    input: containerInput({ request: { netns: { mode: 'new' }, networks: {}, ports: [{ ...P1, host_ip: '::1' }] } }),
    created: [CONFIGURE, connect('web'), disconnect('web'), publish(P2), unpublish(P2)],
    up: [RELOAD],
  },
};

const done = (id: string, output?: unknown): ModelEvent => ({ type: `xstate.done.actor.${id}`, actorId: id, output });
const failed = (id: string): ModelEvent => ({ type: `xstate.error.actor.${id}`, actorId: id, error: { fault: FAULT } });

/** Ids of the children that the present state waits for. */
export const waitsFor = (snapshot: Snapshot): string[] =>
  snapshot._nodes.flatMap((node) => node.invoke.map(({ id }) => id));

function answers(snapshot: Snapshot, id: string): ModelEvent[] {
  const change = snapshot.context.change;
  switch (id) {
    case 'lease': {
      const leases = Object.keys(change?.networks ?? {}).map(leaseOf);
      const granted = { type: 'leased', leases, ports: (change?.wanted ?? []).map(resolve) };
      return [granted, { type: 'refused', fault: FAULT } as ModelEvent];
    }
    case 'release':
      return [{ type: 'released' }];
    case 'backOff':
      return [{ type: 'retry' }];
    case 'ensureNamespace':
      return [done(id, { dev: 4, ino: 1 }), failed(id)];
    case 'attachment': {
      const attaching = JSON.stringify(snapshot.value).includes('attaching');
      const end = (outcome: string, fault: unknown) => done(id, { outcome, fault });
      return attaching
        ? [end('attached', null), end('detached', FAULT), end('stuck', FAULT)]
        : [end('detached', null), end('stuck', FAULT)];
    }
    default:
      return [done(id), failed(id)];
  }
}

export function eventsIn(snapshot: Snapshot, variant?: Variant): ModelEvent[] {
  if (snapshot.status !== 'active') return [];
  const { value, context } = snapshot;
  const words = value === 'created' ? variant?.created : value === 'up' ? variant?.up : undefined;
  const mine = (words ?? []).filter(
    ({ type }) => value !== 'created' || type !== 'publish' || context.request.ports.length < 2,
  );
  return [...waitsFor(snapshot).flatMap((id) => answers(snapshot, id)), ...mine, { type: 'teardown' }];
}

export function keyOf({ value, context, status }: Snapshot): string {
  const { configured, attachments, ports, change, fault, leftovers, request } = context;
  const networks = (record: object) => Object.keys(record).sort().join('+');
  return JSON.stringify([
    status,
    value,
    configured,
    attachments.map(({ network }) => network).join('+'),
    ports.map(({ hostPort }) => hostPort).join('+'),
    fault !== null,
    leftovers.length > 0,
    change && [
      networks(change.networks),
      change.wanted.length,
      change.ports.map(({ hostPort }) => hostPort),
      change.todo,
    ],
    // Once configured, what was asked for decides nothing any more.
    configured ? null : [networks(request.networks), request.ports.length],
  ]);
}

const LIMIT = 20_000;

/**
 * The shortest way to each state, and from there each step that is possible: every edge of the machine once, as the walk
 * that ends with it.
 */
export function walksOf(variant: Variant): Step[][] {
  const options = {
    input: variant.input,
    events: (state: Snapshot) => eventsIn(state, variant) as ContainerEvent[],
    serializeState: keyOf,
    limit: LIMIT,
  };
  const edges = getAdjacencyMap(containerMachine, options);
  const ways = getShortestPaths(containerMachine, options) as unknown as { state: Snapshot; steps: Step[] }[];
  return ways.flatMap(({ state, steps }) =>
    Object.values(edges[keyOf(state) as keyof typeof edges]?.transitions ?? {}).map((edge) => [
      ...steps,
      { event: edge.event as ModelEvent, state: edge.state },
    ]),
  );
}

export const nameOf = ({ value, status }: Snapshot): string =>
  status === 'error' ? 'error' : JSON.stringify(value).replace(/[{}"]/g, '').replaceAll(':', '.');

/** "creating -done(ensureNamespace)-> created -configure-> ..." */
export function titleOf(steps: readonly Step[]): string {
  return steps
    .map(({ event, state }) => {
      const outcome = (event.output as { outcome?: string } | undefined)?.outcome;
      const short = event.type.replace(/xstate\.(done|error)\.actor\./, '$1:');
      return `${short}${outcome === undefined ? '' : `=${outcome}`}-> ${nameOf(state)}`;
    })
    .join(' -');
}

const CHANGING = ['failed', 'teardownFailed', 'draining', 'releasing'];

/** What must hold in every state whatever led there: an objection each, none when all is well. */
export const INVARIANTS: Record<string, (state: Snapshot) => string | undefined> = {
  'never in error': ({ status, error }) => (status === 'error' ? String(error) : undefined),
  'context passes its schema': ({ context }) => {
    const { success, error } = ContainerContext.safeParse(JSON.parse(JSON.stringify(context)));
    return success ? undefined : error.message;
  },
  'no change at rest, but where it is still to be undone': (state) =>
    state.hasTag('rest') && !CHANGING.includes(nameOf(state)) && state.context.change !== null
      ? 'rests with a change'
      : undefined,
  'leftovers rest only where they are tried again, with what they are about': (state) => {
    const { leftovers, change } = state.context;
    if (leftovers.length === 0 || !state.hasTag('rest')) return undefined;
    if (!['failed', 'teardownFailed'].includes(nameOf(state))) return 'leftovers are forgotten';
    return state.value === 'failed' && change === null ? 'retry will not know what to take away' : undefined;
  },
  'up: no network twice, every name once': ({ value, context: { attachments } }) => {
    if (value !== 'up') return undefined;
    const twice = (of: (a: (typeof attachments)[number]) => string) => new Set(attachments.map(of)).size;
    const all = attachments.length;
    return twice((a) => a.network) < all || twice((a) => a.hostLink) < all || twice((a) => a.link) < all
      ? 'a name twice'
      : undefined;
  },
  'up: every published port leads somewhere': ({ value, context }) => {
    if (value !== 'up') return undefined;
    const nowhere = context.ports.find(
      (port) => portTargets([port], publishAddresses(context.attachments)).length === 0,
    );
    return nowhere === undefined ? undefined : `port ${nowhere.hostPort} leads nowhere`;
  },
  'failure has a reason': (state) =>
    state.matches('failed') && state.context.fault === null && state.context.leftovers.length === 0
      ? 'no reason'
      : undefined,
};

/** Whether what an effect is about to touch is named in the context it would be found by after a crash. */
export function unnamed(context: ContainerContext, name: string, input: unknown): string | undefined {
  const { path, attachment, targets, links } = input as {
    path?: string;
    attachment?: { hostLink: string };
    targets?: PublishInput['targets'];
    links?: string[];
  };
  const known = new Set(context.attachments.map(({ hostLink }) => hostLink));
  if (path !== undefined && path !== context.netns?.path) return `${name} of ${path}`;
  if (attachment !== undefined && !known.has(attachment.hostLink)) return `${name} of ${attachment.hostLink}`;
  const stray = links?.find((link) => !known.has(link));
  if (stray !== undefined) return `${name} of ${stray}`;
  const ports: ResolvedPort[] = [...context.ports, ...(context.change?.ports ?? [])];
  const odd = targets?.find(
    (target) =>
      !ports.some(
        (port) =>
          port.protocol === target.protocol &&
          port.hostIp === target.hostIp &&
          target.hostPort >= port.hostPort &&
          target.hostPort < port.hostPort + port.range,
      ) || !context.attachments.some(({ addresses }) => addresses.some(({ address }) => address === target.address)),
  );
  return odd === undefined ? undefined : `${name} of port ${odd.hostPort} to ${odd.address}`;
}
