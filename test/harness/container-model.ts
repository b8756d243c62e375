/**
 * What can happen to a container's machine in each state, and what must hold after it: the search space of the path
 * tests, and their invariants.
 *
 * Guarantees: bounded (the key of a state leaves out counters); every lifecycle word, every answer of every child.
 * Limits: what decides nothing is left out of the key: two states that differ only in it are one here.
 */
import { getAdjacencyMap, getShortestPaths } from 'xstate/graph';
import type { SnapshotFrom } from 'xstate';
import type { AttachmentInput } from '../../machines/attachment.ts';
import { containerMachine } from '../../machines/container.ts';
import type { ContainerEvent } from '../../machines/container-inputs.ts';
import { allPorts, leadsTo, type OwnedTarget } from '../../machines/plan/change.ts';
import { subtract } from '../../machines/plan/port-list.ts';
import { portTargets } from '../../machines/plan/ports.ts';
import { ContainerContext, type Attachment } from '../../state/container.ts';
import type { UplinkLink } from '../../state/uplink.ts';
import { edgeOf } from './container-edges.ts';
import { GIVER_ADDRESS, type Variant } from './container-variants.ts';
import { FAULT, resolve } from './fixtures.ts';

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
const refused: ModelEvent = { type: 'refused', fault: FAULT } as ModelEvent;

/** Ids of the children that the present state waits for. */
export const waitsFor = (snapshot: Snapshot): string[] =>
  snapshot._nodes.flatMap((node) => node.invoke.map(({ id }) => id));

/** What conversations end with, the good end first. */
export const TALKS: Record<string, string[]> = {
  lease: ['leased', 'refused'],
  release: ['released', 'refused'],
  name: ['named', 'refused'],
  unname: ['unnamed'],
  verifyFirewall: ['verified', 'refused'],
  awaitVerdict: ['taken', 'kept'],
  backOff: ['retry'],
};

/** How the machine of an attachment can end, by what it is asked to do. */
const OUTCOMES: Record<string, string[]> = {
  attaching: ['attached', 'detached', 'stuck'],
  detaching: ['detached', 'stuck'],
  startingUplink: ['ready', 'stopped', 'stuck'],
  repairingUplink: ['ready', 'stuck'],
  stoppingUplink: ['stopped', 'stuck'],
};

/** What a program that is ready has made. */
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
    const ports = (change?.wanted ?? []).map((wish) => ({ ...resolve(wish), ...outer }));
    const given = portTargets(change?.taking?.ports ?? [], [GIVER_ADDRESS]);
    return [{ type: 'leased', leases, ports, inside: [], given } as ModelEvent, refused];
  }
  if (id === 'release') {
    // What it writes before it gives leases back may not be written; ports alone are given back at once.
    const leases = Object.keys(change?.networks ?? {}).length > 0 && !/^(yielding|tearingDown)/.test(nameOf(snapshot));
    return [{ type: 'released' } as ModelEvent, ...(leases ? [refused] : [])];
  }
  if (id in TALKS) return TALKS[id]!.map((type) => (type === 'refused' ? refused : { type }));
  if (id === 'ensureNamespace') return [done(id, { dev: 4, ino: 1 }), failed(id)];
  if (id !== 'attachment' && id !== 'uplink') return [done(id), failed(id)];
  const leaf = nameOf(snapshot).split('.').at(-1) ?? '';
  const outcomes = OUTCOMES[leaf] ?? ['attached', 'stuck'];
  const fault = (outcome: string) => (outcome === outcomes[0] ? null : FAULT);
  const made = (outcome: string) => (id !== 'uplink' ? {} : { link: outcome === 'ready' ? MADE : null, missing: [] });
  return [...outcomes.map((outcome) => done(id, { outcome, fault: fault(outcome), ...made(outcome) })), failed(id)];
}

/** Whatever can happen next; the first answer of a child is its success. */
export function eventsIn(snapshot: Snapshot, variant: Variant): ModelEvent[] {
  if (snapshot.status !== 'active') return [];
  const { value, context } = snapshot;
  const { words } = variant;
  const here = typeof value === 'string' && value in words ? words[value as 'up'] : [];
  // Words that only make a request longer, and words of a change that goes on without end.
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
      change.wanted.length,
      change.ports.map(({ hostPort }) => hostPort),
      change.todo,
      within(change.before),
      change.before.map(({ hostLink }) => attachments.some((attachment) => attachment.hostLink === hostLink)),
      change.led,
      change.taking?.targets.length ?? null,
      change.taker,
      change.force,
      change.uplink ?? null,
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

/** Walks without the states themselves: of some thousand that is little to keep. */
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

/** What must hold in every state whatever led there: an objection each, none when all is well. */
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

/** Attachments that the context speaks of: as they are to be, and as they were. */
export const known = ({ attachments, change }: ContainerContext): Attachment[] => [
  ...attachments,
  ...(change?.before ?? []),
];

/** Whether a published port is one that the context speaks of, at an address that it speaks of. */
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

/** What an effect is about to touch without the context by which it would be found after a crash. */
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
