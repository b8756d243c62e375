/**
 * The machines of a container's parts (attachment, uplink), which run some effects and answer once: how effects end,
 * the title of a path, and an actor driven along it.
 *
 * Guarantees: effects run in the order of the path, and no others.
 * Limits: effects change nothing by themselves: the test says what each does.
 */
import * as assert from 'uvu/assert';
import type { AnyActor, AnyMachineSnapshot, EventObject } from 'xstate';
import { FAULT } from './fixtures.ts';
import { settled } from './world.ts';

/** The reason why undoing failed, as opposed to why it had to be undone. */
export const SECOND = { ...FAULT, message: 'and again' };

type Steps = readonly { event: EventObject; state: AnyMachineSnapshot }[];

/** Effects with their possible outputs. `undoes`: the one that removes what others have made. */
interface Effects {
  all: readonly string[];
  undoes: string;
  outputs?: Record<string, readonly unknown[]>;
}

const failureOf = (id: string, { undoes }: Effects) => (id === undoes ? SECOND : FAULT);
const outputIn = (event: EventObject): unknown => ('output' in event ? event.output : undefined);

/** The possible ends of each effect. */
export const endingsOf = (effects: Effects) =>
  effects.all.flatMap((id) => [
    ...(effects.outputs?.[id] ?? [undefined]).map((output) => ({
      type: `xstate.done.actor.${id}`,
      actorId: id,
      output,
    })),
    { type: `xstate.error.actor.${id}`, actorId: id, error: { fault: failureOf(id, effects) } },
  ]);

/** Every event and its next state. */
export const titleOf = (steps: Steps): string =>
  steps.map(({ event, state }) => `${event.type} ${String(state.value)}`).join(' > ');

/** "ensureLink !ensureAddresses: stuck", in order: the effects that ended, that failed (!), and the answer. */
export const answersOf = (
  paths: readonly { state: AnyMachineSnapshot; steps: Steps }[],
  named: (id: string, output: unknown) => string = (id) => id,
): string[] =>
  paths
    .filter(({ state }) => state.status === 'done')
    .map(({ state, steps }) => {
      const effects = steps.slice(1).map(({ event }) => {
        const [, how, , id = ''] = event.type.split('.');
        return `${how === 'done' ? '' : '!'}${named(id, outputIn(event))}`;
      });
      return `${effects.join(' ')}: ${(state.output as { outcome?: string } | undefined)?.outcome}`;
    })
    .sort();

/** Effects that end when their path says so. */
export class Scripted {
  readonly #effects: Effects;
  readonly #happens: (id: string, ok: boolean) => void;
  readonly #waiting: { id: string; end: (ok: boolean, output: unknown) => void }[] = [];

  /** `happens`: what an effect with this end does. */
  constructor(effects: Effects, happens: (id: string, ok: boolean) => void) {
    this.#effects = effects;
    this.#happens = happens;
  }

  /** The effect is run. */
  run<Output>(id: string): Promise<Output> {
    return new Promise((resolve, reject) => {
      const end = (ok: boolean, output: unknown) => {
        this.#happens(id, ok);
        if (ok) resolve(output as Output);
        else reject(Object.assign(new Error(id), { fault: failureOf(id, this.#effects) }));
      };
      this.#waiting.push({ id, end });
    });
  }

  /** Drives along the path to its end; false when that is no answer, and the actor was stopped. */
  async drive(actor: AnyActor, steps: Steps): Promise<boolean> {
    actor.start();
    for (const { event, state } of steps.slice(1)) {
      const [, how, , id] = event.type.split('.');
      const effect = this.#waiting.shift();
      assert.is(effect?.id, id);
      effect?.end(how === 'done', outputIn(event));
      await settled();
      assert.is((actor.getSnapshot() as AnyMachineSnapshot).value, state.value);
    }
    const answered = (actor.getSnapshot() as AnyMachineSnapshot).status === 'done';
    if (answered) assert.is(this.#waiting.length, 0);
    else actor.stop();
    return answered;
  }
}
