/**
 * One container's actor is driven along a walk of its model: each answer of the walk is given by the effect or the
 * request that would give it.
 *
 * Guarantees: an effect that the machine has abandoned happens all the same (a system call is not stopped), before the
 * next one begins, as in effects/effect.ts, which is what runs here. At the end of the walk, and in whatever follows,
 * the world is compared with the context (desired-ruleset.ts); a world with a kernel beside it (kernel-world.ts) is
 * compared after every step.
 * Limits: attachments are the real machine's; an attachment's end in an error is sent to the container alone.
 */
import { createActor, fromPromise, type ActorRefFrom, type AnyActorRef } from 'xstate';
import { defineEffect, ROOT } from '../../effects/effect.ts';
import { attachmentMachine, type AttachmentInput } from '../../machines/container/attachment.ts';
import { containerMachine } from '../../machines/container/container.ts';
import type {
  ContainerEvent,
  LeaseInput,
  ReleaseInput,
  VerdictInput,
} from '../../machines/container/container-inputs.ts';
import type { NameInput, UnnameInput } from '../../machines/resolver.ts';
import { uplinkMachine } from '../../machines/uplink.ts';
import type { NameEntry } from '../../plan/names/names.ts';
import type { OwnedTarget } from '../../plan/containers/change.ts';
import { portTargets } from '../../plan/ports/ports.ts';
import {
  eventsIn,
  nameOf,
  REQUESTS,
  unnamed,
  waitsFor,
  type ModelEvent,
  type NamedStep,
  type Snapshot,
} from './container-model.ts';
import { edgeOf } from './container-edges.ts';
import { GIVER, GIVER_ADDRESS, type Variant } from './container-variants.ts';
import { objectionsTo } from './standing.ts';
import { settled, Stage, World, type Ending } from './world.ts';

interface Request {
  name: string;
  input: object;
  answer: (event: ModelEvent) => void;
}

export interface Run {
  variant: Variant;
  actor: ActorRefFrom<typeof containerMachine>;
  stage: Stage;
  /** The actor that answers the request under way. */
  request: Request | null;
  /** Granted: "web", "port 8080". */
  granted: Set<string>;
  /** The part of a failing effect that has happened: nothing, or everything. */
  failing: Ending;
  /** Transitions taken: "container.up -configure 0". */
  taken: Set<string>;
  objections: string[];
}

let run: Run;

/** effect.test.ts tests deadlines. */
const FOREVER = 2 ** 31 - 1;

const runner = { commit: () => Promise.resolve(), failpoint: () => {} };
const effect = (name: string) =>
  defineEffect(runner, 'remove', name, (input: unknown) => run.stage.body(name)(input), FOREVER) as never;

const request = (name: string) =>
  fromPromise<unknown, object>(
    ({ input, signal }) =>
      new Promise((resolve, reject) => {
        const forget = () => {
          if (run.request === mine) run.request = null;
        };
        const answer = ({ type, output, error }: ModelEvent) => {
          forget();
          if (type.startsWith('xstate.done')) resolve(output);
          else reject(error);
        };
        const mine = { name, input, answer };
        run.request = mine;
        signal.addEventListener('abort', forget, { once: true });
        // Names are registered, whether anyone waits for the answer or not.
        if (name === 'name') tell(run, input as NameInput);
      }),
  ) as never;

/** Lists the effects by which a program of others is asked, and its answer is written. */
const PROGRAM = ['addExternal', 'recordAnswer', 'checkExternal', 'removeExternal'];
const EFFECTS = ['ensureNamespace', 'removeNamespace', 'publish', 'unpublish', 'expose', 'unexpose', 'ensureFiles'];
const provided = (names: string[], how: (name: string) => never) =>
  Object.fromEntries(names.map((name) => [name, how(name)])) as Record<string, never>;

const machine = containerMachine.provide({
  actors: {
    attachment: attachmentMachine.provide({
      actors: provided(
        ['ensureLink', 'ensureAddresses', 'replaceLink', 'reviseLink', 'removeLink', ...PROGRAM],
        effect,
      ),
    }),
    uplink: uplinkMachine.provide({
      actors: provided(['probeUplink', 'startUplink', 'verifyUplink', 'stopUplink'], effect),
    }),
    ...provided([...EFFECTS, 'removeFiles', 'awaitLinksGone'], effect),
    ...provided(Object.keys(REQUESTS), request),
  },
});

/** A container from a record, in the world that it describes. */
export function resume(variant: Variant, snapshot: unknown, world: World): Run {
  return begin(variant, 'failed', world, { snapshot: snapshot as never });
}

