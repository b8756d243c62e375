/**
 * One container's actor driven along a walk of its model: each answer of the walk is given by the effect or the
 * conversation that would give it.
 *
 * Guarantees: an effect that the machine has left behind happens all the same (a system call is not stopped), before the
 * next one begins, as in effects/effect.ts, which is what runs here.
 * Limits: attachments are the real machine's; its two ways to fail are a link that is refused and one that sticks.
 */
import { createActor, fromCallback, type ActorRefFrom, type AnyActorRef, type EventObject } from 'xstate';
import { defineEffect, ROOT } from '../../effects/effect.ts';
import { attachmentMachine } from '../../machines/attachment.ts';
import { containerMachine, type ContainerInput, type LeaseInput, type ReleaseInput } from '../../machines/container.ts';
import type { ContainerEvent } from '../../machines/container.ts';
import { nameOf, unnamed, waitsFor, type ModelEvent, type Snapshot, type Step } from './container-model.ts';
import { settled, Stage, World, type Ending } from './world.ts';

interface Run {
  actor: ActorRefFrom<typeof containerMachine>;
  stage: Stage;
  /** Who answers the conversation under way. */
  talk: { name: string; input: object; say: (event: EventObject) => void } | null;
  /** Granted: "web", "tcp :8080". */
  granted: Set<string>;
  objections: string[];
}

let run: Run;

/** Deadlines are effect.test.ts's. */
const FOREVER = 2 ** 31 - 1;

const runner = { commit: () => Promise.resolve(), failpoint: () => {} };
const effect = (name: string) =>
  defineEffect(runner, 'remove', name, (input: unknown) => run.stage.body(name)(input), FOREVER) as never;

const talk = (name: string) =>
  fromCallback<EventObject, object>(({ input, sendBack }) => {
    const mine = { name, input, say: sendBack };
    run.talk = mine;
    return () => {
      if (run.talk === mine) run.talk = null;
    };
  }) as never;

const machine = containerMachine.provide({
  actors: {
    attachment: attachmentMachine.provide({
      actors: {
        ensureLink: effect('ensureLink'),
        ensureAddresses: effect('ensureAddresses'),
        removeLink: effect('removeLink'),
      },
    }),
    ensureNamespace: effect('ensureNamespace'),
    removeNamespace: effect('removeNamespace'),
    publish: effect('publish'),
    unpublish: effect('unpublish'),
    awaitLinksGone: effect('awaitLinksGone'),
    lease: talk('lease'),
    release: talk('release'),
    backOff: talk('backOff'),
  },
});

export async function drive(input: ContainerInput, steps: readonly Step[]): Promise<Run> {
  const world = new World(false);
  const actor = createActor(machine, { id: input.id, systemId: ROOT, input });
  const stage = new Stage(world, (name, of) => {
    const objection = unnamed(actor.getSnapshot().context, name, of);
    if (objection !== undefined) run.objections.push(`not named in the context: ${objection}`);
  });
  run = { actor, stage, talk: null, granted: new Set(), objections: [] };
  actor.subscribe({ error: (error) => run.objections.push(`machine failed: ${String(error)}`) });
  actor.start();
  for (const { event, state } of steps.slice(1)) {
    await settled();
    await apply(run, event);
    await settled();
    const now = nameOf(actor.getSnapshot());
    if (now !== nameOf(state)) {
      run.objections.push(`after ${event.type} it is ${now}, not ${nameOf(state)}`);
      break;
    }
  }
  return run;
}

/** Tear down, let everything succeed, and look for what is left. */
export async function finish({ actor, stage, granted, objections }: Run): Promise<void> {
  if (actor.getSnapshot().status === 'active') await apply(run, { type: 'teardown' });
  for (let i = 0; i < 60 && actor.getSnapshot().status === 'active'; i++) {
    await settled();
    if (stage.pending[0] !== undefined) stage.pending[0].end('done');
    else if (run.talk !== null)
      converse(run, { lease: 'leased', release: 'released', backOff: 'retry' }[run.talk.name] ?? '');
    await settled();
  }
  const { status, value } = actor.getSnapshot();
  if (status === 'active') objections.push(`torn down, it ends in ${JSON.stringify(value)}`);
  if (status !== 'error') {
    objections.push(...stage.world.contents().map((left) => `left behind: ${left}`));
    objections.push(...[...granted].map((left) => `never given back: ${left}`));
  }
  objections.push(...stage.world.violations);
  stage.dead = true;
  while (stage.pending[0] !== undefined) stage.pending[0].end('failed'); // each takes itself off the list
  actor.stop();
}

async function apply(on: Run, event: ModelEvent): Promise<void> {
  const { actor, stage } = on;
  const end = /^xstate\.(done|error)\.actor\.(.*)$/.exec(event.type);
  if (end !== null) {
    const outcome = (event.output as { outcome?: string } | undefined)?.outcome;
    if (end[2] === 'attachment') return attachment(on, outcome ?? '');
    stage.pending[0]?.end(end[1] === 'done' ? 'done' : 'failed');
  } else if (['leased', 'refused', 'released', 'retry'].includes(event.type)) {
    converse(on, event.type, event);
  } else {
    const begun = [...stage.pending];
    const before = childrenOf(actor.getSnapshot());
    actor.send(event as ContainerEvent);
    const after = new Set(childrenOf(actor.getSnapshot()));
    if (before.some((child) => !after.has(child))) for (const left of begun) left.end('done');
  }
}

const childrenOf = (snapshot: Snapshot): AnyActorRef[] =>
  waitsFor(snapshot).flatMap((id) => (snapshot.children as Record<string, AnyActorRef>)[id] ?? []);

/** The endings that lead the attachment's machine to this outcome. */
async function attachment({ stage }: Run, outcome: string): Promise<void> {
  const attach = stage.pending[0]?.name === 'ensureLink';
  const endings: Record<string, Ending[]> = attach
    ? { attached: ['done', 'done'], detached: ['late', 'done'], stuck: ['late', 'failed'] }
    : { detached: ['done'], stuck: ['failed'] };
  for (const how of endings[outcome] ?? []) {
    stage.pending[0]?.end(how);
    await settled();
  }
}

/** Answer the conversation under way, keeping count of what is granted. */
function converse({ talk: now, granted }: Run, type: string, event: ModelEvent = { type }): void {
  if (now === null) return;
  const { networks, ports } = now.input as LeaseInput & ReleaseInput;
  const portName = (port: { hostPort?: number; host_port?: number }) => `port ${port.hostPort ?? port.host_port}`;
  if (type === 'leased') for (const name of [...Object.keys(networks), ...ports.map(portName)]) granted.add(name);
  if (type === 'released') {
    for (const name of [...(networks as unknown as string[]), ...ports.map(portName)]) granted.delete(name);
  }
  now.say(event);
}
