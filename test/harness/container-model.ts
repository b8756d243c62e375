/**
 * The events that are possible for a container's machine in each state, and what must hold after each: the search space
 * of the path tests, and their invariants.
 *
 * Guarantees: bounded (the key of a state leaves out counters); every lifecycle event, every answer of every child.
 * Limits: the key leaves out what decides nothing: two states that differ only in that are one here.
 */
import { getAdjacencyMap, getShortestPaths } from 'xstate/graph';
import type { SnapshotFrom } from 'xstate';
import type { AttachmentInput } from '../../machines/container/attachment.ts';
import { containerMachine } from '../../machines/container/container.ts';
import type { ContainerEvent } from '../../machines/container/container-inputs.ts';
import { allPorts, leadsTo, type OwnedTarget, replacedBy, takenBy, wantedBy } from '../../plan/containers/change.ts';
import { subtract } from '../../plan/ports/port-list.ts';
import { portTargets } from '../../plan/ports/ports.ts';
import { ContainerContext, type Attachment } from '../../state/container.ts';
import type { UplinkLink } from '../../state/uplink.ts';
import { edgeOf } from './container-edges.ts';
import { GIVER_ADDRESS, type Variant } from './container-variants.ts';
import { ANSWER, FAULT, resolve } from './fixtures.ts';

export type Snapshot = SnapshotFrom<typeof containerMachine>;
export type ModelEvent = { type: string; actorId?: string; output?: unknown; error?: unknown };

export interface Step {
  event: ModelEvent;
  state: Snapshot;
}

export interface NamedStep {
  event: ModelEvent;
  name: string;
  /** The transitions that lead there (container-edges.ts), but for those without an event. */
  edges: string[];
}

const done = (id: string, output?: unknown): ModelEvent => ({ type: `xstate.done.actor.${id}`, actorId: id, output });
const failed = (id: string): ModelEvent => ({ type: `xstate.error.actor.${id}`, actorId: id, error: { fault: FAULT } });

/** Ids of the children that the present state waits for. */
export const waitsFor = (snapshot: Snapshot): string[] =>
  snapshot._nodes.flatMap((node) => node.invoke.map(({ id }) => id));

/** The results of requests, the good one first. */
export const REQUESTS: Record<string, boolean> = {
  lease: true,
  release: true,
  name: true,
  unname: false,
  verifyFirewall: true,
  awaitVerdict: false,
  backOff: false,
};

/** How the machine of an attachment can end, by its verb. */
const OUTCOMES: Record<string, string[]> = {
  attaching: ['attached', 'detached', 'stuck'],
  detaching: ['detached', 'stuck'],
  startingUplink: ['ready', 'stopped', 'stuck'],
  repairingUplink: ['ready', 'stuck'],
  stoppingUplink: ['stopped', 'stuck'],
};

/** The objects that a program has made when it is ready. */
export const MADE: UplinkLink = {
  name: 'tap0',
  mac: '02:00:00:00:00:01',
  mtu: 65_520,
  addresses: [{ address: '10.0.2.100', prefix: 24, gateway: '10.0.2.2' }],
};

