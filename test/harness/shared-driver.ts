/**
 * The machines that containers share (network, firewall), walked: the walks of their model, and an actor driven along
 * one, with requesters that record their answers.
 *
 * Guarantees: two requesters are enough for first, last, and one among others. An effect that a test lets happen is
 * over before the machine is notified.
 * Limits: effects change nothing by themselves: the test says what each does.
 */
import {
  createActor,
  fromCallback,
  fromPromise,
  type AnyActorRef,
  type AnyStateMachine,
  type EventObject,
  type MachineSnapshot,
} from 'xstate';
import { getAdjacencyMap, getShortestPaths } from 'xstate/graph';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { FAULT } from './fixtures.ts';
import { stateName } from '../../plan/states.ts';
import { assertNone, statesOf } from './machines.ts';
import { proved } from './proof.ts';
import { settled, type Ending } from './world.ts';

export type AnySnapshot = MachineSnapshot<
  Record<string, unknown>,
  EventObject,
  Record<string, AnyActorRef | undefined>,
  string,
  string,
  unknown,
  Record<string, unknown>,
  never
>;
export type Event = EventObject & Record<string, unknown>;
export interface Step {
  event: Event;
  state: AnySnapshot;
}

interface Asker {
  ref: AnyActorRef;
  answers: Event[];
}

export function asker(): Asker {
  const answers: Event[] = [];
  const ref = createActor(fromCallback<EventObject>(({ receive }) => receive((event) => answers.push(event))));
  ref.start();
  return { ref, answers };
}

const done = (id: string, output?: unknown): Event => ({ type: `xstate.done.actor.${id}`, actorId: id, output });
const failed = (id: string): Event => ({ type: `xstate.error.actor.${id}`, actorId: id, error: { fault: FAULT } });

/** Actors that never reject. */
const NEVER_FAIL = new Set(['backOff', 'releaseFirewall']);

/** Every end of what the present state waits for. `ends`: those of an actor that has others than its output and a failure. */
export function answersIn(
  state: AnySnapshot,
  outputs: Record<string, unknown>,
  ends: Record<string, Event[]> = {},
): Event[] {
  const waits = state._nodes.flatMap((node) => node.invoke.map(({ id }) => id));
  return waits.flatMap((id) => ends[id] ?? [done(id, outputs[id]), ...(NEVER_FAIL.has(id) ? [] : [failed(id)])]);
}

/** Each edge once, as the shortest walk that ends with it. */
export function walksOf(
  machine: AnyStateMachine,
  input: unknown,
  events: (state: AnySnapshot) => Event[],
  key: (state: AnySnapshot) => string,
  limit = 5000,
): Step[][] {
  const options = { input, events: events as never, serializeState: key as never, limit };
  const edges = getAdjacencyMap(machine, options as never) as unknown as Record<
    string,
    { transitions: Record<string, Step> }
  >;
  const ways = getShortestPaths(machine, options as never) as unknown as { state: AnySnapshot; steps: Step[] }[];
  return ways.flatMap(({ state, steps }) =>
    Object.values(edges[key(state)]?.transitions ?? {}).map(({ event, state: to }) => [...steps, { event, state: to }]),
  );
}

export const titleOf = (steps: readonly Step[]): string =>
  steps
    .map(({ event, state }) => {
      const owner = typeof event['owner'] === 'string' ? ` ${event['owner']}` : '';
      return `${event.type.replace(/xstate\.(done|error)\.actor\./, '$1:')}${owner}-> ${stateName(state)}`;
    })
    .join(' -');

/** The description of each step: "up drifted -> repairing". */
export const kindsOf = (steps: readonly Step[]): string[] =>
  steps.slice(1).map(({ event, state }, n) => `${String(steps[n]?.state.value)} ${event.type} -> ${state.value}`);

/** The actions of effects and of others, and their observer. */
interface Beside {
  /** The part of a failing effect that has happened: nothing, or everything. */
  failing?: Ending;
  /** Called when an effect ended like this, or a request got this answer; returns the effect's output. */
  happens(id: string, how: string, input: unknown): unknown;
  /** Called before this event of others is sent to the machine. */
  before?(event: Event, state: AnySnapshot): Promise<void>;
  /** Objections to the present state, after a step that led here. */
  look?(state: AnySnapshot): Promise<string[]>;
}