function begin(variant: Variant, failing: Ending, world: World, how: { snapshot?: never }): Run {
  const taken = new Set<string>();
  const actor = createActor(machine, {
    id: variant.input.id,
    systemId: ROOT,
    input: variant.input,
    ...how,
    inspect: (event) => {
      if (event.type !== '@xstate.microstep' || event.rootId !== event.actorRef.sessionId) return;
      for (const transition of event._transitions) taken.add(edgeOf(transition));
    },
  });
  const stage = new Stage(world, (name, of) => {
    const objection = unnamed(actor.getSnapshot().context, name, of);
    if (objection !== undefined) run.objections.push(`not named in the context: ${objection}`);
  });
  run = { variant, actor, stage, request: null, granted: new Set(), failing, taken, objections: [] };
  lent = [];
  actor.subscribe({ error: (error) => run.objections.push(`machine failed: ${String(error)}`) });
  actor.start();
  return run;
}

export async function drive(
  variant: Variant,
  steps: readonly NamedStep[],
  failing: Ending,
  world = new World(false),
): Promise<Run> {
  const { actor, objections } = begin(variant, failing, world, {});
  await calm(run);
  for (const { event, name } of steps.slice(1)) {
    await apply(run, event);
    await calm(run);
    objections.push(...(await world.audit(actor.getSnapshot())));
    const now = nameOf(actor.getSnapshot());
    if (now !== name) {
      run.objections.push(`after ${event.type} it is ${now}, not ${name}`);
      break;
    }
  }
  // The way here is compared where it is a walk of its own.
  look(run);
  return run;
}

/** Waits until everything that can happen without the test has happened, in the world too. */
async function calm({ stage }: Run): Promise<void> {
  await stage.notification;
  await settled();
}

/** Lets everything succeed until the container is up, created, or gone: a difference that is left then stays. */
export async function recoverOf(on: Run): Promise<void> {
  const { actor, objections } = on;
  const still = () => ['up', 'created'].includes(nameOf(actor.getSnapshot()));
  await succeed(on, still);
  if (actor.getSnapshot().status === 'active' && !still()) {
    objections.push(`with everything succeeding it ends in ${nameOf(actor.getSnapshot())}`);
  }
  if (actor.getSnapshot().status !== 'active' || !actor.getSnapshot().context.ownerGone) return;
  actor.send({ type: 'lastUserGone' });
  if (!actor.getSnapshot().matches('tearingDown'))
    objections.push(`nobody is left, and it stays: ${nameOf(actor.getSnapshot())}`);
}

/** Tears down, lets everything succeed, and lists what is left. */
export async function finish(on: Run): Promise<void> {
  const { actor, stage, granted, objections } = on;
  if (actor.getSnapshot().status === 'active') await apply(on, { type: 'teardown', users: [] } as ModelEvent);
  await succeed(on, () => false);
  const { status } = actor.getSnapshot();
  if (status === 'active') objections.push(`torn down, it ends in ${nameOf(actor.getSnapshot())}`);
  await stage.world.reclaim(lent);
  if (status !== 'error') {
    objections.push(...stage.world.contents().map((left) => `left behind: ${left}`));
    objections.push(...[...granted].map((left) => `never given back: ${left}`));
  }
  objections.push(...stage.world.violations);
  stage.dead = true;
  while (stage.pending[0] !== undefined) stage.pending[0].end('failed'); // each removes itself from the list
  actor.stop();
}

async function succeed(on: Run, until: () => boolean): Promise<void> {
  const { actor, stage } = on;
  for (let i = 0; i < 80 && actor.getSnapshot().status === 'active' && !until(); i++) {
    await calm(on);
    if (stage.pending[0] !== undefined) stage.pending[0].end('done');
    else if (on.request !== null) {
      const [good] = eventsIn(actor.getSnapshot(), on.variant);
      if (good !== undefined) await answer(on, good);
    }
    await calm(on);
    look(on);
    on.objections.push(...(await stage.world.audit(actor.getSnapshot())));
  }
}

/** Between two effects. */
function look({ actor, stage, objections }: Run): void {
  const state = actor.getSnapshot();
  if (state.status === 'active' && stage.pending.length === 0) objections.push(...objectionsTo(stage.world, state));
}

async function apply(on: Run, event: ModelEvent): Promise<void> {
  const { actor, stage } = on;
  const end = /^xstate\.(done|error)\.actor\.(.*)$/.exec(event.type);
  const outcome = (event.output as { outcome?: string } | undefined)?.outcome;
  if (outcome !== undefined) return end?.[2] === 'uplink' ? uplink(on, outcome) : attachment(on, outcome);
  if (on.request !== null && end?.[2] === on.request.name) {
    await answer(on, event);
  } else if (end !== null && end[2] !== 'attachment' && end[2] !== 'uplink') {
    // A request that the outer publisher cannot get now is repeated later (state/files/exposed.ts).
    const failing = end[2] === 'unexpose' ? 'late' : on.failing;
    stage.pending[0]?.end(end[1] === 'done' ? 'done' : failing);
  } else {
    const begun = [...stage.pending];
    const before = childrenOf(actor.getSnapshot());
    await happen(on, event as ContainerEvent);
    actor.send(event as ContainerEvent);
    const after = new Set(childrenOf(actor.getSnapshot()));
    if (before.some((child) => !after.has(child))) for (const left of begun) left.end('done');
  }
}