function answers(snapshot: Snapshot, id: string, variant: Variant): ModelEvent[] {
  const change = snapshot.context.change;
  if (id === 'lease') {
    const leases = Object.keys(change?.networks ?? {}).map(variant.lease);
    const outer = snapshot.context.publisher === null ? {} : { outerIp: '' };
    const ports = wantedBy(change).map((wish) => ({ ...resolve(wish), ...outer }));
    const given = portTargets(takenBy(change)?.ports ?? [], [GIVER_ADDRESS]);
    return [done(id, { leases, ports, inside: [], given }), failed(id)];
  }
  if (id === 'release') {
    // The write before it releases leases may fail; ports alone are released at once.
    const leases = Object.keys(change?.networks ?? {}).length > 0 && !/^(yielding|tearingDown)/.test(nameOf(snapshot));
    return [done(id), ...(leases ? [failed(id)] : [])];
  }
  if (id === 'awaitVerdict') return [done(id, 'taken'), done(id, 'kept')];
  if (id in REQUESTS) return [done(id), ...(REQUESTS[id] === true ? [failed(id)] : [])];
  if (id === 'ensureNamespace') return [done(id, { dev: 4, ino: 1 }), failed(id)];
  if (id !== 'attachment' && id !== 'uplink') return [done(id), failed(id)];
  const leaf = nameOf(snapshot).split('.').at(-1) ?? '';
  const outcomes = OUTCOMES[leaf] ?? ['attached', 'stuck'];
  const fault = (outcome: string) => (outcome === outcomes[0] ? null : FAULT);
  const { todo = [] } = change ?? {};
  const external = snapshot.context.attachments.find(({ network }) => network === todo[0])?.external !== undefined;
  const asked = external && (leaf === 'attaching' || leaf === 'replacing' || leaf === 'restoring');
  const made = (outcome: string) =>
    id === 'uplink'
      ? { link: outcome === 'ready' ? MADE : null, missing: [] }
      : { result: asked && outcome === 'attached' ? ANSWER : null };
  return [...outcomes.map((outcome) => done(id, { outcome, fault: fault(outcome), ...made(outcome) })), failed(id)];
}

/** Every possible next event; the first answer of a child is its success. */
export function eventsIn(snapshot: Snapshot, variant: Variant): ModelEvent[] {
  if (snapshot.status !== 'active') return [];
  const { value, context } = snapshot;
  const { words } = variant;
  const here = typeof value === 'string' && value in words ? words[value as 'up'] : [];
  // Events that only make a request longer, and events of a change that goes on without end.
  const tells = ({ type, from = null }: ContainerEvent & { from?: unknown }) =>
    (value !== 'created' || type !== 'publish' || context.request.ports.length < 2) &&
    (type !== 'yield' || context.ports.length > 0) &&
    (value !== 'up' || type !== 'publish' || from === null || context.ports.length === 0);
  return [
    ...waitsFor(snapshot).flatMap((id) => answers(snapshot, id, variant)),
    ...(here ?? []).filter(tells),
    ...(words.everywhere ?? []),
    { type: 'teardown', users: [] } as ModelEvent,
  ];
}

const within = (attachments: readonly Attachment[]): string =>
  attachments.map(({ network, addresses }) => `${network} ${addresses[0]?.address}`).join('+');

export function keyOf({ value, context, status }: Snapshot): string {
  const { configured, attachments, uplink, ports, change, fault, leftovers, request, ownerGone, drift, attempts } =
    context;
  const networks = (record: object) => Object.keys(record).sort().join('+');
  return JSON.stringify([
    status,
    value,
    configured,
    ownerGone,
    within(attachments),
    uplink && [uplink.made !== null, uplink.endedSoon > 0],
    ports.map(({ hostPort }) => hostPort).join('+'),
    fault !== null,
    leftovers.length > 0,
    drift.length,
    attempts > 0,
    change && [
      networks(change.networks),
      change.kind,
      wantedBy(change).length,
      change.ports.map(({ hostPort }) => hostPort),
      change.todo,
      within(replacedBy(change)),
      replacedBy(change).map(({ hostLink }) => attachments.some((attachment) => attachment.hostLink === hostLink)),
      change.led,
      takenBy(change)?.targets.length ?? null,
      change.kind === 'yield' && change.taker,
      change.kind === 'disconnect' && change.force,
      change.kind === 'repair' && change.uplink,
    ],
    // Once configured, the request decides nothing any more.
    configured ? null : [networks(request.networks), request.ports.length],
  ]);
}

const LIMIT = 20_000;

/**
 * The shortest way to each state, and from there each possible step: every edge of the machine once, as the walk that
 * ends with it.
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
      { event: edge.event, state: edge.state },
    ]),
  );
}

/** Walks without the states themselves, to save memory for thousands of them. */
export const withNames = (walks: readonly Step[][]): NamedStep[][] =>
  walks.map((steps) =>
    steps.map(({ event, state }, n) => {
      const before = steps[n - 1]?.state;
      const taken = before === undefined ? [] : containerMachine.getTransitionData(before, event as ContainerEvent);
      return { event, name: nameOf(state), edges: taken.map(edgeOf) };
    }),
  );