export class Driven {
  readonly actor;
  readonly pending: { id: string; end: (ok: boolean, output?: unknown) => Promise<void> }[] = [];
  readonly objections: string[] = [];
  readonly #beside: Beside;

  constructor(machine: AnyStateMachine, input: unknown, beside: Beside) {
    this.#beside = beside;
    const { failing = 'failed' } = beside;
    const actors = Object.fromEntries(
      Object.keys(machine.implementations.actors).map((id) => [
        id,
        fromPromise(
          ({ signal, input: of }) =>
            new Promise((resolve, reject) => {
              const mine = {
                id,
                end: async (ok: boolean, output?: unknown) => {
                  try {
                    const usual = await beside.happens(id, ok ? 'done' : failing, of);
                    if (ok) resolve(output ?? usual);
                    else reject(Object.assign(new Error(id), { fault: FAULT }));
                  } catch (error) {
                    this.objections.push(`${id} of itself: ${String(error)}`);
                    reject(error);
                  }
                },
              };
              this.pending.push(mine);
              // Nobody hears the end of an effect whose state was left.
              signal.addEventListener('abort', () => {
                if (this.pending.includes(mine)) this.pending.splice(this.pending.indexOf(mine), 1);
              });
            }),
        ),
      ]),
    );
    this.actor = createActor(machine.provide({ actors } as never), { input });
    this.actor.subscribe({ error: (error) => this.objections.push(`in error: ${String(error)}`) });
    this.actor.start();
  }

  get state(): AnySnapshot {
    return this.actor.getSnapshot() as AnySnapshot;
  }

  async walk(steps: readonly Step[]): Promise<void> {
    for (const { event, state } of steps.slice(1)) {
      const end = /^xstate\.(done|error)\.actor\./.exec(event.type);
      if (end !== null) await this.pending.shift()?.end(end[1] === 'done', event['output']);
      else await this.tell(event);
      await this.#look();
      const now = this.state.value;
      if (now !== state.value) this.objections.push(`after ${event.type} it is ${now}, not ${state.value}`);
    }
  }

  /** Sends this event of others. */
  async tell(event: Event): Promise<void> {
    await this.#beside.before?.(event, this.state);
    this.actor.send(event);
  }

  async #look(): Promise<void> {
    await settled();
    const objections = (await this.#beside.look?.(this.state)) ?? [];
    this.objections.push(...objections.map((text) => `${this.state.value}: ${text}`));
  }

  /** Lets everything succeed until nothing is waited for. */
  async rest(): Promise<void> {
    for (let i = 0; i < 40; i++) {
      if (this.pending[0] === undefined) return;
      await this.pending.shift()?.end(true);
      await this.#look();
    }
    this.objections.push('never comes to rest');
  }
}

interface Walked {
  name: string;
  walks: readonly (readonly Step[])[];
}

/** Tests of the walks themselves: together they reach every state, and each invariant holds all along. */
export function judged(
  paths: Test,
  machine: AnyStateMachine,
  all: readonly Walked[],
  invariants: Record<string, (state: AnySnapshot) => boolean>,
): void {
  paths('reach every state', () => {
    const walks = all.flatMap((walked) => walked.walks);
    proved(`walks of the ${machine.id} machine by itself`, walks.length);
    const reached = new Set(walks.flatMap((steps) => steps.map(({ state }) => stateName(state))));
    const states = statesOf(machine.root)
      .filter((node) => Object.keys(node.states).length === 0 && node.key !== 'deciding')
      .map((node) => node.path.join('.'));
    assert.equal([...reached].sort(), states.sort());
  });
  for (const [what, holds] of Object.entries(invariants)) {
    paths(what, () => {
      const broken = all.flatMap(({ name, walks }) =>
        walks.filter((steps) => !steps.every(({ state }) => holds(state))).map((steps) => `${name}\n${titleOf(steps)}`),
      );
      assertNone(broken);
    });
  }
}