/** The changes by others that the event reports. */
async function happen({ stage: { world }, actor }: Run, event: ContainerEvent): Promise<void> {
  const { attachments, token } = actor.getSnapshot().context;
  if (event.type === 'lost') {
    await world.end(token);
  } else if (event.type === 'drifted') {
    const gone = attachments.filter(({ network }) => event.drift.some((drift) => drift.network === network));
    await world.lose(gone.map(({ hostLink }) => hostLink));
  } else if (event.type === 'publish' && event.from !== null) {
    lent = portTargets(event.from.ports, [GIVER_ADDRESS]).map((target) => ({ ...target, owner: GIVER }));
    await world.lend(lent);
  }
}

/** The ports that the giver had published, to be removed at the end. */
let lent: OwnedTarget[] = [];

const childrenOf = (snapshot: Snapshot): AnyActorRef[] =>
  waitsFor(snapshot).flatMap((id) => (snapshot.children as Record<string, AnyActorRef>)[id] ?? []);

/** The endings that lead the attachment's machine to this outcome. */
async function attachment(on: Run, outcome: string): Promise<void> {
  const { stage, failing } = on;
  const input = (stage.pending[0]?.input ?? {}) as Partial<AttachmentInput>;
  const { verb = 'attach', predecessor = null } = input;
  const external = input.attachment?.external !== undefined;
  const endings: Record<string, Ending[]> = {
    'attach detached': ['late', 'done'],
    'attach stuck': ['late', 'failed'],
    'attach attached': ['done', 'done'],
    'repair attached': ['done', 'done', ...(predecessor === null ? [] : (['done'] as const))],
    'replace attached': ['done'],
    'revise attached': ['done'],
    'detach detached': ['done'],
  };
  // The program is asked to check, to remove, to add; its answer is written down.
  const ofPrograms: Record<string, Ending[]> = {
    'repair attached': ['done', 'done', 'done', 'done'],
    'repair stuck': ['failed', failing],
    'replace attached': ['done', 'done', 'done'],
  };
  const known = { ...endings, ...(external ? ofPrograms : {}) };
  for (const how of known[`${verb} ${outcome}`] ?? [failing]) {
    // One that is whole is checked alone; another one may be next.
    const next = stage.pending[0];
    const its = (next?.input as Partial<AttachmentInput> | undefined)?.attachment?.network;
    if (external && its !== input.attachment?.network) break;
    stage.pending[0]?.end(how);
    await calm(on);
  }
}

/** The same for the uplink's machine: its program is probed, started, and seen to be ready. */
async function uplink(on: Run, outcome: string): Promise<void> {
  const { stage, failing } = on;
  const endings: Record<string, Ending[]> = {
    'probeUplink ready': ['done', 'done', 'done'],
    'probeUplink stopped': ['done', 'late', 'done'],
    'stopUplink stopped': ['done'],
  };
  const begun = stage.pending[0]?.name ?? '';
  // One that is started and gets stuck could not be stopped either.
  const stuck: Ending[] = begun === 'stopUplink' ? [failing] : ['done', failing, 'failed'];
  for (const how of endings[`${begun} ${outcome}`] ?? stuck) {
    stage.pending[0]?.end(how);
    await calm(on);
  }
}

/** The resolver's earlier answer, to be restored if it refuses. */
let told: Map<string, string> = new Map();

function tell({ stage: { world } }: Run, { owner, entries }: { owner: string; entries: readonly NameEntry[] }): void {
  told = new Map(world.names);
  world.name(owner, entries);
}

/** Answers the request under way, and keeps count of what is granted. */
async function answer(on: Run, event: ModelEvent): Promise<void> {
  const { request: now, granted, stage, actor } = on;
  if (now === null) return;
  const { world } = stage;
  const { name } = now;
  const done = event.type.startsWith('xstate.done');
  const portName = (port: { hostPort?: number; host_port?: number | undefined }) =>
    `port ${port.hostPort ?? port.host_port}`;
  if (name === 'lease' && done) {
    const { networks, ports } = now.input as LeaseInput;
    for (const one of [...Object.keys(networks), ...ports.map(portName)]) granted.add(one);
  }
  if (name === 'release' && done) {
    const { networks, ports } = now.input as ReleaseInput;
    for (const one of [...networks, ...ports.map(portName)]) granted.delete(one);
  }
  if (name === 'unname') {
    const { owner, networks } = now.input as UnnameInput;
    world.unname(owner, networks);
  }
  if (name === 'name' && !done && on.failing === 'failed') {
    world.names.clear();
    for (const [key, to] of told) world.names.set(key, to);
  }
  // A container that takes ports has had them by then, in the firewall and at the outer publisher, if only for a while.
  if (name === 'awaitVerdict') {
    const { ports } = now.input as VerdictInput;
    const { owner } = actor.getSnapshot().context;
    await world.reclaim(portTargets(ports, ['10.89.0.2']).map((target) => ({ ...target, owner })));
    world.exposed.clear();
  }
  now.answer(event);
}