export const nameOf = ({ value, status }: Snapshot): string =>
  status === 'error' ? 'error' : JSON.stringify(value).replace(/[{}"]/g, '').replaceAll(':', '.');

/** "creating -done(ensureNamespace)-> created -configure-> ..." */
export function titleOf(steps: readonly NamedStep[]): string {
  return steps
    .map(({ event, name }) => {
      const outcome = (event.output as { outcome?: string } | undefined)?.outcome;
      const short = event.type.replace(/xstate\.(done|error)\.actor\./, '$1:');
      return `${short}${outcome === undefined ? '' : `=${outcome}`}-> ${name}`;
    })
    .join(' -');
}

const CHANGING = ['failed', 'teardownFailed', 'draining', 'releasing'];

/** The invariants of every state on every way: an objection each, none when all is well. */
export const INVARIANTS: Record<string, (state: Snapshot) => string | undefined> = {
  'never in error': ({ status, error }) => (status === 'error' ? String(error) : undefined),
  'context passes its schema': ({ context }) => {
    const { success, error } = ContainerContext.safeParse(JSON.parse(JSON.stringify(context)));
    return success ? undefined : error.message;
  },
  'what is not at rest waits for a child': (state) =>
    state.status === 'active' && !state.hasTag('rest') && waitsFor(state).length === 0
      ? 'waits for nothing'
      : undefined,
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
  'up: the ports asked for are its ports, whatever became of its networks': ({ value, context }) => {
    if (value !== 'up') return undefined;
    const { ports, request } = context;
    const [more] = subtract(ports, request.ports).left;
    const less = request.ports.find((wish) => subtract(ports, [wish]).taken.length === 0);
    if (more !== undefined) return `port ${more.hostPort} was not asked for`;
    return less === undefined ? undefined : `port ${less.container_port} has been forgotten`;
  },
  'failure has a reason': (state) =>
    state.matches('failed') && state.context.fault === null && state.context.leftovers.length === 0
      ? 'no reason'
      : undefined,
};

/** Attachments in the context: as they are to be, and as they were. */
export const known = ({ attachments, change }: ContainerContext): Attachment[] => [
  ...attachments,
  ...replacedBy(change),
];

/** True if a published port is in the context, at an address in the context. */
export function speaksOf(context: ContainerContext, { protocol, hostIp, hostPort, address }: OwnedTarget): boolean {
  const ports = allPorts(context);
  const named = ports.some(
    (port) =>
      port.protocol === protocol &&
      (port.hostIp === hostIp || (port.hostIp === '' && ['0.0.0.0', '::'].includes(hostIp))) &&
      hostPort >= port.hostPort &&
      hostPort < port.hostPort + port.range,
  );
  const addresses = known(context).flatMap((attachment) => attachment.addresses.map((leased) => leased.address));
  return named && [...addresses, ...leadsTo(context), ...(context.change?.led ?? [])].includes(address);
}

/**
 * Objects that an effect is about to touch although the context does not name them, so that they would be lost after a
 * crash.
 */
export function unnamed(context: ContainerContext, name: string, input: unknown): string | undefined {
  const { path, attachment, predecessor, targets, links } = input as Partial<AttachmentInput> & {
    path?: string;
    targets?: OwnedTarget[];
    links?: string[];
  };
  const links_ = new Set(known(context).map(({ hostLink }) => hostLink));
  if (path !== undefined && path !== context.netns?.path) return `${name} of ${path}`;
  for (const one of [attachment, predecessor]) {
    if (one !== undefined && one !== null && !links_.has(one.hostLink)) return `${name} of ${one.hostLink}`;
  }
  const stray = links?.find((link) => !links_.has(link));
  if (stray !== undefined) return `${name} of ${stray}`;
  const odd = targets?.find((target) => target.owner !== context.owner || !speaksOf(context, target));
  return odd === undefined ? undefined : `${name} of port ${odd.hostPort} to ${odd.address} of ${odd.owner}`;
}
